package attest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
)

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/acme/orders/.github/workflows/attest.yaml@refs/heads/main"
)

// sigstore is a Sigstore in memory: sigstore-go's own for tests.
type sigstore struct{ *ca.VirtualSigstore }

func newSigstore(t testing.TB) sigstore {
	t.Helper()
	v, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return sigstore{v}
}

// trustedRoot is what its users trust. Its certificates have no proof of a log for
// certificates.
func (s sigstore) trustedRoot(t testing.TB) []byte {
	t.Helper()
	return trustedRootOf(t, s.FulcioCertificateAuthorities(), nil, s.TimestampingAuthorities(), s.logs(t))
}

func (s sigstore) logs(t testing.TB) map[string]*root.TransparencyLog {
	t.Helper()
	logs := s.RekorLogs()
	for id, l := range logs {
		var err error
		if l.ID, err = hex.DecodeString(id); err != nil { // it has the text there
			t.Fatal(err)
		}
	}
	return logs
}

func trustedRootOf(t testing.TB, authorities []root.CertificateAuthority, certificateLogs map[string]*root.TransparencyLog, times []root.TimestampingAuthority, logs map[string]*root.TransparencyLog) []byte {
	t.Helper()
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, authorities, certificateLogs, times, logs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bundle is a statement that an identity signed, logged at some time.
func (s sigstore) bundle(t testing.TB, subject, issuer string, statement []byte, logged time.Time) *protobundle.Bundle {
	t.Helper()
	e, err := s.AttestAtTime(subject, issuer, statement, logged, true)
	if err != nil {
		t.Fatal(err)
	}
	content, err := e.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	signature, err := e.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := e.TlogEntries()
	if err != nil {
		t.Fatal(err)
	}
	times, err := e.Timestamps()
	if err != nil {
		t.Fatal(err)
	}
	entry := entries[0].TransparencyLogEntry()
	entry.KindVersion = &protorekor.KindVersion{Kind: "intoto", Version: "0.0.2"} // which it leaves out
	return &protobundle.Bundle{
		MediaType: attest.BundleType,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: evidence.PayloadType, Payload: statement, Signatures: []*protodsse.Signature{{Sig: signature.Signature()}},
		}},
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}},
			TlogEntries:               []*protorekor.TransparencyLogEntry{entry},
			TimestampVerificationData: &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: times[0]}}},
		},
	}
}

func encode(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// keyless is a trust root whose signers have identities; fields are those of each.
func keyless(t testing.TB, s sigstore, fields ...string) (*attest.Trust, error) {
	t.Helper()
	return keylessIn(s.trustedRoot(t), fields...)
}

func keylessIn(trusted []byte, fields ...string) (*attest.Trust, error) {
	text := "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n"
	for i, f := range fields {
		text += "- {name: " + string(rune('a'+i)) + ", roles: [attester], maxTier: observed, maxBuildLevel: 2, identity: {trustedRoot: root.json, " + f + "}}\n"
	}
	return attest.ParseTrust([]byte(text), func(string) ([]byte, error) { return trusted, nil })
}

func TestVerifyIdentity(t *testing.T) {
	s := newSigstore(t)
	st := statement(t, evidence.Vulns, imageDigest, evidence.Derived)
	now := time.Now().Add(5 * time.Minute) // when the leaf of the Sigstore for tests is valid
	good := encode(t, s.bundle(t, subject, issuer, st, now))
	exact := "issuer: '" + issuer + "', subject: '" + subject + "'"
	pattern := func(p string) string { return "issuer: '" + issuer + "', subjectRegexp: '" + p + "'" }
	for _, tt := range []struct {
		name, fields string
		foreign      bool // refused as somebody unknown
	}{
		{name: "exact", fields: exact},
		{name: "pattern", fields: pattern(`https://github\.com/acme/[a-z]+/\.github/workflows/attest\.yaml@refs/heads/main`)},
		{name: "without a log", fields: exact + ", log: none"},
		{"another issuer", strings.Replace(exact, "token.actions", "token.action", 1), true},
		{"an issuer with a slash", strings.Replace(exact, "usercontent.com", "usercontent.com/", 1), true},
		{"another case", strings.Replace(exact, "acme", "Acme", 1), true},
		{"a prefix of the subject", strings.Replace(exact, "refs/heads/main", "refs/heads/mai", 1), true},
		{"a longer subject", strings.Replace(exact, "refs/heads/main", "refs/heads/main2", 1), true},
		{"a path that leads there", strings.Replace(exact, "acme/orders", "acme/x/../orders", 1), true},
		{"a letter that looks alike", strings.Replace(exact, "acme", "аcme", 1), true},
		{"a pattern for a part", pattern(`github\.com/acme/orders`), true},
		{"a pattern for the beginning", pattern(`https://github\.com/acme/`), true},
		{"a pattern for the end", pattern(`@refs/heads/main$`), true},
		{"a pattern with alternatives", pattern(`x|https://github\.com/acme/|main`), true},
		{"a pattern with lines", pattern(`(?m)^.*acme/orders$`), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trust, err := keyless(t, s, tt.fields)
			if err != nil {
				t.Fatal(err)
			}
			v, err := attest.Verify(trust, good)
			if tt.foreign {
				if !errors.Is(err, attest.ErrUnknownSigner) {
					t.Errorf("got %v, want an unknown signer", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.Signer.Name != "a" || v.Certified == nil || v.Certified.Subject != subject || v.Certified.Issuer != issuer {
				t.Errorf("signed by %+v, %+v", v.Signer, v.Certified)
			}
		})
	}
	t.Run("two who match", func(t *testing.T) {
		trust, err := keyless(t, s, exact, pattern(`https://github\.com/acme/.*`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Verify(trust, good); err == nil || errors.Is(err, attest.ErrUnknownSigner) || !strings.Contains(err.Error(), "both signed") {
			t.Errorf("got %v", err)
		}
	})
}

// TestForgedIdentity: the certificate names who is trusted, and still it is not them.
func TestForgedIdentity(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	st := statement(t, evidence.Vulns, imageDigest, evidence.Derived)
	now := time.Now().Add(5 * time.Minute)
	required, err := keyless(t, s, "issuer: '"+issuer+"', subject: '"+subject+"'")
	if err != nil {
		t.Fatal(err)
	}
	none, err := keyless(t, s, "log: none, issuer: '"+issuer+"', subject: '"+subject+"'")
	if err != nil {
		t.Fatal(err)
	}
	foreign := other.bundle(t, subject, issuer, st, now).VerificationMaterial
	for _, tt := range []struct {
		name  string
		trust *attest.Trust
		forge func(*protobundle.Bundle)
		code  attest.Code
	}{
		{"of another Sigstore", required, func(b *protobundle.Bundle) { proto.Reset(b); proto.Merge(b, other.bundle(t, subject, issuer, st, now)) }, attest.RefusedCertificate},
		{"another Sigstore's certificate", required, func(b *protobundle.Bundle) { b.VerificationMaterial.Content = foreign.Content }, attest.RefusedCertificate},
		{"another Sigstore's log", required, func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = foreign.TlogEntries }, attest.RefusedNoLog},
		{"another Sigstore's time", none, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TimestampVerificationData = foreign.TimestampVerificationData
		}, attest.RefusedNoTime},
		{"no log", required, func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }, attest.RefusedNoLog},
		{"no time", none, func(b *protobundle.Bundle) { b.VerificationMaterial.TimestampVerificationData = nil }, attest.RefusedNoTime},
		{"another payload", required, func(b *protobundle.Bundle) {
			b.GetDsseEnvelope().Payload = statement(t, evidence.Vulns, imageDigest, evidence.Observed)
		}, attest.RefusedSignature},
		{"another signature", required, func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures[0].Sig[10] ^= 1 }, attest.RefusedNoLog},
		{"logged before the certificate", required, func(b *protobundle.Bundle) {
			proto.Reset(b)
			proto.Merge(b, s.bundle(t, subject, issuer, st, now.Add(-24*time.Hour)))
			b.VerificationMaterial.TimestampVerificationData = nil
		}, attest.RefusedExpired},
		{"logged after the certificate", required, func(b *protobundle.Bundle) {
			proto.Reset(b)
			proto.Merge(b, s.bundle(t, subject, issuer, st, now.Add(24*time.Hour)))
			b.VerificationMaterial.TimestampVerificationData = nil
		}, attest.RefusedExpired},
		{"logged at no time", required, func(b *protobundle.Bundle) {
			b.VerificationMaterial.TlogEntries[0].IntegratedTime = 0
			b.VerificationMaterial.TimestampVerificationData = nil
		}, attest.RefusedNoTime},
		{"an old media type", required, func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2" }, attest.RefusedMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := s.bundle(t, subject, issuer, st, now)
			if _, err := attest.Verify(tt.trust, encode(t, b)); err != nil {
				t.Fatalf("before it is forged: %v", err)
			}
			tt.forge(b)
			_, err := attest.Verify(tt.trust, encode(t, b))
			// Somebody in the trust root is named, so it is no stranger's.
			if err == nil || errors.Is(err, attest.ErrUnknownSigner) || attest.CodeOf(err) != tt.code {
				t.Errorf("got %v with code %q, want code %q", err, attest.CodeOf(err), tt.code)
			}
		})
	}
}

func TestParseIdentity(t *testing.T) {
	s := newSigstore(t)
	for _, tt := range []struct{ name, fields, want string }{
		{"no issuer", "subject: x", "issuer"},
		{"no URL", "issuer: token, subject: x", "issuer"},
		{"no host", "issuer: 'https://', subject: x", "not the URL"},
		{"another scheme", "issuer: 'ftp://x', subject: x", "not the URL"},
		{"no scheme", "issuer: '//x', subject: x", "not the URL"},
		{"a broken URL", "issuer: 'https://x:y', subject: x", "not the URL"},
		{"no subject", "issuer: 'https://x'", "subject"},
		{"two subjects", "issuer: 'https://x', subject: x, subjectRegexp: x", "subject"},
		{"no pattern", "issuer: 'https://x', subjectRegexp: '('", "subjectRegexp"},
		{"a pattern that leaves its group", "issuer: 'https://x', subjectRegexp: 'x)|(?:.*'", "subjectRegexp"},
		{"an odd log", "issuer: 'https://x', subject: x, log: maybe", "log"},
		{"unknown", "issuer: 'https://x', subject: x, color: red", "unknown field"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := keyless(t, s, tt.fields); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	for _, fields := range []string{"issuer: 'http://x', subject: x, log: required", "issuer: 'https://x', subject: x"} {
		if _, err := keyless(t, s, fields); err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
	if _, err := keyless(t, s, "issuer: 'https://x', subject: x", "issuer: 'https://x', subject: x"); err == nil || !strings.Contains(err.Error(), "same identity") {
		t.Errorf("two of one identity: %v", err)
	}
	if _, err := attest.ParseTrust([]byte("apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners: [{name: a, key: a.pub, roles: [attester], maxTier: observed, maxBuildLevel: 1, identity: {trustedRoot: x, issuer: 'https://x', subject: x}}]"), nil); err == nil || !strings.Contains(err.Error(), "a key and an identity") {
		t.Errorf("both: %v", err)
	}
}

// TestPartsOfATrustedRoot takes away what a trusted root must have, and adds a log for
// certificates, in which none of this Sigstore's stands.
func TestPartsOfATrustedRoot(t *testing.T) {
	s := newSigstore(t)
	authorities, times, logs := s.FulcioCertificateAuthorities(), s.TimestampingAuthorities(), s.logs(t)
	who := "issuer: '" + issuer + "', subject: '" + subject + "'"
	for _, tt := range []struct {
		name, fields string
		trusted      []byte
		want         string
	}{
		{"no log", who, trustedRootOf(t, authorities, nil, times, nil), "no transparency log"},
		{"no log where none is needed", who + ", log: none", trustedRootOf(t, authorities, nil, times, nil), ""},
		{"no time", who + ", log: none", trustedRootOf(t, authorities, nil, nil, logs), "no timestamp authority"},
		{"no time beside a log", who, trustedRootOf(t, authorities, nil, nil, logs), ""},
		{"no authority", who, trustedRootOf(t, nil, nil, times, logs), "no certificate authority"},
		{"no trusted root", who, []byte("{}"), "not a Sigstore trusted root"},
	} {
		trust, err := keylessIn(tt.trusted, tt.fields)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := trust.Signers(); len(got) != 1 || got[0].Name != "a" || got[0].Identity == nil || string(trust.File("a")) != string(tt.trusted) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	// Signers are listed by name, whatever their order in the file.
	const signer = "- {name: %s, roles: [attester], maxTier: observed, maxBuildLevel: 2, identity: {trustedRoot: root.json, issuer: 'https://x', subject: %[1]s}}\n"
	trusted := s.trustedRoot(t)
	trust, err := attest.ParseTrust([]byte("apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n"+fmt.Sprintf(signer, "z")+fmt.Sprintf(signer, "b")+fmt.Sprintf(signer, "c")),
		func(string) ([]byte, error) { return trusted, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := trust.Signers(); len(got) != 3 || got[0].Name != "b" || got[1].Name != "c" || got[2].Name != "z" {
		t.Errorf("signers: %+v", got)
	}

	st := statement(t, evidence.Vulns, imageDigest, evidence.Derived)
	good := encode(t, s.bundle(t, subject, issuer, st, time.Now().Add(5*time.Minute)))
	trust, err = keylessIn(trustedRootOf(t, authorities, logs, times, logs), who)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.Verify(trust, good); err == nil || errors.Is(err, attest.ErrUnknownSigner) {
		t.Errorf("a certificate that stands in no log of certificates: %v", err)
	}
}

// BenchmarkVerifyIdentity compares Verify with what sigstore-go does for the same
// bundle by itself; make bench-verify prints the ratio.
func BenchmarkVerifyIdentity(b *testing.B) {
	s := newSigstore(b)
	st := statement(b, evidence.Vulns, imageDigest, evidence.Derived)
	bundled := encode(b, s.bundle(b, subject, issuer, st, time.Now().Add(5*time.Minute)))
	trust, err := keyless(b, s, "issuer: '"+issuer+"', subject: '"+subject+"'")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ours", func(b *testing.B) {
		for b.Loop() {
			if _, err := attest.Verify(trust, bundled); err != nil {
				b.Fatal(err)
			}
		}
	})
	material, err := root.NewTrustedRootFromJSON(s.trustedRoot(b))
	if err != nil {
		b.Fatal(err)
	}
	verifier, err := verify.NewVerifier(material, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	if err != nil {
		b.Fatal(err)
	}
	identity, err := verify.NewShortCertificateIdentity(issuer, "", subject, "")
	if err != nil {
		b.Fatal(err)
	}
	policy := verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithCertificateIdentity(identity))
	b.Run("sigstore-go", func(b *testing.B) {
		for b.Loop() {
			var bun bundle.Bundle
			if err := bun.UnmarshalJSON(bundled); err != nil {
				b.Fatal(err)
			}
			if _, err := verifier.Verify(&bun, policy); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// FuzzVerifyIdentity: whatever is done to a bundle, only what the identity signed is
// ever accepted.
func FuzzVerifyIdentity(f *testing.F) {
	s := newSigstore(f)
	st := statement(f, evidence.Vulns, imageDigest, evidence.Derived)
	good := s.bundle(f, subject, issuer, st, time.Now().Add(5*time.Minute))
	trust, err := keyless(f, s, "issuer: '"+issuer+"', subject: '"+subject+"'")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encode(f, good))
	f.Add(encode(f, newSigstore(f).bundle(f, subject, issuer, st, time.Now().Add(5*time.Minute))))
	for _, edit := range []func(*protobundle.Bundle){
		func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil },
		func(b *protobundle.Bundle) { b.VerificationMaterial.TimestampVerificationData = nil },
		func(b *protobundle.Bundle) { b.VerificationMaterial.Content = nil },
		func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures = nil },
	} {
		b := proto.Clone(good).(*protobundle.Bundle)
		edit(b)
		f.Add(encode(f, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := attest.Verify(trust, b)
		if err != nil {
			if attest.CodeOf(err) == "" {
				t.Errorf("refused without a code: %v", err)
			}
			return
		}
		var p protobundle.Bundle
		if err := protojson.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.GetDsseEnvelope().GetPayload(), st) || v.Signer.Name != "a" || v.Certified.Subject != subject {
			t.Errorf("accepted %+v", v)
		}
	})
}
