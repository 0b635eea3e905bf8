// Package oci reads and writes images and their referrers, in registries and in
// OCI image layouts alike. Below this package's Locator nothing knows tags: a
// Ref without a digest does not exist.
//
// It follows the OCI image specification 1.1 and the OCI distribution
// specification 1.1. Everything that comes from outside is bounded, and checked
// against the digest by which it was asked for.
package oci

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Limits on what is read from a registry or a layout.
const (
	// MaxManifest is the size of the largest manifest or index, in bytes; the
	// distribution specification asks registries to accept at least as much.
	MaxManifest = 4 << 20
	// MaxConfig is the size of the largest image configuration, in bytes.
	MaxConfig = 8 << 20
	// MaxImages is the largest number of manifests below one index.
	MaxImages = 1000
	// MaxReferrers is the largest number of referrers of one manifest.
	MaxReferrers = 10_000
	// MaxDepth is how deep indexes may be nested.
	MaxDepth = 4
)

var (
	// ErrNotFound marks errors about content that the store does not have.
	ErrNotFound = errors.New("not found")
	// ErrContent marks errors about content that is not what its digest, size or
	// media type says: it was damaged or tampered with, or is no OCI content.
	ErrContent = errors.New("content is not what it should be")
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
	// the fallback tag or the layout's index. Order is by digest, without
	// repeats. A registry may answer with anything: who relies on a
	// descriptor's artifact type or annotations reads the manifest.
	Referrers(ctx context.Context, d step.Digest) ([]v1.Descriptor, error)
}

// Writer writes content to one repository or layout. Writes are idempotent:
// content that is there already is not sent again, and every manifest is
// written after what it refers to.
type Writer interface {
	Store
	// PutBlob writes a small blob; its digest and size are computed.
	PutBlob(ctx context.Context, mediaType string, content []byte) (v1.Descriptor, error)
	// PutStream writes the blob that desc names from the bytes of open, which is
	// not called if the blob is there, and may be called again for a retry.
	PutStream(ctx context.Context, desc v1.Descriptor, open Opener) error
	// PutManifest writes a manifest; one with a subject becomes visible in
	// Referrers. tag may be empty.
	PutManifest(ctx context.Context, mediaType string, content []byte, tag string) (v1.Descriptor, error)
}

// Opener opens the content of a blob from its beginning.
type Opener func(context.Context) (io.ReadCloser, error)

// Manifest is a manifest's verified bytes.
type Manifest struct {
	MediaType string
	Digest    step.Digest
	Bytes     []byte
}

// Descriptor returns the descriptor that names the manifest.
func (m Manifest) Descriptor() v1.Descriptor { return descriptor(m.MediaType, m.Digest, m.Bytes) }
