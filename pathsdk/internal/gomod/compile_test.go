package gomod

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
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

	// What was compiled some days ago may be gone from the cache.
	marks, err := filepath.Glob(filepath.Join(f.compiled(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range marks {
		if err := os.Chtimes(mark, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	compile(e, ".")
	compile(e, ".")
	if len(e.ran) != 4 {
		t.Errorf("the go command ran %d times, want once more for what is old", len(e.ran))
	}

	// Whoever waits stops when he is told to.
	unlock, err := lock(t.Context(), f.compiled())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e = &execer{}
	Compile(ctx, with(e), f, source, nil, "./other")
	if len(e.ran) != 0 || ctx.Err() == nil {
		t.Errorf("it did not wait for its turn: %q", e.ran)
	}
}
