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

	"github.com/pavedpaths/paths/pathsdk/internal/filelock"
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
	done, err := f.mark(source, args)
	if err != nil || recent(done) {
		return
	}
	start := time.Now()
	end, err := f.turn(ctx)
	if err != nil {
		env.Log.Debug("compile: no turn", "error", err)
		return
	}
	defer end()
	waited := time.Since(start)
	if recent(done) {
		return
	}
	err = env.Exec.Exec(ctx, step.Command{
		Args: append([]string{filepath.Join(f.GOROOT, "bin", "go"), "list", "-export", "-deps", "-trimpath"}, args...),
		Dir:  source, Env: environ, Stdout: io.Discard, Stderr: io.Discard,
	})
	if err == nil {
		err = os.WriteFile(done, nil, 0o644)
	}
	env.Log.Debug("compiled what the service imports", "packages", args, "waited", waited, "took", time.Since(start)-waited, "error", err)
}

// marks is a folder in the build cache that the go command leaves alone. Its files are empty:
// they say what was compiled, and where that is not so, it is compiled later.
func (f Folders) marks() string { return filepath.Join(f.GOCache, "paths-compiled") }

// mark is the file that says what the packages are compiled from, but for the service's own
// files, which change each time. If those import more of the same modules, or of the standard
// library, that much may be compiled twice.
func (f Folders) mark(source string, args []string) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{args, runtime.GOOS, runtime.GOARCH, Flags(source)}); err != nil {
		return "", err
	}
	for _, path := range []string{filepath.Join(f.GOROOT, "VERSION"), filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum")} {
		one := sha256.New()
		file, err := os.Open(path)
		if err == nil {
			_, err = io.Copy(one, file)
			_ = file.Close()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		h.Write(one.Sum(nil))
	}
	return filepath.Join(f.marks(), hex.EncodeToString(h.Sum(nil))), nil
}

// turn waits, for two minutes at most, until no other step compiles into the build cache.
// Marks that count no longer are removed.
func (f Folders) turn(ctx context.Context) (end func(), err error) {
	if err := os.MkdirAll(f.marks(), 0o755); err != nil {
		return nil, err
	}
	l, err := os.OpenFile(filepath.Join(f.marks(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := filelock.Lock(ctx, l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	files, err := os.ReadDir(f.marks())
	for _, file := range files {
		if mark := filepath.Join(f.marks(), file.Name()); file.Name() != "lock" && !recent(mark) {
			err = errors.Join(err, os.Remove(mark))
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return func() { _ = l.Close() }, nil
}

// recent reports whether a mark is of this day: the go command removes what nobody has used
// for some days.
func recent(mark string) bool {
	info, err := os.Stat(mark)
	return err == nil && time.Since(info.ModTime()) < 24*time.Hour
}
