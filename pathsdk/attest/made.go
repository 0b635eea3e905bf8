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
	env := bun.GetDsseEnvelope()
	if env == nil || len(env.GetSignatures()) != 1 {
		return false
	}
	sum := sha256.Sum256(dsse.PAE(evidence.PayloadType, payload))
	return ecdsa.VerifyASN1(&s.key.PublicKey, sum[:], env.GetSignatures()[0].GetSig())
}
