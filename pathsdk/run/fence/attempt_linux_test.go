package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestMain makes the test binary the pathctl that fences and is fenced.
func TestMain(m *testing.M) {
	if code, ok := Main(os.Args); ok {
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == "enter" {
		if _, err := Enter(); err != nil {
			os.Exit(exitFailed)
		}
		os.Args = os.Args[1:]
		os.Args[0] = "entered"
		attempts(os.Args[1:])
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "attempt" {
		attempts(os.Args[2:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempts tries each "kind=argument" and says "yes" or "no" and why, one line
// each.
func attempts(list []string) {
	for _, a := range list {
		kind, arg, _ := strings.Cut(a, "=")
		if what, err := attempt(kind, arg); err != nil {
			fmt.Printf("no %s: %v\n", kind, err)
		} else {
			fmt.Printf("yes %s: %s\n", kind, what)
		}
	}
}

func attempt(kind, arg string) (string, error) {
	pid, _ := strconv.Atoi(arg)
	switch kind {
	case "read":
		b, err := os.ReadFile(arg)
		return fmt.Sprintf("%.40q", b), err
	case "list":
		e, err := os.ReadDir(arg)
		return strconv.Itoa(len(e)), err
	case "stat":
		_, err := os.Lstat(arg)
		return arg, err
	case "create":
		f, err := os.CreateTemp(arg, "hostile-*")
		if err == nil {
			f.Close()
			err = os.Remove(f.Name())
		}
		return arg, err
	case "overwrite":
		f, err := os.OpenFile(arg, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return arg, err
	case "chmod":
		fi, err := os.Stat(arg)
		if err != nil {
			return "", err
		}
		return arg, os.Chmod(arg, fi.Mode())
	case "rename": // between folders
		to := filepath.Join(arg, "b", "moved")
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", err
		}
		from := filepath.Join(arg, "a")
		if err := os.WriteFile(from, nil, 0o644); err != nil {
			return "", err
		}
		return to, os.Rename(from, to)
	case "dial":
		network, addr, _ := strings.Cut(arg, ",")
		c, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			c.Close()
		}
		return arg, err
	case "loopback":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer l.Close()
		return attempt("dial", "tcp,"+l.Addr().String())
	case "signal":
		return arg, syscall.Kill(pid, 0)
	case "ptrace":
		if err := syscall.PtraceAttach(pid); err != nil {
			return "", err
		}
		var ws syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &ws, 0, nil)
		return arg, syscall.PtraceDetach(pid)
	case "environ":
		b, err := os.ReadFile("/proc/" + arg + "/environ")
		if err == nil && !strings.Contains(string(b), "FENCE_CANARY") {
			err = fmt.Errorf("no canary in it")
		}
		return arg, err
	case "getenv":
		v, ok := os.LookupEnv(arg)
		if !ok {
			return "", fmt.Errorf("%s is not set", arg)
		}
		return v, nil
	case "fd":
		var st unix.Stat_t
		return arg, unix.Fstat(pid, &st)
	case "userns":
		cmd := exec.Command("/proc/self/exe", "attempt", "getenv=PATH")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
		return "", cmd.Run()
	case "mount":
		return "", unix.Mount("none", arg, "tmpfs", 0, "")
	case "capability":
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return "", err
		}
		if data[0].Effective|data[0].Permitted|data[1].Effective|data[1].Permitted == 0 {
			return "", fmt.Errorf("none")
		}
		return fmt.Sprintf("%x", data), nil
	case "pid":
		return strconv.Itoa(os.Getpid()), nil
	case "hostname":
		return os.Hostname()
	case "cwd":
		return os.Getwd()
	case "stdin":
		b, err := io.ReadAll(os.Stdin)
		return string(b), err
	case "args":
		return strings.Join(os.Args, " "), nil
	case "run": // another program, in a child
		out, err := exec.Command(arg).CombinedOutput()
		return string(out), err
	case "child": // a command line as JSON, as a step runs it
		var out bytes.Buffer
		var args []string
		if err := json.Unmarshal([]byte(arg), &args); err != nil {
			return "", err
		}
		err := Plain{}.Exec(context.Background(), step.Command{Args: args, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Stdout: &out, Stderr: &out})
		fmt.Print(out.String())
		return "", err
	case "orphan": // a process that outlives us, if it can
		cmd := exec.Command("/proc/self/exe", "attempt", "touch="+arg)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return "", cmd.Start()
	case "touch": // again and again
		for {
			if err := os.WriteFile(arg, []byte(time.Now().String()), 0o644); err != nil {
				return "", err
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "exit":
		os.Exit(pid)
	}
	return "", fmt.Errorf("unknown attempt %q", kind)
}
