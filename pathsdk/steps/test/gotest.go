package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// goTest is one run of go test.
type goTest struct {
	env step.Env
	in  Inputs
}

// errTimeout ends a run whose tests take too long.
var errTimeout = errors.New("time limit of the tests")

// run runs the tests and returns their results; failing tests are no error.
func (g goTest) run(ctx context.Context) (*results, error) {
	folders, environ, args, err := g.command()
	if err != nil {
		return nil, err
	}
	if folders.GOCache == g.shared() {
		gomod.Compile(ctx, g.env, folders, string(g.in.Source), environ, gomod.Packages{Patterns: g.in.Packages, Tags: g.in.Tags, Tests: true})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	got := newResults()
	// Compiling takes as long as it takes: the time of the tests starts with
	// the first test.
	got.firstTest = func() {
		limit := time.Duration(g.in.Timeout) + grace
		time.AfterFunc(limit, func() { cancel(errTimeout) })
	}
	var stderr clip
	out := &lineWriter{line: got.add, max: maxLine}
	err = g.env.Exec.Exec(ctx, step.Command{Args: args, Dir: string(g.in.Source), Env: environ, Stdout: out, Stderr: &stderr})
	out.close()
	timedOut := errors.Is(context.Cause(ctx), errTimeout)
	if ctx.Err() != nil && !timedOut {
		return nil, context.Cause(ctx)
	}
	got.close(timedOut)
	var exit *exec.ExitError
	switch {
	case timedOut && len(got.failed) == 0:
		return nil, &step.GateError{Gate: "tests", Findings: []string{"the time limit of " + g.in.Timeout.String() + " ran out while packages were still compiled"},
			Fix: "give the tests more time by testTimeout in paths.yaml"}
	case timedOut:
		return got, nil
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("run go test: %w", err)
	case strings.Contains(stderr.String(), "no packages to test"):
		return nil, step.Usagef("input %q: the source has no Go package that matches %s; name packages such as ./...", "packages", joined(g.in.Packages))
	case err != nil && len(got.findings()) == 0:
		return nil, fmt.Errorf("go test: %w: %s", err, orNothing(stderr.tail(2000)))
	case len(got.suites) == 0:
		return nil, fmt.Errorf("go test: no results: %s", orNothing(stderr.tail(2000)))
	}
	for _, f := range got.findings() {
		// A full disk is no fault of the tests.
		if strings.Contains(f, "[build failed]") && strings.Contains(f, "no space left on device") {
			return nil, fmt.Errorf("go test found no space on the disk: free some where the cache is\n%s", f)
		}
	}
	got.stray.Write(stderr.bytes())
	return got, nil
}

func orNothing(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "it printed no reason"
	}
	return s
}

// command is the environment and the arguments of the go command, with the
// folders that it needs, which are made.
func (g goTest) command() (folders gomod.Folders, environ, args []string, err error) {
	work := func(name string) string { return filepath.Join(g.env.Work, name) }
	folders = gomod.Folders{
		GOROOT:   string(g.in.GoRoot),
		ModCache: string(g.in.ModCache),
		GOCache:  g.shared(),
		Home:     work("home"),
		Tmp:      work("tmp"),
	}
	// A test may write to its home and its temporary folder. Not to where the
	// go command works: what is compiled there goes into the build cache.
	prefix := g.env.Exec.Confine([]string{g.env.Cache, g.env.Out}, []string{folders.Home, folders.Tmp})
	if len(prefix) == 0 {
		// What tests can write to must not be compiled into an image.
		folders.GOCache = work("gocache")
		g.env.Log.Warn("test binaries can't be confined here: the tests use a build cache of their own, which is slower")
	}
	if err := folders.Make(); err != nil {
		return folders, nil, nil, err
	}
	if err := os.MkdirAll(work("gotmp"), 0o755); err != nil {
		return folders, nil, nil, err
	}
	environ = append(gomod.Env(folders, string(g.in.Source)),
		// The last of two counts.
		"GOTMPDIR="+work("gotmp"),
		"PATH="+filepath.Join(folders.GOROOT, "bin")+":/usr/bin:/bin",
		"GOMAXPROCS="+strconv.Itoa(max(1, g.env.Jobs)),
		"LANG=C.UTF-8",
	)
	args = []string{filepath.Join(folders.GOROOT, "bin", "go"), "test", "-json", "-p=" + strconv.Itoa(max(1, g.env.Jobs)), "-coverprofile=" + g.profile()}
	if len(prefix) > 0 {
		x, err := execFlag(prefix)
		if err != nil {
			return folders, nil, nil, err
		}
		args = append(args, x)
	}
	return folders, environ, append(args, g.arguments()...), nil
}

// shared is the build cache of the zone's steps.
func (g goTest) shared() string { return filepath.Join(g.env.Cache, "gocache") }

// arguments are those that decide what is tested, and are the same everywhere.
func (g goTest) arguments() []string {
	args := []string{"-trimpath", "-timeout=" + g.in.Timeout.String()}
	if len(g.in.Tags) > 0 {
		args = append(args, "-tags="+strings.Join(g.in.Tags, ","))
	}
	return append(args, g.in.Packages...)
}

// profile is where the go command writes the coverage.
func (g goTest) profile() string { return filepath.Join(g.env.Work, "cover.raw") }

// execFlag quotes arguments as the go command splits them: at blanks, with
// either quote and no escapes.
func execFlag(prefix []string) (string, error) {
	words := make([]string, len(prefix))
	for i, w := range prefix {
		switch {
		case w != "" && !strings.ContainsAny(w, " \t\r\n'\""):
			words[i] = w
		case !strings.Contains(w, "'"):
			words[i] = "'" + w + "'"
		case !strings.Contains(w, `"`):
			words[i] = `"` + w + `"`
		default:
			return "", fmt.Errorf("go test can't start %s: its path has both kinds of quotes; move it", w)
		}
	}
	return "-exec=" + strings.Join(words, " "), nil
}

func joined(patterns []string) string { return strings.Join(patterns, " ") }
