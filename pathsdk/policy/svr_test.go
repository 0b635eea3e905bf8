package policy

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

func TestSVR(t *testing.T) {
	p, in := load(t), goodInput(t)
	good := judge(t, p, in)
	raw, err := SVR(good, VSAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.ParseSVR(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{PropertyPassed, "SLSA_BUILD_LEVEL_1", "PAVEDPATHS_REQUIRE_TEST_RESULT", "PAVEDPATHS_TESTS_RAN"} {
		if !slices.Contains(got.Properties, want) {
			t.Errorf("%s is missing in %v", want, got.Properties)
		}
	}
	for _, name := range got.Properties {
		if name != PropertyPassed && !slices.ContainsFunc(good.Rules, func(r RuleResult) bool { return r.Held && property(r.Rule) == name }) &&
			name != evidence.BuildLevel(good.Level.Build) {
			t.Errorf("%s is nothing that held", name)
		}
	}
	got.Properties = nil
	want := evidence.SVRV02{
		Verifier: evidence.SVRVerifier{ID: VerifierID, Policies: []evidence.ResourceDescriptor{{
			URI: "https://github.com/pavedpaths/paths/policies/microservice", Digest: evidence.SHA256(p.Digest()),
		}}},
		TimeCreated: in.Now,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("result (-want +got):\n%s", d)
	}

	in.Attestations = in.Attestations[1:]
	if _, err := SVR(judge(t, p, in), VSAOptions{}); !errors.Is(err, ErrFailedVerdict) {
		t.Errorf("of a failed verdict: got %v", err)
	}
}

// TestSVRProperties: only what held by itself is a property.
func TestSVRProperties(t *testing.T) {
	v := judge(t, load(t), goodInput(t))
	v.Level.Build = 0
	v.Rules = []RuleResult{
		{Rule: "held", Held: true}, {Rule: "waived", Held: true}, {Rule: "warned"},
		{Rule: "two/names", Held: true}, {Rule: "two-names"}, {Rule: "same/names"}, {Rule: "same-names", Held: true},
	}
	v.Findings = []Finding{{Rule: "waived", Waived: true}, {Rule: "warned", Severity: SeverityWarning}}
	raw, err := SVR(v, VSAOptions{PolicyURI: "https://example.com/policy"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.ParseSVR(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"PAVEDPATHS_HELD", PropertyPassed}, got.Properties); d != "" {
		t.Error(d)
	}
	if uri := got.Verifier.Policies[0].URI; uri != "https://example.com/policy" {
		t.Errorf("policy %s", uri)
	}
}

func TestProperty(t *testing.T) {
	for rule, want := range map[string]string{
		"require/test-result": "PAVEDPATHS_REQUIRE_TEST_RESULT", "az/09": "PAVEDPATHS_AZ_09", "a@[`{:/é": "PAVEDPATHS_A_______",
	} {
		if got := property(rule); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}
