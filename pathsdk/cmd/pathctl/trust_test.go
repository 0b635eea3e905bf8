//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

const (
	trustSubject = "https://github.com/acme/orders/.github/workflows/attest.yaml@refs/heads/main"
	trustAccount = "https://kubernetes.io/namespaces/paths-signing/serviceaccounts/attester"
)

// sigstoreWorld is a service, and a Sigstore whose identities sign for it.
type sigstoreWorld struct {
	dir, tool, verifiers string
	issuer               string // of GitHub's shape; kubernetes beside it
	home, src, db        string
}

func newSigstoreWorld(t *testing.T) sigstoreWorld {
	t.Helper()
	w := sigstoreWorld{
		dir: os.Getenv("PATHS_SIGSTORE"), tool: os.Getenv("PATHS_SIGSTORE_TOOL"), verifiers: os.Getenv("PATHS_VERIFIERS"),
		home: newHome(t), src: hello(t), db: smallDB(t),
	}
	if w.dir == "" || w.tool == "" || w.verifiers == "" {
		t.Fatal("there is no Sigstore for tests\n  fix: make e2e-trust")
	}
	raw, err := os.ReadFile(filepath.Join(w.dir, "ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ports map[string]int
	if err := json.Unmarshal(raw, &ports); err != nil {
		t.Fatal(err)
	}
	w.issuer = fmt.Sprintf("http://127.0.0.1:%d/github", ports["issuer"])
	runProcess(t, w.home, "key", "init").says(t, "key init", 0)
	w.trust(t, w.home, w.issuer, trustSubject)
	t.Setenv("PATHS_SIGNING_CONFIG", filepath.Join(w.dir, "signing_config.json"))
	t.Setenv("PATHS_TRUSTED_ROOT", filepath.Join(w.dir, "trusted_root.json"))
	w.token(t)
	return w
}

// trust writes a trust root whose attester is an identity.
func (w sigstoreWorld) trust(t *testing.T, home, issuer, subject string) {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
- name: attester
  roles: [attester]
  maxTier: observed
  maxBuildLevel: 1
  identity: {trustedRoot: %q, issuer: %q, subject: %q}
- {name: verifier, key: keys/verifier.pub, roles: [verifier], maxTier: derived, maxBuildLevel: 0}
`, filepath.Join(w.dir, "trusted_root.json"), issuer, subject)
	if err := os.WriteFile(filepath.Join(home, "trust.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// token makes a fresh token, of which the environment names the file.
func (w sigstoreWorld) token(t *testing.T, flags ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	w.run(t, append([]string{"token", "-out", file}, flags...)...)
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", file)
}

func (w sigstoreWorld) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(w.tool, args...)
	cmd.Env = append(os.Environ(), "PATHS_SIGSTORE="+w.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sigstore %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func (w sigstoreWorld) ship(t *testing.T, to string) result {
	t.Helper()
	return runProcess(t, w.home, "ship", w.src, "--vuln-db", w.db, "--to", to, "--output", "json")
}

// registries are real ones: with the referrers API, and two kinds without.
func registries(t *testing.T, verifiers string) map[string]string {
	t.Helper()
	hosts := map[string]string{"go-containerregistry": regtest.New(t).Host, "go-containerregistry, no referrers": regtest.New(t, regtest.WithoutReferrers()).Host}
	for name, binary := range map[string]string{"distribution v3": filepath.Join(verifiers, "registry"), "docker-registry 2.8": "docker-registry"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		host := l.Addr().String()
		l.Close()
		dir := t.TempDir()
		config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), host)
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(binary, "serve", filepath.Join(dir, "config.yaml"))
		cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
				resp.Body.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not answer", name)
			}
		}
		hosts[name] = host
	}
	return hosts
}

// TestTrustRegistries: what an identity signed verifies wherever it is published, and
// by whoever looks: our verifier, cosign 2 and cosign 3.
func TestTrustRegistries(t *testing.T) {
	w := newSigstoreWorld(t)
	for name, host := range registries(t, w.verifiers) {
		t.Run(name, func(t *testing.T) {
			r := w.ship(t, host+"/team/hello:v1")
			r.says(t, "ship", 0)
			ref := host + "/team/hello@" + string(shippedDigest(t, r))
			runProcess(t, w.home, "verify", ref).says(t, "verify", 0)
			for _, version := range []string{"cosign2", "cosign3"} {
				out, err := w.cosign(version, ref, trustSubject, w.issuer)
				if err != nil {
					t.Errorf("%s: %v\n%s", version, err, out)
				}
				if out, err := w.cosign(version, ref, strings.Replace(trustSubject, "main", "mai", 1), w.issuer); err == nil {
					t.Errorf("%s accepts another identity, so its word means nothing\n%s", version, out)
				}
			}
		})
	}
}

// TestTrustByReference: what is too large for a statement is published and verified in
// every registry. Other verifiers see the references, and all else as before.
func TestTrustByReference(t *testing.T) {
	w := newSigstoreWorld(t)
	w.src = largeHello(t)
	for name, host := range registries(t, w.verifiers) {
		t.Run(name, func(t *testing.T) {
			r := w.ship(t, host+"/team/large:v1")
			r.says(t, "ship", 0)
			ref := host + "/team/large@" + string(shippedDigest(t, r))
			runProcess(t, w.home, "verify", ref).says(t, "verify", 0)
			for _, version := range []string{"cosign2", "cosign3"} {
				for _, typ := range []string{"slsaprovenance1", evidence.Reference.URI} {
					if out, err := w.cosignType(version, typ, ref, trustSubject, w.issuer); err != nil {
						t.Errorf("%s, %s: %v\n%s", version, typ, err, out)
					}
				}
				if out, err := w.cosignType(version, evidence.SPDX.URI, ref, trustSubject, w.issuer); err == nil {
					t.Errorf("%s finds an SBOM in a statement, although it is referred to\n%s", version, out)
				}
			}
		})
	}
}

// TestTrustSigstoreGo: every bundle is one that sigstore-go verifies by itself.
func TestTrustSigstoreGo(t *testing.T) {
	w := newSigstoreWorld(t)
	w.ship(t, regtest.New(t).Repo("hello")+":v1").says(t, "ship", 0)
	bundles, err := filepath.Glob(filepath.Join(w.home, "cache", "attest", "bundles", "*.json"))
	if err != nil || len(bundles) < 7 {
		t.Fatalf("%d bundles, %v", len(bundles), err)
	}
	args := append([]string{"verify", "-issuer", w.issuer, "-subject", trustSubject}, bundles...)
	if out := w.run(t, args...); !strings.Contains(out, fmt.Sprintf("%d bundles verified", len(bundles))) {
		t.Error(out)
	}
	args[4] += "x"
	if out, err := exec.Command(w.tool, args...).CombinedOutput(); err == nil {
		t.Errorf("sigstore-go accepts another identity, so its word means nothing\n%s", out)
	}
}

// cosign verifies the provenance with another program. Its certificates are from a
// Sigstore without a log for certificates.
func (w sigstoreWorld) cosign(version, ref, subject, issuer string) (string, error) {
	return w.cosignType(version, "slsaprovenance1", ref, subject, issuer)
}

func (w sigstoreWorld) cosignType(version, typ, ref, subject, issuer string) (string, error) {
	args := []string{"verify-attestation", "--type", typ, "--trusted-root", filepath.Join(w.dir, "trusted_root.json"),
		"--certificate-identity", subject, "--certificate-oidc-issuer", issuer, "--use-signed-timestamps", "--insecure-ignore-sct", "--allow-http-registry"}
	if version == "cosign2" {
		args = append(args, "--new-bundle-format")
	}
	out, err := exec.Command(filepath.Join(w.verifiers, version), append(args, ref)...).CombinedOutput()
	return string(out), err
}

// TestTrustIdentities: whom the authority knows, and whom the trust root does.
func TestTrustIdentities(t *testing.T) {
	w := newSigstoreWorld(t)
	reg := regtest.New(t)
	to := func(name string) string { return reg.Repo(name) + ":v1" }

	w.token(t, "-shape", "kubernetes")
	kubernetes := strings.Replace(w.issuer, "/github", "/kubernetes", 1)
	w.ship(t, to("stranger")).says(t, "ship as somebody whom nobody trusts", 3, "no usable signature")
	w.trust(t, w.home, kubernetes, trustAccount)
	w.ship(t, to("account")).says(t, "ship as a service account", 0)
	w.trust(t, w.home, w.issuer, trustSubject)

	for name, flags := range map[string][]string{
		"another audience":   {"-audience", "elsewhere"},
		"a token that ended": {"-life", "-1m"},
	} {
		w.token(t, flags...)
		r := w.ship(t, to("refused"))
		if r.code != 1 {
			t.Errorf("%s: exit %d\n%s", name, r.code, r.stderr)
		}
		raw, err := os.ReadFile(os.Getenv("PATHS_IDENTITY_TOKEN_FILE"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.stdout+r.stderr, string(raw)) {
			t.Errorf("%s: the token is in the output", name)
		}
	}

	// A job of GitHub gets its token from the runner.
	secret, err := os.ReadFile(filepath.Join(w.dir, "github-request-token"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", w.issuer+"/request?api-version=2.0")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", string(secret))
	w.ship(t, to("job")).says(t, "ship in a job", 0)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
	w.ship(t, to("nobody")).says(t, "ship as nobody", 2, "--identity-token")
}

// TestTrustOutage: a log that does not answer costs no evidence, and no second
// signature.
func TestTrustOutage(t *testing.T) {
	w := newSigstoreWorld(t)
	reg := regtest.New(t)
	to := reg.Repo("hello") + ":v1"
	w.run(t, "stop", "rekor")
	t.Cleanup(func() { w.run(t, "start", "rekor") })
	w.ship(t, to).says(t, "ship without a log", 1, "transparency log", "attest resume")
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/v1"); n != 0 {
		t.Error("the tag is there before the evidence")
	}
	bundles := func() map[string]string {
		files, err := filepath.Glob(filepath.Join(w.home, "cache", "attest", "bundles", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no bundle was kept: %v", err)
		}
		signatures := map[string]string{}
		for _, f := range files {
			var b struct {
				DSSEEnvelope struct{ Signatures []struct{ Sig string } }
			}
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &b); err != nil {
				t.Fatal(err)
			}
			signatures[f] = b.DSSEEnvelope.Signatures[0].Sig
		}
		return signatures
	}
	before := bundles()
	w.run(t, "start", "rekor")
	runProcess(t, w.home, "attest", "resume").says(t, "resume", 0)
	for file, sig := range bundles() {
		if before[file] != sig {
			t.Errorf("%s was signed again", file)
		}
	}
	r := runProcess(t, w.home, "verify", to)
	r.says(t, "verify", 0)
	if !strings.Contains(r.stdout, "attester is "+trustSubject+", by issuer "+w.issuer) {
		t.Errorf("verify does not say who signed:\n%s", r.stdout)
	}

	w.run(t, "stop", "fulcio")
	t.Cleanup(func() { w.run(t, "start", "fulcio") })
	w.ship(t, to).says(t, "ship again: nothing is to be signed", 0)
}
