package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// TestVerifyReproduced: two workstations, each with keys of its own, ship one source. The
// digest is the same, but nobody vouches for there having been two of them.
func TestVerifyReproduced(t *testing.T) {
	home, store := shipOnce(t)
	other, src := newHome(t), filepath.Join(t.TempDir(), "hello")
	if err := os.CopyFS(src, os.DirFS(shipped.src)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(src, ".paths")); err != nil {
		t.Fatal(err)
	}
	ship := func() {
		t.Helper()
		if out, err := pathctlProcess(t, other, "ship", src, "--vuln-db", shipped.db).CombinedOutput(); err != nil {
			t.Fatalf("ship as another builder: %v\n%s", err, out)
		}
	}
	ship()
	again := filepath.Join(src, ".paths", "store")
	trust := filepath.Join(t.TempDir(), "trust.yaml")
	text := fmt.Sprintf(`apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
- {name: attester, key: %q, roles: [attester], maxTier: observed, maxBuildLevel: 1}
- {name: rebuilder, key: %q, roles: [attester], maxTier: observed, maxBuildLevel: 1}
- {name: verifier, key: %q, roles: [verifier], maxTier: derived, maxBuildLevel: 0}
`, filepath.Join(home, "keys/attester.pub"), filepath.Join(other, "keys/attester.pub"), filepath.Join(home, "keys/verifier.pub"))
	if err := os.WriteFile(trust, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	v, r := verdictOf(t, home, "oci:"+store, "--trust", trust, "--attest", "--svr")
	if r.code != 0 || v.Reproduced {
		t.Fatalf("exit %d, reproduced %t\n%s", r.code, v.Reproduced, r.stderr)
	}
	var list []listed
	if err := json.Unmarshal([]byte(pathctl(t, home, "evidence", "ls", "oci:"+store, "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, l := range list {
		if l.Type == evidence.VSA.URI || l.Type == evidence.SVR.URI {
			said += pathctl(t, home, "evidence", "get", "oci:"+store, l.Type, "--referrer", l.Digest.Short()).stdout
		}
	}
	if strings.Contains(said, "PAVEDPATHS_REPRODUCED") || strings.Count(said, "verificationResult") != 1 || strings.Count(said, "PAVEDPATHS_POLICY_PASSED") != 1 {
		t.Errorf("want one VSA and one SVR:\n%s", said)
	}
	referrers := len(list)
	if _, r := verdictOf(t, home, "oci:"+store, "--trust", trust, "--attest", "--svr"); r.code != 0 {
		t.Fatalf("verify again: exit %d\n%s", r.code, r.stderr)
	}
	if err := json.Unmarshal([]byte(pathctl(t, home, "evidence", "ls", "oci:"+store, "-o", "json").stdout), &list); err != nil || len(list) != referrers {
		t.Errorf("a verdict that says nothing new was signed again: %d referrers, want %d, %v", len(list), referrers, err)
	}
	stranger := hello(t)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"by a workstation":        {[]string{"oci:" + store, "--trust", trust, "--reproduced-by", "oci:" + again}, 3, "no platform vouches for who built it"},
		"by nobody in the root":   {[]string{"oci:" + store, "--reproduced-by", "oci:" + again}, 3, "is not in the trust root"},
		"somewhere else":          {[]string{"oci:" + store, "--reproduced-by", "oci:" + stranger}, 1, "--reproduced-by"},
		"an SVR of nothing":       {[]string{"oci:" + store, "--svr"}, 2, "--attest"},
		"several at once":         {[]string{"oci:" + store, "oci:" + again, "--reproduced-by", "oci:" + again}, 2, "one image"},
		"what is not a reference": {[]string{"oci:" + store, "--reproduced-by", "HTTP://x"}, 2, "--reproduced-by"},
	} {
		if r := pathctl(t, home, append([]string{"verify"}, c.args...)...); r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", name, r.code, c.code, c.want, r.stdout, r.stderr)
		}
	}

	// Another image is no reproduction, whoever signed it.
	if err := os.WriteFile(filepath.Join(src, "more.go"), []byte("package main\n\nfunc init() { println(1) }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ship()
	if r := pathctl(t, home, "verify", "oci:"+store, "--trust", trust, "--reproduced-by", "oci:"+again); r.code != 3 || !strings.Contains(r.stderr, "made another image") {
		t.Errorf("another image: exit %d\n%s", r.code, r.stderr)
	}
}
