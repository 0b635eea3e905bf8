package vulndb

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// source is one place that may have a database.
type source struct {
	text    string
	folder  string
	archive string
	locator oci.Locator
}

// parseSource tells the kinds apart: what exists on disk, or looks like a path,
// is one.
func parseSource(text string) (source, error) {
	s := source{text: text}
	if strings.TrimSpace(text) == "" {
		return s, step.Usagef("input \"from\": an entry is empty: name an OCI reference, a folder or an archive")
	}
	st, err := os.Stat(text)
	switch {
	case err == nil && st.IsDir():
		s.folder = text
		return s, nil
	case err == nil && st.Mode().IsRegular():
		s.archive = text
		return s, nil
	case looksLikePath(text):
		return s, step.Usagef("input \"from\": there is no folder or archive %s: give one with %s and %s, or an OCI reference", text, trivydb.DBFile, trivydb.MetadataFile)
	}
	if s.locator, err = oci.ParseLocator(text); err != nil {
		return s, step.Usagef("input \"from\": %w", err)
	}
	return s, nil
}

// name is what evidence says about a mirror or a layout.
func (s source) name() string {
	if s.locator.IsLayout() {
		return sourceLayout
	}
	return s.text
}

func looksLikePath(s string) bool {
	for _, prefix := range []string{"/", "./", "../", "~"} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return s == "." || s == ".." || strings.HasSuffix(s, ".tar.gz") || strings.HasSuffix(s, ".tgz")
}

func (s source) get(ctx context.Context, env step.Env, l limits, c cache) (database, error) {
	switch {
	case s.folder != "":
		return s.fromFolder(ctx, env, c)
	case s.archive != "":
		return s.fromArchive(ctx, env, l, c)
	}
	return s.fromRegistry(ctx, env, l, c)
}

// fromFolder copies a database, so that nobody changes it while it is used. A
// folder that looks untouched is not read again.
func (s source) fromFolder(ctx context.Context, env step.Env, c cache) (database, error) {
	meta, err := readBounded(filepath.Join(s.folder, trivydb.MetadataFile), trivydb.MaxMetadata)
	if err != nil {
		return database{}, err
	}
	if _, err := trivydb.ParseMetadata(meta); err != nil {
		return database{}, err
	}
	path := filepath.Join(s.folder, trivydb.DBFile)
	d, err := c.digestOf(ctx, path, env.Now())
	if err != nil {
		return database{}, err
	}
	// A database that was only stamped anew is another entry of the cache.
	key := sum([]byte(d), meta)
	if db, ok := c.installed(key, d, sourceFolder); ok {
		return db, nil
	}
	return c.install(key, d, sourceFolder, func(dir string) error {
		got, err := copyFile(ctx, filepath.Join(dir, trivydb.DBFile), path, c.limit)
		if err != nil {
			return err
		}
		if got != d {
			return fmt.Errorf("%s changed while it was read: run again", path)
		}
		return os.WriteFile(filepath.Join(dir, trivydb.MetadataFile), meta, 0o644)
	})
}

func (s source) fromArchive(ctx context.Context, env step.Env, l limits, c cache) (database, error) {
	st, err := os.Stat(s.archive)
	if err != nil {
		return database{}, err
	}
	if st.Size() > l.layer {
		return database{}, fmt.Errorf("%s has %d bytes; the limit is %d", s.archive, st.Size(), l.layer)
	}
	d, err := c.digestOf(ctx, s.archive, env.Now())
	if err != nil {
		return database{}, err
	}
	if db, ok := c.installed(d.Hex(), d, sourceArchive); ok {
		return db, nil
	}
	return c.install(d.Hex(), d, sourceArchive, func(dir string) error {
		f, err := os.Open(s.archive)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.unpack(ctx, dir, f, d)
	})
}

// fromRegistry asks for the current digest, which is cheap, and downloads only
// what is not there yet.
func (s source) fromRegistry(ctx context.Context, env step.Env, l limits, c cache) (database, error) {
	opts := l.oci
	if env.HTTP != nil && env.HTTP.Transport != nil {
		opts = append([]oci.Option{oci.WithTransport(env.HTTP.Transport)}, opts...)
	}
	manifest, err := oci.Resolve(ctx, s.locator, opts...)
	if err != nil {
		return database{}, err
	}
	if ref, ok := c.reference(s.text); ok && ref.Manifest == manifest {
		if db, ok := c.installed(ref.Layer.Hex(), ref.Layer, s.name()); ok {
			return db, nil
		}
	}
	store, err := oci.Open(ctx, s.locator, opts...)
	if err != nil {
		return database{}, err
	}
	m, err := store.Manifest(ctx, manifest)
	if err != nil {
		return database{}, err
	}
	layer, err := layerOf(m)
	if err != nil {
		return database{}, err
	}
	if layer.Size > l.layer {
		return database{}, fmt.Errorf("its layer has %d bytes; the limit is %d", layer.Size, l.layer)
	}
	d := step.Digest(layer.Digest.String())
	db, ok := c.installed(d.Hex(), d, s.name())
	if !ok {
		env.Log.Info("downloading vulnerability database", "from", s.text, "bytes", layer.Size)
		db, err = c.install(d.Hex(), d, s.name(), func(dir string) error {
			r, err := store.Blob(ctx, layer)
			if err != nil {
				return err
			}
			defer r.Close()
			return c.unpack(ctx, dir, r, d)
		})
		if err != nil {
			return database{}, err
		}
	}
	return db, c.setReference(s.text, reference{Text: s.text, Manifest: manifest, Layer: d})
}

// layerOf finds the one layer of a database artifact.
func layerOf(m oci.Manifest) (v1.Descriptor, error) {
	content, err := m.Content()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(content.Layers) != 1 || content.Layers[0].MediaType != trivydb.LayerMediaType {
		return v1.Descriptor{}, fmt.Errorf("%s is no vulnerability database: want an artifact with one layer of type %s", m.Digest.Short(), trivydb.LayerMediaType)
	}
	layer := content.Layers[0]
	if _, err := step.ParseDigest(layer.Digest.String()); err != nil {
		return v1.Descriptor{}, err
	}
	return layer, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

func sum(parts ...[]byte) string {
	h := newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
