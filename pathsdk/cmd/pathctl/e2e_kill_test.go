//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// stage is a moment of a run. wait returns when it has come; it ends with done.
type stage struct {
	name string
	wait func(r *watched, done <-chan struct{}) bool
}

// watched is a run of ship under observation.
type watched struct {
	home, src string
	mu        sync.Mutex
	lines     []string
	starts    map[string]bool // nodes whose working folder was made
}

func (r *watched) until(done <-chan struct{}, seen func() bool) bool {
	for {
		if seen() {
			return true
		}
		select {
		case <-done:
			return seen()
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// started: the runner makes a node's working folder when it starts.
func started(node string) stage {
	return stage{"start of " + node, func(r *watched, done <-chan struct{}) bool {
		return r.until(done, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.starts[node]
		})
	}}
}

// finished: a line on standard error says so.
func finished(node string) stage {
	line := regexp.MustCompile(`^` + node + ` +(passed|cached) in `)
	return stage{"end of " + node, func(r *watched, done <-chan struct{}) bool {
		return r.until(done, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return slices.ContainsFunc(r.lines, line.MatchString)
		})
	}}
}

// appeared: at least n files match a pattern below HOME or .paths.
func appeared(n int, pattern string) stage {
	return stage{fmt.Sprintf("%d of %s", n, pattern), func(r *watched, done <-chan struct{}) bool {
		full := strings.NewReplacer("HOME", r.home, "PATHS", filepath.Join(r.src, ".paths")).Replace(pattern)
		return r.until(done, func() bool {
			found, err := filepath.Glob(full)
			return err == nil && len(found) >= n
		})
	}}
}

func after(d time.Duration) stage {
	return stage{d.String(), func(_ *watched, done <-chan struct{}) bool {
		select {
		case <-time.After(d):
		case <-done:
		}
		return true // too late is another moment
	}}
}

// stages are the start and the end of every node, and what signing, publishing
// and verifying write in between.
func stages(t testing.TB) []stage {
	t.Helper()
	p, err := catalog.Path("microservice")
	if err != nil {
		t.Fatal(err)
	}
	var all []stage
	for _, n := range p.Nodes {
		all = append(all, started(n.ID), finished(n.ID))
	}
	all = append(all, finished("sign"), finished("verify"),
		appeared(1, "HOME/keys/attester.key"), appeared(1, "HOME/keys/verifier.key"), appeared(1, "HOME/trust.yaml"),
		appeared(1, "HOME/cache/attest/bundles/*.json"), appeared(4, "HOME/cache/attest/bundles/*.json"),
		appeared(1, "PATHS"), appeared(1, "PATHS/run.json"), appeared(1, "PATHS/store/oci-layout"), appeared(1, "PATHS/store/blobs/sha256/*"),
		appeared(8, "PATHS/store/blobs/sha256/*"), appeared(16, "PATHS/store/blobs/sha256/*"),
		appeared(1, "PATHS/timings.json"), appeared(1, "PATHS/verdict.json"), appeared(1, "PATHS/report.html"))
	// And moments of no meaning.
	for d := 5 * time.Millisecond; d < 2*time.Second; d = d * 7 / 4 {
		all = append(all, after(d))
	}
	return all
}

// TestE2EKill kills ship with kill -9 at every stage. Its children go with it,
// nothing that it leaves is half written, and the same command then does what it
// would have done.
func TestE2EKill(t *testing.T) {
	home, store := shipOnce(t)
	_ = home
	want := forge(t, store).image
	db := smallDB(t)
	var mu sync.Mutex
	kills := 0
	t.Cleanup(func() {
		if n := len(stages(t)); kills < n*3/4 {
			t.Errorf("only %d of %d runs were still there to be killed", kills, n)
		}
		t.Logf("%d runs killed", kills)
	})
	for _, s := range stages(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := &watched{home: newHome(t), src: hello(t), starts: map[string]bool{}}
			if killAt(t, r, s, db) {
				mu.Lock()
				kills++
				mu.Unlock()
			}
			nobodyLeft(t, filepath.Dir(r.home))
			nobodyLeft(t, filepath.Dir(r.src))
			wholeFiles(t, r.src)
			again(t, r, db, want)
		})
	}
}

// again runs the same command after a crash.
func again(t *testing.T, r *watched, db string, want step.Digest) {
	t.Helper()
	if got := mustShip(t, r.home, r.src, "--vuln-db", db); got != want {
		t.Errorf("the next run gives %s, want %s", got, want)
	}
	wholeFiles(t, r.src)
	store := filepath.Join(r.src, ".paths", "store")
	wholeStore(t, store, want)
	f := forge(t, store)
	if n := len(f.referrers(f.image)); f.image != want || n != 8 {
		// A provenance that was signed before the kill may be there as well: the
		// run that was killed is another invocation.
		seen := map[string]int{}
		for _, x := range f.referrers(f.image) {
			seen[x.typ.Name]++
		}
		for name, k := range seen {
			if k != 1 && (name != "provenance" || k > 2) && (name != "vulns" || k > 2) {
				t.Errorf("%d referrers of type %s", k, name)
			}
		}
	}
	if v := pathctl(t, r.home, "verify", "oci:"+store, "--deep"); v.code != 0 {
		t.Errorf("verify: exit %d\n%s%s", v.code, v.stdout, v.stderr)
	}
	if work, err := os.ReadDir(filepath.Join(r.home, "work")); err != nil || len(work) != 0 {
		t.Errorf("working folders are left: %v %v", work, err)
	}
	if left, err := filepath.Glob(filepath.Join(r.home, "keys", "cache-*.key.*")); err != nil || len(left) > 0 {
		t.Errorf("temporary keys are left: %v %v", left, err)
	}
}

// killAt starts ship, kills its first process at a stage, and reports whether it
// was there to be killed.
func killAt(t *testing.T, r *watched, s stage, db string) bool {
	t.Helper()
	stop := r.watchStarts(t)
	cmd := pathctlProcess(t, r.home, "ship", r.src, "--vuln-db", db)
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Alone, as the kernel's out-of-memory killer does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc := bufio.NewScanner(stderr)
		for sc.Scan() {
			r.mu.Lock()
			r.lines = append(r.lines, sc.Text())
			r.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	if !s.wait(r, done) {
		t.Errorf("there was no %s; it said:\n%s%s", s.name, strings.Join(r.lines, "\n"), out.String())
	}
	_ = cmd.Process.Signal(unix.SIGKILL)
	<-done
	killed := killedBy(cmd)
	stop()
	return killed
}

func killedBy(cmd *exec.Cmd) bool {
	_ = cmd.Wait()
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// watchStarts notes which folders are made below HOME/work/RUN. The kernel tells,
// so that no node is too quick.
func (r *watched) watchStarts(t *testing.T) (stop func()) {
	t.Helper()
	base := filepath.Join(r.home, "work")
	if err := os.MkdirAll(base, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, base, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	runs := map[int]bool{}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			for _, e := range readEvents(t, fd) {
				if runs[e.watch] {
					r.note(e.name)
					continue
				}
				dir := filepath.Join(base, e.name)
				w, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE)
				if err != nil || strings.HasSuffix(dir, ".lock") {
					continue
				}
				runs[w] = true
				entries, _ := os.ReadDir(dir) // what was there before the watch
				for _, x := range entries {
					r.note(x.Name())
				}
			}
			select {
			case <-quit:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	return func() { close(quit); <-gone; unix.Close(fd) }
}

func (r *watched) note(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts[node] = true
}
