package publish_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/claims"
	"github.com/pavedpaths/paths/pathsdk/internal/baseimage"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/publish"
)

type world struct {
	dir    string
	layout string
	source step.Digest
	in     map[string]any
}

func (w *world) write(t testing.TB, name, content string) string {
	t.Helper()
	p := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func newWorld(t testing.TB) *world {
	t.Helper()
	platforms, err := baseimage.Platforms([]string{"linux/amd64", "linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	img, err := baseimage.Scratch(platforms)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: t.TempDir(), source: oci.DigestOf([]byte("the source"))}
	w.layout = filepath.Join(w.dir, "layout")
	l, err := oci.CreateLayout(w.layout)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := baseimage.Put(t.Context(), l, img)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "reports/test.json", `{"step":"test","evidence":[{"type":"https://in-toto.io/attestation/test-result/v0.1","predicate":{"result":"PASSED"},"subject":{"name":"source","digest":"`+string(w.source)+`"}}]}`)
	w.in = map[string]any{
		"layout": w.layout, "image": oci.Digest(desc), "name": "hello",
		"source": w.write(t, "source.tar", "the source"), "sourceDigest": w.source,
		"modules": w.write(t, "modules.json", "[]\n"), "reports": filepath.Join(w.dir, "reports"),
	}
	return w
}

func (w *world) run(t testing.TB) (publish.Output, error) {
	t.Helper()
	in, err := json.Marshal(w.in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := publish.New().Run(t.Context(), step.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now, Work: t.TempDir(), Out: t.TempDir(), Cache: t.TempDir(), Jobs: 1}, in)
	if err != nil {
		return publish.Output{}, err
	}
	var out publish.Output
	if err := json.Unmarshal(res.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

func TestConformance(t *testing.T) {
	steptest.Run(t, publish.New(), steptest.Case{In: newWorld(t).in})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run(t)
	if err != nil {
		t.Fatal(err)
	}
	// What user code does to its layout afterwards changes nothing.
	if err := os.RemoveAll(w.layout); err != nil {
		t.Fatal(err)
	}
	l, err := oci.OpenLayout(string(out.Staging))
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Check(t.Context(), l, out.Image, true); err != nil {
		t.Error(err)
	}
	c, source, err := claims.Read(t.Context(), l, out.Claims)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{out.Image, "hello", w.source, w.source, 1}, []any{c.Image, c.Name, c.Source, oci.Digest(source), len(c.Reports)}); d != "" {
		t.Error(d)
	}
	if again, err := newWorld(t).run(t); err != nil || again.Claims != out.Claims {
		t.Errorf("the same claims again: %s, %v, want %s", again.Claims, err, out.Claims)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	largest := func(t *testing.T, w *world) string {
		found, size := "", int64(0)
		blobs, _ := filepath.Glob(filepath.Join(w.layout, "blobs", "sha256", "*"))
		for _, b := range blobs {
			if fi, err := os.Stat(b); err == nil && fi.Size() > size {
				found, size = b, fi.Size()
			}
		}
		return found
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *world)
		want   string
	}{
		"missing layer": {func(t *testing.T, w *world) { os.Remove(largest(t, w)) }, "not whole"},
		"changed layer": {func(t *testing.T, w *world) {
			b, err := os.ReadFile(largest(t, w))
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(largest(t, w), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "not whole"},
		"other image":   {func(t *testing.T, w *world) { w.in["image"] = w.source }, "not found"},
		"other source":  {func(t *testing.T, w *world) { w.write(t, "source.tar", "another source") }, "want " + string(oci.DigestOf([]byte("the source")))},
		"modules":       {func(t *testing.T, w *world) { w.write(t, "modules.json", "{}") }, "modules"},
		"report folder": {func(t *testing.T, w *world) { w.write(t, "reports/x/y.json", "{}") }, `"x" is not a report`},
		"report":        {func(t *testing.T, w *world) { w.write(t, "reports/test.json", "[]") }, "test.json"},
		"report name":   {func(t *testing.T, w *world) { w.write(t, "reports/a b.json", `{"step":"x","evidence":[]}`) }, "not a name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.change(t, w)
			if _, err := w.run(t); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
		})
	}
}
