package oci

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// emptyType is the media type of an empty configuration (image specification,
// "Guidance for an Empty Descriptor").
const emptyType = "application/vnd.oci.empty.v1+json"

// Artifact is one payload that hangs on an image.
type Artifact struct {
	// ArtifactType says what it is.
	ArtifactType string
	// MediaType is the payload's; ArtifactType when empty.
	MediaType string
	Payload   []byte
	// Annotations of the manifest. The same annotations give the same digest:
	// a time among them is the caller's.
	Annotations map[string]string
}

// Attach writes an artifact whose subject is an image, and makes it visible
// among its referrers. The manifest has the form in which cosign writes
// Sigstore bundles. To attach the same artifact again changes nothing.
func Attach(ctx context.Context, w Writer, subject v1.Descriptor, a Artifact) (step.Digest, error) {
	if a.ArtifactType == "" {
		return "", fmt.Errorf("attach to %s: the artifact has no type", subject.Digest)
	}
	if a.MediaType == "" {
		a.MediaType = a.ArtifactType
	}
	if _, err := digestOf(subject); err != nil {
		return "", fmt.Errorf("attach: subject: %w", err)
	}
	config, err := w.PutBlob(ctx, emptyType, []byte("{}"))
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", subject.Digest, err)
	}
	layer, err := w.PutBlob(ctx, a.MediaType, a.Payload)
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", subject.Digest, err)
	}
	config.ArtifactType = a.ArtifactType
	manifest, err := json.Marshal(artifactManifest{
		Manifest: v1.Manifest{
			SchemaVersion: 2,
			MediaType:     types.OCIManifestSchema1,
			Config:        config,
			Layers:        []v1.Descriptor{layer},
			Annotations:   a.Annotations,
			Subject:       &v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
		},
		ArtifactType: a.ArtifactType,
	})
	if err != nil {
		return "", err
	}
	desc, err := w.PutManifest(ctx, string(types.OCIManifestSchema1), manifest, "")
	if err != nil {
		return "", fmt.Errorf("attach to %s: %w", subject.Digest, err)
	}
	return Digest(desc), nil
}

// artifactManifest adds the field of version 1.1 of the specification that the
// library's type lacks.
type artifactManifest struct {
	v1.Manifest
	ArtifactType string `json:"artifactType,omitempty"`
}
