package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// keypair is an ECDSA P-256 key as sigstore-go wants it. Its private half is in this
// process, or in a KMS.
type keypair struct {
	public *ecdsa.PublicKey
	hint   string
	// sign signs a SHA-256 digest, with an ASN.1 signature.
	sign func(ctx context.Context, digest []byte) ([]byte, error)
}

var _ sign.Keypair = keypair{}

var errNotP256 = errors.New("it is no ECDSA P-256 key")

func newKeypair(public crypto.PublicKey, sign func(context.Context, []byte) ([]byte, error)) (keypair, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return keypair{}, errNotP256
	}
	hint, err := hintOf(key)
	return keypair{public: key, hint: hint, sign: sign}, err
}

// hintOf names a public key, as cosign and sigstore-go do.
func hintOf(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// inProcess is a keypair whose private half is here.
func inProcess(key *ecdsa.PrivateKey) (keypair, error) {
	return newKeypair(&key.PublicKey, func(_ context.Context, digest []byte) ([]byte, error) {
		// No source of randomness asks crypto/ecdsa for the nonce of RFC 6979.
		return key.Sign(nil, digest, crypto.SHA256)
	})
}

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k keypair) GetHint() []byte { return []byte(k.hint) }

func (k keypair) GetKeyAlgorithm() string { return "ECDSA" }

func (k keypair) GetPublicKey() crypto.PublicKey { return k.public }

func (k keypair) GetPublicKeyPem() (string, error) {
	text, err := publicPEM(k.public)
	return string(text), err
}

func publicPEM(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}

func (k keypair) SignData(ctx context.Context, data []byte) (signature, digest []byte, err error) {
	sum := sha256.Sum256(data)
	sig, err := k.sign(ctx, sum[:])
	if err != nil {
		return nil, nil, err
	}
	// A KMS signs with the newest version of a key, and can get one at any time.
	if !ecdsa.VerifyASN1(k.public, sum[:], sig) {
		return nil, nil, errors.New("the signature is not by the key that was read at first: somebody has rotated it meanwhile\n  fix: run again, and see that the trust root has the new public key")
	}
	return sig, sum[:], nil
}
