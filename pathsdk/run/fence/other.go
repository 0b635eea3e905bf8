//go:build !linux

package fence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// modes: there is nothing to ask for.
func modes() []mode { return []mode{{}} }

// attempt runs the child without a fence, and the Report says so.
func (f *Fence) attempt(ctx context.Context, _ mode, s Spec) (Report, error) {
	r := Report{Refused: []string{"Landlock and namespaces: this operating system has none"}}
	args := s.Args
	if s.Enter {
		args = append([]string{f.self}, args...)
	}
	if len(args) == 0 {
		return r, nil
	}
	path, err := lookPath(args[0], s.Dir, s.Env)
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = append([]string{}, s.Env...)
	cmd.Stdin = bytes.NewReader(s.Stdin)
	cmd.Stdout, cmd.Stderr = piped(s.Stdout), piped(s.Stderr)
	cmd.WaitDelay = waitDelay
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		return r, err
	}
	return r, nil
}

// Enter does nothing here.
func Enter() (Report, error) {
	return Report{Refused: []string{"Landlock and namespaces: this operating system has none"}}, nil
}

// Main answers the verbs of this package, and reports whether args (os.Args)
// held one; code is then the exit code.
func Main(args []string) (code int, ok bool) {
	if len(args) > 1 && (args[1] == VerbExec || args[1] == VerbConfine) {
		fmt.Println(errors.New("this is an internal command, and unused on this operating system"))
		return 125, true
	}
	return 0, false
}

func group(*exec.Cmd) {}
