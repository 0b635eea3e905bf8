package sbom

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/cpe"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/format/syftjson"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// Components and their properties are named as syft names them, so that what reads its
// documents reads ours. Its own encoder would bring downloaders for the storage of two
// clouds into every program with this package: a sixth of what pathctl is compiled from.

// components are the packages, and the distribution that they are of.
func (d document) components() []cdx.Component {
	var list []cdx.Component
	inputs := d.inputIDs()
	for _, p := range d.model().Artifacts.Packages.Sorted() {
		c := component(p)
		if inputs[p.ID()] {
			c.Scope = cdx.ScopeExcluded
			addProperty(&c, propRole, roleInput)
		}
		for _, s := range sourceOf(p) {
			addProperty(&c, s.Name, s.Value)
		}
		list = append(list, c)
	}
	if d.inventory.release != nil {
		list = append(list, distribution(*d.inventory.release))
	}
	return list
}

func component(p pkg.Package) cdx.Component {
	c := cdx.Component{
		BOMRef: bomRef(p), Type: cdx.ComponentTypeLibrary, Name: p.Name, Version: p.Version,
		PackageURL: p.PURL, Licenses: licenses(p),
	}
	properties := tagged("syft:package", p)
	if p.Metadata != nil {
		properties = append(properties, cdx.Property{Name: "syft:package:metadataType", Value: syftjson.MetadataType(p.Metadata)})
	}
	// They are sorted: the first is the one that says most.
	for i, name := range p.CPEs {
		if i == 0 {
			c.CPE = name.Attributes.String()
		} else {
			properties = append(properties, cdx.Property{Name: "syft:cpe23", Value: name.Attributes.String()})
		}
	}
	properties = append(properties, tagged("syft:location", p.Locations.ToSlice(file.LocationSorter(nil)))...)
	properties = append(properties, tagged("syft:metadata", p.Metadata)...)
	if len(properties) > 0 {
		c.Properties = &properties
	}
	switch m := p.Metadata.(type) {
	case pkg.ApkDBEntry:
		c.Description, c.Publisher = m.Description, m.Maintainer
		refer(&c, cdx.ERTypeDistribution, m.URL, "")
	case pkg.DpkgDBEntry:
		c.Publisher = m.Maintainer
	case pkg.RpmDBEntry:
		c.Publisher = m.Vendor
	case pkg.NpmPackage:
		c.Author, c.Description = m.Author, m.Description
		refer(&c, cdx.ERTypeDistribution, m.URL, "")
		refer(&c, cdx.ERTypeWebsite, m.Homepage, "")
	case pkg.PythonPackage:
		c.Author = m.Author
		switch {
		case m.AuthorEmail == "":
		case m.Author == "":
			c.Author = m.AuthorEmail
		default:
			c.Author += " <" + m.AuthorEmail + ">"
		}
		if from := m.DirectURLOrigin; from != nil {
			comment := ""
			if from.CommitID != "" {
				comment = "commit: " + from.CommitID
			}
			refer(&c, cdx.ERTypeVCS, from.URL, comment)
		}
	case pkg.RubyGemspec:
		c.Author = strings.Join(m.Authors, ",")
		refer(&c, cdx.ERTypeWebsite, m.Homepage, "")
	}
	return c
}

// distribution is what an image says of itself in its os-release.
func distribution(r linux.Release) cdx.Component {
	c := cdx.Component{
		BOMRef: "os:unknown", Type: cdx.ComponentTypeOS, Name: r.ID, Version: r.VersionID, Description: r.PrettyName,
		SWID: &cdx.SWID{TagID: r.ID, Name: r.ID, Version: r.VersionID},
	}
	switch {
	case r.ID == "":
		c.Name = "unknown" // what has no name can't be talked of
	case r.VersionID == "":
		c.BOMRef = "os:" + r.ID
	default:
		c.BOMRef = "os:" + r.ID + "@" + r.VersionID
	}
	if name, err := cpe.NewAttributes(r.CPEName); err == nil {
		c.CPE = name.String()
	}
	refer(&c, cdx.ERTypeIssueTracker, r.BugReportURL, "")
	refer(&c, cdx.ERTypeWebsite, r.HomeURL, "")
	refer(&c, cdx.ERTypeOther, r.SupportURL, "support")
	refer(&c, cdx.ERTypeOther, r.PrivacyPolicyURL, "privacyPolicy")
	if properties := tagged("syft:distro", r); len(properties) > 0 {
		c.Properties = &properties
	}
	return c
}

// bomRef is a package's URL with syft's identifier among the qualifiers: the same package
// may be in an image more than once. Without a URL it is that identifier.
func bomRef(p pkg.Package) string {
	purl, err := packageurl.FromString(p.PURL)
	if err != nil {
		return string(p.ID())
	}
	purl.Qualifiers = append(purl.Qualifiers, packageurl.Qualifier{Key: "package-id", Value: string(p.ID())})
	return purl.ToString()
}

// dependencies says of packages what they depend on.
func dependencies(relations []artifact.Relationship) map[string][]string {
	needs := map[string][]string{}
	for _, r := range relations {
		what, ok := r.From.(pkg.Package)
		who, also := r.To.(pkg.Package)
		if r.Type != artifact.DependencyOfRelationship || !ok || !also {
			continue
		}
		ref := bomRef(who)
		needs[ref] = append(needs[ref], bomRef(what))
	}
	for ref, list := range needs {
		slices.Sort(list)
		needs[ref] = slices.Compact(list)
	}
	return needs
}

// licenses are those that SPDX lists first, by its identifiers, and then others by their
// names. Expressions have a place of their own, which CycloneDX gives to one alone.
func licenses(p pkg.Package) *cdx.Licenses {
	var known, other cdx.Licenses
	var expressions []string
	seen := map[string]bool{}
	for _, l := range p.Licenses.ToSlice() {
		switch id := l.SPDXExpression; {
		case listed()[id]:
			if !seen[id] {
				known = append(known, cdx.LicenseChoice{License: &cdx.License{ID: id}})
			}
			seen[id] = true
		case id == "" || laterThanSchema[id] || strings.HasPrefix(id, "UNKNOWN_"): // the last is a text's digest
			if name := cmp.Or(id, l.Value); name != "" {
				other = append(other, cdx.LicenseChoice{License: &cdx.License{Name: name}})
			}
		default:
			if e := bare(id); e != "" {
				expressions = append(expressions, e)
			}
		}
	}
	all := append(known, other...)
	switch {
	case len(all) > 0:
		for _, e := range expressions {
			all = append(all, cdx.LicenseChoice{License: &cdx.License{Name: e}})
		}
	case len(expressions) == 1:
		all = cdx.Licenses{{Expression: expressions[0]}}
	case len(expressions) > 1:
		all = cdx.Licenses{{Expression: "(" + strings.Join(expressions, ") AND (") + ")"}}
	default:
		return nil
	}
	return &all
}

// bare is an expression without blanks and parentheses around all of it. It is a producer's,
// of any length: each byte is looked at once, and nothing is kept of it.
func bare(e string) string {
	around := len(e) - len(strings.TrimLeft(e, "( "))
	until := len(strings.TrimRight(e, ") "))
	opened := strings.Count(e[:around], "(")
	inner := ""
	if around < until {
		inner = e[around:until]
	}
	// As many go as stay open all the way.
	open, fewest := opened, opened
	for i := range len(inner) {
		switch inner[i] {
		case '(':
			open++
		case ')':
			open--
			fewest = min(fewest, open)
		}
	}
	if closed := strings.Count(e[max(around, until):], ")"); open != closed || fewest < 0 {
		return strings.TrimSpace(e) // they don't match: not for us to mend
	}
	for e = strings.TrimSpace(e); fewest > 0; fewest-- {
		e = strings.TrimSpace(e[1 : len(e)-1])
	}
	return e
}

// listed are the identifiers of SPDX's licenses that CycloneDX 1.6 takes.
var listed = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, id := range slices.Concat(spdxlicenses.GetLicenses(), spdxlicenses.GetDeprecated()) {
		m[id] = !laterThanSchema[id]
	}
	return m
})

// laterThanSchema are those that the schema's own list has not.
var laterThanSchema = map[string]bool{
	"Advanced-Cryptics-Dictionary": true, "ALGLIB-Documentation": true, "BSD-3-Clause-Tso": true,
	"BSD-Mark-Modifications": true, "Buddy": true, "CAPEC-tou": true, "ESA-PL-permissive-2.4": true,
	"ESA-PL-strong-copyleft-2.4": true, "ESA-PL-weak-copyleft-2.4": true,
	"HPND-sell-variant-critical-systems": true, "HPND-SMC": true, "hyphen-bulgarian": true,
	"ISO-permission": true, "MIT-STK": true, "MMPL-1.0.1": true, "NIST-PD-TNT": true,
	"OpenMDW-1.0": true, "OSSP": true, "ParaType-Free-Font-1.3": true, "SGMLUG-PM": true,
	"TekHVC": true, "UnRAR": true, "Vixie-Cron": true, "WordNet": true, "WTFNMFPL": true,
	"X11-no-permit-persons": true,
}

// refer adds a reference, if it is a web address.
func refer(c *cdx.Component, kind cdx.ExternalReferenceType, url, comment string) {
	if !webURL(url) {
		return
	}
	if c.ExternalReferences == nil {
		c.ExternalReferences = &[]cdx.ExternalReference{}
	}
	*c.ExternalReferences = append(*c.ExternalReferences, cdx.ExternalReference{Type: kind, URL: url, Comment: comment})
}

// tagged are properties of a value: its fields with a tag "cyclonedx", which names them,
// and theirs, with colons between. They are sorted by name.
func tagged(prefix string, value any) []cdx.Property {
	found := map[string]string{}
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		text := ""
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			walk(name, v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				switch tag, ok := v.Type().Field(i).Tag.Lookup("cyclonedx"); {
				case ok && tag == "":
					walk(name, v.Field(i))
				case ok:
					walk(name+":"+tag, v.Field(i))
				}
			}
		case reflect.Slice, reflect.Array:
			for i := range v.Len() {
				walk(name+":"+strconv.Itoa(i), v.Index(i))
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				walk(fmt.Sprintf("%s:%v", name, k), v.MapIndex(k))
			}
		case reflect.String:
			text = v.String()
		case reflect.Bool:
			text = strconv.FormatBool(v.Bool())
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			text = strconv.FormatInt(v.Int(), 10)
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			text = strconv.FormatUint(v.Uint(), 10)
		}
		if text != "" {
			found[name] = text
		}
	}
	walk(prefix, reflect.ValueOf(value))
	var list []cdx.Property
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, cdx.Property{Name: name, Value: found[name]})
	}
	return list
}
