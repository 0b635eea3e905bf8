package oci

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Content is a parsed manifest or index: what it refers to.
type Content struct {
	// Index is true for an image index or a Docker manifest list.
	Index bool
	// ArtifactType is the manifest's, or else its configuration's media type
	// (distribution specification, "Listing Referrers").
	ArtifactType string
	// Config is nil for an index.
	Config *v1.Descriptor
	Layers []v1.Descriptor
	// Manifests are the children of an index.
	Manifests   []v1.Descriptor
	Subject     *v1.Descriptor
	Annotations map[string]string
}

// Content parses the manifest. It refuses what two readers could take for two
// different things: a manifest that is also an index, a media type that
// differs from the one it was stored under, trailing bytes.
func (m Manifest) Content() (Content, error) {
	c, _, err := parse(m.MediaType, m.Bytes)
	if err != nil {
		return Content{}, fmt.Errorf("manifest %s: %w: %w", m.Digest, ErrContent, err)
	}
	return c, nil
}

// parse also returns the media type, which the bytes may tell when mediaType is
// empty.
func parse(mediaType string, b []byte) (Content, string, error) {
	if len(b) > MaxManifest {
		return Content{}, "", fmt.Errorf("%d bytes, more than the limit of %d", len(b), MaxManifest)
	}
	// A map, because struct fields match without regard to case: "Layers" must
	// not be another way to write "layers".
	var top map[string]json.RawMessage
	if err := json.Unmarshal(b, &top); err != nil {
		return Content{}, "", fmt.Errorf("not a JSON object: %w", err)
	}
	var (
		c       Content
		version int
		inner   string
	)
	for name, target := range map[string]any{
		"schemaVersion": &version, "mediaType": &inner, "artifactType": &c.ArtifactType,
		"config": &c.Config, "layers": &c.Layers, "manifests": &c.Manifests,
		"subject": &c.Subject, "annotations": &c.Annotations,
	} {
		raw, ok := top[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, target); err != nil {
			return Content{}, "", fmt.Errorf("field %s: %w", name, err)
		}
	}
	_, hasManifests := top["manifests"]
	_, hasLayers := top["layers"]
	if version != 2 {
		return Content{}, "", fmt.Errorf("schemaVersion is %d, want 2", version)
	}
	if hasManifests == (hasLayers || c.Config != nil) {
		return Content{}, "", fmt.Errorf("neither clearly a manifest nor clearly an index")
	}
	c.Index = hasManifests
	if !c.Index && c.Config == nil {
		return Content{}, "", fmt.Errorf("a manifest without config")
	}
	mediaType, err := agree(mediaType, inner, c.Index)
	if err != nil {
		return Content{}, "", err
	}
	if c.ArtifactType == "" && c.Config != nil {
		c.ArtifactType = string(c.Config.MediaType)
	}
	return c, mediaType, c.check()
}

// agree picks the media type from what the transport and the manifest say, and
// refuses one that contradicts the manifest's form.
func agree(outer, inner string, index bool) (string, error) {
	if outer != "" && inner != "" && outer != inner {
		return "", fmt.Errorf("media type is %q, but it is stored as %q", inner, outer)
	}
	mt := outer
	if mt == "" {
		mt = inner
	}
	if mt == "" {
		mt = string(types.OCIManifestSchema1)
		if index {
			mt = string(types.OCIImageIndex)
		}
	}
	switch types.MediaType(mt) {
	case types.OCIManifestSchema1, types.DockerManifestSchema2:
		if !index {
			return mt, nil
		}
	case types.OCIImageIndex, types.DockerManifestList:
		if index {
			return mt, nil
		}
	default:
		return "", fmt.Errorf("media type %q is not supported; want an OCI or Docker schema 2 image manifest or index", mt)
	}
	return "", fmt.Errorf("media type %q does not fit the fields", mt)
}

// isImage reports whether a manifest is a container image's.
func (c Content) isImage() bool {
	return c.Config != nil && c.Config.MediaType.IsConfig() && c.ArtifactType == string(c.Config.MediaType)
}

func (c Content) check() error {
	all := append(append([]v1.Descriptor{}, c.Layers...), c.Manifests...)
	if c.Config != nil {
		all = append(all, *c.Config)
	}
	if c.Subject != nil {
		all = append(all, *c.Subject)
	}
	for _, d := range all {
		if _, err := digestOf(d); err != nil {
			return err
		}
	}
	return nil
}

// digestOf checks that a descriptor names something.
func digestOf(d v1.Descriptor) (step.Digest, error) {
	if d.Size < 0 {
		return "", fmt.Errorf("a descriptor with size %d", d.Size)
	}
	return step.ParseDigest(d.Digest.Algorithm + ":" + d.Digest.Hex)
}

// Digest returns a descriptor's digest.
func Digest(d v1.Descriptor) step.Digest {
	return step.Digest(d.Digest.Algorithm + ":" + d.Digest.Hex)
}

// DigestOf returns the digest of bytes.
func DigestOf(b []byte) step.Digest {
	sum := sha256.Sum256(b)
	return step.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

func hashOf(d step.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }

func descriptor(mediaType string, d step.Digest, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(b)), Digest: hashOf(d)}
}

// newManifest checks bytes that were found under a digest.
func newManifest(mediaType string, d step.Digest, b []byte) (Manifest, error) {
	if got := DigestOf(b); got != d {
		return Manifest{}, fmt.Errorf("manifest %s: %w: its bytes have the digest %s", d, ErrContent, got)
	}
	_, mt, err := parse(mediaType, b)
	if err != nil {
		return Manifest{}, fmt.Errorf("manifest %s: %w: %w", d, ErrContent, err)
	}
	return Manifest{MediaType: mt, Digest: d, Bytes: b}, nil
}

// readBounded reads at most limit bytes, and fails if there are more. size is how many
// are expected, or 0: a buffer that grows takes several times as much memory.
func readBounded(r io.Reader, limit, size int64) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(max(0, min(size, limit))) + bytes.MinRead)
	n, err := io.Copy(&buf, io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrContent, limit)
	}
	return buf.Bytes(), nil
}
