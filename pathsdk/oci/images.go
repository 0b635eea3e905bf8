package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// parallel is how many blobs are read or written at the same time.
const parallel = 4

// Image is an index or a manifest that belongs to one image.
type Image struct {
	Digest step.Digest
	// Platform is os/architecture[/variant]; empty for an index.
	Platform   string
	Descriptor v1.Descriptor
}

// Images lists what an image consists of: the index first, then every manifest
// below it in the index's order, without repeats. For a plain manifest it is
// that manifest alone.
func Images(ctx context.Context, s Store, d step.Digest) ([]Image, error) {
	var images []Image
	err := walk(ctx, s, d, func(n node) error {
		i := Image{Digest: n.manifest.Digest, Descriptor: n.manifest.Descriptor()}
		if !n.content.Index {
			p, err := platform(ctx, s, n)
			if err != nil {
				return err
			}
			i.Platform, i.Descriptor.Platform = p.text, p.spec
		}
		images = append(images, i)
		return nil
	}, nil)
	return images, err
}

// node is one manifest of a tree, and the descriptor that led to it.
type node struct {
	via      v1.Descriptor
	manifest Manifest
	content  Content
}

// walk visits the tree below a manifest, every digest once: visit comes to
// parents first, leave (which may be nil) to children first. A tree that is too
// deep or too wide is an error, and so is a child that is not what its parent
// said.
func walk(ctx context.Context, s Store, root step.Digest, visit func(node) error, leave func(node)) error {
	seen := map[step.Digest]bool{}
	count := 0
	var descend func(via v1.Descriptor, d step.Digest, depth int, path []step.Digest) error
	descend = func(via v1.Descriptor, d step.Digest, depth int, path []step.Digest) error {
		for _, p := range path {
			if p == d {
				return fmt.Errorf("image %s: %w: index %s contains itself", root, ErrContent, d)
			}
		}
		if seen[d] {
			return nil
		}
		seen[d] = true
		if count++; count > MaxImages+1 {
			return fmt.Errorf("image %s: %w: more than %d manifests", root, ErrContent, MaxImages)
		}
		if depth > MaxDepth {
			return fmt.Errorf("image %s: %w: indexes nested more than %d deep", root, ErrContent, MaxDepth)
		}
		m, err := s.Manifest(ctx, d)
		if err != nil {
			return err
		}
		if depth > 0 && (int64(len(m.Bytes)) != via.Size || m.MediaType != string(via.MediaType)) {
			return fmt.Errorf("image %s: %w: manifest %s is %s of %d bytes, its index says %s of %d", root, ErrContent, d, m.MediaType, len(m.Bytes), via.MediaType, via.Size)
		}
		c, err := m.Content()
		if err != nil {
			return err
		}
		n := node{via, m, c}
		if err := visit(n); err != nil {
			return err
		}
		for _, child := range c.Manifests {
			if !isManifestType(child.MediaType) {
				return fmt.Errorf("image %s: %w: index %s contains a %q", root, ErrContent, d, child.MediaType)
			}
			if err := descend(child, Digest(child), depth+1, append(path, d)); err != nil {
				return err
			}
		}
		if leave != nil {
			leave(n)
		}
		return nil
	}
	return descend(v1.Descriptor{}, root, 0, nil)
}

type platformOf struct {
	text string
	spec *v1.Platform
}

// platform is what the index says, or else the image's configuration.
func platform(ctx context.Context, s Store, n node) (platformOf, error) {
	if p := n.via.Platform; p != nil && p.OS != "" {
		return platformOf{platformText(p.OS, p.Architecture, p.Variant), p}, nil
	}
	if !n.content.Config.MediaType.IsConfig() {
		return platformOf{}, nil // an artifact
	}
	c, err := config(ctx, s, n)
	if err != nil {
		return platformOf{}, err
	}
	if c.OS == "" {
		return platformOf{}, nil
	}
	return platformOf{
		platformText(c.OS, c.Architecture, c.Variant),
		&v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant},
	}, nil
}

func platformText(os, arch, variant string) string {
	s := os + "/" + arch
	if variant != "" {
		s += "/" + variant
	}
	return s
}

type imageConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// config reads and checks an image's configuration.
func config(ctx context.Context, s Store, n node) (imageConfig, error) {
	var c imageConfig
	b, err := ReadBlob(ctx, s, *n.content.Config, MaxConfig)
	if err != nil {
		return c, fmt.Errorf("configuration of %s: %w", n.manifest.Digest, err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("configuration of %s: %w: %w", n.manifest.Digest, ErrContent, err)
	}
	return c, nil
}

// Check reads an image and reports the first thing that is missing or not what
// its digest says: manifests and configurations, and with deep every layer.
func Check(ctx context.Context, s Store, d step.Digest, deep bool) error {
	var blobs []v1.Descriptor
	seen := map[v1.Hash]bool{}
	err := walk(ctx, s, d, func(n node) error {
		if n.content.Index {
			return nil
		}
		if n.content.isImage() {
			c, err := config(ctx, s, n)
			if err != nil {
				return err
			}
			if len(c.RootFS.DiffIDs) != len(n.content.Layers) {
				return fmt.Errorf("image %s: %w: its configuration lists %d layers, its manifest %d", n.manifest.Digest, ErrContent, len(c.RootFS.DiffIDs), len(n.content.Layers))
			}
		} else if _, err := ReadBlob(ctx, s, *n.content.Config, MaxConfig); err != nil {
			return err
		}
		for _, l := range n.content.Layers {
			if deep && !seen[l.Digest] {
				seen[l.Digest] = true
				blobs = append(blobs, l)
			}
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, b := range blobs {
		g.Go(func() error { return drain(ctx, s, b) })
	}
	return g.Wait()
}

// drain reads a blob to its verified end.
func drain(ctx context.Context, s Store, desc v1.Descriptor) error {
	r, err := s.Blob(ctx, desc)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, &contextReader{ctx, r})
	return errors.Join(err, r.Close())
}
