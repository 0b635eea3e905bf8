package sbom

import (
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/anchore/packageurl-go"
	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/pkg"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/google/uuid"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// document is what both formats say about one platform's image.
type document struct {
	name         string
	image        step.Digest
	platform     platform
	sourceDigest step.Digest
	created      time.Time
	inventory    *inventory
	// inputs are the modules of the build list that are in no program.
	inputs []pkg.Package
	notes  []note
}

// The marks that we leave in documents.
const (
	propRole   = "pavedpaths:role"
	propNote   = "pavedpaths:sbom:note"
	propSource = "pavedpaths:source:digest"
	roleInput  = "build-input"
	namespace  = "https://github.com/pavedpaths/paths/sbom/"
	// syftVersion is written down, because not every program has it in its
	// build information; a test compares it with go.mod.
	syftVersion = "v1.44.0"
)

// id derives an identifier from everything that the documents depend on: the
// same input gives the same document under the same name, anything else another.
func (d document) id(format string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(strings.Join([]string{
		namespace, version, format, d.name, string(d.image), string(d.sourceDigest), d.created.Format(time.RFC3339),
	}, "\n")))
}

// model is the document in syft's terms. What its encoder of SPDX adds of time and
// chance is replaced afterwards.
func (d document) model() sbom.SBOM {
	packages := pkg.NewCollection(d.inventory.packages...)
	packages.Add(d.inputs...)
	return sbom.SBOM{
		Artifacts:     sbom.Artifacts{Packages: packages, LinuxDistribution: d.inventory.release},
		Relationships: d.inventory.relations,
		Source: source.Description{
			ID:      d.image.Hex(),
			Name:    d.name,
			Version: string(d.image),
			Metadata: source.ImageMetadata{
				UserInput:      d.name,
				ID:             string(d.image),
				ManifestDigest: string(d.image),
				OS:             d.platform.OS,
				Architecture:   d.platform.Architecture,
				Variant:        d.platform.Variant,
			},
		},
		Descriptor: sbom.Descriptor{Name: "syft", Version: syftVersion},
	}
}

// purl names the image, after the package URL specification, type oci.
func (d document) purl() string {
	name := strings.ToLower(d.name[strings.LastIndexByte(d.name, '/')+1:])
	return packageurl.NewPackageURL(packageurl.TypeOCI, "", name, string(d.image),
		packageurl.Qualifiers{{Key: "arch", Value: d.platform.Architecture}}, "").ToString()
}

// inputIDs are the packages that must not look like a part of the image.
func (d document) inputIDs() map[artifact.ID]bool {
	m := map[artifact.ID]bool{}
	for _, p := range d.inputs {
		m[p.ID()] = true
	}
	return m
}

// scrub replaces in every string of a document what is no text: names in an
// image are a producer's bytes, and end up on terminals and in reports.
func scrub(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			scrub(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				scrub(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			scrub(v.Index(i))
		}
	case reflect.String:
		if s := v.String(); v.CanSet() && dirty(s) {
			v.SetString(clean(s))
		}
	}
}

func dirty(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unprintable)
}

// clean makes text of any bytes: white space becomes blanks, bytes that are no
// UTF-8, control characters and those that turn the direction of text become
// U+FFFD.
func clean(s string) string {
	if !dirty(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unprintable(r):
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
