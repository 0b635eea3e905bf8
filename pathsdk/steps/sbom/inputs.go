package sbom

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/pkg/cataloger/golang"
	gomod "golang.org/x/mod/module"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// pinned is one Go module of the build list, as the fetch step writes it.
type pinned struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum"`
}

// readModules reads the list of modules. A module without a version is one of
// the source's own.
func readModules(f step.File, limit int64) ([]pinned, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, fmt.Errorf("list of modules: %w", err)
	}
	defer file.Close()
	b, err := bounded(file, limit)
	if err != nil {
		return nil, fmt.Errorf("list of modules: %w", err)
	}
	return parseModules(b)
}

func parseModules(b []byte) ([]pinned, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	var all []pinned
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("list of modules is no JSON array of path, version and sum: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("list of modules: something follows the JSON array")
	}
	ms := all[:0]
	for _, m := range all {
		if m.Version == "" {
			continue
		}
		if err := gomod.Check(m.Path, m.Version); err != nil {
			return nil, fmt.Errorf("list of modules: %w", err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// readSource asks syft for the modules in the source's go.mod and go.sum. A
// source without go.mod has none.
func readSource(ctx context.Context, dir step.Dir, lim limits, work string) ([]pinned, []note, error) {
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	defer root.Close()
	t := newTree(lim)
	var spooled bytes.Buffer
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := readRegular(root, name, lim.input)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("source: %w", err)
		}
		err = t.add(-1, &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b))}, bytes.NewReader(b), func(n *node, r io.Reader) error {
			n.off = int64(spooled.Len())
			_, err := spooled.ReadFrom(r)
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("source: %w", err)
		}
	}
	t.spool = bytes.NewReader(spooled.Bytes())
	c := cataloger{name: "go.mod", find: func(ctx context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
		return golang.NewGoModuleFileCataloger(golangConfig()).Catalog(ctx, onlyModFile{s.resolver})
	}}
	ps, _, err := guard(ctx, c, &scene{resolver: newResolver(t), work: work}, lim.cataloger)
	if cerr := ctx.Err(); cerr != nil {
		return nil, nil, cerr
	}
	var notes []note
	if err != nil {
		notes = append(notes, note{"go.mod", shorten(clean(err.Error()))})
	}
	var ms []pinned
	for _, p := range ps {
		// Replacements by folders have no version: they are the source's own.
		if p.Version != "" && gomod.Check(p.Name, p.Version) == nil {
			ms = append(ms, pinned{Path: p.Name, Version: p.Version, Sum: sum(p)})
		}
	}
	return ms, notes, nil
}

// combine adds to the build list what go.mod alone names. Where both name a
// module, the build list has the version that was selected.
func combine(list, source []pinned) []pinned {
	have := map[string]bool{}
	for _, m := range list {
		have[m.Path] = true
	}
	all := slices.Clone(list)
	for _, m := range source {
		if !have[m.Path] {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b pinned) int {
		return strings.Compare(a.Path+"\x00"+a.Version+"\x00"+a.Sum, b.Path+"\x00"+b.Version+"\x00"+b.Sum)
	})
	return slices.CompactFunc(all, func(a, b pinned) bool { return a.Path == b.Path && a.Version == b.Version })
}

// onlyInputs makes packages of the modules that are in the build list but in no
// program of the image.
func onlyInputs(all []pinned, in []pkg.Package) []pkg.Package {
	linked := map[[2]string]bool{}
	for _, p := range in {
		if p.Type == pkg.GoModulePkg {
			linked[[2]string{p.Name, p.Version}] = true
		}
	}
	var ps []pkg.Package
	for _, m := range all {
		if linked[[2]string{m.Path, m.Version}] {
			continue
		}
		p := pkg.Package{
			Name: m.Path, Version: m.Version, PURL: modulePURL(m.Path, m.Version),
			Language: pkg.Go, Type: pkg.GoModulePkg, FoundBy: "go-build-list",
			Metadata: pkg.GolangModuleEntry{H1Digest: m.Sum},
		}
		p.SetID()
		ps = append(ps, p)
	}
	return ps
}

// modulePURL follows the package URL specification, type golang, with the whole
// module path in namespace and name.
func modulePURL(path, version string) string {
	namespace, name := "", path
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		namespace, name = path[:i], path[i+1:]
	}
	return packageurl.NewPackageURL(packageurl.TypeGolang, namespace, name, version, nil, "").ToString()
}

func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded(f, limit)
}

func bounded(f *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return b, err
}

// onlyModFile answers the search for go.mod, and none for licences: those
// patterns are made of module names.
type onlyModFile struct{ *resolver }

func (o onlyModFile) FilesByGlob(patterns ...string) ([]file.Location, error) {
	if !slices.Equal(patterns, []string{"**/go.mod"}) {
		return nil, nil
	}
	return o.resolver.FilesByPath("/go.mod")
}
