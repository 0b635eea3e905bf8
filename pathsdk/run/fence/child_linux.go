package fence

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// The descriptors that the parent hands over.
const (
	orderFD  = 3
	answerFD = 4
)

// exitFailed is the exit code of a child that never ran its program.
const exitFailed = 125

// Main answers the verbs of this package, and reports whether args (os.Args)
// held one; code is then the exit code. It does not return when the program
// that it was asked for starts. Call it first in main.
func Main(args []string) (code int, ok bool) {
	if len(args) < 2 {
		return 0, false
	}
	switch args[1] {
	case VerbExec:
		return execMain(), true
	case VerbConfine:
		if err := confineMain(args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return exitFailed, true
	}
	return 0, false
}

// Enter puts this process behind the fence that the parent's Spec with Enter
// asked for, and returns what was established. It must be called before
// anything is read, started or kept open; after an error the process must end.
func Enter() (Report, error) {
	o, out, err := receive()
	if err != nil {
		return Report{}, err
	}
	defer out.Close()
	r, err := establish(o)
	return r, reply(out, r, err)
}

func execMain() int {
	// Credentials belong to a thread: the one that sets them up must be the one
	// that becomes the program.
	runtime.LockOSThread()
	o, out, err := receive()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	r, err := establish(o)
	if err := reply(out, r, err); err != nil {
		return exitFailed
	}
	if len(o.Spec.Args) == 0 {
		return 0
	}
	env, err := withReport(os.Environ(), r)
	if err == nil {
		err = become(o.Spec.Args, o.Spec.Dir, env)
	}
	_ = reply(out, r, err)
	return exitFailed
}

// receive reads the parent's order.
func receive() (order, *os.File, error) {
	in, out := os.NewFile(orderFD, "order"), os.NewFile(answerFD, "answer")
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(answerFD)
	var o order
	if err := json.NewDecoder(io.LimitReader(in, maxAnswer)).Decode(&o); err != nil {
		return order{}, nil, errors.New("this is an internal command: pathctl starts it by itself to run what it does not trust")
	}
	in.Close()
	return o, out, nil
}

// reply tells the parent, and returns err or what kept it from hearing: a
// parent that is gone.
func reply(out io.Writer, r Report, err error) error {
	a := answer{Report: r}
	if err != nil {
		a.Failed = err.Error()
		a.Retry = errors.As(err, new(*refusedError))
	}
	if e := json.NewEncoder(out).Encode(a); e != nil && err == nil {
		err = e
	}
	return err
}

// establish makes the fence around this process. The order matters: mounts
// need privileges, Landlock forbids mounts, and privileges go last.
func establish(o order) (Report, error) {
	s, m := o.Spec, o.Mode
	r := Report{UserNS: m.User, NetNS: m.NS && !s.Network, PIDNS: m.NS, IPCNS: m.NS}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return r, fmt.Errorf("fence: forbid core dumps: %w", err)
	}
	// Only marks them: what the parent's parent left open ends at the program.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if m.NS {
		if err := unix.Sethostname([]byte("localhost")); err != nil {
			return r, &refusedError{"set the host name: " + err.Error()}
		}
	}
	if r.NetNS {
		if err := loopbackUp(); err != nil {
			return r, &refusedError{"bring up loopback: " + err.Error()}
		}
	}
	if err := r.paths(o); err != nil {
		return r, err
	}
	if m.Root {
		given := append(append([]string{o.Self}, s.Read...), s.Write...)
		proc, err := privateRoot(r.Read, append(devices(), r.Write...), append(System(), given...))
		if err != nil {
			return r, &refusedError{err.Error()}
		}
		r.Root, r.Proc = true, proc
		if proc && m.User {
			// No namespaces within: they are a way to privileges.
			_ = os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
		}
	}
	if withCgo && m.NS && !r.Proc {
		return r, &refusedError{"a pathctl built with cgo needs a /proc of its own; build it with CGO_ENABLED=0"}
	}
	if err := os.Chdir(s.Dir); err != nil {
		return r, fmt.Errorf("fence: working folder: %w", err)
	}
	rights := layer{read: r.Read, write: append(devices(), r.Write...)}
	if r.Proc {
		rights.read = append([]string{"/proc"}, r.Read...)
	}
	rights.noTCP = !r.NetNS && !s.Network && !s.Loopback
	abi, err := rights.apply()
	if err != nil {
		return r, err
	}
	r.Landlock, r.NoTCP = abi, rights.noTCP && abi >= 4
	if abi == 0 {
		r.Refused = append(r.Refused, "Landlock: this kernel has none")
	}
	if err := dropPrivileges(); err != nil {
		return r, err
	}
	r.Unprivileged = true
	return r, nil
}

// paths works out what is in reach.
func (r *Report) paths(o order) error {
	read := append([]string{o.Self}, o.Spec.Read...)
	read, err := resolve("read", append(read, System()...))
	if err != nil {
		return err
	}
	write, err := resolve("write", o.Spec.Write)
	if err != nil {
		return err
	}
	hide := realHidden(o.Spec.Hide)
	if r.Read, err = carve(read, hide); err != nil {
		return err
	}
	r.Write, err = carve(write, hide)
	return err
}

// loopbackUp brings up the loopback of a new network namespace, which is all
// that it has.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// become replaces this process by a program. It returns only when it fails.
func become(args []string, dir string, env []string) error {
	path, err := lookPath(args[0], dir, env)
	if err != nil {
		return err
	}
	// Kernel keys (of Kerberos, of disks) belong to the session keyring.
	_, _ = unix.KeyctlJoinSessionKeyring("")
	// The signal at the parent's death is a thread's; Go may have moved us.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	if err := syscall.Exec(path, args, env); err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	return nil
}

func withReport(env []string, r Report) ([]string, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(env, ReportEnv+"="+string(raw)), nil
}

// confineMain is the child of Confine's prefix: it takes further rights away
// and becomes the program.
func confineMain(args []string) error {
	runtime.LockOSThread()
	var c confinement
	if len(args) < 3 || args[1] != "--" {
		return errors.New("this is an internal command: pathctl starts it by itself to run tests")
	}
	raw, err := base64.RawURLEncoding.DecodeString(args[0])
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return fmt.Errorf("fence: confinement: %w", err)
	}
	command := args[2:]
	read, err := carve(c.Read, realHidden(c.Hide))
	if err != nil {
		return err
	}
	l := layer{read: read, write: append(devices(), c.Write...)}
	if files, err := coverageFiles(command); err != nil {
		return err
	} else {
		l.write = append(l.write, files...)
	}
	abi, err := l.apply()
	if err != nil {
		return err
	}
	if abi == 0 {
		return errors.New("fence: this kernel can't confine a program")
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	// GOTMPDIR is where the go command works, out of the test's reach; since Go
	// 1.26 package testing would make its folders there too.
	if err := os.Unsetenv("GOTMPDIR"); err != nil {
		return err
	}
	return become(command, ".", os.Environ())
}

// coverageFiles lists what a test binary must write because the go command
// asked for it. They lie beside the binary, in a folder in which the go command
// keeps its work, so that the folder as a whole must stay read-only: what is
// compiled there goes into the build cache.
func coverageFiles(command []string) ([]string, error) {
	var files []string
	beside := filepath.Dir(command[0])
	for _, a := range command[1:] {
		if p, ok := strings.CutPrefix(a, "-test.gocoverdir="); ok && filepath.Dir(p) == beside {
			files = append(files, p)
		}
		if p, ok := strings.CutPrefix(a, "-test.coverprofile="); ok && filepath.Dir(p) == beside {
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o666)
			if err != nil {
				return nil, fmt.Errorf("fence: coverage profile: %w", err)
			}
			f.Close()
			files = append(files, p)
		}
	}
	return files, nil
}

// landlockABI is the version that the kernel has; 0 is none.
func landlockABI() int {
	v, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return max(v, 0)
}
