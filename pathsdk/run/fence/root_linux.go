package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// oldRoot is where the host's root is while the private one is made.
const oldRoot = "/.host"

// privateRoot replaces the root folder by an empty one in memory, in which only
// read and write (real paths) exist; links lists paths as they were given,
// whose symbolic links are made anew. proc says that /proc could be mounted.
// Landlock alone would let the child look at names and connect to the sockets
// of other programs.
func privateRoot(read, write, links []string) (proc bool, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return false, fmt.Errorf("make mounts private: %w", err)
	}
	base, err := mountPoint()
	if err != nil {
		return false, err
	}
	if err := unix.Mount("paths", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return false, fmt.Errorf("mount a new root: %w", err)
	}
	if err := os.Mkdir(base+oldRoot, 0o700); err != nil {
		return false, err
	}
	if err := unix.PivotRoot(base, base+oldRoot); err != nil {
		return false, fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return false, err
	}
	for _, b := range binds(read, write) {
		if err := b.mount(); err != nil {
			return false, fmt.Errorf("mount %s: %w", b.path, err)
		}
	}
	for _, p := range links {
		if err := relink(p, 0); err != nil {
			return false, fmt.Errorf("link %s: %w", p, err)
		}
	}
	proc = mountProc() == nil
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return false, fmt.Errorf("let go of the host's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return false, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &attr); err != nil {
		return false, fmt.Errorf("make the root read-only: %w", err)
	}
	return proc, nil
}

// mountPoint is a folder that exists, to mount the new root on for a moment.
func mountPoint() (string, error) {
	for _, p := range []string{"/tmp", "/var", "/usr"} {
		if fi, err := os.Lstat(p); err == nil && fi.IsDir() {
			return p, nil
		}
	}
	return "", errors.New("no folder to mount a new root on")
}

// mountProc mounts /proc for the new pid namespace; the kernel refuses where a
// container hides parts of its own.
func mountProc() error {
	if err := os.Mkdir("/proc", 0o555); err != nil {
		return err
	}
	return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// bind is one folder or file of the host that exists in the private root too.
type bind struct {
	path  string
	write bool
}

// binds sorts parents before what is below them, and leaves out what a parent
// gives already.
func binds(read, write []string) []bind {
	var all []bind
	for _, p := range read {
		all = append(all, bind{path: p})
	}
	for _, p := range write {
		all = append(all, bind{path: p, write: true})
	}
	slices.SortFunc(all, func(a, b bind) int {
		if c := strings.Compare(a.path, b.path); c != 0 || a.write == b.write {
			return c
		} else if a.write {
			return -1
		}
		return 1
	})
	var need []bind
	for _, b := range all {
		var above bind
		for _, n := range need {
			if within(b.path, n.path) {
				above = n // the deepest comes last
			}
		}
		if above.path == "" || b.write && !above.write || !b.write && above.write && b.path != above.path {
			need = append(need, b)
		}
	}
	return need
}

// mount makes b appear at its own path.
func (b bind) mount() error {
	host := oldRoot + b.path
	fi, err := os.Stat(host)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(b.path); errors.Is(err, fs.ErrNotExist) {
		if fi.IsDir() {
			err = os.Mkdir(b.path, 0o755)
		} else {
			err = os.WriteFile(b.path, nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Mount(host, b.path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	if !b.write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	flags := uint(0)
	if fi.IsDir() {
		flags = unix.AT_RECURSIVE
	}
	return unix.MountSetattr(unix.AT_FDCWD, b.path, flags, &attr)
}

// relink makes the symbolic links on the way along p that the private root
// lacks, and the folders that they stand in.
func relink(p string, depth int) error {
	if depth > 40 {
		return errors.New("too many symbolic links")
	}
	parts := strings.Split(strings.TrimPrefix(filepath.Clean(p), "/"), "/")
	cur := "/"
	for i, part := range parts {
		next := filepath.Join(cur, part)
		fi, err := os.Lstat(oldRoot + next)
		if err != nil {
			return err
		}
		_, err = os.Lstat(next)
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(oldRoot + next)
			if err != nil {
				return err
			}
			if missing {
				if err := os.Symlink(target, next); err != nil {
					return err
				}
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(cur, target)
			}
			return relink(filepath.Join(append([]string{target}, parts[i+1:]...)...), depth+1)
		case !missing:
		case i+1 < len(parts):
			if err := os.Mkdir(next, 0o755); err != nil {
				return err
			}
		default:
			return nil // hidden on purpose
		}
		cur = next
	}
	return nil
}
