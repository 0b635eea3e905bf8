//go:build e2e

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var updateTable = flag.Bool("update-adversary", false, "write docs/adversary.md anew")

// attack is something that somebody does to have an image accepted that should not be.
type attack struct {
	name string
	// harm is what would go wrong if it worked.
	harm string
	// code is the reason with which it must be refused: the code of refused evidence,
	// a policy's rule, or words of an error.
	code string
	do   func(*battle) outcome
}

// outcome is how a command ended, and every reason that it gave.
type outcome struct {
	code    int
	reasons []string
	text    string
}

// battle is an image in a layout with evidence that an identity signed, and an attacker
// who can write the layout.
type battle struct {
	sigstoreWorld
	*forger
	t     *testing.T
	store string
	// restore puts the store back as it was.
	restore func()
	other   sigstoreWorld // another Sigstore, which nobody trusts, for the same issuer
}

// TestAdversary runs every attack against the real components, and compares what
// became of them with the published table.
func TestAdversary(t *testing.T) {
	w := newSigstoreWorld(t)
	store := filepath.Join(t.TempDir(), "store")
	w.ship(t, "oci:"+store+":v1").says(t, "ship", 0)
	f := forge(t, store)
	b := &battle{sigstoreWorld: w, forger: f, t: t, store: store, other: twinSigstore(t, w)}
	undo, env := snapshot(t, store), os.Getenv("PATHS_IDENTITY_TOKEN_FILE")
	b.restore = undo
	var table strings.Builder
	table.WriteString("<!-- written by: make adversary -->\n# What an adversary tries\n\n" +
		"Each line is an attack that `make adversary` runs against the real components: a Sigstore on loopback, an image\n" +
		"with its evidence, and `pathctl`. Each must be refused, and for the reason named.\n\n" +
		"| the adversary | what would go wrong | refused with |\n|---|---|---|\n")
	// The forger's own tools make what is accepted, where the right one signs: else its
	// failures would prove nothing.
	if o := b.instead(b.signAs(w, b.scan())); o.code != 0 {
		t.Fatalf("what the right identity signs is refused: %s", o.text)
	}
	undo()
	if o := b.instead(b.referring(nil)); o.code != 0 {
		t.Fatalf("a good reference is refused: %s", o.text)
	}
	undo()
	accepted := 0
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			if v, r := verdictOf(t, w.home, "oci:"+store); r.code != 0 {
				t.Fatalf("refused before anything was done: %+v", v.Findings)
			}
			b.t, f.t = t, t
			t.Setenv("PATHS_IDENTITY_TOKEN_FILE", env)
			o := a.do(b)
			undo()
			switch {
			case o.code == 0:
				accepted++
				t.Errorf("accepted\n%s", o.text)
			case !slices.Contains(o.reasons, a.code):
				t.Errorf("refused, but not for %q: %q\n%s", a.code, o.reasons, o.text)
			}
		})
		fmt.Fprintf(&table, "| %s | %s | `%s` |\n", a.name, a.harm, a.code)
	}
	t.Logf("%d attacks, %d accepted, 0 skipped", len(attacks()), accepted)
	const file = "../../../docs/adversary.md"
	if *updateTable {
		if err := os.WriteFile(file, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(file); err != nil || string(was) != table.String() {
		t.Errorf("docs/adversary.md is not this table (%v)\n  fix: TESTFLAGS=-update-adversary make adversary", err)
	}
}

// twinSigstore is another Sigstore that takes the tokens of the same issuer.
func twinSigstore(t *testing.T, w sigstoreWorld) sigstoreWorld {
	t.Helper()
	twin := w
	twin.dir = filepath.Join(t.TempDir(), "sigstore")
	if err := os.MkdirAll(twin.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The same programs, and the issuer of the first.
	if err := os.Symlink(filepath.Join(w.dir, "bin"), filepath.Join(twin.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_SIGSTORE_ISSUER", w.dir)
	t.Cleanup(func() { twin.run(t, "down") })
	twin.run(t, "up")
	return twin
}

// verify judges the image as it is now.
func (b *battle) verify(flags ...string) outcome { return b.verifyAt("oci:"+b.store, flags...) }

func (b *battle) verifyAt(ref string, flags ...string) outcome {
	b.t.Helper()
	v, r := verdictOf(b.t, b.home, append([]string{ref}, flags...)...)
	o := outcome{code: r.code, text: r.stderr}
	for _, e := range v.Evidence {
		if e.Code != "" {
			o.reasons = append(o.reasons, e.Code)
		}
	}
	for _, f := range v.Findings {
		o.reasons = append(o.reasons, f.Rule)
	}
	return o
}

// ended is the outcome of a command that gives its reason in words.
func ended(r result, words string) outcome {
	o := outcome{code: r.code, text: r.stderr + r.stdout}
	if strings.Contains(o.text, words) {
		o.reasons = []string{words}
	}
	return o
}

// instead puts another bundle in the place of the image's scan.
func (b *battle) instead(bundle []byte) outcome {
	b.t.Helper()
	b.rebundle(b.of(b.image, evidence.Vulns), bundle)
	return b.verify()
}

// scan is the statement of the image's scan.
func (b *battle) scan() []byte { return b.of(b.image, evidence.Vulns).statement }

// bundleOf is the good bundle of a statement's type, to be edited.
func (b *battle) bundleOf(t evidence.Type) object {
	return decoded(b.t, b.blob(b.of(b.image, t).bundle)).(object)
}

// signAs signs a statement by a Sigstore, in the name of whoever the token names.
func (b *battle) signAs(at sigstoreWorld, statement []byte, token ...string) []byte {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "token")
	b.run(b.t, append([]string{"token", "-out", file}, token...)...)
	services, err := attest.LoadServices(filepath.Join(at.dir, "signing_config.json"), filepath.Join(at.dir, "trusted_root.json"), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := attest.NewIdentitySigner(b.t.Context(), services, func(context.Context) (string, error) {
		raw, err := os.ReadFile(file)
		return string(raw), err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	bundle, err := attest.SignAndLog(b.t.Context(), s, statement)
	if err != nil {
		b.t.Fatal(err)
	}
	return bundle
}

// edited is a statement whose predicate was changed, signed by the right identity: what
// an attester would sign that lies or is deceived.
func (b *battle) edited(t evidence.Type, change func(predicate object)) []byte {
	b.t.Helper()
	st := decoded(b.t, b.of(b.image, t).statement).(object)
	change(st["predicate"].(object))
	return b.signAs(b.sigstoreWorld, encoded(b.t, st))
}

// referring is a reference to the image's scan, signed by the right identity, with the
// scan beside it.
func (b *battle) referring(change func(*evidence.ReferenceV01)) []byte {
	b.t.Helper()
	st, err := evidence.ParseStatement(b.scan())
	if err != nil {
		b.t.Fatal(err)
	}
	digest, _ := b.put(st.Predicate)
	p, err := evidence.Refer(evidence.Vulns, st.Predicate, digest, st.Subject)
	if err != nil {
		b.t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	raw, err := p.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	signed, err := evidence.New(evidence.Reference, raw, st.Subject, st.Tier)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.signAs(b.sigstoreWorld, signed)
}

// referred is the digest of the scan that referring refers to.
func (b *battle) referred() step.Digest {
	b.t.Helper()
	st, err := evidence.ParseStatement(b.scan())
	if err != nil {
		b.t.Fatal(err)
	}
	return oci.DigestOf(st.Predicate)
}

// throwaway signs with a key of its own, and a certificate that it has given itself in
// the name of the identity that is trusted.
func (b *battle) throwaway(statement []byte) []byte {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	issuer, err := asn1.MarshalWithParams(b.issuer, "utf8")
	if err != nil {
		b.t.Fatal(err)
	}
	name, err := url.Parse(trustSubject)
	if err != nil {
		b.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, URIs: []*url.URL{name},
		// Fulcio's extension for the issuer, version 2.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.t.Fatal(err)
	}
	sum := sha256.Sum256(dsse.PAE(evidence.PayloadType, statement))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.t.Fatal(err)
	}
	bundle := b.bundleOf(evidence.Vulns)
	bundle["verificationMaterial"].(object)["certificate"].(object)["rawBytes"] = base64.StdEncoding.EncodeToString(der)
	env := bundle["dsseEnvelope"].(object)
	env["payload"] = base64.StdEncoding.EncodeToString(statement)
	env["signatures"].([]any)[0].(object)["sig"] = base64.StdEncoding.EncodeToString(sig)
	return encoded(b.t, bundle)
}

// material is a part of a bundle's verification material.
func material(bundle object) object { return bundle["verificationMaterial"].(object) }

// policyFile is the shipped policy, with one thing replaced.
func (b *battle) policyFile(pattern, with string) string {
	b.t.Helper()
	r := pathctl(b.t, b.home, "policy", "show", "microservice")
	text := regexp.MustCompile(pattern).ReplaceAllString(r.stdout, with)
	if text == r.stdout {
		b.t.Fatalf("the policy has no %q", pattern)
	}
	file := filepath.Join(b.t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// trusting is the trust root, with an attester who is believed up to L3.
func (b *battle) trusting() string {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.home, "trust.yaml"))
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.home, "trusting.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(string(raw), "maxBuildLevel: 1", "maxBuildLevel: 3", 1)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// withRoles is the trust root, with other roles for the attester and for the verifier.
func (b *battle) withRoles(attester, verifier string) string {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.home, "trust.yaml"))
	if err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.home, "roles.yaml")
	text := strings.NewReplacer("roles: [attester]", "roles: "+attester, "roles: [verifier]", "roles: "+verifier).Replace(string(raw))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// waiver is a statement that accepts what badNews found.
func (b *battle) waiver(image, expires string) []byte {
	b.t.Helper()
	predicate, err := evidence.WaiverV1{ID: "CVE-2026-4242", Reason: "please", Expires: expires}.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	st, err := evidence.New(evidence.Waiver, predicate, step.Subject{Name: "image", Digest: step.Digest(image)}, evidence.Derived)
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// platform is one of the adversary's own: it gives jobs tokens of GitHub's shape, and
// publishes the keys to check them with.
func (b *battle) platform(repository, revision string) string {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	b.t.Cleanup(server.Close)
	answer := func(path string, v func(*http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(v(r)) })
	}
	answer("/.well-known/openid-configuration", func(*http.Request) any {
		return object{"issuer": server.URL, "jwks_uri": server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}}
	})
	answer("/keys", func(*http.Request) any {
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}}
	})
	answer("/token", func(r *http.Request) any {
		token, err := jwt.Signed(signer).Claims(object{
			"iss": server.URL, "sub": "job", "aud": r.URL.Query().Get("audience"), "exp": time.Now().Add(time.Minute).Unix(),
			"job_workflow_ref": repository + "/.github/workflows/ship.yaml@refs/heads/main", "repository": repository, "ref": "refs/heads/main",
			"sha": revision, "run_id": "1", "run_attempt": "1", "runner_environment": "github-hosted",
		}).Serialize()
		return object{"value": token, "error": err}
	})
	return server.URL
}

// shipped ships another service in the same home.
func (b *battle) shipped(src string) result {
	b.t.Helper()
	return runProcess(b.t, b.home, "ship", src, "--vuln-db", b.db, "--to", regtest.New(b.t).Repo("hello")+":v1", "--output", "json")
}

// withTest is the small service with a test of the adversary's own.
func (b *battle) withTest(body string) string {
	b.t.Helper()
	src := hello(b.t)
	text := "package main\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestAdversary(t *testing.T) {\n\t_ = os.Args\n" + body + "\n}\n"
	if err := os.WriteFile(filepath.Join(src, "adversary_test.go"), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return src
}
