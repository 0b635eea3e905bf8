package fence

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// layer is one layer of Landlock rules. Layers only ever take rights away.
type layer struct {
	read, write []string
	noTCP       bool
}

// apply enforces the layer on this process and all that it starts, and returns
// the ABI version of the kernel; 0 means that nothing was enforced.
//
// Signals and abstract sockets are scoped from ABI 6 on, and ptrace always: no
// process outside of the layer can be touched.
func (l layer) apply() (int, error) {
	abi := landlockABI()
	if abi == 0 {
		return 0, nil
	}
	all := landlock.V11
	cfg := landlock.Config{HandledAccessFS: all.HandledAccessFS, Scoped: all.Scoped}
	if l.noTCP {
		cfg.HandledAccessNet = all.HandledAccessNet
	}
	var rules []landlock.Rule
	for _, p := range l.read {
		fi, err := os.Stat(p)
		switch {
		case err != nil: // gone, or out of reach already
		case fi.IsDir():
			rules = append(rules, landlock.RODirs(p).IgnoreIfMissing())
		default:
			rules = append(rules, landlock.ROFiles(p).IgnoreIfMissing())
		}
	}
	for _, p := range l.write {
		fi, err := os.Stat(p)
		if err != nil {
			return 0, fmt.Errorf("fence: write path: %w", err)
		}
		if !fi.IsDir() {
			rules = append(rules, landlock.RWFiles(p))
			continue
		}
		rule := landlock.RWDirs(p)
		if abi >= 2 {
			// Before, moving a file to another folder was never allowed, and
			// asking for it would switch everything off.
			rule = rule.WithRefer()
		}
		rules = append(rules, rule)
	}
	if err := cfg.BestEffort().Restrict(rules...); err != nil {
		return 0, fmt.Errorf("fence: Landlock: %w", err)
	}
	return abi, nil
}

// secureBits are NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE and the locks of
// these and of KEEP_CAPS (linux/securebits.h): user id 0 is a user like others.
const secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7

// dropPrivileges gives up every capability for good, also those that the user
// id 0 would get again with the next program.
func dropPrivileges() error {
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return fmt.Errorf("fence: no_new_privs: %w", err)
	}
	// Both need a capability; who has none has nothing to lose by them.
	_ = onAllThreads(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0)
	for c := uintptr(0); c <= 63; c++ {
		if onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0) != nil {
			break // no right, or past the last capability
		}
	}
	_ = onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	hp, np := unsafe.Pointer(&head), unsafe.Pointer(&none[0])
	_, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(hp), uintptr(np), 0)
	if e == syscall.ENOTSUP {
		_, _, e = syscall.RawSyscall(unix.SYS_CAPSET, uintptr(hp), uintptr(np), 0)
	}
	runtime.KeepAlive(&head)
	runtime.KeepAlive(&none)
	if e != 0 {
		return fmt.Errorf("fence: drop capabilities: %w", e)
	}
	return nil
}

// onAllThreads makes a system call that concerns one thread on every thread. In
// a program with cgo, where Go can't, it makes it on this one.
func onAllThreads(trap, a, b, c uintptr) error {
	_, _, e := syscall.AllThreadsSyscall6(trap, a, b, c, 0, 0, 0)
	if e == syscall.ENOTSUP {
		_, _, e = syscall.RawSyscall6(trap, a, b, c, 0, 0, 0)
	}
	if e != 0 {
		return e
	}
	return nil
}
