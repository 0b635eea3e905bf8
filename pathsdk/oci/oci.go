// Package oci reads and writes images and their referrers, in registries and in
// OCI image layouts alike. Below this package's Locator nothing knows tags: a
// Ref without a digest does not exist.
package oci

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Store reads content by digest from one repository or layout. All bytes are
// checked against their digest, and bounded.
type Store interface {
	// Manifest returns a manifest or index of at most MaxManifest bytes.
	Manifest(ctx context.Context, d step.Digest) (Manifest, error)
	// Blob opens a blob; reading past its size or reading other bytes than its
	// digest names is an error from Read, before io.EOF.
	Blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error)
	// Referrers lists the manifests whose subject is d, by the referrers API,
	// the fallback tag or the layout's index. Order is by digest.
	Referrers(ctx context.Context, d step.Digest) ([]v1.Descriptor, error)
}

// Writer writes content to one repository or layout. Writes are idempotent:
// content that is there already is not sent again, and every manifest is
// written after what it refers to.
type Writer interface {
	Store
	PutBlob(ctx context.Context, mediaType string, content []byte) (v1.Descriptor, error)
	// PutManifest writes a manifest; one with a subject becomes visible in
	// Referrers. tag may be empty.
	PutManifest(ctx context.Context, mediaType string, content []byte, tag string) (v1.Descriptor, error)
}

// Manifest is a manifest's verified bytes.
type Manifest struct {
	MediaType string
	Digest    step.Digest
	Bytes     []byte
}
