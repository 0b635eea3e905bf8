package receive_test

import (
	"archive/tar"
	"bytes"
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
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/internal/tree"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
	"github.com/pavedpaths/paths/pathsdk/steps/receive"
)

const (
	sum        = "h1:wk8382ETsv4JYUZwIsn6YpYiWiBsYLSJiTsyBybVuN8="
	testResult = "https://in-toto.io/attestation/test-result/v0.1"
)

// world is a staging layout as publish leaves it, with its parts still to be
// forged.
type world struct {
	layout  *oci.Layout
	image   step.Digest
	claims  claims.Claims
	tarball []byte
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
	w := &world{}
	if w.layout, err = oci.CreateLayout(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	desc, err := baseimage.Put(t.Context(), w.layout, img)
	if err != nil {
		t.Fatal(err)
	}
	w.image = oci.Digest(desc)
	src := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module x\n", "go.sum": "example.com/a v1.2.0 " + sum + "\n", "cmd/x/main.go": "package main\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var buf bytes.Buffer
	if _, err := tree.Snapshot(src, &buf); err != nil {
		t.Fatal(err)
	}
	w.tarball = buf.Bytes()
	w.claims = claims.Claims{
		Image: w.image, Name: "hello",
		Modules: []gomod.Module{{Path: "example.com/a", Version: "v1.2.0", Sum: sum}},
		Reports: []claims.Report{{Node: "test", Step: "test", Evidence: []step.Evidence{{Type: testResult, Predicate: json.RawMessage(`{"result":"PASSED"}`)}}}},
	}
	return w
}

// run writes the claims and receives them.
func (w *world) run(t testing.TB, image step.Digest) (receive.Output, string, error) {
	t.Helper()
	return w.receive(t, image, w.write(t))
}

func (w *world) write(t testing.TB) step.Digest {
	t.Helper()
	w.claims.Source = oci.DigestOf(w.tarball)
	for _, r := range w.claims.Reports {
		for i := range r.Evidence {
			r.Evidence[i].Subject = &step.Subject{Name: "source", Digest: w.claims.Source}
		}
	}
	file := filepath.Join(t.TempDir(), "source.tar")
	if err := os.WriteFile(file, w.tarball, 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := claims.Write(t.Context(), w.layout, w.claims, file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) receive(t testing.TB, image, d step.Digest) (receive.Output, string, error) {
	t.Helper()
	in, err := json.Marshal(map[string]any{"staging": w.layout.Dir(), "image": image, "claims": d})
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	res, err := receive.New().Run(t.Context(), step.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now, Work: t.TempDir(), Out: dir, Cache: t.TempDir(), Jobs: 1}, in)
	if err != nil {
		return receive.Output{}, parent, err
	}
	var out receive.Output
	if err := json.Unmarshal(res.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out, parent, nil
}

func TestConformance(t *testing.T) {
	w := newWorld(t)
	steptest.Run(t, receive.New(), steptest.Case{In: map[string]any{"staging": w.layout.Dir(), "image": string(w.image), "claims": string(w.write(t))}})
}

func TestReceive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, _, err := w.run(t, w.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.layout.Dir()); err != nil {
		t.Fatal(err)
	}
	l, err := oci.OpenLayout(string(out.Layout))
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Check(t.Context(), l, w.image, true); err != nil {
		t.Error(err)
	}
	if _, err := l.Manifest(t.Context(), w.claims.Source); err == nil {
		t.Error("the layout holds more than the image")
	}
	if d, err := tree.Digest(string(out.Source)); err != nil || d != out.SourceDigest || d != w.claims.Source {
		t.Errorf("source = %s, %v, want %s", d, err, w.claims.Source)
	}
	f, err := os.Open(string(out.Modules))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	modules, err := gomod.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w.claims.Modules, modules); d != "" {
		t.Error(d)
	}
	b, err := os.ReadFile(filepath.Join(string(out.Reports), "test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Step     string
		Evidence []step.Evidence
	}
	if err := json.Unmarshal(b, &report); err != nil || report.Step != "test" || len(report.Evidence) != 1 || report.Evidence[0].Subject.Digest != out.SourceDigest {
		t.Errorf("report = %s, %v", b, err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *world)
		want   string
	}{
		"about another image": {func(t *testing.T, w *world) { w.claims.Image = oci.DigestOf([]byte("x")) }, "are about the image"},
		"missing layer":       {func(t *testing.T, w *world) { os.Remove(largest(w)) }, "not found"},
		"changed layer":       {func(t *testing.T, w *world) { flip(t, largest(w)) }, "digest"},
		"changed manifest":    {func(t *testing.T, w *world) { flip(t, blob(w, w.image)) }, "digest"},
		"made up module": {func(t *testing.T, w *world) {
			w.claims.Modules = append(w.claims.Modules, gomod.Module{Path: "example.com/b", Version: "v1.0.0", Sum: sum})
		}, "example.com/b@v1.0.0"},
		"other sum": {func(t *testing.T, w *world) { w.claims.Modules[0].Sum = strings.Replace(sum, "wk", "kw", 1) }, "but the source pins"},
		"forged provenance": {func(t *testing.T, w *world) {
			w.claims.Reports[0].Evidence[0].Type = "https://slsa.dev/provenance/v1"
		}, "no producer may make"},
		"forged verdict": {func(t *testing.T, w *world) {
			w.claims.Reports[0].Evidence[0].Type = "https://slsa.dev/verification_summary/v1"
		}, "no producer may make"},
		"traversal": {func(t *testing.T, w *world) { w.tarball = archive(t, &tar.Header{Name: "../../evil"}) }, "clean relative path"},
		"link out": {func(t *testing.T, w *world) {
			w.tarball = archive(t, &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../.."})
		}, "outside"},
		"go.sum link": {func(t *testing.T, w *world) {
			w.tarball = archive(t, &tar.Header{Name: "go.sum", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})
		}, "absolute"},
		"no archive": {func(t *testing.T, w *world) { w.tarball = bytes.Repeat([]byte("x"), 2048) }, "archive"},
		"no go.sum":  {func(t *testing.T, w *world) { w.tarball = archive(t, &tar.Header{Name: "go.mod"}) }, "go.sum"},
		"cut short":  {func(t *testing.T, w *world) { w.tarball = w.tarball[:len(w.tarball)-1500] }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.change(t, w)
			_, parent, err := w.run(t, w.image)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v, want one that says %q", err, c.want)
			}
			if entries, _ := os.ReadDir(parent); len(entries) != 1 {
				t.Errorf("something was written outside of the output: %v", entries)
			}
		})
	}
}

// TestReceiveChecksEveryByteOfTheSource flips one byte at a time of what lies
// in the staging layout under the source's digest.
func TestReceiveChecksEveryByteOfTheSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, _, err := w.run(t, w.image); err != nil {
		t.Fatal(err)
	}
	path := blob(w, w.claims.Source)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	artifact := step.Digest("")
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		d := step.Digest("sha256:" + e.Name())
		if _, _, err := claims.Read(t.Context(), w.layout, d); err == nil {
			artifact = d
		}
	}
	if artifact == "" {
		t.Fatal("no claims found")
	}
	// The last bytes are padding behind the archive's end.
	for _, at := range []int{0, 600, len(good) / 2, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.receive(t, w.image, artifact); err == nil {
			t.Errorf("byte %d was flipped and nobody noticed", at)
		}
	}
}

func archive(t testing.TB, headers ...*tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func blob(w *world, d step.Digest) string {
	return filepath.Join(w.layout.Dir(), "blobs", "sha256", d.Hex())
}

// largest is the path of the layer.
func largest(w *world) string {
	found, size := "", int64(0)
	blobs, _ := filepath.Glob(filepath.Join(w.layout.Dir(), "blobs", "sha256", "*"))
	for _, b := range blobs {
		if fi, err := os.Stat(b); err == nil && fi.Size() > size {
			found, size = b, fi.Size()
		}
	}
	return found
}

func flip(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
