package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Outcomes of a verification.
const (
	VerificationPassed = "PASSED"
	VerificationFailed = "FAILED"
)

// VSAV1 is the predicate SLSA Verification Summary v1
// (https://slsa.dev/spec/v1.1/verification_summary).
type VSAV1 struct {
	Verifier     Verifier  `json:"verifier"`
	TimeVerified time.Time `json:"timeVerified"`
	// ResourceURI names the artifact as it was asked for.
	ResourceURI string `json:"resourceUri"`
	// Policy that the artifact was verified against, by uri and digest. The
	// specification asks for the uri only; a policy that can change unseen is not
	// one that we build on.
	Policy ResourceDescriptor `json:"policy"`
	// InputAttestations that the verdict rests on, each by digest.
	InputAttestations []ResourceDescriptor `json:"inputAttestations,omitempty"`
	// VerificationResult is VerificationPassed or VerificationFailed.
	VerificationResult string `json:"verificationResult"`
	// VerifiedLevels such as SLSA_BUILD_LEVEL_1, the highest of each track, or
	// FAILED alone.
	VerifiedLevels   []string          `json:"verifiedLevels"`
	DependencyLevels map[string]uint64 `json:"dependencyLevels,omitempty"`
	// SLSAVersion is MAJOR.MINOR.
	SLSAVersion string `json:"slsaVersion,omitempty"`
}

// Verifier is who verified.
type Verifier struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

var _ Predicate = VSAV1{}

// BuildLevel is the SlsaResult of a Build level from 0 to 3.
func BuildLevel(n int) string { return fmt.Sprintf("SLSA_BUILD_LEVEL_%d", n) }

// Type is VSA.
func (VSAV1) Type() Type { return VSA }

// Encode validates p and encodes it with input attestations sorted by digest,
// levels by name, and the time in UTC.
func (p VSAV1) Encode() (json.RawMessage, error) {
	p.TimeVerified = utc(p.TimeVerified)
	p.InputAttestations = slices.SortedFunc(slices.Values(p.InputAttestations), func(a, b ResourceDescriptor) int {
		return cmp.Or(cmp.Compare(a.Digest["sha256"], b.Digest["sha256"]), cmp.Compare(a.URI, b.URI))
	})
	p.VerifiedLevels = slices.Sorted(slices.Values(p.VerifiedLevels))
	return encode(VSA, p)
}

// ParseVSA reads a verification summary v1 predicate.
func ParseVSA(raw json.RawMessage) (VSAV1, error) { return parse[VSAV1](VSA, raw) }

// Validate checks the required fields, and that levels are well formed and
// agree with the result.
func (p VSAV1) Validate() error {
	err := missing(
		"verifier.id", p.Verifier.ID,
		"timeVerified", p.TimeVerified,
		"resourceUri", p.ResourceURI,
		"policy.uri", p.Policy.URI,
		"policy.digest", len(p.Policy.Digest) > 0,
		"verificationResult", p.VerificationResult,
		"verifiedLevels", len(p.VerifiedLevels) > 0)
	if err != nil {
		return err
	}
	failed := slices.Contains(p.VerifiedLevels, VerificationFailed)
	switch p.VerificationResult {
	case VerificationPassed:
		if failed {
			return fmt.Errorf("verifiedLevels say FAILED, verificationResult PASSED")
		}
	case VerificationFailed:
		if !failed || len(p.VerifiedLevels) != 1 {
			return fmt.Errorf("verificationResult is FAILED, so verifiedLevels must be FAILED alone")
		}
	default:
		return fmt.Errorf("verificationResult %.40q is neither PASSED nor FAILED", p.VerificationResult)
	}
	if err := oneLevelPerTrack(p.VerifiedLevels); err != nil {
		return err
	}
	if v := p.SLSAVersion; v != "" {
		major, minor, _ := strings.Cut(v, ".")
		if !isNumber(major) || !isNumber(minor) {
			return fmt.Errorf("slsaVersion %.40q is not MAJOR.MINOR", v)
		}
	}
	for _, l := range append(slices.Clone(p.VerifiedLevels), slices.Sorted(maps.Keys(p.DependencyLevels))...) {
		if !slsaResult(l) {
			return fmt.Errorf("level %.60q is no SlsaResult", l)
		}
	}
	if err := p.Policy.Validate(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for i, a := range p.InputAttestations {
		if len(a.Digest) == 0 {
			return fmt.Errorf("inputAttestations[%d].digest is missing", i)
		}
	}
	return validateAll("inputAttestations", p.InputAttestations)
}

// oneLevelPerTrack refuses a second level of a track of SLSA: a level implies
// those below it, so two of them say two things.
func oneLevelPerTrack(levels []string) error {
	seen := map[string]string{}
	for _, l := range levels {
		track, _, ok := strings.Cut(l, "_LEVEL_")
		if !ok || !strings.HasPrefix(l, "SLSA_") {
			continue
		}
		if other, ok := seen[track]; ok {
			return fmt.Errorf("verifiedLevels has %.60s and %.60s of one track", other, l)
		}
		seen[track] = l
	}
	return nil
}

// slsaResult reports whether text is a SlsaResult: one of the specification's,
// FAILED, or a verifier's own, which must not start with SLSA_.
func slsaResult(text string) bool {
	rest, ours := strings.CutPrefix(text, "SLSA_")
	if !ours {
		return text != "" && text[0] >= 'A' && text[0] <= 'Z' &&
			strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
	}
	level, ok := strings.CutPrefix(rest, "BUILD_LEVEL_")
	if !ok {
		level, ok = strings.CutPrefix(rest, "SOURCE_LEVEL_")
	}
	return ok && slices.Contains([]string{"UNEVALUATED", "0", "1", "2", "3", "4"}, level)
}

func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }
