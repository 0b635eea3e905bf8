package oci

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/tree"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// FoldersType is the artifact type of folders that travel between containers: a
// manifest with one gzipped tar for each, which carries the folder's name as its title.
const FoldersType = "application/vnd.pavedpaths.folders.v1"

// maxFolders bounds the folders of one artifact.
const maxFolders = 64

// PutFolders writes folders as one artifact, without a tag, and returns its digest. The
// last elements of their paths are their names, and differ. Folders hold files and
// links as tree.Snapshot takes them.
func PutFolders(ctx context.Context, w Writer, dirs []string) (step.Digest, error) {
	if len(dirs) == 0 || len(dirs) > maxFolders {
		return "", step.Usagef("%d folders: give 1 to %d", len(dirs), maxFolders)
	}
	tmp, err := os.MkdirTemp("", "folders-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	config, err := w.PutBlob(ctx, emptyType, []byte("{}"))
	if err != nil {
		return "", err
	}
	m := artifactManifest{
		Manifest:     v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config},
		ArtifactType: FoldersType,
	}
	seen := map[string]bool{}
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		name := filepath.Base(abs)
		if seen[name] {
			return "", step.Usagef("two folders are called %s: rename one", name)
		}
		seen[name] = true
		packed := filepath.Join(tmp, "layer")
		if err := pack(abs, packed); err != nil {
			return "", fmt.Errorf("pack %s: %w", dir, err)
		}
		layer, err := PutFile(ctx, w, string(types.OCILayer), packed)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", dir, err)
		}
		layer.Annotations = map[string]string{annotationTitle: name}
		m.Layers = append(m.Layers, layer)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	desc, err := w.PutManifest(ctx, string(types.OCIManifestSchema1), raw, "")
	if err != nil {
		return "", err
	}
	return Digest(desc), nil
}

// annotationTitle names a layer's file (image specification, "Pre-Defined Annotation
// Keys").
const annotationTitle = "org.opencontainers.image.title"

func pack(dir, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	// Most of it is packed already: an image's layers.
	gz, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err == nil {
		_, err = tree.Snapshot(dir, gz)
	}
	if err == nil {
		err = gz.Close()
	}
	return errors.Join(err, f.Close())
}

// TakeFolders reads what PutFolders wrote into a new folder, out, one below it for
// each, and returns their paths in the order in which they were given. Where names are
// given, these folders alone are read, and one that the artifact lacks is an error. All
// bytes are checked against d, which is all that is trusted: names and links that lead
// elsewhere, and archives above tree's limits, are errors. After an error there is no out.
func TakeFolders(ctx context.Context, s Store, d step.Digest, out string, names ...string) ([]string, error) {
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return nil, step.Usagef("%s is there already: give a new folder", out)
	}
	m, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	c, err := m.Content()
	if err != nil {
		return nil, err
	}
	if c.ArtifactType != FoldersType || len(c.Layers) == 0 || len(c.Layers) > maxFolders {
		return nil, fmt.Errorf("%s: %w: it has the type %.100q and %d layers: want folders, of type %s", d, ErrContent, c.ArtifactType, len(c.Layers), FoldersType)
	}
	has := make([]string, len(c.Layers))
	for i, layer := range c.Layers {
		has[i] = layer.Annotations[annotationTitle]
	}
	for _, name := range names {
		if !slices.Contains(has, name) {
			return nil, fmt.Errorf("%s: %w: it has no folder %.100q: it has %.1000q", d, ErrContent, name, has)
		}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(out), ".folders-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	var dirs []string
	for i, layer := range c.Layers {
		name := has[i]
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		if name == "." || !filepath.IsLocal(name) || filepath.Base(name) != name {
			return nil, fmt.Errorf("%s: %w: %.100q is no name of a folder", d, ErrContent, name)
		}
		if err := os.Mkdir(filepath.Join(tmp, name), 0o755); err != nil { // twice, too
			return nil, fmt.Errorf("%s: folder %q: %w", d, name, err)
		}
		if err := unpack(ctx, s, layer, filepath.Join(tmp, name)); err != nil {
			return nil, fmt.Errorf("%s: folder %q: %w", d, name, err)
		}
		dirs = append(dirs, filepath.Join(out, name))
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	return dirs, os.Rename(tmp, out)
}

func unpack(ctx context.Context, s Store, layer v1.Descriptor, dir string) error {
	blob, err := s.Blob(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	gz, err := gzip.NewReader(blob)
	if err != nil {
		return fmt.Errorf("%w: not a gzipped tar: %w", ErrContent, err)
	}
	if err := tree.Extract(gz, dir, tree.Limits{}); err != nil {
		return err
	}
	// What follows the archive is a part of the digest as well, and read as it is,
	// compressed: the store judges the bytes at their end.
	_, err = io.Copy(io.Discard, blob)
	return err
}
