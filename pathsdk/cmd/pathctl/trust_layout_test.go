//go:build e2e

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// legacyQuay is where images lie in both layouts, and the verifiers that read the old.
type legacyQuay struct {
	sigstoreWorld
	ca, tsa, trustedRoot string
}

func newLegacyQuay(t *testing.T) legacyQuay {
	t.Helper()
	q := legacyQuay{sigstoreWorld: newSigstoreWorld(t)}
	q.trustedRoot = filepath.Join(q.dir, "trusted_root.json")
	raw, err := os.ReadFile(q.trustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	type authority struct {
		CertChain struct{ Certificates []struct{ RawBytes []byte } }
	}
	var root struct{ CertificateAuthorities, TimestampAuthorities []authority }
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	write := func(name string, skip int, a authority) string {
		var text bytes.Buffer
		for _, c := range a.CertChain.Certificates[skip:] {
			if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.RawBytes}); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// The root alone: what is between it and the leaf stands with the signature.
	ca := root.CertificateAuthorities[0]
	q.ca = write("ca.pem", len(ca.CertChain.Certificates)-1, ca)
	q.tsa = write("tsa.pem", 0, root.TimestampAuthorities[0])
	return q
}

// legacy runs a verifier that looks under tags; none of its flags asks for bundles.
func (q legacyQuay) legacy(version, verb, ref string, who ...string) (string, error) {
	var args []string
	if verb != "verify" {
		args = append(args, "verify-attestation", "--type", verb)
	} else {
		args = append(args, verb)
	}
	args = append(args, "--insecure-ignore-tlog", "--insecure-ignore-sct", "--allow-http-registry")
	if version == "cosign3" { // which would look for bundles at first
		args = append(args, "--new-bundle-format=false")
	}
	out, err := exec.Command(filepath.Join(q.verifiers, version), append(append(args, who...), ref)...).CombinedOutput()
	return string(out), err
}

func (q legacyQuay) identity(subject, issuer string) []string {
	return []string{"--certificate-identity", subject, "--certificate-oidc-issuer", issuer, "--ca-roots", q.ca,
		"--use-signed-timestamps", "--timestamp-certificate-chain", q.tsa}
}

// open opens a repository.
func open(t *testing.T, repo string) (oci.Locator, oci.Writer) {
	t.Helper()
	at, err := oci.ParseLocator(repo)
	if err != nil {
		t.Fatal(err)
	}
	w, err := oci.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return at, w
}

// tagged is what a tag names.
func tagged(t *testing.T, repo, tag string) step.Digest {
	t.Helper()
	at, _ := open(t, repo)
	at.Tag = tag
	d, err := oci.Resolve(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// moved is the image in another repository, with what the tags name, and no referrers:
// cosign 2.6 looks for bundles whether it is told to or not. change changes the
// attestations.
func moved(t *testing.T, from, to string, image step.Digest, change func(envelope []byte) []byte) string {
	t.Helper()
	_, src := open(t, from)
	_, dst := open(t, to)
	if err := oci.Copy(t.Context(), dst, src, image, ""); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{attest.SignatureTag(image), attest.AttestationTag(image)} {
		d := tagged(t, from, tag)
		if err := oci.Copy(t.Context(), dst, src, d, tag); err != nil {
			t.Fatal(err)
		}
		if change == nil || tag == attest.SignatureTag(image) {
			continue
		}
		m, err := src.Manifest(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		var doc v1.Manifest
		if err := json.Unmarshal(m.Bytes, &doc); err != nil {
			t.Fatal(err)
		}
		for i, l := range doc.Layers {
			text, err := oci.ReadBlob(t.Context(), src, l, attest.MaxBundle)
			if err != nil {
				t.Fatal(err)
			}
			if doc.Layers[i], err = dst.PutBlob(t.Context(), string(l.MediaType), change(text)); err != nil {
				t.Fatal(err)
			}
			doc.Layers[i].Annotations = l.Annotations
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dst.PutManifest(t.Context(), m.MediaType, text, tag); err != nil {
			t.Fatal(err)
		}
	}
	return to + "@" + string(image)
}

// anotherStatement changes what an envelope says, so that it is still a statement about
// the same image.
func anotherStatement(t *testing.T) func([]byte) []byte {
	return func(text []byte) []byte {
		var env map[string]json.RawMessage
		var payload []byte
		if err := json.Unmarshal(text, &env); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(env["payload"], &payload); err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(payload, []byte(`"predicate":{`), []byte(`"predicate":{"added":true,`), 1)
		if bytes.Equal(changed, payload) {
			t.Fatalf("nothing was changed in %.300s", payload)
		}
		env["payload"] = []byte(`"` + base64.StdEncoding.EncodeToString(changed) + `"`)
		out, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestTrustLayout: what is published in both layouts verifies in either, with cosign 2
// and 3, and whoever else signed, or what was changed, does not.
func TestTrustLayout(t *testing.T) {
	q := newLegacyQuay(t)
	keyed := newHome(t)
	runProcess(t, keyed, "key", "init").says(t, "key init", 0)
	stranger := t.TempDir()
	if _, err := attest.CreateKey(stranger, "stranger", nil); err != nil {
		t.Fatal(err)
	}
	for name, host := range registries(t, q.verifiers) {
		for _, c := range []struct {
			by, home string
			right    []string
			wrong    map[string][]string // by what the refusal says
		}{
			{"identity", q.home, q.identity(trustSubject, q.issuer), map[string][]string{
				"none of the expected identities matched what was in the certificate": q.identity(strings.Replace(trustSubject, "main", "mai", 1), q.issuer),
				"expected identities matched":                                         q.identity(trustSubject, q.issuer+"x"),
			}},
			{"key", keyed, []string{"--key", filepath.Join(keyed, "keys", "attester.pub")}, map[string][]string{
				"no matching": {"--key", filepath.Join(stranger, "stranger.pub")},
			}},
		} {
			t.Run(name+" "+c.by, func(t *testing.T) {
				if c.home == keyed { // who asks no service
					for _, v := range []string{"PATHS_SIGNING_CONFIG", "PATHS_TRUSTED_ROOT", "PATHS_IDENTITY_TOKEN_FILE"} {
						t.Setenv(v, "")
					}
				}
				repo := host + "/team/" + c.by
				ship := func() step.Digest {
					t.Helper()
					r := runProcess(t, c.home, "ship", q.src, "--vuln-db", q.db, "--to", repo+":v1", "--layout", "both", "--output", "json")
					r.says(t, "ship", 0)
					return shippedDigest(t, r)
				}
				image := ship()
				runProcess(t, c.home, "verify", repo+":v1").says(t, "verify", 0)
				sig, att := tagged(t, repo, attest.SignatureTag(image)), tagged(t, repo, attest.AttestationTag(image))
				if ship() != image || tagged(t, repo, attest.SignatureTag(image)) != sig || tagged(t, repo, attest.AttestationTag(image)) != att {
					t.Error("shipped again, the tags have changed")
				}
				alone := moved(t, repo, repo+"-moved", image, nil)
				changed := moved(t, repo, repo+"-changed", image, anotherStatement(t))
				verbs := []string{"verify", "slsaprovenance1", evidence.Vulns.URI, evidence.SPDX.URI, evidence.CycloneDX.URI, evidence.SCAI.URI}
				for _, verb := range verbs {
					for version, ref := range map[string]string{"cosign2": alone, "cosign3": repo + "@" + string(image)} {
						if out, err := q.legacy(version, verb, ref, c.right...); err != nil {
							t.Errorf("%s %s: %v\n%s", version, verb, err, out)
						}
						for why, who := range c.wrong {
							if out, err := q.legacy(version, verb, ref, who...); err == nil || !strings.Contains(out, why) {
								t.Errorf("%s %s: somebody else is not refused because of %q, but: %v\n%s", version, verb, why, err, out)
							}
						}
						if verb == "verify" {
							continue
						}
						if out, err := q.legacy(version, verb, changed, c.right...); err == nil || !strings.Contains(out, "no matching attestations") {
							t.Errorf("%s %s: a changed envelope is not refused as such, but: %v\n%s", version, verb, err, out)
						}
					}
				}
				// Beside bundles, cosign 2.6 reads those, and is not in the way.
				who := append([]string{"--trusted-root", q.trustedRoot}, c.right[:2]...)
				if c.home != keyed {
					who = append(who, "--certificate-oidc-issuer", q.issuer, "--use-signed-timestamps")
				}
				for _, verb := range verbs {
					if out, err := q.legacy("cosign2", verb, repo+"@"+string(image), who...); err != nil {
						t.Errorf("cosign2 %s, with bundles: %v\n%s", verb, err, out)
					}
				}
			})
		}
	}
}

// TestTrustLayoutKilled: killed before the last tag, or without a log, what was signed is
// used again, and each tag is there once all that it names is.
func TestTrustLayoutKilled(t *testing.T) {
	q := newLegacyQuay(t)
	reg := regtest.New(t)
	repo := reg.Repo("team/hello")
	args := []string{"ship", q.src, "--vuln-db", q.db, "--to", repo + ":v1", "--layout", "both", "--output", "json"}
	kept := func() map[string]string {
		files, err := filepath.Glob(filepath.Join(q.home, "cache", "attest", "bundles", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]string{}
		for _, f := range files {
			var b struct {
				MessageSignature struct{ Signature string }
				DSSEEnvelope     struct{ Signatures []struct{ Sig string } }
			}
			if err := json.Unmarshal([]byte(readText(t, f)), &b); err != nil {
				t.Fatal(err)
			}
			all[f] = b.MessageSignature.Signature
			for _, s := range b.DSSEEnvelope.Signatures {
				all[f] += s.Sig
			}
		}
		return all
	}

	// The log is away: nothing is published, and all is signed.
	q.run(t, "stop", "rekor")
	t.Cleanup(func() { q.run(t, "start", "rekor") })
	runProcess(t, q.home, args...).says(t, "ship without a log", 1, "transparency log", "attest resume")
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/sha256-"); n != 0 {
		t.Errorf("%d tags were written before the evidence", n)
	}
	before := kept()
	q.run(t, "start", "rekor")

	// Killed as it writes the second tag.
	at := make(chan struct{}, 1)
	reg.Inject(regtest.Fault{
		Match: func(r *http.Request) bool { return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".att") },
		Times: 1,
		Do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			at <- struct{}{}
			regtest.Hang()(w, r, next)
		},
	})
	cmd := pathctlProcess(t, q.home, "attest", "resume")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-at
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	reg.Heal()
	if n := regtest.Count(reg.Requests(), http.MethodPut, "/manifests/v1"); n != 0 {
		t.Error("the image's tag was written before those of its evidence")
	}
	runProcess(t, q.home, "attest", "resume").says(t, "resume", 0)
	after := kept()
	for file, sig := range before {
		if after[file] != sig {
			t.Errorf("%s was signed again", file)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d signatures, then %d", len(before), len(after))
	}
	image := tagged(t, repo, "v1")
	ref := moved(t, repo, repo+"-moved", image, nil)
	for _, verb := range []string{"verify", "slsaprovenance1"} {
		if out, err := q.legacy("cosign2", verb, ref, q.identity(trustSubject, q.issuer)...); err != nil {
			t.Errorf("cosign2 %s: %v\n%s", verb, err, out)
		}
	}

	// What nothing would date is not written.
	q.withoutTimestamps(t)
	runProcess(t, q.home, slices.Replace(slices.Clone(args), 5, 6, reg.Repo("team/undated")+":v1")...).says(t, "ship without timestamps", 2, "--layout both", "no timestamp authority")
}

// withoutTimestamps names a log that gives times, as Rekor v1 does, in place of the
// timestamp authority.
func (q legacyQuay) withoutTimestamps(t *testing.T) {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal([]byte(readText(t, filepath.Join(q.dir, "signing_config.json"))), &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "tsaUrls")
	delete(config, "tsaConfig")
	for _, l := range config["rekorTlogUrls"].([]any) {
		l.(map[string]any)["majorApiVersion"] = 1
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "signing_config.json")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_SIGNING_CONFIG", file)
}
