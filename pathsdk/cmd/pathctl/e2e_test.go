//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// runProcess runs a command line as a process, and kills it when it takes so long
// that it must be a hang.
func runProcess(t testing.TB, home string, args ...string) result {
	t.Helper()
	return waitFor(t, pathctlProcess(t, home, args...))
}

func waitFor(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Minute, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	_ = cmd.Wait() // the exit code says it
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// mustShip ships and returns the image's digest.
func mustShip(t testing.TB, home, src string, args ...string) step.Digest {
	t.Helper()
	r := runProcess(t, home, append([]string{"ship", src, "--output", "json"}, args...)...)
	if r.code != 0 {
		t.Fatalf("ship: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return shippedDigest(t, r)
}

func shippedDigest(t testing.TB, r result) step.Digest {
	t.Helper()
	var doc shipResult
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil {
		t.Fatalf("ship printed no result: %v\n%s", err, r.stdout)
	}
	if _, err := step.ParseDigest(string(doc.Digest)); err != nil {
		t.Fatalf("ship printed %q: %v", doc.Digest, err)
	}
	return doc.Digest
}

// says fails the test unless a command ended with this code and an error with
// all these words.
func (r result) says(t testing.TB, what string, code int, words ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: exit %d, want %d\n%s%s", what, r.code, code, r.stdout, r.stderr)
		return
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("%s: the error does not say %q:\n%s", what, w, r.stderr)
		}
	}
	if strings.Contains(r.stderr, "goroutine ") {
		t.Errorf("%s: it crashed:\n%s", what, r.stderr)
	}
}

// leftTemp are the temporary files that writers by rename leave when they are
// killed.
var leftTemp = regexp.MustCompile(`^(\.(verdict\.json|run\.json|timings\.json|report\.html|\.gitignore)\.[0-9]+|\.tmp-[0-9]+)$`)

// wholeFiles fails the test if a file that a run leaves for its user, or the
// store's index, is there but not whole.
func wholeFiles(t testing.TB, src string) {
	t.Helper()
	out := filepath.Join(src, ".paths")
	for _, name := range []string{"verdict.json", "run.json", "timings.json", "store/index.json", "store/oci-layout"} {
		raw, err := os.ReadFile(filepath.Join(out, name))
		if err == nil && !json.Valid(raw) {
			t.Errorf("%s is half written: %.200q", name, raw)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(out, "report.html")); err == nil && !bytes.HasSuffix(bytes.TrimSpace(raw), []byte("</html>")) {
		t.Errorf("report.html is half written: it ends with %.100q", raw[max(0, len(raw)-100):])
	}
	entries, err := os.ReadDir(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	known := map[string]bool{".gitignore": true, "verdict.json": true, "run.json": true, "timings.json": true, "report.html": true, "reports": true, "store": true}
	for _, e := range entries {
		if !known[e.Name()] && !leftTemp.MatchString(e.Name()) {
			t.Errorf(".paths holds %s", e.Name())
		}
	}
}

// wholeStore fails the test unless the store is valid, with every layer.
func wholeStore(t testing.TB, store string, want step.Digest) {
	t.Helper()
	l, err := oci.OpenLayout(store)
	if err != nil {
		t.Error(err)
		return
	}
	if err := oci.Check(t.Context(), l, want, true); err != nil {
		t.Error(err)
	}
}

// nobodyLeft fails the test unless every process that has to do with a folder is
// gone within some seconds.
func nobodyLeft(t testing.TB, folder string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := processesOf(t, folder)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("these processes outlive their parent: %q", left)
			return
		}
	}
}

// processesOf lists the command lines of processes, but this one, that name a
// folder in their arguments, environment or working folder.
func processesOf(t testing.TB, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		proc := filepath.Join("/proc", e.Name())
		cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err != nil || len(cmdline) == 0 || e.Name() == "self" || e.Name() == strconv.Itoa(os.Getpid()) {
			continue // no process, gone, or a zombie
		}
		environ, _ := os.ReadFile(filepath.Join(proc, "environ"))
		cwd, _ := os.Readlink(filepath.Join(proc, "cwd"))
		if strings.Contains(string(cmdline)+"\n"+string(environ)+"\n"+cwd, folder) {
			found = append(found, e.Name()+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}
