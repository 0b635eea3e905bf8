package sbom

import (
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/syft/syft/pkg"
)

// cycloneDX encodes the document as CycloneDX 1.6 JSON. Modules that are build
// inputs only have scope "excluded".
func (d document) cycloneDX() ([]byte, error) {
	bom := cdx.NewBOM()
	bom.SerialNumber = d.id("cyclonedx").URN()
	root := d.root()
	bom.Metadata = &cdx.Metadata{
		Timestamp:  d.created.Format(time.RFC3339),
		Lifecycles: &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhasePostBuild}},
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{
			{Type: cdx.ComponentTypeApplication, Group: "anchore", Name: "syft", Version: syftVersion},
			{Type: cdx.ComponentTypeApplication, Group: "pavedpaths", Name: "sbom", Version: version},
		}},
		Component:  &root,
		Properties: d.properties(),
	}
	components := d.components()
	slices.SortStableFunc(components, func(a, b cdx.Component) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.BOMRef, b.BOMRef))
	})
	bom.Components = &components
	d.depend(bom, root.BOMRef)
	scrub(reflect.ValueOf(bom))

	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	if err != nil {
		return nil, fmt.Errorf("encode CycloneDX: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func (d document) root() cdx.Component {
	purl := d.purl()
	return cdx.Component{
		BOMRef: purl, Type: cdx.ComponentTypeContainer, Name: d.name, Version: string(d.image), PackageURL: purl,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: d.image.Hex()}},
		Properties: &[]cdx.Property{
			{Name: "pavedpaths:image:platform", Value: d.platform.String()},
		},
	}
}

func (d document) properties() *[]cdx.Property {
	ps := []cdx.Property{{Name: propSource, Value: string(d.sourceDigest)}}
	for _, n := range d.notes {
		ps = append(ps, cdx.Property{Name: propNote, Value: n.String()})
	}
	return &ps
}

// depend makes the image depend on whatever nothing else in it depends on.
func (d document) depend(bom *cdx.BOM, root string) {
	var deps []cdx.Dependency
	needed := map[string]bool{}
	for who, refs := range dependencies(d.inventory.relations) {
		deps = append(deps, cdx.Dependency{Ref: who, Dependencies: &refs})
		for _, ref := range refs {
			needed[ref] = true
		}
	}
	tops := []string{}
	for _, c := range *bom.Components {
		if c.Scope != cdx.ScopeExcluded && !needed[c.BOMRef] {
			tops = append(tops, c.BOMRef)
		}
	}
	slices.Sort(tops)
	deps = append(deps, cdx.Dependency{Ref: root, Dependencies: &tops})
	slices.SortFunc(deps, func(a, b cdx.Dependency) int { return strings.Compare(a.Ref, b.Ref) })
	bom.Dependencies = &deps
}

// sourceOf names the source package of a distribution's package in the words that trivy
// reads: distributions publish vulnerabilities by source package.
func sourceOf(p pkg.Package) []cdx.Property {
	var name, version string
	switch meta := p.Metadata.(type) {
	case pkg.DpkgDBEntry:
		name, version = cmp.Or(meta.Source, meta.Package), cmp.Or(meta.SourceVersion, meta.Version)
	case pkg.ApkDBEntry:
		name, version = cmp.Or(meta.OriginPackage, meta.Package), meta.Version
	default:
		return nil
	}
	return []cdx.Property{
		{Name: "aquasecurity:trivy:SrcName", Value: name},
		{Name: "aquasecurity:trivy:SrcVersion", Value: version},
	}
}

func addProperty(c *cdx.Component, name, value string) {
	if c.Properties == nil {
		c.Properties = &[]cdx.Property{}
	}
	*c.Properties = append(*c.Properties, cdx.Property{Name: name, Value: value})
}

// webURL reports whether it is an address of the web, in characters that every reader takes.
func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !dirty(s) && !strings.ContainsAny(s, " <>\"{}|\\^`")
}
