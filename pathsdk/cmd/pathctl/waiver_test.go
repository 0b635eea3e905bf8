package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// waiverRoot is a trust root that gives the home's two keys these roles.
func waiverRoot(t *testing.T, home, attester, verifier string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trust.yaml")
	text := fmt.Sprintf(`apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
- {name: attester, key: %q, roles: %s, maxTier: observed, maxBuildLevel: 1}
- {name: verifier, key: %q, roles: %s, maxTier: derived, maxBuildLevel: 0}
`, filepath.Join(home, "keys", "attester.pub"), attester, filepath.Join(home, "keys", "verifier.pub"), verifier)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestWaiverListRefuses: a waiver by who signed the evidence is listed as refused, for
// the reason that verify gives.
func TestWaiverListRefuses(t *testing.T) {
	home, store := shipOnce(t)
	image := "oci:" + store
	trust := waiverRoot(t, home, "[attester, waiver]", "[verifier, waiver]")
	for _, who := range []string{"attester", "verifier"} {
		if r := pathctl(t, home, "waiver", "add", image, "--id", who, "--reason", "r", "--expires", "2099-12-31",
			"--key", filepath.Join(home, "keys", who+".key")); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	tested := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(tested, []byte(`apiVersion: pavedpaths.dev/v1
kind: Policy
name: tested
summary: Nobody of the home signs what this one asks for.
require:
  - {predicate: test-result, about: image, tier: reported, role: tester, fix: test it}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		policy string
		states map[string]string
	}{
		{"microservice", map[string]string{"attester": policy.WaiverRefused, "verifier": "valid"}},
		{tested, map[string]string{"attester": "valid", "verifier": "valid"}},
	} {
		v, _ := verdictOf(t, home, image, "--trust", trust, "--policy", c.policy)
		said := map[step.Digest]string{}
		for _, e := range v.Evidence {
			if e.Type == evidence.Waiver.URI && e.Code == "self-waived" {
				said[e.Digest] = e.Why
			}
		}
		r := pathctl(t, home, "waiver", "list", image, "--trust", trust, "--policy", c.policy, "--output", "json")
		var all []listedWaiver
		if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || len(all) != 2 {
			t.Fatalf("%d waivers, %v\n%s%s", len(all), err, r.stdout, r.stderr)
		}
		for _, l := range all {
			if l.State != c.states[l.ID] || l.Why != said[l.Digest] {
				t.Errorf("%s: waiver by %s is %s (%s), want %s, and verify says %q", v.Policy.Name, l.ID, l.State, l.Why, c.states[l.ID], said[l.Digest])
			}
		}
	}
	r := pathctl(t, home, "waiver", "list", image, "--trust", trust)
	if want := "refused: is signed by attester, who signed its "; !strings.Contains(r.stdout, want) {
		t.Errorf("want %q\n%s", want, r.stdout)
	}
	if r := pathctl(t, home, "waiver", "list", image, "--policy", "nothing"); r.code != 2 || !strings.Contains(r.stderr, "choose microservice") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

// TestWaiverAddTag: a tag is resolved once, and the digest that it named is printed.
func TestWaiverAddTag(t *testing.T) {
	home, store := shipOnce(t)
	reg := regtest.New(t)
	from, err := oci.ParseLocator("oci:" + store)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := oci.Resolve(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	src, err := oci.Open(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	to, err := oci.ParseLocator(reg.Repo("team/hello"))
	if err != nil {
		t.Fatal(err)
	}
	dst, err := oci.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Copy(t.Context(), dst, src, digest, "v1"); err != nil {
		t.Fatal(err)
	}
	reg.Requests() // those are of another
	r := pathctl(t, home, "waiver", "add", reg.Repo("team/hello")+":v1", "--id", "coverage", "--reason", "r", "--expires", "2099-12-31",
		"--key", filepath.Join(home, "keys", "verifier.key"))
	if want := "signed  waiver of coverage until 2099-12-31 on " + string(digest) + "\n"; r.stdout != want {
		t.Errorf("exit %d, got %q, want %q\n%s", r.code, r.stdout, want, r.stderr)
	}
	asked := reg.Requests()
	if n := regtest.Count(asked, http.MethodHead, "/manifests/v1") + regtest.Count(asked, http.MethodGet, "/manifests/v1"); n != 1 {
		t.Errorf("the tag was asked for %d times, want once", n)
	}
}
