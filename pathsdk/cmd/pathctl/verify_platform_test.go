package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
)

// TestVerifyPlatform: what a platform signed beside an image is read where the trust root
// names its key and the policy asks for it, and changes nothing elsewhere.
func TestVerifyPlatform(t *testing.T) {
	home, store := shipOnce(t)
	before, r := verdictOf(t, home, "oci:"+store)
	if r.code != 0 {
		t.Fatalf("exit %d\n%s", r.code, r.stderr)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	place, err := oci.ParseLocator("oci:" + store)
	if err != nil {
		t.Fatal(err)
	}
	image, err := oci.Resolve(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	w, err := oci.Open(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	bundle := "sha256:" + strings.Repeat("a", 64)
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{
		"buildDefinition":{"buildType":"https://tekton.dev/chains/v2/slsa","externalParameters":{"buildConfigSource":{"ref":%q}},"resolvedDependencies":[{"uri":"oci://x","digest":{"sha256":%q}}]},
		"runDetails":{"builder":{"id":"https://tekton.dev/chains/v2"},"metadata":{"invocationId":"1","startedOn":"2026-01-31T12:00:00Z","finishedOn":"2026-01-31T12:01:00Z"}}}}`, image.Hex(), bundle, strings.Repeat("b", 64))
	sum := sha256.Sum256(dsse.PAE(evidence.PayloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	env, err := json.Marshal(map[string]any{"payloadType": evidence.PayloadType, "payload": payload, "signatures": []map[string]any{{"keyid": "", "sig": sig}}})
	if err != nil {
		t.Fatal(err)
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if m.Config, err = w.PutBlob(t.Context(), string(types.OCIConfigJSON), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	layer, err := w.PutBlob(t.Context(), "application/vnd.dsse.envelope.v1+json", env)
	if err != nil {
		t.Fatal(err)
	}
	m.Layers = []v1.Descriptor{layer}
	if _, err := w.PutManifest(t.Context(), string(types.OCIManifestSchema1), encoded(t, m), attest.AttestationTag(image)); err != nil {
		t.Fatal(err)
	}
	trust := func(name string, k *ecdsa.PrivateKey) string {
		t.Helper()
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for file, text := range map[string]string{
			name + ".pub": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
			"trust.yaml": fmt.Sprintf("apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n- {name: attester, key: %q, roles: [attester], maxTier: observed, maxBuildLevel: 1}\n"+
				"- {name: %s, key: %s.pub, roles: [platform], maxTier: observed, maxBuildLevel: 2}\n", filepath.Join(home, "keys/attester.pub"), name, name),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, "trust.yaml")
	}
	known := trust("chains", key)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := trust("other", foreign)

	// The tag is there, and nobody has asked for it.
	after, r := verdictOf(t, home, "oci:"+store)
	if r.code != 0 || len(after.Evidence) != len(before.Evidence) || after.Level.Build != before.Level.Build {
		t.Errorf("without a platform in the trust root: exit %d, level %d, %d pieces of evidence, want %d", r.code, after.Level.Build, len(after.Evidence), len(before.Evidence))
	}
	for name, c := range map[string]struct {
		args   []string
		code   int
		level  int
		status string // of what the platform signed
	}{
		"an attester is asked for": {[]string{"--trust", known}, 0, 1, "unused"},
		"the platform is":          {[]string{"--trust", known, "--policy", chainsPolicy, "--param", "pipelines=" + bundle}, 0, 2, "used"},
		"another pipeline is":      {[]string{"--trust", known, "--policy", chainsPolicy}, 3, 2, "used"},
		"L3 is":                    {[]string{"--trust", known, "--policy", chainsPolicy, "--param", "pipelines=" + bundle, "--param", "minLevel=3"}, 3, 2, "used"},
		"another key is trusted":   {[]string{"--trust", other, "--policy", chainsPolicy, "--param", "pipelines=" + bundle}, 3, 0, "foreign"},
		"no platform is trusted":   {[]string{"--policy", chainsPolicy, "--param", "pipelines=" + bundle}, 3, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, r := verdictOf(t, home, append([]string{"oci:" + store}, c.args...)...)
			status, why := "", ""
			for _, e := range v.Evidence {
				if e.Digest == oci.DigestOf(env) {
					status, why = e.Status, e.Why
				}
			}
			if r.code != c.code || v.Level.Build != c.level || status != c.status {
				t.Errorf("exit %d, level %d, status %q (%s), want %d, %d, %q\n%s", r.code, v.Level.Build, status, why, c.code, c.level, c.status, r.stderr)
			}
		})
	}

	// Whoever can push a tag, but no manifest that is one, hides nothing of an attester's.
	reg := regtest.New(t)
	ref := reg.Repo("app")
	copied, err := oci.ParseLocator(ref)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := oci.Open(t.Context(), copied, oci.WithCreate())
	if err != nil {
		t.Fatal(err)
	}
	images, err := oci.Images(t.Context(), w, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := oci.Copy(t.Context(), dst, w, image, ""); err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		if _, err := oci.CopyReferrers(t.Context(), dst, w, im.Digest); err != nil {
			t.Fatal(err)
		}
	}
	host, repository, _ := strings.Cut(ref, "/")
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/"+repository+"/manifests/"+attest.AttestationTag(image), strings.NewReader(`{"schemaVersion":1}`))
	if err != nil {
		t.Fatal(err)
	}
	put.Header.Set("Content-Type", string(types.OCIManifestSchema1))
	if answer, err := http.DefaultClient.Do(put); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("%v, %+v", err, answer)
	}
	broken, r := verdictOf(t, home, ref+"@"+string(image), "--trust", known)
	if r.code != 0 || broken.Level.Build != 1 || len(broken.Evidence) != len(before.Evidence)+1 {
		t.Errorf("with a broken tag: exit %d, level %d, %d pieces of evidence, want one more than %d\n%s", r.code, broken.Level.Build, len(broken.Evidence), len(before.Evidence), r.stderr)
	}
	if r := pathctl(t, home, "verify", ref+"@"+string(image), "--trust", known); r.code != 0 || !strings.Contains(r.stdout, attest.AttestationTag(image)) {
		t.Errorf("with a broken tag: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

const chainsPolicy = "../../../tekton/chains/policy.yaml"
