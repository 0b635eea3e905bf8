package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// CasesKind is the kind of a file of policy tests.
const CasesKind = "PolicyTest"

// Cases is a file of unit tests for a policy: one input, and cases that change
// it and say which rules must fail then. Its file lies beside the policy's and
// ends in _test.yaml.
type Cases struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Now is the time of judgement.
	Now time.Time `json:"now"`
	// Images by a short name; the first one is judged.
	Images []CaseImage `json:"images"`
	// Signers by name.
	Signers map[string]CaseSigner `json:"signers"`
	// Evidence of the input.
	Evidence []CaseEvidence `json:"evidence"`
	Cases    []Case         `json:"cases"`
}

// CaseImage is one image of the input; the first one is judged.
type CaseImage struct {
	Name     string      `json:"name"`
	Digest   step.Digest `json:"digest"`
	Index    bool        `json:"index,omitempty"`
	Platform string      `json:"platform,omitempty"`
}

// CaseSigner is a signer as the trust root has it.
type CaseSigner struct {
	Roles         []string      `json:"roles"`
	MaxTier       evidence.Tier `json:"maxTier"`
	MaxBuildLevel int           `json:"maxBuildLevel"`
	RunIssuers    []string      `json:"runIssuers,omitempty"`
	Identity      *Identity     `json:"identity,omitempty"`
}

// CaseEvidence is one statement, attached to each of Images by name.
type CaseEvidence struct {
	// Name is unique; changes name it, or NAME@IMAGE for one attachment.
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Images []string `json:"images"`
	// Subject is the image it is attached to when empty.
	Subject   step.Digest     `json:"subject,omitempty"`
	Signer    string          `json:"signer"`
	Tier      evidence.Tier   `json:"tier"`
	Predicate json.RawMessage `json:"predicate"`
	// Foreign and Invalid make it not usable.
	Foreign bool   `json:"foreign,omitempty"`
	Invalid string `json:"invalid,omitempty"`
}

// Case is one test.
type Case struct {
	Name string `json:"name"`
	// Changes are made to a copy of the input, in order.
	Changes []Change `json:"changes,omitempty"`
	// Add is more evidence, after the changes.
	Add     []CaseEvidence `json:"add,omitempty"`
	Now     *time.Time     `json:"now,omitempty"`
	Params  map[string]any `json:"params,omitempty"`
	Waivers []Waiver       `json:"waivers,omitempty"`
	// KEV lists known exploited vulnerabilities; without it none are checked.
	KEV []string `json:"kev,omitempty"`
	// Fails, Warns and Waived list the rules with findings of that kind; a case
	// without fails must pass.
	Fails  []string `json:"fails,omitempty"`
	Warns  []string `json:"warns,omitempty"`
	Waived []string `json:"waived,omitempty"`
	// States are the expected states of waivers, by id, if given.
	States map[string]string `json:"states,omitempty"`
}

// Change changes evidence of the input.
type Change struct {
	// Of names evidence: NAME, or NAME@IMAGE.
	Of string `json:"of"`
	// Drop removes it.
	Drop bool `json:"drop,omitempty"`
	// Path is a place in the predicate, such as scanner.result.0.id; Value
	// replaces what is there, and without a value it is removed.
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
	// Signer, Tier and Subject replace those of the statement.
	Signer  string        `json:"signer,omitempty"`
	Tier    evidence.Tier `json:"tier,omitempty"`
	Subject step.Digest   `json:"subject,omitempty"`
	// Foreign and Invalid make it not usable.
	Foreign bool   `json:"foreign,omitempty"`
	Invalid string `json:"invalid,omitempty"`
}

// CaseResult is the outcome of one case.
type CaseResult struct {
	Name string
	// Problems say how the verdict differs from what was expected; none means
	// that the case holds.
	Problems []string
	Verdict  Verdict
}

// Test runs every case of a file against a policy.
func Test(p *Policy, casesFile string) ([]CaseResult, error) {
	b, err := readFile(casesFile)
	if err != nil {
		return nil, step.Usagef("policy tests %s: %w", casesFile, err)
	}
	c, err := ParseCases(b)
	if err != nil {
		return nil, step.Usagef("policy tests %s: %w", casesFile, err)
	}
	var out []CaseResult
	for _, one := range c.Cases {
		r, err := c.run(p, one)
		if err != nil {
			return nil, fmt.Errorf("policy tests %s: case %q: %w", casesFile, one.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// ParseCases reads a file of policy tests.
func ParseCases(b []byte) (*Cases, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("larger than %d bytes", MaxFile)
	}
	var c Cases
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return nil, fmt.Errorf("not a file of policy tests: %w", err)
	}
	if c.APIVersion != APIVersion || c.Kind != CasesKind {
		return nil, fmt.Errorf("apiVersion and kind are %q and %q, want %q and %q", c.APIVersion, c.Kind, APIVersion, CasesKind)
	}
	if len(c.Images) == 0 || len(c.Cases) == 0 {
		return nil, errors.New("images or cases are missing")
	}
	return &c, nil
}
