package build

import (
	"fmt"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// mainPackage returns the folder of the main package, relative to the module
// and with slashes: the given one, or the only one there is.
//
// It reads package clauses and build constraints itself, in a few milliseconds,
// where `go list` would load the whole import graph.
func mainPackage(source, given string, platform v1.Platform, tags []string) (string, error) {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH = platform.OS, platform.Architecture
	ctx.CgoEnabled = false
	ctx.BuildTags = tags
	if given != "" {
		rel := path.Clean(filepath.ToSlash(given))
		if path.IsAbs(rel) || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", step.Usagef("input %q: %q is not within the module: give a path such as ./cmd/server", "package", given)
		}
		name, err := packageName(&ctx, filepath.Join(source, rel))
		switch {
		case err != nil:
			return "", step.Usagef("input %q: %q: %w", "package", given, err)
		case name == "":
			return "", step.Usagef("input %q: %q has no Go files for %s", "package", given, platform)
		case name != "main":
			return "", step.Usagef("input %q: %q is package %s, not a main package", "package", given, name)
		}
		return rel, nil
	}
	found, err := mainPackages(&ctx, source)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", step.Usagef("input %q: the module has no main package for %s: a service needs one", "package", platform)
	}
	shown, more := found, ""
	if len(found) > 10 {
		shown, more = found[:10], fmt.Sprintf(" and %d more", len(found)-10)
	}
	return "", step.Usagef("input %q: the module has %d main packages: choose one of ./%s%s", "package", len(found), strings.Join(shown, ", ./"), more)
}

// mainPackages lists the folders with a main package. Folders that the go
// command's ./... passes over are passed over, and so are nested modules.
func mainPackages(ctx *build.Context, source string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if p != source {
			n := d.Name()
			if n == "vendor" || n == "testdata" || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		}
		name, err := packageName(ctx, p)
		if err != nil || name != "main" {
			return nil // a broken file elsewhere is not this step's to report
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		found = append(found, filepath.ToSlash(rel))
		return nil
	})
	slices.Sort(found)
	return found, err
}

// packageName returns the name of the package in dir, or "" if no file of it
// is for this platform.
func packageName(ctx *build.Context, dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		n := e.Name()
		if !e.Type().IsRegular() || !strings.HasSuffix(n, ".go") || strings.HasSuffix(n, "_test.go") {
			continue
		}
		if ok, err := ctx.MatchFile(dir, n); err != nil || !ok {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, n), nil, parser.PackageClauseOnly)
		if err != nil {
			return "", fmt.Errorf("%s: %w", n, err)
		}
		if f.Name.Name != "documentation" {
			return f.Name.Name, nil
		}
	}
	return "", nil
}
