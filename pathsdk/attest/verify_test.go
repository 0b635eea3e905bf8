package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	golang "github.com/in-toto/in-toto-golang/in_toto"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const imageDigest = step.Digest("sha256:2222222222222222222222222222222222222222222222222222222222222222")

func TestSignAndVerify(t *testing.T) {
	attester, verifier, trust := home(t)
	for _, typ := range []evidence.Type{evidence.Signature, evidence.Vulns, evidence.SCAI, evidence.TestResult, evidence.Provenance} {
		st := statement(t, typ, imageDigest, evidence.Derived)
		b := signed(t, attester, st)
		v, err := attest.Verify(trust, b)
		if err != nil {
			t.Fatal(err)
		}
		want, err := evidence.ParseStatement(st)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, v.Statement); diff != "" {
			t.Errorf("%s: %s", typ.Name, diff)
		}
		if v.Signer.Name != "attester" || v.Tier != evidence.Derived || v.Overclaim != "" {
			t.Errorf("%s: got %+v", typ.Name, v)
		}
		if !bytes.Equal(b, signed(t, attester, st)) {
			t.Errorf("%s: a second signature gave another bundle", typ.Name)
		}
	}
	v, err := attest.Verify(trust, signed(t, verifier, statement(t, evidence.SCAI, imageDigest, evidence.Derived)))
	if err != nil || v.Signer.Name != "verifier" || v.Signer.MaxBuildLevel != 0 {
		t.Errorf("got %+v, %v", v.Signer, err)
	}
	longest := signed(t, attester, statement(t, evidence.SCAI, imageDigest, evidence.Derived))
	longest = append(longest, bytes.Repeat([]byte(" "), attest.MaxBundle-len(longest))...)
	if _, err := attest.Verify(trust, longest); err != nil {
		t.Errorf("as long as may be: %v", err)
	}
	if _, err := attest.Sign(t.Context(), attester, []byte(`{"_type":"x"}`)); err == nil {
		t.Error("something that is no statement was signed")
	}
}

// TestBundleIndependently verifies what we sign with sigstore-go alone, and
// reads the statement with in-toto-golang.
func TestBundleIndependently(t *testing.T) {
	attester, _, _ := home(t)
	b, err := attest.SignImage(t.Context(), attester, step.Subject{Name: "app", Digest: imageDigest})
	if err != nil {
		t.Fatal(err)
	}
	var bun bundle.Bundle
	if err := bun.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	if bun.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" {
		t.Errorf("media type %s", bun.MediaType)
	}
	digest, _ := hex.DecodeString(imageDigest.Hex())
	for name, tt := range map[string]struct {
		key    *attest.Signer
		digest []byte
		ok     bool
	}{
		"right":        {attester, digest, true},
		"wrong key":    {stranger(t), digest, false},
		"wrong digest": {attester, make([]byte, 32), false},
	} {
		sv, err := signature.LoadDefaultVerifier(tt.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		material := root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
			if hint != attester.ID() {
				t.Errorf("hint is %q", hint)
			}
			return root.NewExpiringKey(sv, time.Time{}, time.Time{}), nil
		})
		sev, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
		if err != nil {
			t.Fatal(err)
		}
		res, err := sev.Verify(&bun, verify.NewPolicy(verify.WithArtifactDigest("sha256", tt.digest), verify.WithKey()))
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && res.Statement.PredicateType != evidence.Signature.URI {
			t.Errorf("%s: predicate type %s", name, res.Statement.PredicateType)
		}
	}

	env := bun.GetDsseEnvelope()
	if env.PayloadType != golang.PayloadType {
		t.Errorf("payload type %s, in-toto-golang wants %s", env.PayloadType, golang.PayloadType)
	}
	var header golang.StatementHeader //nolint:staticcheck // an independent parser
	if err := json.Unmarshal(env.Payload, &header); err != nil {
		t.Fatal(err)
	}
	if len(header.Subject) != 1 || header.Subject[0].Digest["sha256"] != imageDigest.Hex() {
		t.Errorf("in-toto-golang reads %+v", header)
	}
}

// independently verifies a bundle with sigstore-go's Verifier and nothing of
// ours; any of the keys will do.
func independently(t testing.TB, b []byte, keys ...*attest.Signer) error {
	t.Helper()
	known := map[string]*root.ExpiringKey{}
	for _, k := range keys {
		sv, err := signature.LoadDefaultVerifier(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		known[k.ID()] = root.NewExpiringKey(sv, time.Time{}, time.Time{})
	}
	sev, err := verify.NewVerifier(root.NewTrustedPublicKeyMaterialFromMapping(known), verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	var bun bundle.Bundle
	if err := bun.UnmarshalJSON(b); err != nil {
		return err
	}
	_, err = sev.Verify(&bun, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey()))
	return err
}

// edit changes a bundle as an attacker who has no key could.
func edit(t testing.TB, b []byte, f func(*protobundle.Bundle)) []byte {
	t.Helper()
	var p protobundle.Bundle
	if err := protojson.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	f(&p)
	out, err := protojson.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestForgedBundles(t *testing.T) {
	attester, verifier, trust := home(t)
	evil := stranger(t)
	good := signed(t, attester, statement(t, evidence.Vulns, imageDigest, evidence.Derived))
	otherPayload := statement(t, evidence.Vulns, sourceDigest, evidence.Derived)
	raised := bytes.Replace(statement(t, evidence.Vulns, imageDigest, evidence.Derived), []byte(`"derived"`), []byte(`"observed"`), 1)
	cert := selfSigned(t, "https://github.com/pavedpaths/paths/.github/workflows/release.yml@refs/heads/main")
	nameless := selfSigned(t)
	text := string(good)

	tests := []struct {
		name    string
		bundle  []byte
		foreign bool
		want    string
	}{
		{"signed by a stranger", signed(t, evil, otherPayload), true, "not in the trust root"},
		{"a stranger under the attester's hint", edit(t, signed(t, evil, otherPayload), func(p *protobundle.Bundle) {
			p.GetVerificationMaterial().GetPublicKey().Hint = attester.ID()
		}), false, "not by attester"},
		{"the attester's under the verifier's hint", edit(t, good, func(p *protobundle.Bundle) {
			p.GetVerificationMaterial().GetPublicKey().Hint = verifier.ID()
		}), false, "not by verifier"},
		{"no hint", edit(t, good, func(p *protobundle.Bundle) { p.GetVerificationMaterial().GetPublicKey().Hint = "" }), true, "not in the trust root"},
		{"swapped payload", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Payload = otherPayload }), false, "not by attester"},
		{"raised tier", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Payload = raised }), false, "not by attester"},
		{"white space in the payload", edit(t, good, func(p *protobundle.Bundle) {
			p.GetDsseEnvelope().Payload = append(p.GetDsseEnvelope().Payload, ' ')
		}), false, "not by attester"},
		{"swapped payload type", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().PayloadType = "application/json" }), false, "payload type"},
		{"no payload type", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().PayloadType = "" }), false, "payload type"},
		{"extra signature", edit(t, good, func(p *protobundle.Bundle) {
			e := p.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, &protodsse.Signature{Sig: []byte("x")})
		}), false, "2 signatures"},
		{"the same signature twice", edit(t, good, func(p *protobundle.Bundle) {
			e := p.GetDsseEnvelope()
			e.Signatures = append(e.Signatures, e.Signatures[0])
		}), false, "2 signatures"},
		{"no signature", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Signatures = nil }), false, "0 signatures"},
		{"empty signature", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Signatures[0].Sig = nil }), false, "not by attester"},
		{"flipped signature", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Signatures[0].Sig[20] ^= 1 }), false, "not by attester"},
		{"attacker's certificate", edit(t, good, func(p *protobundle.Bundle) {
			p.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert}}
		}), true, "nobody there is"},
		{"a certificate without a name", edit(t, good, func(p *protobundle.Bundle) {
			p.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: nameless}}
		}), false, "certificate: no Subject Alternative Name"},
		{"no verification material", edit(t, good, func(p *protobundle.Bundle) { p.VerificationMaterial = nil }), false, "verification material"},
		{"message instead of a statement", edit(t, good, func(p *protobundle.Bundle) {
			p.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
				MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: make([]byte, 32)}, Signature: []byte("x"),
			}}
		}), false, "signs a message"},
		{"no content", edit(t, good, func(p *protobundle.Bundle) { p.Content = nil }), false, "content"},
		{"unknown version", edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "application/vnd.dev.sigstore.bundle.v0.9+json" }), false, "media type"},
		{"older version", edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "application/vnd.dev.sigstore.bundle.v0.2+json" }), false, "media type"},
		{"version 0.3 as it was written once", edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.3" }), false, "media type"},
		{"no version", edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "" }), false, "media type"},
		{"another media type", edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "application/json" }), false, "media type"},
		{"unknown field", []byte(strings.Replace(text, `{`, `{"extra":1,`, 1)), false, "unknown field"},
		{"repeated field", []byte(strings.Replace(text, `{`, `{"mediaType":"x",`, 1)), false, "duplicate"},
		{"two envelopes", []byte(strings.Replace(text, `{`, `{"dsseEnvelope":{},`, 1)), false, "duplicate"},
		{"trailing data", append(bytes.Clone(good), good...), false, "bundle"},
		{"truncated", good[:len(good)/2], false, "bundle"},
		{"empty", nil, false, "bundle"},
		{"null", []byte("null"), false, "bundle"},
		{"garbage", []byte("\x00\x01\x02"), false, "bundle"},
		{"deep", []byte(strings.Repeat(`{"dsseEnvelope":`, 100_000)), false, "bundle"},
		{"huge", bytes.Repeat([]byte(" "), attest.MaxBundle+1), false, "limit"},
		{"not a statement", edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Payload = []byte(`{"x":1}`) }), false, "_type"},
		{"an old statement", edit(t, good, func(p *protobundle.Bundle) {
			p.GetDsseEnvelope().Payload = bytes.Replace(p.GetDsseEnvelope().Payload, []byte("Statement/v1"), []byte("Statement/v0.1"), 1)
		}), false, "_type"},
	}
	same := edit(t, good, func(*protobundle.Bundle) {})
	if _, err := attest.Verify(trust, same); err != nil {
		t.Fatalf("an unchanged bundle fails: %v", err)
	}
	if err := independently(t, same, attester, verifier); err != nil {
		t.Fatalf("an unchanged bundle fails with sigstore-go: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := attest.Verify(trust, tt.bundle)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			if errors.Is(err, attest.ErrUnknownSigner) != tt.foreign {
				t.Errorf("unknown signer is %v: %v", !tt.foreign, err)
			}
			if diff := cmp.Diff(attest.Verified{}, v); diff != "" {
				t.Errorf("a refused bundle gave something:\n%s", diff)
			}
			// sigstore-go refuses it too, unless it is less strict than we are.
			lenient := strings.Contains(tt.want, "media type") || strings.Contains(tt.want, "payload type")
			if err := independently(t, tt.bundle, attester, verifier); err == nil && !lenient {
				t.Error("sigstore-go accepts it")
			}
		})
	}
}

func TestMade(t *testing.T) {
	attester, verifier, _ := home(t)
	st := statement(t, evidence.Vulns, imageDigest, evidence.Derived)
	good := signed(t, attester, st)
	if !attester.Made(good, st) {
		t.Error("a signer does not know its own bundle")
	}
	if verifier.Made(good, st) {
		t.Error("a signer takes another's bundle for its own")
	}
	if attester.Made(good, statement(t, evidence.Vulns, sourceDigest, evidence.Derived)) {
		t.Error("a bundle of another statement is taken")
	}
	for name, b := range map[string][]byte{
		"none": nil,
		"hint": edit(t, good, func(p *protobundle.Bundle) { p.GetVerificationMaterial().GetPublicKey().Hint = verifier.ID() }),
		"certificate": edit(t, good, func(p *protobundle.Bundle) {
			p.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: []byte("x")}}
		}),
		"media type": edit(t, good, func(p *protobundle.Bundle) { p.MediaType = "application/vnd.dev.sigstore.bundle.v0.2+json" }),
		"signature":  edit(t, good, func(p *protobundle.Bundle) { p.GetDsseEnvelope().Signatures[0].Sig[20] ^= 1 }),
	} {
		if attester.Made(b, st) {
			t.Errorf("%s changed: still taken", name)
		}
	}
}

// TestEveryFlippedByteFails changes every byte of a bundle in turn. Only bytes
// that mean nothing may change without harm: there are none, since the JSON has
// no white space; what decodes to the same bundle, such as a padding bit of
// base64, is not a change.
func TestEveryFlippedByteFails(t *testing.T) {
	attester, _, trust := home(t)
	good := signed(t, attester, statement(t, evidence.Signature, imageDigest, evidence.Derived))
	var want protobundle.Bundle
	if err := protojson.Unmarshal(good, &want); err != nil {
		t.Fatal(err)
	}
	canonical, err := protojson.Marshal(&want)
	if err != nil {
		t.Fatal(err)
	}
	flips := 0
	for i := range good {
		for _, bit := range []byte{1, 2, 32} {
			b := bytes.Clone(good)
			b[i] ^= bit
			var p protobundle.Bundle
			if protojson.Unmarshal(b, &p) == nil {
				if same, err := protojson.Marshal(&p); err == nil && bytes.Equal(same, canonical) {
					continue
				}
			}
			flips++
			if _, err := attest.Verify(trust, b); err == nil {
				t.Errorf("byte %d, bit %d: %q is accepted", i, bit, b[max(0, i-20):min(len(b), i+20)])
			}
		}
	}
	if flips < 2*len(good) {
		t.Errorf("only %d flips of %d bytes counted", flips, len(good))
	}
}

func TestTierHonesty(t *testing.T) {
	attester, verifier, trust := home(t)
	tests := []struct {
		name   string
		signer *attest.Signer
		claim  evidence.Tier
		want   evidence.Tier
		over   bool
	}{
		{"attester observes", attester, evidence.Observed, evidence.Observed, false},
		{"attester reports", attester, evidence.Reported, evidence.Reported, false},
		{"attester can't reproduce alone", attester, evidence.Reproduced, evidence.Observed, true},
		{"verifier derives", verifier, evidence.Derived, evidence.Derived, false},
		{"verifier can't observe", verifier, evidence.Observed, evidence.Derived, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := attest.Verify(trust, signed(t, tt.signer, statement(t, evidence.Provenance, imageDigest, tt.claim)))
			if err != nil {
				t.Fatal(err)
			}
			if v.Tier != tt.want || (v.Overclaim != "") != tt.over || v.Statement.Tier != tt.claim {
				t.Errorf("got tier %s, overclaim %q, claim %s", v.Tier, v.Overclaim, v.Statement.Tier)
			}
		})
	}
	// cosign writes no tier: such a statement is worth a report.
	plain := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + imageDigest.Hex() + `"}}],"predicateType":"https://example.com/x","predicate":{}}`
	v, err := attest.Verify(trust, signed(t, attester, []byte(plain)))
	if err != nil || v.Tier != evidence.Reported || v.Statement.Tier != "" {
		t.Errorf("without a tier: %+v, %v", v, err)
	}
}

// selfSigned makes a certificate that claims identities nobody gave it.
func selfSigned(t testing.TB, uris ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var ids []*url.URL
	for _, u := range uris {
		id, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, URIs: ids,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzVerify(f *testing.F) {
	attester, _, trust := home(f)
	good := signed(f, attester, statement(f, evidence.Signature, imageDigest, evidence.Derived))
	f.Add(good)
	f.Add(good[:100])
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{}]}}`))
	f.Add(edit(f, good, func(p *protobundle.Bundle) {
		p.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: []byte{0x30}}}
	}))
	payload := sha256.Sum256(statement(f, evidence.Signature, imageDigest, evidence.Derived))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := attest.Verify(trust, b)
		if err != nil {
			return
		}
		// Nobody but the holder of the key can make another one.
		var p protobundle.Bundle
		if err := protojson.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(p.GetDsseEnvelope().GetPayload()) != payload || v.Signer.Name != "attester" {
			t.Fatalf("forged: %s", b)
		}
	})
}
