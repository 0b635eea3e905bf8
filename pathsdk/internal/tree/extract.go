package tree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// Extract writes the archive in r to the folder dst, which must exist and be
// empty. It trusts nothing in the archive: names and links that lead out of
// dst, repeated names, other kinds of entries than Snapshot writes, and
// archives above the limits are errors. After an error dst holds a part of the
// archive and must be thrown away.
//
// The rest of r after the end of the archive is not read.
func Extract(r io.Reader, dst string, limits Limits) error {
	root, err := os.OpenRoot(dst)
	if err != nil {
		return fmt.Errorf("open destination: %w", err)
	}
	defer root.Close()
	x := extractor{root: root, limits: limits.withDefaults(), made: map[string]bool{".": true}, buf: make([]byte, 128<<10)}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := x.entry(tr, h); err != nil {
			return err
		}
	}
	return x.links()
}

type extractor struct {
	root   *os.Root
	limits Limits
	made   map[string]bool // folders that exist
	link   [][2]string     // name and target, made last
	buf    []byte
	count  int
	bytes  int64
}

func (x *extractor) entry(tr *tar.Reader, h *tar.Header) error {
	if err := checkName(h.Name); err != nil {
		return err
	}
	if x.count++; x.count > x.limits.Entries {
		return fmt.Errorf("the archive has more than %d entries", x.limits.Entries)
	}
	if err := x.parents(path.Dir(h.Name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return x.file(tr, h)
	case tar.TypeSymlink:
		if err := checkTarget(h.Name, h.Linkname); err != nil {
			return err
		}
		// Made after all files, so that no file is ever written through one.
		x.link = append(x.link, [2]string{h.Name, h.Linkname})
		return nil
	}
	return bad(h.Name, "has type %q in the archive: only files and symbolic links are allowed", h.Typeflag)
}

func (x *extractor) parents(dir string) error {
	if x.made[dir] {
		return nil
	}
	if err := x.root.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder %q: %w", dir, err)
	}
	for ; !x.made[dir]; dir = path.Dir(dir) {
		x.made[dir] = true
	}
	return nil
}

func (x *extractor) file(tr *tar.Reader, h *tar.Header) error {
	if x.bytes += h.Size; h.Size < 0 || x.bytes > x.limits.Bytes {
		return fmt.Errorf("the archive holds more than %d bytes", x.limits.Bytes)
	}
	mode := os.FileMode(0o644)
	if h.Mode&0o100 != 0 {
		mode = 0o755
	}
	f, err := x.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("extract %q: %w", h.Name, err)
	}
	// Hiding ReadFrom keeps the copy in one buffer for the whole archive.
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{io.LimitReader(tr, h.Size)}, x.buf)
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("extract %q: %w", h.Name, err)
	}
	return nil
}

// links makes the symbolic links, and then follows each: only now do the links
// that it may pass through exist.
func (x *extractor) links() error {
	for _, l := range x.link {
		if err := x.root.Symlink(l[1], l[0]); err != nil {
			return fmt.Errorf("extract %q: %w", l[0], err)
		}
	}
	for _, l := range x.link {
		if err := checkLink(x.root, l[0]); err != nil {
			return err
		}
	}
	return nil
}
