package trivydb

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"
)

// maxRecord bounds one advisory file in bytes.
const maxRecord = 64 << 10

// Record is one advisory as kept in YAML: the facts of a public advisory in a
// form that people can review.
type Record struct {
	// ID is the advisory's own id, such as GHSA-v778-237x-gjrc; CVE is the id
	// under which scanners list it, empty if it has none.
	ID  string `json:"id"`
	CVE string `json:"cve,omitempty"`
	// Title says in a few words what can happen.
	Title string `json:"title"`
	// Severity is unknown, low, medium, high or critical, as the advisory's
	// publisher rates it.
	Severity string `json:"severity"`
	// CVSS is the publisher's version 3 score; nil if there is none.
	CVSS *CVSS `json:"cvss,omitempty"`
	// Published is a day, as 2024-12-11.
	Published  string     `json:"published,omitempty"`
	References []string   `json:"references,omitempty"`
	Affected   []Affected `json:"affected"`
}

// CVSS is a CVSS version 3 vector and its base score.
type CVSS struct {
	Vector string  `json:"vector"`
	Score  float64 `json:"score"`
}

// Affected is one package and its vulnerable versions.
type Affected struct {
	// Ecosystem is go (the default), or a distribution with its release, such
	// as "alpine 3.20".
	Ecosystem string `json:"ecosystem,omitempty"`
	Package   string `json:"package"`
	// Vulnerable are version ranges, any of which may match, such as "<0.31.0"
	// or ">=5.0.0, <5.2.2". Not for distributions.
	Vulnerable []string `json:"vulnerable,omitempty"`
	// Fixed are the versions that mend it; exactly one for a distribution.
	Fixed []string `json:"fixed,omitempty"`
}

// The forms are compiled when they are needed: most runs of the command line
// make no database.
var forms = sync.OnceValue(func() (f struct{ id, cve, clause, version, distro *regexp.Regexp }) {
	f.id = regexp.MustCompile(`^(GHSA(-[23456789cfghjmpqrvwx]{4}){3}|GO-\d{4}-\d{4,}|CVE-\d{4}-\d{4,})$`)
	f.cve = regexp.MustCompile(`^CVE-\d{4}-\d{4,}$`)
	f.clause = regexp.MustCompile(`^(<|<=|>|>=|=) ?\d[0-9A-Za-z.+~-]*$`)
	f.version = regexp.MustCompile(`^\d[0-9A-Za-z.+~_-]*$`)
	f.distro = regexp.MustCompile(`^(alpine|debian|ubuntu) \d+(\.\d+)?$`)
	return f
})

// ParseRecord reads one advisory strictly: unknown fields and values that no
// scanner could match are errors.
func ParseRecord(b []byte) (Record, error) {
	if len(b) > maxRecord {
		return Record{}, fmt.Errorf("larger than %d bytes", maxRecord)
	}
	var r Record
	if err := yaml.UnmarshalStrict(b, &r); err != nil {
		return Record{}, err
	}
	return r, r.validate()
}

func (r Record) validate() error {
	if !forms().id.MatchString(r.ID) {
		return fmt.Errorf("id %q: want a GHSA, GO or CVE id", r.ID)
	}
	if r.CVE != "" && !forms().cve.MatchString(r.CVE) {
		return fmt.Errorf("cve %q: want a form such as CVE-2024-45337", r.CVE)
	}
	if strings.TrimSpace(r.Title) == "" {
		return fmt.Errorf("title is missing")
	}
	if !slices.Contains(severities, r.Severity) {
		return fmt.Errorf("severity %q: want one of %s", r.Severity, strings.Join(severities, ", "))
	}
	if r.CVSS != nil && (!strings.HasPrefix(r.CVSS.Vector, "CVSS:3.") || r.CVSS.Score <= 0 || r.CVSS.Score > 10) {
		return fmt.Errorf("cvss: want a version 3 vector and its score")
	}
	if r.Published != "" {
		if _, err := time.Parse(time.DateOnly, r.Published); err != nil {
			return fmt.Errorf("published %q: want a day such as 2024-12-11", r.Published)
		}
	}
	if len(r.Affected) == 0 {
		return fmt.Errorf("affected is missing: name at least one package")
	}
	for _, a := range r.Affected {
		if err := a.validate(); err != nil {
			return fmt.Errorf("affected %s: %w", a.Package, err)
		}
	}
	return nil
}

func (a Affected) validate() error {
	if a.Package == "" || strings.ContainsAny(a.Package, " \t\n\x00") {
		return fmt.Errorf("package %q: want a name", a.Package)
	}
	for _, v := range a.Fixed {
		if !forms().version.MatchString(v) {
			return fmt.Errorf("fixed %q: want a version without v, such as 0.31.0", v)
		}
	}
	if a.ecosystem() != "go" {
		if !forms().distro.MatchString(a.Ecosystem) {
			return fmt.Errorf("ecosystem %q: want go, or a distribution such as alpine 3.20", a.Ecosystem)
		}
		if len(a.Fixed) != 1 || len(a.Vulnerable) > 0 {
			return fmt.Errorf("a distribution's package wants exactly one fixed version and no ranges")
		}
		return nil
	}
	if len(a.Vulnerable) == 0 {
		return fmt.Errorf("vulnerable is missing: give a range such as <0.31.0")
	}
	for _, v := range a.Vulnerable {
		for c := range strings.SplitSeq(v, ",") {
			if !forms().clause.MatchString(strings.TrimSpace(c)) {
				return fmt.Errorf("vulnerable %q: want a range such as >=5.0.0, <5.2.2", v)
			}
		}
	}
	return nil
}

func (a Affected) ecosystem() string {
	if a.Ecosystem == "" {
		return "go"
	}
	return a.Ecosystem
}

// severities in the order of trivy-db's numbers.
var severities = []string{"unknown", "low", "medium", "high", "critical"}

// key is the id under which scanners list the advisory.
func (r Record) key() string {
	if r.CVE != "" {
		return r.CVE
	}
	return r.ID
}
