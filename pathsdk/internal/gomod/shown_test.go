package gomod

import "testing"

func TestShown(t *testing.T) {
	for proxy, want := range map[string]string{
		"":                                  "",
		"off":                               "off",
		"https://proxy.example,direct":      "https://proxy.example,direct",
		"https://u:secret@p.example|direct": "https://p.example|direct",
		"https://p.example/x?t=secret#s":    "https://p.example/x",
		"https://u:pa%sSECRET@p.example":    "[redacted]",
		"u:secret@p.example,off":            "[redacted],off",
		"file:///home/u/cache,,direct":      "file:///home/u/cache,,direct",
	} {
		if got := Shown(proxy); got != want {
			t.Errorf("%s: got %q, want %q", proxy, got, want)
		}
	}
}
