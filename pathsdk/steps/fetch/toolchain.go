package fetch

import (
	"context"
	"errors"
	"fmt"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// toolchain is a Go distribution on this machine.
type toolchain struct {
	goroot  string
	version string // such as go1.26.8
}

func (t toolchain) gocmd() string { return filepath.Join(t.goroot, "bin", "go") }

// toolchain finds the toolchain that was asked for. Another version than the
// local one is downloaded as a module, and checked against the checksum
// database, by the local go command.
func (c child) toolchain(ctx context.Context) (toolchain, error) {
	want := c.in.Toolchain
	if want != "local" && (!version.IsValid(want) || strings.ContainsAny(want, "-+ ")) {
		return toolchain{}, step.Usagef("input %q: %q is neither local nor a Go version such as go1.26.1", "toolchain", want)
	}
	if t, ok := atRoot(c.in.Go); ok && (want == "local" || want == t.version) {
		return t, nil
	}
	selected := "GOTOOLCHAIN=" + want
	out, err := c.run(ctx, c.env.Work, c.environ(searchPath, selected), c.in.Go, "env", "GOROOT", "GOVERSION")
	switch {
	case ctx.Err() != nil:
		return toolchain{}, err
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return toolchain{}, step.Usagef("the go command %q is not on this machine: install Go (https://go.dev/dl) and run again", c.in.Go)
	case err != nil && want != "local":
		return toolchain{}, fmt.Errorf("get toolchain %s: %w\n  fix: check that the version exists and that a module proxy is reachable (goproxy=%s), or use the local toolchain", want, err, gomod.Shown(c.in.GoProxy))
	case err != nil:
		return toolchain{}, fmt.Errorf("ask %s for its GOROOT: %w", c.in.Go, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 || !filepath.IsAbs(lines[0]) {
		return toolchain{}, fmt.Errorf("%s env GOROOT GOVERSION gave %.200q, want a folder and a version\n  fix: reinstall Go", c.in.Go, out)
	}
	// A version may be followed by experiments: "go1.26.8 X:jsonv2".
	v, _, _ := strings.Cut(lines[1], " ")
	t := toolchain{lines[0], v}
	if want != "local" && t.version != want {
		return toolchain{}, fmt.Errorf("get toolchain %s: the go command answers with %s\n  fix: use the local toolchain, or install %s", want, t.version, want)
	}
	if _, err := os.Stat(t.gocmd()); err != nil {
		return toolchain{}, fmt.Errorf("toolchain %s has no go command: %w\n  fix: reinstall Go", t.version, err)
	}
	return t, nil
}

// atRoot reads off the disk what `go env` would answer for a go command in a
// released distribution, which saves starting it.
func atRoot(gocmd string) (toolchain, bool) {
	if !filepath.IsAbs(gocmd) {
		return toolchain{}, false
	}
	real, err := filepath.EvalSymlinks(gocmd)
	if err != nil || filepath.Base(real) != "go" || filepath.Base(filepath.Dir(real)) != "bin" {
		return toolchain{}, false
	}
	t := toolchain{goroot: filepath.Dir(filepath.Dir(real))}
	if fi, err := os.Stat(filepath.Join(t.goroot, "pkg", "tool")); err != nil || !fi.IsDir() {
		return toolchain{}, false
	}
	b, err := os.ReadFile(filepath.Join(t.goroot, "VERSION"))
	if err != nil || len(b) > 4096 {
		return toolchain{}, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	t.version = strings.TrimSpace(line)
	return t, version.IsValid(t.version)
}
