package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// toolchainDigest returns the digest of the toolchain: of a list of the files
// that can reach a build's output, with the digest of each. The same release
// has the same digest wherever it is installed.
//
// Reading a whole GOROOT takes a second, so the digest is kept in the cache
// under the stat data of the release's version file and its programs.
func toolchainDigest(ctx context.Context, env step.Env, t toolchain) (step.Digest, error) {
	key, err := toolchainKey(t)
	if err != nil {
		return "", fmt.Errorf("toolchain %s: %w", t.version, err)
	}
	cached := filepath.Join(env.Cache, "toolchain", key)
	if b, err := os.ReadFile(cached); err == nil {
		if d, err := step.ParseDigest(string(b)); err == nil {
			return d, nil
		}
	}
	files, err := toolchainFiles(t)
	if err != nil {
		return "", fmt.Errorf("toolchain %s: %w", t.version, err)
	}
	d, err := digestFiles(ctx, t.goroot, files)
	if err != nil {
		return "", fmt.Errorf("toolchain %s: %w", t.version, err)
	}
	return d, writeWhole(cached, []byte(d))
}

// toolchainKey names the state of an installation without reading its files.
func toolchainKey(t toolchain) (string, error) {
	h := sha256.New()
	add := func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		inode := uint64(0)
		if s, ok := fi.Sys().(*syscall.Stat_t); ok {
			inode = s.Ino
		}
		fmt.Fprintf(h, "%q %d %d %d\n", path, fi.Size(), fi.ModTime().UnixNano(), inode)
		return nil
	}
	tools, err := filepath.Glob(filepath.Join(t.goroot, "pkg", "tool", "*", "*"))
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "1 %s\n", t.version)
	for _, p := range append([]string{filepath.Join(t.goroot, "VERSION"), t.gocmd()}, tools...) {
		if err := add(p); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// toolchainFiles lists what can reach a build's output: the programs, the
// headers, and the sources without tests.
func toolchainFiles(t toolchain) ([]string, error) {
	files := []string{"VERSION", "bin/go"}
	if _, err := os.Stat(filepath.Join(t.goroot, "go.env")); err == nil {
		files = append(files, "go.env")
	}
	for _, top := range []string{"pkg/include", "pkg/tool", "src"} {
		// Distributions make these folders links; WalkDir would not follow.
		real, err := filepath.EvalSymlinks(filepath.Join(t.goroot, top))
		if err != nil {
			return nil, err
		}
		err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if d.Name() == "testdata" {
					return filepath.SkipDir
				}
				return nil
			}
			if d.Type().IsRegular() && !strings.HasSuffix(d.Name(), "_test.go") {
				rel, err := filepath.Rel(real, path)
				if err != nil {
					return err
				}
				files = append(files, filepath.ToSlash(filepath.Join(top, rel)))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return files, nil
}

// digestFiles hashes the list of files, one line each: digest and path. It is
// bounded by the machine's cores and not by Env.Jobs, since it runs once for
// each installation and everything waits for it.
func digestFiles(ctx context.Context, root string, files []string) (step.Digest, error) {
	sums := make([][sha256.Size]byte, len(files))
	workers := runtime.GOMAXPROCS(0)
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for i := w; i < len(files); i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := hashFile(filepath.Join(root, files[i]), buf, &sums[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	h := sha256.New()
	for i, f := range files {
		fmt.Fprintf(h, "%x %q\n", sums[i], f)
	}
	return step.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

func hashFile(path string, buf []byte, sum *[sha256.Size]byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf); err != nil {
		return err
	}
	h.Sum(sum[:0])
	return nil
}

// writeWhole writes a file whole or not at all.
func writeWhole(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
