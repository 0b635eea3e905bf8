// Package custom is the step that runs any command over the service's source:
// the way out for what no paved step does, such as a linter or a generator that
// must find nothing to do. What it says is always the producer's word.
package custom

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Inputs are what custom takes.
type Inputs struct {
	Source          step.Dir      `json:"source" help:"the fetched source; the command works in a copy"`
	SourceDigest    step.Digest   `json:"sourceDigest" help:"digest of the source"`
	Name            string        `json:"name" help:"what the command is called in evidence and reports, such as lint"`
	Command         []string      `json:"command" help:"program and arguments, without a shell"`
	Timeout         step.Duration `json:"timeout" default:"10m" help:"time limit of the command"`
	Modules         step.File     `json:"modules,omitempty" help:"the modules of the build list with their sums"`
	ModCache        step.Dir      `json:"modcache,omitempty" key:"-" help:"the module cache that holds them"`
	GoRoot          step.Dir      `json:"goroot,omitempty" key:"-" help:"the Go toolchain's folder; its go is on the command's PATH"`
	ToolchainDigest step.Digest   `json:"toolchainDigest,omitempty" help:"digest of the toolchain's files"`
}

// Output is what custom gives.
type Output struct {
	Digest step.Digest `json:"digest" help:"digest of the source"`
	Log    step.File   `json:"log" help:"what the command printed"`
}

// Subject is the source.
func (o Output) Subject() step.Subject { return step.Subject{Name: "source", Digest: o.Digest} }

var _ step.Output = Output{}

// New returns the step.
func New() step.Step {
	return step.Define(step.Meta{
		Name:     "custom",
		Version:  "0.1.0",
		Summary:  "Runs a command of the service's own over its source, without network, and refuses a failure.",
		Proves:   "The producer says that this command passed on this source.",
		Zone:     step.ZoneBuild,
		Needs:    step.Needs{UserCode: true},
		Evidence: []string{evidence.TestResult.URI},
	}, run)
}

// name is what a command may be called: it becomes part of file names and
// policies.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62})$`)

// errTimeout ends a command that takes too long.
var errTimeout = errors.New("time limit of the command")

func run(ctx context.Context, env step.Env, in Inputs) (Output, []step.Evidence, error) {
	switch {
	case !name.MatchString(in.Name):
		return Output{}, nil, step.Usagef("input %q: %.80q is no name; use lower-case letters, digits and dashes", "name", in.Name)
	case in.Command[0] == "":
		return Output{}, nil, step.Usagef("input %q: the program is empty; name one", "command")
	case in.Timeout <= 0:
		return Output{}, nil, step.Usagef("input %q: %s is no time limit; give one such as 10m", "timeout", in.Timeout)
	}
	if err := ctx.Err(); err != nil {
		return Output{}, nil, err
	}
	src := filepath.Join(env.Work, "src")
	if err := os.CopyFS(src, os.DirFS(string(in.Source))); err != nil {
		return Output{}, nil, fmt.Errorf("copy the source: %w", err)
	}
	environ, args, err := command(env, in, src)
	if err != nil {
		return Output{}, nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, time.Duration(in.Timeout), errTimeout)
	defer cancel()
	var log clip
	failure := env.Exec.Exec(limited, step.Command{Args: args, Dir: src, Env: environ, Stdout: &log, Stderr: &log})
	if ctx.Err() != nil {
		return Output{}, nil, context.Cause(ctx)
	}
	out := Output{Digest: in.SourceDigest, Log: step.File(filepath.Join(env.Out, "custom.log"))}
	if err := os.WriteFile(string(out.Log), log.bytes(), 0o644); err != nil {
		return Output{}, nil, fmt.Errorf("write the log: %w", err)
	}
	var finding string
	var exit *exec.ExitError
	switch {
	case errors.Is(failure, fs.ErrNotExist):
		return Output{}, nil, step.Usagef("input %q: %w", "command", failure)
	case errors.Is(context.Cause(limited), errTimeout) && failure != nil:
		finding = fmt.Sprintf("%s did not end within %s", in.Command[0], in.Timeout)
	case errors.As(failure, &exit):
		finding = fmt.Sprintf("%s: %s", in.Command[0], exit.ProcessState)
	case errors.Is(failure, exec.ErrWaitDelay):
		finding = in.Command[0] + " left processes behind"
	case failure != nil:
		return Output{}, nil, fmt.Errorf("run %s: %w", in.Command[0], failure)
	}
	ev, err := predicate(in, finding == "")
	if err != nil {
		return Output{}, nil, err
	}
	if finding != "" {
		return Output{}, ev, &step.GateError{Gate: in.Name, Findings: append([]string{finding}, lastLines(log.bytes())...),
			Fix: "make the command pass: " + strings.Join(in.Command, " ") + "; it runs without network, in a copy of the source"}
	}
	return out, ev, nil
}

// command is the environment and the arguments of the child. It works in the
// copy, with a build cache of its own: what it compiles goes into no image.
func command(env step.Env, in Inputs, src string) (environ, args []string, err error) {
	work := func(name string) string { return filepath.Join(env.Work, name) }
	folders := gomod.Folders{GOROOT: string(in.GoRoot), ModCache: string(in.ModCache), GOCache: work("gocache"), Home: work("home"), Tmp: work("tmp")}
	if folders.ModCache == "" {
		folders.ModCache = work("modcache")
	}
	path := "/usr/local/bin:/usr/bin:/bin"
	if folders.GOROOT != "" {
		path = filepath.Join(folders.GOROOT, "bin") + ":" + path
	}
	if err := folders.Make(); err != nil {
		return nil, nil, err
	}
	for _, e := range gomod.Env(folders, src) {
		if folders.GOROOT != "" || !strings.HasPrefix(e, "GOROOT=") {
			environ = append(environ, e)
		}
	}
	environ = append(environ, "PATH="+path, "GOMAXPROCS="+strconv.Itoa(max(1, env.Jobs)), "LANG=C.UTF-8")
	prefix := env.Exec.Confine([]string{env.Cache, env.Out}, []string{src, folders.GOCache, folders.Home, folders.Tmp})
	if len(prefix) == 0 {
		env.Log.Warn("the command can't be confined here", "command", in.Name)
	}
	return environ, append(prefix, in.Command...), nil
}

// predicate is the evidence of one run: test-result v0.1 about the source.
func predicate(in Inputs, passed bool) ([]step.Evidence, error) {
	line, err := json.Marshal(in.Command)
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(line)
	suite := evidence.ResourceDescriptor{Name: in.Name, MediaType: "application/json", Digest: map[string]string{"sha256": hex.EncodeToString(h[:])}}
	if len(line) <= 1024 { // the specification's bound of inline content
		suite.Content = line
	}
	p := evidence.TestResultV01{
		Result:        evidence.TestsPassed,
		Configuration: []evidence.ResourceDescriptor{{Name: "source", Digest: evidence.SHA256(in.SourceDigest)}},
	}
	if in.ToolchainDigest != "" {
		p.Configuration = append(p.Configuration, evidence.ResourceDescriptor{Name: "go", Digest: evidence.SHA256(in.ToolchainDigest)})
	}
	p.Configuration = append(p.Configuration, suite)
	if passed {
		p.PassedTests = []string{in.Name}
	} else {
		p.Result, p.FailedTests = evidence.TestsFailed, []string{in.Name}
	}
	raw, err := p.Encode()
	if err != nil {
		return nil, err
	}
	return []step.Evidence{{Type: evidence.TestResult.URI, Predicate: raw, Subject: &step.Subject{Name: "source", Digest: in.SourceDigest}}}, nil
}

// lastLines are the end of what a command printed.
func lastLines(log []byte) []string {
	var lines []string
	for l := range strings.Lines(strings.ToValidUTF8(string(log[max(0, len(log)-8<<10):]), "\uFFFD")) {
		l = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, l))
		if l != "" {
			lines = append(lines, l[:min(len(l), 300)])
		}
	}
	return lines[max(0, len(lines)-10):]
}

// Bounds of the log: its beginning and its end are kept.
const (
	logHead = 1 << 20
	logTail = 3 << 20
)

// clip keeps the beginning and the end of what is written to it.
type clip struct {
	head, last []byte
	lost       int
}

// Write implements io.Writer; it never fails.
func (c *clip) Write(p []byte) (int, error) {
	n := len(p)
	k := min(logHead-len(c.head), len(p))
	c.head = append(c.head, p[:k]...)
	c.last = append(c.last, p[k:]...)
	// Cut seldom, so that many small writes stay cheap.
	if over := len(c.last) - logTail; over > logTail {
		c.lost += over
		c.last = bytes.Clone(c.last[over:])
	}
	return n, nil
}

func (c *clip) bytes() []byte {
	last, lost := c.last, c.lost
	if over := len(last) - logTail; over > 0 {
		last, lost = last[over:], lost+over
	}
	if lost == 0 {
		return append(bytes.Clone(c.head), last...)
	}
	return fmt.Appendf(bytes.Clone(c.head), "\n... %d bytes left out ...\n%s", lost, last)
}
