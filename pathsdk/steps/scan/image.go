package scan

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// configName is how a report calls an image's configuration.
const configName = "(image configuration)"

// scanImages looks for secrets in every layer of every image, each layer once,
// and in the configurations: a file that a later layer hides is still there for
// everybody who pulls the image.
func scanImages(ctx context.Context, s oci.Store, images []oci.Image, l limits, jobs int) (secretResults, error) {
	type part struct {
		desc   v1.Descriptor
		config bool
		result secretResult
	}
	parts := map[v1.Hash]*part{}
	of := map[step.Digest][]*part{}
	for _, img := range images {
		m, err := s.Manifest(ctx, img.Digest)
		if err != nil {
			return nil, err
		}
		c, err := m.Content()
		if err != nil {
			return nil, err
		}
		add := func(d v1.Descriptor, config bool) {
			p := parts[d.Digest]
			if p == nil {
				p = &part{desc: d, config: config}
				parts[d.Digest] = p
			}
			of[img.Digest] = append(of[img.Digest], p)
		}
		if c.Config != nil {
			add(*c.Config, true)
		}
		for _, d := range c.Layers {
			add(d, false)
		}
	}
	var unpacked atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, jobs))
	for _, p := range parts {
		g.Go(func() (err error) {
			if p.config {
				p.result, err = scanConfig(gctx, s, p.desc, l)
			} else {
				p.result, err = scanLayer(gctx, s, p.desc, l, &unpacked)
			}
			if err != nil {
				return fmt.Errorf("look for secrets in %s: %w", p.desc.Digest, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	results := secretResults{}
	for d, ps := range of {
		var r secretResult
		for _, p := range ps {
			r.secrets = append(r.secrets, p.result.secrets...)
			r.coverage.add(p.result.coverage)
		}
		results[d] = r
	}
	return results, nil
}

func scanConfig(ctx context.Context, s oci.Store, d v1.Descriptor, l limits) (secretResult, error) {
	b, err := oci.ReadBlob(ctx, s, d, oci.MaxConfig)
	if err != nil {
		return secretResult{}, err
	}
	// A rule may want a word to start at the start of a line, not in JSON.
	found, _ := l.scanFile(TargetImage, configName, bytes.ReplaceAll(b, []byte(`"`), []byte("\n")))
	for i := range found {
		found[i].Line = 0
	}
	return secretResult{secrets: found, coverage: Coverage{Files: 1, Bytes: int64(len(b))}}, nil
}

func scanLayer(ctx context.Context, s oci.Store, d v1.Descriptor, l limits, unpacked *atomic.Int64) (secretResult, error) {
	blob, err := s.Blob(ctx, d)
	if err != nil {
		return secretResult{}, err
	}
	defer blob.Close()
	raw := bufio.NewReaderSize(&ctxReader{ctx, blob}, 256<<10)
	r, err := scanTar(raw, l, unpacked)
	if err != nil {
		return r, err
	}
	// Only what is read to its end has the digest that it is said to have.
	_, err = io.Copy(io.Discard, raw)
	return r, err
}

// scanTar scans the files of one layer, gzip, zstd or plain.
func scanTar(raw *bufio.Reader, l limits, unpacked *atomic.Int64) (r secretResult, err error) {
	plain, done, err := decompress(raw)
	if err != nil {
		return r, err
	}
	defer done()
	counted := &countingReader{r: plain, n: unpacked, limit: l.content}
	tr := tar.NewReader(bufio.NewReaderSize(counted, 64<<10))
	for range l.files {
		hdr, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF):
			return r, nil
		case errors.Is(err, errBounded):
			r.coverage.Truncated = true
			return r, nil
		case err != nil:
			return r, err
		}
		if hdr.Typeflag != tar.TypeReg {
			continue
		}
		// Rules know paths without a leading slash.
		name := strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
		if !l.worthwhile(name, hdr.Size) {
			r.coverage.Skipped++
			continue
		}
		if hdr.Size > l.binary {
			// Most that is large is a program: look before reading it all.
			skip, rest, err := peekBinary(tr)
			if err != nil && !errors.Is(err, errBounded) {
				return r, err
			}
			if skip {
				r.coverage.Skipped++
				continue
			}
			r.scan(l, name, hdr.Size, rest)
			continue
		}
		r.scan(l, name, hdr.Size, tr)
	}
	r.coverage.Truncated = true
	return r, nil
}

// scan adds one file's secrets. A read error shows itself again at the next
// entry.
func (r *secretResult) scan(l limits, name string, size int64, content io.Reader) {
	b, err := readAll(content, size, l.text)
	if err != nil {
		return
	}
	found, scanned := l.scanFile(TargetImage, name, b)
	if !scanned {
		r.coverage.Skipped++
		return
	}
	for i := range found {
		found[i].File = "/" + found[i].File
	}
	r.secrets = append(r.secrets, found...)
	r.coverage.Files++
	r.coverage.Bytes += int64(len(b))
}

func peekBinary(r io.Reader) (bool, io.Reader, error) {
	head := make([]byte, 8000)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil, err
	}
	return isBinary(head[:n]), io.MultiReader(bytes.NewReader(head[:n]), r), nil
}

func decompress(raw *bufio.Reader) (io.Reader, func(), error) {
	magic, err := raw.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		gz, err := gzip.NewReader(raw)
		if err != nil {
			return nil, nil, err
		}
		return gz, func() { gz.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return raw, func() {}, nil
}

// countingReader ends with errBounded when all readers together passed a limit.
type countingReader struct {
	r     io.Reader
	n     *atomic.Int64
	limit int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	if c.n.Load() > c.limit {
		return 0, errBounded
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// ctxReader ends a long read when its work is cancelled.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
