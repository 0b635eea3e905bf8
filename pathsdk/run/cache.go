package run

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"time"

	"github.com/pavedpaths/paths/pathsdk/internal/bounded"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxEntry bounds the description of one cache entry; it holds evidence, such
// as SBOMs, but no files.
const maxEntry = 256 << 20

// keepEntries is how many entries a step keeps; the least recently used go.
const keepEntries = 12

// entry is one cached outcome. Files lie beside it below out/; output paths in
// Result are relative to that folder.
type entry struct {
	Key      string      `json:"key"`
	Result   step.Result `json:"result"`
	Started  time.Time   `json:"started"`
	Finished time.Time   `json:"finished"`
	// Files lists every file of each path output that lies below out/.
	Files map[string]fileList `json:"files,omitempty"`
	// Fence is what was around the step; nil if nothing was meant to be.
	Fence *provenance.Fence `json:"fence,omitempty"`
	// MAC is HMAC-SHA-256 over the entry without it, under a key that no fenced
	// process can read: user code can't make an entry.
	MAC string `json:"mac"`
}

// cached gives back what a step gave for the same inputs before, after checking
// every byte. Outcomes of steps that must be fresh, and failures, are not kept.
func (r *Runner) cached(next invoker) invoker {
	return func(ctx context.Context, c *call) (outcome, error) {
		if c.spec.Needs.Fresh {
			o, err := next(ctx, c)
			if err == nil {
				_, err = r.adopt(c, &o)
			}
			return o, err
		}
		key, err := r.key(c)
		if err != nil {
			return outcome{}, err
		}
		entries := filepath.Join(r.cfg.Home, "cache", string(c.spec.Zone), "steps", c.spec.Name)
		dir := filepath.Join(entries, key)
		mac, err := r.macKey(c.spec.Zone)
		if err != nil {
			return outcome{}, err
		}
		if !r.cfg.NoCache {
			if o, err := r.load(c, dir, key, mac); err == nil {
				return o, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				r.events.log(c.id, fmt.Sprintf("cache entry %.12s is unusable (%v): running again", key, err))
			}
		}
		o, err := next(ctx, c)
		o.key = key
		if o.fence != nil {
			r.fences.add(fenceOf(*o.fence))
		}
		if err != nil {
			return o, err
		}
		files, err := r.adopt(c, &o)
		if err != nil {
			return o, err
		}
		if err := r.store(c, dir, mac, &o, files); err != nil {
			return o, fmt.Errorf("keep the output: %w", err)
		}
		prune(entries, dir)
		return o, nil
	}
}

// key is the digest of everything that the outcome depends on.
func (r *Runner) key(c *call) (string, error) {
	in, err := pathFields(c.spec.Inputs, c.in, func(f step.Field, path string) (string, error) {
		if f.Keyless {
			return "", nil
		}
		d, err := r.known.digest(path)
		return string(d), err
	})
	if err != nil {
		return "", err
	}
	doc, err := json.Marshal(map[string]any{
		"step": c.spec.Name, "version": c.spec.Version, "tool": r.cfg.Tool.Digest, "in": in,
	})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:]), nil
}

// adopt checks and digests the files that a step gave. A path outside of the
// step's own folders is a mistake, or an attack by what ran inside it.
func (r *Runner) adopt(c *call, o *outcome) (map[string]fileList, error) {
	files := map[string]fileList{}
	o.files = map[string]step.Digest{}
	_, err := pathFields(c.spec.Outputs, o.result.Output, func(f step.Field, path string) (string, error) {
		if f.Keyless {
			return path, nil
		}
		if !inside(c.out(), filepath.Clean(path)) {
			return "", fmt.Errorf("output %q: %s lies outside of the step's output folder", f.Name, path)
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", fmt.Errorf("output %q: %w", f.Name, err)
		}
		if home, err := filepath.EvalSymlinks(c.out()); err != nil || !inside(home, real) {
			return "", fmt.Errorf("output %q: %s is a link that leaves the step's output folder", f.Name, path)
		}
		list, err := manifest(path)
		if err != nil {
			return "", fmt.Errorf("output %q: %w", f.Name, err)
		}
		files[f.Name] = list
		o.files[f.Name] = list.digest()
		r.known.put(path, list.digest())
		return path, nil
	})
	return files, err
}

// store moves the outcome's files into the cache, and points the outcome there.
func (r *Runner) store(c *call, dir string, mac []byte, o *outcome, files map[string]fileList) error {
	rel, err := rebase(c.spec, o.result.Output, c.out(), "")
	if err != nil {
		return err
	}
	e := entry{Key: o.key, Result: o.result, Started: o.started, Finished: o.finished, Files: files}
	e.Result.Output = rel
	if o.fence != nil {
		f := fenceOf(*o.fence)
		e.Fence = &f
	}
	if err := e.seal(mac); err != nil {
		return err
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	// The call's own folder becomes the entry: one rename, so that a killed run
	// leaves a whole entry or none.
	if err := os.RemoveAll(filepath.Join(c.dir, "work")); err != nil {
		_ = removeTree(filepath.Join(c.dir, "work"))
	}
	if err := os.WriteFile(filepath.Join(c.dir, "entry.json"), raw, 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Rename(dir, c.dir+".old"); err == nil {
		defer func() { _ = removeTree(c.dir + ".old") }()
	}
	if err := os.Rename(c.dir, dir); err != nil {
		return err
	}
	return r.point(c, dir, rel, o)
}

// load returns the cached outcome if every byte of it is as it was stored.
func (r *Runner) load(c *call, dir, key string, mac []byte) (outcome, error) {
	raw, err := bounded.ReadFile(filepath.Join(dir, "entry.json"), maxEntry)
	if err != nil {
		return outcome{}, err
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return outcome{}, err
	}
	if !e.sealed(mac) || e.Key != key {
		return outcome{}, errors.New("its authentication code is wrong")
	}
	o := outcome{result: e.Result, started: e.Started, finished: e.Finished, cached: true, key: key, files: map[string]step.Digest{}}
	if err := r.point(c, dir, e.Result.Output, &o); err != nil {
		return outcome{}, err
	}
	_, err = pathFields(c.spec.Outputs, o.result.Output, func(f step.Field, path string) (string, error) {
		if f.Keyless {
			_, err := os.Stat(path)
			return path, err
		}
		now, err := manifest(path)
		if err != nil {
			return "", err
		}
		if !reflect.DeepEqual(now, e.Files[f.Name]) {
			return "", fmt.Errorf("output %q has changed", f.Name)
		}
		o.files[f.Name] = now.digest()
		r.known.put(path, now.digest())
		return path, nil
	})
	if err != nil {
		return outcome{}, err
	}
	if e.Fence != nil {
		r.fences.add(*e.Fence)
	}
	now := r.cfg.Now()
	_ = os.Chtimes(dir, now, now)
	return o, nil
}

// point makes the outcome's output paths, relative ones in rel, absolute ones in
// the entry's folder.
func (r *Runner) point(c *call, dir string, rel json.RawMessage, o *outcome) error {
	out, err := pathFields(c.spec.Outputs, rel, func(f step.Field, path string) (string, error) {
		if f.Keyless {
			return path, nil
		}
		if !filepath.IsLocal(path) {
			return "", fmt.Errorf("output %q: %s is not a relative path", f.Name, path)
		}
		abs := filepath.Join(dir, "out", path)
		if d, ok := o.files[f.Name]; ok {
			r.known.put(abs, d)
		}
		return abs, nil
	})
	o.result.Output = out
	return err
}

func rebase(spec step.Spec, out json.RawMessage, from, to string) (json.RawMessage, error) {
	return pathFields(spec.Outputs, out, func(f step.Field, path string) (string, error) {
		if f.Keyless {
			return path, nil
		}
		rel, err := filepath.Rel(from, path)
		return filepath.Join(to, rel), err
	})
}

func (e *entry) seal(key []byte) error {
	e.MAC = ""
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	h := hmac.New(sha256.New, key)
	h.Write(raw)
	e.MAC = hex.EncodeToString(h.Sum(nil))
	return nil
}

func (e entry) sealed(key []byte) bool {
	was := e.MAC
	return e.seal(key) == nil && hmac.Equal([]byte(was), []byte(e.MAC))
}

// macKey is the key of one zone's cache, made on first use.
func (r *Runner) macKey(z step.Zone) ([]byte, error) {
	path := filepath.Join(r.cfg.Home, "keys", "cache-"+string(z)+".key")
	for range 2 {
		if key, err := bounded.ReadFile(path, 64); err == nil && len(key) == 32 {
			return key, nil
		}
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make the cache key: %w", err)
		}
		// A file of its own: several nodes of one run may come here at once, and
		// what a link names must not be written again. In the working folder, which
		// is swept after a kill.
		tmp, err := os.CreateTemp(r.work, "cache-key-*")
		if err != nil {
			return nil, fmt.Errorf("make the cache key: %w", err)
		}
		_, err = tmp.Write(key)
		if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
			_ = os.Remove(tmp.Name())
			return nil, fmt.Errorf("make the cache key: %w", err)
		}
		// Link fails if another process was first; then its key is read above.
		_ = os.Link(tmp.Name(), path)
		_ = os.Remove(tmp.Name())
	}
	return nil, fmt.Errorf("cache key %s is not 32 bytes: remove it, and the cache starts anew", path)
}

// prune removes the least recently used entries of a step beyond keepEntries.
func prune(folder, keep string) {
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) <= keepEntries {
		return
	}
	age := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	sort.Slice(entries, func(i, j int) bool { return age[entries[i].Name()].After(age[entries[j].Name()]) })
	for _, e := range entries[keepEntries:] {
		if dir := filepath.Join(folder, e.Name()); dir != keep {
			_ = removeTree(dir)
		}
	}
}
