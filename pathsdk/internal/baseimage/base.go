package baseimage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// nameFile lies beside the layout's own files and holds the reference of the
// base, for people: the digest alone decides what the base is.
const nameFile = "base-name"

// WriteName records the reference under which people know the base.
func WriteName(dir, name string) error {
	return os.WriteFile(filepath.Join(dir, nameFile), []byte(name+"\n"), 0o644)
}

// Copy copies the image or index d from src to dst with everything that the
// platforms need. Of an index the manifests of other platforms are left out,
// but the index itself is copied as it is: its digest is the one that was
// pinned.
func Copy(ctx context.Context, dst oci.Writer, src oci.Store, d step.Digest, platforms []v1.Platform) error {
	m, err := src.Manifest(ctx, d)
	if err != nil {
		return err
	}
	c, err := m.Content()
	if err != nil {
		return err
	}
	if c.Index {
		picked, err := Select(c.Manifests, platforms)
		if err != nil {
			return err
		}
		for _, p := range picked {
			child, err := src.Manifest(ctx, oci.Digest(p))
			if err != nil {
				return err
			}
			if _, err := copyImage(ctx, dst, src, child); err != nil {
				return err
			}
		}
		_, err = dst.PutManifest(ctx, m.MediaType, m.Bytes, "")
		return err
	}
	config, err := copyImage(ctx, dst, src, m)
	if err != nil {
		return err
	}
	return Fits(config, platforms)
}

func copyImage(ctx context.Context, dst oci.Writer, src oci.Store, m oci.Manifest) (*v1.ConfigFile, error) {
	c, err := m.Content()
	if err != nil {
		return nil, err
	}
	if c.Index {
		return nil, fmt.Errorf("base image %s: %w: an index within an index", m.Digest, oci.ErrContent)
	}
	raw, err := oci.ReadBlob(ctx, src, *c.Config, oci.MaxConfig)
	if err != nil {
		return nil, err
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("base image %s: configuration: %w: %w", m.Digest, oci.ErrContent, err)
	}
	if _, err := dst.PutBlob(ctx, string(c.Config.MediaType), raw); err != nil {
		return nil, err
	}
	for _, l := range c.Layers {
		open := func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, l) }
		if err := dst.PutStream(ctx, l, open); err != nil {
			return nil, err
		}
	}
	_, err = dst.PutManifest(ctx, m.MediaType, m.Bytes, "")
	return &config, err
}

// Base is a base image to build on: an image, or an index that shows the
// platforms that were asked for, and no other, in their order.
type Base struct {
	// Name is the reference under which people know the base.
	Name string
	// Image is a v1.Image or a v1.ImageIndex with the digest that was pinned.
	Image mutate.Appendable
}

// Open reads the base d from the layout in dir. Whatever is in the layout
// besides does not matter.
func Open(ctx context.Context, dir string, d step.Digest, platforms []v1.Platform) (Base, error) {
	l, err := oci.OpenLayout(dir)
	if err != nil {
		return Base{}, err
	}
	m, err := l.Manifest(ctx, d)
	if err != nil {
		return Base{}, err
	}
	c, err := m.Content()
	if err != nil {
		return Base{}, err
	}
	name, err := os.ReadFile(filepath.Join(dir, nameFile))
	if err != nil || len(name) < 2 || len(name) > 1024 {
		return Base{}, fmt.Errorf("base layout %s does not name its image: run fetch again", dir)
	}
	base := Base{Name: string(name[:len(name)-1])}
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return Base{}, err
	}
	h := v1.Hash{Algorithm: "sha256", Hex: d.Hex()}
	if !c.Index {
		img, err := root.Image(h)
		if err != nil {
			return Base{}, err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return Base{}, err
		}
		base.Image = img
		return base, Fits(config, platforms)
	}
	picked, err := Select(c.Manifests, platforms)
	if err != nil {
		return Base{}, err
	}
	idx, err := root.ImageIndex(h)
	if err != nil {
		return Base{}, err
	}
	base.Image = selection{idx, picked}
	return base, nil
}

// selection is an index that shows some of its manifests. Its digest stays the
// one of the whole index, which is what annotations are to name.
type selection struct {
	index
	manifests []v1.Descriptor
}

// index gives the embedded interface a name that is not one of its methods.
type index = v1.ImageIndex

var _ v1.ImageIndex = selection{}

// IndexManifest implements v1.ImageIndex.
func (s selection) IndexManifest() (*v1.IndexManifest, error) {
	m, err := s.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	m.Manifests = s.manifests
	return m, nil
}
