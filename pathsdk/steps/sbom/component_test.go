package sbom

import (
	"encoding/json"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/cpe"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/linux"
	"github.com/anchore/syft/syft/pkg"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestLicenses compares with what CycloneDX has for each kind of license: identifiers of
// SPDX's, names, and one expression where there is nothing else.
func TestLicenses(t *testing.T) {
	for name, c := range map[string]struct {
		licenses []pkg.License
		want     string
	}{
		"none":           {nil, `null`},
		"an identifier":  {licensed("MIT"), `[{"license":{"id":"MIT"}}]`},
		"an old one":     {licensed("GPL-2.0+"), `[{"license":{"id":"GPL-2.0-or-later"}}]`},
		"a name":         {licensed("public domain"), `[{"license":{"name":"public domain"}}]`},
		"both":           {licensed("public domain", "MIT"), `[{"license":{"id":"MIT"}},{"license":{"name":"public domain"}}]`},
		"an expression":  {licensed("(MIT OR Apache-2.0)"), `[{"expression":"MIT OR Apache-2.0"}]`},
		"two":            {licensed("MIT OR Apache-2.0", "ISC AND (Zlib OR BSD-3-Clause)"), `[{"expression":"(ISC AND (Zlib OR BSD-3-Clause)) AND (MIT OR Apache-2.0)"}]`},
		"two, with ends": {licensed("(MIT) OR (ISC)", "Zlib OR 0BSD"), `[{"expression":"((MIT) OR (ISC)) AND (Zlib OR 0BSD)"}]`},
		"beside another": {licensed("MIT OR Apache-2.0", "ISC"), `[{"license":{"id":"ISC"}},{"license":{"name":"MIT OR Apache-2.0"}}]`},
		"a text":         {[]pkg.License{{SPDXExpression: "UNKNOWN_0123", Value: "Do good."}}, `[{"license":{"name":"UNKNOWN_0123"}}]`},
		"too new":        {licensed("WordNet"), `[{"license":{"name":"WordNet"}}]`},
		"twice":          {[]pkg.License{{SPDXExpression: "MIT"}, {SPDXExpression: "MIT", Value: "mit"}}, `[{"license":{"id":"MIT"}}]`},
		"blanks":         {licensed(" ( ((MIT) OR (ISC)) ) "), `[{"expression":"(MIT) OR (ISC)"}]`},
		"no name":        {[]pkg.License{{}}, `null`},
		"nothing":        {[]pkg.License{{SPDXExpression: "(( ))"}}, `null`},
	} {
		got, err := json.Marshal(licenses(pkg.Package{Licenses: pkg.NewLicenseSet(c.licenses...)}))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

// TestListed finds every identifier that is written as one in the schema's list.
func TestListed(t *testing.T) {
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for id, ok := range listed() {
		if !ok {
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"x","licenses":[{"license":{"id":"` + id + `"}}]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := all["CycloneDX"].Validate(doc); err != nil {
			t.Errorf("%q,", id)
		}
	}
}

// TestBare is given what takes hours unless each byte is looked at once.
func TestBare(t *testing.T) {
	const n = 1 << 21
	if got := bare(strings.Repeat("(", n) + "MIT" + strings.Repeat(")", n)); got != "MIT" {
		t.Errorf("%.40q", got)
	}
	if got := bare(strings.Repeat("(", n)); len(got) != n {
		t.Errorf("%d", len(got))
	}
	for e, want := range map[string]string{
		"": "", " ": "", "()": "", " ( ) ": "", ")(": ")(", "(": "(", ")": ")", "(a": "(a", "a)": "a)", "((a)": "((a)",
		"a": "a", "( a )": "a", "((a))": "a", "(a)(b)": "(a)(b)", "((a) (b))": "(a) (b)", "((a) b)": "(a) b", "(a (b))": "a (b)", "a) (b": "a) (b", "(a)) ((b)": "(a)) ((b)",
	} {
		if got := bare(e); got != want {
			t.Errorf("%q: %q, want %q", e, got, want)
		}
	}
}

// TestNoPackages is an image with nothing to list: the schema takes it, too.
func TestNoPackages(t *testing.T) {
	raw, err := document{name: "example.com/x", image: step.Digest("sha256:" + strings.Repeat("0", 64)), inventory: &inventory{}}.cycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := all["CycloneDX"].Validate(doc); err != nil {
		t.Error(err)
	}
}

func licensed(values ...string) (list []pkg.License) {
	for _, v := range values {
		list = append(list, pkg.NewLicense(v))
	}
	return list
}

// TestComponents compares with what syft v1.44.0 writes of the same packages: who reads its
// documents finds everything where it is there.
func TestComponents(t *testing.T) {
	epoch := 1
	at := file.NewLocationSet(file.NewVirtualLocationFromCoordinates(file.NewCoordinates("/db", "sha256:00"), "/elsewhere"))
	for _, c := range []struct {
		metadata any
		want     string
	}{
		{pkg.ApkDBEntry{Maintainer: "m", Description: "d", URL: "https://example.com", OriginPackage: "o", Size: 3, Dependencies: []string{"x", "y"}},
			`{"publisher":"m","description":"d","externalReferences":[{"url":"https://example.com","type":"distribution"}],"properties":["syft:package:metadataType=apk-db-entry","syft:metadata:installedSize=0","syft:metadata:originPackage=o","syft:metadata:pullDependencies:0=x","syft:metadata:pullDependencies:1=y","syft:metadata:size=3"]}`},
		{pkg.DpkgDBEntry{Maintainer: "m", Source: "s"},
			`{"publisher":"m","properties":["syft:package:metadataType=dpkg-db-entry","syft:metadata:installedSize=0","syft:metadata:source=s"]}`},
		{pkg.RpmDBEntry{Vendor: "v", Epoch: &epoch, Release: "r"},
			`{"publisher":"v","properties":["syft:package:metadataType=rpm-db-entry","syft:metadata:epoch=1","syft:metadata:release=r","syft:metadata:size=0"]}`},
		{pkg.NpmPackage{Author: "a", Description: "d", URL: "git+ssh://example.com", Homepage: "https://example.com/h"},
			`{"author":"a","description":"d","externalReferences":[{"url":"https://example.com/h","type":"website"}],"properties":["syft:package:metadataType=javascript-npm-package"]}`},
		{pkg.PythonPackage{Author: "a", AuthorEmail: "a@example.com", DirectURLOrigin: &pkg.PythonDirectURLOriginInfo{URL: "https://example.com/v", CommitID: "c"}},
			`{"author":"a <a@example.com>","externalReferences":[{"url":"https://example.com/v","comment":"commit: c","type":"vcs"}],"properties":["syft:package:metadataType=python-package"]}`},
		{pkg.PythonPackage{AuthorEmail: "a@example.com"},
			`{"author":"a@example.com","properties":["syft:package:metadataType=python-package"]}`},
		{pkg.RubyGemspec{Authors: []string{"a", "b"}, Homepage: "https://example.com/h"},
			`{"author":"a,b","externalReferences":[{"url":"https://example.com/h","type":"website"}],"properties":["syft:package:metadataType=ruby-gemspec"]}`},
		{pkg.GolangBinaryBuildinfoEntry{GoCompiledVersion: "go1.26", H1Digest: "h1:x"},
			`{"properties":["syft:package:metadataType=go-module-buildinfo-entry","syft:metadata:goCompiledVersion=go1.26","syft:metadata:h1Digest=h1:x"]}`},
	} {
		p := pkg.Package{Name: "n", Version: "v", FoundBy: "f", Language: pkg.Go, Type: pkg.GoModulePkg, PURL: "pkg:generic/n@v?a=b", Locations: at, Metadata: c.metadata,
			CPEs: []cpe.CPE{cpe.Must("cpe:2.3:a:v:one:1:*:*:*:*:*:*:*", ""), cpe.Must("cpe:2.3:a:v:two:1:*:*:*:*:*:*:*", "")}}
		p.SetID()
		var want struct {
			cdx.Component
			Properties []string `json:"properties"`
		}
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		full := want.Component
		full.BOMRef, full.Type, full.Name, full.Version = "pkg:generic/n@v?a=b&package-id="+string(p.ID()), cdx.ComponentTypeLibrary, "n", "v"
		full.PackageURL, full.CPE = "pkg:generic/n@v?a=b", "cpe:2.3:a:v:one:1:*:*:*:*:*:*:*"
		got := component(p)
		var properties []string
		for _, p := range *got.Properties {
			properties = append(properties, p.Name+"="+p.Value)
		}
		got.Properties = nil
		if d := cmp.Diff(full, got); d != "" {
			t.Errorf("%T: -want +got:\n%s", c.metadata, d)
		}
		all := append([]string{"syft:package:foundBy=f", "syft:package:language=go", "syft:package:type=go-module", want.Properties[0],
			"syft:cpe23=cpe:2.3:a:v:two:1:*:*:*:*:*:*:*", "syft:location:0:layerID=sha256:00", "syft:location:0:path=/db"}, want.Properties[1:]...)
		if d := cmp.Diff(all, properties); d != "" {
			t.Errorf("%T: -want +got:\n%s", c.metadata, d)
		}
	}
}

// TestDistribution is one that says nothing of itself, and one that says all.
func TestDistribution(t *testing.T) {
	for release, want := range map[*linux.Release]string{
		{}:           `{"bom-ref":"os:unknown","type":"operating-system","name":"unknown","swid":{"tagId":"","name":""},"properties":[{"name":"syft:distro:extendedSupport","value":"false"}]}`,
		{ID: "arch"}: `{"bom-ref":"os:arch","type":"operating-system","name":"arch","swid":{"tagId":"arch","name":"arch"},"properties":[{"name":"syft:distro:extendedSupport","value":"false"},{"name":"syft:distro:id","value":"arch"}]}`,
		{ID: "x", VersionID: "1", PrettyName: "X 1", CPEName: "cpe:/o:x:x:1", HomeURL: "https://example.com", SupportURL: "https://example.com/s", BugReportURL: "mailto:x"}: `{"bom-ref":"os:x@1","type":"operating-system","name":"x","version":"1","description":"X 1","cpe":"cpe:2.3:o:x:x:1:*:*:*:*:*:*:*","swid":{"tagId":"x","name":"x","version":"1"},"externalReferences":[{"url":"https://example.com","type":"website"},{"url":"https://example.com/s","comment":"support","type":"other"}],"properties":[{"name":"syft:distro:extendedSupport","value":"false"},{"name":"syft:distro:id","value":"x"},{"name":"syft:distro:prettyName","value":"X 1"},{"name":"syft:distro:versionID","value":"1"}]}`,
	} {
		var full cdx.Component
		if err := json.Unmarshal([]byte(want), &full); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(full, distribution(*release)); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

// TestDependencies has one twice, and relations of other kinds.
func TestDependencies(t *testing.T) {
	of := func(name string) pkg.Package {
		p := pkg.Package{Name: name}
		p.SetID()
		return p
	}
	a, b, c := of("a"), of("b"), of("c")
	got := dependencies([]artifact.Relationship{
		{From: b, To: a, Type: artifact.DependencyOfRelationship},
		{From: b, To: a, Type: artifact.DependencyOfRelationship},
		{From: c, To: a, Type: artifact.OwnershipByFileOverlapRelationship},
		{From: file.Coordinates{}, To: c, Type: artifact.DependencyOfRelationship},
	})
	if d := cmp.Diff(map[string][]string{string(a.ID()): {string(b.ID())}}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
