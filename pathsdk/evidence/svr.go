package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// SVRV02 is the predicate Simple Verification Result v0.2 (in-toto/attestation
// spec/predicates/svr.md as pull request 555 of June 2026 left it: v0.1 as it stands at
// commit 1fa3332703bc, and verifier.policies, which is required; the Go module of the
// specification, v1.2.0, still has v0.1, where no policy is named).
type SVRV02 struct {
	Verifier SVRVerifier `json:"verifier"`
	// TimeCreated is when the verification took place.
	TimeCreated time.Time `json:"timeCreated"`
	// Properties are those that hold, scoped by who defines them, such as
	// SLSA_BUILD_LEVEL_1. What is not listed was not verified, which is not to say
	// that it does not hold. The list is required, and may be empty.
	Properties []string `json:"properties"`
}

// SVRVerifier is who verified, and by what.
type SVRVerifier struct {
	// ID is a URI that changes when what the verifier checks changes.
	ID string `json:"id"`
	// Policies that the artifact was verified against. The list is required; an
	// empty one says that no policy can be named.
	Policies []ResourceDescriptor `json:"policies"`
}

var _ Predicate = SVRV02{}

// Type is SVR.
func (SVRV02) Type() Type { return SVR }

// Encode validates p and encodes it with sorted properties and the time in UTC.
// The order of policies is the verifier's.
func (p SVRV02) Encode() (json.RawMessage, error) {
	p.TimeCreated = utc(p.TimeCreated)
	p.Properties = slices.Clone(p.Properties) // of an empty list an empty list, never nil
	slices.Sort(p.Properties)
	return encode(SVR, p)
}

// ParseSVR reads a Simple Verification Result v0.2 predicate. One of v0.1 has
// another type and is refused here for its missing policies.
func ParseSVR(raw json.RawMessage) (SVRV02, error) { return parse[SVRV02](SVR, raw) }

// Validate checks the required fields and every policy.
func (p SVRV02) Validate() error {
	err := missing(
		"verifier.id", p.Verifier.ID,
		"verifier.policies", p.Verifier.Policies != nil,
		"timeCreated", p.TimeCreated,
		"properties", p.Properties != nil)
	if err != nil {
		return err
	}
	for i, name := range p.Properties {
		if name == "" {
			return fmt.Errorf("properties[%d] is empty", i)
		}
	}
	return validateAll("verifier.policies", p.Verifier.Policies)
}
