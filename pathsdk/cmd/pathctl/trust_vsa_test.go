//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/policy"
)

// envelope is a DSSE envelope as a bundle has it, and as slsa-verifier reads it.
type envelope struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []map[string][]byte `json:"signatures"`
}

// summaries are the DSSE envelopes of the VSAs on an image, byte for byte as they stand
// in the published bundles, by the result that they tell.
func summaries(t *testing.T, image string) map[string][]byte {
	t.Helper()
	ref, err := name.NewDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(ref)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, d := range m.Manifests {
		referrer, err := remote.Image(ref.Context().Digest(d.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := referrer.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		r, err := layers[0].Compressed() // as it lies there
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		var bundle struct{ DSSEEnvelope json.RawMessage }
		if err := json.Unmarshal(raw, &bundle); err != nil {
			t.Fatal(err)
		}
		var env envelope
		var statement struct {
			PredicateType string
			Predicate     struct{ VerificationResult string }
		}
		if err := json.Unmarshal(bundle.DSSEEnvelope, &env); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(env.Payload, &statement); err != nil {
			t.Fatal(err)
		}
		if statement.PredicateType == evidence.VSA.URI {
			found[statement.Predicate.VerificationResult] = bundle.DSSEEnvelope
		}
	}
	return found
}

// TestTrustVSA: slsa-verifier takes what our verifier attested for what it says, and for
// nothing else.
func TestTrustVSA(t *testing.T) {
	w := newSigstoreWorld(t)
	repo := regtest.New(t).Repo("team/hello")
	r := w.ship(t, repo+":v1")
	r.says(t, "ship", 0)
	digest := string(shippedDigest(t, r))
	image := repo + "@" + digest
	runProcess(t, w.home, "verify", "--attest", image).says(t, "verify", 0)
	runProcess(t, w.home, "verify", "--attest", "--param", "minCoverage=101", image).says(t, "verify what fails", 3)
	found := summaries(t, image)
	passed, failed := found[evidence.VerificationPassed], found[evidence.VerificationFailed]
	if passed == nil || failed == nil {
		t.Fatalf("there are VSAs with %d results, want one that passed and one that failed", len(found))
	}

	type expected struct {
		envelope                             []byte
		key, digest, verifier, uri, minLevel string
	}
	verify := func(e expected) (string, error) {
		file := filepath.Join(t.TempDir(), "vsa.json")
		if err := os.WriteFile(file, e.envelope, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(w.verifiers, "slsa-verifier"), "verify-vsa", "--attestation-path", file,
			"--public-key-path", filepath.Join(w.home, "keys", e.key), "--subject-digest", e.digest,
			"--verifier-id", e.verifier, "--resource-uri", e.uri, "--verified-level", e.minLevel)
		// Nothing may be asked of the net: no proxy, and no Sigstore's root at hand.
		cmd.Env = []string{"HOME=" + t.TempDir(), "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	good := expected{passed, "verifier.pub", digest, policy.VerifierID, image, evidence.BuildLevel(1)}
	for name, minLevel := range map[string]string{"its level": good.minLevel, "a lower level": evidence.BuildLevel(0)} {
		e := good
		e.minLevel = minLevel
		if out, err := verify(e); err != nil || !strings.Contains(out, "PASSED: SLSA verification passed") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}

	if _, err := attest.CreateKey(filepath.Join(w.home, "keys"), "stranger", nil); err != nil {
		t.Fatal(err)
	}
	changed := func(change func(*envelope)) []byte {
		var env envelope
		if err := json.Unmarshal(passed, &env); err != nil {
			t.Fatal(err)
		}
		change(&env)
		b, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if out, err := verify(expected{changed(func(*envelope) {}), good.key, digest, good.verifier, image, good.minLevel}); err != nil {
		t.Fatalf("written anew, but not changed, it does not hold: %v\n%s", err, out)
	}
	last := map[bool]string{true: "1", false: "0"}[strings.HasSuffix(digest, "0")]
	for name, c := range map[string]struct {
		change func(*expected)
		want   string
	}{
		"another digest":   {func(e *expected) { e.digest = digest[:len(digest)-1] + last }, "expected digest not found"},
		"another key":      {func(e *expected) { e.key = "stranger.pub" }, "verifying envelope"},
		"another verifier": {func(e *expected) { e.verifier += "x" }, "verifier ID mismatch"},
		"another resource": {func(e *expected) { e.uri = repo + "-2@" + digest }, "resource URI mismatch"},
		"a higher level":   {func(e *expected) { e.minLevel = evidence.BuildLevel(2) }, "expected SLSA level BUILD to be at least 2, got 1"},
		"another track":    {func(e *expected) { e.minLevel = "SLSA_SOURCE_LEVEL_1" }, "expected SLSA level not found"},
		"another property": {func(e *expected) { e.minLevel = policy.Reproduced }, "expected verified level not found"},
		"what failed":      {func(e *expected) { e.envelope = failed }, "verification result is not Passed"},
		"a changed byte of the statement": {func(e *expected) {
			e.envelope = changed(func(env *envelope) {
				env.Payload = bytes.Replace(env.Payload, []byte("BUILD_LEVEL_1"), []byte("BUILD_LEVEL_2"), 1)
			})
		}, "verifying envelope"},
		"a changed byte of the signature": {func(e *expected) {
			e.envelope = changed(func(env *envelope) { sig := env.Signatures[0]["sig"]; sig[len(sig)-1] ^= 1 })
		}, "verifying envelope"},
		"another payload type": {func(e *expected) {
			e.envelope = changed(func(env *envelope) { env.PayloadType += "x" })
		}, "expected payload type"},
	} {
		e := good
		c.change(&e)
		if out, err := verify(e); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want a refusal that says %q\n%s", name, err, c.want, out)
		}
	}
}
