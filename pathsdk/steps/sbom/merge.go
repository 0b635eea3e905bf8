package sbom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"
)

// merge leaves each package once, wherever it was found, in a fixed order, and
// drops what says nothing about a package.
func (inv *inventory) merge() {
	for i := range inv.packages {
		inv.packages[i] = slim(inv.packages[i])
	}
	slices.SortStableFunc(inv.packages, compare)
	place := map[string]int{}
	renamed := map[artifact.ID]int{}
	var kept []pkg.Package
	for _, p := range inv.packages {
		k := identity(p)
		i, ok := place[k]
		if !ok {
			i = len(kept)
			place[k] = i
			p.Locations = file.NewLocationSet(p.Locations.ToSlice()...)
			kept = append(kept, p)
		} else {
			kept[i].Locations.Add(p.Locations.ToSlice()...)
		}
		renamed[p.ID()] = i
	}
	for i := range kept {
		kept[i].SetID()
	}
	inv.packages = kept

	var relations []artifact.Relationship
	seen := map[[2]int]bool{}
	for _, r := range inv.relations {
		if r.Type != artifact.DependencyOfRelationship || r.From == nil || r.To == nil {
			continue
		}
		from, ok := renamed[r.From.ID()]
		to, ok2 := renamed[r.To.ID()]
		if !ok || !ok2 || from == to || seen[[2]int{from, to}] {
			continue
		}
		seen[[2]int{from, to}] = true
		relations = append(relations, artifact.Relationship{From: kept[from], To: kept[to], Type: r.Type})
	}
	slices.SortFunc(relations, func(a, b artifact.Relationship) int {
		return cmp.Or(cmp.Compare(a.To.ID(), b.To.ID()), cmp.Compare(a.From.ID(), b.From.ID()))
	})
	inv.relations = relations
}

// slim drops lists of files, which are no part of an inventory of packages, and
// licences that are nothing but the hash of a text. The identifier stays until
// relations are mapped.
func slim(p pkg.Package) pkg.Package {
	switch m := p.Metadata.(type) {
	case pkg.DpkgDBEntry:
		m.Files = nil
		p.Metadata = m
	case pkg.ApkDBEntry:
		m.Files = nil
		p.Metadata = m
	case pkg.RpmDBEntry:
		m.Files, m.Provides, m.Requires = nil, nil, nil
		p.Metadata = m
	case pkg.PythonPackage:
		m.Files = nil
		p.Metadata = m
	case pkg.RubyGemspec:
		m.Files = nil
		p.Metadata = m
	}
	var ls []pkg.License
	for _, l := range p.Licenses.ToSlice() {
		if strings.HasPrefix(l.Value, "sha256:") {
			continue
		}
		l.Contents = ""
		l.Locations = file.NewLocationSet()
		ls = append(ls, l)
	}
	p.Licenses = pkg.NewLicenseSet(ls...)
	return p
}

// identity is what makes two finds the same package.
func identity(p pkg.Package) string {
	return strings.Join([]string{string(p.Type), p.Name, p.Version, p.PURL, sum(p)}, "\x00")
}

// sum is the hash that a Go module was pinned by.
func sum(p pkg.Package) string {
	switch m := p.Metadata.(type) {
	case pkg.GolangBinaryBuildinfoEntry:
		return m.H1Digest
	case pkg.GolangModuleEntry:
		return m.H1Digest
	}
	return ""
}

func compare(a, b pkg.Package) int {
	return cmp.Or(
		cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version),
		cmp.Compare(a.PURL, b.PURL), cmp.Compare(where(a), where(b)), cmp.Compare(a.ID(), b.ID()),
	)
}

func where(p pkg.Package) string {
	for _, l := range p.Locations.ToSlice() {
		return l.RealPath
	}
	return ""
}
