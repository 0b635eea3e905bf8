//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// harbour is a shipped service, and its way to registries.
type harbour struct {
	home, src, db string
	image         step.Digest
}

func newHarbour(t testing.TB) harbour {
	t.Helper()
	h := harbour{home: newHome(t), src: hello(t), db: smallDB(t)}
	h.image = mustShip(t, h.home, h.src, "--vuln-db", h.db)
	return h
}

func (h harbour) ship(t testing.TB, to string, more ...string) result {
	t.Helper()
	return runProcess(t, h.home, append([]string{"ship", h.src, "--vuln-db", h.db, "--to", to, "--output", "json"}, more...)...)
}

// arrived fails the test unless the registry holds the image, with each piece of
// evidence once, and a verifier who knows only the registry is content.
func (h harbour) arrived(t testing.TB, repo string) {
	t.Helper()
	for _, ref := range []string{repo + ":v1", repo + "@" + string(h.image)} {
		r := runProcess(t, h.home, "verify", ref, "--deep")
		if r.code != 0 || !strings.Contains(r.stdout, string(h.image)) {
			t.Errorf("verify %s: exit %d\n%s%s", ref, r.code, r.stdout, r.stderr)
		}
	}
	want := map[string]int{"signature": 1, "provenance": 1, "test-result": 1, "spdx": 1, "cyclonedx": 1, "vulns": 1, "scai": 1, "vsa": 1}
	if d := cmp.Diff(want, h.referrers(t, repo)); d != "" {
		t.Errorf("referrers in %s (-want +got):\n%s", repo, d)
	}
}

// referrers counts them by type, signed or not.
func (h harbour) referrers(t testing.TB, repo string) map[string]int {
	t.Helper()
	at, err := oci.ParseLocator(repo)
	if err != nil {
		t.Fatal(err)
	}
	store, err := oci.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	found, err := store.Referrers(t.Context(), h.image)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, d := range found {
		m, err := store.Manifest(t.Context(), oci.Digest(d))
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Content()
		if err != nil {
			t.Fatal(err)
		}
		typ, _ := evidence.Lookup(c.Annotations["dev.sigstore.bundle.predicateType"])
		n[typ.Name]++
	}
	return n
}

// TestE2ERegistry ships to real registries, with and without the referrers API,
// twice to each.
func TestE2ERegistry(t *testing.T) {
	h := newHarbour(t)
	for name, reg := range map[string]*regtest.Server{
		"referrers API": regtest.New(t),
		"fallback tags": regtest.New(t, regtest.WithoutReferrers()),
	} {
		t.Run(name, func(t *testing.T) {
			repo := reg.Repo("team/hello")
			for range 2 {
				h.ship(t, repo+":v1").says(t, "ship", 0)
				h.arrived(t, repo)
			}
			// The legacy signature is beside it, and no referrer.
			h.ship(t, repo+":v1", "--legacy-signature").says(t, "ship --legacy-signature", 0)
			h.arrived(t, repo)
		})
	}
}

// TestE2EPassingFaults makes registries fail in ways that pass. Ship bears them.
func TestE2EPassingFaults(t *testing.T) {
	h := newHarbour(t)
	writes := func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }
	status := func(code, times int, match func(*http.Request) bool, headers ...string) regtest.Fault {
		return regtest.Fault{Match: match, Times: times, Do: regtest.Status(code, headers...)}
	}
	hit := 0
	for name, faults := range map[string][]regtest.Fault{
		"429 at first":               {status(429, 3, nil)},
		"429 with Retry-After":       {{Times: 2, Do: regtest.RetryAfter(1)}},
		"429 to uploads":             {status(429, 3, writes)},
		"500 storm":                  {status(500, 4, nil)},
		"502 to manifests":           {status(502, 3, regtest.On(http.MethodPut, "/manifests/"))},
		"503 to blobs":               {status(503, 3, regtest.On("", "/blobs/"))},
		"504 to referrers":           {status(504, 2, regtest.On(http.MethodGet, "/referrers/"))},
		"cut upload":                 {{Match: writes, Times: 3, Do: regtest.Drop(false)}},
		"cut upload that arrived":    {{Match: regtest.On(http.MethodPut, "/manifests/"), Times: 3, Do: regtest.Drop(true)}},
		"cut blob upload, arrived":   {{Match: regtest.On(http.MethodPut, "/blobs/"), Times: 2, Do: regtest.Drop(true)}},
		"cut manifest in mid-body":   {{Match: regtest.On(http.MethodGet, "/manifests/"), Times: 3, Do: regtest.Cut(100)}},
		"cut blob in mid-body":       {{Match: regtest.On(http.MethodGet, "/blobs/"), Times: 3, Do: regtest.Cut(100)}},
		"slow drip of manifests":     {{Match: regtest.On(http.MethodGet, "/manifests/"), Times: 3, Do: regtest.Drip(time.Millisecond)}},
		"slow drip of blobs":         {{Match: regtest.On(http.MethodGet, "/blobs/"), Times: 2, Do: regtest.Drip(time.Millisecond)}},
		"no answer to the first one": {{Times: 1, Do: regtest.Drop(false)}},
	} {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, referrers API %v", name, api), func(t *testing.T) {
				reg := newTestRegistry(t, api)
				left := make([]int, len(faults))
				for i, f := range faults {
					do := f.Do
					f.Do = func(w http.ResponseWriter, r *http.Request, next http.Handler) { left[i]++; do(w, r, next) }
					reg.Inject(f)
				}
				repo := reg.Repo("team/hello")
				h.ship(t, repo+":v1").says(t, "ship", 0)
				for i, n := range left {
					hit += n
					// The first read comes with verify; with fallback tags nobody
					// asks for referrers twice.
					if n == 0 {
						t.Errorf("fault %d of %q was never met", i, name)
					}
				}
				reg.Heal()
				h.arrived(t, repo)
				h.ship(t, repo+":v1").says(t, "second ship", 0)
				h.arrived(t, repo)
			})
		}
	}
	t.Logf("%d requests failed", hit)
}

func newTestRegistry(t testing.TB, api bool) *regtest.Server {
	t.Helper()
	if api {
		return regtest.New(t)
	}
	return regtest.New(t, regtest.WithoutReferrers())
}

// TestE2ELastingFaults makes registries fail for good. Ship says which registry,
// why, and what to do, within bounded time; when the registry is well again the
// same command completes what is missing, and nothing is there twice.
func TestE2ELastingFaults(t *testing.T) {
	h := newHarbour(t)
	for name, c := range map[string]struct {
		fault regtest.Fault
		more  []string
		code  int
		words []string
	}{
		"401":                   {regtest.Fault{Do: regtest.Unauthorized()}, nil, 1, []string{"401", "docker login"}},
		"403":                   {regtest.Fault{Do: regtest.Status(403)}, nil, 1, []string{"403", "ask for access"}},
		"403 to pushes":         {regtest.Fault{Match: regtest.On(http.MethodPut, ""), Do: regtest.Status(403)}, nil, 1, []string{"403", "ask for access"}},
		"404 to uploads":        {regtest.Fault{Match: regtest.On(http.MethodPost, ""), Do: regtest.Status(404)}, nil, 1, []string{"404", "check the name"}},
		"413":                   {regtest.Fault{Match: regtest.On(http.MethodPut, "/blobs/"), Do: regtest.Status(413)}, nil, 1, []string{"413", "large"}},
		"429 for hours":         {regtest.Fault{Do: regtest.RetryAfter(7200)}, nil, 1, []string{"429", "7200"}},
		"503":                   {regtest.Fault{Do: regtest.Status(503)}, nil, 1, []string{"503", "try again later"}},
		"503 to manifests":      {regtest.Fault{Match: regtest.On(http.MethodPut, "/manifests/"), Do: regtest.Status(503)}, nil, 1, []string{"503", "try again later"}},
		"hangs up":              {regtest.Fault{Do: regtest.Drop(false)}, nil, 1, []string{"check the network"}},
		"hangs":                 {regtest.Fault{Do: regtest.Hang()}, []string{"--timeout", "5s"}, 1, []string{"--timeout"}},
		"wrong manifests":       {regtest.Fault{Match: regtest.On(http.MethodGet, "/manifests/"), Do: regtest.Corrupt()}, nil, 3, []string{"digest"}},
		"wrong bundles":         {regtest.Fault{Match: regtest.On(http.MethodGet, "/blobs/"), Do: regtest.Corrupt()}, nil, 3, []string{"digest"}},
		"manifests without end": {regtest.Fault{Match: regtest.On(http.MethodGet, "/manifests/"), Do: regtest.Endless("application/vnd.oci.image.manifest.v1+json")}, nil, 3, []string{"more than"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := newTestRegistry(t, len(name)%2 == 0)
			repo := reg.Repo("team/hello")
			c.fault.Times = regtest.Always
			reg.Inject(c.fault)
			start := time.Now()
			r := h.ship(t, repo+":v1", c.more...)
			words := c.words
			if c.more == nil {
				words = append(words, reg.Host)
			}
			r.says(t, "ship", c.code, words...)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %s to give up", took)
			}
			wholeFiles(t, h.src)
			reg.Heal()
			h.ship(t, repo+":v1").says(t, "ship after healing", 0)
			h.arrived(t, repo)
		})
	}
}

// TestE2ENoSpace ships where the disk is full: once where results go, once where
// the home is. The file system is a small one of its own, in a mount namespace
// of its own.
func TestE2ENoSpace(t *testing.T) {
	db := smallDB(t)
	for name, c := range map[string]struct {
		size string // too small
		on   func(home, src string) string
		put  string // what is on it
	}{
		"store":       {"1300k", func(_, src string) string { return src }, "src"},
		"home":        {"1m", func(home, _ string) string { return home }, "home"},
		"home, later": {"6m", func(home, _ string) string { return home }, "home"},
	} {
		t.Run(name, func(t *testing.T) {
			home, src := newHome(t), hello(t)
			original := hello(t)
			mount := c.on(home, src)
			// The file system is gone with the namespace: all that is to be seen
			// there is looked at by the script.
			script := `set -eu
size=$1 mount=$2 keep=$3; shift 3
mount -t tmpfs -o size=$size tmpfs "$mount"
cp -a "$keep/." "$mount/"
code=0; "$@" >"$keep.out" 2>"$keep.err" || code=$?
echo "full=$code"
find "$mount" -name '*.json' -not -path '*/cache/*/tools/*' | while read -r f; do
	python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$f" || echo "half written: $f"
done
mount -o remount,size=500m "$mount"
code=0; "$@" >"$keep.out2" 2>"$keep.err2" || code=$?
echo "freed=$code"
cp -a "$mount/." "$keep.after"
`
			keep := t.TempDir() + "/keep"
			from := home
			if c.put == "src" {
				from = original
			}
			if out, err := exec.Command("cp", "-a", from, keep).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v\n%s", err, out)
			}
			if err := os.Mkdir(keep+".after", 0o755); err != nil {
				t.Fatal(err)
			}
			ship := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--output", "json")
			cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", script, "sh", c.size, mount, keep}, ship.Args...)...)
			cmd.Env = ship.Env
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
					UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
					GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
				}
			}
			r := waitFor(t, cmd)
			read := func(suffix string) string {
				b, err := os.ReadFile(keep + suffix)
				if err != nil {
					t.Error(err)
				}
				return string(b)
			}
			if r.code != 0 {
				t.Fatalf("a file system of its own: exit %d; this test needs root, or user namespaces\n%s", r.code, r.stderr)
			}
			full := result{read(".out"), read(".err"), 1}
			if r.stdout != "full=1\nfreed=0\n" {
				t.Errorf("%s\nfull:\n%s\nfreed:\n%s", r.stdout, full.stderr, read(".err2"))
			}
			full.says(t, "ship on a full disk", 1, "space")
			if !strings.Contains(full.stderr, "no space left") || !strings.Contains(full.stderr, "free") {
				t.Errorf("the error does not say what to do: %s", full.stderr)
			}
			image := shippedDigest(t, result{stdout: read(".out2")})
			if c.put == "src" {
				wholeFiles(t, keep+".after")
				wholeStore(t, keep+".after/.paths/store", image)
				return
			}
			wholeFiles(t, src)
			wholeStore(t, src+"/.paths/store", image)
		})
	}
}
