package build_test

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/build"
)

// TestBuild runs the tests that compile one after the other, since they change
// the process's environment, and on one cache, since each cold one costs
// seconds.
func TestBuild(t *testing.T) {
	cache := t.TempDir()
	t.Run("conforms", func(t *testing.T) {
		steptest.Run(t, build.New(), steptest.Case{
			In:  newWorld(t, service(t), "linux/amd64").in,
			Env: func(_ *testing.T, env *step.Env) { env.Cache = cache },
		})
	})
	t.Run("reproducible", func(t *testing.T) { testReproducible(t, cache) })
	t.Run("one platform", func(t *testing.T) { testOnePlatform(t, cache) })
	t.Run("compile error", func(t *testing.T) { testCompileError(t, cache) })
	t.Run("compiles ahead", func(t *testing.T) { testCompilesAhead(t, cache) })
}

// testReproducible builds for two platforms, in two folders, with two cold
// caches, and once with a warm one.
func testReproducible(t *testing.T, cache string) {
	var first build.Output
	for i := range 2 {
		w := newWorld(t, service(t), "linux/arm64", "linux/amd64")
		if i == 0 {
			w.cache = cache
		}
		w.in["revision"], w.in["repository"], w.in["created"] = "0123abcd", "https://example.com/team/hello", "2026-01-31T12:00:00Z"
		w.in["ldflags"] = []string{"-X main.version={{.Revision}}"}
		runs := 1
		if i == 1 {
			runs = 2
		}
		for range runs {
			out, err := w.run(t)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = out
				continue
			}
			if out.Digest != first.Digest {
				t.Errorf("digest %s, want %s", out.Digest, first.Digest)
			}
		}
	}
	l, err := oci.OpenLayout(string(first.Layout))
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Check(t.Context(), l, first.Digest, true); err != nil {
		t.Error(err)
	}
	if first.Name != "hello" {
		t.Errorf("name = %q", first.Name)
	}
	if len(first.Platforms) != 2 || !strings.HasPrefix(first.Platforms[0], "linux/amd64=sha256:") || !strings.HasPrefix(first.Platforms[1], "linux/arm64=sha256:") {
		t.Fatalf("platforms = %q", first.Platforms)
	}
	_, d, _ := strings.Cut(first.Platforms[0], "=")
	img := image(t, first, d)
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"org.opencontainers.image.title": "hello", "org.opencontainers.image.created": "2026-01-31T12:00:00Z",
		"org.opencontainers.image.revision": "0123abcd", "org.opencontainers.image.source": "https://example.com/team/hello",
	}
	if d := cmp.Diff(want, c.Config.Labels); d != "" {
		t.Error(d)
	}
	if c.Config.User != "65532" || c.Created.Time != time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) {
		t.Errorf("user = %q, created = %s", c.Config.User, c.Created)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want["org.opencontainers.image.base.name"] = "scratch"
	want["org.opencontainers.image.base.digest"] = m.Annotations["org.opencontainers.image.base.digest"]
	if d := cmp.Diff(want, m.Annotations); d != "" {
		t.Error(d)
	}
	if want["org.opencontainers.image.base.digest"] == "" {
		t.Error("the base's digest is not annotated")
	}
	prog := binary(t, img)
	info, err := buildinfo.Read(bytes.NewReader(prog))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	wantSettings := map[string]string{"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true", "CGO_ENABLED": "0", "GOARCH": "amd64", "GOOS": "linux", "GOAMD64": "v1"}
	delete(settings, "DefaultGODEBUG")
	if d := cmp.Diff(wantSettings, settings); d != "" {
		t.Error(d)
	}
	if !bytes.Contains(prog, []byte("0123abcd")) {
		t.Error("the linker's flag was not filled in")
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{filepath.Base(os.TempDir()) + "/Test", "TestBuild", "gocache", "modcache"} {
		if bytes.Contains(prog, []byte(leak)) || bytes.Contains(raw, []byte(leak)) {
			t.Errorf("the image holds %q", leak)
		}
	}
}

func testOnePlatform(t *testing.T, cache string) {
	w := newWorld(t, service(t), "linux/amd64")
	w.cache = cache
	w.in["name"] = "team/greeter"
	t.Setenv("GOFLAGS", "-tags=poison")
	t.Setenv("KOCACHE", filepath.Join(t.TempDir(), "poison"))
	t.Setenv("GOAMD64", "v3")
	before := os.Environ()
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, os.Environ(), cmp.Transformer("set", func(s []string) map[string]bool {
		m := map[string]bool{}
		for _, e := range s {
			m[e] = true
		}
		return m
	})); d != "" {
		t.Errorf("the process's environment changed: %s", d)
	}
	if _, err := os.Stat(os.Getenv("KOCACHE")); err == nil {
		t.Error("ko took settings from the environment")
	}
	img := image(t, out, string(out.Digest))
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "amd64" || c.Config.Labels["org.opencontainers.image.title"] != "team/greeter" {
		t.Errorf("config = %+v", c)
	}
	info, err := buildinfo.Read(bytes.NewReader(binary(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" || s.Key == "GOAMD64" && s.Value != "v1" {
			t.Errorf("%s=%s came from the environment", s.Key, s.Value)
		}
	}
	if d := cmp.Diff([]string{"linux/amd64=" + string(out.Digest)}, out.Platforms); d != "" {
		t.Error(d)
	}
}

func testCompileError(t *testing.T, cache string) {
	files := service(t)
	files["main.go"] = "package main\n\nfunc main() { undefined() }\n"
	w := newWorld(t, files, "linux/amd64")
	w.cache = cache
	_, err := w.run(t)
	if err == nil {
		t.Fatal("no error")
	}
	var gate *step.GateError
	if !errors.As(err, &gate) {
		t.Errorf("error is %T, want a gate", err)
	}
	for _, want := range []string{"./main.go:3:15: undefined: undefined", "does not compile"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), os.TempDir()) || strings.Count(err.Error(), "\n") > 3 {
		t.Errorf("noise: %v", err)
	}
}

func TestRefuses(t *testing.T) {
	cases := map[string]struct {
		change func(map[string]string)
		in     map[string]any
		want   string
	}{
		"two programs": {change: func(f map[string]string) { f["cmd/b/b.go"] = "package main\n" }, want: "choose one of ./., ./cmd/b"},
		"no program":   {change: func(f map[string]string) { f["main.go"] = "package hello\n" }, want: "no main package"},
		"nested module": {change: func(f map[string]string) {
			f["sub/go.mod"] = "module x\n"
			f["sub/a.go"] = f["main.go"]
			delete(f, "main.go")
		}, want: "no main package"},
		"package outside":    {in: map[string]any{"package": "../x"}, want: "not within the module"},
		"package missing":    {in: map[string]any{"package": "./cmd"}, want: "cmd"},
		"package no program": {in: map[string]any{"package": "./tools"}, want: "package tools, not a main package"},
		"name":               {in: map[string]any{"name": "Hello World"}, want: "can't be the name"},
		"tag":                {in: map[string]any{"tags": []string{"a -toolexec=x"}}, want: "no build tag"},
		"ldflags env":        {in: map[string]any{"ldflags": []string{"-X main.version={{.Env.HOME}}"}}, want: "can be filled in"},
		"ldflags template":   {in: map[string]any{"ldflags": []string{`{{"{{.Env.HOME}}"}}`}}, want: "can be filled in"},
		"created":            {in: map[string]any{"created": "yesterday"}, want: "yesterday"},
		"other platform":     {in: map[string]any{"platforms": []string{"linux/riscv64"}}, want: "linux/riscv64"},
		"flag for module":    {change: func(f map[string]string) { f["go.mod"] = "module \"-modfile=x/alt.mod\"\n" }, want: "leading dash"},
		"no go.mod":          {change: func(f map[string]string) { delete(f, "go.mod") }, want: "no Go module"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			files := service(t)
			if c.change != nil {
				c.change(files)
			}
			w := newWorld(t, files, "linux/amd64")
			for k, v := range c.in {
				w.in[k] = v
			}
			_, err := w.run(t)
			if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want a usage error that says %q", err, c.want)
			}
		})
	}
}

// testCompilesAhead: what the step test compiles as well, and nothing else.
func testCompilesAhead(t *testing.T, cache string) {
	here, other := "linux/amd64", "linux/arm64"
	if runtime.GOARCH == "arm64" {
		here, other = other, here
	}
	for tag, platforms := range map[string][]string{"both": {other, here}, "here": {here}, "other": {other}} {
		w := newWorld(t, service(t), platforms...)
		w.cache = cache
		w.in["tags"] = []string{tag, "and"}
		if _, err := w.run(t); err != nil {
			t.Fatal(err)
		}
		var got []string // and the last argument says what is compiled
		for _, args := range w.children.args {
			got = append(got, args[1]+" "+args[2]+" "+args[len(args)-1])
		}
		want := []string{"list -tags=and," + tag + " example.com/team/Hello/v2"}
		if tag == "other" || runtime.GOOS != "linux" {
			want = nil
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", platforms, d)
		}
	}
}
