package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/format/common/spdxhelpers"
	"github.com/spdx/tools-golang/spdx"
)

// spdx encodes the document as SPDX 2.3 JSON. Modules that are build inputs only
// stand in BUILD_DEPENDENCY_OF relationships (SPDX 2.3, section 11.1).
func (d document) spdx() ([]byte, error) {
	doc := spdxhelpers.ToFormatModel(d.model())
	if doc == nil {
		return nil, fmt.Errorf("encode SPDX: the library gave no document")
	}
	created := d.created.Format(time.RFC3339)
	doc.DocumentName = d.name
	doc.DocumentNamespace = namespace + d.id("spdx").String()
	doc.DocumentComment = propSource + "=" + string(d.sourceDigest)
	doc.CreationInfo.Created = created
	doc.CreationInfo.Creators = []spdx.Creator{
		{CreatorType: "Tool", Creator: "pavedpaths-sbom-" + version},
		{CreatorType: "Tool", Creator: "syft-" + syftVersion},
	}

	inputs := map[spdx.ElementID]bool{}
	ids := d.inputIDs()
	sums := map[artifact.ID]string{}
	for _, p := range d.inputs {
		sums[p.ID()] = hexSum(sum(p))
	}
	var root spdx.ElementID
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if strings.HasPrefix(id, "DocumentRoot-") {
			root = p.PackageSPDXIdentifier
			p.PackageComment = "platform " + d.platform.String()
			p.PackageExternalReferences = []*spdx.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: d.purl()}}
			continue
		}
		if pid := artifact.ID(id[strings.LastIndexByte(id, '-')+1:]); ids[pid] {
			inputs[p.PackageSPDXIdentifier] = true
			p.PackageComment = propRole + "=" + roleInput
			p.PackageSourceInfo = "named by the build list; in no program of the image"
			if h := sums[pid]; h != "" {
				p.PackageChecksums = []spdx.Checksum{{Algorithm: spdx.SHA256, Value: h}}
			}
		}
		if !webURL(p.PackageHomePage) {
			p.PackageHomePage = ""
		}
	}
	for _, r := range doc.Relationships {
		if r.Relationship == "CONTAINS" && r.RefA.ElementRefID == root && inputs[r.RefB.ElementRefID] {
			r.Relationship = "BUILD_DEPENDENCY_OF"
			r.RefA, r.RefB = r.RefB, r.RefA
		}
	}
	for _, n := range d.notes {
		doc.Annotations = append(doc.Annotations, &spdx.Annotation{
			Annotator:                spdx.Annotator{AnnotatorType: "Tool", Annotator: "pavedpaths-sbom-" + version},
			AnnotationDate:           created,
			AnnotationType:           "OTHER",
			AnnotationComment:        propNote + "=" + n.String(),
			AnnotationSPDXIdentifier: spdx.DocElementID{ElementRefID: "DOCUMENT"},
		})
	}
	slices.SortFunc(doc.Packages, func(a, b *spdx.Package) int {
		return cmp.Compare(a.PackageSPDXIdentifier, b.PackageSPDXIdentifier)
	})
	slices.SortFunc(doc.Relationships, func(a, b *spdx.Relationship) int {
		return cmp.Or(
			cmp.Compare(a.RefA.ElementRefID, b.RefA.ElementRefID),
			cmp.Compare(a.Relationship, b.Relationship),
			cmp.Compare(a.RefB.ElementRefID, b.RefB.ElementRefID),
		)
	})
	slices.SortFunc(doc.OtherLicenses, func(a, b *spdx.OtherLicense) int {
		return cmp.Compare(a.LicenseIdentifier, b.LicenseIdentifier)
	})
	scrub(reflect.ValueOf(doc))

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode SPDX: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// hexSum writes a hash of go.sum as SPDX wants it; it is empty for anything
// else.
func hexSum(h1 string) string {
	text, ok := strings.CutPrefix(h1, "h1:")
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(b)
}
