package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// SBOM is what the light parsers read of a bill of materials: enough to judge
// and to show it. Whether a document follows its whole schema is tested where
// it is made.
type SBOM struct {
	// Format is "SPDX" or "CycloneDX".
	Format string
	// Version of the format, such as "2.3" or "1.6".
	Version string
	Created time.Time
	// Packages in the document's order.
	Packages []SBOMPackage
}

// SBOMPackage is one package of an SBOM.
type SBOMPackage struct {
	Name    string
	Version string
	// PURL is the package URL; empty if the document has none.
	PURL string
	// License is the declared licence expression; empty if there is none.
	License string
}

type spdxDocument struct {
	Version      string `json:"spdxVersion"`
	ID           string `json:"SPDXID"`
	Name         string `json:"name"`
	Namespace    string `json:"documentNamespace"`
	DataLicense  string `json:"dataLicense"`
	CreationInfo struct {
		Created  time.Time `json:"created"`
		Creators []string  `json:"creators"`
	} `json:"creationInfo"`
	Packages []struct {
		ID      string `json:"SPDXID"`
		Name    string `json:"name"`
		Version string `json:"versionInfo"`
		License string `json:"licenseDeclared"`
		Refs    []struct {
			Type    string `json:"referenceType"`
			Locator string `json:"referenceLocator"`
		} `json:"externalRefs"`
	} `json:"packages"`
}

// ParseSPDX reads an SPDX 2.3 JSON document (https://spdx.github.io/spdx-spec/v2.3,
// section 6 for the document, 7 for packages) and checks its required fields.
func ParseSPDX(raw json.RawMessage) (SBOM, error) {
	var d spdxDocument
	if err := decode(raw, MaxPredicate, &d); err != nil {
		return SBOM{}, fmt.Errorf("spdx predicate: %w", err)
	}
	err := missing(
		"spdxVersion", d.Version, "SPDXID", d.ID, "name", d.Name,
		"documentNamespace", d.Namespace, "dataLicense", d.DataLicense,
		"creationInfo.created", d.CreationInfo.Created,
		"creationInfo.creators", len(d.CreationInfo.Creators) > 0,
		"packages", len(d.Packages) > 0)
	if err != nil {
		return SBOM{}, fmt.Errorf("spdx predicate: %w", err)
	}
	if d.Version != "SPDX-2.3" {
		return SBOM{}, fmt.Errorf("spdx predicate: spdxVersion is %.40q, want SPDX-2.3", d.Version)
	}
	if d.ID != "SPDXRef-DOCUMENT" {
		return SBOM{}, fmt.Errorf("spdx predicate: SPDXID is %.40q, want SPDXRef-DOCUMENT", d.ID)
	}
	out := SBOM{Format: "SPDX", Version: "2.3", Created: d.CreationInfo.Created}
	for i, p := range d.Packages {
		if err := missing("SPDXID", p.ID, "name", p.Name); err != nil {
			return SBOM{}, fmt.Errorf("spdx predicate: packages[%d]: %w", i, err)
		}
		q := SBOMPackage{Name: p.Name, Version: p.Version}
		if p.License != "NOASSERTION" && p.License != "NONE" {
			q.License = p.License
		}
		for _, r := range p.Refs {
			if r.Type == "purl" && q.PURL == "" {
				q.PURL = r.Locator
			}
		}
		out.Packages = append(out.Packages, q)
	}
	return out, nil
}

type cdxDocument struct {
	Format   string `json:"bomFormat"`
	Version  string `json:"specVersion"`
	Metadata struct {
		Timestamp time.Time `json:"timestamp"`
	} `json:"metadata"`
	Components []struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Version  string `json:"version"`
		PURL     string `json:"purl"`
		Licenses []struct {
			Expression string `json:"expression"`
			License    struct {
				ID   string `json:"id"`
				Name string `json:"name"`
			} `json:"license"`
		} `json:"licenses"`
	} `json:"components"`
}

// ParseCycloneDX reads a CycloneDX 1.6 JSON document
// (https://cyclonedx.org/docs/1.6/json) and checks its required fields.
func ParseCycloneDX(raw json.RawMessage) (SBOM, error) {
	var d cdxDocument
	if err := decode(raw, MaxPredicate, &d); err != nil {
		return SBOM{}, fmt.Errorf("cyclonedx predicate: %w", err)
	}
	err := missing(
		"bomFormat", d.Format, "specVersion", d.Version,
		"metadata.timestamp", d.Metadata.Timestamp, "components", len(d.Components) > 0)
	if err != nil {
		return SBOM{}, fmt.Errorf("cyclonedx predicate: %w", err)
	}
	if d.Format != "CycloneDX" {
		return SBOM{}, fmt.Errorf("cyclonedx predicate: bomFormat is %.40q, want CycloneDX", d.Format)
	}
	if d.Version != "1.6" {
		return SBOM{}, fmt.Errorf("cyclonedx predicate: specVersion is %.40q, want 1.6", d.Version)
	}
	out := SBOM{Format: "CycloneDX", Version: d.Version, Created: d.Metadata.Timestamp}
	for i, c := range d.Components {
		if err := missing("type", c.Type, "name", c.Name); err != nil {
			return SBOM{}, fmt.Errorf("cyclonedx predicate: components[%d]: %w", i, err)
		}
		q := SBOMPackage{Name: c.Name, Version: c.Version, PURL: c.PURL}
		for _, l := range c.Licenses {
			if text := first(l.Expression, l.License.ID, l.License.Name); text != "" && q.License == "" {
				q.License = text
			}
		}
		out.Packages = append(out.Packages, q)
	}
	if len(out.Packages) == 0 {
		return SBOM{}, errors.New("cyclonedx predicate: components is missing")
	}
	return out, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
