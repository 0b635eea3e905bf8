package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Blob implements Store. A connection that breaks is resumed where it broke.
func (r *Registry) Blob(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	d, err := digestOf(desc)
	if err != nil {
		return nil, err
	}
	b := &blobBody{r: r, ctx: ctx, digest: d, size: desc.Size, wait: newWaiter(r.opts.retry)}
	if err := b.open(); err != nil {
		return nil, err
	}
	return verified(b, desc), nil
}

// blobBody reads a blob's bytes over as many connections as it takes.
type blobBody struct {
	r      *Registry
	ctx    context.Context // that of the Blob call which this reader is the result of
	digest step.Digest
	size   int64
	at     int64
	body   io.ReadCloser
	wait   *waiter
}

func (b *blobBody) what() string { return "blob " + string(b.digest) }

func (b *blobBody) open() error {
	q := request{path: "blobs/" + string(b.digest), what: b.what()}
	if b.at > 0 {
		q.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.at, b.size-1)}}
	}
	ctx := context.WithValue(b.ctx, streamKey{}, true)
	resp, err := b.r.send(ctx, q, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	skip, left := int64(0), b.size-b.at
	if resp.StatusCode == http.StatusOK {
		skip, left = b.at, b.size
	} else if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.at)) {
		resp.Body.Close()
		return b.r.errorf("%s: %w: asked for the bytes from %d, got %.40q", b.what(), ErrContent, b.at, resp.Header.Get("Content-Range"))
	}
	if n := resp.ContentLength; n >= 0 && n != left {
		resp.Body.Close()
		return b.r.errorf("%s: %w: the registry sends %d bytes, want %d", b.what(), ErrContent, n, left)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
		resp.Body.Close()
		return b.r.failed(b.what(), err)
	}
	b.body = resp.Body
	return nil
}

func (b *blobBody) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.at += int64(n)
		ended := errors.Is(err, io.EOF)
		if n > 0 && err != nil && !ended {
			return n, nil // the error comes again, or the next Read resumes
		}
		if err == nil || ended && b.at >= b.size {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if ended {
			err = io.ErrUnexpectedEOF
		}
		if b.ctx.Err() != nil {
			return 0, context.Cause(b.ctx)
		}
		if !temporaryError(err) || !b.wait.wait(b.ctx, 0) {
			return 0, b.r.failed(b.what(), err)
		}
		b.body.Close()
		if err := b.open(); err != nil {
			return 0, err
		}
	}
}

func (b *blobBody) Close() error { return b.body.Close() }
