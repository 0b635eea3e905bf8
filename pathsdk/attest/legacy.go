package attest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	// legacyType and legacySignature are those of cosign's SIGNATURE_SPEC.md.
	legacyType      = "application/vnd.dev.cosign.simplesigning.v1+json"
	legacySignature = "dev.cosignproject.cosign/signature"
	// maxLegacy bounds how many signatures one tag may hold before ours is added.
	maxLegacy = 100
)

// LegacyTag is the tag under which cosign 2 and the verifiers of its time look
// for the signature of an image.
func LegacyTag(image step.Digest) string { return "sha256-" + image.Hex() + ".sig" }

// WriteLegacySignature signs an image in the form of cosign's SIGNATURE_SPEC.md
// (simple signing, under a tag), for verifiers that can't read bundles. It
// works in a registry and in a layout alike, keeps the signatures that are
// there, and changes nothing if its own is among them.
func WriteLegacySignature(ctx context.Context, place oci.Locator, image step.Digest, s *Signer, opts ...oci.Option) (step.Digest, error) {
	d, err := writeLegacy(ctx, place, image, s, opts)
	if err != nil {
		return "", fmt.Errorf("write legacy signature of %s: %w", image, err)
	}
	return d, nil
}

func writeLegacy(ctx context.Context, place oci.Locator, image step.Digest, s *Signer, opts []oci.Option) (step.Digest, error) {
	if _, err := place.At(image); err != nil {
		return "", err
	}
	text, sig, err := simpleSigning(ctx, place, image, s)
	if err != nil {
		return "", err
	}
	w, err := oci.Open(ctx, place, opts...)
	if err != nil {
		return "", err
	}
	layers, old, err := legacyLayers(ctx, w, place, image, opts)
	if err != nil {
		return "", err
	}
	layer, err := w.PutBlob(ctx, legacyType, text)
	if err != nil {
		return "", err
	}
	for _, l := range layers {
		if l.Digest == layer.Digest && l.Annotations[legacySignature] == sig {
			return old, nil
		}
	}
	layer.Annotations = map[string]string{legacySignature: sig}
	layers = append(layers, layer)
	return putLegacy(ctx, w, layers, LegacyTag(image))
}

// simpleSigning makes the payload and its signature.
func simpleSigning(ctx context.Context, place oci.Locator, image step.Digest, s *Signer) (text []byte, sig string, err error) {
	p := payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: place.Repository},
		Image:    payload.Image{DockerManifestDigest: string(image)},
		Type:     payload.CosignSignatureType,
	}}
	if place.IsLayout() {
		// A layout has no repository; the payload must name one.
		p.Critical.Identity.DockerReference = "layout"
	}
	if text, err = json.Marshal(p); err != nil {
		return nil, "", err
	}
	raw, _, err := s.pair.SignData(ctx, text)
	return text, base64.StdEncoding.EncodeToString(raw), err
}

// legacyLayers reads the signatures that are there.
func legacyLayers(ctx context.Context, s oci.Store, place oci.Locator, image step.Digest, opts []oci.Option) ([]v1.Descriptor, step.Digest, error) {
	place.Tag, place.Digest = LegacyTag(image), ""
	d, err := oci.Resolve(ctx, place, opts...)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, "", err
	}
	c, err := m.Content()
	if err != nil {
		return nil, "", err
	}
	if c.Index || len(c.Layers) > maxLegacy {
		return nil, "", fmt.Errorf("tag %s holds something else than signatures, or more than %d of them: remove it first", place.Tag, maxLegacy)
	}
	return c.Layers, d, nil
}

func putLegacy(ctx context.Context, w oci.Writer, layers []v1.Descriptor, tag string) (step.Digest, error) {
	config := v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	desc, err := w.PutBlob(ctx, string(types.OCIConfigJSON), text)
	if err != nil {
		return "", err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        desc,
		Layers:        layers,
	})
	if err != nil {
		return "", err
	}
	put, err := w.PutManifest(ctx, string(types.OCIManifestSchema1), manifest, tag)
	if err != nil {
		return "", err
	}
	return oci.Digest(put), nil
}
