package fence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world is a machine with things to steal: a home with keys, a cache, sockets.
type world struct {
	home, key, cache, work, source string
	tcp, abstract, socket          string
}

func newWorld(t *testing.T) world {
	t.Helper()
	dir := t.TempDir()
	w := world{
		home: filepath.Join(dir, "home", ".paths"), key: filepath.Join(dir, "home", ".paths", "keys", "attester.key"),
		cache: filepath.Join(dir, "home", ".paths", "cache", "attest"), work: filepath.Join(dir, "home", ".paths", "work", "1"),
		source: filepath.Join(dir, "source"), socket: filepath.Join(dir, "agent.sock"),
		abstract: fmt.Sprintf("@fence-test-%d-%d", os.Getpid(), time.Now().UnixNano()),
	}
	for _, d := range []string{filepath.Dir(w.key), w.cache, w.work, w.source} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{w.key, filepath.Join(w.cache, "entry"), filepath.Join(w.source, "main.go"), filepath.Join(w.work, "in.json")} {
		if err := os.WriteFile(f, []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listen := func(network, addr string) string {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		return l.Addr().String()
	}
	w.tcp = listen("tcp", "127.0.0.1:0")
	listen("unix", w.abstract)
	listen("unix", w.socket)
	return w
}

func self(t *testing.T) string {
	t.Helper()
	p, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// victim is a process with a secret in its environment, that nothing fenced may
// touch.
func victim(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.Env = []string{"FENCE_CANARY=1"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return strconv.Itoa(cmd.Process.Pid)
}

// TestFence tries to break out in every mode that this kernel gives, and
// without a fence, where each attempt must succeed.
func TestFence(t *testing.T) {
	t.Setenv("FENCE_CANARY", "1")
	w, pid := newWorld(t), victim(t)
	me := self(t)
	cases := []struct {
		attempt string
		// denied says which fence must stop it; the others may.
		denied func(Report) bool
	}{
		{"read=" + w.key, Report.Files},
		{"list=" + filepath.Dir(w.key), Report.Files},
		{"stat=" + w.key, func(r Report) bool { return r.Root }},
		{"overwrite=" + w.key, Report.Files},
		{"read=" + filepath.Join(w.cache, "entry"), Report.Files},
		{"overwrite=" + filepath.Join(w.cache, "entry"), Report.Files},
		{"create=" + w.cache, Report.Files},
		{"create=" + w.home, Report.Files},
		{"create=" + w.source, Report.Files},
		{"overwrite=" + filepath.Join(w.source, "main.go"), Report.Files},
		{"chmod=" + filepath.Join(w.source, "main.go"), func(r Report) bool { return r.Root }},
		{"list=/root", Report.Files},
		{"list=/tmp", func(r Report) bool { return r.Landlock > 0 }},
		{"create=/tmp", Report.Files},
		{"create=/dev/shm", Report.Files},
		{"create=/", Report.Files},
		{"read=/etc/shadow", Report.Files},
		{"list=/etc", func(r Report) bool { return r.Landlock > 0 }},
		{"list=/sys", func(r Report) bool { return r.Landlock > 0 }},
		{"list=/dev", func(r Report) bool { return r.Landlock > 0 }},
		{"dial=tcp," + w.tcp, Report.Offline},
		{"dial=unix," + w.abstract, func(r Report) bool { return r.NetNS || r.Landlock >= 6 }},
		{"dial=unix," + w.socket, func(r Report) bool { return r.Root || r.Landlock >= 9 }},
		{"signal=" + pid, func(r Report) bool { return r.PIDNS || r.Landlock >= 6 }},
		{"ptrace=" + pid, func(r Report) bool { return r.PIDNS || r.Landlock > 0 }},
		{"environ=" + pid, func(r Report) bool { return r.Files() }},
		{"environ=1", Report.Files},
		{"getenv=FENCE_CANARY", func(Report) bool { return true }},
		{"userns", func(r Report) bool { return r.Proc && r.UserNS }},
		{"capability", func(r Report) bool { return r.Unprivileged }},
		{"fd=9", func(Report) bool { return true }},
	}
	var args []string
	for _, c := range cases {
		args = append(args, c.attempt)
	}
	open, err := os.Open(w.key) // an open key of the caller
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	t.Run("control", func(t *testing.T) {
		cmd := exec.Command(me, append([]string{"attempt"}, args...)...)
		cmd.ExtraFiles = []*os.File{open, open, open, open, open, open, open}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for i, line := range lines(out) {
			if cases[i].attempt == "environ=1" || cases[i].attempt == "capability" && os.Geteuid() != 0 {
				continue // no canary there; who has no capability can't lose any
			}
			if !strings.HasPrefix(line, "yes ") && !(os.Geteuid() != 0 && strings.Contains(line, "permission denied")) {
				t.Errorf("%s must succeed without a fence, else this test can't fail: %s", cases[i].attempt, line)
			}
		}
	})
	for i, m := range modes() {
		t.Run(m.String(), func(t *testing.T) {
			f := New(me)
			f.mode.Store(int32(i))
			var out bytes.Buffer
			r, err := f.Run(t.Context(), Spec{
				Args: append([]string{me, "attempt"}, args...), Dir: w.source,
				Read: []string{w.source}, Write: []string{w.work},
				Stdout: &out, Stderr: &out,
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			t.Log(r.Mechanism(), r.Refused)
			if !r.Files() || !r.Offline() && r.Landlock >= 4 {
				t.Errorf("the kernel of this machine should give more than %+v", r)
			}
			got := lines(out.Bytes())
			if len(got) != len(cases) {
				t.Fatalf("got %d answers for %d attempts:\n%s", len(got), len(cases), out.String())
			}
			for i, c := range cases {
				if c.denied(r) && !strings.HasPrefix(got[i], "no ") {
					t.Errorf("%s got through %s: %s", c.attempt, r.Mechanism(), got[i])
				}
			}
		})
	}
}

// TestAllowed is the other half: what a fenced step needs works.
func TestAllowed(t *testing.T) {
	w, me := newWorld(t), self(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(w.source, link); err != nil {
		t.Fatal(err)
	}
	want := []struct{ attempt, answer string }{
		{"read=" + filepath.Join(w.source, "main.go"), `yes read: "secret"`},
		{"read=" + filepath.Join(link, "main.go"), `yes read: "secret"`},
		{"list=" + w.source, "yes list: 1"},
		{"create=" + w.work, "yes create: " + w.work},
		{"rename=" + w.work, "yes rename: " + filepath.Join(w.work, "b", "moved")},
		{"overwrite=/dev/null", "yes overwrite: /dev/null"},
		{"read=/etc/hosts", ""},
		{"loopback", ""},
		{"getenv=GIVEN", "yes getenv: a b"},
		{"hostname", "yes hostname: localhost"},
		{"cwd", "yes cwd: " + w.source},
		{"stdin", "yes stdin: hello"},
		{"run=/bin/true", "yes run: "},
		{"pid", "yes pid: 1"},
	}
	var args []string
	for _, c := range want {
		args = append(args, c.attempt)
	}
	spec := func(enter bool, out *bytes.Buffer) Spec {
		s := Spec{
			Args: append([]string{me, "attempt"}, args...), Dir: w.source, Env: []string{"GIVEN=a b", "PATH=/usr/bin:/bin"},
			Read: []string{link}, Write: []string{w.work}, Stdin: []byte("hello"), Stdout: out, Stderr: out,
		}
		if enter {
			s.Enter, s.Args = true, append([]string{"enter"}, args...)
		}
		return s
	}
	for _, enter := range []bool{false, true} {
		t.Run(fmt.Sprintf("enter=%v", enter), func(t *testing.T) {
			var out bytes.Buffer
			r, err := New(me).Run(t.Context(), spec(enter, &out))
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for i, line := range lines(out.Bytes()) {
				if w := want[i]; w.answer != "" && line != w.answer || !strings.HasPrefix(line, "yes ") {
					t.Errorf("%s: got %q, want %q", w.attempt, line, w.answer)
				}
			}
			for _, set := range []struct {
				name string
				on   bool
			}{{"user", r.UserNS}, {"net", r.NetNS}, {"pid", r.PIDNS}, {"ipc", r.IPCNS}, {"root", r.Root}, {"proc", r.Proc}, {"unprivileged", r.Unprivileged}} {
				if !set.on {
					t.Errorf("%s is missing: %+v", set.name, r)
				}
			}
		})
	}
}

func TestHide(t *testing.T) {
	w, me := newWorld(t), self(t)
	top := filepath.Dir(w.home)
	for i, m := range modes() {
		t.Run(m.String(), func(t *testing.T) {
			f := New(me)
			f.mode.Store(int32(i))
			var out bytes.Buffer
			_, err := f.Run(t.Context(), Spec{
				Args: []string{me, "attempt", "read=" + w.key, "read=" + filepath.Join(w.work, "in.json"), "read=" + filepath.Join(w.cache, "entry")},
				Dir:  "/", Read: []string{top}, Hide: []string{filepath.Dir(w.key), w.cache, "/does/not/exist"}, Stdout: &out,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := lines(out.Bytes())
			for i, want := range []string{"no ", "yes ", "no "} {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("answer %d: got %q, want %q", i, got[i], want)
				}
			}
		})
	}
}

// TestConfine plays the go command that runs a test: it may write to the build
// cache, the test may not even read it.
func TestConfine(t *testing.T) {
	w, me := newWorld(t), self(t)
	cache, tmp, objects := filepath.Join(w.work, "gocache"), filepath.Join(w.work, "tmp"), filepath.Join(w.work, "b001")
	for _, d := range []string{cache, tmp, filepath.Join(objects, "gocoverdir")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{filepath.Join(cache, "entry"), filepath.Join(objects, "_pkg_.a")} {
		if err := os.WriteFile(f, []byte("object"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(objects, "x.test")
	raw, err := os.ReadFile(me)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(objects, "_cover_.out")
	tries := []string{
		"read=" + filepath.Join(cache, "entry"), "overwrite=" + filepath.Join(cache, "entry"), "create=" + cache, "list=" + cache,
		"overwrite=" + filepath.Join(objects, "_pkg_.a"), "create=" + objects, "overwrite=" + binary, "create=" + w.work,
		"signal=1", "environ=1", "ptrace=1", "create=" + w.source,
		// and what it may
		"create=" + tmp, "create=" + filepath.Join(objects, "gocoverdir"), "overwrite=" + profile, "read=" + filepath.Join(w.source, "main.go"), "loopback", "overwrite=/dev/null",
	}
	const forbidden = 12
	for i, m := range modes() {
		t.Run(m.String(), func(t *testing.T) {
			f := New(me)
			f.mode.Store(int32(i))
			spec := Spec{Dir: w.source, Read: []string{w.source}, Write: []string{w.work}, Loopback: true, Env: []string{"PATH=/usr/bin:/bin", "FENCE_CANARY=1"}}
			r, err := f.Run(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			prefix := NewExecer(me, r).Confine([]string{cache, filepath.Join(w.work, "nothing")}, []string{tmp})
			if len(prefix) == 0 && withCgo && !r.Proc {
				return
			}
			if len(prefix) == 0 {
				t.Fatal("no prefix although this kernel has Landlock")
			}
			confined := append(append(append([]string{}, prefix...), binary, "attempt"), tries...)
			confined = append(confined, "-test.coverprofile="+profile, "-test.gocoverdir="+filepath.Join(objects, "gocoverdir"), "-test.gocoverdir="+cache, "-test.coverprofile="+filepath.Join(cache, "entry"))
			var out bytes.Buffer
			spec.Stdout, spec.Stderr = &out, &out
			spec.Args = []string{me, "attempt", "child=" + jsonOf(t, confined)}
			if _, err := f.Run(t.Context(), spec); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			got := lines(out.Bytes())
			if len(got) < len(tries) {
				t.Fatalf("got %d answers:\n%s", len(got), out.String())
			}
			for i, try := range tries {
				want := "yes "
				if i < forbidden {
					want = "no "
				}
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("%s: got %q, want %q", try, got[i], want)
				}
			}

			// The same without the prefix: the fence alone allows it, but for
			// writing to a running program.
			out.Reset()
			spec.Args = []string{me, "attempt", "child=" + jsonOf(t, append([]string{binary, "attempt"}, tries[:9]...))}
			if _, err := f.Run(t.Context(), spec); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			want := 8 // with the one of "child"
			if r.PIDNS {
				want++ // process 1 is ours
			}
			if n := strings.Count(out.String(), "yes "); n < want {
				t.Errorf("without Confine only %d attempts succeed:\n%s", n-1, out.String())
			}
		})
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRunErrors(t *testing.T) {
	me := self(t)
	f := New(me)
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"missing read", Spec{Dir: "/", Read: []string{"/does/not/exist"}}, "fence: read path: lstat /does: no such file or directory"},
		{"missing write", Spec{Dir: "/", Write: []string{"/does/not/exist"}}, "fence: write path: lstat /does: no such file or directory"},
		{"relative", Spec{Dir: "/", Read: []string{"x"}}, `fence: read path "x" is not absolute`},
		{"no folder", Spec{Dir: "/does/not/exist"}, "fence: working folder: chdir /does/not/exist: no such file or directory"},
		{"no program", Spec{Dir: "/", Args: []string{"nope"}, Env: []string{"PATH=/usr/bin"}}, `find program "nope": file does not exist on PATH=/usr/bin; name it by its absolute path or install it below one of these`},
		{"no such file", Spec{Dir: "/", Args: []string{"/usr/bin/nope"}}, "run /usr/bin/nope: no such file or directory"},
		{"exit code", Spec{Dir: "/", Args: []string{me, "attempt", "exit=7"}}, "exit status 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := f.Run(t.Context(), c.spec)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var exit *exec.ExitError
			if got := errors.As(err, &exit); got != (c.name == "exit code") {
				t.Errorf("is an ExitError: %v", got)
			}
		})
	}
	t.Run("not a pathctl", func(t *testing.T) {
		if _, err := New("/bin/true").Run(t.Context(), Spec{Dir: "/"}); err == nil || !strings.Contains(err.Error(), "ended without a report") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("typed by hand", func(t *testing.T) {
		for _, args := range [][]string{{VerbExec}, {VerbConfine}, {VerbConfine, "%%%", "--", "/bin/true"}, {VerbConfine, "e30", "/bin/true"}} {
			out, err := exec.Command(me, args...).CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
				t.Errorf("%v: got %v\n%s", args, err, out)
			}
		}
	})
}

// TestCancel ends a child that has started another session: nothing survives.
func TestCancel(t *testing.T) {
	me, dir := self(t), t.TempDir()
	f := New(me)
	for _, how := range []string{"cancelled", "ended"} {
		t.Run(how, func(t *testing.T) {
			file := filepath.Join(dir, how)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			args := []string{me, "attempt", "orphan=" + file, "touch=" + file + ".self"}
			if how == "ended" {
				args[3] = "stdin"
			}
			done := make(chan error, 1)
			go func() {
				_, err := f.Run(ctx, Spec{Args: args, Dir: "/", Write: []string{dir}})
				done <- err
			}()
			if how == "cancelled" {
				await(t, file)
				cancel()
			}
			select {
			case err := <-done:
				if want := ctx.Err(); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("still running")
			}
			quiet(t, file)
		})
	}
}

// TestParentDies kills a parent with SIGKILL: its fenced child goes too.
func TestParentDies(t *testing.T) {
	if len(os.Getenv("FENCE_PARENT")) > 0 { // we are the parent
		_, err := New(self(t)).Run(t.Context(), Spec{
			Args: []string{self(t), "attempt", "touch=" + os.Getenv("FENCE_PARENT")},
			Dir:  "/", Write: []string{filepath.Dir(os.Getenv("FENCE_PARENT"))},
		})
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "beat")
	cmd := exec.Command(self(t), "-test.run=^TestParentDies$")
	cmd.Env = append(os.Environ(), "FENCE_PARENT="+file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, file)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	quiet(t, file)
}

// TestUnprivileged runs the tests above as a user without any privilege, which
// is how a developer runs them.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then the tests above were just that
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	binary, tmp := filepath.Join(dir, "fence.test"), filepath.Join(dir, "tmp")
	if err := os.WriteFile(binary, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(tmp, 0o700), os.Chown(tmp, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.v", "-test.run=^(TestFence|TestAllowed|TestHide|TestConfine|TestCancel|TestParentDies)$")
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + tmp, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestConfine") {
		t.Errorf("%v\n%s", err, out)
	}
}

func await(t *testing.T, file string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
	t.Fatalf("%s never appeared", file)
}

// quiet fails if anybody still writes to file.
func quiet(t *testing.T, file string) {
	t.Helper()
	time.Sleep(100 * time.Millisecond)
	_ = os.Remove(file)
	time.Sleep(150 * time.Millisecond)
	if _, err := os.Stat(file); err == nil {
		t.Errorf("a process survived and writes to %s", file)
	}
}

func lines(b []byte) []string {
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n")
}
