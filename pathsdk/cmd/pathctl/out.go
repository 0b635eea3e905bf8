package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// outFolder is SOURCE/.paths: what a run leaves for its user. Git ignores it,
// and no snapshot of the source contains it.
type outFolder string

func newOutFolder(source string) (outFolder, error) {
	o := outFolder(filepath.Join(source, ".paths"))
	if info, err := os.Lstat(string(o)); err == nil && !info.IsDir() {
		return o, fmt.Errorf("%s is no folder: remove it, results go there", o)
	}
	if err := os.MkdirAll(string(o), 0o755); err != nil {
		return o, fmt.Errorf("make the folder for results: %w", err)
	}
	if err := o.withoutLinks(); err != nil {
		return o, err
	}
	ignore := filepath.Join(string(o), ".gitignore")
	if _, err := os.Stat(ignore); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(ignore, []byte("*\n"), 0o644); err != nil {
			return o, fmt.Errorf("make the folder for results: %w", err)
		}
	}
	return o, nil
}

// withoutLinks refuses links below the folder: a repository can bring a .paths of
// its own, and what is written there must not land elsewhere.
func (o outFolder) withoutLinks() error {
	return filepath.WalkDir(string(o), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("look through the folder for results: %w", err)
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return fmt.Errorf("%s is a link or a device, which pathctl never makes: remove %s and run again", path, o)
		}
		return nil
	})
}

// shortest is how a person would write a path: relative where it lies below the
// current folder.
func shortest(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func (o outFolder) store() string   { return filepath.Join(string(o), "store") }
func (o outFolder) record() string  { return filepath.Join(string(o), "run.json") }
func (o outFolder) reports() string { return filepath.Join(string(o), "reports") }
func (o outFolder) report() string  { return filepath.Join(string(o), "report.html") }
func (o outFolder) verdict() string { return filepath.Join(string(o), "verdict.json") }
func (o outFolder) timings() string { return filepath.Join(string(o), "timings.json") }

// keepRecord writes the record of a run. A run that found everything as it was
// is the same invocation as the one before: its record stays, so that its
// provenance needs no new signature. What counts is the copy below home; the one beside the source, which others can write, is for reading.
func (o outFolder) keepRecord(r provenance.Record, home string) ([]byte, error) {
	sum := sha256.Sum256([]byte(o))
	kept := filepath.Join(home, "cache", "runs", hex.EncodeToString(sum[:16])+".json")
	if raw, err := bounded.ReadFile(kept, maxRecord); err == nil {
		var old provenance.Record
		if json.Unmarshal(raw, &old) == nil && sameRun(old, r) {
			return raw, writeFile(o.record(), raw, 0o644)
		}
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	for _, file := range []string{kept, o.record()} {
		if err := writeFile(file, raw, 0o644); err != nil {
			return nil, fmt.Errorf("write the run's record: %w", err)
		}
	}
	return raw, nil
}

// maxRecord bounds a run's record, in bytes.
const maxRecord = 64 << 20

// sameRun reports whether nothing but times tells two runs apart, and the later
// one built nothing itself.
func sameRun(old, now provenance.Record) bool {
	for _, n := range now.Nodes {
		if n.Key != "" && !n.Cached {
			return false
		}
	}
	return reflect.DeepEqual(timeless(old), timeless(now))
}

// timeless is a record as JSON values, without what differs between two runs of
// the same.
func timeless(r provenance.Record) any {
	r.Invocation = ""
	nodes := make([]provenance.NodeRecord, len(r.Nodes))
	for i, n := range r.Nodes {
		n.StartedOn, n.FinishedOn, n.Cached = time.Time{}, time.Time{}, false
		nodes[i] = n
	}
	r.Nodes = nodes
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	return v
}
