package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// modes lists what to ask of the kernel, strongest first. Root needs no user
// namespace for the others, and may do without where those are switched off.
func modes() []mode {
	m := []mode{{User: true, NS: true, Root: true}, {User: true, NS: true}}
	if os.Geteuid() == 0 {
		m = append(m, mode{NS: true, Root: true}, mode{NS: true})
	}
	return append(m, mode{})
}

// attempt runs the child in one mode. The program has not run if the error is
// a *refusedError.
func (f *Fence) attempt(ctx context.Context, m mode, s Spec) (Report, error) {
	in, err := orderFile(order{Spec: s, Mode: m, Self: f.self})
	if err != nil {
		return Report{}, err
	}
	defer in.Close()
	out, w, err := os.Pipe()
	if err != nil {
		return Report{}, err
	}
	defer out.Close()

	args := []string{VerbExec}
	if s.Enter {
		args = s.Args
	}
	cmd := exec.CommandContext(ctx, f.self, args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{}, s.Env...)
	cmd.ExtraFiles = []*os.File{in, w}
	cmd.Stdin = bytes.NewReader(s.Stdin)
	cmd.Stdout, cmd.Stderr = piped(s.Stdout), piped(s.Stderr)
	cmd.WaitDelay = waitDelay
	cmd.SysProcAttr = attributes(m, s.Network)
	cmd.Cancel = func() error {
		// As the first process of its namespace it takes all others along;
		// without one, its session's process group goes.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return cmd.Process.Kill()
	}

	// The kernel sends Pdeathsig when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil {
		if m != (mode{}) && namespaceRefused(err) {
			return Report{}, &refusedError{fmt.Sprintf("%s: %v", m, err)}
		}
		return Report{}, fmt.Errorf("fence: start %s: %w", f.self, err)
	}
	said := make(chan answer, 1)
	heard := make(chan bool, 1)
	go func() {
		a, ok := readAnswer(out)
		_, _ = io.Copy(io.Discard, out)
		said <- a
		heard <- ok
	}()
	err = cmd.Wait()
	// Whoever else still holds the pipe is not waited for.
	_ = out.SetReadDeadline(time.Now().Add(waitDelay))
	a, ok := <-said, <-heard
	switch {
	case ctx.Err() != nil:
		return a.Report, context.Cause(ctx)
	case a.Failed != "" && a.Retry && m != (mode{}):
		return Report{}, &refusedError{fmt.Sprintf("%s: %s", m, a.Failed)}
	case a.Failed != "":
		return a.Report, errors.New(a.Failed)
	case !ok:
		return Report{}, fmt.Errorf("fence: %s ended without a report (%w); is it a pathctl whose main calls fence.Main?", f.self, orExit(err))
	}
	return a.Report, err
}

// orExit makes an error also of a child that ended well but too early.
func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

func attributes(m mode, network bool) *syscall.SysProcAttr {
	// A session of its own has no controlling terminal to type into.
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if m.User {
		a.Cloneflags |= syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		// Whoever is not user 0 would lose with execve what the namespace gave.
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_SYS_RESOURCE}
	}
	if m.NS {
		a.Cloneflags |= syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
		if !network {
			a.Cloneflags |= syscall.CLONE_NEWNET
		}
	}
	if m.Root {
		a.Cloneflags |= syscall.CLONE_NEWNS
	}
	return a
}

// namespaceRefused tells a kernel that does not give namespaces from a program
// that can't be started.
func namespaceRefused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// String names what a mode asks for.
func (m mode) String() string {
	switch {
	case m.User && m.Root:
		return "namespaces with a private root"
	case m.User:
		return "namespaces"
	case m.Root:
		return "namespaces with a private root, by privilege"
	case m.NS:
		return "namespaces, by privilege"
	}
	return "no namespaces"
}

// orderFile holds the order in memory, so that nothing else can read or change
// it and a long one does not block.
func orderFile(o order) (*os.File, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("fence", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fence: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "fence")
	if _, err := f.Write(raw); err != nil {
		f.Close()
		return nil, fmt.Errorf("fence: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("fence: %w", err)
	}
	return f, nil
}

// group puts a child in a process group that is killed as one.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return cmd.Process.Kill()
	}
}
