//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// largePackages is how many packages make an SBOM larger than a statement holds.
const largePackages = 8000

// largeHello is the small service with as many packages in its image as a large one has.
func largeHello(t testing.TB) string {
	t.Helper()
	src := hello(t)
	for i := range largePackages {
		dir := filepath.Join(src, "kodata", "node_modules", fmt.Sprintf("package-%d", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"name":"package-%d","version":"1.0.%d","license":"MIT"}`, i, i)
		if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return src
}

// TestE2ELargeSBOM ships a service whose SBOMs are referred to: through an outage of the
// registry in the midst of publishing, to a verdict, and into a copy.
func TestE2ELargeSBOM(t *testing.T) {
	home, src, db := newHome(t), largeHello(t), smallDB(t)
	reg := regtest.New(t)
	repo := reg.Repo("team/large")
	// The image arrives, and some of what hangs on it.
	var manifests atomic.Int32
	put := regtest.On(http.MethodPut, "/manifests/")
	reg.Inject(regtest.Fault{Times: 1000, Do: regtest.Status(http.StatusForbidden), Match: func(r *http.Request) bool { return put(r) && manifests.Add(1) > 4 }})
	out, err := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--to", repo+":v1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "403") {
		t.Fatalf("ship in an outage: %v\n%s", err, out)
	}
	reg.Heal()
	if r := pathctl(t, home, "attest", "resume"); r.code != 0 || !strings.Contains(r.stdout, "published") {
		t.Fatalf("resume: %+v", r)
	}
	if r := pathctl(t, home, "verify", repo+":v1"); r.code != 0 {
		t.Fatalf("verify: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	for name, count := range map[string]func(json.RawMessage) (evidence.SBOM, error){"spdx": evidence.ParseSPDX, "cyclonedx": evidence.ParseCycloneDX} {
		r := pathctl(t, home, "evidence", "get", repo+":v1", name)
		if r.code != 0 {
			t.Fatalf("get %s: %+v", name, r)
		}
		if sbom, err := count(json.RawMessage(r.stdout)); err != nil || len(sbom.Packages) < largePackages {
			t.Errorf("%s lists %d packages: %v", name, len(sbom.Packages), err)
		}
	}
	r := pathctl(t, home, "evidence", "ls", repo+":v1", "-o", "json")
	var all []listed
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatal(err)
	}
	referred := map[string]bool{}
	for _, l := range all {
		if l.Error != "" {
			t.Errorf("%s %s: %s", shortType(l.Type), l.Digest, l.Error)
		}
		if l.ByReference {
			referred[shortType(l.Type)] = true
		}
	}
	if len(all) != 7 || !referred["spdx"] || !referred["cyclonedx"] || referred["provenance"] {
		t.Errorf("%d pieces of evidence, by reference: %v", len(all), referred)
	}
	for _, verb := range []string{"ls", "tree"} {
		if r := pathctl(t, home, "evidence", verb, repo+":v1"); strings.Count(r.stdout, "attester, by reference") != len(referred) {
			t.Errorf("evidence %s:\n%s", verb, r.stdout)
		}
	}

	// Nothing that is shipped again is signed again.
	again, err := pathctlProcess(t, home, "ship", src, "--vuln-db", db, "--to", repo+":v1").CombinedOutput()
	if err != nil || !strings.Contains(string(again), "sign        cached") {
		t.Errorf("ship again: %v\n%s", err, again)
	}

	// Who copies the image and all that hangs on it has the predicates.
	from, to := openPlace(t, repo), "oci:"+filepath.Join(t.TempDir(), "copy")
	digest := imageOf(t, repo+":v1")
	dst := openPlace(t, to)
	if err := oci.Copy(t.Context(), dst, from, digest, "v1"); err != nil {
		t.Fatal(err)
	}
	referrers, err := from.Referrers(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range referrers {
		if err := oci.Copy(t.Context(), dst, from, oci.Digest(d), ""); err != nil {
			t.Fatal(err)
		}
	}
	if r := pathctl(t, home, "verify", to+":v1"); r.code != 0 {
		t.Errorf("verify the copy: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// One who leaves them out has no SBOM.
	bare := "oci:" + filepath.Join(t.TempDir(), "bare")
	dst = openPlace(t, bare)
	if err := oci.Copy(t.Context(), dst, from, digest, "v1"); err != nil {
		t.Fatal(err)
	}
	for _, d := range referrers {
		if d.ArtifactType == attest.BundleType {
			if err := oci.Copy(t.Context(), dst, from, oci.Digest(d), ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	v, got := verdictOf(t, home, bare+":v1")
	lost := 0
	for _, e := range v.Evidence {
		if e.Code == string(attest.RefusedLost) {
			lost++
		}
	}
	if got.code != 3 || lost != len(referred) {
		t.Errorf("verify a copy without predicates: exit %d, %d are lost\n%s", got.code, lost, got.stderr)
	}
}

func openPlace(t testing.TB, place string) oci.Writer {
	t.Helper()
	at, err := oci.ParseLocator(place)
	if err != nil {
		t.Fatal(err)
	}
	w, err := oci.Open(t.Context(), at, oci.WithCreate())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func imageOf(t testing.TB, reference string) step.Digest {
	t.Helper()
	at, err := oci.ParseLocator(reference)
	if err != nil {
		t.Fatal(err)
	}
	d, err := oci.Resolve(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
