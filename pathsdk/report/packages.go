package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// bill is the SBOM of one platform in one format.
type bill struct {
	evidence.SBOM
	on string
}

// packageTable is what the SBOMs list, merged.
type packageTable struct {
	Rows   []packageRow
	Total  int
	Source string
	// Platforms is true if there is more than one, and so a column for them.
	Platforms bool
	// Licensed is true if any package has a licence, and so a column for them.
	Licensed bool
	Cut      bool
}

type packageRow struct {
	Name, Version, PURL, Kind, License string
	On                                 string
}

func (r *reading) sbom(b evidence.SBOM, on string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	r.sboms = append(r.sboms, bill{b, on})
	return fmt.Sprintf("%s in %s %s", count(len(b.Packages), "package", "packages"), b.Format, b.Version), nil
}

// mergePackages takes the SPDX documents, or CycloneDX where there is no SPDX,
// and makes one row of a package that stands in those of several platforms.
func (r *reading) mergePackages() {
	format := "CycloneDX"
	for _, b := range r.sboms {
		if b.Format == "SPDX" {
			format = "SPDX"
		}
	}
	at := map[[3]string]int{}
	for _, b := range r.sboms {
		if b.Format != format {
			continue
		}
		for _, p := range b.Packages {
			key := [3]string{p.Name, p.Version, p.PURL}
			i, ok := at[key]
			if !ok {
				i = len(r.packages)
				at[key] = i
				r.packages = append(r.packages, packageRow{Name: p.Name, Version: p.Version, PURL: p.PURL, Kind: kindOf(p.PURL), License: p.License})
			}
			r.packages[i].On = addPlatform(r.packages[i].On, b.on)
			r.packages[i].License = cmp.Or(r.packages[i].License, p.License)
		}
	}
	slices.SortFunc(r.packages, func(a, b packageRow) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.PURL, b.PURL))
	})
}

// kindOf is the type of a package URL.
func kindOf(purl string) string {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	kind, _, found := strings.Cut(rest, "/")
	if !ok || !found {
		return ""
	}
	return kind
}

// addPlatform adds one to a sorted list, once.
func addPlatform(list, on string) string {
	if list == "" || list == on {
		return on
	}
	all := strings.Split(list, ", ")
	if i, found := slices.BinarySearch(all, on); !found {
		all = slices.Insert(all, i, on)
	}
	return strings.Join(all, ", ")
}

func (r *reading) packageTable() packageTable {
	t := packageTable{Rows: r.packages, Total: len(r.packages), Platforms: r.platforms > 1}
	t.Licensed = slices.ContainsFunc(t.Rows, func(p packageRow) bool { return p.License != "" })
	var formats []string
	for _, b := range r.sboms {
		if f := b.Format + " " + b.Version; !slices.Contains(formats, f) {
			formats = append(formats, f)
		}
	}
	slices.Sort(formats)
	slices.Reverse(formats)
	t.Source = strings.Join(formats, ", ")
	if t.Total > maxPackages {
		t.Rows, t.Cut = t.Rows[:maxPackages], true
	}
	return t
}
