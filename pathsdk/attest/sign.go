// Package attest signs statements and verifies signatures: a statement becomes a
// DSSE envelope in a Sigstore bundle, and the bundle a referrer of the image.
// It is the only package that knows keys, and the only importer of sigstore-go.
package attest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// BundleType is the media type of Sigstore bundles v0.3, and the artifact type
// of the referrers that hold one.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Annotations that cosign writes on a referrer with a bundle.
const (
	annotationCreated   = "org.opencontainers.image.created"
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
)

// Sign wraps a statement in a DSSE envelope with the payload type
// evidence.PayloadType, signs it, and returns the Sigstore bundle v0.3 as JSON.
// Signatures are deterministic (RFC 6979): the same key and statement give the
// same bytes. What evidence.ParseStatement refuses is not signed.
func Sign(ctx context.Context, s *Signer, statement []byte) ([]byte, error) {
	st, err := evidence.ParseStatement(statement)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b, err := sign.Bundle(
		&sign.DSSEData{Data: statement, PayloadType: evidence.PayloadType},
		keypair{s}, sign.BundleOptions{Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", st.PredicateType, err)
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign %s: encode bundle: %w", st.PredicateType, err)
	}
	// protojson varies its white space on purpose; without any, bytes are stable.
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("sign %s: encode bundle: %w", st.PredicateType, err)
	}
	if out.Len() > MaxBundle {
		return nil, fmt.Errorf("sign %s: the bundle has %d bytes, more than the limit of %d", st.PredicateType, out.Len(), MaxBundle)
	}
	return out.Bytes(), nil
}

// SignImage returns the image signature of one manifest or index as a bundle:
// a statement of type evidence.Signature, as cosign 2.6 and 3 write it.
func SignImage(ctx context.Context, s *Signer, image step.Subject) ([]byte, error) {
	predicate, err := evidence.SignatureV1{}.Encode()
	if err != nil {
		return nil, err
	}
	st, err := evidence.New(evidence.Signature, predicate, image, evidence.Derived)
	if err != nil {
		return nil, err
	}
	return Sign(ctx, s, st)
}

// Attach writes a bundle as a referrer of image, with the artifact type and the
// annotations that cosign uses. The same arguments give the same referrer.
func Attach(ctx context.Context, w oci.Writer, image v1.Descriptor, bundle []byte, predicateType string, created time.Time) (step.Digest, error) {
	d, err := oci.Attach(ctx, w, image, oci.Artifact{
		ArtifactType: BundleType,
		MediaType:    BundleType,
		Payload:      bundle,
		Annotations: map[string]string{
			annotationCreated:   created.UTC().Format(time.RFC3339),
			annotationContent:   "dsse-envelope",
			annotationPredicate: predicateType,
		},
	})
	if err != nil {
		return "", fmt.Errorf("attach %s: %w", predicateType, err)
	}
	return d, nil
}

// keypair is a Signer as sigstore-go wants it.
type keypair struct{ *Signer }

var _ sign.Keypair = keypair{}

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (k keypair) GetHint() []byte { return []byte(k.hint) }

func (k keypair) GetKeyAlgorithm() string { return "ECDSA" }

func (k keypair) GetPublicKey() crypto.PublicKey { return k.Public() }

func (k keypair) GetPublicKeyPem() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der})), nil
}

func (k keypair) SignData(_ context.Context, data []byte) (signature, digest []byte, err error) {
	sum := sha256.Sum256(data)
	// No source of randomness asks crypto/ecdsa for the nonce of RFC 6979.
	sig, err := k.key.Sign(nil, sum[:], crypto.SHA256)
	return sig, sum[:], err
}
