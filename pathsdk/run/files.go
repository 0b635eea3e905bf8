package run

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// A step's output may not hold more than these: what a build leaves behind is
// the work of user code.
const (
	maxOutputFiles = 200_000
	maxOutputBytes = 16 << 30
)

// known remembers the digests of files and folders that steps of this process
// made, so that none is hashed twice.
type known struct {
	mu sync.Mutex
	by map[string]step.Digest
}

func newKnown() *known { return &known{by: map[string]step.Digest{}} }

func (k *known) put(path string, d step.Digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.by[path] = d
}

// digest returns the digest of a file or folder, hashing it if no step made it.
func (k *known) digest(path string) (step.Digest, error) {
	k.mu.Lock()
	d, ok := k.by[path]
	k.mu.Unlock()
	if ok {
		return d, nil
	}
	list, err := manifest(path)
	if err != nil {
		return "", err
	}
	d = list.digest()
	k.put(path, d)
	return d, nil
}

// entryFile is one file of an output.
type entryFile struct {
	Path string `json:"path"` // relative to the output's root, with slashes
	Mode string `json:"mode"` // "f", "x" (executable) or "l" (symbolic link)
	Sum  string `json:"sum"`  // SHA-256 of the content, or of the link's target
	Size int64  `json:"size"`
}

type fileList []entryFile

// digest is the SHA-256 over one line a file; for a single file it is the
// digest of its content.
func (l fileList) digest() step.Digest {
	if len(l) == 1 && l[0].Path == "." {
		return step.Digest("sha256:" + l[0].Sum)
	}
	h := sha256.New()
	for _, f := range l {
		fmt.Fprintf(h, "%s %s %q\n", f.Mode, f.Sum, f.Path)
	}
	return step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

func (l fileList) size() int64 {
	var n int64
	for _, f := range l {
		n += f.Size
	}
	return n
}

// manifest lists and hashes a file or a tree. Anything but files, folders and
// links that stay inside the tree is an error.
func manifest(root string) (fileList, error) {
	var list fileList
	var total int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		f := entryFile{Path: filepath.ToSlash(rel)}
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(rel), target)) {
				return fmt.Errorf("%s is a link that leaves the output: %s", rel, target)
			}
			sum := sha256.Sum256([]byte(target))
			f.Mode, f.Sum = "l", hex.EncodeToString(sum[:])
		case d.Type().IsRegular():
			if f, err = hashFile(path, f); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file, a folder nor a link", rel)
		}
		list = append(list, f)
		if total += f.Size; len(list) > maxOutputFiles || total > maxOutputBytes {
			return fmt.Errorf("more than %d files or %d bytes", maxOutputFiles, int64(maxOutputBytes))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("digest %s: %w", filepath.Base(root), err)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	return list, nil
}

func hashFile(path string, f entryFile) (entryFile, error) {
	r, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return f, err
	}
	f.Mode = "f"
	if info.Mode()&0o100 != 0 {
		f.Mode = "x"
	}
	h := sha256.New()
	if f.Size, err = io.Copy(h, io.LimitReader(r, maxOutputBytes+1)); err != nil {
		return f, err
	}
	f.Sum = hex.EncodeToString(h.Sum(nil))
	return f, nil
}

// pathFields calls fn for every file and folder among the values, and stores
// what it returns; an empty value is left alone.
func pathFields(fields []step.Field, values json.RawMessage, fn func(step.Field, string) (string, error)) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if len(values) == 0 {
		return values, nil
	}
	if err := json.Unmarshal(values, &m); err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.Kind != step.KindFile && f.Kind != step.KindDir && f.Kind != step.KindSecret {
			continue
		}
		var path string
		if v, ok := m[f.Name]; !ok || json.Unmarshal(v, &path) != nil || path == "" {
			continue
		}
		next, err := fn(f, path)
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(next)
		if err != nil {
			return nil, err
		}
		m[f.Name] = raw
	}
	return json.Marshal(m)
}

// absolute makes every path among the inputs absolute, and checks that it
// names what its kind says.
func absolute(spec step.Spec, in json.RawMessage) (json.RawMessage, error) {
	return pathFields(spec.Inputs, in, func(f step.Field, path string) (string, error) {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(abs)
		if err != nil {
			return "", step.Usagef("input %q: %w", f.Name, err)
		}
		if info.IsDir() != (f.Kind == step.KindDir) {
			return "", step.Usagef("input %q: %s is not a %s", f.Name, path, f.Kind)
		}
		return abs, nil
	})
}

// inside reports whether path is root or lies below it, by name.
func inside(root, path string) bool {
	return path == root || strings.HasPrefix(path, root+string(filepath.Separator))
}
