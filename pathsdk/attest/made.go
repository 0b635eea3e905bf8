package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// Made reports whether b is a bundle that this signer made of exactly this
// statement, so that it need not be signed again.
func (s *Signer) Made(b, statement []byte) bool {
	bun, payload, err := parseBundle(b)
	if err != nil || !bytes.Equal(payload, statement) {
		return false
	}
	// Neither is signed, but Verify relies on both.
	if bun.MediaType != BundleType || bun.GetVerificationMaterial().GetPublicKey().GetHint() != s.hint {
		return false
	}
	sum := sha256.Sum256(dsse.PAE(evidence.PayloadType, payload))
	return ecdsa.VerifyASN1(&s.key.PublicKey, sum[:], bun.GetDsseEnvelope().GetSignatures()[0].GetSig())
}
