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
	// Reproduced is true if two independent builders made the image of one source.
	Reproduced bool `json:"reproduced,omitempty"`
	// Policy that judged.
	Policy PolicyRef `json:"policy"`
	// Level is computed from observed facts and from what the verifier trusts
	// the signer for.
	Level Level `json:"level"`
	// Findings are the failed rules, waived ones included.
	Findings []Finding `json:"findings"`
	// Rules lists every requirement and rule of the policy in its order, and
	// whether it held.
	Rules []RuleResult `json:"rules"`
	// Params are the values that the policy was judged with, sorted by name.
	Params []ParamValue `json:"params"`
	// Evidence lists every referrer that was found, used or not.
	Evidence []EvidenceStatus `json:"evidence"`
	// Waivers lists every waiver that was given, with what became of it.
	Waivers []Waiver `json:"waivers"`
	// KEV says which list of known exploited vulnerabilities was used, or "not
	// checked".
	KEV        string    `json:"kev"`
	VerifiedOn time.Time `json:"verifiedOn"`
}

// Image is one manifest or index that a verdict covers.
type Image struct {
	Digest step.Digest `json:"digest"`
	// Index is true for an image index. It comes from the media type, never from
	// a missing platform: whatever is no index needs all evidence of a platform.
	Index    bool   `json:"index,omitempty"`
	Platform string `json:"platform,omitempty"` // empty for an index
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
	// Details name what exactly failed, such as vulnerability ids; at most
	// MaxDetails of them, and then how many more.
	Details []string `json:"details,omitempty"`
	// BlocksFrom is the date from which this warning will be an error; empty for others.
	BlocksFrom string `json:"blocksFrom,omitempty"`
	// Waived is true if active waivers cover everything in Details, or the rule.
	Waived bool `json:"waived,omitempty"`
}

// RuleResult is one requirement or rule.
type RuleResult struct {
	Rule string `json:"rule"`
	// Held is true if nothing failed, waived findings aside.
	Held bool `json:"held"`
	// Why says why a rule could not be judged; a rule that could not be judged
	// never holds.
	Why string `json:"why,omitempty"`
}

// ParamValue is the value of one of the policy's parameters.
type ParamValue struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	// From says who set it: policy, local, or paths.yaml (which can only make a
	// policy stricter).
	From string `json:"from"`
}

// Waiver is a consumer's decision to accept a finding until a day.
type Waiver struct {
	// ID is a vulnerability's or a rule's id.
	ID      string `json:"id"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // RFC 3339 full-date, the last day in UTC on which it holds
	// From says where it stands: paths.yaml (the service's own), verifier (given
	// locally), or attestation.
	From string `json:"from,omitempty"`
	// Signer is the trust root's name of who signed an attestation, and Identity whom
	// the signer's certificate names.
	Signer   string    `json:"signer,omitempty"`
	Identity *Identity `json:"identity,omitempty"`
	// Why says why it is refused or invalid, where the state does not say it all.
	Why string `json:"why,omitempty"`
	// State is active (it covers something), expired, unused (it covers
	// nothing), refused (what it names can't be waived, or not by whom it is) or
	// invalid (it lacks an id, a reason or a date).
	State string `json:"state,omitempty"`
	// Covers lists what it accepts, or what it would if it had not expired.
	Covers []string `json:"covers,omitempty"`
}

// EvidenceStatus is one referrer and what became of it.
type EvidenceStatus struct {
	// Digest of the referrer's manifest, Subject of the image it hangs on.
	Digest  step.Digest `json:"digest"`
	Subject step.Digest `json:"subject"`
	Type    string      `json:"type"` // predicate type URI; empty if unreadable
	// Signer is the trust root's name of the signer; empty if unknown.
	Signer string `json:"signer,omitempty"`
	// Identity is whom the signer's certificate names; nil if they have a key.
	Identity *Identity `json:"identity,omitempty"`
	// Tier is the effective tier: the lowest of what the statement claims, what
	// its signer may give, and what its type can have.
	Tier evidence.Tier `json:"tier,omitempty"`
	// Claimed is the tier that stands in the statement, if it is another one.
	Claimed evidence.Tier `json:"claimed,omitempty"`
	// From is the place where it was found, if that is not the image's own.
	From string `json:"from,omitempty"`
	// Status is one of the Status constants.
	Status string `json:"status"`
	// Code says in one word why it is refused; Why says it in a sentence.
	Code string `json:"code,omitempty"`
	Why  string `json:"why,omitempty"`
	// Predicate is the verified predicate; nil unless used.
	Predicate json.RawMessage `json:"-"`
}

// Identity is whom a certificate names, verified.
type Identity struct {
	// Issuer of the token, and Subject, the certificate's subject alternative name.
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	// Run is the URL of the run that the certificate was issued to; empty if it names
	// none.
	Run string `json:"run,omitempty"`
}

// What becomes of a referrer.
const (
	// StatusUsed: a requirement rests on it.
	StatusUsed = "used"
	// StatusReproduces: a second builder's provenance, which agrees with the used one.
	StatusReproduces = "reproduces"
	// StatusSuperseded: valid, but a newer one counts.
	StatusSuperseded = "superseded"
	// StatusUnused: valid, but no requirement of the policy asks for it.
	StatusUnused = "unused"
	// StatusForeign: signed by nobody in the trust root.
	StatusForeign = "foreign"
	// StatusInvalid: not usable; Why says why.
	StatusInvalid = "invalid"
)

// The severities of rules and findings.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// MaxDetails bounds the details of one finding.
const MaxDetails = 200
