package claims

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// emptyType is the media type of an empty configuration (image specification,
// "Guidance for an Empty Descriptor").
const emptyType = "application/vnd.oci.empty.v1+json"

// manifest is an image manifest with the fields that an artifact uses.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        v1.Descriptor   `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
}

// Write writes the claims, with the source archive in the file tarball, as an
// artifact and returns its digest. The same claims have the same digest.
func Write(ctx context.Context, w oci.Writer, c Claims, tarball string) (step.Digest, error) {
	if err := c.Validate(); err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	doc, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	if len(doc) > MaxDocument {
		return "", fmt.Errorf("claims: %d bytes are more than the limit of %d: let the steps report less", len(doc), MaxDocument)
	}
	source, err := oci.PutFile(ctx, w, SourceType, tarball)
	if err != nil {
		return "", fmt.Errorf("claims: source: %w", err)
	}
	if oci.Digest(source) != c.Source {
		return "", fmt.Errorf("claims: the source archive has the digest %s, want %s", source.Digest, c.Source)
	}
	if source.Size > MaxTarball {
		return "", fmt.Errorf("claims: the source archive has more than %d bytes: keep large data out of the source", int64(MaxTarball))
	}
	config, err := w.PutBlob(ctx, emptyType, []byte("{}"))
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	document, err := w.PutBlob(ctx, ArtifactType, doc)
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	m, err := json.Marshal(manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  ArtifactType,
		Config:        config,
		Layers:        []v1.Descriptor{document, source},
	})
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	desc, err := w.PutManifest(ctx, string(types.OCIManifestSchema1), m, "")
	if err != nil {
		return "", fmt.Errorf("claims: %w", err)
	}
	return oci.Digest(desc), nil
}

// Read reads the claims d, and the descriptor of the source archive, which has
// the digest Claims.Source: Store.Blob opens it. The form is checked here; that
// the image fits, and whether to believe the rest, is the caller's to find out.
func Read(ctx context.Context, s oci.Store, d step.Digest) (Claims, v1.Descriptor, error) {
	c, source, err := read(ctx, s, d)
	if err != nil {
		return Claims{}, v1.Descriptor{}, fmt.Errorf("claims %s: %w", d, err)
	}
	return c, source, nil
}

func read(ctx context.Context, s oci.Store, d step.Digest) (Claims, v1.Descriptor, error) {
	var none v1.Descriptor
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return Claims{}, none, err
	}
	content, err := m.Content()
	if err != nil {
		return Claims{}, none, err
	}
	if content.Index || content.ArtifactType != ArtifactType {
		return Claims{}, none, fmt.Errorf("the artifact has type %.100q, want %s", content.ArtifactType, ArtifactType)
	}
	if l := content.Layers; len(l) != 2 || l[0].MediaType != ArtifactType || l[1].MediaType != SourceType {
		return Claims{}, none, fmt.Errorf("the artifact has not the two layers of claims")
	}
	doc, err := oci.ReadBlob(ctx, s, content.Layers[0], MaxDocument)
	if err != nil {
		return Claims{}, none, err
	}
	c, err := parse(doc)
	if err != nil {
		return Claims{}, none, err
	}
	source := content.Layers[1]
	if oci.Digest(source) != c.Source {
		return Claims{}, none, fmt.Errorf("the artifact holds the source %s, but the claims name %s", source.Digest, c.Source)
	}
	if source.Size > MaxTarball {
		return Claims{}, none, fmt.Errorf("the source archive has %d bytes, more than the limit of %d", source.Size, int64(MaxTarball))
	}
	return c, source, nil
}
