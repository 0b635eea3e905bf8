package gomod

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	if slices.Contains(c.Args, "-deps") { // as go list prints them
		fmt.Fprintln(c.Stdout, "fmt\n\nexample.com/c\nexample.com/d [example.com/a.test]")
	}
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
	compile := func(e *execer, p Packages) {
		Compile(t.Context(), with(e), f, source, nil, p)
	}
	build, test := Packages{Patterns: []string{"."}}, Packages{Patterns: []string{"./..."}, Tags: []string{"a", "b"}, Tests: true}

	// Two steps, four times each, at once: one go command at a time, and one for each.
	e := &execer{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { compile(e, []Packages{build, test}[i%2]) })
	}
	all.Wait()
	slices.Sort(e.ran)
	want := []string{
		"list -deps -f=" + elsewhere + " .",
		"list -export -trimpath fmt example.com/c",
		"list -tags=a,b -deps -f=" + elsewhere + " -test ./...",
		"list -tags=a,b -export -trimpath fmt example.com/c",
	}
	if e.most != 1 || !slices.Equal(e.ran, want) {
		t.Errorf("%d at once, and of all %q; want 1, and %q", e.most, e.ran, want)
	}

	// Other dependencies are compiled, and so is what failed before.
	write("go.sum", "example.com/b v1.0.0 h1:x\n")
	e = &execer{err: errors.New("example.com/b can't be compiled")}
	compile(e, build)
	compile(e, build)
	e.err = nil
	compile(e, build)
	compile(e, build)
	if len(e.ran) != 4 {
		t.Errorf("the go command ran %d times, want one each time that it failed, and two for what was compiled", len(e.ran))
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
	compile(e, build)
	compile(e, build)
	if len(e.ran) != 6 {
		t.Errorf("the go command ran %d times, want two more for what is old", len(e.ran))
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
	Compile(ctx, with(e), f, source, nil, test)
	if len(e.ran) != 0 || ctx.Err() == nil {
		t.Errorf("it did not wait for its turn: %q", e.ran)
	}
}

// TestCompileIsTheSame compiles with the real go command: what Compile compiled is what
// building and testing use, with the flags that the steps give, and they compile it no more.
// It leaves the service's own packages to them.
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
		"go.mod":          "module " + module + "\n\ngo 1.26.0\n\nrequire " + module + "lib v0.0.0\n\nreplace " + module + "lib => ./lib\n",
		"lib/go.mod":      "module " + module + "lib\n\ngo 1.26.0\n",
		"lib/lib.go":      "package lib\n\nfunc Answer() int { return 42 }\n",
		"lib/want/lib.go": "package want\n\nconst Answer = 42\n",
		"own/own.go":      "package own\n\nimport \"" + module + "lib\"\n\nvar Answer = lib.Answer()\n",
		"main.go":         "package main\n\nimport \"" + module + "/own\"\n\nfunc main() { println(own.Answer) }\n",
		"main_test.go":    "package main\n\nimport (\n\t\"testing\"\n\n\t\"" + module + "/own\"\n\t\"" + module + "lib/want\"\n)\n\nfunc TestMain(t *testing.T) {\n\tif main(); own.Answer != want.Answer {\n\t\tt.Fail()\n\t}\n}\n",
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
	// compiled are the packages that a go command compiles, without the start of the module's name.
	compiled := func(args ...string) []string {
		t.Helper()
		cmd := exec.Command(filepath.Join(f.GOROOT, "bin", "go"), args...)
		cmd.Dir, cmd.Env = source, environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^\S*/compile .* -p (\S+) `).FindAllSubmatch(out, -1) {
			if name, ok := strings.CutPrefix(string(m[1]), module); ok {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	env := step.Env{Log: slog.New(slog.DiscardHandler), Exec: steptest.Execer{}}
	build := []string{"build", "-x", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(work, "main"), module}
	test := []string{"test", "-x", "-trimpath", "-vet=off", "-coverprofile=" + filepath.Join(work, "cover"), "./..."}
	Compile(t.Context(), env, f, source, environ, Packages{Patterns: []string{module}})
	if got, want := compiled(build...), []string{"/own"}; !slices.Equal(got, want) {
		t.Errorf("go %q compiles %q after Compile, want %q", build, got, want)
	}
	Compile(t.Context(), env, f, source, environ, Packages{Patterns: []string{"./..."}, Tests: true})
	if got, want := compiled(test...), []string{"", "/own"}; !slices.Equal(got, want) {
		t.Errorf("go %q compiles %q after Compile, want %q", test, got, want)
	}
	if got, want := compiled("build", "-x", "-o", filepath.Join(work, "main"), module), []string{"/own", "lib"}; !slices.Equal(got, want) { // with other flags
		t.Errorf("go build without -trimpath compiles %q, want %q", got, want)
	}
}
