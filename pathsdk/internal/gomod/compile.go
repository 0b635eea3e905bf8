package gomod

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Compile compiles packages of the service in the folder source, and all that they import,
// into the build cache f.GOCache, one step at a time. Steps that start at once would each
// compile the same into an empty one, the standard library to begin with: the go command
// looks there before it compiles a package, and locks nothing. args name the packages, with
// flags of go list before them; environ is the go command's own.
//
// Where it was done for the same dependencies within a day, it costs nothing. What can't be
// compiled is left for the step's command to report, and a turn that does not come in two
// minutes is not waited for: all that Compile changes is how long steps take.
func Compile(ctx context.Context, env step.Env, f Folders, source string, environ []string, args ...string) {
	dir := f.compiled()
	done, err := compiledFor(f, source, args)
	if err != nil {
		return
	}
	done = filepath.Join(dir, done)
	if recent(done) {
		return
	}
	start := time.Now()
	turn, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	unlock, err := lock(turn, dir)
	if err != nil {
		env.Log.Debug("compile: no lock", "error", err)
		return
	}
	defer unlock()
	waited := time.Since(start)
	if recent(done) {
		return
	}
	err = env.Exec.Exec(ctx, step.Command{
		Args: append([]string{filepath.Join(f.GOROOT, "bin", "go"), "list", "-export", "-deps", "-trimpath"}, args...),
		Dir:  source, Env: environ, Stdout: io.Discard, Stderr: io.Discard,
	})
	if err == nil {
		err = errors.Join(os.WriteFile(done, nil, 0o644), os.Chtimes(done, time.Time{}, time.Now()))
	}
	env.Log.Debug("compiled what the service imports", "packages", args, "waited", waited, "took", time.Since(start)-waited, "error", err)
}

// compiled is a folder in the build cache that the go command leaves alone. Its files are
// empty: they say what was compiled, and if that is not so, it is compiled later.
func (f Folders) compiled() string { return filepath.Join(f.GOCache, "paths-compiled") }

// compiledFor names what the packages are compiled from, but for the service's own files,
// which change each time. If those import more of the same modules, or of the standard
// library, that much may be compiled twice.
func compiledFor(f Folders, source string, args []string) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{args, runtime.GOOS, runtime.GOARCH, Flags(source)}); err != nil {
		return "", err
	}
	for _, file := range []string{filepath.Join(f.GOROOT, "VERSION"), filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum")} {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		sum := sha256.Sum256(b)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// lock waits until no other process has the folder's lock.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(l.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return func() { _ = l.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(err, l.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), l.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// recent reports whether a mark is of this day: the go command removes what nobody has used
// for some days.
func recent(mark string) bool {
	info, err := os.Stat(mark)
	return err == nil && time.Since(info.ModTime()) < 24*time.Hour
}
