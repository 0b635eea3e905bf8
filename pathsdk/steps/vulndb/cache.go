package vulndb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// cache keeps unpacked databases between runs:
//
//	db/KEY/          trivy.db and metadata.json
//	db/KEY.json      what they were when they were put there
//	refs/HASH.json   which database a reference stood for
//	seen/HASH.json   the digest of a file of the user's that looks unchanged
//
// Entries are checked before they are used; what does not fit is made anew.
type cache struct {
	dir   string
	limit int64
}

// keep is how many databases stay; older ones go when a day old.
const keep = 3

// maxRecord bounds the cache's own small files in bytes.
const maxRecord = 64 << 10

// installed returns the entry KEY if its files are what they were when they
// were installed.
func (c cache) installed(key string, d step.Digest, source string) (database, bool) {
	dir := filepath.Join(c.dir, "db", key)
	var files map[string]stamp
	if !c.read("db", key, &files) || len(files) != 2 {
		return database{}, false
	}
	changed := false
	for _, name := range []string{trivydb.DBFile, trivydb.MetadataFile} {
		path := filepath.Join(dir, name)
		now, err := look(path)
		if err != nil || now.Size != files[name].Size {
			return database{}, false
		}
		if !now.looksLike(files[name]) {
			if now.Digest, err = digestFile(context.Background(), path); err != nil || now.Digest != files[name].Digest {
				return database{}, false
			}
			files[name], changed = now, true
		}
	}
	meta, err := trivydb.ReadMetadata(dir)
	if err != nil {
		return database{}, false
	}
	if changed {
		// Only saves hashing the file again.
		_ = c.write("db", key, files)
	}
	return database{dir: dir, digest: d, updated: meta.UpdatedAt, next: meta.NextUpdate, source: source}, true
}

// install lets fill write the two files into a new folder, checks them, and
// puts the folder in place at once.
func (c cache) install(key string, d step.Digest, source string, fill func(dir string) error) (database, error) {
	parent := filepath.Join(c.dir, "db")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return database{}, err
	}
	tmp, err := os.MkdirTemp(parent, tmpPrefix)
	if err != nil {
		return database{}, err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return database{}, noSpace(err, c.dir)
	}
	if _, err := trivydb.Check(tmp); err != nil {
		return database{}, err
	}
	files := map[string]stamp{}
	for _, name := range []string{trivydb.DBFile, trivydb.MetadataFile} {
		path := filepath.Join(tmp, name)
		digest, err := digestFile(context.Background(), path)
		if err != nil {
			return database{}, err
		}
		s, err := look(path)
		if err != nil {
			return database{}, err
		}
		s.Digest = digest
		files[name] = s
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return database{}, err
	}
	dir := filepath.Join(parent, key)
	for range 3 {
		err = os.Rename(tmp, dir)
		if err == nil {
			if err := c.write("db", key, files); err != nil {
				return database{}, noSpace(err, c.dir)
			}
			break
		}
		// Another process may have been faster; else what is there is broken.
		if db, ok := c.awaitInstalled(key, d, source); ok {
			return db, nil
		}
		if old, terr := os.MkdirTemp(parent, tmpPrefix); terr == nil {
			_ = os.Rename(dir, filepath.Join(old, "broken"))
			os.RemoveAll(old)
		}
	}
	if err != nil {
		return database{}, fmt.Errorf("install vulnerability database: %w", err)
	}
	db, ok := c.installed(key, d, source)
	if !ok {
		return database{}, fmt.Errorf("vulnerability database %s vanished from %s right after it was put there: run again", d.Short(), c.dir)
	}
	return db, nil
}

const tmpPrefix = ".new-"

// awaitInstalled gives another process that has just moved the same entry into
// place the moment that it needs to describe it.
func (c cache) awaitInstalled(key string, d step.Digest, source string) (database, bool) {
	for range 20 {
		if db, ok := c.installed(key, d, source); ok {
			return db, true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return database{}, false
}

// reference is what a mirror's reference stood for when it was last asked.
type reference struct {
	Text     string      `json:"text"`
	Manifest step.Digest `json:"manifest"`
	Layer    step.Digest `json:"layer"`
}

func (c cache) reference(text string) (reference, bool) {
	var r reference
	if !c.read("refs", sum([]byte(text)), &r) || r.Text != text {
		return reference{}, false
	}
	if _, err := step.ParseDigest(string(r.Layer)); err != nil {
		return reference{}, false
	}
	return r, true
}

func (c cache) setReference(text string, r reference) error {
	if err := c.write("refs", sum([]byte(text)), r); err != nil {
		return noSpace(err, c.dir)
	}
	return nil
}

// byReference returns the database that a mirror served in an earlier run.
func (c cache) byReference(s source) (database, bool) {
	if s.folder != "" || s.archive != "" {
		return database{}, false
	}
	r, ok := c.reference(s.text)
	if !ok {
		return database{}, false
	}
	// A reference by digest stands for nothing else, however old.
	if s.locator.Digest != "" && s.locator.Digest != r.Manifest {
		return database{}, false
	}
	return c.installed(r.Layer.Hex(), r.Layer, s.name())
}

// prune removes databases that nobody will ask for again, and what killed runs
// left behind. Failures don't matter: the next run tries again.
func (c cache) prune(now time.Time, inUse string) {
	parent := filepath.Join(c.dir, "db")
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	type old struct {
		path string
		mod  time.Time
	}
	var dirs []old
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || filepath.Join(parent, e.Name()) == inUse {
			continue
		}
		dirs = append(dirs, old{filepath.Join(parent, e.Name()), info.ModTime()})
	}
	slices.SortFunc(dirs, func(a, b old) int { return b.mod.Compare(a.mod) })
	kept := 1
	for _, d := range dirs {
		tmp := strings.HasPrefix(filepath.Base(d.path), tmpPrefix)
		if !tmp {
			kept++
		}
		if (tmp || kept > keep) && now.Sub(d.mod) > 24*time.Hour {
			os.Remove(d.path + ".json")
			os.RemoveAll(d.path)
		}
	}
}

func (c cache) read(kind, key string, v any) bool {
	b, err := readBounded(filepath.Join(c.dir, kind, key+".json"), maxRecord)
	return err == nil && json.Unmarshal(b, v) == nil
}

func (c cache) write(kind, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.dir, kind)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, tmpPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, key+".json"))
}

func noSpace(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: free some space in %s: a full database takes about 1 GiB", err, dir)
	}
	return err
}
