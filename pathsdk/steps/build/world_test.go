package build_test

import (
	"bytes"
	"context"
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
	"github.com/pavedpaths/paths/pathsdk/steps/build"
)

// children records the children that build runs, and fails each: all but what gomod.Compile
// runs is left to ko, which builds as well where that fails.
type children struct{ args [][]string }

func (c *children) Exec(_ context.Context, cmd step.Command) error {
	c.args = append(c.args, cmd.Args)
	return errors.New("no child is run here")
}

func (*children) Confine([]string, []string) []string { return nil }

type world struct {
	src, cache string
	children   children
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
	const mod = "golang.org/x/mod@v0.36.0"
	if err := os.CopyFS(filepath.Join(dir, mod), os.DirFS(filepath.Join(strings.TrimSpace(string(theirs)), mod))); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join("cache", "download", "golang.org", "x", "mod", "@v")
	for _, suffix := range []string{".info", ".mod", ".ziphash"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(theirs)), at, "v0.36.0"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, at, "v0.36.0"+suffix), b, 0o644); err != nil {
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
		if strings.HasPrefix(line, "golang.org/x/mod v0.36.0") {
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
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Work: t.TempDir(), Out: t.TempDir(), Cache: w.cache, Exec: &w.children, Jobs: 2,
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
		"go.mod":            "module example.com/team/Hello/v2\n\ngo 1.25.0\n\nrequire golang.org/x/mod v0.36.0\n",
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
