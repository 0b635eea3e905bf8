// Package kev reads the catalogue of known exploited vulnerabilities that CISA
// publishes as JSON.
package kev

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"time"
)

// MaxCatalog bounds a catalogue in bytes; the real one has about 2 MB.
const MaxCatalog = 32 << 20

// Catalog is the part of a catalogue that a policy needs.
type Catalog struct {
	// Version is the publisher's, such as 2026.02.27.
	Version string
	// Date is when it was released.
	Date time.Time
	// IDs holds every CVE id in it.
	IDs map[string]bool
}

// Has reports whether the catalogue lists a CVE id.
func (c Catalog) Has(id string) bool { return c.IDs[id] }

// Parse reads a catalogue. One that is empty, cut short or of another shape is
// an error: taken for a catalogue it would clear everything.
func Parse(r io.Reader) (Catalog, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxCatalog+1))
	if err != nil {
		return Catalog{}, fmt.Errorf("read KEV catalogue: %w", err)
	}
	if len(b) > MaxCatalog {
		return Catalog{}, fmt.Errorf("KEV catalogue is larger than %d bytes: give CISA's known_exploited_vulnerabilities.json", MaxCatalog)
	}
	c, err := parse(b)
	if err != nil {
		return Catalog{}, fmt.Errorf("KEV catalogue: %w: give CISA's known_exploited_vulnerabilities.json as it is", err)
	}
	return c, nil
}

func parse(b []byte) (Catalog, error) {
	var doc struct {
		CatalogVersion  string `json:"catalogVersion"`
		DateReleased    string `json:"dateReleased"`
		Count           *int   `json:"count"`
		Vulnerabilities []struct {
			CVEID string `json:"cveID"`
		} `json:"vulnerabilities"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return Catalog{}, err
	}
	switch {
	case doc.CatalogVersion == "":
		return Catalog{}, fmt.Errorf("catalogVersion is missing")
	case doc.Count == nil:
		return Catalog{}, fmt.Errorf("count is missing")
	case len(doc.Vulnerabilities) == 0:
		return Catalog{}, fmt.Errorf("it lists no vulnerabilities")
	case *doc.Count != len(doc.Vulnerabilities):
		return Catalog{}, fmt.Errorf("count says %d, but it lists %d vulnerabilities", *doc.Count, len(doc.Vulnerabilities))
	}
	date, err := time.Parse(time.RFC3339, doc.DateReleased)
	if err != nil {
		return Catalog{}, fmt.Errorf("dateReleased %.40q is no time", doc.DateReleased)
	}
	cve := regexp.MustCompile(`^CVE-\d{4}-\d{4,19}$`)
	c := Catalog{Version: doc.CatalogVersion, Date: date.UTC(), IDs: make(map[string]bool, len(doc.Vulnerabilities))}
	for i, v := range doc.Vulnerabilities {
		if !cve.MatchString(v.CVEID) {
			return Catalog{}, fmt.Errorf("vulnerabilities[%d].cveID %.40q is no CVE id", i, v.CVEID)
		}
		c.IDs[v.CVEID] = true
	}
	return c, nil
}
