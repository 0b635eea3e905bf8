package attest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// platformTrust trusts an attester and a platform.
func platformTrust(t testing.TB, attester *attest.Signer, platform *ecdsa.PrivateKey, tier string) *attest.Trust {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(platform.Public())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := attest.ParseTrust(fmt.Appendf(nil, `apiVersion: pavedpaths.dev/v1
kind: TrustRoot
signers:
- {name: attester, key: attester.pub, roles: [attester], maxTier: observed, maxBuildLevel: 1}
- {name: chains, key: chains.pub, roles: [platform], maxTier: %s, maxBuildLevel: 2}
`, tier), func(name string) ([]byte, error) {
		switch name {
		case "attester.pub":
			return publicPEM(t, attester), nil
		case "chains.pub":
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
		}
		return nil, os.ErrNotExist
	})
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// chainsStatement is of the form that Tekton Chains writes: without any word on a tier.
func chainsStatement(subjects ...step.Digest) []byte {
	var list []string
	for _, d := range subjects {
		list = append(list, fmt.Sprintf(`{"name":"registry.example.com/app","digest":{"sha256":%q}}`, d.Hex()))
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":"https://slsa.dev/provenance/v1","predicate":{
		"buildDefinition":{"buildType":"https://tekton.dev/chains/v2/slsa","externalParameters":{"runSpec":{}},"resolvedDependencies":[{"uri":"oci://x","digest":{"sha256":"aa"}}]},
		"runDetails":{"builder":{"id":"https://tekton.dev/chains/v2"}}}}`, strings.Join(list, ","))
}

// envelope signs a payload as Tekton Chains does.
func envelope(t testing.TB, k *ecdsa.PrivateKey, payload []byte) dsse.Envelope {
	t.Helper()
	sum := sha256.Sum256(dsse.PAE(evidence.PayloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return dsse.Envelope{
		PayloadType: evidence.PayloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{KeyID: "SHA256:x", Sig: base64.StdEncoding.EncodeToString(sig)}},
	}
}

func encoded(t testing.TB, env dsse.Envelope) []byte {
	t.Helper()
	b, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// attested puts layers below the image's tag, as cosign's library does.
func (p place) attested(t testing.TB, annotations map[string]string, layers ...[]byte) {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	var err error
	if m.Config, err = p.store.PutBlob(t.Context(), string(types.OCIConfigJSON), []byte(`{"rootfs":{"type":"layers"}}`)); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		d, err := p.store.PutBlob(t.Context(), "application/vnd.dsse.envelope.v1+json", l)
		if err != nil {
			t.Fatal(err)
		}
		d.Annotations = annotations
		m.Layers = append(m.Layers, d)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.PutManifest(t.Context(), string(types.OCIManifestSchema1), b, attest.AttestationTag(p.image.Digest)); err != nil {
		t.Fatal(err)
	}
}

func (p place) platforms(t testing.TB, trust *attest.Trust) []attest.Found {
	t.Helper()
	found, err := attest.CollectPlatforms(t.Context(), p.locator, p.store, []oci.Image{p.image}, trust)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCollectPlatforms reads what a platform signed, wherever it is.
func TestCollectPlatforms(t *testing.T) {
	for _, kind := range places() {
		t.Run(kind, func(t *testing.T) {
			attester, _, without := home(t)
			key := newKey(t)
			p, trust := newPlace(t, kind), platformTrust(t, attester, key, "observed")
			if found := p.platforms(t, trust); len(found) != 0 {
				t.Fatalf("without a tag there is %+v", found)
			}
			// Ours are there first, as with --layout both.
			p.write(t, p.tags(t, attester, evidence.Provenance))
			if found := p.platforms(t, trust); len(found) != 0 {
				t.Fatalf("copies of an attester's evidence are found: %+v", found)
			}
			raw := encoded(t, envelope(t, key, chainsStatement(p.image.Digest)))
			p.attested(t, nil, raw, raw)
			found := p.platforms(t, trust)
			if len(found) != 1 || found[0].Err != nil || found[0].Verified == nil {
				t.Fatalf("found %+v", found)
			}
			f := found[0]
			if f.Digest != oci.DigestOf(raw) || f.Image != p.image.Digest || f.PredicateType != evidence.Provenance.URI || f.Foreign() ||
				f.Verified.Signer.Name != "chains" || f.Verified.Tier != evidence.Observed || f.Verified.Statement.Tier != evidence.Observed {
				t.Errorf("found %+v, %+v", f, f.Verified)
			}
			if low := p.platforms(t, platformTrust(t, attester, key, "reported")); len(low) != 1 || low[0].Verified.Tier != evidence.Reported {
				t.Errorf("a signer who can only report: %+v", low)
			}
			// Without a platform in the trust root nothing is asked for: nobody is there to answer.
			nowhere := oci.Locator{Repository: "127.0.0.1:1/app"}
			if found, err := attest.CollectPlatforms(t.Context(), nowhere, nil, []oci.Image{p.image}, without); len(found) != 0 || err != nil {
				t.Errorf("a trust root without a platform reads %+v, %v", found, err)
			}
			// As a referrer it is no bundle, whoever signed it.
			if all, err := attest.Collect(t.Context(), p.store, []oci.Image{p.image}, trust); err != nil || len(all) != 0 {
				t.Errorf("referrers: %+v, %v", all, err)
			}
		})
	}
}

// TestForgedPlatform: what the platform's key has not signed as it stands does not count.
func TestForgedPlatform(t *testing.T) {
	attester, _, _ := home(t)
	key, other := newKey(t), newKey(t)
	trust := platformTrust(t, attester, key, "observed")
	for name, c := range map[string]struct {
		forge func(d step.Digest) []byte
		code  attest.Code
	}{
		"another key": {func(d step.Digest) []byte { return encoded(t, envelope(t, other, chainsStatement(d))) }, attest.RefusedUnknownSigner},
		"a byte of the statement": {func(d step.Digest) []byte {
			env, payload := envelope(t, key, chainsStatement(d)), chainsStatement(d)
			env.Payload = base64.StdEncoding.EncodeToString(bytes.Replace(payload, []byte("oci://x"), []byte("oci://y"), 1))
			return encoded(t, env)
		}, attest.RefusedUnknownSigner},
		"a byte of the signature": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			sig, _ := base64.StdEncoding.DecodeString(env.Signatures[0].Sig)
			sig[len(sig)-1] ^= 1
			env.Signatures[0].Sig = base64.StdEncoding.EncodeToString(sig)
			return encoded(t, env)
		}, attest.RefusedUnknownSigner},
		"no signature": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			env.Signatures = nil
			return encoded(t, env)
		}, attest.RefusedMalformed},
		"two signatures": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			env.Signatures = append(env.Signatures, envelope(t, other, chainsStatement(d)).Signatures...)
			return encoded(t, env)
		}, attest.RefusedMalformed},
		"another payload type": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			env.PayloadType = "text/plain"
			return encoded(t, env)
		}, attest.RefusedMalformed},
		"two payloads": {func(d step.Digest) []byte {
			raw := encoded(t, envelope(t, key, chainsStatement(d)))
			return bytes.Replace(raw, []byte(`{"payloadType"`), []byte(`{"payload":"e30=","payloadType"`), 1)
		}, attest.RefusedMalformed},
		"a payload in no base64": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			env.Payload = "!" + env.Payload
			return encoded(t, env)
		}, attest.RefusedMalformed},
		"a signature in no base64": {func(d step.Digest) []byte {
			env := envelope(t, key, chainsStatement(d))
			env.Signatures[0].Sig = "!" + env.Signatures[0].Sig
			return encoded(t, env)
		}, attest.RefusedMalformed},
		"another image": {func(step.Digest) []byte { return encoded(t, envelope(t, key, chainsStatement(sourceDigest))) }, attest.RefusedSubject},
		"two images":    {func(d step.Digest) []byte { return encoded(t, envelope(t, key, chainsStatement(d, sourceDigest))) }, attest.RefusedMalformed},
		"no image":      {func(step.Digest) []byte { return encoded(t, envelope(t, key, chainsStatement())) }, attest.RefusedMalformed},
		"another predicate": {func(d step.Digest) []byte {
			return encoded(t, envelope(t, key, bytes.Replace(chainsStatement(d), []byte("provenance/v1"), []byte("provenance/v0.2"), 1)))
		}, attest.RefusedPredicate},
		"an SBOM": {func(d step.Digest) []byte {
			return encoded(t, envelope(t, key, bytes.Replace(chainsStatement(d), []byte("https://slsa.dev/provenance/v1"), []byte(evidence.SPDX.URI), 1)))
		}, attest.RefusedPredicate},
		"no envelope": {func(step.Digest) []byte { return []byte("x") }, attest.RefusedMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "layout")
			p.attested(t, nil, c.forge(p.image.Digest))
			found := p.platforms(t, trust)
			if len(found) != 1 || found[0].Verified != nil || attest.CodeOf(found[0].Err) != c.code {
				t.Fatalf("found %+v, want code %s", found, c.code)
			}
			if found[0].Foreign() != (c.code == attest.RefusedUnknownSigner) {
				t.Errorf("foreign is %t: %v", found[0].Foreign(), found[0].Err)
			}
			// It takes nothing from an honest one beside it.
			good := encoded(t, envelope(t, key, chainsStatement(p.image.Digest)))
			p.attested(t, nil, c.forge(p.image.Digest), good)
			if found := p.platforms(t, trust); len(found) != 2 || found[1].Verified == nil {
				t.Errorf("with an honest one: %+v", found)
			}
		})
	}
}

// TestPlatformTag: what is below the tag in another form says nothing.
func TestPlatformTag(t *testing.T) {
	attester, _, _ := home(t)
	key := newKey(t)
	trust := platformTrust(t, attester, key, "observed")
	p := newPlace(t, "layout")
	good := encoded(t, envelope(t, key, chainsStatement(p.image.Digest)))
	p.attested(t, map[string]string{"dev.sigstore.cosign/certificate": "x"}, good)
	if found := p.platforms(t, trust); len(found) != 0 {
		t.Errorf("with a certificate: %+v", found)
	}
	if _, err := p.store.PutManifest(t.Context(), string(types.OCIImageIndex), []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`), attest.AttestationTag(p.image.Digest)); err != nil {
		t.Fatal(err)
	}
	if found := p.platforms(t, trust); len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedMalformed {
		t.Errorf("an index: %+v", found)
	}
	// What can't be read as a manifest hides nothing.
	r := newPlace(t, "registry")
	host, repository, _ := strings.Cut(r.locator.Repository, "/")
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/"+repository+"/manifests/"+attest.AttestationTag(r.image.Digest), strings.NewReader(`{"schemaVersion":1}`))
	if err != nil {
		t.Fatal(err)
	}
	put.Header.Set("Content-Type", string(types.OCIManifestSchema1))
	answer, err := http.DefaultClient.Do(put)
	if err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("%v, %+v", err, answer)
	}
	answer.Body.Close()
	if found := r.platforms(t, trust); len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedMalformed {
		t.Errorf("no manifest: %+v", found)
	}
	// A registry that does not answer is an error, and no image without evidence.
	gone := p.locator
	gone.Dir, gone.Repository = "", "127.0.0.1:1/app"
	if _, err := attest.CollectPlatforms(t.Context(), gone, p.store, []oci.Image{p.image}, trust, oci.WithRetry(oci.Retry{Attempts: 1})); err == nil || errors.Is(err, oci.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestPlatformLimits are the last that is read, and the first that is not.
func TestPlatformLimits(t *testing.T) {
	attester, _, _ := home(t)
	key := newKey(t)
	trust := platformTrust(t, attester, key, "observed")
	p := newPlace(t, "layout")
	good := encoded(t, envelope(t, key, chainsStatement(p.image.Digest)))
	p.attested(t, nil, slices.Repeat([][]byte{good}, 1000)...)
	if found := p.platforms(t, trust); len(found) != 1 || found[0].Verified == nil {
		t.Errorf("1000 layers: %+v", found)
	}
	p.attested(t, nil, slices.Repeat([][]byte{good}, 1001)...)
	if found := p.platforms(t, trust); len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedMalformed {
		t.Errorf("1001 layers: %+v", found)
	}
	for size, limited := range map[int64]bool{attest.MaxBundle: false, attest.MaxBundle + 1: true} {
		p.resized(t, good, size)
		found := p.platforms(t, trust)
		if len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedUnreadable || strings.Contains(found[0].Err.Error(), "more than the limit") != limited {
			t.Errorf("an envelope that is said to have %d bytes: %+v", size, found)
		}
	}
}

// resized is as attested, but says of the layer that it has another size.
func (p place) resized(t testing.TB, layer []byte, size int64) {
	t.Helper()
	p.attested(t, nil, layer)
	at := p.locator
	at.Tag, at.Digest = attest.AttestationTag(p.image.Digest), ""
	d, err := oci.Resolve(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	old, err := p.store.Manifest(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(old.Bytes, &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[0].Size = size
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.store.PutManifest(t.Context(), string(types.OCIManifestSchema1), raw, at.Tag); err != nil {
		t.Fatal(err)
	}
}

// TestPlatformUnread: what can't be read is refused, and said; where nobody has the time
// to read it there is no verdict.
func TestPlatformUnread(t *testing.T) {
	attester, _, _ := home(t)
	key := newKey(t)
	p := newPlace(t, "layout")
	p.attested(t, nil, encoded(t, envelope(t, key, chainsStatement(p.image.Digest))))
	trust := platformTrust(t, attester, key, "observed")
	gone := errors.New("the registry is gone")
	for name, c := range map[string]struct {
		store unreadStore
		ends  bool
	}{
		"no manifest":                 {store: unreadStore{manifest: gone}},
		"a manifest in no form":       {store: unreadStore{text: "{"}},
		"no envelope":                 {store: unreadStore{blob: gone}},
		"the end before the manifest": {store: unreadStore{manifest: context.Canceled}, ends: true},
		"the end before an envelope":  {store: unreadStore{blob: context.Canceled}, ends: true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		c.store.Store = p.store
		if c.ends {
			c.store.cancel = cancel
		}
		found, err := attest.CollectPlatforms(ctx, p.locator, c.store, []oci.Image{p.image}, trust)
		cancel()
		switch {
		case c.ends && !errors.Is(err, context.Canceled):
			t.Errorf("%s: found %+v, %v", name, found, err)
		case !c.ends && (err != nil || len(found) != 1 || attest.CodeOf(found[0].Err) != attest.RefusedUnreadable || found[0].Foreign()):
			t.Errorf("%s: found %+v, %v", name, found, err)
		}
	}
}

// unreadStore fails with what it has, and ends the context before.
type unreadStore struct {
	oci.Store
	manifest, blob error
	text           string
	cancel         func()
}

func (s unreadStore) end(err error) error {
	if err != nil && s.cancel != nil {
		s.cancel()
	}
	return err
}

func (s unreadStore) Manifest(ctx context.Context, d step.Digest) (oci.Manifest, error) {
	if s.text != "" {
		return oci.Manifest{Bytes: []byte(s.text)}, nil
	}
	if err := s.end(s.manifest); err != nil {
		return oci.Manifest{}, err
	}
	return s.Store.Manifest(ctx, d)
}

func (s unreadStore) Blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if err := s.end(s.blob); err != nil {
		return nil, err
	}
	return s.Store.Blob(ctx, d)
}

// FuzzPlatform: whoever can push chooses the bytes.
func FuzzPlatform(f *testing.F) {
	attester, _, _ := home(f)
	key := newKey(f)
	trust := platformTrust(f, attester, key, "observed")
	p := newPlace(f, "layout")
	good := encoded(f, envelope(f, key, chainsStatement(p.image.Digest)))
	f.Add(good)
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"","signatures":[{"sig":""}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p.attested(t, nil, raw)
		for _, found := range p.platforms(t, trust) {
			if found.Verified == nil {
				continue
			}
			var env, want dsse.Envelope
			if json.Unmarshal(raw, &env) != nil || json.Unmarshal(good, &want) != nil || env.Payload != want.Payload {
				t.Errorf("another statement is verified: %q", raw)
			}
		}
	})
}
