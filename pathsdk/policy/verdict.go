package policy

import (
	"encoding/json"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Verdict is the outcome of judging one image against one policy. Its JSON is
// the machine-readable output of verify, and the input of reports.
type Verdict struct {
	Reference string      `json:"reference"`
	Digest    step.Digest `json:"digest"`
	// Images lists the index and every platform manifest.
	Images []Image `json:"images"`
	// Passed is true if no rule of severity error failed without a waiver.
	Passed bool `json:"passed"`
	// Policy that judged.
	Policy PolicyRef `json:"policy"`
	// Level is computed from observed facts and from what the verifier trusts
	// the signer for.
	Level Level `json:"level"`
	// Findings are the failed rules, waived ones included.
	Findings []Finding `json:"findings"`
	// Rules lists the id of each rule that was judged, and whether it held.
	Rules []RuleResult `json:"rules"`
	// Evidence lists every referrer that was found, used or not.
	Evidence []EvidenceStatus `json:"evidence"`
	Waivers  []Waiver         `json:"waivers"`
	// KEV says which list of known exploited vulnerabilities was used, or "not
	// checked".
	KEV        string    `json:"kev"`
	VerifiedOn time.Time `json:"verifiedOn"`
}

// Image is one manifest or index that a verdict covers.
type Image struct {
	Digest   step.Digest `json:"digest"`
	Platform string      `json:"platform,omitempty"` // empty for an index
}

// PolicyRef names a policy by content.
type PolicyRef struct {
	Name   string      `json:"name"`
	Digest step.Digest `json:"digest"`
}

// Level is a SLSA Build level with the reasons for it.
type Level struct {
	Build   int      `json:"build"` // 0 to 3
	Reasons []Reason `json:"reasons"`
}

// Reason is one requirement of the Build track, and whether the facts meet it.
type Reason struct {
	Level int    `json:"level"` // the level that requires it
	Need  string `json:"need"`
	Holds bool   `json:"holds"`
	Why   string `json:"why"`
}

// Finding is one failed rule.
type Finding struct {
	Rule     string      `json:"rule"`
	Severity string      `json:"severity"` // error or warning
	Subject  step.Digest `json:"subject,omitempty"`
	Reason   string      `json:"reason"`
	Fix      string      `json:"fix"`
	// Details name what exactly failed, such as vulnerability ids.
	Details []string `json:"details,omitempty"`
	Waived  bool     `json:"waived,omitempty"`
}

// RuleResult is one judged rule.
type RuleResult struct {
	Rule string `json:"rule"`
	Held bool   `json:"held"`
}

// Waiver is a consumer's decision to accept a finding until a day.
type Waiver struct {
	// ID is a vulnerability's or a rule's id.
	ID      string `json:"id"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // RFC 3339 date
	// State is active, expired or unused.
	State string `json:"state"`
}

// EvidenceStatus is one referrer and what became of it.
type EvidenceStatus struct {
	// Digest of the referrer's manifest, Subject of the image it hangs on.
	Digest  step.Digest `json:"digest"`
	Subject step.Digest `json:"subject"`
	Type    string      `json:"type"` // predicate type URI; empty if unreadable
	// Signer is the trust root's name of the signer; empty if unknown.
	Signer string        `json:"signer,omitempty"`
	Tier   evidence.Tier `json:"tier,omitempty"`
	// Status is used, superseded, foreign or invalid.
	Status string `json:"status"`
	Why    string `json:"why,omitempty"`
	// Predicate is the verified predicate; nil unless used.
	Predicate json.RawMessage `json:"-"`
}
