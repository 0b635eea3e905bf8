package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/version"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/pavedpaths/paths/pathsdk/internal/gomod"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// requirements is what a source says about its modules.
type requirements struct {
	mod  *modfile.File
	sums gomod.Sums
	// modBytes and sumBytes are the files as they are in the source.
	modBytes, sumBytes []byte
}

// modules makes sure that every module of the build list is in the module
// cache with the content that go.sum pins, and lists them.
func (c child) modules(ctx context.Context, tc toolchain, source string) ([]gomod.Module, error) {
	req, err := readRequirements(source)
	if err != nil {
		return nil, err
	}
	if err := req.checkGo(tc); err != nil {
		return nil, err
	}
	if err := req.checkReplaced(source); err != nil {
		return nil, err
	}
	if gomod.Vendored(source) {
		return req.vendored(source)
	}
	if req.complete() {
		if err := req.missing(req.listed()); err != nil {
			return nil, err
		}
	}
	return c.download(ctx, tc, source, req)
}

func readRequirements(source string) (requirements, error) {
	var r requirements
	var err error
	if r.modBytes, err = readBounded(filepath.Join(source, "go.mod")); err != nil {
		return r, fmt.Errorf("source: %w", err)
	}
	if r.mod, err = modfile.Parse("go.mod", r.modBytes, nil); err != nil {
		return r, step.Usagef("source: %w", err)
	}
	if r.mod.Module == nil {
		return r, step.Usagef("source: go.mod has no module line: run `go mod init`")
	}
	if r.sumBytes, err = readBounded(filepath.Join(source, "go.sum")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("source: %w", err)
	}
	if r.sums, err = gomod.ParseSums(r.sumBytes); err != nil {
		return r, step.Usagef("source: %w", err)
	}
	return r, nil
}

func (r requirements) goVersion() string {
	if r.mod.Go == nil {
		return "go1.16" // what the go command assumes
	}
	return "go" + r.mod.Go.Version
}

// complete reports whether go.mod lists every module that a build or test
// needs, as it does from Go 1.17 on (Go modules reference, "Graph pruning").
func (r requirements) complete() bool { return version.Compare(r.goVersion(), "go1.17") >= 0 }

func (r requirements) checkGo(tc toolchain) error {
	if version.Compare(r.goVersion(), tc.version) <= 0 {
		return nil
	}
	return step.Usagef("the source needs %s (line \"go %s\" of go.mod), but the toolchain is %s: set toolchain to %s to have it downloaded, or install that version of Go",
		r.goVersion(), r.mod.Go.Version, tc.version, released(r.goVersion()))
}

// released names a version that can be downloaded: from Go 1.21 on, the first
// release of a language version has the suffix .0.
func released(v string) string {
	if version.Lang(v) == v && version.Compare(v, "go1.21") >= 0 {
		return v + ".0"
	}
	return v
}

// checkReplaced checks that modules which folders replace are in the source.
func (r requirements) checkReplaced(source string) error {
	for _, rep := range r.mod.Replace {
		if rep.New.Version != "" {
			continue
		}
		dir := path.Clean(rep.New.Path)
		if path.IsAbs(dir) || dir == ".." || strings.HasPrefix(dir, "../") {
			return step.Usagef("go.mod replaces %s by %s, which is not part of the source: publish that module, or move it below the folder of the service", rep.Old.Path, rep.New.Path)
		}
		if _, err := os.Stat(filepath.Join(source, dir, "go.mod")); err != nil {
			return step.Usagef("go.mod replaces %s by %s, but there is no go.mod in it", rep.Old.Path, rep.New.Path)
		}
	}
	return nil
}

// listed are the modules that go.mod requires, at the place that their bytes
// come from; those in folders of the source have no place of their own.
func (r requirements) listed() []module.Version {
	var ms []module.Version
	for _, q := range r.mod.Require {
		m := q.Mod
		for _, rep := range r.mod.Replace {
			// A replacement of one version goes before one of all.
			if rep.Old == q.Mod || rep.Old.Path == q.Mod.Path && rep.Old.Version == "" && m == q.Mod {
				m = rep.New
			}
		}
		if m.Version != "" {
			ms = append(ms, m)
		}
	}
	return ms
}

// missing is the error for modules whose sum is not in go.sum.
func (r requirements) missing(ms []module.Version) error {
	var names []string
	for _, m := range ms {
		if r.sums[m] == "" {
			names = append(names, m.String())
		}
	}
	if len(names) == 0 {
		return nil
	}
	more := ""
	if len(names) > 5 {
		names, more = names[:5], fmt.Sprintf(" and %d more", len(names)-5)
	}
	return step.Usagef("go.sum does not pin %s%s: run `go mod tidy` in the source and commit go.mod and go.sum", strings.Join(names, ", "), more)
}

// vendored lists the modules of a vendor folder. Their bytes are part of the
// source, and so of its digest; the go command checks the folder against
// go.mod when it builds.
func (r requirements) vendored(source string) ([]gomod.Module, error) {
	b, err := readBounded(filepath.Join(source, "vendor", "modules.txt"))
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	var ms []module.Version
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "#" {
			continue
		}
		m := module.Version{Path: f[1], Version: f[2]}
		// "# old v1 => new v2", "# old v1 => ./folder" or, for a replacement
		// that nothing uses, "# old => new v2".
		if i := strings.Index(line, " => "); i >= 0 {
			if f[2] == "=>" {
				continue
			}
			to := strings.Fields(line[i+4:])
			if len(to) != 2 {
				continue
			}
			m = module.Version{Path: to[0], Version: to[1]}
		}
		ms = append(ms, m)
	}
	if err := r.missing(ms); err != nil {
		return nil, err
	}
	return r.pinned(ms), nil
}

// pinned lists those of the modules that go.sum pins.
func (r requirements) pinned(ms []module.Version) []gomod.Module {
	list := []gomod.Module{}
	seen := map[module.Version]bool{}
	for _, m := range ms {
		if sum := r.sums[m]; sum != "" && !seen[m] {
			seen[m] = true
			list = append(list, gomod.Module{Path: m.Path, Version: m.Version, Sum: sum})
		}
	}
	gomod.Sort(list)
	return list
}

// unchanged checks that the go command left go.mod and go.sum as they were.
func (r requirements) unchanged(source string) error {
	for name, before := range map[string][]byte{"go.mod": r.modBytes, "go.sum": r.sumBytes} {
		after, err := readBounded(filepath.Join(source, name))
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && len(before) == 0) {
			return fmt.Errorf("source: %w", err)
		}
		if !bytes.Equal(before, after) {
			return step.Usagef("%s is not complete: run `go mod tidy` in the source and commit go.mod and go.sum", name)
		}
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, gomod.MaxFile+1))
	if err == nil && len(b) > gomod.MaxFile {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), gomod.MaxFile)
	}
	return b, err
}
