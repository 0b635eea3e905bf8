package fetch_test

import (
	"archive/zip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// shelveToolchain makes a module proxy in a folder that offers one toolchain: a
// shell script that says what `go env` would. A folder as the only proxy is the
// one case in which the go command does without the checksum database.
func shelveToolchain(t testing.TB, version string) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "golang.org", "toolchain", "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	v := "v0.0.1-" + version + "." + runtime.GOOS + "-" + runtime.GOARCH
	files := map[string]string{
		"bin/go":          "#!/bin/sh\ncd \"${0%/bin/go}\" && pwd && echo " + version + "\n",
		"VERSION":         version + "\n",
		"src/fmt/a.go":    "package fmt\n",
		"pkg/include/a.h": "\n",
		"pkg/tool/" + runtime.GOOS + "_" + runtime.GOARCH + "/compile": "c\n",
		"go.mod":     "module golang.org/toolchain\n",
		"lib/README": "\n",
		"bin/gofmt":  "\n",
	}
	write(t, at, map[string]string{v + ".info": `{"Version":"` + v + `"}`, v + ".mod": files["go.mod"], "list": v + "\n"})
	f, err := os.Create(filepath.Join(at, v+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zw := zip.NewWriter(f)
	for name, content := range files {
		w, err := zw.Create("golang.org/toolchain@" + v + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return "file://" + dir
}

func TestToolchainDownloaded(t *testing.T) {
	t.Parallel()
	w := plain(t, "scratch", "linux/amd64")
	w.in["toolchain"], w.in["goproxy"], w.in["gosumdb"] = "go1.99.1", shelveToolchain(t, "go1.99.1"), "off"
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if out.Toolchain != "go1.99.1" || !strings.HasPrefix(string(out.GoRoot), w.cache) {
		t.Errorf("toolchain = %s at %s", out.Toolchain, out.GoRoot)
	}
	if _, err := os.Stat(filepath.Join(string(out.GoRoot), "bin", "go")); err != nil {
		t.Error(err)
	}
	// Without a way to check it, a toolchain is not taken.
	w = plain(t, "scratch", "linux/amd64")
	w.in["toolchain"], w.in["goproxy"], w.in["gosumdb"] = "go1.99.1", shelveToolchain(t, "go1.99.1")+",off", "off"
	if _, err := w.run(t); err == nil || !strings.Contains(err.Error(), "GOSUMDB") {
		t.Errorf("error = %v", err)
	}
	w = plain(t, "scratch", "linux/amd64")
	w.in["toolchain"], w.in["goproxy"] = "go1.98.1", "off"
	if _, err := w.run(t); err == nil || !strings.Contains(err.Error(), "get toolchain go1.98.1") || !strings.Contains(err.Error(), "fix:") {
		t.Errorf("error = %v", err)
	}
}
