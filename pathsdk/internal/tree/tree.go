// Package tree turns a folder into a deterministic tar archive and back. The
// archive is the source as everything downstream knows it: its digest is the
// digest of the tar's bytes, and it is the same for everybody who has the same
// files, whoever they are, wherever the folder lies, and however it was made.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"unicode/utf8"
)

// The limits of a tree, for reading and for writing alike. They are far above
// any service's source, and low enough that a bomb cannot fill a disk.
const (
	// MaxEntries bounds the files and links of a tree.
	MaxEntries = 100_000
	// MaxBytes bounds the content of all files together: 1 GiB.
	MaxBytes = 1 << 30
	// MaxName bounds the length of a path within the tree, in bytes.
	MaxName = 1024
	// MaxDepth bounds the number of elements of a path within the tree.
	MaxDepth = 64
)

// Limits bound what Extract writes. A zero field stands for the package's own
// limit, which no field can raise.
type Limits struct {
	Entries int
	Bytes   int64
}

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 || l.Entries > MaxEntries {
		l.Entries = MaxEntries
	}
	if l.Bytes <= 0 || l.Bytes > MaxBytes {
		l.Bytes = MaxBytes
	}
	return l
}

// Error is a tree that cannot be archived or an archive that cannot be
// extracted, because of one of its entries.
type Error struct {
	// Name is the entry's path within the tree.
	Name string
	// Reason says what is wrong with it and what to do next.
	Reason string
}

// Error names the entry and the reason. The name is quoted, since it may hold
// anything.
func (e *Error) Error() string { return fmt.Sprintf("%.200q %s", e.Name, e.Reason) }

func bad(name, format string, args ...any) error {
	return &Error{Name: name, Reason: fmt.Sprintf(format, args...)}
}

// checkName accepts the one form of a name that both directions use: relative,
// clean, with slashes, valid UTF-8.
func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return bad(name, "is not a valid UTF-8 name: rename it")
	case strings.ContainsRune(name, 0):
		return bad(name, "has a NUL byte in its name")
	case len(name) > MaxName:
		return bad(name, "has a path longer than %d bytes", MaxName)
	case strings.Count(name, "/") >= MaxDepth:
		return bad(name, "lies deeper than %d folders", MaxDepth)
	case !fs.ValidPath(name) || name == ".":
		return bad(name, "is not a clean relative path")
	}
	return nil
}

// checkTarget refuses a link that can lead out of the tree by its text alone.
// It is stricter than the kernel: a target that only comes back after it left
// is refused too.
func checkTarget(name, target string) error {
	switch {
	case target == "":
		return bad(name, "is a symbolic link without a target")
	case len(target) > MaxName || !utf8.ValidString(target) || strings.ContainsRune(target, 0):
		return bad(name, "is a symbolic link whose target is no valid UTF-8 path of at most %d bytes", MaxName)
	case path.IsAbs(target):
		return bad(name, "is a symbolic link to the absolute path %.200q: make it relative, or leave it out of the source", target)
	}
	if to := path.Join(path.Dir(name), target); to == ".." || strings.HasPrefix(to, "../") {
		return bad(name, "is a symbolic link to %.200q, outside the source: copy what it points to into the source, or remove the link", target)
	}
	return nil
}

// checkLink follows a link within root, which sees what the text of its target
// cannot show: links that leave the tree by way of other links. A link to
// nothing is harmless and stays.
func checkLink(root *os.Root, name string) error {
	_, err := root.Stat(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case errors.Is(err, syscall.ELOOP):
		return bad(name, "is a symbolic link in a loop: remove it")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("follow link %q: %w", name, err)
	}
	return bad(name, "is a symbolic link that leads outside the source: copy what it points to into the source, or remove the link")
}
