package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// ReadBlob returns a blob's verified bytes. A blob of more than limit bytes is
// an error before anything is read.
func ReadBlob(ctx context.Context, s Store, desc v1.Descriptor, limit int64) ([]byte, error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("blob %s: %w: %d bytes, more than the limit of %d", desc.Digest, ErrContent, desc.Size, limit)
	}
	r, err := s.Blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readBounded(r, limit, desc.Size)
}

// PutFile writes a regular file as a blob, without holding it in memory.
func PutFile(ctx context.Context, w Writer, mediaType, path string) (v1.Descriptor, error) {
	f, err := os.Open(path)
	if err != nil {
		return v1.Descriptor{}, err
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	f.Close()
	if err != nil {
		return v1.Descriptor{}, err
	}
	desc := v1.Descriptor{
		MediaType: types.MediaType(mediaType),
		Size:      n,
		Digest:    v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))},
	}
	// Should the file change in between, its bytes no longer fit the digest and
	// the writer refuses them.
	return desc, w.PutStream(ctx, desc, func(context.Context) (io.ReadCloser, error) { return os.Open(path) })
}

// verified reads exactly the bytes that a descriptor names from src.
func verified(src io.ReadCloser, desc v1.Descriptor) io.ReadCloser {
	return &verifier{src: src, desc: desc, left: desc.Size, sum: sha256.New()}
}

type verifier struct {
	src  io.ReadCloser
	desc v1.Descriptor
	left int64
	sum  hash.Hash
	err  error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if v.left == 0 {
		v.err = v.end()
		return 0, v.err
	}
	if int64(len(p)) > v.left {
		p = p[:v.left]
	}
	n, err := v.src.Read(p)
	v.sum.Write(p[:n])
	v.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && v.left > 0:
		v.err = fmt.Errorf("blob %s: %w: it ends %d bytes early", v.desc.Digest, ErrContent, v.left)
		return n, v.err
	case errors.Is(err, io.EOF):
		return n, nil // the end is judged by the next Read
	case err != nil:
		v.err = err
	}
	return n, err
}

// end judges the blob when all of its bytes are read. A digest that doesn't fit
// is reported before io.EOF, so that nobody takes the bytes for good.
func (v *verifier) end() error {
	var more [1]byte
	for {
		n, err := v.src.Read(more[:])
		if n > 0 {
			return fmt.Errorf("blob %s: %w: it is longer than %d bytes", v.desc.Digest, ErrContent, v.desc.Size)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.desc.Digest.Hex {
		return fmt.Errorf("blob %s: %w: its bytes have the digest sha256:%s", v.desc.Digest, ErrContent, got)
	}
	return io.EOF
}

func (v *verifier) Close() error { return v.src.Close() }

// blobDescriptor names content that is at hand.
func blobDescriptor(mediaType string, content []byte) (v1.Descriptor, step.Digest) {
	d := DigestOf(content)
	return descriptor(mediaType, d, content), d
}
