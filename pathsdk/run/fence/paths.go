package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// System lists what every fenced child may read: programs and libraries of the
// operating system, and the few files of /etc that describe no secret. Entries
// that this machine lacks are left out.
func System() []string {
	var have []string
	for _, p := range []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/etc/alternatives", "/etc/group", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf",
		"/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf",
		"/etc/passwd", "/etc/pki/tls/certs", "/etc/protocols", "/etc/resolv.conf",
		"/etc/services", "/etc/ssl/certs", "/etc/ca-certificates",
		// The Go runtime asks once for the size of huge pages.
		"/sys/kernel/mm/transparent_hugepage",
	} {
		if _, err := os.Stat(p); err == nil {
			have = append(have, p)
		}
	}
	return have
}

// devices are the harmless ones; they may be written to.
func devices() []string {
	var have []string
	for _, p := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"} {
		if _, err := os.Stat(p); err == nil {
			have = append(have, p)
		}
	}
	return have
}

// resolve returns the real, absolute forms of paths, sorted and without
// repeats. A path that does not exist is an error: a right to nothing is a
// mistake of the caller.
func resolve(what string, paths []string) ([]string, error) {
	var real []string
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("fence: %s path %q is not absolute", what, p)
		}
		r, err := filepath.EvalSymlinks(p)
		if err != nil {
			return nil, fmt.Errorf("fence: %s path: %w", what, err)
		}
		real = append(real, r)
	}
	slices.Sort(real)
	return slices.Compact(real), nil
}

// carve takes hide out of paths; both are real. A folder with something hidden
// below is replaced by its entries, as they are now. That folder itself can't
// be listed any more, and what is made in it later stays out of reach: rights
// can only be given to a whole tree.
func carve(paths, hide []string) ([]string, error) {
	var keep []string
	for _, p := range paths {
		if slices.ContainsFunc(hide, func(h string) bool { return within(p, h) }) {
			continue
		}
		if !slices.ContainsFunc(hide, func(h string) bool { return within(h, p) }) {
			keep = append(keep, p)
			continue
		}
		entries, err := os.ReadDir(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("fence: hide a part of %s: %w", p, err)
		}
		var below []string
		for _, e := range entries {
			// A link gives no right to where it points.
			if e.Type()&fs.ModeSymlink == 0 {
				below = append(below, filepath.Join(p, e.Name()))
			}
		}
		below, err = carve(below, hide)
		if err != nil {
			return nil, err
		}
		keep = append(keep, below...)
	}
	return keep, nil
}

// realHidden resolves what is to be hidden, as far as it exists.
func realHidden(hide []string) []string {
	var real []string
	for _, h := range hide {
		real = append(real, filepath.Clean(h))
		if r, err := filepath.EvalSymlinks(h); err == nil {
			real = append(real, r)
		}
	}
	return real
}

// within reports whether p is dir or below it; both are clean and absolute.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// lookPath finds a program as a shell in that environment and folder would; the
// PATH of this process plays no part.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	path := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue
		}
		p := filepath.Join(d, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("find program %q: %w on PATH=%s; name it by its absolute path or install it below one of these", name, fs.ErrNotExist, path)
}
