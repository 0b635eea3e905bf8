package tekton

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// maxBundle is how many objects Tekton takes from a bundle.
const maxBundle = 20

// Bundle is a Tekton bundle (Tekton Bundle Contract v0.1) with every Pipeline, and the
// Tasks of the steps: an image with a layer for each. The same objects give the same
// digest. What signs is no part of it: those Tasks are the platform's own.
func Bundle(set Settings) (v1.Image, error) {
	objects, err := Objects(set)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	n := 0
	for _, path := range slices.Sorted(maps.Keys(objects)) {
		var kind, version string
		switch o := objects[path].(type) {
		case *pipeline.Pipeline:
			kind, version = "pipeline", o.APIVersion
		case *pipeline.Task:
			if o.Namespace == SigningNamespace {
				continue
			}
			kind, version = "task", o.APIVersion
		default:
			continue // Tekton's contract is about Tasks and Pipelines
		}
		raw, err := plain(objects[path])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		called := objects[path].GetName()
		layer, err := bundleLayer(called, raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, Annotations: map[string]string{
			"dev.tekton.image.name": called, "dev.tekton.image.kind": kind, "dev.tekton.image.apiVersion": version,
		}}); err != nil {
			return nil, err
		}
		n++
	}
	if n > maxBundle {
		return nil, fmt.Errorf("the bundle has %d objects, and Tekton takes %d: leave some out", n, maxBundle)
	}
	return img, nil
}

// bundleLayer is one object as a layer: a tar with one file and no time.
func bundleLayer(name string, raw []byte) (v1.Layer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(raw)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression))
}

// Push writes the bundle to a repository, without a tag, and returns it as
// REPOSITORY@DIGEST.
func Push(ctx context.Context, set Settings, repository string) (string, error) {
	repo, err := name.NewRepository(repository)
	if err != nil || strings.Contains(repository, "@") || strings.Contains(repository, "://") {
		return "", fmt.Errorf("%.200q is no repository: give HOST/NAME, without tag or digest", repository)
	}
	img, err := Bundle(set)
	if err != nil {
		return "", err
	}
	d, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref := repo.Digest(d.String())
	if err := remote.Write(ref, img, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push the bundle: %w", err)
	}
	return ref.String(), nil
}
