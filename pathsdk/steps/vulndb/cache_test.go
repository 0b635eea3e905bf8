package vulndb

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
)

func TestFolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.env.Now = time.Now // the file system's clock
	dir := t.TempDir()
	made, err := trivydb.Make(records, dir, now)
	if err != nil {
		t.Fatal(err)
	}
	out := b.ok(t, dir)
	if out.Digest != made.Digest || out.Source != sourceFolder {
		t.Errorf("%+v, want digest %s", out, made.Digest)
	}
	if !strings.HasPrefix(string(out.DB), b.env.Cache) {
		t.Errorf("db %s lies outside the cache", out.DB)
	}

	// A stamp alone is a new database; its digest is the same.
	if _, err := trivydb.Make(records, dir, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if again := b.ok(t, dir); again.Digest != made.Digest || again.Updated != "2026-03-01T11:00:00Z" {
		t.Errorf("after a new stamp: %+v", again)
	}

	// A changed file is noticed, even with its old size and time.
	time.Sleep(racy + 50*time.Millisecond)
	b.ok(t, dir)
	if seen, _ := filepath.Glob(filepath.Join(b.env.Cache, "seen", "*.json")); len(seen) != 1 {
		t.Errorf("remembered digests: %v", seen)
	}
	path := filepath.Join(dir, trivydb.DBFile)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	flipLast(t, path)
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	changed, err := b.run(t.Context(), dir)
	if err == nil && changed.Digest == made.Digest {
		t.Error("a changed database has the old digest")
	}
}

func flipLast(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCacheIsChecked(t *testing.T) {
	m, b := newMirror(t), newBench(t)
	m.push(t, makeDB(t, now))
	out := b.ok(t, m.ref())
	want, err := os.ReadFile(filepath.Join(string(out.DB), trivydb.DBFile))
	if err != nil {
		t.Fatal(err)
	}
	spoil := map[string]func(){
		"flipped":        func() { flipLast(t, filepath.Join(string(out.DB), trivydb.DBFile)) },
		"truncated":      func() { os.Truncate(filepath.Join(string(out.DB), trivydb.DBFile), 4096) },
		"file missing":   func() { os.Remove(filepath.Join(string(out.DB), trivydb.MetadataFile)) },
		"record missing": func() { os.Remove(string(out.DB) + ".json") },
		"record garbled": func() { os.WriteFile(string(out.DB)+".json", []byte("{"), 0o644) },
		"metadata forged": func() {
			os.WriteFile(filepath.Join(string(out.DB), trivydb.MetadataFile), []byte(`{"Version":2}`), 0o644)
		},
		"folder missing": func() { os.RemoveAll(string(out.DB)) },
		"refs missing":   func() { os.RemoveAll(filepath.Join(b.env.Cache, "refs")) },
	}
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			f()
			again := b.ok(t, m.ref())
			got, err := os.ReadFile(filepath.Join(string(again.DB), trivydb.DBFile))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the database is not the published one (err %v)", err)
			}
		})
	}
}

func TestConcurrentRuns(t *testing.T) {
	m, b := newMirror(t), newBench(t)
	pushed := m.push(t, makeDB(t, now))
	b.env.Log = slog.New(slog.DiscardHandler)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out, err := b.run(t.Context(), m.ref())
			if err != nil || out.Digest != pushed.Layer {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
	wg.Wait()
}

func TestPrune(t *testing.T) {
	b := newBench(t)
	var last output
	for i := range 8 {
		dir := makeDB(t, now.Add(-time.Duration(i)*time.Minute))
		last = b.ok(t, dir)
	}
	os.MkdirAll(filepath.Join(b.env.Cache, "db", tmpPrefix+"killed"), 0o700)
	b.env.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	b.ok(t, makeDB(t, now.Add(time.Minute)))
	var dirs int
	entries, err := os.ReadDir(filepath.Join(b.env.Cache, "db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			dirs++
		}
	}
	if dirs != keep {
		t.Errorf("%d databases are left, want %d", dirs, keep)
	}
	if last.Digest == "" {
		t.Error("no digest")
	}
}
