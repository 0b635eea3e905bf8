package sbom

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	created      = "2026-01-31T12:00:00Z"
	sourceDigest = "sha256:00000000000000000000000000000000000000000000000000000000000000aa"
)

// fixture is a small service: one module in its program, another in its tests
// only.
type fixture struct {
	program []byte
	source  string
	modules string
	err     error
}

var buildFixture = sync.OnceValue(func() fixture {
	f := fixture{}
	f.source, f.err = os.MkdirTemp("", "sbom-test-")
	if f.err != nil {
		return f
	}
	defer os.RemoveAll(f.source)
	files := map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/google/go-cmp v0.7.0\n\tgolang.org/x/mod v0.36.0\n\tgolang.org/x/sync v0.20.0\n)\n",
		"main.go": `package main

import (
	"fmt"
	"net/http"

	"golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"
)

func main() {
	var g errgroup.Group
	g.Go(func() error { return http.ListenAndServe("127.0.0.1:8080", nil) })
	fmt.Println(semver.IsValid("v1.0.0"), g.Wait())
}
`,
		"main_test.go": "package main\n\nimport (\n\t\"testing\"\n\n\t\"github.com/google/go-cmp/cmp\"\n)\n\nfunc TestIt(t *testing.T) { _ = cmp.Diff(1, 1) }\n",
	}
	for name, content := range files {
		if f.err = os.WriteFile(filepath.Join(f.source, name), []byte(content), 0o644); f.err != nil {
			return f
		}
	}
	goTool := func(args ...string) ([]byte, error) {
		c := exec.Command("go", args...)
		c.Dir = f.source
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "GOOS=linux", "GOARCH=amd64")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil {
			err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return out, err
	}
	if _, f.err = goTool("build", "-trimpath", "-ldflags=-s -w", "-o", "hello", "."); f.err != nil {
		return f
	}
	if f.program, f.err = os.ReadFile(filepath.Join(f.source, "hello")); f.err != nil {
		return f
	}
	sums, _ := os.ReadFile(filepath.Join(f.source, "go.sum"))
	f.modules = string(sums)
	return f
})

func program(t testing.TB) []byte {
	t.Helper()
	f := buildFixture()
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.program
}

type entryFile struct {
	name   string
	data   []byte
	mode   int64
	typ    byte
	target string
}

func tarOf(t testing.TB, files ...entryFile) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Typeflag: f.typ, Linkname: f.target, Size: int64(len(f.data)), Format: tar.FormatPAX}
		if f.typ == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func imageOf(t testing.TB, arch string, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, l := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// store writes images to a layout: one as it is, several as an index.
func store(t testing.TB, images ...v1.Image) (dir string, d step.Digest) {
	t.Helper()
	dir = t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if len(images) == 1 {
		if err := p.AppendImage(images[0]); err != nil {
			t.Fatal(err)
		}
		h, err := images[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		return dir, step.Digest(h.String())
	}
	var index v1.ImageIndex = empty.Index
	var adds []mutate.IndexAddendum
	for _, i := range images {
		c, err := i.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		adds = append(adds, mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: c.Platform()}})
	}
	index = mutate.AppendManifests(index, adds...)
	if err := p.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	h, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return dir, step.Digest(h.String())
}

// sourceDir writes the service's source as the receive step gives it, and the
// list of modules.
func sourceDir(t testing.TB) (dir, modules string) {
	t.Helper()
	dir = t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/hello\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/google/go-cmp v0.7.0\n\tgolang.org/x/mod v0.36.0\n\tgolang.org/x/sync v0.20.0\n)\n")
	write(t, filepath.Join(dir, "go.sum"), buildFixture().modules)
	modules = filepath.Join(t.TempDir(), "modules.json")
	write(t, modules, `[{"path":"example.com/hello","version":"","sum":""},
		{"path":"github.com/google/go-cmp","version":"v0.7.0","sum":"h1:wk8382ETsv4JYUZwIsn6YpYiWiBsYLSJiTsyBybVuN8="},
		{"path":"golang.org/x/mod","version":"v0.36.0","sum":""},
		{"path":"golang.org/x/sync","version":"v0.20.0","sum":""},
		{"path":"golang.org/x/tools","version":"v0.44.0","sum":"h1:UP4ajHPIcuMjT1GqzDWRlalUEoY+uzoZKnhOjbIPD2c="}]`)
	return dir, modules
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func inputsFor(t testing.TB, layout string, d step.Digest) In {
	t.Helper()
	source, modules := sourceDir(t)
	return In{
		Layout: step.Dir(layout), Image: d, Name: "example/hello", Source: step.Dir(source),
		SourceDigest: sourceDigest, Modules: step.File(modules), Created: created,
	}
}

func newEnv(t testing.TB) step.Env {
	t.Helper()
	return step.Env{Now: time.Now, Work: t.TempDir(), Out: t.TempDir(), Cache: t.TempDir(), Jobs: 2}
}

// runStep runs the step as the runner does.
func runStep(t testing.TB, s step.Step, env step.Env, in In) (Out, []step.Evidence, error) {
	t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Run(t.Context(), env, raw)
	if err != nil {
		return Out{}, r.Evidence, err
	}
	var out Out
	if err := json.Unmarshal(r.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out, r.Evidence, nil
}

func service(t testing.TB) []byte {
	t.Helper()
	return tarOf(t, entryFile{name: "ko-app/hello", data: program(t), mode: 0o555})
}
