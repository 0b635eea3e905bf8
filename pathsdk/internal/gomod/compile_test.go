package gomod

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

// execer stands for the go command, which takes a while.
type execer struct {
	err error

	mu        sync.Mutex
	now, most int
	ran       []string
}

func (e *execer) Confine(hide, write []string) []string { return nil }

func (e *execer) Exec(ctx context.Context, c step.Command) error {
	e.mu.Lock()
	e.now++
	e.most = max(e.most, e.now)
	e.ran = append(e.ran, strings.Join(c.Args[1:], " "))
	e.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now--
	return e.err
}

func TestCompile(t *testing.T) {
	source := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/a\n")
	f := Folders{GOROOT: t.TempDir(), GOCache: filepath.Join(t.TempDir(), "gocache")}
	with := func(e *execer) step.Env { return step.Env{Log: slog.New(slog.DiscardHandler), Exec: e} }
	compile := func(e *execer, args ...string) {
		Compile(t.Context(), with(e), f, source, nil, args...)
	}

	// Two steps, four times each, at once: one go command at a time, and one for each.
	e := &execer{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { compile(e, []string{".", "./..."}[i%2]) })
	}
	all.Wait()
	slices.Sort(e.ran)
	if want := []string{"list -export -deps -trimpath .", "list -export -deps -trimpath ./..."}; e.most != 1 || !slices.Equal(e.ran, want) {
		t.Errorf("%d at once, and of all %q; want 1, and %q", e.most, e.ran, want)
	}

	// Other dependencies are compiled, and so is what failed before.
	write("go.sum", "example.com/b v1.0.0 h1:x\n")
	e = &execer{err: errors.New("example.com/b can't be compiled")}
	compile(e, ".")
	compile(e, ".")
	e.err = nil
	compile(e, ".")
	compile(e, ".")
	if len(e.ran) != 3 {
		t.Errorf("the go command ran %d times, want twice that it failed, and once more", len(e.ran))
	}

	// What was compiled some days ago may be gone from the cache, and so are marks of it.
	old, err := filepath.Glob(filepath.Join(f.marks(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range old {
		if err := os.Chtimes(mark, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	compile(e, ".")
	compile(e, ".")
	if len(e.ran) != 4 {
		t.Errorf("the go command ran %d times, want once more for what is old", len(e.ran))
	}
	if marks, err := filepath.Glob(filepath.Join(f.marks(), "*")); err != nil || len(marks) != 2 { // its own, and the lock
		t.Errorf("marks: %q, error %v", marks, err)
	}

	// Whoever waits stops when he is told to.
	end, err := f.turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e = &execer{}
	Compile(ctx, with(e), f, source, nil, "./other")
	if len(e.ran) != 0 || ctx.Err() == nil {
		t.Errorf("it did not wait for its turn: %q", e.ran)
	}
}

// TestCompileIsTheSame compiles with the real go command: what Compile compiled is what
// building and testing use, with the flags that the steps give, and they compile it no more.
func TestCompileIsTheSame(t *testing.T) {
	goEnv := func(name string) string {
		t.Helper()
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	work, source := t.TempDir(), t.TempDir()
	f := Folders{GOROOT: goEnv("GOROOT"), ModCache: goEnv("GOMODCACHE"), GOCache: goEnv("GOCACHE"), Home: filepath.Join(work, "home"), Tmp: filepath.Join(work, "tmp")}
	if err := f.Make(); err != nil {
		t.Fatal(err)
	}
	module := "example.com/" + strings.ToLower(rand.Text()) // in nobody's cache
	for name, text := range map[string]string{
		"go.mod":       "module " + module + "\n\ngo 1.26.0\n",
		"lib/lib.go":   "package lib\n\nfunc Answer() int { return 42 }\n",
		"main.go":      "package main\n\nimport \"" + module + "/lib\"\n\nfunc main() { println(lib.Answer()) }\n",
		"main_test.go": "package main\n\nimport \"testing\"\n\nfunc TestMain(t *testing.T) { main() }\n",
	} {
		file := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	environ := Env(f, source)
	compiles := func(args ...string) bool {
		t.Helper()
		cmd := exec.Command(filepath.Join(f.GOROOT, "bin", "go"), args...)
		cmd.Dir, cmd.Env = source, environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
		return regexp.MustCompile(`(?m)^\S*/compile .* -p \S*/lib `).Match(out)
	}
	Compile(t.Context(), step.Env{Log: slog.New(slog.DiscardHandler), Exec: steptest.Execer{}}, f, source, environ, module)
	for _, args := range [][]string{
		{"build", "-x", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(work, "main"), module},
		{"test", "-x", "-trimpath", "-vet=off", "-run=^$", "-coverprofile=" + filepath.Join(work, "cover"), "."},
	} {
		if compiles(args...) {
			t.Errorf("go %q compiles once more", args)
		}
	}
	if !compiles("build", "-x", "-o", filepath.Join(work, "main"), module) { // with other flags
		t.Error("go build -x does not tell that it compiles")
	}
}
