package fetch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/steps/fetch"
)

// execer runs children as the contract says: nothing is inherited.
type execer struct{ count atomic.Int32 }

func (x *execer) Exec(ctx context.Context, c step.Command) error {
	x.count.Add(1)
	program := c.Args[0]
	if !filepath.IsAbs(program) {
		found := ""
		for _, kv := range c.Env {
			if p, ok := strings.CutPrefix(kv, "PATH="); ok {
				for _, dir := range filepath.SplitList(p) {
					if _, err := os.Stat(filepath.Join(dir, program)); err == nil && found == "" {
						found = filepath.Join(dir, program)
					}
				}
			}
		}
		if found == "" {
			return &exec.Error{Name: program, Err: exec.ErrNotFound}
		}
		program = found
	}
	cmd := exec.CommandContext(ctx, program, c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, c.Stdout, c.Stderr
	return cmd.Run()
}

func (*execer) Confine(hide, write []string) []string { return nil }

// machine is what the tests take from the machine they run on: its Go, and its
// module cache as a module proxy without network.
type machine struct{ gocmd, goroot, proxy string }

func here(t testing.TB) machine {
	t.Helper()
	gocmd, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(gocmd, "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	l := strings.Fields(string(out))
	return machine{gocmd: gocmd, goroot: l[0], proxy: "file://" + l[1] + "/cache/download"}
}

type world struct {
	machine
	src, cache string
	exec       *execer
	http       *http.Client
	in         map[string]any
}

func newWorld(t testing.TB, files map[string]string) *world {
	t.Helper()
	w := &world{machine: here(t), src: t.TempDir(), cache: t.TempDir(), exec: &execer{}}
	t.Cleanup(func() { writable(w.cache) })
	write(t, w.src, files)
	w.in = map[string]any{"source": w.src, "goproxy": w.proxy, "go": w.gocmd}
	return w
}

// writable undoes what the go command does to a module cache, so that it can be
// removed.
func writable(dir string) {
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			os.Chmod(p, 0o755)
		}
		return nil
	})
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) run(t testing.TB) (fetch.Output, error) {
	t.Helper()
	var log bytes.Buffer
	env := step.Env{
		Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, HTTP: w.http,
		Work: t.TempDir(), Out: t.TempDir(), Cache: w.cache, Exec: w.exec, Jobs: 2,
	}
	in, err := json.Marshal(w.in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := fetch.New().Run(t.Context(), env, in)
	// With telemetry on, a process that go started may still write there.
	kept, _ := filepath.Glob(filepath.Join(env.Work, "home", ".config", "go", "telemetry", "*"))
	for _, file := range kept {
		if filepath.Base(file) != "mode" {
			t.Errorf("the go command keeps count of its use: %s", file)
		}
	}
	if err != nil {
		return fetch.Output{}, err
	}
	var out fetch.Output
	if err := json.Unmarshal(res.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// service is a module with one dependency in its code and another one in its
// tests.
func service(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.25.0\n\nrequire (\n\tgithub.com/google/go-cmp v0.7.0\n\tgolang.org/x/mod v0.36.0\n)\n",
		"go.sum": "github.com/google/go-cmp v0.7.0 h1:wk8382ETsv4JYUZwIsn6YpYiWiBsYLSJiTsyBybVuN8=\n" +
			"github.com/google/go-cmp v0.7.0/go.mod h1:pXiqmnSA92OHEEa9HXL2W4E7lf9JzCmGVUdgjX3N/iU=\n" +
			sumLines(t, "golang.org/x/mod v0.36.0"),
		"main.go":      "package main\n\nimport \"golang.org/x/mod/semver\"\n\nfunc main() { println(semver.Canonical(\"v1\")) }\n",
		"main_test.go": "package main\n\nimport (\n\t\"testing\"\n\n\t\"github.com/google/go-cmp/cmp\"\n)\n\nfunc TestIt(t *testing.T) {\n\tif cmp.Diff(1, 1) != \"\" {\n\t\tt.Fatal()\n\t}\n}\n",
	}
}

// sumLines takes a module's lines from this repository's own go.sum.
func sumLines(t testing.TB, prefix string) string {
	t.Helper()
	b, err := os.ReadFile("../../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, prefix) {
			s.WriteString(line)
		}
	}
	if s.Len() == 0 {
		t.Fatalf("go.sum has no %q", prefix)
	}
	return s.String()
}
