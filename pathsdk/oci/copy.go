package oci

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Copy writes an image, with everything below it, to dst: all blobs first, then
// the manifests from the leaves to the root, which gets the tag unless that is
// empty. What dst has already is not sent again, so a copy that broke off can
// be repeated. Referrers are not copied.
func Copy(ctx context.Context, dst Writer, src Store, d step.Digest, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	var manifests []Manifest
	var blobs []v1.Descriptor
	seen := map[v1.Hash]bool{}
	err := walk(ctx, src, d, func(n node) error {
		needed := n.content.Layers
		if n.content.Config != nil {
			needed = append([]v1.Descriptor{*n.content.Config}, needed...)
		}
		for _, b := range needed {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				blobs = append(blobs, b)
			}
		}
		return nil
	}, func(n node) { manifests = append(manifests, n.manifest) })
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range blobs {
		g.Go(func() error {
			return dst.PutStream(gctx, b, func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, b) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, m := range manifests {
		t := ""
		if i == len(manifests)-1 { // the root
			t = tag
		}
		if _, err := dst.PutManifest(ctx, m.MediaType, m.Bytes, t); err != nil {
			return err
		}
	}
	return nil
}

// CopyReferrers copies all that hangs on a manifest, each by its digest, and counts it.
// dst has the manifest already, or gets it later. What hangs on a referrer is left out.
func CopyReferrers(ctx context.Context, dst Writer, src Store, d step.Digest) (int, error) {
	descs, err := src.Referrers(ctx, d)
	if err != nil {
		return 0, err
	}
	for _, r := range descs {
		if err := Copy(ctx, dst, src, Digest(r), ""); err != nil {
			return 0, fmt.Errorf("referrer %s: %w", r.Digest, err)
		}
	}
	return len(descs), nil
}

// Tag makes a tag point to a manifest that w has. An empty tag changes nothing.
func Tag(ctx context.Context, w Writer, d step.Digest, tag string) error {
	if tag == "" {
		return nil
	}
	m, err := w.Manifest(ctx, d)
	if err != nil {
		return err
	}
	_, err = w.PutManifest(ctx, m.MediaType, m.Bytes, tag)
	return err
}
