package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// PutManifest implements Writer.
func (r *Registry) PutManifest(ctx context.Context, mediaType string, content []byte, tag string) (v1.Descriptor, error) {
	if err := checkTag(tag); err != nil {
		return v1.Descriptor{}, err
	}
	c, mt, err := parse(mediaType, content)
	if err != nil {
		return v1.Descriptor{}, r.errorf("manifest: %w: %w", ErrContent, err)
	}
	desc, d := blobDescriptor(mt, content)
	reference := tag
	if tag == "" {
		reference = string(d)
		there, err := r.hasManifest(ctx, d)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if there {
			return desc, r.announce(ctx, desc, c, "")
		}
	}
	resp, err := r.putManifest(ctx, mt, content, reference)
	if err != nil {
		return v1.Descriptor{}, err
	}
	r.remember(Manifest{MediaType: mt, Digest: d, Bytes: slices.Clone(content)})
	return desc, r.announce(ctx, desc, c, resp.Header.Get("OCI-Subject"))
}

// hasManifest asks by HEAD; a registry that answers oddly is sent the manifest.
func (r *Registry) hasManifest(ctx context.Context, d step.Digest) (bool, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodHead, path: "manifests/" + string(d), accept: acceptManifests(), push: true, what: "manifest " + string(d),
	}, http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed)
	if err != nil {
		return false, err
	}
	finish(resp)
	return resp.StatusCode == http.StatusOK, nil
}

// putManifest returns the answer with its body closed.
func (r *Registry) putManifest(ctx context.Context, mediaType string, content []byte, reference string) (*http.Response, error) {
	resp, err := r.send(ctx, request{
		method: http.MethodPut, path: "manifests/" + reference, push: true, contentType: mediaType, size: int64(len(content)),
		body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		what: "manifest " + reference,
	}, http.StatusOK, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	finish(resp)
	return resp, nil
}

// announce makes a manifest with a subject visible among its referrers, where
// the registry doesn't do it itself (distribution specification, "Pushing
// Manifests with Subject").
func (r *Registry) announce(ctx context.Context, desc v1.Descriptor, c Content, ociSubject string) error {
	if c.Subject == nil || ociSubject != "" {
		return nil
	}
	subject := Digest(*c.Subject)
	supported, err := r.hasReferrersAPI(ctx, subject)
	if err != nil || supported {
		return err
	}
	desc.ArtifactType = c.ArtifactType
	desc.Annotations = c.Annotations
	return r.addFallback(ctx, subject, desc)
}

// hasReferrersAPI asks once in the life of the Registry: the answer is about
// the registry, not about the subject.
func (r *Registry) hasReferrersAPI(ctx context.Context, subject step.Digest) (bool, error) {
	r.fallback.mu.Lock()
	known := r.fallback.api
	r.fallback.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	_, supported, err := r.referrersAPI(ctx, subject)
	// More referrers than we read is an answer, too.
	if err != nil && !errors.Is(err, ErrContent) {
		return false, err
	}
	r.fallback.mu.Lock()
	r.fallback.api = &supported
	r.fallback.mu.Unlock()
	return supported, nil
}
