package policy

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// PropertyPrefix scopes the properties of our own in an SVR.
const PropertyPrefix = "PAVEDPATHS_"

// PropertyPassed is the property of an image that passed its whole policy.
const PropertyPassed = PropertyPrefix + "POLICY_PASSED"

// ErrFailedVerdict says that a verdict has no SVR.
var ErrFailedVerdict = errors.New("the verdict failed, and an SVR can only say what passed; its VSA says that it failed")

// SVR is the predicate of the Simple Verification Result v0.2 of a verdict that
// passed; of one that failed there is none (ErrFailedVerdict). Its properties are
// PropertyPassed, the SLSA Build level from 1 on, and one for each requirement
// and rule of the policy that held by itself: what holds because of a waiver, or
// failed as a warning only, is left out.
func SVR(v Verdict, o VSAOptions) (json.RawMessage, error) {
	if !v.Passed {
		return nil, ErrFailedVerdict
	}
	properties := []string{PropertyPassed}
	if v.Level.Build > 0 {
		properties = append(properties, evidence.BuildLevel(v.Level.Build))
	}
	// Two rules whose ids differ in punctuation share a property: both must hold.
	held := map[string]bool{}
	for _, r := range v.Rules {
		name := property(r.Rule)
		before, twice := held[name]
		clean := !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Rule == r.Rule })
		held[name] = r.Held && clean && (before || !twice)
	}
	for name, ok := range held {
		if !ok {
			delete(held, name)
		}
	}
	return evidence.SVRV02{
		Verifier:    evidence.SVRVerifier{ID: VerifierID, Policies: []evidence.ResourceDescriptor{o.policy(v)}},
		TimeCreated: v.VerifiedOn,
		Properties:  slices.AppendSeq(properties, maps.Keys(held)),
	}.Encode()
}

// property makes the name of a rule's property: require/test-result is
// PAVEDPATHS_REQUIRE_TEST_RESULT.
func property(rule string) string {
	return PropertyPrefix + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(rule))
}
