//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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
			h.ship(t, repo+":v1", "--layout", "both").says(t, "ship --layout both", 0)
			h.arrived(t, repo)
		})
	}
}

// TestE2EPassingFaults makes registries fail in ways that pass. Ship bears them.
func TestE2EPassingFaults(t *testing.T) {
	h := newHarbour(t)
	writes := func(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }
	var failed atomic.Int64
	t.Cleanup(func() { t.Logf("%d requests failed", failed.Load()) })
	for name, fault := range map[string]regtest.Fault{
		"429 at first":               {Times: 3, Do: regtest.Status(429)},
		"429 with Retry-After":       {Times: 2, Do: regtest.RetryAfter(1)},
		"429 to uploads":             {Match: writes, Times: 3, Do: regtest.Status(429)},
		"500 storm":                  {Times: 4, Do: regtest.Status(500)},
		"502 to manifests":           {Match: regtest.On(http.MethodPut, "/manifests/"), Times: 3, Do: regtest.Status(502)},
		"503 to blobs":               {Match: regtest.On("", "/blobs/"), Times: 3, Do: regtest.Status(503)},
		"504 to referrers":           {Match: regtest.On(http.MethodGet, "/referrers/"), Times: 2, Do: regtest.Status(504)},
		"cut upload":                 {Match: writes, Times: 3, Do: regtest.Drop(false)},
		"cut upload that arrived":    {Match: regtest.On(http.MethodPut, "/manifests/"), Times: 3, Do: regtest.Drop(true)},
		"cut blob upload, arrived":   {Match: regtest.On(http.MethodPut, "/blobs/"), Times: 2, Do: regtest.Drop(true)},
		"cut manifest in mid-body":   {Match: regtest.On(http.MethodGet, "/manifests/"), Times: 3, Do: regtest.Cut(100)},
		"cut blob in mid-body":       {Match: regtest.On(http.MethodGet, "/blobs/"), Times: 3, Do: regtest.Cut(100)},
		"slow drip of manifests":     {Match: regtest.On(http.MethodGet, "/manifests/"), Times: 3, Do: regtest.Drip(time.Millisecond)},
		"slow drip of blobs":         {Match: regtest.On(http.MethodGet, "/blobs/"), Times: 2, Do: regtest.Drip(time.Millisecond)},
		"no answer to the first one": {Times: 1, Do: regtest.Drop(false)},
	} {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, referrers API %v", name, api), func(t *testing.T) {
				t.Parallel()
				reg := newTestRegistry(t, api)
				var met atomic.Int64
				do := fault.Do
				faulty := fault
				faulty.Do = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					met.Add(1)
					failed.Add(1)
					do(w, r, next)
				}
				reg.Inject(faulty)
				repo := reg.Repo("team/hello")
				h.ship(t, repo+":v1").says(t, "ship", 0)
				if n := met.Load(); n != int64(fault.Times) {
					t.Errorf("%d requests met the fault, want %d", n, fault.Times)
				}
				reg.Heal()
				h.arrived(t, repo)
				h.ship(t, repo+":v1").says(t, "second ship", 0)
				h.arrived(t, repo)
			})
		}
	}
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
	manifest := "application/vnd.oci.image.manifest.v1+json"
	for name, c := range map[string]struct {
		fault regtest.Fault
		more  []string
		// How it ends with the referrers API and without: with fallback tags the
		// attester reads manifests before the verifier does.
		code, codeWithout int
		words             []string
	}{
		"401":                   {regtest.Fault{Do: regtest.Unauthorized()}, nil, 1, 1, []string{"401", "docker login"}},
		"403":                   {regtest.Fault{Do: regtest.Status(403)}, nil, 1, 1, []string{"403", "ask for access"}},
		"403 to pushes":         {regtest.Fault{Match: regtest.On(http.MethodPut, ""), Do: regtest.Status(403)}, nil, 1, 1, []string{"403", "ask for access"}},
		"404 to uploads":        {regtest.Fault{Match: regtest.On(http.MethodPost, ""), Do: regtest.Status(404)}, nil, 1, 1, []string{"404", "check the name"}},
		"413":                   {regtest.Fault{Match: regtest.On(http.MethodPut, "/blobs/"), Do: regtest.Status(413)}, nil, 1, 1, []string{"413", "large"}},
		"429 for hours":         {regtest.Fault{Do: regtest.RetryAfter(7200)}, nil, 1, 1, []string{"429", "try again"}},
		"429 to manifests":      {regtest.Fault{Match: regtest.On(http.MethodPut, "/manifests/"), Do: regtest.RetryAfter(7200)}, nil, 1, 1, []string{"429", "7200 seconds"}},
		"503":                   {regtest.Fault{Do: regtest.Status(503)}, nil, 1, 1, []string{"503", "try again later"}},
		"503 to manifests":      {regtest.Fault{Match: regtest.On(http.MethodPut, "/manifests/"), Do: regtest.Status(503)}, nil, 1, 1, []string{"503", "try again later"}},
		"hangs up":              {regtest.Fault{Do: regtest.Drop(false)}, nil, 1, 1, []string{"check the network"}},
		"hangs":                 {regtest.Fault{Do: regtest.Hang()}, []string{"--timeout", "5s"}, 1, 1, []string{"--timeout"}},
		"wrong manifests":       {regtest.Fault{Match: regtest.On(http.MethodGet, "/manifests/sha256:"), Do: regtest.Corrupt()}, nil, 3, 3, []string{"digest"}},
		"wrong blobs":           {regtest.Fault{Match: regtest.On(http.MethodGet, "/blobs/"), Do: regtest.Corrupt()}, nil, 3, 3, []string{"digest"}},
		"manifests without end": {regtest.Fault{Match: regtest.On(http.MethodGet, "/manifests/"), Do: regtest.Endless(manifest)}, nil, 3, 1, []string{"more than"}},
	} {
		for _, api := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, referrers API %v", name, api), func(t *testing.T) {
				t.Parallel()
				reg := newTestRegistry(t, api)
				repo := reg.Repo("team/hello")
				fault := c.fault
				fault.Times = regtest.Always
				reg.Inject(fault)
				words, code := c.words, c.code
				if c.more == nil {
					words = append([]string{reg.Host}, words...)
				}
				if !api {
					code = c.codeWithout
				}
				start := time.Now()
				h.ship(t, repo+":v1", c.more...).says(t, "ship", code, words...)
				if took := time.Since(start); took > time.Minute {
					t.Errorf("it took %s to give up", took)
				}
				reg.Heal()
				h.ship(t, repo+":v1").says(t, "ship after healing", 0)
				h.arrived(t, repo)
			})
		}
	}
}

// TestE2EResume: what a registry's outage left pending is ended without the service,
// its source or the producer's zones: everything that it takes is written down.
func TestE2EResume(t *testing.T) {
	h := newHarbour(t)
	reg := newTestRegistry(t, true)
	repo := reg.Repo("team/hello")
	var puts atomic.Int32
	reg.Inject(regtest.Fault{Times: regtest.Always, Do: regtest.Status(503), Match: func(r *http.Request) bool {
		// The image itself arrives, its evidence does not.
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && puts.Add(1) > 1
	}})
	h.ship(t, repo+":v1").says(t, "ship", 1, "503")
	runProcess(t, h.home, "attest", "resume", "--list").says(t, "the list", 0)
	if r := runProcess(t, h.home, "attest", "resume", "--list"); !strings.Contains(r.stdout, repo+"@"+string(h.image)) {
		t.Errorf("the list does not name the image:\n%s", r.stdout)
	}
	runProcess(t, h.home, "attest", "resume").says(t, "resume while it lasts", 1, "503")
	if _, err := oci.Resolve(t.Context(), oci.Locator{Repository: repo, Tag: "v1"}); err == nil {
		t.Error("the tag is there before the evidence")
	}
	reg.Heal()
	if r := runProcess(t, h.home, "attest", "resume"); r.code != 0 || !strings.Contains(r.stdout, "published") {
		t.Fatalf("resume: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := runProcess(t, h.home, "attest", "resume"); r.code != 0 || !strings.Contains(r.stdout, "nothing is pending") {
		t.Errorf("resume again: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	h.ship(t, repo+":v1").says(t, "ship after all", 0)
	h.arrived(t, repo)

	// What was begun before and never ended does not take the tag back.
	old := h
	old.src = hello(t)
	if err := os.WriteFile(filepath.Join(old.src, "old.go"), []byte("package main\n\nfunc init() { println(\"old\") }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	puts.Store(0)
	reg.Inject(regtest.Fault{Times: regtest.Always, Do: regtest.Status(503), Match: func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && puts.Add(1) > 1
	}})
	old.ship(t, repo+":v1").says(t, "ship of another image", 1, "503")
	reg.Heal()
	h.ship(t, repo+":v1").says(t, "ship of the newer one", 0)
	runProcess(t, h.home, "attest", "resume").says(t, "resume", 0)
	if d, err := oci.Resolve(t.Context(), oci.Locator{Repository: repo, Tag: "v1"}); err != nil || d != h.image {
		t.Errorf("the tag names %s, %v; want %s, which was shipped last", d, err, h.image)
	}
}

// TestE2ERegistryForgets ships to a registry that takes evidence and does not show it:
// the tag is not written, and a later run ends the work.
func TestE2ERegistryForgets(t *testing.T) {
	home, db, src := newHome(t), smallDB(t), hello(t)
	reg := regtest.New(t)
	to := reg.Repo("hello") + ":v1"
	ship := func() result { return runProcess(t, home, "ship", src, "--vuln-db", db, "--to", to) }
	empty := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	for name, c := range map[string]struct {
		fault regtest.Fault
		code  int
		words string
	}{
		"it lists no referrers": {regtest.Fault{Match: regtest.On(http.MethodGet, "/referrers/"), Do: regtest.Replace("application/vnd.oci.image.index.v1+json", empty)}, 1, "does not read back"},
		"it gives other bytes":  {regtest.Fault{Match: regtest.On(http.MethodGet, "/blobs/"), Do: regtest.Corrupt()}, 3, "is not what its digest says"},
	} {
		c.fault.Times = regtest.Always
		reg.Inject(c.fault)
		ship().says(t, name, c.code, c.words)
		if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/v1"); n != 0 {
			t.Errorf("%s: the tag was written", name)
		}
		reg.Heal()
	}
	ship().says(t, "ship again", 0)
	runProcess(t, home, "verify", to).says(t, "verify", 0)
}
