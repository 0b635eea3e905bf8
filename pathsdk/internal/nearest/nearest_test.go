package nearest

import "testing"

func TestName(t *testing.T) {
	names := []string{"fetch", "test", "build", "provenance", "vulnDB", "vex"}
	for word, want := range map[string]string{
		"tset":       "test",
		"biuld":      "build",
		"Build":      "build",
		"provenence": "provenance",
		"vulndb":     "vulnDB",
		"vx":         "vex",
		"deploy":     "",
		"":           "",
		"x":          "",
	} {
		if got := Name(word, names); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := Name(string(make([]byte, 101)), names); got != "" {
		t.Errorf("a huge word is near %q", got)
	}
}

func TestHint(t *testing.T) {
	for word, want := range map[string]string{
		"bild": `did you mean "build"? There are: build, test`,
		"xxxx": "there are: build, test",
	} {
		if got := Hint(word, []string{"test", "build"}); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got, want := Hint("x", nil), "there are: none"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
