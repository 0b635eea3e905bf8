package vulndb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
)

type entry struct {
	name string
	kind byte
	size int64
	body string
}

func archive(t *testing.T, entries ...entry) string {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, e := range entries {
		size := max(e.size, int64(len(e.body)))
		if e.kind != tar.TypeReg {
			size = 0
		}
		if err := tw.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Size: size, Mode: 0o644, Linkname: "/etc/passwd"}); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			io.WriteString(tw, e.body)
			io.CopyN(tw, zeros{}, size-int64(len(e.body)))
		}
	}
	if err := errors.Join(tw.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "db.tar.gz")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHostileArchives(t *testing.T) {
	good := makeDB(t, now)
	content, err := os.ReadFile(filepath.Join(good, trivydb.DBFile))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile(filepath.Join(good, trivydb.MetadataFile))
	if err != nil {
		t.Fatal(err)
	}
	db := entry{trivydb.DBFile, tar.TypeReg, 0, string(content)}
	md := entry{trivydb.MetadataFile, tar.TypeReg, 0, string(meta)}
	tests := map[string]struct {
		entries []entry
		want    string
	}{
		"good":           {[]entry{{"./", tar.TypeDir, 0, ""}, {"./" + db.name, tar.TypeReg, 0, db.body}, md}, ""},
		"bomb":           {[]entry{md, {trivydb.DBFile, tar.TypeReg, 80 << 20, ""}}, "limit"},
		"metadata bomb":  {[]entry{{trivydb.MetadataFile, tar.TypeReg, 1 << 20, "{"}, db}, "limit"},
		"traversal":      {[]entry{{"../" + trivydb.DBFile, tar.TypeReg, 0, "x"}, md}, "unexpected"},
		"absolute":       {[]entry{{"/" + trivydb.DBFile, tar.TypeReg, 0, "x"}, md}, "unexpected"},
		"symlink":        {[]entry{{trivydb.DBFile, tar.TypeSymlink, 0, ""}, md}, "unexpected"},
		"hard link":      {[]entry{{trivydb.DBFile, tar.TypeLink, 0, ""}, md}, "unexpected"},
		"device":         {[]entry{{trivydb.DBFile, tar.TypeChar, 0, ""}, md}, "unexpected"},
		"extra":          {[]entry{db, md, {"run.sh", tar.TypeReg, 0, "rm"}}, "unexpected"},
		"twice":          {[]entry{db, md, md}, "unexpected"},
		"no metadata":    {[]entry{db}, "missing"},
		"empty":          {nil, "missing"},
		"garbled":        {[]entry{{trivydb.DBFile, tar.TypeReg, 0, strings.Repeat("junk", 9999)}, md}, "usable"},
		"other schema":   {[]entry{db, {trivydb.MetadataFile, tar.TypeReg, 0, `{"Version":1}`}}, "schema"},
		"from tomorrow":  {[]entry{db, {trivydb.MetadataFile, tar.TypeReg, 0, `{"Version":2,"UpdatedAt":"2026-03-05T00:00:00Z"}`}}, "future"},
		"cut short":      {[]entry{{trivydb.DBFile, tar.TypeReg, 0, db.body[:len(db.body)/2]}, md}, "usable"},
		"fifo and files": {[]entry{db, md, {"p", tar.TypeFifo, 0, ""}}, "unexpected"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			path := archive(t, tt.entries...)
			out, err := b.run(t.Context(), path)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if out.Source != sourceArchive || strings.Contains(out.Source, filepath.Dir(path)) {
					t.Errorf("source %q", out.Source)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
			if left, _ := filepath.Glob(filepath.Join(b.env.Cache, "db", tmpPrefix+"*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestArchiveIsTheLayer(t *testing.T) {
	m := newMirror(t)
	dir := makeDB(t, now)
	pushed := m.push(t, dir)
	path := filepath.Join(t.TempDir(), "db.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(trivydb.Pack(f, dir), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out := newBench(t).ok(t, path); out.Digest != pushed.Layer {
		t.Errorf("digest %s of the archive, %s of the layer", out.Digest, pushed.Layer)
	}
}
