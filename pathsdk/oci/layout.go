package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	layoutFile    = "oci-layout"
	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`
	indexFile     = "index.json"
	tempPrefix    = ".tmp-"
	// refName is the annotation that holds a tag (image specification,
	// "Pre-Defined Annotation Keys").
	refName = "org.opencontainers.image.ref.name"
	// maxIndexFile bounds index.json; it lists every artifact of a store.
	maxIndexFile = 64 << 20
	// staleTemp is the age from which a temporary file belongs to nobody.
	staleTemp = time.Hour
)

// Layout is an OCI image layout in a folder (image specification 1.1, "OCI Image
// Layout"). Its index.json lists tagged images, images that no listed index
// contains, and every manifest with a subject. Several processes may use one
// layout at the same time; a process that is killed leaves it valid.
type Layout struct {
	dir string
	// writing is taken by whoever updates index.json in this process; between
	// processes a lock on the file oci-layout does the same.
	writing chan struct{}

	mu    sync.Mutex
	index *layoutIndex
	// parsed remembers manifests by digest. A digest names one content for
	// good, so nothing in it grows stale; that the file is still there and
	// unchanged is checked when it is read.
	parsed map[step.Digest]parsedManifest
}

type parsedManifest struct {
	content   Content
	mediaType string
	size      int64
}

var _ Writer = (*Layout)(nil)

// OpenLayout opens an existing layout.
func OpenLayout(dir string) (*Layout, error) {
	b, err := readFile(filepath.Join(dir, layoutFile), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(dir); serr != nil {
			return nil, fmt.Errorf("layout %s: %w: there is no such folder\n  fix: check the path", dir, ErrNotFound)
		}
		return nil, fmt.Errorf("layout %s: %w: the folder has no file %s, so it is no OCI image layout\n  fix: check the path", dir, ErrNotFound, layoutFile)
	}
	if err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &v); err != nil || !strings.HasPrefix(v.Version, "1.") {
		return nil, fmt.Errorf("layout %s: %w: %s has version %.20q, want 1.0.0", dir, ErrContent, layoutFile, v.Version)
	}
	l := &Layout{dir: dir, writing: make(chan struct{}, 1), parsed: map[step.Digest]parsedManifest{}}
	if _, err := l.readIndex(); err != nil {
		return nil, err
	}
	return l, nil
}

// CreateLayout opens a layout, and makes an empty one where there is none. The
// folder must be absent, empty or a layout.
func CreateLayout(dir string) (*Layout, error) {
	if l, err := OpenLayout(dir); !errors.Is(err, ErrNotFound) {
		if err == nil {
			l.removeStale()
		}
		return l, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	if err := onlyLayoutParts(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("layout %s: %w", dir, err)
	}
	// oci-layout comes last: a folder that has it has everything.
	empty, err := encodeIndex(nil)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct{ name, content string }{{indexFile, string(empty)}, {layoutFile, layoutVersion}} {
		if err := createFile(dir, f.name, []byte(f.content)); err != nil {
			return nil, fmt.Errorf("layout %s: %w", dir, noSpace(err, dir))
		}
	}
	return OpenLayout(dir)
}

// onlyLayoutParts refuses to turn a folder of something else into a layout.
// What a creation that was killed leaves behind is accepted.
func onlyLayoutParts(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("layout %s: %w", dir, err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "blobs" && n != indexFile && n != layoutFile && !strings.HasPrefix(n, tempPrefix) {
			return step.Usagef("folder %s holds other files (%s) and is no layout: name an empty folder, or one that does not exist", dir, n)
		}
	}
	return nil
}

// Dir returns the layout's folder.
func (l *Layout) Dir() string { return l.dir }

// Manifest implements Store.
func (l *Layout) Manifest(_ context.Context, d step.Digest) (Manifest, error) {
	if _, err := step.ParseDigest(string(d)); err != nil {
		return Manifest{}, err
	}
	b, err := readFile(l.blobPath(d), MaxManifest)
	if err != nil {
		return Manifest{}, l.missing("manifest", string(d), err)
	}
	m, err := newManifest("", d, b)
	if err != nil {
		return Manifest{}, fmt.Errorf("layout %s: %w", l.dir, err)
	}
	return m, nil
}

// Blob implements Store.
func (l *Layout) Blob(_ context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	d, err := digestOf(desc)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(l.blobPath(d))
	if err != nil {
		return nil, l.missing("blob", string(d), err)
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != desc.Size {
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("layout %s: blob %s: %w", l.dir, d, err)
		}
		return nil, fmt.Errorf("layout %s: blob %s: %w: it has %d bytes, want %d", l.dir, d, ErrContent, fi.Size(), desc.Size)
	}
	return verified(f, desc), nil
}

// Referrers implements Store. It reads index.json, and each manifest that is
// listed there once in the life of the Layout.
func (l *Layout) Referrers(ctx context.Context, d step.Digest) ([]v1.Descriptor, error) {
	if _, err := step.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	idx, err := l.readIndex()
	if err != nil {
		return nil, err
	}
	bySubject, err := idx.referrers(ctx, l)
	if err != nil {
		return nil, err
	}
	found := bySubject[d]
	if len(found) > MaxReferrers {
		return nil, fmt.Errorf("layout %s: %s has %d referrers, more than the limit of %d", l.dir, d, len(found), MaxReferrers)
	}
	return slices.Clone(found), nil
}

// Tags lists the layout's tags and what they name.
func (l *Layout) Tags() (map[string]step.Digest, error) {
	idx, err := l.readIndex()
	if err != nil {
		return nil, err
	}
	tags := map[string]step.Digest{}
	for _, d := range idx.manifests {
		if t := d.Annotations[refName]; t != "" {
			tags[t] = Digest(d)
		}
	}
	return tags, nil
}

// lookup parses a listed manifest, from memory if it was parsed before.
func (l *Layout) lookup(ctx context.Context, d step.Digest) (parsedManifest, error) {
	l.mu.Lock()
	p, ok := l.parsed[d]
	l.mu.Unlock()
	if ok {
		return p, nil
	}
	m, err := l.Manifest(ctx, d)
	if err != nil {
		return parsedManifest{}, err
	}
	c, err := m.Content()
	if err != nil {
		return parsedManifest{}, err
	}
	p = parsedManifest{content: c, mediaType: m.MediaType, size: int64(len(m.Bytes))}
	l.mu.Lock()
	l.parsed[d] = p
	l.mu.Unlock()
	return p, nil
}

func (l *Layout) blobPath(d step.Digest) string {
	return filepath.Join(l.dir, "blobs", "sha256", d.Hex())
}

func (l *Layout) missing(kind, d string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("layout %s: %s %s: %w\n  fix: check the digest and the folder", l.dir, kind, d, ErrNotFound)
	}
	return fmt.Errorf("layout %s: %s %s: %w", l.dir, kind, d, err)
}

// referrer describes a manifest with a subject as the referrers API would.
func (p parsedManifest) referrer(d step.Digest) v1.Descriptor {
	return v1.Descriptor{
		MediaType:    types.MediaType(p.mediaType),
		Size:         p.size,
		Digest:       hashOf(d),
		ArtifactType: p.content.ArtifactType,
		Annotations:  p.content.Annotations,
	}
}

// openRegular opens a regular file. A layout may come from anywhere: a pipe in
// place of a blob must not block the reader.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrContent)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit, 0)
}
