package gomod

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/filelock"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Packages are what a step compiles of a service.
type Packages struct {
	// Patterns are those of the go command, such as "./...".
	Patterns []string
	// Tags are build tags.
	Tags []string
	// Tests says that tests of the packages are compiled as well.
	Tests bool
}

// Compile compiles what packages of the service in the folder source import from elsewhere,
// other modules and the standard library, into the build cache f.GOCache, one step at a time.
// Steps that start at once would each compile the same into an empty one: the go command
// looks there before it compiles a package, and locks nothing. environ is the go command's
// own. The service's own packages are not compiled: tests, which measure coverage, need
// them otherwise than an image does.
//
// Where it was done for the same dependencies within a day, it costs nothing. What can't be
// compiled is left for the step's command to report, and a turn that does not come in two
// minutes is not waited for: all that Compile changes is how long steps take.
func Compile(ctx context.Context, env step.Env, f Folders, source string, environ []string, p Packages) {
	done, err := f.mark(source, p)
	if err != nil {
		env.Log.Debug("compile: no mark", "error", err)
		return
	}
	if recent(done) {
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
	err = f.compile(ctx, env.Exec, source, environ, p)
	if err == nil {
		err = os.WriteFile(done, nil, 0o644)
	}
	env.Log.Debug("compiled what the service imports", "packages", p, "waited", waited, "took", time.Since(start)-waited, "error", err)
}

// elsewhere is a template of go list for packages that are not the service's own. Those that
// are compiled for one program only, for its tests or with its profile, have a blank in
// their name.
const elsewhere = `{{if or .Standard (and .Module (not .Module.Main))}}{{.ImportPath}}{{end}}`

func (f Folders) compile(ctx context.Context, x step.Execer, source string, environ []string, p Packages) error {
	list := func(stdout io.Writer, args ...string) error {
		args = append([]string{filepath.Join(f.GOROOT, "bin", "go"), "list"}, args...)
		return x.Exec(ctx, step.Command{Args: args, Dir: source, Env: environ, Stdout: stdout, Stderr: io.Discard})
	}
	var flags []string
	if len(p.Tags) > 0 {
		flags = []string{"-tags=" + strings.Join(p.Tags, ",")}
	}
	find := append(slices.Clone(flags), "-deps", "-f="+elsewhere)
	if p.Tests {
		find = append(find, "-test")
	}
	var found bytes.Buffer
	if err := list(&found, append(find, p.Patterns...)...); err != nil {
		return err
	}
	names := slices.DeleteFunc(strings.Split(strings.TrimSpace(found.String()), "\n"), func(name string) bool {
		return name == "" || strings.Contains(name, " ")
	})
	if len(names) == 0 {
		return nil
	}
	return list(io.Discard, append(append(flags, "-export", "-trimpath"), names...)...)
}

// marks is a folder in the build cache that the go command leaves alone. Its files are empty:
// they say what was compiled, and where that is not so, it is compiled later.
func (f Folders) marks() string { return filepath.Join(f.GOCache, "paths-compiled") }

// mark is the file that says what is compiled. The service's own files, which change each
// time, have no part in it: if they import more of the same modules, or of the standard
// library, that much may be compiled twice.
func (f Folders) mark(source string, p Packages) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{p, runtime.GOOS, runtime.GOARCH, Flags(source)}); err != nil {
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
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, file := range files {
		if mark := filepath.Join(f.marks(), file.Name()); file.Name() != "lock" && !recent(mark) {
			_ = os.Remove(mark) // it counts for nothing where it stays
		}
	}
	return func() { _ = l.Close() }, nil
}

// recent reports whether a mark is of this day: the go command removes what nobody has used
// for some days.
func recent(mark string) bool {
	info, err := os.Stat(mark)
	return err == nil && time.Since(info.ModTime()) < 24*time.Hour
}
