package attest

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
	seen := &checked{by: map[blobID]*result{}, documents: map[blobID]*document{}}
	for i := range found {
		g.Go(func() error {
			found[i].read(gctx, s, t, seen)
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read referrers: %w", err)
	}
	return found, nil
}

// read fetches and verifies one referrer.
func (f *Found) read(ctx context.Context, s oci.Store, t *Trust, seen *checked) {
	layer, document, err := bundleOf(ctx, s, f.Digest, f.Image)
	if err != nil {
		f.Err = err
		return
	}
	r := seen.result(blobID{layer.Digest, layer.Size})
	r.once.Do(func() { r.check(ctx, s, t, layer) })
	f.PredicateType = r.predicateType
	if r.err != nil {
		f.Err = r.err
		return
	}
	if sub := r.v.Statement.Subject.Digest; sub != f.Image && f.PredicateType != evidence.TestResult.URI {
		f.Err = refuse(RefusedSubject, fmt.Errorf("the statement is about %s, but it hangs on %s", sub, f.Image))
		return
	}
	switch {
	case f.PredicateType == evidence.Reference.URI:
		f.resolve(ctx, s, *r.v, document, seen)
	case document != nil:
		f.Err = refuse(RefusedMalformed, errors.New("the referrer has 2 layers, and its statement refers to nothing"))
	default:
		f.Verified = r.v
	}
}

// resolve puts the predicate that a statement refers to in the place of the reference:
// it must be the document beside it, to the last byte, and nothing is fetched from
// anywhere else.
func (f *Found) resolve(ctx context.Context, s oci.Store, v Verified, document *v1.Descriptor, seen *checked) {
	refused := func(err error) { f.Err = refuse(RefusedReference, err) }
	ref, err := evidence.ParseReference(v.Statement.Predicate)
	if err != nil {
		refused(err)
		return
	}
	t, digest, err := ref.Referenced()
	if err != nil {
		refused(err)
		return
	}
	f.PredicateType = t.URI
	if document == nil || oci.Digest(*document) != digest {
		refused(fmt.Errorf("the %s that it refers to, %s, is not beside it", t.Name, digest))
		return
	}
	d := seen.document(blobID{document.Digest, document.Size})
	d.once.Do(func() { d.bytes, d.err = oci.ReadBlob(ctx, s, *document, evidence.MaxDocument) })
	if d.err != nil {
		refused(fmt.Errorf("read the %s that it refers to: %w", t.Name, d.err))
		return
	}
	v.Statement.PredicateType, v.Statement.Predicate, v.ByReference = t.URI, d.bytes, true
	f.Verified = &v
}

// checked remembers bundles by digest and size. A wrong size fails, and must
// not fail others with the right one. One bundle may hang on many images, and
// whoever can push may hang one of ours on an image ten thousand times, each
// time in another manifest: it is read, verified and kept once.
type checked struct {
	mu        sync.Mutex
	by        map[blobID]*result
	documents map[blobID]*document
}

// document is one that a statement refers to.
type document struct {
	once  sync.Once
	bytes []byte
	err   error
}

func (c *checked) document(id blobID) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.documents[id]
	if !ok {
		d = &document{}
		c.documents[id] = d
	}
	return d
}

type blobID struct {
	digest v1.Hash
	size   int64
}

type result struct {
	once          sync.Once
	predicateType string
	v             *Verified
	err           error
}

func (c *checked) result(id blobID) *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.by[id]
	if !ok {
		r = &result{}
		c.by[id] = r
	}
	return r
}

func (r *result) check(ctx context.Context, s oci.Store, t *Trust, layer v1.Descriptor) {
	b, err := oci.ReadBlob(ctx, s, layer, MaxBundle)
	if err != nil {
		r.err = refuse(RefusedUnreadable, fmt.Errorf("read bundle: %w", err))
		return
	}
	v, err := check(t, b)
	r.predicateType, r.err = v.Statement.PredicateType, err
	if err == nil {
		r.v = &v
	}
}

// bundleOf finds the one bundle of a referrer, and the document beside it, if any.
func bundleOf(ctx context.Context, s oci.Store, d, image step.Digest) (bundle v1.Descriptor, document *v1.Descriptor, err error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return bundle, nil, refuse(RefusedUnreadable, fmt.Errorf("read referrer: %w", err))
	}
	c, err := m.Content()
	if err != nil {
		return bundle, nil, refuse(RefusedUnreadable, fmt.Errorf("read referrer: %w", err))
	}
	if c.ArtifactType != BundleType {
		return bundle, nil, refuse(RefusedNoBundle, fmt.Errorf("%w: artifact type %.80q", errNoBundle, c.ArtifactType))
	}
	if c.Subject == nil || oci.Digest(*c.Subject) != image {
		return bundle, nil, refuse(RefusedSubject, fmt.Errorf("the referrer's subject is not %s, which it is listed for", image))
	}
	if n := len(c.Layers); n < 1 || n > 2 || string(c.Layers[0].MediaType) != BundleType {
		return bundle, nil, refuse(RefusedMalformed, fmt.Errorf("the referrer has %d layers, want one of type %s, and a document that it refers to at most", n, BundleType))
	}
	if len(c.Layers) == 2 {
		document = &c.Layers[1]
	}
	return c.Layers[0], document, nil
}
