//go:build e2e

package main

import (
	"bytes"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/internal/hostile"
)

// hostileService copies the service whose tests attack.
func hostileService(t testing.TB, dir string) string {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(hostile.Service(2))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// honest is the same service with a test that does not attack.
func honest(t testing.TB, dir string) string {
	t.Helper()
	for _, name := range []string{"lib/lib_test.go", "hunt/hunt_test.go"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	test := "package lib\n\nimport \"testing\"\n\nfunc TestAnswer(t *testing.T) {\n\tif Answer() != 42 {\n\t\tt.Error(\"this build is poisoned\")\n\t}\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "lib", "lib_test.go"), []byte(test), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// filesOf lists files with their digests, relative to a folder.
func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files[rel] = hostile.Digest(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestE2EHostile ships a service whose tests and init functions look for keys,
// poison the build cache and the step cache, and write wherever they can. The
// home has real keys, a real step cache and the store of another service.
func TestE2EHostile(t *testing.T) {
	world := t.TempDir()
	home, db := filepath.Join(world, ".paths"), smallDB(t)
	good := filepath.Join(world, "hello")
	if err := os.Rename(hello(t), good); err != nil {
		t.Fatal(err)
	}
	goodImage := mustShip(t, home, good, "--vuln-db", db)
	intact := hostile.Plant(t, filepath.Join(world, "somebody"))
	listener, err := net.Listen("tcp", "127.0.0.1:0") // to be reached
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	// What must not change: all but the folders that the run works in.
	kept := func() map[string]string {
		files := filesOf(t, world)
		maps.DeleteFunc(files, func(path, _ string) bool {
			own, ok := strings.CutPrefix(path, ".paths/")
			return ok && (strings.HasPrefix(own, "cache/build/tools/") || strings.HasPrefix(own, "cache/fetch/tools/") ||
				strings.HasPrefix(own, "work/") || own == "cache/self.json")
		})
		return files
	}
	before := kept()
	for _, want := range []string{".paths/keys/attester.key", ".paths/keys/verifier.key", ".paths/keys/cache-build.key", ".paths/trust.yaml", "hello/.paths/store/index.json"} {
		if before[want] == "" {
			t.Fatalf("the world has no %s", want)
		}
	}
	src := hostileService(t, filepath.Join(world, "hostile"))
	cmd := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--output", "json")
	cmd.Env = append(cmd.Env, "SIGNING_TOKEN="+hostile.Mark)
	r := waitFor(t, cmd)
	if r.code != 0 {
		t.Fatalf("ship: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	attacked := shippedDigest(t, r)

	hostile.NothingDone(t, huntLog(t, home))
	intact()
	nobodyLeft(t, world)
	after := kept()
	for path, digest := range before {
		if after[path] != digest {
			t.Errorf("%s has changed or is gone", path)
		}
	}
	for path := range after {
		ours := strings.HasPrefix(path, "hostile/") || strings.HasPrefix(path, ".paths/cache/") || strings.HasPrefix(path, ".paths/keys/cache-")
		if before[path] == "" && (!ours || strings.Contains(path, "hostile-")) {
			t.Errorf("%s was written", path)
		}
	}
	problems, n := hostile.CleanGoCache(t, filepath.Join(home, "cache", "build", "tools", "gocache"))
	if d := cmp.Diff([]string(nil), problems); d != "" || n < 100 {
		t.Errorf("of %d entries in the build cache: -want +got:\n%s", n, d)
	}

	// The next ship is right: what it gives is what a machine gives that the
	// attack never was on, with a cold cache: no test's leavings are in it.
	next := mustShip(t, home, honest(t, src), "--vuln-db", db)
	fresh := honest(t, hostileService(t, filepath.Join(t.TempDir(), "hostile")))
	want := mustShip(t, filepath.Join(t.TempDir(), "home"), fresh, "--vuln-db", db)
	if next != want || attacked != want {
		t.Errorf("digests: %s while attacked, %s after it, %s on a fresh machine", attacked, next, want)
	}
	if got := mustShip(t, home, good, "--vuln-db", db); got != goodImage {
		t.Errorf("the other service has digest %s, and had %s", got, goodImage)
	}
	huntUnfenced(t, world)
}

// huntLog is what the tests printed, as the step kept it.
func huntLog(t testing.TB, home string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(home, "cache", "build", "steps", "test", "*", "out", "test.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("HOSTILE hunted")) {
			return string(raw)
		}
	}
	t.Fatalf("none of %d logs is of a hunt", len(logs))
	return ""
}

// huntUnfenced runs the same tests in a copy of the same world without a fence.
// They find and change everything, so that finding nothing means something.
func huntUnfenced(t *testing.T, world string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "world")
	if out, err := exec.Command("cp", "-a", world, copied).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	src := hostileService(t, filepath.Join(t.TempDir(), "hostile"))
	own := t.TempDir()
	bin := filepath.Join(own, "lib.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-vet=off", "-o", bin, "./lib")
	build.Dir, build.Env = src, append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false "+os.Getenv("GOFLAGS"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-test.v")
	cmd.Dir = own
	cmd.Env = []string{"HOSTILE_ONLY=" + copied, "GOCACHE=" + filepath.Join(copied, ".paths", "cache", "build", "tools", "gocache"), "HOME=" + own, "GOMODCACHE=" + filepath.Join(own, "mod"), "TMPDIR=" + own, "PATHS_HOME=" + filepath.Join(copied, ".paths"), "SIGNING_TOKEN=" + hostile.Mark}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	did := map[hostile.Deed]bool{}
	for _, d := range hostile.Deeds(string(out)) {
		did[d] = true
	}
	at := func(name string) string { return filepath.Join(copied, name) }
	wrote := func(dir string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(did)), func(d hostile.Deed) bool {
			return d.Verb == "wrote" && strings.HasPrefix(d.What, at(dir))
		})
	}
	for _, d := range []hostile.Deed{
		{Verb: "found", What: "env:SIGNING_TOKEN"},
		{Verb: "found", What: at(".paths/keys/attester.key")},
		{Verb: "found", What: at(".paths/keys/verifier.key")},
		{Verb: "found", What: at("somebody/home-of-user/.ssh/id_ed25519")},
		{Verb: "wrote", What: at(".paths/keys/attester.key")},
		{Verb: "wrote", What: at(".paths/keys/cache-build.key")},
		{Verb: "wrote", What: at(".paths/trust.yaml")},
		{Verb: "wrote", What: at("hello/main.go")},
	} {
		if !did[d] {
			t.Errorf("without a fence the hunt should have %s %s", d.Verb, d.What)
		}
	}
	for _, dir := range []string{".paths/cache/build/steps/", ".paths/cache/attest/steps/", "hello/.paths/store/", ".paths/cache/build/tools/gocache/"} {
		if !wrote(dir) {
			t.Errorf("without a fence the hunt should have written below %s", dir)
		}
	}
	if problems, _ := hostile.CleanGoCache(t, at(".paths/cache/build/tools/gocache")); len(problems) == 0 {
		t.Error("without a fence the hunt should have poisoned the build cache")
	}
	t.Logf("without a fence the hunt had %d successes", len(did))
}
