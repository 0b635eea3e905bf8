package sbom

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// entry is a package as a reader of one of the documents sees it.
type entry struct {
	name, version string
	purls         []string
}

// complete checks the encoded documents against what the image's programs say
// of themselves: every module must be in both, with version and package URL. It
// reads the bytes that will be signed, so that no stage before can hide a loss.
func complete(truth []module, cyclonedx, spdx []byte) error {
	inCDX, err := cycloneDXEntries(cyclonedx)
	if err != nil {
		return err
	}
	inSPDX, err := spdxEntries(spdx)
	if err != nil {
		return err
	}
	var findings []string
	for _, doc := range []struct {
		format  string
		entries map[string][]entry
	}{{"CycloneDX", inCDX}, {"SPDX", inSPDX}} {
		for _, m := range truth {
			if !slices.ContainsFunc(doc.entries[clean(m.path)], m.is) {
				findings = append(findings, fmt.Sprintf("%s: module %s is not in the %s document with version and package URL", clean(m.file), m, doc.format))
			}
		}
	}
	if len(findings) == 0 {
		return nil
	}
	slices.Sort(findings)
	return &step.GateError{
		Gate:     "sbom completeness",
		Findings: slices.Compact(findings),
		Fix:      "report it as a defect of the sbom step, with the image; nothing in the service is wrong",
	}
}

func (m module) String() string {
	if m.version == "" {
		return clean(m.path)
	}
	return clean(m.path + "@" + m.version)
}

// is reports whether the entry is this module. A program's own module often has
// no version; then any will do.
func (m module) is(e entry) bool {
	version := e.version
	if m.path == stdlib {
		version = strings.TrimPrefix(version, "go")
	}
	if m.version != "" && version != clean(m.version) {
		return false
	}
	return slices.ContainsFunc(e.purls, func(p string) bool {
		path, v, ok := readPURL(p)
		return ok && path == m.path && (m.version == "" || v == m.version)
	})
}

// readPURL reads a package URL of a Go module. It is written apart from the
// library that makes them.
func readPURL(s string) (path, version string, ok bool) {
	s, ok = strings.CutPrefix(s, "pkg:golang/")
	if !ok {
		return "", "", false
	}
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s, version = s[:i], s[i+1:]
	}
	path, err := url.PathUnescape(s)
	if err != nil {
		return "", "", false
	}
	version, err = url.PathUnescape(version)
	return path, version, err == nil
}

func cycloneDXEntries(b []byte) (map[string][]entry, error) {
	var doc struct {
		Components []struct {
			Name, Version, Purl, Scope string
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read the CycloneDX document back: %w", err)
	}
	m := map[string][]entry{}
	for _, c := range doc.Components {
		if c.Scope != "excluded" {
			m[c.Name] = append(m[c.Name], entry{name: c.Name, version: c.Version, purls: []string{c.Purl}})
		}
	}
	return m, nil
}

func spdxEntries(b []byte) (map[string][]entry, error) {
	var doc struct {
		Packages []struct {
			SPDXID, Name, VersionInfo string
			ExternalRefs              []struct{ ReferenceType, ReferenceLocator string }
		}
		Relationships []struct{ SpdxElementId, RelationshipType string } //nolint:revive // the format's name
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read the SPDX document back: %w", err)
	}
	inputs := map[string]bool{}
	for _, r := range doc.Relationships {
		if r.RelationshipType == "BUILD_DEPENDENCY_OF" {
			inputs[r.SpdxElementId] = true
		}
	}
	m := map[string][]entry{}
	for _, p := range doc.Packages {
		if inputs[p.SPDXID] {
			continue
		}
		e := entry{name: p.Name, version: p.VersionInfo}
		for _, r := range p.ExternalRefs {
			if r.ReferenceType == "purl" {
				e.purls = append(e.purls, r.ReferenceLocator)
			}
		}
		m[p.Name] = append(m[p.Name], e)
	}
	return m, nil
}
