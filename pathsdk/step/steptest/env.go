package steptest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Now is the clock of every Env that this package makes: it stands still.
func Now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Env returns an Env for tests: private empty folders, a fixed clock, a quiet
// log, and an Execer without a fence, whose children get only their own
// environment.
func Env(t *testing.T) step.Env {
	t.Helper()
	dir := t.TempDir()
	env := step.Env{
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:   Now,
		HTTP:  &http.Client{Timeout: time.Minute},
		Work:  filepath.Join(dir, "work"),
		Out:   filepath.Join(dir, "out"),
		Cache: filepath.Join(dir, "cache"),
		Exec:  Execer{},
		Jobs:  2,
	}
	for _, d := range []string{env.Work, env.Out, env.Cache} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A Go module cache is read-only: RemoveAll can't empty its folders.
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	return env
}

func newEnv(t *testing.T, c Case) step.Env {
	t.Helper()
	env := Env(t)
	if c.Env != nil {
		c.Env(t, &env)
	}
	return env
}

// Execer runs children without a fence.
type Execer struct{}

var _ step.Execer = Execer{}

// Exec implements step.Execer.
func (Execer) Exec(ctx context.Context, c step.Command) error {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, c.Stdout, c.Stderr
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would inherit ours
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd.Run()
}

// Confine implements step.Execer: there is no fence.
func (Execer) Confine(_, _ []string) []string { return nil }

// watch is what a step may not change: its inputs, the current folder, and
// folders that stand for the user's home and the machine's temporary files.
type watch struct{ roots map[string]string } // by name for people

func watched(t *testing.T, in map[string]any) watch {
	t.Helper()
	w := watch{roots: map[string]string{"the current folder": "."}}
	for name, key := range map[string]string{"HOME": "HOME", "the temporary folder": "TMPDIR"} {
		dir := t.TempDir()
		t.Setenv(key, dir)
		w.roots[name] = dir
	}
	for name, v := range in {
		if path, ok := v.(string); ok && filepath.IsAbs(path) && exists(path) {
			w.roots["input "+name] = path
		}
	}
	return w
}

func (w watch) state(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, root := range w.roots {
		for path, state := range tree(t, root, false) {
			all[name+": "+path] = state
		}
	}
	return all
}

func (w watch) differences(a, b map[string]string) []string {
	var out []string
	for k := range maps.Keys(a) {
		if a[k] != b[k] {
			out = append(out, k)
		}
	}
	for k := range maps.Keys(b) {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// tree describes every file below root: by content, or, for big folders that
// are only watched, by size and time.
func tree(t *testing.T, root string, content bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		state := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			state += " " + target
		case info.Mode().IsRegular() && content:
			sum, err := digest(path)
			if err != nil {
				return err
			}
			state += " " + sum
		case info.Mode().IsRegular():
			state += fmt.Sprintf(" %d %s", info.Size(), info.ModTime().Format(time.RFC3339Nano))
		}
		out[rel] = state
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
