package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func folder(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for rel, text := range files {
		path := filepath.Join(dir, rel)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFolders: folders come out as they went in, from a registry and from a layout, and
// the same folders are the same artifact.
func TestFolders(t *testing.T) {
	a := folder(t, "fetch", map[string]string{"record.json": "{}", "files/x/run.sh": "#!"})
	if err := os.Chmod(filepath.Join(a, "files/x/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("record.json", filepath.Join(a, "link")); err != nil {
		t.Fatal(err)
	}
	b := folder(t, "build", map[string]string{"record.json": "[]"})
	reg := regtest.New(t)
	var first step.Digest
	for _, place := range []string{"oci:" + t.TempDir() + "/layout", reg.Repo("staging/orders")} {
		l, err := oci.ParseLocator(place)
		if err != nil {
			t.Fatal(err)
		}
		w, err := oci.Open(t.Context(), l, oci.WithCreate())
		if err != nil {
			t.Fatal(err)
		}
		d, err := oci.PutFolders(t.Context(), w, []string{a, b + "/"})
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = d
		}
		if d != first {
			t.Errorf("%s: digest %s, elsewhere %s", place, d, first)
		}
		out := filepath.Join(t.TempDir(), "new", "in")
		dirs, err := oci.TakeFolders(t.Context(), w, d, out)
		if err != nil {
			t.Fatal(err)
		}
		if len(dirs) != 2 || dirs[0] != filepath.Join(out, "fetch") || dirs[1] != filepath.Join(out, "build") {
			t.Errorf("folders %q", dirs)
		}
		one := filepath.Join(t.TempDir(), "one")
		if dirs, err := oci.TakeFolders(t.Context(), w, d, one, "build"); err != nil || len(dirs) != 1 || dirs[0] != filepath.Join(one, "build") {
			t.Errorf("build alone: %q, %v", dirs, err)
		}
		if _, err := os.Stat(filepath.Join(one, "fetch")); err == nil {
			t.Error("build alone: fetch is there too")
		}
		none := filepath.Join(t.TempDir(), "none")
		if _, err := oci.TakeFolders(t.Context(), w, d, none, "fetch", "tests"); err == nil || !strings.Contains(err.Error(), `no folder "tests": it has ["fetch" "build"]`) {
			t.Errorf("a folder that there isn't: %v", err)
		}
		if _, err := os.Stat(none); err == nil {
			t.Error("a folder that there isn't: it left some")
		}
		if text, err := os.ReadFile(filepath.Join(out, "fetch", "link")); err != nil || string(text) != "{}" {
			t.Errorf("link: %q, %v", text, err)
		}
		if info, err := os.Stat(filepath.Join(out, "fetch/files/x/run.sh")); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mode: %v, %v", info, err)
		}
		if _, err := oci.TakeFolders(t.Context(), w, d, out); err == nil || !strings.Contains(err.Error(), "there already") {
			t.Errorf("into a folder that exists: %v", err)
		}
	}
}

// TestForgedFolders: what is no artifact of folders, or leads elsewhere, leaves nothing.
func TestForgedFolders(t *testing.T) {
	reg := regtest.New(t)
	l, err := oci.ParseLocator(reg.Repo("staging/orders"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := oci.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	archive := func(h tar.Header, text string) []byte {
		var b bytes.Buffer
		gz := gzip.NewWriter(&b)
		tw := tar.NewWriter(gz)
		h.Mode, h.Size = 0o644, int64(len(text))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		_, _ = tw.Write([]byte(text))
		_ = tw.Close()
		_ = gz.Close()
		return b.Bytes()
	}
	good := archive(tar.Header{Name: "a", Typeflag: tar.TypeReg}, "x")
	for name, c := range map[string]struct {
		artifactType string
		titles       []string
		layer        []byte
		want         string
	}{
		"another type":       {"application/vnd.example", []string{"a"}, good, "want folders"},
		"no folder":          {oci.FoldersType, nil, good, "0 layers"},
		"a name that climbs": {oci.FoldersType, []string{".."}, good, "no name of a folder"},
		"a name with a path": {oci.FoldersType, []string{"a/b"}, good, "no name of a folder"},
		"no name":            {oci.FoldersType, []string{""}, good, "no name of a folder"},
		"the same twice":     {oci.FoldersType, []string{"a", "a"}, good, `folder "a"`},
		"no archive":         {oci.FoldersType, []string{"a"}, []byte("plain"), "not a gzipped tar"},
		"a file outside":     {oci.FoldersType, []string{"a"}, archive(tar.Header{Name: "../x", Typeflag: tar.TypeReg}, "x"), "clean relative path"},
		"a link outside":     {oci.FoldersType, []string{"a"}, archive(tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../x"}, ""), "outside"},
		"a device":           {oci.FoldersType, []string{"a"}, archive(tar.Header{Name: "d", Typeflag: tar.TypeChar}, ""), "only files"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := w.PutBlob(t.Context(), "application/vnd.oci.empty.v1+json", []byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{}}
			for _, title := range c.titles {
				layer, err := w.PutBlob(t.Context(), string(types.OCILayer), c.layer)
				if err != nil {
					t.Fatal(err)
				}
				layer.Annotations = map[string]string{"org.opencontainers.image.title": title}
				m.Layers = append(m.Layers, layer)
			}
			raw, err := json.Marshal(struct {
				v1.Manifest
				ArtifactType string `json:"artifactType"`
			}{m, c.artifactType})
			if err != nil {
				t.Fatal(err)
			}
			desc, err := w.PutManifest(t.Context(), string(types.OCIManifestSchema1), raw, "")
			if err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			_, err = oci.TakeFolders(t.Context(), w, oci.Digest(desc), filepath.Join(parent, "in"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, _ := os.ReadDir(parent); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
	for _, dirs := range [][]string{nil, {folder(t, "a", map[string]string{"f": "1"}), folder(t, "a", map[string]string{"f": "2"})}, {"/nowhere/at/all"}} {
		if _, err := oci.PutFolders(t.Context(), w, dirs); err == nil {
			t.Errorf("%q went through", dirs)
		}
	}
}
