package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/run/fence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// verbStep is the hidden verb of a child that runs one step inside the fence.
const verbStep = "fenced-step"

// fenced runs the steps of the build zone in a child process that can reach
// nothing but its inputs and its own folders; others run in this process.
func (r *Runner) fenced(next invoker) invoker {
	return func(ctx context.Context, c *call) (outcome, error) {
		if c.spec.Zone != step.ZoneBuild {
			return next(ctx, c)
		}
		env, err := r.env(c, fence.Plain{})
		if err != nil {
			return outcome{}, err
		}
		if c.spec.Needs.UserCode {
			if got, err := r.fence.Probe(ctx); err != nil {
				return outcome{}, err
			} else if !got.Confines() {
				// What user code can write to, no image may be compiled from.
				env.Cache = filepath.Join(c.dir, "cache")
				if err := os.MkdirAll(env.Cache, 0o700); err != nil {
					return outcome{}, fmt.Errorf("make the working folder: %w", err)
				}
			}
		}
		req := childRequest{Node: c.id, Step: c.spec.Name, In: c.in, Work: env.Work, Out: env.Out, Cache: env.Cache, Jobs: env.Jobs}
		stdin, err := json.Marshal(req)
		if err != nil {
			return outcome{}, err
		}
		var read []string
		if _, err := pathFields(c.spec.Inputs, c.in, func(_ step.Field, path string) (string, error) {
			read = append(read, path)
			return path, nil
		}); err != nil {
			return outcome{}, err
		}
		tmp := filepath.Join(env.Work, "tmp")
		if err := os.MkdirAll(tmp, 0o700); err != nil {
			return outcome{}, err
		}
		var reply bytes.Buffer
		events := &eventLines{node: c.id, zone: string(c.spec.Zone), events: r.events}
		report, err := r.fence.Run(ctx, fence.Spec{
			Enter: true, Args: []string{verbStep}, Dir: env.Work,
			Env:  []string{"PATH=/usr/bin:/bin", "HOME=" + env.Work, "TMPDIR=" + tmp, "LANG=C.UTF-8"},
			Read: read, Write: []string{env.Work, env.Out, env.Cache}, Loopback: true,
			Stdin: stdin, Stdout: &cappedBuffer{buf: &reply, left: maxMessage}, Stderr: events,
		})
		o := outcome{fence: &report}
		if err != nil {
			if ctx.Err() != nil {
				return o, context.Cause(ctx)
			}
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || reply.Len() == 0 {
				return o, fmt.Errorf("the fenced process ended without a result: %w%s", err, events.tail())
			}
		}
		var rep childReply
		if err := json.Unmarshal(reply.Bytes(), &rep); err != nil {
			return o, fmt.Errorf("the fenced process gave an unreadable result: %w", err)
		}
		o.result, o.started, o.finished = rep.Result, rep.Started, rep.Finished
		return o, rep.Error.decode()
	}
}

// Reexec answers the verbs of fenced children; ok is false for every other
// command line. Call it first in main.
func Reexec(args []string, find func(string) (step.Step, error)) (code int, ok bool) {
	if code, ok := fence.Main(args); ok {
		return code, true
	}
	if len(args) != 2 || args[1] != verbStep {
		return 0, false
	}
	report, err := fence.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	// What steps and their libraries print by mistake must not look like a
	// result.
	out := os.Stdout
	os.Stdout = os.Stderr
	if err := serve(context.Background(), os.Stdin, out, os.Stderr, find, fence.NewExecer(self, report)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// Facts are what this runner established about where user code ran: the weakest
// of all fences, those of cached outcomes included.
func (r *Runner) Facts() []provenance.Fact {
	r.fences.mu.Lock()
	defer r.fences.mu.Unlock()
	if r.cfg.Dagger {
		return provenance.Dagger(r.fences.weakest())
	}
	return provenance.Workstation(r.fences.weakest())
}

// fences collects the fences of the build zone's nodes.
type fences struct {
	mu   sync.Mutex
	seen []provenance.Fence
}

func (f *fences) add(p provenance.Fence) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, p)
}

func (f *fences) weakest() provenance.Fence {
	if len(f.seen) == 0 {
		return provenance.Fence{}
	}
	w := f.seen[0]
	for _, p := range f.seen[1:] {
		if p.Detail != w.Detail {
			w.Detail = "not the same for every step"
		}
		w.Landlock = w.Landlock && p.Landlock
		w.Namespaces = w.Namespaces && p.Namespaces
		w.NoNetwork = w.NoNetwork && p.NoNetwork
	}
	return w
}

func fenceOf(r fence.Report) provenance.Fence {
	return provenance.Fence{
		Landlock: r.Landlock > 0, Namespaces: r.Root && r.PIDNS, NoNetwork: r.NetNS || fence.Isolated(), Detail: r.Mechanism(),
	}
}

// eventLines turns what a fenced child writes to standard error into events.
// User code can write there too, so nothing but text is taken from it.
type eventLines struct {
	node, zone string
	events     *events
	mu         sync.Mutex
	partial    []byte
	last       []string
}

func (w *eventLines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, p...)
	for {
		i := bytes.IndexByte(w.partial, '\n')
		if i < 0 {
			if len(w.partial) > 64<<10 {
				w.line(w.partial)
				w.partial = nil
			}
			return len(p), nil
		}
		w.line(w.partial[:i])
		w.partial = w.partial[i+1:]
	}
}

func (w *eventLines) line(b []byte) {
	var e Event
	text := strings.ToValidUTF8(string(b), "?")
	if json.Unmarshal(b, &e) == nil && e.Kind == "log" {
		text = e.Text
	}
	if w.last = append(w.last, text); len(w.last) > 20 {
		w.last = w.last[1:]
	}
	w.events.log(w.node, text)
}

// tail is the end of what the child wrote, for an error.
func (w *eventLines) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.last) == 0 {
		return ""
	}
	return "\n  " + strings.Join(w.last, "\n  ")
}

// cappedBuffer fails a child that writes without end.
type cappedBuffer struct {
	buf  *bytes.Buffer
	left int
}

func (c *cappedBuffer) Write(p []byte) (int, error) {
	if len(p) > c.left {
		return 0, io.ErrShortWrite
	}
	c.left -= len(p)
	return c.buf.Write(p)
}
