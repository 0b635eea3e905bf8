package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// PutBlob implements Writer.
func (r *Registry) PutBlob(ctx context.Context, mediaType string, content []byte) (v1.Descriptor, error) {
	desc, _ := blobDescriptor(mediaType, content)
	return desc, r.PutStream(ctx, desc, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
}

// PutStream implements Writer: one POST and one PUT ("Pushing a blob
// monolithically"), begun anew as a whole when something breaks.
func (r *Registry) PutStream(ctx context.Context, desc v1.Descriptor, open Opener) error {
	d, err := digestOf(desc)
	if err != nil {
		return err
	}
	r.mu.Lock()
	known := r.stored[d]
	r.mu.Unlock()
	if known {
		return nil
	}
	there, err := r.hasBlob(ctx, d, desc.Size)
	if err != nil {
		return err
	}
	w := newWaiter(r.opts.retry)
	for !there {
		again, after, err := r.upload(ctx, desc, d, open)
		if err == nil {
			break
		}
		if !again || ctx.Err() != nil || !w.wait(ctx, after) {
			return err
		}
	}
	r.mu.Lock()
	r.stored[d] = true
	r.mu.Unlock()
	return nil
}

func (r *Registry) hasBlob(ctx context.Context, d step.Digest, size int64) (bool, error) {
	resp, err := r.send(ctx, request{method: http.MethodHead, path: "blobs/" + string(d), push: true, what: "blob " + string(d)},
		http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	finish(resp)
	return resp.StatusCode == http.StatusOK && (resp.ContentLength < 0 || resp.ContentLength == size), nil
}

// upload sends a blob once. again tells whether it may be tried again, and after
// how long at least.
func (r *Registry) upload(ctx context.Context, desc v1.Descriptor, d step.Digest, open Opener) (again bool, after time.Duration, err error) {
	what := "upload of blob " + string(d)
	resp, err := r.send(ctx, request{method: http.MethodPost, path: "blobs/uploads/", push: true, what: what}, http.StatusAccepted, http.StatusCreated)
	if err != nil {
		return false, 0, err
	}
	finish(resp)
	if resp.StatusCode == http.StatusCreated {
		return false, 0, nil
	}
	loc, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return false, 0, r.errorf("%s: %w: the registry gave no place to send it to", what, ErrContent)
	}
	loc = resp.Request.URL.ResolveReference(loc)
	query := loc.Query()
	query.Set("digest", string(d))
	loc.RawQuery = query.Encode()

	// An error of the content is not the registry's, whatever becomes of the
	// request.
	src := &source{ctx: ctx, desc: desc, opener: open}
	body := src.open
	if desc.Size == 0 {
		body = nil
	}
	sctx := context.WithValue(context.WithValue(ctx, streamKey{}, true), onceKey{}, true)
	resp, err = r.send(sctx, request{
		method: http.MethodPut, url: loc, contentType: "application/octet-stream", size: desc.Size, body: body, push: true, what: what,
	}, http.StatusCreated, http.StatusNoContent)
	if serr := src.failed(); serr != nil {
		if err == nil {
			finish(resp)
		}
		return false, 0, serr
	}
	if err != nil {
		again, after = passing(err)
		return again, after, err
	}
	finish(resp)
	return false, 0, nil
}

// source is the content of an upload, opened when the first byte is asked for.
type source struct {
	ctx    context.Context // that of the PutStream call
	desc   v1.Descriptor
	opener Opener

	mu  sync.Mutex
	err error
}

func (s *source) open() (io.ReadCloser, error) { return &sourceBody{source: s}, nil }

// failed returns the error that the content itself gave.
func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

type sourceBody struct {
	source *source
	body   io.ReadCloser
}

func (b *sourceBody) Read(p []byte) (int, error) {
	var n int
	var err error
	if b.body == nil {
		var src io.ReadCloser
		if src, err = b.source.opener(b.source.ctx); err == nil {
			b.body = verified(src, b.source.desc)
		}
	}
	if err == nil {
		n, err = b.body.Read(p)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.source.mu.Lock()
		b.source.err = err
		b.source.mu.Unlock()
	}
	return n, err
}

func (b *sourceBody) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}
