// Package attest signs statements and verifies signatures: a statement becomes a
// DSSE envelope in a Sigstore bundle, and the bundle a referrer of the image.
// It is the only package that knows keys, and the only importer of sigstore-go.
package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
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
// evidence.PayloadType, signs it, and returns the Sigstore bundle v0.3 as JSON. Where
// the signer has Services, it holds their certificate and timestamps; Log adds the
// entries of logs; what does not verify without them is refused. Without Services
// signatures are deterministic (RFC 6979): the same key and statement give the same
// bytes. What evidence.ParseStatement refuses is not signed.
func Sign(ctx context.Context, s *Signer, statement []byte) ([]byte, error) {
	st, err := evidence.ParseStatement(statement)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	text, err := s.seal(ctx, &sign.DSSEData{Data: statement, PayloadType: evidence.PayloadType}, nil)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", st.PredicateType, err)
	}
	return text, nil
}

func encodeBundle(b *protobundle.Bundle) ([]byte, error) {
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	// protojson varies its white space on purpose; without any, bytes are stable.
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	if out.Len() > MaxBundle {
		return nil, fmt.Errorf("the bundle has %d bytes, more than the limit of %d", out.Len(), MaxBundle)
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
	return SignAndLog(ctx, s, st)
}

// AttachPredicate writes a predicate that a statement refers to: as a referrer of image
// by itself, so that registries keep it and who copies the image's referrers takes it
// along, and so that others find an SBOM where they look for one. It is no second layer
// of the bundle's referrer, because that has one layer by Sigstore's form: cosign passes
// over others, and could not verify the reference.
func AttachPredicate(ctx context.Context, w oci.Writer, image v1.Descriptor, t evidence.Type, predicate []byte, created time.Time) error {
	_, err := oci.Attach(ctx, w, image, oci.Artifact{
		ArtifactType: t.MediaType(),
		Payload:      predicate,
		Annotations:  map[string]string{annotationCreated: created.UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("attach the %s predicate: %w", t.Name, err)
	}
	return nil
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
