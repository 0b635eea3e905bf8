package oci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/filelock"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// layoutIndex is one version of index.json; it is never changed.
type layoutIndex struct {
	// file stays open, so that its inode can't be given to a later version and
	// be taken for this one.
	file *os.File
	info os.FileInfo
	// manifests in the order of the file.
	manifests []v1.Descriptor

	once      sync.Mutex
	bySubject map[step.Digest][]v1.Descriptor
}

// readIndex returns the current index.json, parsed again only when it changed.
func (l *Layout) readIndex() (*layoutIndex, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := filepath.Join(l.dir, indexFile)
	if l.index != nil {
		fi, err := os.Stat(path)
		if err == nil && os.SameFile(fi, l.index.info) && fi.Size() == l.index.info.Size() && fi.ModTime().Equal(l.index.info.ModTime()) {
			return l.index, nil
		}
	}
	f, fi, err := openStat(path)
	if err != nil {
		return nil, fmt.Errorf("layout %s: %s: %w", l.dir, indexFile, err)
	}
	b, err := readBounded(f, maxIndexFile, 0)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layout %s: %s: %w", l.dir, indexFile, err)
	}
	manifests, err := parseIndexFile(b)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layout %s: %s: %w: %w", l.dir, indexFile, ErrContent, err)
	}
	l.index = &layoutIndex{file: f, info: fi, manifests: manifests}
	return l.index, nil
}

// parseIndexFile is parse without the limits of a manifest: index.json lists a
// whole store.
func parseIndexFile(b []byte) ([]v1.Descriptor, error) {
	var idx struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &idx); err != nil {
		return nil, fmt.Errorf("not an image index: %w", err)
	}
	if idx.SchemaVersion != 2 {
		return nil, fmt.Errorf("schemaVersion is %d, want 2", idx.SchemaVersion)
	}
	if idx.MediaType != "" && idx.MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("media type is %q, want %q", idx.MediaType, types.OCIImageIndex)
	}
	for _, d := range idx.Manifests {
		if _, err := digestOf(d); err != nil {
			return nil, err
		}
	}
	return idx.Manifests, nil
}

// sortEntries gives the same order to the same entries, however they came
// about: a layout may be an output that is identified by its digest.
func sortEntries(manifests []v1.Descriptor) {
	slices.SortStableFunc(manifests, func(a, b v1.Descriptor) int {
		ta, tb := a.Annotations[refName], b.Annotations[refName]
		return cmp.Or(
			cmp.Compare(boolRank(ta == ""), boolRank(tb == "")), // tagged ones first
			cmp.Compare(ta, tb),
			byDigest(a, b),
		)
	})
}

func encodeIndex(manifests []v1.Descriptor) ([]byte, error) {
	if manifests == nil {
		manifests = []v1.Descriptor{}
	}
	return json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// referrers groups the listed manifests by subject.
func (x *layoutIndex) referrers(ctx context.Context, l *Layout) (map[step.Digest][]v1.Descriptor, error) {
	x.once.Lock()
	defer x.once.Unlock()
	if x.bySubject != nil {
		return x.bySubject, nil
	}
	by := map[step.Digest][]v1.Descriptor{}
	seen := map[step.Digest]bool{}
	for _, desc := range x.manifests {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d := Digest(desc)
		if seen[d] || !isManifestType(desc.MediaType) {
			continue
		}
		seen[d] = true
		p, err := l.lookup(ctx, d)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrContent) {
			// Somebody else's broken manifest must not hide the good ones.
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.content.Subject != nil {
			s := Digest(*p.content.Subject)
			by[s] = append(by[s], p.referrer(d))
		}
	}
	for _, ds := range by {
		slices.SortFunc(ds, byDigest)
	}
	x.bySubject = by
	return by, nil
}

func isManifestType(mt types.MediaType) bool { return mt.IsImage() || mt.IsIndex() }

func byDigest(a, b v1.Descriptor) int {
	return cmp.Compare(a.Digest.Hex, b.Digest.Hex) // all are SHA-256
}

// update changes index.json under the lock. change returns the new list, and
// false if there is nothing to do.
func (l *Layout) update(ctx context.Context, change func([]v1.Descriptor) ([]v1.Descriptor, bool, error)) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return fmt.Errorf("layout %s: lock: %w", l.dir, err)
	}
	defer unlock()
	idx, err := l.readIndex()
	if err != nil {
		return err
	}
	manifests, changed, err := change(slices.Clone(idx.manifests))
	if err != nil || !changed {
		return err
	}
	sortEntries(manifests)
	b, err := encodeIndex(manifests)
	if err != nil {
		return err
	}
	if len(b) > maxIndexFile {
		return fmt.Errorf("layout %s: %s would have %d bytes, more than the limit of %d\n  fix: start another layout", l.dir, indexFile, len(b), maxIndexFile)
	}
	if err := l.replace(filepath.Join(l.dir, indexFile), bytes.NewReader(b)); err != nil {
		return err
	}
	// Nobody else writes it under the lock, so what is there is known; if it
	// can't be opened, the next reader finds out.
	if f, fi, err := openStat(filepath.Join(l.dir, indexFile)); err == nil {
		l.mu.Lock()
		l.index = &layoutIndex{file: f, info: fi, manifests: manifests}
		l.mu.Unlock()
	}
	return nil
}

func openStat(path string) (*os.File, os.FileInfo, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// lock takes the layout's lock: first among the goroutines that share this
// Layout, then among processes. The file oci-layout carries it, since it is
// always there and never replaced; the kernel drops the lock of a process that
// dies.
func (l *Layout) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case l.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() {
		if err != nil {
			<-l.writing
		}
	}()
	f, err := os.OpenFile(filepath.Join(l.dir, layoutFile), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err = filelock.Lock(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close(); <-l.writing }, nil
}
