// Package evidence turns what steps prove into in-toto Statements: one file for
// each predicate type, with its strict parser. It signs nothing.
package evidence

// Type is one predicate type that we emit or read.
type Type struct {
	// URI is the exact predicate type; consumers match it as a string.
	URI string
	// Name is the short name used by the command line, policies and reports.
	Name string
	// Observed is true for a predicate that the attester reads from a system of
	// record; others that it makes are derived from the artifact's bytes.
	Observed bool
}

// The predicate types, with the exact URIs of their specifications.
var (
	Provenance = Type{URI: "https://slsa.dev/provenance/v1", Name: "provenance", Observed: true}
	VSA        = Type{URI: "https://slsa.dev/verification_summary/v1", Name: "vsa"}
	SPDX       = Type{URI: "https://spdx.dev/Document", Name: "spdx"}
	CycloneDX  = Type{URI: "https://cyclonedx.org/bom", Name: "cyclonedx"}
	Vulns      = Type{URI: "https://in-toto.io/attestation/vulns/v0.2", Name: "vulns"}
	TestResult = Type{URI: "https://in-toto.io/attestation/test-result/v0.1", Name: "test-result"}
	Release    = Type{URI: "https://in-toto.io/attestation/release/v0.2", Name: "release"}
	SVR        = Type{URI: "https://in-toto.io/attestation/svr/v0.2", Name: "svr"}
	SCAI       = Type{URI: "https://in-toto.io/attestation/scai/v0.3", Name: "scai"}
	Waiver     = Type{URI: "https://github.com/pavedpaths/paths/attestations/waiver/v1", Name: "waiver"}
	Signature  = Type{URI: "https://sigstore.dev/cosign/sign/v1", Name: "signature"}
)

// Reference is the type of a statement that refers to its predicate. It is no evidence
// of its own, and not among Types: a verifier reads what it refers to.
var Reference = Type{URI: "https://in-toto.io/attestation/reference/v0.1", Name: "reference"}

// Types lists every type in the order in which reports show them.
func Types() []Type {
	return []Type{Signature, Provenance, TestResult, SPDX, CycloneDX, Vulns, SCAI, Release, Waiver, VSA, SVR}
}

// Lookup finds a type by URI or short name.
func Lookup(s string) (Type, bool) {
	for _, t := range Types() {
		if t.URI == s || t.Name == s {
			return t, true
		}
	}
	return Type{}, false
}

// Tier is how far a statement can be trusted: who could have made it up.
type Tier string

// The tiers, from the weakest to the strongest.
const (
	// Reported: the producer said so.
	Reported Tier = "reported"
	// Derived: the attester computed it from the artifact's bytes.
	Derived Tier = "derived"
	// Observed: the attester read it from the system of record.
	Observed Tier = "observed"
	// Reproduced: two independent builders agree.
	Reproduced Tier = "reproduced"
)

// Rank orders tiers; an unknown tier ranks 0, below Reported.
func (t Tier) Rank() int {
	switch t {
	case Reported:
		return 1
	case Derived:
		return 2
	case Observed:
		return 3
	case Reproduced:
		return 4
	}
	return 0
}

// TierAnnotation is the key under which the tier stands in the annotations of a
// statement's subject.
const TierAnnotation = "pavedpaths.dev/tier"
