package vulndb

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// unpack writes the two files of a packed database into dir. Everything else
// that an archive can hold is an error; so are other bytes than want names.
func (c cache) unpack(ctx context.Context, dir string, r io.Reader, want step.Digest) error {
	h := newHash()
	src := io.TeeReader(&ctxReader{ctx, r}, h)
	gz, err := gzip.NewReader(src)
	if err != nil {
		return fmt.Errorf("unpack: not a gzipped tar: %w", err)
	}
	tr := tar.NewReader(gz)
	missing := map[string]bool{trivydb.DBFile: true, trivydb.MetadataFile: true}
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		name := path.Clean(hdr.Name)
		if hdr.Typeflag == tar.TypeDir && name == "." {
			continue
		}
		if hdr.Typeflag != tar.TypeReg || !missing[name] {
			return fmt.Errorf("unpack: unexpected entry %.100q: want %s and %s, once each", hdr.Name, trivydb.DBFile, trivydb.MetadataFile)
		}
		delete(missing, name)
		limit := c.limit
		if name == trivydb.MetadataFile {
			limit = trivydb.MaxMetadata
		}
		if err := writeFile(filepath.Join(dir, name), tr, limit); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	for name := range missing {
		return fmt.Errorf("unpack: %s is missing", name)
	}
	// The digest covers what follows the archive's end as well; a bomb there
	// is read as it is, compressed.
	if _, err := io.Copy(io.Discard, src); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if got := asDigest(h); got != want {
		return fmt.Errorf("its bytes have the digest %s, not %s", got, want)
	}
	return nil
}

func writeFile(name string, r io.Reader, limit int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(f, io.LimitReader(r, limit+1), make([]byte, 1<<20))
	if err == nil && n > limit {
		err = fmt.Errorf("larger than the limit of %d bytes", limit)
	}
	return errors.Join(err, f.Close())
}

// copyFile copies a file and returns the digest of what it copied.
func copyFile(ctx context.Context, dst, src string, limit int64) (step.Digest, error) {
	f, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := newHash()
	if err := writeFile(dst, io.TeeReader(&ctxReader{ctx, f}, h), limit); err != nil {
		return "", fmt.Errorf("copy %s: %w", src, err)
	}
	return asDigest(h), nil
}
