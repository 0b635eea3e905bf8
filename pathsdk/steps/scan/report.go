package scan

import (
	"cmp"
	"slices"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Report is the content of the findings file: what the scan found, for people.
// Everything in it stands in the signed evidence as well.
type Report struct {
	// Platforms in the order of the image's index.
	Platforms []Platform `json:"platforms"`
}

// Platform is what was found in the image of one platform.
type Platform struct {
	Platform string      `json:"platform"`
	Digest   step.Digest `json:"digest"`
	Scanner  Scanner     `json:"scanner"`
	DB       DB          `json:"db"`
	// OS is nil for an image without a distribution.
	OS *OS `json:"os,omitempty"`
	// Findings are sorted by severity, worst first, then by id and package.
	Findings []Finding `json:"findings"`
	// Secrets of the image and of the source.
	Secrets    []Secret   `json:"secrets"`
	SecretScan SecretScan `json:"secretScan"`
	// Notes name what could not be checked.
	Notes []string `json:"notes,omitempty"`
}

// Scanner names the library that scanned.
type Scanner struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// DB names the vulnerability database.
type DB struct {
	Source  string      `json:"source"`
	Digest  step.Digest `json:"digest"`
	Updated string      `json:"updated"` // RFC 3339
	// Small is the number of advisories in a database made for tests and demos,
	// which proves nothing about a release; 0 for a real one.
	Small int `json:"small,omitempty"`
}

// OS is the image's distribution.
type OS struct {
	Family string `json:"family"`
	Name   string `json:"name"`
	// EndOfLife is true if the distribution publishes no advisories for the
	// release any more.
	EndOfLife bool `json:"endOfLife,omitempty"`
}

// Finding is one vulnerability in one package.
type Finding struct {
	ID string `json:"id"`
	// Aliases are other ids of the same vulnerability.
	Aliases []string `json:"aliases,omitempty"`
	Package string   `json:"package"`
	PURL    string   `json:"purl"`
	Version string   `json:"version"`
	// FixedVersion lists versions with a fix, joined by commas; empty without.
	FixedVersion string `json:"fixedVersion,omitempty"`
	// Severity is critical, high, medium, low or unknown; SeveritySource names
	// who rated it.
	Severity       string `json:"severity"`
	SeveritySource string `json:"severitySource,omitempty"`
	Title          string `json:"title,omitempty"`
	URL            string `json:"url,omitempty"`
	// CVSS is a version 3 or 4 score, 0 if there is none.
	CVSS       float64 `json:"cvss,omitempty"`
	CVSSVector string  `json:"cvssVector,omitempty"`
	// VEX is the statement that applies; nil without one.
	VEX *VEX `json:"vex,omitempty"`
}

// VEX is what an OpenVEX statement says about a finding.
type VEX struct {
	// Status is not_affected, fixed, affected or under_investigation.
	Status        string `json:"status"`
	Justification string `json:"justification,omitempty"`
	// Statement is the free text that goes with the status.
	Statement string `json:"statement,omitempty"`
	// Document is the document's id, Author its author.
	Document string `json:"document"`
	Author   string `json:"author,omitempty"`
}

// Open reports whether no VEX statement rules the finding out.
func (f Finding) Open() bool {
	return f.VEX == nil || (f.VEX.Status != "not_affected" && f.VEX.Status != "fixed")
}

// Secret is a place that looks like a secret. It holds nothing of the secret.
type Secret struct {
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	// Target is image or source.
	Target string `json:"target"`
	File   string `json:"file"`
	// Line counts from 1; 0 in a binary file.
	Line int `json:"line,omitempty"`
}

// The targets of the secret scan.
const (
	TargetImage  = "image"
	TargetSource = "source"
)

// SecretScan says how much was looked at.
type SecretScan struct {
	Image  Coverage `json:"image"`
	Source Coverage `json:"source"`
}

// Coverage counts the files of one target.
type Coverage struct {
	// Files were scanned, Bytes is their size.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Skipped are large or binary, or of a kind in which the rules find nothing
	// but false alarms.
	Skipped int `json:"skipped"`
	// Truncated is true if a limit ended the scan early.
	Truncated bool `json:"truncated,omitempty"`
}

func (c *Coverage) add(o Coverage) {
	c.Files += o.Files
	c.Bytes += o.Bytes
	c.Skipped += o.Skipped
	c.Truncated = c.Truncated || o.Truncated
}

// severities from the worst to the least known.
var severities = []string{"critical", "high", "medium", "low", "unknown"}

func rank(severity string) int {
	if i := slices.Index(severities, severity); i >= 0 {
		return i
	}
	return len(severities)
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Package, b.Package), cmp.Compare(a.Version, b.Version), cmp.Compare(a.PURL, b.PURL))
}

func compareSecrets(a, b Secret) int {
	return cmp.Or(
		cmp.Compare(a.Target, b.Target), cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
}

func sortSecrets(s []Secret) []Secret {
	slices.SortFunc(s, compareSecrets)
	return slices.Compact(s)
}
