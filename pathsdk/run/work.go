package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// claim makes the working folder of one run, and a lock beside it that is held
// as long as the process lives: the kernel lets go of it after kill -9.
func claim(base, id string) (string, *os.File, error) {
	dir := filepath.Join(base, id)
	lock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", nil, fmt.Errorf("lock the working folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", nil, fmt.Errorf("make the working folder: %w", err)
	}
	return dir, lock, nil
}

// lockFile makes a file and locks it. The name is nobody else's, but sweep, of another
// run, may find the file before it is locked: it then has the lock for a moment, and
// removes the file.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		} else if err == nil {
			if isAt(f, path) {
				return f, nil
			}
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// isAt reports whether a file that is open still has that name: what is locked may be a
// file that was removed meanwhile, and the name another one's.
func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	there, thereErr := os.Stat(path)
	return err == nil && thereErr == nil && os.SameFile(mine, there)
}

// sweep removes working folders whose process is gone. What can't be removed
// now is tried again by the next run.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".lock")
		if !ok {
			continue
		}
		path := filepath.Join(base, e.Name())
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && isAt(f, path) {
			_ = removeTree(filepath.Join(base, name))
			_ = os.Remove(path)
		}
		_ = f.Close()
	}
}

// removeTree removes a tree even if user code took away its write permission.
func removeTree(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
