// Package policy judges the evidence on an image: which predicates are
// required, by whom and how good, what they must say (in CEL), which SLSA Build
// level the observed facts support, and which findings the service's team has
// waived. The outcome is a Verdict, and a SLSA verification summary (VSA) of it.
//
// # How evidence is judged
//
// Judge looks at every referrer once. One that nobody in the trust root signed
// is foreign; one that can't be read, is about another image than it hangs on,
// or is dated in the future is invalid. Both are listed in the verdict and
// change nothing, so nobody who can merely push a referrer can block a release.
// Of the rest, each entry of the policy's require list takes, for every image
// it is about, the newest one whose signer has the asked role and whose tier is
// high enough. Newest is by the time inside the signed statement (a scan's
// scanFinishedOn), never by what a registry says; equal times are decided by
// digest. So an old clean scan, replayed beside a new bad one, changes nothing.
// Statements without a time (test results, secret scans) all count: each must
// pass.
//
// A statement's tier is the lowest of what it claims, what its signer may give
// and what its type can have at all; a test result is never better than
// reported. The level is computed by package provenance and capped by what the
// verifier trusts the provenance's signer for.
//
// # Rules
//
// A rule is a CEL expression over what was verified. It holds if the expression
// is true, for every element of forEach where there is one. An expression that
// fails at run time, runs too long or gives something else than a bool fails its
// rule. A rule that reads evidence of which there is none could not be judged
// and does not hold. Reasons and details may contain CEL in ${...}.
//
// The variables (schema.go has their fields; a misspelt one is an error when the
// policy is loaded):
//
//	image        the image under judgement       images     it and its platforms
//	evidence     every attestation that counts   level      the computed level
//	provenances  signatures  tests  sboms  scans  secretScans
//	vulns        every finding of every scan     secrets    every finding of every secret scan
//	params       the policy's parameters         now        the time of judgement
//	kevChecked   whether a list of known exploited vulnerabilities was given
//	it           the element of forEach
//
// # Waivers
//
// A waiver accepts a vulnerability (by id or alias), another finding or a rule that
// finds one thing, until a day. A whole rule that finds many things is waived by the
// verifier only: a service's own waivers name what they accept, and end within the
// policy's maxWaiver.
// Only rules marked waivable can be waived. Waivers come from the service's
// paths.yaml as the observed provenance recorded it, unless the caller gives
// others. All are judged at Input.Now, on every run.
package policy

import (
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// APIVersion and Kind are the values that every policy file carries.
const (
	APIVersion = "pavedpaths.dev/v1"
	Kind       = "Policy"
)

// Policy is a loaded policy: checked, compiled, and safe for concurrent use.
// Load makes one.
type Policy struct {
	// APIVersion is "pavedpaths.dev/v1", Kind "Policy".
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Name names the policy; Summary is one sentence about it.
	Name    string `json:"name"`
	Summary string `json:"summary"`
	// Params are the parameters, by name.
	Params map[string]Param `json:"params,omitempty"`
	// Require lists the predicates without which nothing passes.
	Require []Require `json:"require"`
	// Rules say what the predicates must contain.
	Rules []Rule `json:"rules"`
	// Separation says from which level on the attester may not be the producer.
	Separation Separation `json:"separation,omitempty"`

	digest   step.Digest
	compiled []compiledRule
}

// Digest is the digest of the policy file's bytes.
func (p *Policy) Digest() step.Digest { return p.digest }

// Require is one required predicate.
type Require struct {
	// Predicate is a type URI or short name of package evidence.
	Predicate string `json:"predicate"`
	// About says what must have one: "image" (every image digest: the index and
	// each platform manifest), "platforms" (each platform manifest), or "source"
	// (the source digest that the provenance names; the statement hangs on every
	// image digest).
	About string `json:"about"`
	// Tier is the lowest effective tier that will do.
	Tier evidence.Tier `json:"tier"`
	// Role is the role that the signer must have in the trust root.
	Role string `json:"role"`
	// MaxAge is the highest age by the time inside the statement; a duration, or
	// the name of a parameter of that type. Empty sets no limit.
	MaxAge string `json:"maxAge,omitempty"`
	// Fix says what to do when it is missing.
	Fix string `json:"fix"`

	typ evidence.Type
}

// ID is the id under which the requirement stands among the rules of a verdict.
func (r Require) ID() string { return "require/" + r.typ.Name }

// Type is the required predicate's type. It is known once the policy is loaded.
func (r Require) Type() evidence.Type { return r.typ }

// Where a required predicate must be.
const (
	AboutImage     = "image"
	AboutPlatforms = "platforms"
	AboutSource    = "source"
)

// Rule is one condition.
type Rule struct {
	// ID is unique in the policy.
	ID string `json:"id"`
	// Severity is error or warning; a warning never fails a verdict.
	Severity string `json:"severity"`
	// ForEach is a CEL list; Expr is judged for each of its elements, as `it`.
	ForEach string `json:"forEach,omitempty"`
	// Expr is the CEL condition that must be true.
	Expr string `json:"expr"`
	// Reason says why the rule fails: text with CEL in ${...}.
	Reason string `json:"reason"`
	// Details name what exactly failed: with forEach one text for each failed
	// element, without it a CEL list of strings.
	Details string `json:"details,omitempty"`
	// Fix says what to do next: text with CEL in ${...}, without `it`.
	Fix string `json:"fix"`
	// Waivable allows waivers, by the rule's id or, with forEach, by an element's
	// ids.
	Waivable bool `json:"waivable,omitempty"`
	// EffectiveOn is the date, YYYY-MM-DD in UTC, from which an error fails a verdict;
	// before, it is a warning that says so. Empty is always.
	EffectiveOn string `json:"effectiveOn,omitempty"`
}
