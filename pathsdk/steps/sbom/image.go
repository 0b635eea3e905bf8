package sbom

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// image is one platform's image, unpacked into a spool.
type image struct {
	digest   step.Digest
	platform platform
	config   step.Digest
	layers   []v1.Descriptor
	tree     *tree
	spool    *os.File
}

// platform is what an image runs on, as its configuration says.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// platformPart is what GOOS, GOARCH and variants look like. The parts become
// file names.
var platformPart = regexp.MustCompile(`^[a-z0-9][a-z0-9_.]{0,31}$`)

func (p platform) check() error {
	for _, s := range []string{p.OS, p.Architecture} {
		if !platformPart.MatchString(s) {
			return fmt.Errorf("its configuration names the platform %.40q, which is none; build it for a platform such as linux/amd64", p.OS+"/"+p.Architecture)
		}
	}
	if p.Variant != "" && !platformPart.MatchString(p.Variant) {
		return fmt.Errorf("its configuration names the variant %.40q, which is none", p.Variant)
	}
	return nil
}

// String is the usual form, such as linux/arm/v7.
func (p platform) String() string { return p.join("/") }

func (p platform) join(sep string) string {
	s := p.OS + sep + p.Architecture
	if p.Variant != "" {
		s += sep + p.Variant
	}
	return s
}

// open unpacks an image. Close it to free the spool, a file below work.
func open(ctx context.Context, s oci.Store, d step.Digest, work string, lim limits) (*image, error) {
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	c, err := m.Content()
	if err != nil {
		return nil, err
	}
	if c.Index || c.Config == nil {
		return nil, fmt.Errorf("manifest %s is no image", d)
	}
	if len(c.Layers) > lim.layers {
		return nil, fmt.Errorf("image %s has %d layers, more than the limit of %d", d, len(c.Layers), lim.layers)
	}
	raw, err := oci.ReadBlob(ctx, s, *c.Config, lim.config)
	if err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", d, err)
	}
	img := &image{digest: d, config: oci.DigestOf(raw), layers: c.Layers, tree: newTree(lim)}
	if err := json.Unmarshal(raw, &img.platform); err != nil {
		return nil, fmt.Errorf("configuration of image %s is no JSON object: %w", d, err)
	}
	if err := img.platform.check(); err != nil {
		return nil, fmt.Errorf("image %s: %w", d, err)
	}
	if img.spool, err = os.CreateTemp(work, "spool-*"); err != nil {
		return nil, fmt.Errorf("make a spool for image %s: %w", d, err)
	}
	img.tree.spool = img.spool
	// Hidden behind io.Writer, because os.File would take a new buffer for every
	// file that is copied to it.
	w := &spool{w: bufio.NewWriterSize(struct{ io.Writer }{img.spool}, 256<<10), limits: lim}
	for _, l := range c.Layers {
		if err := img.unpack(ctx, s, l, w); err != nil {
			img.Close()
			return nil, fmt.Errorf("layer %s of image %s: %w", l.Digest, d, err)
		}
	}
	if err := w.w.Flush(); err != nil {
		img.Close()
		return nil, fmt.Errorf("unpack image %s: %w\n  fix: free space where temporary files are", d, err)
	}
	return img, nil
}

// Close frees the spool.
func (img *image) Close() error {
	err := img.spool.Close()
	if rerr := os.Remove(img.spool.Name()); err == nil {
		err = rerr
	}
	return err
}

func (img *image) unpack(ctx context.Context, s oci.Store, l v1.Descriptor, w *spool) error {
	blob, err := s.Blob(ctx, l)
	if err != nil {
		return err
	}
	defer blob.Close()
	raw := &contextReader{ctx: ctx, r: blob}
	buffered := bufio.NewReaderSize(raw, 64<<10)
	r, err := decompress(buffered)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := img.tree.apply(l.Digest.String(), tar.NewReader(r), w.save); err != nil {
		return err
	}
	// What follows the archive is no part of it, but of the blob: its digest
	// is checked at the end.
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return fmt.Errorf("read to the end: %w", err)
	}
	return nil
}

// decompress goes by the first bytes, as container runtimes do.
func decompress(r *bufio.Reader) (io.ReadCloser, error) {
	magic, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return z, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// spool collects the contents of regular files one after the other.
type spool struct {
	w      *bufio.Writer
	off    int64
	limits limits
}

func (s *spool) save(n *node, r io.Reader) error {
	if n.size > s.limits.file {
		n.unread = fmt.Sprintf("larger than %d bytes, not examined", s.limits.file)
		return nil
	}
	n.off = s.off
	k, err := io.ReadFull(r, n.magic[:min(n.size, int64(len(n.magic)))])
	if err != nil {
		return err
	}
	if _, err := s.w.Write(n.magic[:k]); err != nil {
		return err
	}
	rest, err := io.Copy(s.w, r)
	s.off += int64(k) + rest
	if err == nil && int64(k)+rest != n.size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
