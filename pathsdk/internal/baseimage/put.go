package baseimage

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/pavedpaths/paths/pathsdk/oci"
)

// Put writes an image or index that was made in memory, with all it refers to,
// and returns its descriptor.
func Put(ctx context.Context, w oci.Writer, a mutate.Appendable) (v1.Descriptor, error) {
	switch t := a.(type) {
	case v1.ImageIndex:
		return putIndex(ctx, w, t)
	case v1.Image:
		return putImage(ctx, w, t)
	}
	return v1.Descriptor{}, fmt.Errorf("write image: %T is neither image nor index", a)
}

func putIndex(ctx context.Context, w oci.Writer, idx v1.ImageIndex) (v1.Descriptor, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range m.Manifests {
		img, err := idx.Image(d.Digest)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if _, err := putImage(ctx, w, img); err != nil {
			return v1.Descriptor{}, err
		}
	}
	return putManifest(ctx, w, idx)
}

func putImage(ctx context.Context, w oci.Writer, img v1.Image) (v1.Descriptor, error) {
	m, err := img.Manifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range m.Layers {
		open := func(context.Context) (io.ReadCloser, error) {
			l, err := img.LayerByDigest(d.Digest)
			if err != nil {
				return nil, err
			}
			return l.Compressed()
		}
		if err := w.PutStream(ctx, d, open); err != nil {
			return v1.Descriptor{}, err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := w.PutBlob(ctx, string(m.Config.MediaType), config); err != nil {
		return v1.Descriptor{}, err
	}
	return putManifest(ctx, w, img)
}

func putManifest(ctx context.Context, w oci.Writer, a mutate.Appendable) (v1.Descriptor, error) {
	mt, err := a.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	raw, ok := a.(interface{ RawManifest() ([]byte, error) })
	if !ok {
		return v1.Descriptor{}, fmt.Errorf("write image: %T has no manifest", a)
	}
	b, err := raw.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return w.PutManifest(ctx, string(mt), b, "")
}
