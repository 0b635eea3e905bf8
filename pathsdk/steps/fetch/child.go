package fetch

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// child runs the go command, the only program that fetch runs. The commands it
// is given, `env` and `mod download`, run no code of the source.
type child struct {
	env      step.Env
	in       Inputs
	modcache string
}

const (
	// searchPath is where the go command is looked for when its path is not
	// given: a step cannot read PATH.
	searchPath = "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin"
	// maxOutput bounds what is kept of a child's output.
	maxOutput = 64 << 20
)

func (c child) home() string { return filepath.Join(c.env.Work, "home") }
func (c child) tmp() string  { return filepath.Join(c.env.Work, "tmp") }

func (c child) prepare() error {
	for _, d := range []string{c.tmp(), c.modcache} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return gomod.MakeHome(c.home())
}

// environ is the whole environment of a child. There is no git on the path, on
// purpose: modules come from a proxy, which serves what go.sum can check.
func (c child) environ(path string, more ...string) []string {
	return append([]string{
		"CGO_ENABLED=0",
		"GO111MODULE=on",
		"GOCACHE=" + filepath.Join(c.env.Work, "gocache"),
		"GOENV=off",
		"GOFLAGS=-mod=readonly",
		"GOMODCACHE=" + c.modcache,
		"GOPATH=" + filepath.Join(c.home(), "go"),
		"GOPRIVATE=" + c.in.GoPrivate,
		"GOPROXY=" + c.in.GoProxy,
		"GOSUMDB=" + c.in.GoSumDB,
		"GOVCS=*:off",
		"GOWORK=off",
		"HOME=" + c.home(),
		"PATH=" + path,
		"TMPDIR=" + c.tmp(),
	}, more...)
}

// run runs a go command and returns its standard output. The error holds the
// end of its standard error.
func (c child) run(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	stdout, stderr := &bounded{limit: maxOutput}, &bounded{limit: 1 << 20}
	err := c.env.Exec.Exec(ctx, step.Command{Args: args, Dir: dir, Env: env, Stdout: stdout, Stderr: stderr})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		if text := lastLines(stderr.buf.String(), 12); text != "" {
			err = fmt.Errorf("%w\n%s", err, text)
		}
		return stdout.buf.Bytes(), err
	}
	if stdout.cut {
		return nil, fmt.Errorf("%s wrote more than %d bytes", args[0], maxOutput)
	}
	return stdout.buf.Bytes(), nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	limit int
	buf   bytes.Buffer
	cut   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if left := b.limit - b.buf.Len(); n > left {
		b.cut = true
		p = p[:left]
	}
	b.buf.Write(p)
	return n, nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
