package sbom

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync/atomic"
)

// tree is the file system that an image's layers make together, as a container
// runtime would unpack them. Content of regular files stands in one spool, so
// that nothing of a producer's choosing ever becomes a path on this host.
type tree struct {
	root   *node
	layers []string // digests, by index
	spool  io.ReaderAt
	limits limits

	entries int
	names   int64
	visits  int
	size    int64
	steps   atomic.Int64 // path elements followed
}

type kind uint8

const (
	kindDir kind = iota
	kindFile
	kindLink  // symbolic link
	kindOther // devices and the like, which hide what lies below them
)

// node is one name in the tree.
type node struct {
	name     string
	length   int // of its path
	parent   *node
	children map[string]*node
	kind     kind
	layer    int
	exec     bool // has an execute bit
	target   string
	off      int64
	size     int64
	// unread is why the content isn't in the spool; empty if it is.
	unread string
	// magic holds the first bytes of the content.
	magic [4]byte
}

const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// maxLinks is how many symbolic links Linux follows in one path.
	maxLinks = 40
)

var errTooComplex = errors.New("its layers delete, replace and link too much to follow")

func newTree(lim limits) *tree {
	return &tree{root: &node{kind: kindDir, layer: -1}, limits: lim}
}

// path returns the absolute path of a node.
func (n *node) path() string {
	if n.parent == nil {
		return "/"
	}
	var parts []string
	for m := n; m.parent != nil; m = m.parent {
		parts = append(parts, m.name)
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// apply adds one layer; save stores the content of a regular file and fills in
// where it is.
func (t *tree) apply(digest string, r *tar.Reader, save func(*node, io.Reader) error) error {
	layer := len(t.layers)
	t.layers = append(t.layers, digest)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if err := t.add(layer, h, r, save); err != nil {
			return err
		}
	}
}

func (t *tree) add(layer int, h *tar.Header, r io.Reader, save func(*node, io.Reader) error) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeRegA, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeGNUSparse: //nolint:staticcheck // old archives
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeCont:
	default:
		return nil // extended headers of other tools
	}
	if t.entries++; t.entries > t.limits.entries {
		return fmt.Errorf("it has more than %d files", t.limits.entries)
	}
	t.names += int64(len(h.Linkname))
	if len(h.Name) > t.limits.path || len(h.Linkname) > t.limits.path {
		return fmt.Errorf("the name %.40q… is longer than %d bytes", h.Name, t.limits.path)
	}
	name := path.Clean("/" + h.Name)
	if name == "/" {
		return nil
	}
	dir, err := t.mkdir(layer, path.Dir(name))
	if err != nil {
		return err
	}
	if dir == nil {
		return nil // below something that is no folder: a runtime fails here
	}
	base := path.Base(name)
	if base == whiteoutOpaque {
		return t.prune(dir, layer)
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		return t.remove(dir, hidden, layer)
	}

	n := &node{name: base, parent: dir, layer: layer, exec: h.Mode&0o111 != 0}
	switch h.Typeflag {
	case tar.TypeDir:
		n.kind = kindDir
		if old := dir.children[base]; old != nil && old.kind == kindDir {
			old.layer = layer
			return nil
		}
	case tar.TypeSymlink:
		n.kind, n.target = kindLink, h.Linkname
	case tar.TypeLink:
		old := t.lookup(path.Clean("/"+h.Linkname), false)
		if old == nil {
			return nil
		}
		n.kind, n.target, n.off, n.size = old.kind, old.target, old.off, old.size
		n.unread, n.magic, n.exec = old.unread, old.magic, old.exec
		if n.kind == kindDir {
			n.kind = kindOther
		}
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse: //nolint:staticcheck // old archives
		n.kind, n.size = kindFile, h.Size
		if t.size += h.Size; h.Size < 0 || t.size > t.limits.unpacked {
			return fmt.Errorf("it unpacks to more than %d bytes", t.limits.unpacked)
		}
		if err := save(n, r); err != nil {
			return fmt.Errorf("unpack %.200q: %w", name, err)
		}
	default:
		n.kind = kindOther
	}
	return t.put(n)
}

// put gives a node its place. Short names in deep folders, reached through
// links, make long paths: what counts is the text of whole paths.
func (t *tree) put(n *node) error {
	n.length = n.parent.length + 1 + len(n.name)
	if n.length > t.limits.path {
		return fmt.Errorf("the path %.40q… is longer than %d bytes", n.path(), t.limits.path)
	}
	if t.names += int64(n.length); t.names > t.limits.names {
		return fmt.Errorf("its file names take more than %d bytes", t.limits.names)
	}
	if n.parent.children == nil {
		n.parent.children = map[string]*node{}
	}
	n.parent.children[n.name] = n
	return nil
}

// mkdir finds the folder of that path, following links as a runtime does, and
// makes what is missing. It returns nil below something that is no folder.
func (t *tree) mkdir(layer int, dir string) (*node, error) {
	n, rest := t.walk(dir, true)
	if n == nil || n.kind != kindDir {
		return nil, nil
	}
	for _, name := range rest {
		if t.entries++; t.entries > t.limits.entries {
			return nil, fmt.Errorf("it has more than %d files", t.limits.entries)
		}
		c := &node{name: name, parent: n, kind: kindDir, layer: layer}
		if err := t.put(c); err != nil {
			return nil, err
		}
		n = c
	}
	return n, nil
}

// remove hides a name of the layers below.
func (t *tree) remove(dir *node, name string, layer int) error {
	n := dir.children[name]
	if n == nil {
		return nil
	}
	if err := t.prune(n, layer); err != nil {
		return err
	}
	if n.layer < layer && len(n.children) == 0 {
		delete(dir.children, name)
	}
	return nil
}

// prune removes everything below n that comes from a layer below.
func (t *tree) prune(n *node, layer int) error {
	for name, c := range n.children {
		if t.visits++; t.visits > t.limits.visits {
			return errTooComplex
		}
		if err := t.prune(c, layer); err != nil {
			return err
		}
		if c.layer < layer && len(c.children) == 0 {
			delete(n.children, name)
		}
	}
	return nil
}

// lookup finds the node of a path, following links in it; the last element only
// if follow is set. It returns nil for a path that doesn't exist, and for links
// in a circle.
func (t *tree) lookup(p string, follow bool) *node {
	n, rest := t.walk(p, follow)
	if len(rest) > 0 {
		return nil
	}
	return n
}

// walk goes as far along a path as it exists, and returns the last node and the
// elements that are missing below it. A path through links in a circle, or
// below something that is no folder, gives nil.
func (t *tree) walk(p string, follow bool) (*node, []string) {
	n, rest := t.root, elements(p)
	for links := 0; len(rest) > 0; {
		if t.steps.Add(1) > t.limits.steps {
			return nil, nil // the reader of the image checks, and refuses it
		}
		name := rest[0]
		switch name {
		case ".":
			rest = rest[1:]
			continue
		case "..":
			if n.parent != nil {
				n = n.parent
			}
			rest = rest[1:]
			continue
		}
		if n.kind != kindDir {
			return nil, nil
		}
		c := n.children[name]
		if c == nil {
			if slices.Contains(rest, "..") {
				return nil, nil // a way back out of what doesn't exist
			}
			return n, rest
		}
		rest = rest[1:]
		if c.kind != kindLink || (len(rest) == 0 && !follow) {
			n = c
			continue
		}
		if links++; links > maxLinks {
			return nil, nil
		}
		if path.IsAbs(c.target) {
			n = t.root
		}
		rest = append(elements(c.target), rest...)
		if len(rest) > 2*t.limits.path {
			return nil, nil
		}
	}
	return n, nil
}

func elements(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// each calls f for every node that is no folder, in the order of names within
// folders.
func (t *tree) each(f func(*node)) {
	var walk func(*node)
	walk = func(n *node) {
		names := make([]string, 0, len(n.children))
		for name := range n.children {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			c := n.children[name]
			if c.kind != kindDir {
				f(c)
			}
			walk(c)
		}
	}
	walk(t.root)
}

// open returns the content of a regular file.
func (t *tree) open(n *node, limit int64) (*io.SectionReader, error) {
	switch {
	case n.kind != kindFile:
		return nil, fmt.Errorf("%.200q is no regular file", n.path())
	case n.unread != "":
		return nil, fmt.Errorf("%.200q: %s", n.path(), n.unread)
	case n.size > limit:
		return nil, fmt.Errorf("%.200q is larger than %d bytes", n.path(), limit)
	}
	return io.NewSectionReader(t.spool, n.off, n.size), nil
}
