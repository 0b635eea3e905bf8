package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// VulnsV02 is the predicate vulns v0.2
// (in-toto/attestation spec/predicates/vulns_02.md).
type VulnsV02 struct {
	Scanner  VulnScanner  `json:"scanner"`
	Metadata VulnMetadata `json:"metadata"`
}

// VulnScanner names the scanner and its database, and holds what it found.
type VulnScanner struct {
	// URI identifies the scanner, such as a package URL with its version.
	URI     string `json:"uri"`
	Version string `json:"version,omitempty"`
	DB      VulnDB `json:"db"`
	// Result is required; an empty list says that nothing was found.
	Result []VulnResult `json:"result"`
}

// VulnDB is the vulnerability database that was used.
type VulnDB struct {
	URI     string `json:"uri,omitempty"`
	Version string `json:"version,omitempty"`
	// LastUpdate is when the database was last updated.
	LastUpdate time.Time `json:"lastUpdate"`
}

// VulnResult is one vulnerability in one place.
type VulnResult struct {
	// ID is the vulnerability's identifier, such as CVE-2024-1234.
	ID string `json:"id"`
	// Severity by one or more methods; at least one.
	Severity    []VulnSeverity   `json:"severity"`
	Annotations []map[string]any `json:"annotations,omitempty"`
}

// VulnSeverity is a severity by one method, such as nvd or cvss_score.
type VulnSeverity struct {
	Method string `json:"method"`
	Score  string `json:"score"`
}

// VulnMetadata says when the scan ran.
type VulnMetadata struct {
	ScanStartedOn  time.Time `json:"scanStartedOn"`
	ScanFinishedOn time.Time `json:"scanFinishedOn"`
}

var _ Predicate = VulnsV02{}

// Type is Vulns.
func (VulnsV02) Type() Type { return Vulns }

// Encode validates p and encodes it with results sorted by id, severities by
// method, and times in UTC.
func (p VulnsV02) Encode() (json.RawMessage, error) {
	p.Scanner.DB.LastUpdate = utc(p.Scanner.DB.LastUpdate)
	p.Metadata.ScanStartedOn = utc(p.Metadata.ScanStartedOn)
	p.Metadata.ScanFinishedOn = utc(p.Metadata.ScanFinishedOn)
	type keyed struct {
		VulnResult
		text string
	}
	sorted := make([]keyed, 0, len(p.Scanner.Result))
	for _, r := range p.Scanner.Result {
		r.Severity = slices.SortedFunc(slices.Values(r.Severity), func(a, b VulnSeverity) int {
			return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Score, b.Score))
		})
		// One id may stand for several places: the whole entry orders them.
		text, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("vulns predicate: %s: %w", r.ID, err)
		}
		sorted = append(sorted, keyed{r, string(text)})
	}
	slices.SortFunc(sorted, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.text, b.text))
	})
	p.Scanner.Result = make([]VulnResult, len(sorted))
	for i, k := range sorted {
		p.Scanner.Result[i] = k.VulnResult
	}
	return encode(Vulns, p)
}

// ParseVulns reads a vulns v0.2 predicate.
func ParseVulns(raw json.RawMessage) (VulnsV02, error) { return parse[VulnsV02](Vulns, raw) }

// Validate checks the required fields.
func (p VulnsV02) Validate() error {
	err := missing(
		"scanner.uri", p.Scanner.URI,
		"scanner.db.lastUpdate", p.Scanner.DB.LastUpdate,
		"scanner.result", p.Scanner.Result != nil,
		"metadata.scanStartedOn", p.Metadata.ScanStartedOn,
		"metadata.scanFinishedOn", p.Metadata.ScanFinishedOn)
	if err != nil {
		return err
	}
	if p.Metadata.ScanFinishedOn.Before(p.Metadata.ScanStartedOn) {
		return fmt.Errorf("metadata.scanFinishedOn is before metadata.scanStartedOn")
	}
	for i, r := range p.Scanner.Result {
		if err := missing("id", r.ID, "severity", len(r.Severity) > 0); err != nil {
			return fmt.Errorf("scanner.result[%d]: %w", i, err)
		}
		for j, s := range r.Severity {
			if err := missing("method", s.Method, "score", s.Score); err != nil {
				return fmt.Errorf("scanner.result[%d].severity[%d]: %w", i, j, err)
			}
		}
	}
	return nil
}
