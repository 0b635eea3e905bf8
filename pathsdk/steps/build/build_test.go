package build_test

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/build"
)

// noExec fails every child: build leaves starting the go command to ko.
type noExec struct{}

func (noExec) Exec(context.Context, step.Command) error { return errors.New("build ran a child") }
func (noExec) Confine([]string, []string) []string      { return nil }

type world struct {
	src, cache string
	in         map[string]any
}

const zero = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func newWorld(t testing.TB, files map[string]string, platforms ...string) *world {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{src: t.TempDir(), cache: t.TempDir()}
	for name, content := range files {
		p := filepath.Join(w.src, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	modules := filepath.Join(t.TempDir(), "modules.json")
	if err := os.WriteFile(modules, []byte("[]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	base, digest := scratch(t, platforms)
	w.in = map[string]any{
		"source": w.src, "sourceDigest": zero, "modules": modules, "modcache": moduleCache(t), "goroot": strings.TrimSpace(string(out)), "toolchainDigest": zero,
		"base": base, "baseDigest": digest, "platforms": platforms,
	}
	return w
}

// moduleCache is one with the only module that the service needs, from the
// cache of whoever runs the test.
func moduleCache(t testing.TB) string {
	t.Helper()
	theirs, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const mod = "golang.org/x/mod@v0.35.0"
	if err := os.CopyFS(filepath.Join(dir, mod), os.DirFS(filepath.Join(strings.TrimSpace(string(theirs)), mod))); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join("cache", "download", "golang.org", "x", "mod", "@v")
	for _, suffix := range []string{".info", ".mod", ".ziphash"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(theirs)), at, "v0.35.0"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, at, "v0.35.0"+suffix), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sums are the lines of this repository's own go.sum for the module.
func sums(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "golang.org/x/mod v0.35.0") {
			s.WriteString(line)
		}
	}
	return s.String()
}

func scratch(t testing.TB, platforms []string) (string, step.Digest) {
	t.Helper()
	ps, err := baseimage.Platforms(platforms)
	if err != nil {
		t.Fatal(err)
	}
	img, err := baseimage.Scratch(ps)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := oci.CreateLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := baseimage.Put(t.Context(), l, img)
	if err != nil {
		t.Fatal(err)
	}
	if err := baseimage.WriteName(dir, "scratch"); err != nil {
		t.Fatal(err)
	}
	return dir, oci.Digest(desc)
}

func (w *world) run(t testing.TB) (build.Output, error) {
	t.Helper()
	in, err := json.Marshal(w.in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := build.New().Run(t.Context(), step.Env{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Work: t.TempDir(), Out: t.TempDir(), Cache: w.cache, Exec: noExec{}, Jobs: 2,
	}, in)
	if err != nil {
		return build.Output{}, err
	}
	var out build.Output
	if err := json.Unmarshal(res.Output, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(step.Subject{Name: out.Name, Digest: out.Digest}, res.Subject); d != "" {
		t.Error(d)
	}
	return out, nil
}

// service needs little of the standard library, so that a cold cache costs
// seconds and not minutes.
func service(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"go.mod":            "module example.com/team/Hello/v2\n\ngo 1.25.0\n\nrequire golang.org/x/mod v0.35.0\n",
		"go.sum":            sums(t),
		"main.go":           "package main\n\nimport \"golang.org/x/mod/semver\"\n\nvar version = \"none\"\n\nfunc main() { println(version, semver.Canonical(\"v1\")) }\n",
		"kodata/index.html": "<p>hello</p>\n",
		"tools/gen.go":      "//go:build ignore\n\npackage main\n\nfunc main() {}\n",
		"tools/lib.go":      "package tools\n",
	}
}

func image(t testing.TB, out build.Output, d string) v1.Image {
	t.Helper()
	root, err := layout.ImageIndexFromPath(string(out.Layout))
	if err != nil {
		t.Fatal(err)
	}
	h, err := v1.NewHash(d)
	if err != nil {
		t.Fatal(err)
	}
	if string(out.Digest) != d {
		idx, err := root.ImageIndex(v1.Hash{Algorithm: "sha256", Hex: out.Digest.Hex()})
		if err != nil {
			t.Fatal(err)
		}
		root = idx
	}
	img, err := root.Image(h)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// binary takes the program out of an image.
func binary(t testing.TB, img v1.Image) []byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte("\x7fELF"))
	if i < 0 {
		t.Fatal("no program in the last layer")
	}
	return b[i:]
}

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
	if errors.Is(err, step.ErrUsage) || errors.As(err, &gate) {
		t.Errorf("error is %T", err)
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
