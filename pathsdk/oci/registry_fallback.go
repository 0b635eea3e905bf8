package oci

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// fallbackTries bounds the races lost against other writers of one tag.
	fallbackTries = 10
	// settleTime is longer than another writer takes between reading the
	// fallback tag and writing it.
	settleTime = 400 * time.Millisecond
)

// fallback is what a Registry knows of the referrers tag schema (distribution
// specification, "Referrers Tag Schema"): an index under a tag that every
// writer reads, changes and writes back. There is no lock between writers, so
// each remembers what it wrote, and looks again.
type fallback struct {
	mu sync.Mutex
	// api is whether the registry has the referrers API; nil while unknown.
	api *bool
	// mine are the referrers that this Registry wrote, by subject.
	mine map[step.Digest][]v1.Descriptor
	// writing serializes the writers that share this Registry.
	writing sync.Mutex
}

// Settler is implemented by a Writer whose writes others could undo for a
// moment after they were made.
type Settler interface {
	// Settle returns when what was written can be relied upon.
	Settle(ctx context.Context) error
}

var _ Settler = (*Registry)(nil)

// Settle waits until what was written to w can be relied upon. Call it once
// after the last Attach. It costs time only on a registry without the
// referrers API.
func Settle(ctx context.Context, w Writer) error {
	if s, ok := w.(Settler); ok {
		return s.Settle(ctx)
	}
	return nil
}

// Settle implements Settler: it restores referrers that another writer of the
// same fallback tag overwrote without having seen them.
func (r *Registry) Settle(ctx context.Context) error {
	for range fallbackTries {
		r.fallback.mu.Lock()
		subjects := sortedKeys(r.fallback.mine)
		r.fallback.mu.Unlock()
		if len(subjects) == 0 {
			return nil
		}
		if err := pause(ctx, settleTime/2+rand.N(settleTime)); err != nil {
			return err
		}
		lost := false
		for _, s := range subjects {
			wrote, err := r.writeFallback(ctx, s)
			if err != nil {
				return err
			}
			lost = lost || wrote
		}
		if !lost {
			return nil
		}
	}
	return r.errorf("referrers: other writers keep overwriting the fallback tag\n  fix: try again when they are done, or use a registry with the referrers API")
}

func fallbackTag(subject step.Digest) string { return strings.Replace(string(subject), ":", "-", 1) }

// fallbackReferrers reads the fallback tag; without one there are no referrers.
func (r *Registry) fallbackReferrers(ctx context.Context, subject step.Digest) ([]v1.Descriptor, error) {
	tag := fallbackTag(subject)
	mt, b, err := r.manifest(ctx, tag)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, _, err := parse(mt, b)
	if err != nil {
		return nil, r.errorf("fallback tag %s: %w: %w", tag, ErrContent, err)
	}
	if !c.Index {
		return nil, r.errorf("fallback tag %s: %w: it is no index", tag, ErrContent)
	}
	if len(c.Manifests) > MaxReferrers {
		return nil, r.errorf("fallback tag %s: %d referrers, more than the limit of %d\n  fix: remove what nobody needs, or push the image to another repository", tag, len(c.Manifests), MaxReferrers)
	}
	return c.Manifests, nil
}

// addFallback adds a referrer to the fallback tag of its subject.
func (r *Registry) addFallback(ctx context.Context, subject step.Digest, desc v1.Descriptor) error {
	r.fallback.mu.Lock()
	if r.fallback.mine == nil {
		r.fallback.mine = map[step.Digest][]v1.Descriptor{}
	}
	if !containsDigest(r.fallback.mine[subject], desc) {
		r.fallback.mine[subject] = append(r.fallback.mine[subject], desc)
	}
	r.fallback.mu.Unlock()
	_, err := r.writeFallback(ctx, subject)
	return err
}

// writeFallback makes the fallback tag hold what it holds and what this
// Registry wrote, and looks again until it does. It reports whether anything
// was missing.
func (r *Registry) writeFallback(ctx context.Context, subject step.Digest) (wrote bool, err error) {
	r.fallback.writing.Lock()
	defer r.fallback.writing.Unlock()
	r.fallback.mu.Lock()
	mine := slices.Clone(r.fallback.mine[subject])
	r.fallback.mu.Unlock()
	for try := range fallbackTries {
		if try > 0 {
			if err := pause(ctx, rand.N(20*time.Millisecond<<try)); err != nil {
				return wrote, err
			}
		}
		there, err := r.fallbackReferrers(ctx, subject)
		if err != nil {
			return wrote, err
		}
		merged, changed := merge(there, mine)
		if !changed {
			return wrote, nil
		}
		if len(merged) > MaxReferrers {
			return wrote, r.errorf("fallback tag %s: %d referrers would be more than the limit of %d\n  fix: push the image to another repository", fallbackTag(subject), len(merged), MaxReferrers)
		}
		b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: merged})
		if err != nil {
			return wrote, err
		}
		if len(b) > MaxManifest {
			return wrote, r.errorf("fallback tag %s: the list of %d referrers is longer than %d bytes\n  fix: push the image to another repository, or use a registry with the referrers API", fallbackTag(subject), len(merged), MaxManifest)
		}
		if _, err := r.putManifest(ctx, string(types.OCIImageIndex), b, fallbackTag(subject)); err != nil {
			return wrote, err
		}
		wrote = true
	}
	return wrote, r.errorf("fallback tag %s: lost %d races against other writers\n  fix: try again when they are done, or use a registry with the referrers API", fallbackTag(subject), fallbackTries)
}

// merge adds to there what is missing of mine, and drops repeats. The order is
// by digest, so that two writers of the same list write the same bytes.
func merge(there, mine []v1.Descriptor) ([]v1.Descriptor, bool) {
	var merged []v1.Descriptor
	for _, d := range append(slices.Clone(there), mine...) {
		if !containsDigest(merged, d) {
			merged = append(merged, d)
		}
	}
	slices.SortStableFunc(merged, byDigest)
	return merged, len(merged) != len(there)
}

func containsDigest(ds []v1.Descriptor, d v1.Descriptor) bool {
	return slices.ContainsFunc(ds, func(o v1.Descriptor) bool { return o.Digest == d.Digest })
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
