package sbom

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/pkg/cataloger/alpine"
	"github.com/anchore/syft/syft/pkg/cataloger/debian"
	"github.com/anchore/syft/syft/pkg/cataloger/golang"
	"github.com/anchore/syft/syft/pkg/cataloger/javascript"
	"github.com/anchore/syft/syft/pkg/cataloger/python"
	"github.com/anchore/syft/syft/pkg/cataloger/redhat"
	"github.com/anchore/syft/syft/pkg/cataloger/ruby"

	"github.com/anchore/syft/syft/file"
)

// cataloger finds packages of one kind in an image.
type cataloger struct {
	name string
	find func(context.Context, *scene) ([]pkg.Package, []artifact.Relationship, error)
}

// scene is what a cataloger may see.
type scene struct {
	resolver *resolver
	programs []found
	release  *linux.Release
	work     string
}

// catalogers lists what is looked for: the packages of the distributions that
// base images are made of, Go programs, and what the usual interpreters install.
// syft's own runner is not used: it compiles a licence classifier for about a
// second, and keeps its files outside of the step's folder.
func catalogers() []cataloger {
	plain := func(name string, c pkg.Cataloger) cataloger {
		return cataloger{name, func(ctx context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
			return c.Catalog(ctx, s.resolver)
		}}
	}
	return []cataloger{
		plain("apk", alpine.NewDBCataloger()),
		plain("dpkg", debian.NewDBCataloger()),
		{"rpm", findRPM},
		{"rpm manifest", func(ctx context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
			return redhat.NewDBCataloger().Catalog(ctx, manifestsOnly{s.resolver})
		}},
		{"go", findGo},
		plain("python", python.NewInstalledPackageCataloger()),
		plain("npm", javascript.NewPackageCataloger()),
		plain("gem", ruby.NewInstalledGemSpecCataloger()),
	}
}

// findGo shows syft the programs whose build information could be read, and
// nothing to search for licences in.
func findGo(ctx context.Context, s *scene) ([]pkg.Package, []artifact.Relationship, error) {
	view := *s.resolver
	view.programs, view.blind = s.programs, true
	return golang.NewGoModuleBinaryCataloger(golangConfig()).Catalog(ctx, &view)
}

// golangConfig never runs the go command, reads the environment or asks a
// network, all of which syft's default does.
func golangConfig() golang.CatalogerConfig {
	return golang.CatalogerConfig{
		MainModuleVersion: golang.MainModuleVersionConfig{FromBuildSettings: true},
	}.WithUsePackagesLib(false)
}

// inventory is what was found in an image.
type inventory struct {
	packages []pkg.Package
	// relations are between packages only.
	relations []artifact.Relationship
	release   *linux.Release
	notes     []note
	omitted   int // notes beyond the limit
	truth     []module
}

// note says what could not be examined: partial failure is part of the result.
type note struct {
	Subject string
	Reason  string
}

func (n note) String() string { return n.Subject + ": " + n.Reason }

// take runs every cataloger over an image. The failure of one is a note, unless
// the context has ended.
func take(ctx context.Context, img *image, cs []cataloger, work string) (*inventory, error) {
	inv := &inventory{}
	lim := img.tree.limits
	seen := map[note]bool{}
	add := func(subject, reason string) {
		n := note{clean(subject), shorten(clean(strings.ReplaceAll(reason, work, "")))}
		switch {
		case seen[n]:
		case len(inv.notes) >= lim.notes:
			inv.omitted++
		default:
			seen[n] = true
			inv.notes = append(inv.notes, n)
		}
	}
	s := &scene{resolver: newResolver(img.tree), work: work}
	g := survey(s.resolver, add)
	s.programs, inv.truth = g.programs, g.modules
	s.release = linux.IdentifyRelease(s.resolver)
	inv.release = s.release

	for _, c := range cs {
		ps, rs, err := guard(ctx, c, s, lim.cataloger)
		if cerr := ctx.Err(); cerr != nil {
			return nil, fmt.Errorf("catalog %s of image %s: %w", c.name, img.digest, cerr)
		}
		if err != nil {
			add("cataloger "+c.name, err.Error())
		}
		if s.resolver.flooded.Load() {
			return nil, fmt.Errorf("image %s has more than %d files that describe packages, which no image has by right", img.digest, lim.packages)
		}
		inv.packages = append(inv.packages, ps...)
		inv.relations = append(inv.relations, rs...)
		if len(inv.packages) > lim.packages {
			return nil, fmt.Errorf("image %s has more than %d packages, which no image has by right", img.digest, lim.packages)
		}
	}
	owned := inv.owned(img.tree)
	if img.tree.steps.Load() > lim.steps {
		// From there on paths led nowhere.
		return nil, fmt.Errorf("image %s: %w", img.digest, errTooComplex)
	}
	for _, f := range g.others {
		if f.node.exec && !owned[f.node] {
			add(f.access, "an executable that belongs to no package and has no build information")
		}
	}
	for _, f := range s.resolver.regular() {
		if reason, ok := archives[extension(f.node.name)]; ok {
			add(f.access, reason)
		}
	}
	inv.merge()
	slices.SortFunc(inv.notes, func(a, b note) int { return strings.Compare(a.String(), b.String()) })
	if inv.omitted > 0 {
		inv.notes = append(inv.notes, note{"image", fmt.Sprintf("%d more notes are left out", inv.omitted)})
	}
	return inv, nil
}

// archives are packages of ecosystems that are not looked into.
var archives = map[string]string{
	".jar": "a Java archive, not examined", ".war": "a Java archive, not examined", ".ear": "a Java archive, not examined",
	".dll": "a library for another system, not examined", ".phar": "a PHP archive, not examined",
}

func extension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && len(name)-i < 8 {
		return strings.ToLower(name[i:])
	}
	return ""
}

// guard bounds a cataloger in time, and turns its panic into an error: it parses
// a producer's bytes. A cataloger that doesn't end in time is left behind; it
// fails as soon as the image is closed.
func guard(ctx context.Context, c cataloger, s *scene, limit time.Duration) ([]pkg.Package, []artifact.Relationship, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		ps  []pkg.Package
		rs  []artifact.Relationship
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("gave up on a malformed file: %v", p)}
			}
			done <- r
		}()
		r.ps, r.rs, r.err = c.find(ctx, s)
	}()
	select {
	case r := <-done:
		return r.ps, r.rs, r.err
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("not ready within %s", limit)
	}
}

// owned lists the files that belong to a package of the distribution, whose
// lists often name them through linked folders.
func (inv *inventory) owned(t *tree) map[*node]bool {
	m := map[*node]bool{}
	for _, p := range inv.packages {
		if o, ok := p.Metadata.(pkg.FileOwner); ok {
			for _, f := range o.OwnedFiles() {
				if n := t.lookup(f, true); n != nil {
					m[n] = true
				}
			}
		}
	}
	return m
}

// manifestsOnly hides rpm's databases, which findRPM reads.
type manifestsOnly struct{ *resolver }

func (m manifestsOnly) FilesByGlob(patterns ...string) ([]file.Location, error) {
	return m.resolver.FilesByGlob(slices.DeleteFunc(slices.Clone(patterns), func(p string) bool { return p == pkg.RpmDBGlob })...)
}

func shorten(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// temporary makes an empty file below work and returns its path and a function
// that removes it.
func temporary(work, pattern string) (*os.File, func(), error) {
	f, err := os.CreateTemp(work, pattern)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }, nil
}
