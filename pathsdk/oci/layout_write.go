package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// PutBlob implements Writer.
func (l *Layout) PutBlob(ctx context.Context, mediaType string, content []byte) (v1.Descriptor, error) {
	desc, _ := blobDescriptor(mediaType, content)
	return desc, l.PutStream(ctx, desc, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
}

// PutStream implements Writer.
func (l *Layout) PutStream(ctx context.Context, desc v1.Descriptor, open Opener) error {
	d, err := digestOf(desc)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if l.has(ctx, desc) {
		return nil
	}
	src, err := open(ctx)
	if err != nil {
		return err
	}
	r := verified(src, desc)
	defer r.Close()
	return l.replace(l.blobPath(d), &contextReader{ctx, r})
}

// has reports whether a blob is there and whole. A machine that lost its power, or
// a repository that brought a layout along, may have left other bytes under its
// name.
func (l *Layout) has(ctx context.Context, desc v1.Descriptor) bool {
	r, err := l.Blob(ctx, desc)
	if err != nil {
		return false
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err == nil
}

// PutManifest implements Writer.
func (l *Layout) PutManifest(ctx context.Context, mediaType string, content []byte, tag string) (v1.Descriptor, error) {
	if err := checkTag(tag); err != nil {
		return v1.Descriptor{}, err
	}
	c, mt, err := parse(mediaType, content)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("layout %s: manifest: %w: %w", l.dir, ErrContent, err)
	}
	desc, err := l.PutBlob(ctx, mt, content)
	if err != nil {
		return v1.Descriptor{}, err
	}
	listed := desc
	if c.Subject != nil || c.ArtifactType != "" && !c.isImage() {
		listed.ArtifactType = c.ArtifactType
	}
	return desc, l.update(ctx, func(ds []v1.Descriptor) ([]v1.Descriptor, bool, error) {
		return l.list(ctx, ds, listed, c, tag)
	})
}

// list adds a manifest to the entries of index.json.
func (l *Layout) list(ctx context.Context, ds []v1.Descriptor, desc v1.Descriptor, c Content, tag string) ([]v1.Descriptor, bool, error) {
	before := slices.Clone(ds)
	if tag != "" {
		for i, d := range ds {
			if d.Annotations[refName] == tag && d.Digest != desc.Digest {
				ds[i] = untagged(d)
			}
		}
		desc.Annotations = map[string]string{refName: tag}
	}
	listed := slices.ContainsFunc(ds, func(d v1.Descriptor) bool {
		return d.Digest == desc.Digest && (tag == "" || d.Annotations[refName] == tag)
	})
	if !listed && tag == "" && c.Subject == nil {
		inside, err := l.insideIndex(ctx, ds, desc.Digest)
		if err != nil {
			return nil, false, err
		}
		listed = inside
	}
	if !listed {
		ds = append(ds, desc)
	}
	ds, err := l.tidy(ctx, ds, desc, c)
	if err != nil {
		return nil, false, err
	}
	return ds, !slices.EqualFunc(before, ds, sameEntry), nil
}

// tidy drops entries that say nothing more: an untagged one of a digest that
// has a tagged one too, and images without tag or subject that the new index
// contains. Readers of a layout with one image expect one entry.
func (l *Layout) tidy(ctx context.Context, ds []v1.Descriptor, added v1.Descriptor, c Content) ([]v1.Descriptor, error) {
	tagged, plain, children := map[v1.Hash]bool{}, map[v1.Hash]bool{}, map[v1.Hash]bool{}
	for _, d := range ds {
		if d.Annotations[refName] != "" {
			tagged[d.Digest] = true
		}
	}
	for _, d := range c.Manifests {
		if d.Digest != added.Digest {
			children[d.Digest] = true
		}
	}
	var kept []v1.Descriptor
	for _, d := range ds {
		if d.Annotations[refName] == "" {
			if tagged[d.Digest] || plain[d.Digest] {
				continue
			}
			if children[d.Digest] {
				p, err := l.lookup(ctx, Digest(d))
				if err == nil && p.content.Subject == nil {
					continue
				}
			}
			plain[d.Digest] = true
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// insideIndex reports whether a listed index contains the manifest.
func (l *Layout) insideIndex(ctx context.Context, ds []v1.Descriptor, h v1.Hash) (bool, error) {
	for _, d := range ds {
		if !d.MediaType.IsIndex() {
			continue
		}
		p, err := l.lookup(ctx, Digest(d))
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrContent) {
			continue
		}
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(p.content.Manifests, func(c v1.Descriptor) bool { return c.Digest == h }) {
			return true, nil
		}
	}
	return false, nil
}

func untagged(d v1.Descriptor) v1.Descriptor {
	a := map[string]string{}
	for k, v := range d.Annotations {
		if k != refName {
			a[k] = v
		}
	}
	if len(a) == 0 {
		a = nil
	}
	d.Annotations = a
	return d
}

func sameEntry(a, b v1.Descriptor) bool {
	return a.Digest == b.Digest && a.Annotations[refName] == b.Annotations[refName]
}

func checkTag(tag string) error {
	if tag != "" && !isTag(tag) {
		return step.Usagef("%q is not a tag; a tag has letters, digits, '.', '_' and '-', at most 128", tag)
	}
	return nil
}

// replace writes a file whole or not at all. The temporary file is beside it: a
// process that is fenced in with Landlock may not move files between folders.
func (l *Layout) replace(path string, r io.Reader) error {
	tmp, err := writeTemp(filepath.Dir(path), r)
	if err == nil {
		err = os.Rename(tmp, path)
		if err != nil {
			os.Remove(tmp)
		}
	}
	if err != nil {
		return fmt.Errorf("layout %s: write %s: %w", l.dir, filepath.Base(path), noSpace(err, l.dir))
	}
	return nil
}

// writeTemp writes r to a temporary file in dir and flushes it to the disk: the
// name that it gets next must never stand for less than all of it.
func writeTemp(dir string, r io.Reader) (string, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// createFile writes a file unless it exists, whole or not at all.
func createFile(dir, name string, content []byte) error {
	tmp, err := writeTemp(dir, bytes.NewReader(content))
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// noSpace adds what to do when a disk or quota is full.
func noSpace(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w\n  fix: free space where %s is, then run again; nothing was left half written", err, dir)
	}
	return err
}

// removeStale removes the temporary files of processes that were killed. One
// that is still being written is young.
func (l *Layout) removeStale() {
	for _, dir := range []string{l.dir, filepath.Join(l.dir, "blobs", "sha256")} {
		names, err := readNames(dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			if !strings.HasPrefix(n, tempPrefix) {
				continue
			}
			path := filepath.Join(dir, n)
			if fi, err := os.Lstat(path); err == nil && fi.Mode().IsRegular() && time.Since(fi.ModTime()) > staleTemp {
				os.Remove(path)
			}
		}
	}
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// contextReader makes a long copy stop when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
