// Package fence runs a child process with almost no rights: it reads and writes
// the folders that it was given, and has no network, no capability and no way
// to reach another process. It is made of Linux namespaces, a private root
// folder and Landlock, as far as the kernel has them; a Report says what was
// really established.
//
// The child is this program again: its main function calls Main first. The
// package imports little, so that the way through Main is short.
package fence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// Verbs that Main answers. They are for this package alone; a person who types
// one gets an error.
const (
	VerbExec    = "fence-exec"
	VerbConfine = "confine-exec"
)

// ReportEnv is the variable in which a program started by Spec.Args finds its
// own Report, so that it can make an Execer. It holds nothing secret.
const ReportEnv = "PATHCTL_FENCE"

// Spec says what one child runs, and what it may touch.
type Spec struct {
	// Args is the program, an absolute path or a name on Env's PATH, and its
	// arguments. Empty only establishes the fence and reports.
	Args []string `json:"args,omitempty"`
	// Enter makes the child this program with Args as its whole arguments. It
	// must call Enter before anything else; that saves one start of a large
	// program.
	Enter bool `json:"enter,omitempty"`
	// Dir is the child's working folder; it must be readable.
	Dir string `json:"dir"`
	// Env is the whole environment; nothing is inherited.
	Env []string `json:"-"`
	// Read and Write are files and folders, absolute. Beyond them only
	// System is readable and nothing is writable. What is in Write is readable.
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`
	// Hide lists folders and files below Read, Write or System that stay out of
	// reach.
	Hide []string `json:"hide,omitempty"`
	// Network leaves the child in the host's network. Without it there is a
	// loopback of the child's own, and nothing else.
	Network bool `json:"network,omitempty"`
	// Loopback says that the child can't do without TCP on loopback (tests of a
	// server can't). It matters only where the kernel refuses a network
	// namespace: with Loopback the host's network stays, and the Report says
	// so; without it Landlock forbids TCP.
	Loopback bool `json:"loopback,omitempty"`

	// Stdin is the child's standard input; nil is empty.
	Stdin []byte `json:"-"`
	// Stdout and Stderr receive output; nil drops it.
	Stdout io.Writer `json:"-"`
	Stderr io.Writer `json:"-"`
}

// Report is what a child's fence is made of. The zero Report is no fence.
type Report struct {
	// Landlock is the version of the kernel's Landlock ABI that was enforced; 0
	// is none.
	Landlock int `json:"landlock"`
	// The namespaces that the child has for itself.
	UserNS bool `json:"userNS"`
	NetNS  bool `json:"netNS"`
	PIDNS  bool `json:"pidNS"`
	IPCNS  bool `json:"ipcNS"`
	// Root says that the child has a root folder of its own, in which only
	// Read, Write and System exist. It keeps the sockets of other programs out
	// of reach, which older Landlock does not.
	Root bool `json:"root"`
	// Proc says that /proc shows the child's own processes; else it has none.
	Proc bool `json:"proc"`
	// NoTCP says that Landlock forbids TCP (instead of a network namespace).
	NoTCP bool `json:"noTCP,omitempty"`
	// Unprivileged says that every capability was dropped for good.
	Unprivileged bool `json:"unprivileged"`
	// Refused says, for what is missing, what the kernel answered.
	Refused []string `json:"refused,omitempty"`
	// Read and Write are the folders and files that are in reach, System
	// included, symbolic links resolved.
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`
}

// Files reports whether files outside of Read and Write are out of reach.
func (r Report) Files() bool { return r.Landlock > 0 || r.Root }

// Offline reports whether the child can't reach the host's network.
func (r Report) Offline() bool { return r.NetNS || r.NoTCP }

// Confines reports whether Execer.Confine can take rights away within such a fence: that
// takes Landlock, and in a build with cgo a /proc of its own (see withCgo).
func (r Report) Confines() bool { return r.Landlock > 0 && (!withCgo || r.Proc) }

// Mechanism names what the fence is made of, such as "Landlock ABI 7, private
// root, namespaces user net pid ipc"; "none" for no fence.
func (r Report) Mechanism() string {
	var parts, ns []string
	if r.Landlock > 0 {
		parts = append(parts, fmt.Sprintf("Landlock ABI %d", r.Landlock))
	}
	if r.Root {
		parts = append(parts, "private root")
	}
	for _, n := range []struct {
		name string
		on   bool
	}{{"user", r.UserNS}, {"net", r.NetNS}, {"pid", r.PIDNS}, {"ipc", r.IPCNS}} {
		if n.on {
			ns = append(ns, n.name)
		}
	}
	if len(ns) > 0 {
		parts = append(parts, "namespaces "+strings.Join(ns, " "))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Fence starts fenced children. It remembers which namespaces the kernel
// refused, so that the next child does not ask again.
type Fence struct {
	self string
	mode atomic.Int32
}

// New makes a Fence. self is the path of this program, whose main function
// calls Main.
func New(self string) *Fence { return &Fence{self: self} }

// Probe establishes a fence in a real child that does nothing else, and tells
// what it got.
func (f *Fence) Probe(ctx context.Context) (Report, error) {
	return f.Run(ctx, Spec{Dir: "/"})
}

// Run runs one child to its end. When ctx ends or this process dies, the child
// is killed with everything that it started (without a pid namespace, with its
// process group). A child that exits
// with another code than 0 is an *exec.ExitError, an unusable Spec is any other
// error. Run tries the strongest fence first, and the Report tells which it was.
func (f *Fence) Run(ctx context.Context, s Spec) (Report, error) {
	var refused []string
	modes := modes()
	for i := int(f.mode.Load()); ; i++ {
		got, err := f.attempt(ctx, modes[i], s)
		if retry := (*refusedError)(nil); errors.As(err, &retry) && i+1 < len(modes) {
			refused = append(refused, retry.Error())
			f.mode.CompareAndSwap(int32(i), int32(i+1))
			continue
		}
		got.Refused = append(refused, got.Refused...)
		return got, err
	}
}

// refusedError is the kernel's no to one mode; the next may do.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// mode is one combination of what is asked of the kernel.
type mode struct {
	User bool `json:"user,omitempty"` // a user namespace, which gives the right to the others
	NS   bool `json:"ns,omitempty"`   // net, pid, ipc and uts namespaces
	Root bool `json:"root,omitempty"` // a mount namespace and a private root
}

// order is what the parent tells the child: the spec and the mode.
type order struct {
	Spec Spec   `json:"spec"`
	Mode mode   `json:"mode"`
	Self string `json:"self"`
}

// answer is what the child says before it runs the program.
type answer struct {
	Report Report `json:"report"`
	// Failed is set when the program was not run.
	Failed string `json:"failed,omitempty"`
	// Retry says that another mode may do.
	Retry bool `json:"retry,omitempty"`
}

// Bounds of what crosses the pipes, and of the wait for open pipes of killed
// children.
const (
	maxAnswer = 1 << 20
	waitDelay = 5 * time.Second
)

// readAnswer reads all that a child said; the last word counts.
func readAnswer(r io.Reader) (answer, bool) {
	dec := json.NewDecoder(io.LimitReader(r, maxAnswer))
	var last answer
	said := false
	for {
		var a answer
		if err := dec.Decode(&a); err != nil {
			return last, said
		}
		if a.Failed != "" {
			last.Failed, last.Retry = a.Failed, a.Retry
		} else {
			last = a
		}
		said = true
	}
}
