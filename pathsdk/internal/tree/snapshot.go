package tree

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Snapshot writes the tree below src to w as a tar archive and returns the
// digest of the archive. Files and folders whose base name is in exclude are
// left out, at any depth.
//
// The archive holds regular files and symbolic links, sorted by path, with
// mode 0644 or 0755, owner 0 and time 0. Folders are implied by what is in
// them: version control knows no empty folders either, so a clone and the
// folder it was made from have the same digest. Links that lead out of the
// tree, devices, sockets, pipes and names that are not UTF-8 are errors.
func Snapshot(src string, w io.Writer, exclude ...string) (step.Digest, error) {
	root, err := os.OpenRoot(src)
	if err != nil {
		return "", fmt.Errorf("open source: %w", err)
	}
	defer root.Close()
	entries, err := list(root, exclude)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(w, h))
	left := int64(MaxBytes)
	for _, e := range entries {
		n, err := add(tw, root, e, left)
		if err != nil {
			return "", err
		}
		left -= n
	}
	if err := tw.Close(); err != nil {
		return "", fmt.Errorf("write archive: %w", err)
	}
	return step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

// Digest returns the digest that Snapshot would return.
func Digest(src string, exclude ...string) (step.Digest, error) {
	return Snapshot(src, io.Discard, exclude...)
}

type entry struct {
	name string
	link bool
}

// list walks the tree without following links and returns what Snapshot
// archives, sorted by path.
func list(root *os.Root, exclude []string) ([]entry, error) {
	var entries []entry
	var walk func(dir string) error
	walk = func(dir string) error {
		f, err := root.Open(dir)
		if err != nil {
			return fmt.Errorf("read folder %q: %w", dir, err)
		}
		found, err := f.ReadDir(-1)
		f.Close()
		if err != nil {
			return fmt.Errorf("read folder %q: %w", dir, err)
		}
		for _, d := range found {
			if slices.Contains(exclude, d.Name()) {
				continue
			}
			name := path.Join(dir, d.Name())
			if err := checkName(name); err != nil {
				return err
			}
			switch t := d.Type(); {
			case t.IsDir():
				if err := walk(name); err != nil {
					return err
				}
			case t.IsRegular(), t&fs.ModeSymlink != 0:
				if len(entries) == MaxEntries {
					return fmt.Errorf("the source has more than %d files: is %q the folder of the service alone?", MaxEntries, root.Name())
				}
				entries = append(entries, entry{name, !t.IsRegular()})
			default:
				return bad(name, "is %s, not a file, folder or link: remove it from the source", kind(t))
			}
		}
		return nil
	}
	if err := walk("."); err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

func kind(t fs.FileMode) string {
	switch {
	case t&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case t&fs.ModeSocket != 0:
		return "a socket"
	case t&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// add writes one entry and returns the size of its content, at most left.
func add(tw *tar.Writer, root *os.Root, e entry, left int64) (int64, error) {
	if e.link {
		target, err := root.Readlink(e.name)
		if err != nil {
			return 0, fmt.Errorf("read link %q: %w", e.name, err)
		}
		if err := checkTarget(e.name, target); err != nil {
			return 0, err
		}
		if err := checkLink(root, e.name); err != nil {
			return 0, err
		}
		return 0, header(tw, &tar.Header{Typeflag: tar.TypeSymlink, Name: e.name, Linkname: target, Mode: 0o777})
	}
	// The entry may have changed since the folder was read: neither a link nor
	// a pipe in its place is followed or waited for.
	f, err := root.OpenFile(e.name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", e.name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read %q: %w", e.name, err)
	}
	if !fi.Mode().IsRegular() {
		return 0, bad(e.name, "changed while it was read: run again when nothing writes to the source")
	}
	size := fi.Size()
	if size > left {
		return 0, bad(e.name, "takes the source past %d MiB: keep large data out of the source", MaxBytes>>20)
	}
	mode := int64(0o644)
	if fi.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := header(tw, &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: size, Mode: mode}); err != nil {
		return 0, err
	}
	n, err := io.Copy(tw, io.LimitReader(f, size))
	if err != nil {
		return 0, fmt.Errorf("archive %q: %w", e.name, err)
	}
	if n != size {
		return 0, bad(e.name, "changed while it was read: run again when nothing writes to the source")
	}
	return size, nil
}

func header(tw *tar.Writer, h *tar.Header) error {
	h.ModTime = time.Unix(0, 0)
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %q: %w", h.Name, err)
	}
	return nil
}
