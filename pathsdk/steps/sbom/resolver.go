package sbom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	sfile "github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/syft/syft/file"
	"github.com/bmatcuk/doublestar/v4"
)

// resolver shows a tree to syft's catalogers.
type resolver struct {
	tree *tree
	// files are all names that lead to a regular file, in order of path.
	files  []found
	byBase map[string][]int
	// programs are the executables that catalogers may parse.
	programs []found
	// flooded is set when a search found more files than an image may have
	// packages. A cataloger would take an error for no find.
	flooded *atomic.Bool
	// blind makes every search by pattern empty: the Go cataloger searches for
	// licences with patterns that it makes of module names, which the producer
	// chose.
	blind bool
}

type found struct {
	access string
	node   *node
}

var _ file.Resolver = (*resolver)(nil)

func newResolver(t *tree) *resolver {
	r := &resolver{tree: t, byBase: map[string][]int{}, flooded: new(atomic.Bool)}
	t.each(func(n *node) {
		target := n
		access := n.path()
		if n.kind == kindLink {
			target = t.lookup(access, true)
		}
		if target == nil || target.kind != kindFile {
			return
		}
		r.byBase[n.name] = append(r.byBase[n.name], len(r.files))
		r.files = append(r.files, found{access: access, node: target})
	})
	return r
}

// regular lists every regular file once.
func (r *resolver) regular() []found {
	var fs []found
	for _, f := range r.files {
		if f.node.path() == f.access {
			fs = append(fs, f)
		}
	}
	return fs
}

func (r *resolver) location(f found) file.Location {
	c := file.Coordinates{RealPath: f.node.path()}
	if l := f.node.layer; l >= 0 && l < len(r.tree.layers) {
		c.FileSystemID = r.tree.layers[l]
	}
	return file.NewVirtualLocationFromCoordinates(c, f.access)
}

// HasPath reports whether the path leads to anything.
func (r *resolver) HasPath(p string) bool { return r.tree.lookup(p, true) != nil }

// FilesByPath finds regular files.
func (r *resolver) FilesByPath(paths ...string) ([]file.Location, error) {
	var ls []file.Location
	for _, p := range paths {
		p = path.Clean("/" + p)
		if n := r.tree.lookup(p, true); n != nil && n.kind == kindFile {
			ls = append(ls, r.location(found{access: p, node: n}))
		}
	}
	return ls, nil
}

// FilesByGlob finds regular files by doublestar patterns, each file once.
func (r *resolver) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if r.blind {
		return nil, nil
	}
	var ls []file.Location
	seen := map[*node]bool{}
	for _, pattern := range patterns {
		if len(pattern) > r.tree.limits.path {
			continue
		}
		match := func(i int) {
			f := r.files[i]
			if seen[f.node] {
				return
			}
			if ok, err := doublestar.Match(pattern, f.access); err == nil && ok {
				if len(ls) >= r.tree.limits.packages {
					r.flooded.Store(true)
					return
				}
				seen[f.node] = true
				ls = append(ls, r.location(f))
			}
		}
		// Most patterns end in a plain name, which makes the search cheap.
		if base := path.Base(pattern); !strings.ContainsAny(base, `*?[{\`) {
			for _, i := range r.byBase[base] {
				match(i)
			}
			continue
		}
		for i := range r.files {
			match(i)
		}
	}
	return ls, nil
}

// FilesByMIMEType finds executables, by any of the types that syft asks for.
func (r *resolver) FilesByMIMEType(types ...string) ([]file.Location, error) {
	if !slices.Contains(types, "application/x-executable") {
		return nil, nil
	}
	var ls []file.Location
	for _, f := range r.programs {
		ls = append(ls, r.location(f))
	}
	return ls, nil
}

// RelativeFileByPath finds a regular file by path.
func (r *resolver) RelativeFileByPath(_ file.Location, p string) *file.Location {
	ls, _ := r.FilesByPath(p)
	if len(ls) == 0 {
		return nil
	}
	return &ls[0]
}

// AllLocations sends every file.
func (r *resolver) AllLocations(ctx context.Context) <-chan file.Location {
	ch := make(chan file.Location)
	go func() {
		defer close(ch)
		for _, f := range r.files {
			select {
			case ch <- r.location(f):
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}

// FileContentsByLocation opens a file; anything but an executable must be of a
// size that a parser can hold in memory.
func (r *resolver) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	n := r.tree.lookup(l.RealPath, true)
	if n == nil {
		return nil, fmt.Errorf("%.200q is not in the image", l.RealPath)
	}
	limit := r.tree.limits.text
	if executable(n) {
		limit = r.tree.limits.file
	}
	s, err := r.tree.open(n, limit)
	if err != nil {
		return nil, err
	}
	if !executable(n) && n.size > countFrom {
		if err := fewRecords(s, r.tree.limits.packages); err != nil {
			return nil, fmt.Errorf("%.200q: %w", n.path(), err)
		}
	}
	return content{io.NewSectionReader(s, 0, s.Size())}, nil
}

// countFrom is the size from which a database could have too many records.
const countFrom = 1 << 20

// fewRecords counts blank lines, which separate the records of apk's and dpkg's
// databases: a parser would need a hundred times the memory of a file that is
// nothing but the shortest records.
func fewRecords(r io.Reader, limit int) error {
	b := bufio.NewReaderSize(r, 64<<10)
	records, partial := 0, false
	for {
		line, err := b.ReadSlice('\n')
		blank := len(line) == 1 && !partial
		if partial = errors.Is(err, bufio.ErrBufferFull); blank {
			if records++; records > limit {
				return fmt.Errorf("more than %d records, which no image has by right", limit)
			}
		}
		if err != nil && !partial {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// content adds Close, so that syft reads in place instead of copying.
type content struct{ *io.SectionReader }

func (content) Close() error { return nil }

// FileMetadataByLocation describes a file.
func (r *resolver) FileMetadataByLocation(l file.Location) (file.Metadata, error) {
	n := r.tree.lookup(l.RealPath, true)
	if n == nil {
		return file.Metadata{}, fmt.Errorf("%.200q is not in the image", l.RealPath)
	}
	m := file.Metadata{FileInfo: sfile.ManualInfo{NameValue: n.name, SizeValue: n.size}, Path: n.path()}
	if n.kind == kindFile {
		m.Type = sfile.TypeRegular
	}
	return m, nil
}
