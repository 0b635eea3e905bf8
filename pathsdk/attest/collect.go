package attest

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// fetches bounds the requests that Collect has open at once.
const fetches = 8

// Found is one referrer of an image, and what became of its signature.
type Found struct {
	// Digest is the referrer's manifest digest.
	Digest step.Digest
	// Image is the digest of the image that it hangs on.
	Image step.Digest
	// PredicateType is empty if it could not be read. It is the statement's own
	// word, so unless Verified is set it is worth nothing but to be shown.
	PredicateType string
	// Verified is nil if Err is set.
	Verified *Verified
	// Err says why the referrer is of no use.
	Err error
}

// Foreign reports whether the referrer is somebody else's: no bundle, or one
// that nobody in the trust root signed.
func (f Found) Foreign() bool {
	return errors.Is(f.Err, ErrUnknownSigner) || errors.Is(f.Err, errNoBundle)
}

var errNoBundle = errors.New("not a Sigstore bundle")

// Collect reads every referrer of every image, and verifies the bundles among
// them. A broken or foreign referrer is an entry with Err, never a failure: who
// may push one could otherwise block a release. A statement must be about the
// image that it hangs on; only a test result is about something else, its
// source, and who judges compares that with the provenance. Collect fails if
// referrers can't be listed, or if ctx ends. The order is that of images, then
// by digest.
func Collect(ctx context.Context, s oci.Store, images []oci.Image, t *Trust) ([]Found, error) {
	var found []Found
	for _, im := range images {
		descs, err := s.Referrers(ctx, im.Digest)
		if err != nil {
			return nil, fmt.Errorf("list referrers of %s: %w", im.Digest, err)
		}
		for _, d := range descs {
			found = append(found, Found{Digest: oci.Digest(d), Image: im.Digest})
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for i := range found {
		g.Go(func() error {
			found[i].read(gctx, s, t)
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read referrers: %w", err)
	}
	return found, nil
}

// read fetches and verifies one referrer.
func (f *Found) read(ctx context.Context, s oci.Store, t *Trust) {
	b, err := readBundle(ctx, s, f.Digest, f.Image)
	if err != nil {
		f.Err = err
		return
	}
	v, err := check(t, b)
	f.PredicateType = v.Statement.PredicateType
	if err != nil {
		f.Err = err
		return
	}
	if sub := v.Statement.Subject.Digest; sub != f.Image && f.PredicateType != evidence.TestResult.URI {
		f.Err = fmt.Errorf("the statement is about %s, but it hangs on %s", sub, f.Image)
		return
	}
	f.Verified = &v
}

// readBundle reads the one bundle of a referrer.
func readBundle(ctx context.Context, s oci.Store, d, image step.Digest) ([]byte, error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("read referrer: %w", err)
	}
	c, err := m.Content()
	if err != nil {
		return nil, fmt.Errorf("read referrer: %w", err)
	}
	if c.ArtifactType != BundleType {
		return nil, fmt.Errorf("%w: artifact type %.80q", errNoBundle, c.ArtifactType)
	}
	if c.Subject == nil || oci.Digest(*c.Subject) != image {
		return nil, fmt.Errorf("the referrer's subject is not %s, which it is listed for", image)
	}
	if len(c.Layers) != 1 || string(c.Layers[0].MediaType) != BundleType {
		return nil, fmt.Errorf("the referrer has %d layers, want one of type %s", len(c.Layers), BundleType)
	}
	return readBlob(ctx, s, c.Layers[0])
}

func readBlob(ctx context.Context, s oci.Store, d v1.Descriptor) ([]byte, error) {
	b, err := oci.ReadBlob(ctx, s, d, MaxBundle)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	return b, nil
}
