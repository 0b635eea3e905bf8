// Package gomod holds what the steps know of Go modules: the list of pinned
// modules that fetch hands on, the sums of go.sum, and the one environment in
// which the go command runs wherever it compiles the service.
package gomod

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/mod/module"
)

// The limits of what is read.
const (
	// MaxFile bounds go.mod, go.sum, vendor/modules.txt and a list of modules.
	MaxFile = 16 << 20
	// MaxModules bounds the modules of one build.
	MaxModules = 20_000
)

// Module is one module of the build list, at the place its bytes come from: a
// replaced module stands under its replacement.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	// Sum is the module's h1 sum in go.sum, of the module's zip.
	Sum string `json:"sum"`
}

// Write writes the modules as JSON, sorted by path and version.
func Write(w io.Writer, modules []Module) error {
	m := slices.Clone(modules)
	Sort(m)
	if m == nil {
		m = []Module{}
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Read reads what Write wrote. It refuses anything else: unknown fields,
// repeated, unsorted or malformed modules, more than the limits allow.
func Read(r io.Reader) ([]Module, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("list of modules is larger than %d bytes", MaxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var m []Module
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("list of modules: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("list of modules: more follows after its end")
	}
	return m, Check(m)
}

// Check reports what is wrong with a list of modules: it must be sorted,
// without repeats, and every element must have a valid path, version and sum.
func Check(m []Module) error {
	if len(m) > MaxModules {
		return fmt.Errorf("list of modules has more than %d elements", MaxModules)
	}
	for i, e := range m {
		if err := module.Check(e.Path, e.Version); err != nil {
			return fmt.Errorf("list of modules: %w", err)
		}
		if !validSum(e.Sum) {
			return fmt.Errorf("list of modules: %s@%s has no h1 sum", e.Path, e.Version)
		}
		if i > 0 && compare(m[i-1], e) >= 0 {
			return fmt.Errorf("list of modules: %s@%s is repeated or out of order", e.Path, e.Version)
		}
	}
	return nil
}

// Sort sorts modules by path and version, as text.
func Sort(m []Module) { slices.SortFunc(m, compare) }

func compare(a, b Module) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Version, b.Version))
}

// Sums are the h1 sums of a go.sum file. The version of a key has the suffix
// /go.mod where the sum is of that file alone.
type Sums map[module.Version]string

// ParseSums reads a go.sum file. Lines with another hash than h1 are skipped,
// as the go command does; contradicting lines are an error.
func ParseSums(b []byte) (Sums, error) {
	sums := Sums{}
	for i, line := range bytes.Split(b, []byte{'\n'}) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("go.sum line %d has %d fields, want 3: restore the file or run `go mod tidy`", i+1, len(f))
		}
		if !strings.HasPrefix(f[2], "h1:") {
			continue
		}
		if !validSum(f[2]) {
			return nil, fmt.Errorf("go.sum line %d has a malformed sum: restore the file or run `go mod tidy`", i+1)
		}
		k := module.Version{Path: f[0], Version: f[1]}
		if old, ok := sums[k]; ok && old != f[2] {
			return nil, fmt.Errorf("go.sum has two different sums for %s %s: find out which is right before you go on", f[0], f[1])
		}
		sums[k] = f[2]
	}
	return sums, nil
}

func validSum(s string) bool {
	h, ok := strings.CutPrefix(s, "h1:")
	return ok && len(h) == 44 && strings.IndexFunc(h, func(r rune) bool {
		return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '+' || r == '/' || r == '=')
	}) < 0
}
