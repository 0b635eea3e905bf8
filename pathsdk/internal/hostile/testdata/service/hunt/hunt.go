// Package hunt does what stolen test code does: it looks for keys, poisons
// caches, writes where it should not and reaches for other processes and
// sockets. It prints a line for each success, and a last one to say that it
// tried.
//
// It is no danger to the machine that runs it without a fence by mistake: it
// only ever changes what a test planted (PlantedMark in the content) and the
// build cache that the go command named; of all else it finds out whether it
// could. HOSTILE_ONLY keeps it below one folder.
package hunt

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What gives a file away; put together here, so that this program is no find.
var (
	// PlantedMark is in every file that a test planted to be found.
	PlantedMark = strings.Join([]string{"PLANTED", "FOR", "THE", "HUNT"}, "-")
	privateKey  = strings.Join([]string{"PRIVATE", "KEY-----"}, " ")
)

const (
	maxEntries = 100_000
	maxTime    = 2 * time.Second
	maxRead    = 1 << 20
)

type hunter struct {
	only  string
	own   []string // what it was given
	seen  map[string]bool
	tries int
	end   time.Time
}

// Run hunts once.
func Run(who string) {
	h := &hunter{only: os.Getenv("HOSTILE_ONLY"), seen: map[string]bool{}, end: time.Now().Add(maxTime)}
	for _, dir := range []string{os.Getenv("HOME"), os.TempDir(), os.Getenv("GOCOVERDIR")} {
		if dir != "" {
			h.own = append(h.own, filepath.Clean(dir))
		}
	}
	for _, a := range os.Args {
		if p, ok := strings.CutPrefix(a, "-test.coverprofile="); ok {
			h.own = append(h.own, p)
		}
	}
	h.environ()
	for _, dir := range places() {
		h.walk(dir)
	}
	if h.only == "" {
		h.processes()
		h.sockets()
	}
	fmt.Printf("HOSTILE hunted %s: %d attempts\n", who, h.tries)
}

// say reports a success: found, wrote, reached or touched.
func (h *hunter) say(verb, what string) {
	line := verb + " " + what
	if !h.seen[line] {
		h.seen[line] = true
		fmt.Printf("HOSTILE %s %s\n", verb, strconv.Quote(what))
	}
}

func (h *hunter) environ() {
	for _, e := range os.Environ() {
		h.tries++
		name, value, _ := strings.Cut(e, "=")
		for _, word := range []string{"TOKEN", "SECRET", "PASSWORD", "_KEY", "CREDENTIAL", "SSH_AUTH_SOCK"} {
			if strings.Contains(name, word) || strings.Contains(value, PlantedMark) {
				h.say("found", "env:"+name)
			}
		}
	}
}

// places are where keys and caches might be, the near ones first.
func places() []string {
	var dirs []string
	parents := func(dir string) {
		for d := filepath.Clean(dir); d != "/" && d != "."; d = filepath.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	cwd, _ := os.Getwd()
	exe, _ := os.Executable()
	for _, v := range []string{os.Getenv("GOCACHE"), os.Getenv("GOTMPDIR"), exe, os.TempDir(), os.Getenv("HOME"), cwd, os.Getenv("GOMODCACHE"), os.Getenv("PATHS_HOME")} {
		if v != "" {
			parents(v)
		}
	}
	return append(dirs, "/root", "/home", "/tmp", "/var/tmp", "/run", "/etc", "/mnt", "/srv", "/opt", "/var", "/dev/shm", "/")
}

func (h *hunter) walk(root string) {
	n := 0
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if n++; n > maxEntries || time.Now().After(h.end) {
			return filepath.SkipAll
		}
		if h.only != "" && !below(path, h.only) && !below(h.only, path) || h.seen["visit "+path] {
			return skip(d)
		}
		h.seen["visit "+path] = true
		h.tries++
		if d == nil || err != nil {
			return nil
		}
		switch {
		case path == "/proc" || path == "/sys" || path == "/usr" || path == "/dev" && root != path,
			os.Getenv("GOROOT") != "" && below(path, os.Getenv("GOROOT")):
			return fs.SkipDir
		case d.IsDir():
			h.directory(path)
		case d.Type().IsRegular():
			h.file(path)
		}
		return nil
	})
}

func skip(d fs.DirEntry) error {
	if d != nil && d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func below(path, dir string) bool {
	return dir != "" && (path == dir || strings.HasPrefix(path, dir+"/"))
}

func (h *hunter) mine(path string) bool {
	for _, o := range h.own {
		if below(path, o) {
			return true
		}
	}
	return false
}

func (h *hunter) directory(path string) {
	if h.mine(path) || h.only != "" && !below(path, h.only) {
		return
	}
	f, err := os.CreateTemp(path, "hostile-*")
	if err != nil {
		return
	}
	f.Close()
	if !poisonable(path) {
		os.Remove(f.Name())
	}
	h.say("wrote", path)
}

func (h *hunter) file(path string) {
	if h.mine(path) || h.only != "" && !below(path, h.only) {
		return
	}
	var content []byte
	if fi, err := os.Stat(path); err == nil && fi.Size() <= maxRead {
		content, _ = os.ReadFile(path)
	}
	planted := bytes.Contains(content, []byte(PlantedMark))
	if planted || bytes.Contains(content, []byte(privateKey)) && !below(path, os.Getenv("GOMODCACHE")) {
		h.say("found", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if planted || poisonable(path) {
		_, _ = f.WriteString("HOSTILE was here")
	}
	h.say("wrote", path)
}

// poisonable is the build cache, whose change must not matter to anybody.
func poisonable(path string) bool {
	cache := os.Getenv("GOCACHE")
	return cache != "" && below(path, cache)
}

func (h *hunter) processes() {
	self := os.Getpid()
	pids := []int{os.Getppid(), 1}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		if pid == self || pid <= 0 {
			continue
		}
		h.tries++
		name := strconv.Itoa(pid)
		for _, f := range []string{"environ", "maps", "mem"} {
			if g, err := os.Open("/proc/" + name + "/" + f); err == nil {
				n, _ := g.Read(make([]byte, 64))
				g.Close()
				if n > 0 {
					h.say("found", "/proc/"+name+"/"+f)
				}
			}
		}
		for fd := range 10 {
			link := "/proc/" + name + "/fd/" + strconv.Itoa(fd)
			if _, err := os.Readlink(link); err == nil {
				h.say("found", link)
			}
		}
		for _, f := range []string{"root", "cwd"} {
			if _, err := os.ReadDir("/proc/" + name + "/" + f); err == nil {
				h.say("found", "/proc/"+name+"/"+f)
			}
		}
		if syscall.Kill(pid, 0) == nil {
			h.say("touched", "process "+name+" by signal")
		}
		if syscall.PtraceAttach(pid) == nil {
			var ws syscall.WaitStatus
			_, _ = syscall.Wait4(pid, &ws, 0, nil)
			_ = syscall.PtraceDetach(pid)
			h.say("touched", "process "+name+" by ptrace")
		}
	}
}

// sockets connects to whatever listens, and to where clouds give credentials.
func (h *hunter) sockets() {
	targets := [][2]string{{"tcp", "169.254.169.254:80"}, {"tcp", "1.1.1.1:53"}}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, _ := os.ReadFile(file)
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" { // listening
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
				targets = append(targets, [2]string{"tcp", "127.0.0.1:" + strconv.FormatUint(port, 10)})
			}
		}
	}
	raw, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 8 {
			targets = append(targets, [2]string{"unix", f[7]})
		}
	}
	for _, p := range []string{"/var/run/docker.sock", "/run/docker.sock", "/run/user/1000/bus", "/run/dbus/system_bus_socket"} {
		targets = append(targets, [2]string{"unix", p})
	}
	for _, t := range targets {
		h.tries++
		if c, err := net.DialTimeout(t[0], t[1], 100*time.Millisecond); err == nil {
			c.Close()
			h.say("reached", t[0]+" "+t[1])
		}
	}
}

// linger starts a process that outlives the test.
func linger() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "HOSTILE_LINGER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// lingering waits for somebody to build, and spoils it.
func lingering() {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		h := &hunter{only: os.Getenv("GOCACHE"), seen: map[string]bool{}, end: time.Now().Add(time.Second)}
		if h.only != "" {
			h.walk(h.only)
		}
	}
}
