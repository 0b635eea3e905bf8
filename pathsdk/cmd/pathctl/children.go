package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/run"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/telemetry"
)

// attestRequest is what ship asks of the attester: digests, and where to find
// and put what they name.
type attestRequest struct {
	Published published
	Inputs    map[string]json.RawMessage
	Path      string
	Record    string
	To        string
	Layout    string
	NoCache   bool
}

// attested is the attester's answer.
type attested struct {
	Reference string         `json:"reference"`
	Database  string         `json:"database"`
	Evidence  []attestedItem `json:"evidence"`
	// Duplicate is true if another attempt at the same run was first: what this one has
	// signed stays in logs, and is published nowhere.
	Duplicate bool `json:"duplicate,omitempty"`
}

type attestedItem struct {
	Type    string      `json:"type"`
	Subject step.Digest `json:"subject"`
	Tier    string      `json:"tier"`
	Digest  step.Digest `json:"digest"`
	Cached  bool        `json:"cached,omitempty"`
}

// attestChild runs the attester as a process of its own: this one never opens a
// key.
func (a *app) attestChild(ctx context.Context, show *progress, req attestRequest, r *run.Runner) (attested, error) {
	inputs, err := json.Marshal(req.Inputs)
	if err != nil {
		return attested{}, err
	}
	file := filepath.Join(r.Work(), "inputs.json")
	if err := os.WriteFile(file, inputs, 0o600); err != nil {
		return attested{}, err
	}
	args := []string{"attest", "--built-here", "--path", req.Path, "--staging", string(req.Published.Staging),
		"--image", string(req.Published.Image), "--claims", string(req.Published.Claims),
		"--run", req.Record, "--inputs", file, "--to", req.To, "--layout", req.Layout}
	if req.NoCache {
		args = append(args, "--no-cache")
	}
	var res attested
	return res, a.child(ctx, show, args, &res)
}

// verifyChild runs the verifier as a process of its own; it has its own key,
// and writes the verdict and the report.
func (a *app) verifyChild(ctx context.Context, show *progress, ref string, pl plan, f policyFlags, out outFolder) (policy.Verdict, error) {
	timings, err := json.Marshal(show.summary())
	if err != nil {
		return policy.Verdict{}, err
	}
	if err := writeFile(out.timings(), timings, 0o644); err != nil {
		return policy.Verdict{}, err
	}
	name := pl.path.Policy
	if f.name != "" {
		name = f.name
	}
	args := []string{"verify", ref, "--policy", name, "--attest", "--out", out.verdict(), "--report", out.report(), "--timings", out.timings()}
	args = append(args, f.args()...)
	var v policy.Verdict
	err = a.child(ctx, show, args, &v)
	var gate *step.GateError
	if errors.As(err, &gate) && v.Digest != "" {
		err = nil // the verdict says why, and it is ours to show
	}
	return v, err
}

// child runs this binary again as another zone. Its result is one JSON document
// on standard output, its progress comes as events on descriptor 3.
func (a *app) child(ctx context.Context, show *progress, args []string, result any) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	args = append(args, "--output", "json", "--home", a.host.Home, "--events-fd", "3")
	cmd := exec.CommandContext(ctx, a.host.Self, args...)
	cmd.Env = a.host.Environ(telemetry.Traceparent(ctx))
	cmd.ExtraFiles = []*os.File{w}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &limited{w: &stderr, left: 1 << 20}
	// The terminal's interrupt goes to the parent, which cancels; a killed
	// parent takes its children along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	// The kernel watches the thread that started the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		w.Close()
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	w.Close()
	relay(r, show)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if stdout.Len() > 0 {
		if jsonErr := json.Unmarshal(stdout.Bytes(), result); jsonErr != nil {
			return fmt.Errorf("%s: unreadable result: %w", args[0], jsonErr)
		}
	}
	if err == nil {
		return nil
	}
	return childFailure(args[0], err, stderr.Bytes())
}

// childFailure rebuilds the error that the child printed.
func childFailure(verb string, err error, stderr []byte) error {
	lines := bytes.Split(bytes.TrimSpace(stderr), []byte("\n"))
	var doc struct {
		Error    string   `json:"error"`
		ExitCode int      `json:"exitCode"`
		Gate     string   `json:"gate"`
		Findings []string `json:"findings"`
		Fix      string   `json:"fix"`
	}
	if json.Unmarshal(lines[len(lines)-1], &doc) != nil || doc.Error == "" {
		return fmt.Errorf("%s: %w: %.2000s", verb, err, stderr)
	}
	switch doc.ExitCode {
	case 3:
		return &step.GateError{Gate: doc.Gate, Findings: doc.Findings, Fix: doc.Fix}
	case 2:
		return step.Usagef("%s: %s", verb, doc.Error)
	}
	return fmt.Errorf("%s: %s", verb, doc.Error)
}

// relay passes a child's events on until it closes its end.
func relay(r io.Reader, show *progress) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e run.Event
		if json.Unmarshal(sc.Bytes(), &e) == nil {
			show.observe(e)
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// limited drops what a child writes beyond a bound.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n > 0 {
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// eventSink observes into the descriptor that a parent gave; without one, or a
// bad one, into nothing.
func eventSink(fd int) func(run.Event) {
	if fd < 3 {
		return nil
	}
	syscall.CloseOnExec(fd)
	enc := json.NewEncoder(os.NewFile(uintptr(fd), "events-"+strconv.Itoa(fd)))
	return func(e run.Event) {
		e.Text = strings.ToValidUTF8(e.Text, "?")
		_ = enc.Encode(e)
	}
}
