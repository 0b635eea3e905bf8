package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// A handover is a folder that takes what the nodes of one zone made into the next
// zone, where each zone has a container of its own: record.json, a Record of
// these nodes alone, and their files below files/NODE/OUTPUT. Whoever takes it
// over checks every file against the digest in the record.
//
// Files of keyless outputs (module cache, toolchain) stay where they are: their
// content is fixed by other outputs, and containers of the next zone have them
// in the same place.
const (
	handoverRecord = "record.json"
	handoverFiles  = "files"
)

// HandOver writes a handover to dir, which must be empty or not exist. It is
// written beside dir and renamed, so that a killed run leaves none.
func (r *Runner) HandOver(dir string, rec provenance.Record) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return step.Usagef("%s is not empty: give a new folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".handover-*")
	if err != nil {
		return err
	}
	defer func() { _ = removeTree(tmp) }()
	nodes := make([]provenance.NodeRecord, len(rec.Nodes))
	for i, n := range rec.Nodes {
		s, err := r.cfg.Step(n.Step)
		if err != nil {
			return err
		}
		n.Output, err = pathFields(s.Spec().Outputs, n.Output, func(f step.Field, from string) (string, error) {
			if f.Keyless {
				return from, nil
			}
			rel := filepath.Join(handoverFiles, n.ID, f.Name, filepath.Base(from))
			return filepath.ToSlash(rel), copyTree(from, filepath.Join(tmp, rel))
		})
		if err != nil {
			return fmt.Errorf("hand over what %s made: %w", n.ID, err)
		}
		nodes[i] = n
	}
	rec.Nodes = nodes
	raw, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, handoverRecord), raw, 0o644); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, dir)
}

// TakeOver reads a handover. Its record's outputs are absolute paths below dir,
// and each of their files has been checked against its digest.
func (r *Runner) TakeOver(dir string) (provenance.Record, error) {
	raw, err := bounded.ReadFile(filepath.Join(dir, handoverRecord), provenance.MaxHandover)
	if errors.Is(err, fs.ErrNotExist) {
		return provenance.Record{}, step.Usagef("%s is no handover, it has no %s: give the folder that pathctl zone wrote with --out", dir, handoverRecord)
	}
	if err != nil {
		return provenance.Record{}, err
	}
	rec, err := provenance.ParseHandover(raw)
	if err != nil {
		return rec, fmt.Errorf("handover %s: %w", dir, err)
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return rec, err
	}
	for i := range rec.Nodes {
		n := &rec.Nodes[i]
		s, err := r.cfg.Step(n.Step)
		if err != nil {
			return rec, fmt.Errorf("handover %s: node %s: %w", dir, n.ID, err)
		}
		if n.Zone != s.Spec().Zone {
			return rec, fmt.Errorf("handover %s: node %s ran in zone %s, but step %s belongs to zone %s", dir, n.ID, n.Zone, n.Step, s.Spec().Zone)
		}
		n.Output, err = pathFields(s.Spec().Outputs, n.Output, func(f step.Field, rel string) (string, error) {
			if f.Keyless {
				return rel, nil
			}
			// By name, not by what the record says: a node can't point into
			// another's files.
			want := path.Join(handoverFiles, n.ID, f.Name)
			if !filepath.IsLocal(rel) || path.Dir(rel) != want {
				return "", fmt.Errorf("output %q: %q does not lie in %s", f.Name, rel, want)
			}
			abs := filepath.Join(root, filepath.FromSlash(rel))
			list, err := manifest(abs)
			if err != nil {
				return "", fmt.Errorf("output %q: %w", f.Name, err)
			}
			if d := list.digest(); d != n.Files[f.Name] {
				return "", fmt.Errorf("output %q: it is %s, but the record says %s: it was changed on the way", f.Name, d, n.Files[f.Name])
			}
			r.known.put(abs, list.digest())
			return abs, nil
		})
		if err != nil {
			return rec, fmt.Errorf("handover %s: node %s: %w", dir, n.ID, err)
		}
	}
	return rec, nil
}

// copyTree copies a file, or a tree of files, folders and links that stay in it.
func copyTree(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	return copyRegular(from, to)
}
