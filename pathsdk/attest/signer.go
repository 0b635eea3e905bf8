package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// Signer signs statements: with a private key, in a file or a KMS, or in the name of an
// identity with a key that lives as long as the process. It may be used by several goroutines.
type Signer struct {
	pair sign.Keypair
	id   string
	// services vouch for signatures; nil if nobody does.
	services *Services
	// identity gets certificates; nil for a signer that is known by its key.
	identity *certificates
}

// ID tells signers apart: what one has signed is of no use to another. For a private
// key it is the hint in its bundles, as cosign and sigstore-go write it: the SHA-256
// of the public key's PKIX form, in base64.
func (s *Signer) ID() string { return s.id }

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.pair.GetPublicKey() }

// PublicPEM returns the public key in PEM, as trust roots and cosign take it.
func (s *Signer) PublicPEM() ([]byte, error) { return publicPEM(s.Public()) }

// ByIdentity says that the signer is known by its certificates, not by a key.
func (s *Signer) ByIdentity() bool { return s.identity != nil }

// With returns the signer with services that vouch for what it signs.
func (s *Signer) With(v *Services) *Signer {
	with := *s
	with.services = v
	return &with
}

// seal signs content, and lets certificate and timestamp authorities vouch for it. It is
// verified before it goes anywhere: what authorities with wrong clocks say is of no use,
// and a log would keep it for good. message is what verify asks for.
func (s *Signer) seal(ctx context.Context, content sign.Content, message []byte) ([]byte, error) {
	o := sign.BundleOptions{Context: ctx}
	if s.services != nil {
		o.TimestampAuthorities = s.services.timestamps
	}
	if s.identity != nil {
		o.CertificateProvider = s.identity
	}
	b, err := sign.Bundle(content, s.pair, o)
	if err != nil {
		return nil, err
	}
	if len(o.TimestampAuthorities) > 0 {
		bun, err := bundle.NewBundle(b)
		if err != nil {
			return nil, err
		}
		if err := s.verify(bun, message, false); err != nil {
			return nil, s.services.unverified(bun, err)
		}
	}
	return encodeBundle(b)
}

// Log adds the entries that the signer's logs owe a bundle, which Sign made of it, and
// checks the whole as a verifier will. What fails can be tried again with the same
// bundle, which is worth keeping until then. A signer without logs gets its bundle
// back.
func Log(ctx context.Context, s *Signer, b []byte) ([]byte, error) {
	if s.services == nil {
		return b, nil
	}
	bun, _, err := parseBundle(b)
	if err != nil {
		return nil, err
	}
	if s.logged(bun) {
		return b, nil
	}
	pem, err := s.verifierPEM(bun)
	if err != nil {
		return nil, err
	}
	// The libraries append: one log after the other, in the configuration's order.
	for _, log := range s.services.logs[len(bun.GetVerificationMaterial().GetTlogEntries()):] {
		if err := log.GetTransparencyLogEntry(ctx, pem, bun.Bundle); err != nil {
			return nil, fmt.Errorf("transparency log: %w", err)
		}
	}
	if err := s.verify(bun, nil, true); err != nil {
		return nil, s.services.unverified(bun, err)
	}
	return encodeBundle(bun.Bundle)
}

// SignAndLog does both.
func SignAndLog(ctx context.Context, s *Signer, statement []byte) ([]byte, error) {
	b, err := Sign(ctx, s, statement)
	if err != nil {
		return nil, err
	}
	return Log(ctx, s, b)
}

// logged reports whether a bundle has the entries of all logs.
func (s *Signer) logged(b *bundle.Bundle) bool {
	return s.services == nil || len(b.GetVerificationMaterial().GetTlogEntries()) >= len(s.services.logs)
}

// Made reports whether b is a bundle that this signer made of exactly this statement,
// or of this message, so that it need not be signed again. It may still lack what Log
// adds.
func (s *Signer) Made(b, text []byte) bool {
	bun, err := readBundle(b)
	// The media type is not signed, but Verify relies on it.
	if err != nil || bun.MediaType != BundleType {
		return false
	}
	if bun.GetMessageSignature() != nil {
		return s.verify(bun, text, false) == nil
	}
	payload, err := payloadOf(bun)
	return err == nil && bytes.Equal(payload, text) && s.verify(bun, nil, s.logged(bun)) == nil
}

// verify checks a bundle of this signer; logged says whether logs must have it. message
// is what was signed, if it is not in the bundle.
func (s *Signer) verify(b *bundle.Bundle, message []byte, logged bool) error {
	what := verify.WithoutArtifactUnsafe()
	if b.GetMessageSignature() != nil {
		what = verify.WithArtifact(bytes.NewReader(message))
	}
	if s.identity != nil {
		return s.identity.verify(s.services, b, what, logged)
	}
	if hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); hint != s.id {
		return fmt.Errorf("its key has the hint %.64q", hint)
	}
	signed, sig := message, b.GetMessageSignature().GetSignature()
	if env := b.GetDsseEnvelope(); env != nil {
		signed, sig = dsse.PAE(evidence.PayloadType, env.GetPayload()), env.GetSignatures()[0].GetSig()
	}
	sum := sha256.Sum256(signed)
	key, ok := s.Public().(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, sum[:], sig) {
		return errors.New("the signature is not by this key")
	}
	if s.services == nil {
		return nil
	}
	return s.services.verifyKey(b, what, key, logged)
}
