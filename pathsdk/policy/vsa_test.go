package policy

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

func TestVSA(t *testing.T) {
	p, in := load(t), goodInput(t)
	good := judge(t, p, in)
	raw, err := VSA(good, VSAOptions{ResourceURI: "oci://registry.example/service", Version: "v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.ParseVSA(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.InputAttestations) != len(in.Attestations) {
		t.Errorf("%d input attestations, want all %d that were used", len(got.InputAttestations), len(in.Attestations))
	}
	got.InputAttestations = nil
	want := evidence.VSAV1{
		Verifier:     evidence.Verifier{ID: VerifierID, Version: map[string]string{"pathctl": "v0.1.0"}},
		TimeVerified: in.Now,
		ResourceURI:  "oci://registry.example/service",
		Policy: evidence.ResourceDescriptor{
			URI:    "https://github.com/pavedpaths/paths/policies/microservice",
			Digest: evidence.SHA256(p.Digest()),
		},
		VerificationResult: "PASSED",
		VerifiedLevels:     []string{"SLSA_BUILD_LEVEL_1"},
		SLSAVersion:        "1.1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}

	// What stands there twice is one input.
	twice := good
	twice.Evidence = slices.Concat(good.Evidence, good.Evidence)
	if raw, err = VSA(twice, VSAOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err = evidence.ParseVSA(raw); err != nil || len(got.InputAttestations) != len(in.Attestations) || got.Verifier.Version != nil {
		t.Errorf("%d input attestations, version %v, %v", len(got.InputAttestations), got.Verifier.Version, err)
	}

	// What changed nothing is no input, and a failure has no level.
	extra := twin(in.Attestations[0], "foreign")
	extra.Foreign = true
	in.Attestations = append(slices.Clone(in.Attestations[1:]), extra)
	bad := judge(t, p, in)
	if raw, err = VSA(bad, VSAOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err = evidence.ParseVSA(raw); err != nil {
		t.Fatal(err)
	}
	if got.VerificationResult != "FAILED" || !slices.Equal(got.VerifiedLevels, []string{"FAILED"}) || got.ResourceURI != in.Reference {
		t.Errorf("got %s %v %s", got.VerificationResult, got.VerifiedLevels, got.ResourceURI)
	}
	for _, a := range got.InputAttestations {
		if a.Digest["sha256"] == extra.Digest.Hex() {
			t.Error("foreign evidence is an input of the summary")
		}
	}
}

// TestVerdictJSON: reports and machines read verdicts, so lists are never null.
func TestVerdictJSON(t *testing.T) {
	in := goodInput(t)
	in.Attestations = nil
	raw, err := json.Marshal(judge(t, load(t), in))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"images", "findings", "rules", "params", "evidence", "waivers"} {
		if _, ok := m[key].([]any); !ok {
			t.Errorf("%s is %T", key, m[key])
		}
	}
	if m["passed"] != false {
		t.Error("an image without evidence passes")
	}
}
