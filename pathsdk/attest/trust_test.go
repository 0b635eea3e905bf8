package attest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
)

const rsa1024 = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDHGYszSgC29lVQ/aWXavGcNeKL
EApPbR0Qm7pT0r5sFyQTIsxNX5/F6uOHQdbpIzVNy5GkUU0Uwwh+4ha3lcQKBsNJ
rr0GhqJS9GDoZ7qKvpMVOjsMCAs3tyDIUCgTYJLeaFqe4mYMpDoqPbFqCMM1vtfH
kAiERrE4sXeptYhBNwIDAQAB
-----END PUBLIC KEY-----
`

func TestParseTrust(t *testing.T) {
	a, b := stranger(t), stranger(t)
	keys := map[string][]byte{
		"a.pub": publicPEM(t, a), "b.pub": publicPEM(t, b),
		"two.pub": append(publicPEM(t, a), publicPEM(t, b)...), "garbage.pub": []byte("x"), "weak.pub": []byte(rsa1024),
		"empty.pub": []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "more.pub": append(publicPEM(t, a), 'x'),
	}
	parse := func(text string) (*attest.Trust, error) {
		return attest.ParseTrust([]byte(text), func(path string) ([]byte, error) {
			k, ok := keys[path]
			if !ok {
				return nil, os.ErrNotExist
			}
			return k, nil
		})
	}
	head := "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\n"
	one := "{name: a, key: a.pub, roles: [attester], maxTier: observed, maxBuildLevel: 1}"
	two := "{name: b, key: b.pub, roles: [verifier, attester], maxTier: derived, maxBuildLevel: 0}"
	trust, err := parse(head + "signers: [" + two + ", " + one + "]")
	if err != nil {
		t.Fatal(err)
	}
	want := []attest.TrustedSigner{
		{Name: "a", Key: "a.pub", Roles: []string{"attester"}, MaxTier: evidence.Observed, MaxBuildLevel: 1},
		{Name: "b", Key: "b.pub", Roles: []string{"verifier", "attester"}, MaxTier: evidence.Derived},
	}
	if diff := cmp.Diff(want, trust.Signers()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(string(keys["b.pub"]), string(trust.File("b"))); diff != "" {
		t.Error(diff)
	}

	// Limits are the last that pass.
	for name, text := range map[string]string{
		"the highest level": strings.Replace(one, "maxBuildLevel: 1", "maxBuildLevel: 3, runIssuers: ['https://x']", 1),
		"a platform":        strings.Replace(strings.Replace(one, "maxBuildLevel: 1", "maxBuildLevel: 2", 1), "[attester]", "[platform]", 1),
		"the lowest level":  strings.Replace(one, "maxBuildLevel: 1", "maxBuildLevel: 0", 1),
		"the longest file":  one + strings.Repeat(" ", 256<<10-len(head+"signers: ["+one+"]")),
	} {
		if _, err := parse(head + "signers: [" + text + "]"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	swap := func(from, to string) string { return head + "signers: [" + strings.Replace(one, from, to, 1) + "]" }
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "apiVersion"},
		{"another version", "apiVersion: v9\nkind: TrustRoot\nsigners: [" + one + "]", "apiVersion"},
		{"another kind", "apiVersion: pavedpaths.dev/v1\nkind: Service\nsigners: [" + one + "]", "kind"},
		{"nobody", head + "signers: []", "0 signers"},
		{"too many", head + "signers: [" + strings.Repeat(one+", ", 101) + "]", "101 signers"},
		{"as many as may be", head + "signers: [" + strings.Repeat(one+", ", 100) + "]", "twice"},
		{"unknown field", head + "signers: [" + one + "]\nextra: 1", "unknown field"},
		{"unknown field of a signer", swap("name: a", "name: a, color: x"), "unknown field"},
		{"repeated field", head + "kind: TrustRoot\nsigners: [" + one + "]", "already set"},
		{"no name", swap("name: a", "name: ''"), "name is missing"},
		{"no key", swap("key: a.pub, ", ""), "key is missing"},
		{"no roles", swap("roles: [attester], ", ""), "roles is missing"},
		{"odd role", swap("[attester]", "[root]"), "role \"root\""},
		{"a platform with another role", swap("[attester]", "[platform, attester]"), "goes with no other"},
		{"a platform above L2", strings.Replace(swap("[attester]", "[platform]"), "maxBuildLevel: 1", "maxBuildLevel: 3", 1), "L2 at most"},
		{"a platform without a key", strings.Replace(swap("key: a.pub", "identity: {trustedRoot: c.json, issuer: 'https://x', subject: x}"), "[attester]", "[platform]", 1), "needs a key"},
		{"no tier", swap("maxTier: observed, ", ""), "maxTier"},
		{"odd tier", swap("observed", "certain"), "maxTier"},
		{"level 4", swap("maxBuildLevel: 1", "maxBuildLevel: 4"), "maxBuildLevel"},
		{"level -1", swap("maxBuildLevel: 1", "maxBuildLevel: -1"), "maxBuildLevel"},
		{"level as text", swap("maxBuildLevel: 1", "maxBuildLevel: high"), "maxBuildLevel"},
		{"two of one name", head + "signers: [" + one + ", " + strings.Replace(two, "name: b", "name: a", 1) + "]", "twice"},
		{"two with one key", head + "signers: [" + one + ", " + strings.Replace(two, "b.pub", "a.pub", 1) + "]", "same key"},
		{"missing key file", swap("a.pub", "c.pub"), "not exist"},
		{"two keys in a file", swap("a.pub", "two.pub"), "one PEM block"},
		{"garbage key", swap("a.pub", "garbage.pub"), "one PEM block"},
		{"weak key", swap("a.pub", "weak.pub"), "weak or unsupported"},
		{"no key in a file", swap("a.pub", "empty.pub"), "asn1"},
		{"a byte behind a key", swap("a.pub", "more.pub"), "one PEM block"},
		{"an issuer of runs that is none", swap("maxBuildLevel: 1", "maxBuildLevel: 1, runIssuers: ['https://x', token]"), "runIssuers"},
		{"identity without a trusted root", swap("key: a.pub", "identity: {issuer: 'https://x', subject: x}"), "trustedRoot is missing"},
		{"missing trusted root", swap("key: a.pub", "identity: {trustedRoot: c.json, issuer: 'https://x', subject: x}"), "not exist"},
		{"huge", strings.Repeat("#", 1<<20), "limit"},
		{"too long", strings.Repeat("#", 256<<10+1), "limit"},
		{"alias bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestHas(t *testing.T) {
	s := attest.TrustedSigner{Roles: []string{attest.RoleAttester, attest.RoleWaiver}}
	if !s.Has(attest.RoleAttester) || !s.Has(attest.RoleWaiver) || s.Has(attest.RoleVerifier) || s.Has("") {
		t.Errorf("%+v", s)
	}
}

// TestRunIssuers: GitHub's word counts where the trust root names nobody else's.
func TestRunIssuers(t *testing.T) {
	if d := cmp.Diff([]string{attest.GitHubIssuer}, attest.TrustedSigner{}.Issuers()); d != "" {
		t.Error(d)
	}
	other := []string{"https://ci.example.com"}
	if d := cmp.Diff(other, attest.TrustedSigner{RunIssuers: other}.Issuers()); d != "" {
		t.Error(d)
	}
}

func TestLoadTrust(t *testing.T) {
	dir := t.TempDir()
	if _, err := attest.LoadTrust(filepath.Join(dir, "trust.yaml")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "pathctl key init") {
		t.Errorf("missing: %v", err)
	}
	if _, err := attest.InitHome(dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	// Keys are found beside the file, wherever the process stands.
	t.Chdir(t.TempDir())
	trust, err := attest.LoadTrust(filepath.Join(dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []attest.TrustedSigner{
		{Name: "attester", Key: "keys/attester.pub", Roles: []string{"attester"}, MaxTier: evidence.Observed, MaxBuildLevel: 1},
		{Name: "verifier", Key: "keys/verifier.pub", Roles: []string{"verifier"}, MaxTier: evidence.Derived},
	}
	if diff := cmp.Diff(want, trust.Signers()); diff != "" {
		t.Error(diff)
	}
	// What it names may be long, up to a limit.
	key := filepath.Join(dir, "keys", "verifier.pub")
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		if err := os.WriteFile(key, append(text, strings.Repeat("\n", size-len(text))...), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := attest.LoadTrust(filepath.Join(dir, "trust.yaml")); (err == nil) != want {
			t.Errorf("a key of %d bytes: %v", size, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "keys", "verifier.pub")); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.LoadTrust(filepath.Join(dir, "trust.yaml")); err == nil || !strings.Contains(err.Error(), "signer verifier") {
		t.Errorf("a missing key: %v", err)
	}
}

func FuzzParseTrust(f *testing.F) {
	key := publicPEM(f, stranger(f))
	f.Add([]byte(oneSigner))
	f.Add([]byte("apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners: [null]"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := attest.ParseTrust(b, func(string) ([]byte, error) { return key, nil })
		if err != nil {
			return
		}
		for _, s := range trust.Signers() {
			if s.MaxTier.Rank() == 0 || s.MaxBuildLevel < 0 || s.MaxBuildLevel > 3 || len(s.Roles) == 0 {
				t.Errorf("accepted %+v", s)
			}
		}
	})
}

const oneSigner = `
apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
  - {name: managed, key: key.pub, roles: [attester], maxTier: observed, maxBuildLevel: 1}
`
