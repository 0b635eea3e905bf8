package attest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// fetches bounds the requests that Collect has open at once.
const fetches = 8

// Found is one referrer of an image, and what became of its signature.
type Found struct {
	// Digest is the referrer's manifest digest; of what CollectPlatforms found, the
	// envelope's.
	Digest step.Digest
	// Image is the digest of the image that it hangs on.
	Image step.Digest
	// PredicateType is empty if it could not be read; of a reference by a trusted signer
	// it is the type that it refers to. It is the statement's own word, so unless
	// Verified is set it is worth nothing but to be shown.
	PredicateType string
	// Verified is nil if Err is set.
	Verified *Verified
	// Err says why the referrer is of no use.
	Err error
	// content is the digest of its one layer.
	content step.Digest
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
// source, and who judges compares that with the provenance. A predicate that a
// trusted statement refers to is fetched from s by its digest, and stands where it
// would stand had it been signed itself. Collect fails if referrers can't be listed,
// or if ctx ends. The order is that of images, then by digest.
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
	seen := &checked{by: map[blobID]*result{}}
	for i := range found {
		g.Go(func() error {
			found[i].read(gctx, s, t, seen)
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("read referrers: %w", err)
	}
	// A predicate that is referred to hangs on the image, too; it was read already.
	referred := map[step.Digest]bool{}
	for _, f := range found {
		if f.Verified != nil && f.Verified.Reference != nil {
			referred[f.Verified.Reference.Digest] = true
		}
	}
	return slices.DeleteFunc(found, func(f Found) bool { return errors.Is(f.Err, errNoBundle) && referred[f.content] }), nil
}

// read fetches and verifies one referrer.
func (f *Found) read(ctx context.Context, s oci.Store, t *Trust, seen *checked) {
	layer, err := bundleOf(ctx, s, f.Digest, f.Image)
	f.content = oci.Digest(layer)
	if err != nil {
		f.Err = err
		return
	}
	r := seen.result(blobID{layer.Digest, layer.Size})
	r.once.Do(func() { r.check(ctx, s, t, layer, &seen.large) })
	f.PredicateType = r.predicateType
	if r.err != nil {
		f.Err = r.err
		return
	}
	if sub := r.v.Statement.Subject.Digest; sub != f.Image && f.PredicateType != evidence.TestResult.URI {
		f.Err = refuse(RefusedSubject, fmt.Errorf("the statement is about %s, but it hangs on %s", sub, f.Image))
		return
	}
	f.Verified = r.v
}

// checked remembers bundles by digest and size. A wrong size fails, and must
// not fail others with the right one. One bundle may hang on many images, and
// whoever can push may hang one of ours on an image ten thousand times, each
// time in another manifest: it is read, verified and kept once.
type checked struct {
	mu sync.Mutex
	by map[blobID]*result
	// large is held while a predicate is fetched and checked: those are large, and
	// several at once are more than a small machine has memory for.
	large sync.Mutex
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

func (r *result) check(ctx context.Context, s oci.Store, t *Trust, layer v1.Descriptor, large *sync.Mutex) {
	b, err := oci.ReadBlob(ctx, s, layer, MaxBundle)
	if err != nil {
		r.err = refuse(RefusedUnreadable, fmt.Errorf("read bundle: %w", err))
		return
	}
	v, err := check(t, b)
	if err == nil && v.Statement.PredicateType == evidence.Reference.URI {
		large.Lock()
		defer large.Unlock()
		err = v.follow(ctx, s)
	}
	r.predicateType, r.err = v.Statement.PredicateType, err
	if err == nil {
		r.v = &v
	}
}

// follow puts the predicate that a statement refers to in the reference's place. All
// that is asked for, where, and how much of it, is signed or our own: the digest from
// the image's own repository, never what is said about where to download it.
func (v *Verified) follow(ctx context.Context, s oci.Store) error {
	p, err := evidence.ParseReference(v.Statement.Predicate)
	if err != nil {
		return refuse(RefusedReference, err)
	}
	r, err := p.Referenced()
	if err != nil {
		return refuse(RefusedReference, fmt.Errorf("the statement is a reference, but %w", err))
	}
	v.Statement.PredicateType = r.Type.URI
	raw, err := oci.ReadBlob(ctx, s, v1.Descriptor{
		MediaType: types.MediaType(r.Type.MediaType()), Size: r.Size, Digest: v1.Hash{Algorithm: "sha256", Hex: r.Digest.Hex()},
	}, evidence.MaxPredicate)
	if err != nil {
		return refuse(RefusedLost, fmt.Errorf("read the predicate that the statement refers to: %w", err))
	}
	if err := evidence.Check(r.Type, raw); err != nil {
		return refuse(RefusedPredicate, fmt.Errorf("the statement refers to %s: %w", r.Digest, err))
	}
	v.Statement.Predicate, v.Reference = raw, &r
	return nil
}

// bundleOf finds the one bundle of a referrer. Of a referrer of another kind it also
// returns the one layer.
func bundleOf(ctx context.Context, s oci.Store, d, image step.Digest) (v1.Descriptor, error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return v1.Descriptor{}, refuse(RefusedUnreadable, fmt.Errorf("read referrer: %w", err))
	}
	c, err := m.Content()
	if err != nil {
		return v1.Descriptor{}, refuse(RefusedUnreadable, fmt.Errorf("read referrer: %w", err))
	}
	if c.ArtifactType != BundleType {
		var layer v1.Descriptor
		if len(c.Layers) == 1 {
			layer = c.Layers[0]
		}
		return layer, refuse(RefusedNoBundle, fmt.Errorf("%w: artifact type %.80q", errNoBundle, c.ArtifactType))
	}
	if c.Subject == nil || oci.Digest(*c.Subject) != image {
		return v1.Descriptor{}, refuse(RefusedSubject, fmt.Errorf("the referrer's subject is not %s, which it is listed for", image))
	}
	if len(c.Layers) != 1 || string(c.Layers[0].MediaType) != BundleType {
		return v1.Descriptor{}, refuse(RefusedMalformed, fmt.Errorf("the referrer has %d layers, want one of type %s", len(c.Layers), BundleType))
	}
	return c.Layers[0], nil
}
