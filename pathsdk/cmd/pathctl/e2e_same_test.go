//go:build e2e

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const bothPlatforms = "linux/amd64,linux/arm64"

// TestE2ESameDigest ships one source in many ways: the digest depends on nothing
// but the inputs.
func TestE2ESameDigest(t *testing.T) {
	db := smallDB(t)
	ship := func(t *testing.T, src string, more ...string) step.Digest {
		t.Helper()
		return mustShip(t, newHome(t), src, append([]string{"--vuln-db", db}, more...)...)
	}
	one := ship(t, hello(t))
	both := ship(t, hello(t), "--platforms", bothPlatforms)
	if one == both {
		t.Errorf("an image and an index have the same digest %s", one)
	}
	same := func(t *testing.T, got, want step.Digest) {
		t.Helper()
		if got != want {
			t.Errorf("digest %s, want %s", got, want)
		}
	}
	t.Run("again", func(t *testing.T) {
		same(t, ship(t, hello(t)), one)
		same(t, ship(t, hello(t), "--platforms", "linux/arm64,linux/amd64"), both)
	})
	t.Run("in another folder", func(t *testing.T) {
		src := filepath.Join(t.TempDir(), "a folder", "with blanks and ü", "hello")
		if err := os.MkdirAll(filepath.Dir(src), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(hello(t), src); err != nil {
			t.Fatal(err)
		}
		same(t, ship(t, src), one)
	})
	t.Run("other times and modes of files", func(t *testing.T) {
		src := hello(t)
		if err := os.Chmod(filepath.Join(src, "main.go"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("touch", "-d", "2001-02-03", filepath.Join(src, "main.go"), src).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		same(t, ship(t, src), one)
	})
	t.Run("one job at a time", func(t *testing.T) { same(t, ship(t, hello(t), "--jobs", "1"), one) })
	t.Run("another user with a cold cache", func(t *testing.T) {
		got := asAnother(t, db, bothPlatforms, "linux/amd64") // the second with what the first compiled
		same(t, got[0], both)
		same(t, got[1], one)
	})
	t.Run("inputs count", func(t *testing.T) {
		home, src := newHome(t), hello(t)
		later := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--output", "json")
		later.Env = append(later.Env, "SOURCE_DATE_EPOCH=1760000001")
		if got := shippedDigest(t, waitFor(t, later)); got == one {
			t.Error("another SOURCE_DATE_EPOCH gives the same digest")
		}
		first, second := hello(t), hello(t)
		commit(t, first)
		commit(t, second)
		a, b := ship(t, first), ship(t, second)
		same(t, b, a)
		if a == one {
			t.Error("a revision gives the digest of a source without one")
		}
		git(t, second, "commit", "--quiet", "--allow-empty", "--message=Another")
		if c := ship(t, second); c == a {
			t.Error("another revision gives the same digest")
		}
	})
}

// asAnother ships for each list of platforms as another user, who has nothing of ours but
// what any user can read: an own home, and caches that are empty before the first.
func asAnother(t *testing.T, db string, platforms ...string) []step.Digest {
	t.Helper()
	world := filepath.Join(t.TempDir(), "world")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range [][2]string{{self, "bin/pathctl"}, {db, "db"}, {hello(t), "somewhere/else/hello"}} {
		to := filepath.Join(world, from[1])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-r", from[0], to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	src := filepath.Join(world, "somewhere/else/hello")
	var user *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		const nobody = 65534
		user = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := exec.Command("chown", "-R", "65534:65534", world).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v\n%s", err, out)
		}
		// Temporary folders of tests are for their user alone.
		for d := world; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		user = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 12345, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 12345, HostID: os.Getegid(), Size: 1}},
		}
	}
	var digests []step.Digest
	for _, platforms := range platforms {
		cmd := pathctlProcess(t, filepath.Join(world, "paths"), "ship", src, "--vuln-db", filepath.Join(world, "db"), "--platforms", platforms, "--output", "json")
		cmd.Path, cmd.Dir, cmd.SysProcAttr = filepath.Join(world, "bin/pathctl"), world, user
		cmd.Args[0] = cmd.Path
		cmd.Env = []string{asMain + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + world, "PATHS_HOME=" + filepath.Join(world, "paths"), "CI=true", "SOURCE_DATE_EPOCH=1760000000", "LANG=tr_TR.UTF-8", "TZ=Asia/Kathmandu"}
		r := waitFor(t, cmd)
		if r.code != 0 {
			t.Fatalf("ship as another user: exit %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		digests = append(digests, shippedDigest(t, r))
	}
	keys := filepath.Join(world, "paths", "keys")
	err = filepath.WalkDir(keys, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".key") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", d.Name(), info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return digests
}
