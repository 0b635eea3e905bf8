package oci

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// AsImage gives libraries that take a v1.Image an image of a store. Its layers
// are read, and checked, when they are opened; ctx bounds all of that.
func AsImage(ctx context.Context, s Store, d step.Digest) (v1.Image, error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	c, err := m.Content()
	if err != nil {
		return nil, err
	}
	if c.Index {
		return nil, fmt.Errorf("image %s is an index: name the manifest of one platform", d)
	}
	config, err := ReadBlob(ctx, s, *c.Config, MaxConfig)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&storedImage{ctx: ctx, store: s, manifest: m, content: c, config: config})
}

// storedImage implements partial.CompressedImageCore, which has no contexts.
type storedImage struct {
	ctx      context.Context
	store    Store
	manifest Manifest
	content  Content
	config   []byte
}

func (i *storedImage) RawConfigFile() ([]byte, error) { return i.config, nil }
func (i *storedImage) RawManifest() ([]byte, error)   { return i.manifest.Bytes, nil }
func (i *storedImage) MediaType() (types.MediaType, error) {
	return types.MediaType(i.manifest.MediaType), nil
}

func (i *storedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, l := range append([]v1.Descriptor{*i.content.Config}, i.content.Layers...) {
		if l.Digest == h {
			return &storedLayer{i, l}, nil
		}
	}
	return nil, fmt.Errorf("image %s: layer %s: %w", i.manifest.Digest, h, ErrNotFound)
}

type storedLayer struct {
	image *storedImage
	desc  v1.Descriptor
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	return l.image.store.Blob(l.image.ctx, l.desc)
}

// PutImage writes an image that a library made, and returns its descriptor. tag
// may be empty.
func PutImage(ctx context.Context, w Writer, img v1.Image, tag string) (v1.Descriptor, error) {
	layers, err := img.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, l := range layers {
		desc, err := partial.Descriptor(l)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if err := w.PutStream(ctx, *desc, func(context.Context) (io.ReadCloser, error) { return l.Compressed() }); err != nil {
			return v1.Descriptor{}, err
		}
	}
	m, err := img.Manifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := w.PutBlob(ctx, string(m.Config.MediaType), config); err != nil {
		return v1.Descriptor{}, err
	}
	return putRaw(ctx, w, img, tag)
}

// PutIndex writes an index that a library made, with all images below it, and
// returns its descriptor. tag may be empty.
func PutIndex(ctx context.Context, w Writer, idx v1.ImageIndex, tag string) (v1.Descriptor, error) {
	return putIndex(ctx, w, idx, tag, 0)
}

func putIndex(ctx context.Context, w Writer, idx v1.ImageIndex, tag string, depth int) (v1.Descriptor, error) {
	if depth > MaxDepth {
		return v1.Descriptor{}, fmt.Errorf("indexes nested more than %d deep", MaxDepth)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, desc := range m.Manifests {
		if desc.MediaType.IsIndex() {
			child, err := idx.ImageIndex(desc.Digest)
			if err == nil {
				_, err = putIndex(ctx, w, child, "", depth+1)
			}
			if err != nil {
				return v1.Descriptor{}, err
			}
			continue
		}
		child, err := idx.Image(desc.Digest)
		if err == nil {
			_, err = PutImage(ctx, w, child, "")
		}
		if err != nil {
			return v1.Descriptor{}, err
		}
	}
	return putRaw(ctx, w, idx, tag)
}

func putRaw(ctx context.Context, w Writer, m interface {
	RawManifest() ([]byte, error)
	MediaType() (types.MediaType, error)
}, tag string) (v1.Descriptor, error) {
	raw, err := m.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	mt, err := m.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return w.PutManifest(ctx, string(mt), raw, tag)
}
