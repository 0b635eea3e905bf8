package hostile

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHuntSucceeds runs the hostile tests without any fence, in a world of its
// own: they must find and poison everything, else those who rely on them would
// notice nothing.
func TestHuntSucceeds(t *testing.T) {
	world := t.TempDir()
	home := filepath.Join(world, ".paths")
	cache := filepath.Join(home, "cache", "build", "gocache")
	var failed recorder
	intact := Plant(t, home)
	changed := Plant(&failed, home)
	entry := filepath.Join(cache, "00", strings.Repeat("0", 64)+"-a")
	if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(entry, []byte("v1 "+strings.Repeat("0", 64)+" "+strings.Repeat("0", 64)+"                    1                    1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if problems, n := CleanGoCache(t, cache); len(problems) != 0 || n != 1 {
		t.Errorf("a clean cache with %d entries has problems %q", n, problems)
	}
	intact()

	bin := filepath.Join(t.TempDir(), "lib.test")
	build := exec.Command("go", "test", "-c", "-trimpath", "-vet=off", "-o", bin, "./lib")
	build.Dir = t.TempDir() // a copy, so that go test sees that this test depends on the files
	if err := os.CopyFS(build.Dir, os.DirFS(Service(2))); err != nil {
		t.Fatal(err)
	}
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false "+os.Getenv("GOFLAGS"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own := t.TempDir()
	cmd := exec.Command(bin, "-test.v")
	cmd.Dir = own
	cmd.Env = []string{"HOSTILE_ONLY=" + world, "GOCACHE=" + cache, "HOME=" + own, "TMPDIR=" + own, "SIGNING_TOKEN=" + Mark}
	raw, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	out := string(raw)
	if d := cmp.Diff([]string{"lib TestAnswer", "lib init"}, Hunts(out)); d != "" {
		t.Errorf("hunts: -want +got:\n%s", d)
	}
	did := map[Deed]bool{}
	for _, d := range Deeds(out) {
		did[d] = true
	}
	for _, want := range []Deed{
		{"found", "env:SIGNING_TOKEN"},
		{"found", filepath.Join(home, "keys", "attester.key")},
		{"found", filepath.Join(home, "home-of-user", ".ssh", "id_ed25519")},
		{"wrote", filepath.Join(home, "keys", "attester.key")},
		{"wrote", filepath.Join(home, "cache", "attest", "00ff", "output")},
		{"wrote", filepath.Join(home, "store")},
		{"wrote", entry},
		{"wrote", cache},
	} {
		if !did[want] {
			t.Errorf("the hunt did not report %v; it said:\n%s", want, out)
		}
	}
	if problems, _ := CleanGoCache(t, cache); len(problems) < 2 {
		t.Errorf("the poisoned cache has problems %q", problems)
	}
	changed()
	if !failed.failed {
		t.Error("Plant does not see that everything changed")
	}
	failed.failed = false
	NothingDone(&failed, out)
	if !failed.failed {
		t.Error("NothingDone is content with a successful hunt")
	}
	failed.failed = false
	NothingDone(&failed, "")
	if !failed.failed {
		t.Error("NothingDone is content although nobody hunted")
	}
}

// recorder notes failures instead of failing.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatal(...any)          { panic("fatal") }
