package attest

import (
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// MaxBundle is the largest bundle in bytes that is written or read: a statement
// of evidence.MaxStatement in base64, and what surrounds it.
const MaxBundle = evidence.MaxStatement/3*4 + 64<<10

// ErrUnknownSigner marks bundles that nobody in the trust root signed. They are
// foreign, and say nothing about the image for better or worse.
var ErrUnknownSigner = errors.New("the signer is not in the trust root")

// Verified is a statement whose signature holds.
type Verified struct {
	Statement evidence.Statement
	// Reference is what was signed in the place of the statement's predicate, if Collect
	// has fetched that; else nil.
	Reference *evidence.Referenced
	Signer    TrustedSigner
	// Certified is whom the signer's certificate names; nil if it has a key.
	Certified *Certified
	// Tier is how far the statement can be trusted: the lower one of what it
	// claims and of what its signer may give. One that claims none is reported.
	Tier evidence.Tier
	// Overclaim says that the statement claims more than its signer may give;
	// empty for an honest one.
	Overclaim string
}

// Verify checks a Sigstore bundle against the trust root: it must hold exactly
// one DSSE envelope with one signature, by a key or an identity of the trust root,
// over an in-toto Statement. A certificate must come from the Sigstore that its
// identity names, be valid at a time that an authority vouches for, and stand in its
// logs. With a key, log entries and timestamps are neither needed nor relied on.
// Whether the statement is about the right artifact is for the caller to check;
// Collect does.
func Verify(t *Trust, b []byte) (Verified, error) {
	v, err := check(t, b)
	if err != nil {
		return Verified{}, err
	}
	return v, nil
}

// check also returns what could be read of a bundle that it refuses.
func check(t *Trust, b []byte) (v Verified, err error) {
	// Whoever may push a referrer chooses the bytes. There are some with which the
	// libraries end the program (a log entry of kind intoto without a version).
	defer func() {
		if r := recover(); r != nil {
			err = refuse(RefusedMalformed, fmt.Errorf("bundle: reading it ended in: %v", r))
		}
	}()
	bun, payload, err := parseBundle(b)
	if err != nil {
		return v, refuse(RefusedMalformed, err)
	}
	// Read before it is verified, so that reports can name what is refused.
	st, stErr := evidence.ParseStatement(payload)
	v.Statement = st
	candidates, certified, err := t.claimedBy(bun)
	if v.Certified = certified; err != nil {
		return v, fmt.Errorf("bundle: %w", err)
	}
	v.Signer = candidates[0].TrustedSigner
	// The media type is not signed. Older versions have other rules, and none of
	// our signers writes one.
	if bun.MediaType != BundleType {
		return v, refuse(RefusedMalformed, fmt.Errorf("bundle: media type is %.80q, want %s", bun.MediaType, BundleType))
	}
	if stErr != nil {
		return v, refuse(RefusedMalformed, fmt.Errorf("bundle: %w", stErr))
	}
	if v.Signer, err = signedBy(bun, candidates); err != nil {
		return v, fmt.Errorf("bundle: %w", err)
	}
	v.Tier = st.Tier
	if v.Tier == "" {
		v.Tier = evidence.Reported
	}
	if limit := v.Signer.MaxTier; v.Tier.Rank() > limit.Rank() {
		v.Overclaim = fmt.Sprintf("it claims to be %s, but %s can give %s at most", v.Tier, v.Signer.Name, limit)
		v.Tier = limit
	}
	return v, nil
}

// candidate is somebody in the trust root who may have signed a bundle.
type candidate struct {
	TrustedSigner
	verify func(*bundle.Bundle) error
}

// claimedBy finds who in the trust root may have signed a bundle, by its key's hint
// or its certificate's name. Nothing is verified.
func (t *Trust) claimedBy(b *bundle.Bundle) ([]candidate, *Certified, error) {
	m, ok := b.GetVerificationMaterial().GetContent().(*protobundle.VerificationMaterial_PublicKey)
	if !ok {
		return t.candidates(b)
	}
	s, ok := t.signers[m.PublicKey.GetHint()]
	if !ok {
		return nil, nil, refuse(RefusedUnknownSigner, fmt.Errorf("%w: no key there has the hint %.64q", ErrUnknownSigner, m.PublicKey.GetHint()))
	}
	return []candidate{{s, t.verifySignature}}, nil, nil
}

// signedBy is the one of the candidates whose signature it is.
func signedBy(b *bundle.Bundle, candidates []candidate) (TrustedSigner, error) {
	var signers []TrustedSigner
	var refusals []error
	for _, c := range candidates {
		if err := c.verify(b); err != nil {
			refusals = append(refusals, fmt.Errorf("the signature is not by %s: %w", c.Name, err))
			continue
		}
		signers = append(signers, c.TrustedSigner)
	}
	switch len(signers) {
	case 0:
		return candidates[0].TrustedSigner, errors.Join(refusals...)
	case 1:
		return signers[0], nil
	}
	// They may have different roles, and nobody could say which counts.
	return signers[0], refuse(RefusedAmbiguousSigner, fmt.Errorf("%s and %s of the trust root have both signed it: let their subjects exclude each other", signers[0].Name, signers[1].Name))
}

// verifySignature is what sigstore-go's Verifier does for a bundle that is
// signed with a plain key, where neither log nor time is asked for. The Verifier
// would also parse the statement into protocol buffers and throw them away,
// which for an SBOM takes longer than all else together; tests hold the two
// against each other.
func (t *Trust) verifySignature(b *bundle.Bundle) error {
	sig, err := b.SignatureContent()
	if err != nil {
		return err
	}
	key, err := b.VerificationContent()
	if err != nil {
		return err
	}
	return refuse(RefusedSignature, verify.VerifySignature(sig, key, t.material))
}

// parseBundle reads a bundle with a DSSE envelope around a statement, and
// returns the envelope's payload. Nothing is verified.
func parseBundle(b []byte) (*bundle.Bundle, []byte, error) {
	bun, err := readBundle(b)
	if err != nil {
		return nil, nil, err
	}
	payload, err := payloadOf(bun)
	if err != nil {
		return nil, nil, err
	}
	return bun, payload, nil
}

func payloadOf(b *bundle.Bundle) ([]byte, error) {
	env := b.GetDsseEnvelope()
	if env == nil {
		return nil, errors.New("bundle: it signs a message, not a statement; want a DSSE envelope")
	}
	if env.PayloadType != evidence.PayloadType {
		return nil, fmt.Errorf("bundle: payload type is %.80q, want %s", env.PayloadType, evidence.PayloadType)
	}
	if n := len(env.Signatures); n != 1 {
		return nil, fmt.Errorf("bundle: %d signatures, want exactly one", n)
	}
	return env.Payload, nil
}

// readBundle reads a bundle, whatever is signed in it.
func readBundle(b []byte) (*bundle.Bundle, error) {
	if len(b) > MaxBundle {
		return nil, fmt.Errorf("bundle: %d bytes are more than the limit of %d", len(b), MaxBundle)
	}
	var bun bundle.Bundle
	// Unknown and repeated fields, and unknown media types, are errors here.
	if err := bun.UnmarshalJSON(b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return &bun, nil
}
