package fence

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Execer runs child processes inside of a fence. They inherit it.
type Execer struct {
	self   string
	report Report
}

var _ step.Execer = (*Execer)(nil)

// NewExecer makes the Execer of a process whose fence is r. self is the path of
// this program as seen inside.
func NewExecer(self string, r Report) *Execer { return &Execer{self: self, report: r} }

// Inherited finds the Report of the fence around this process, which a program
// started by Spec.Args has in its environment.
func Inherited(getenv func(string) string) (Report, bool) {
	var r Report
	text := getenv(ReportEnv)
	if text == "" || json.Unmarshal([]byte(text), &r) != nil {
		return Report{}, false
	}
	return r, true
}

// Exec runs c to its end and kills its whole process group when ctx ends. The
// error is an *exec.ExitError if the program ran.
func (x *Execer) Exec(ctx context.Context, c step.Command) error { return Plain{}.Exec(ctx, c) }

// Confine returns an argument prefix that runs a command under one more layer
// of Landlock: hide is out of reach and only write is writable. A command run
// by `go test -exec` may also write the coverage files that the go command
// names in its arguments. It is empty where the report does not say Confines.
func (x *Execer) Confine(hide, write []string) []string {
	if !x.report.Confines() {
		return nil
	}
	read := append([]string{x.self}, x.report.Read...)
	read = append(read, x.report.Write...)
	if x.report.Proc {
		read = append(read, "/proc")
	}
	raw, err := json.Marshal(confinement{Read: read, Write: write, Hide: hide})
	if err != nil {
		panic(err) // strings only
	}
	// Without blanks and quotes, for go test splits its -exec flag at them.
	return []string{x.self, VerbConfine, base64.RawURLEncoding.EncodeToString(raw), "--"}
}

// confinement is what Confine tells the child.
type confinement struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
	Hide  []string `json:"hide"`
}

// Plain runs child processes without a fence: for steps that run no code but
// ours, such as fetch.
type Plain struct{}

var _ step.Execer = Plain{}

// Confine returns nothing: what is not fenced can't be confined.
func (Plain) Confine(_, _ []string) []string { return nil }

// Exec runs c to its end and kills its whole process group when ctx ends.
func (Plain) Exec(ctx context.Context, c step.Command) error {
	if len(c.Args) == 0 {
		return fmt.Errorf("fence: a command without arguments")
	}
	path, err := lookPath(c.Args[0], c.Dir, c.Env)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = c.Args
	cmd.Dir = c.Dir
	cmd.Env = append([]string{}, c.Env...) // not nil, which would inherit
	cmd.Stdout, cmd.Stderr = piped(c.Stdout), piped(c.Stderr)
	cmd.WaitDelay = waitDelay
	group(cmd)
	// The kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// piped keeps a terminal or file from being handed to a child directly.
func piped(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return struct{ io.Writer }{w}
}
