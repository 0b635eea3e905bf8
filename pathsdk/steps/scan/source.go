package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// scanSource looks for secrets in the source. It never follows a symbolic link.
func scanSource(ctx context.Context, dir string, l limits, jobs int) (secretResults, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	defer root.Close()
	var mu sync.Mutex
	var r secretResult
	var files int
	var bytes int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, jobs))
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if gctx.Err() != nil {
			return context.Cause(gctx)
		}
		if e.IsDir() {
			if e.Name() == ".git" || e.Name() == ".paths" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		if files++; files > l.files || bytes+info.Size() > l.content {
			mu.Lock()
			r.coverage.Truncated = true
			mu.Unlock()
			return fs.SkipAll
		}
		if !l.worthwhile(name, info.Size()) {
			mu.Lock()
			r.coverage.Skipped++
			mu.Unlock()
			return nil
		}
		bytes += info.Size()
		g.Go(func() error {
			found, size, scanned, err := scanSourceFile(root, name, info.Size(), l)
			mu.Lock()
			defer mu.Unlock()
			r.secrets = append(r.secrets, found...)
			if scanned {
				r.coverage.Files++
				r.coverage.Bytes += size
			} else {
				r.coverage.Skipped++
			}
			return err
		})
		return nil
	})
	if err := errors.Join(g.Wait(), err); err != nil {
		return nil, fmt.Errorf("look for secrets in the source: %w", err)
	}
	return secretResults{"": r}, nil
}

func scanSourceFile(root *os.Root, name string, size int64, l limits) ([]Secret, int64, bool, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, false, err
	}
	defer f.Close()
	b, err := readAll(f, size, l.text)
	if errors.Is(err, errBounded) {
		return nil, 0, false, nil
	}
	if err != nil {
		return nil, 0, false, err
	}
	found, scanned := l.scanFile(TargetSource, name, b)
	return found, int64(len(b)), scanned, nil
}
