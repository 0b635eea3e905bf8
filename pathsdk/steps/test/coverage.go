package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/tools/cover"
)

// maxProfile bounds a cover profile, which hostile code had a hand in.
const maxProfile = 64 << 20

// coverage is the covered statements of all tested packages together.
type coverage struct {
	covered, total int64
	files          []*cover.Profile
}

// readCoverage reads the go command's cover profile. Without one, nothing is
// covered.
func readCoverage(path string) (coverage, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return coverage{}, nil
	}
	if err != nil {
		return coverage{}, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil {
		return coverage{}, err
	} else if fi.Size() > maxProfile {
		return coverage{}, fmt.Errorf("it is longer than %d bytes", maxProfile)
	}
	return parseCoverage(f)
}

func parseCoverage(r io.Reader) (coverage, error) {
	files, err := cover.ParseProfilesFromReader(io.LimitReader(r, maxProfile))
	if err != nil {
		return coverage{}, err
	}
	c := coverage{files: files}
	for _, f := range files {
		for _, b := range f.Blocks {
			if b.NumStmt < 0 || b.NumStmt > 1<<20 {
				return coverage{}, fmt.Errorf("%s:%d has %d statements", f.FileName, b.StartLine, b.NumStmt)
			}
			c.total += int64(b.NumStmt)
			if b.Count > 0 {
				c.covered += int64(b.NumStmt)
			}
		}
	}
	return c, nil
}

// percent is the share with one decimal, rounded down so that it never looks
// like more than it is; empty without statements.
func (c coverage) percent() string {
	if c.total == 0 {
		return ""
	}
	tenths := c.covered * 1000 / c.total
	return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
}

// atLeast reports whether min percent are covered.
func (c coverage) atLeast(min int) bool {
	return c.total > 0 && c.covered*100 >= c.total*int64(min)
}

// profile writes the profile sorted: the go command's own order is that in
// which packages happened to end.
func (c coverage) profile() []byte {
	var b bytes.Buffer
	mode := "set"
	if len(c.files) > 0 {
		mode = c.files[0].Mode
	}
	fmt.Fprintf(&b, "mode: %s\n", mode)
	for _, f := range c.files {
		name := strings.ToValidUTF8(f.FileName, "\uFFFD")
		for _, k := range f.Blocks {
			fmt.Fprintf(&b, "%s:%d.%d,%d.%d %d %d\n", name, k.StartLine, k.StartCol, k.EndLine, k.EndCol, k.NumStmt, k.Count)
		}
	}
	return b.Bytes()
}
