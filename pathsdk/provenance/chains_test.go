package provenance_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// chainsProvenance is of the form that Tekton Chains writes.
func chainsProvenance(t testing.TB) evidence.ProvenanceV1 {
	t.Helper()
	var p evidence.ProvenanceV1
	if err := json.Unmarshal([]byte(`{
		"buildDefinition": {"buildType": "https://tekton.dev/chains/v2/slsa", "externalParameters": {"runSpec": {}}, "resolvedDependencies": [
			{"uri": "oci://registry.example.com/paths/pathctl", "digest": {"sha256": "aa"}},
			{"uri": "git+https://git.example.com/acme/orders", "digest": {"sha1": "bb"}}]},
		"runDetails": {"builder": {"id": "https://tekton.dev/chains/v2"}}}`), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestLevelOfAPlatform: a platform's own provenance is worth what the trust root says of
// its signer, L2 at most, and nothing in it raises that.
func TestLevelOfAPlatform(t *testing.T) {
	facts, err := json.Marshal(hosted())
	if err != nil {
		t.Fatal(err)
	}
	say := func(facts string) func(*evidence.ProvenanceV1) {
		return func(p *evidence.ProvenanceV1) {
			p.BuildDefinition.InternalParameters = map[string]json.RawMessage{"facts": json.RawMessage(facts)}
		}
	}
	for name, c := range map[string]struct {
		change  func(*evidence.ProvenanceV1)
		trusted int
		want    int
	}{
		"as it comes":                   {nil, 2, 2},
		"with all that L3 asks of us":   {say(string(facts)), 3, 2},
		"with facts that say less":      {say(`[{"name":"host","value":"workstation","how":"x"}]`), 2, 2},
		"with facts in no form":         {say(`"none"`), 2, 2},
		"trusted beyond":                {nil, 9, 2},
		"trusted for L1":                {nil, 1, 1},
		"trusted for nothing":           {nil, 0, 0},
		"with more of the run in it":    {func(p *evidence.ProvenanceV1) { p.BuildDefinition.BuildType = provenance.ChainsTektonBuildType }, 2, 2},
		"of another kind":               {func(p *evidence.ProvenanceV1) { p.BuildDefinition.BuildType += "-x" }, 2, 0},
		"of ours":                       {func(p *evidence.ProvenanceV1) { *p = with(t, hosted()) }, 3, 0},
		"no build type":                 {func(p *evidence.ProvenanceV1) { p.BuildDefinition.BuildType = "" }, 2, 0},
		"no builder":                    {func(p *evidence.ProvenanceV1) { p.RunDetails.Builder.ID = "" }, 2, 0},
		"no inputs":                     {func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies = nil }, 2, 0},
		"the first input has no digest": {func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies[0].Digest = nil }, 2, 0},
		"the last input has no digest":  {func(p *evidence.ProvenanceV1) { p.BuildDefinition.ResolvedDependencies[1].Digest = nil }, 2, 0},
	} {
		p := chainsProvenance(t)
		if c.change != nil {
			c.change(&p)
		}
		by := trusted(c.trusted)
		by.Platform = true
		got, reasons := provenance.Level(p, by)
		if got != c.want {
			t.Errorf("%s: level %d, want %d: %+v", name, got, c.want, reasons)
		}
		for _, r := range reasons {
			if r.Need == "" || r.Why == "" {
				t.Errorf("%s: a reason that says nothing: %+v", name, r)
			}
			if own := !strings.HasPrefix(r.Need, "the verifier trusts"); r.Level == 3 && own && r.Holds {
				t.Errorf("%s: %q of L3 holds", name, r.Need)
			}
		}
	}
	// From another signer the very same is worth what its facts say: there are none.
	if got, _ := provenance.Level(chainsProvenance(t), trusted(3)); got > 1 {
		t.Errorf("without the role it is L%d", got)
	}
}

// TestPlatformNeeds: each requirement stands at the level where the specification, or the
// policy, has it.
func TestPlatformNeeds(t *testing.T) {
	by := trusted(2)
	by.Platform, by.Separation.From = true, 3
	_, reasons := provenance.Level(chainsProvenance(t), by)
	got := map[string]int{}
	for _, r := range reasons {
		got[r.Need] = r.Level
	}
	if d := cmp.Diff(map[string]int{
		"provenance names the builder":                          1,
		"provenance names how it was built":                     1,
		"provenance names the inputs by digest":                 1,
		"the verifier trusts the signer for L1":                 1,
		"the build ran on a hosted platform":                    2,
		"the platform's control plane generated the provenance": 2,
		"the verifier trusts the signer for L2":                 2,
		"somebody else than the producer signed it":             3,
		"the platform knows the image's digest itself":          3,
		"builds can't influence each other":                     3,
		"no cache is shared between builds":                     3,
		"the verifier trusts the signer for L3":                 3,
	}, got); d != "" {
		t.Error(d)
	}
}

// TestChainsInputs: people are told whether the source is among the inputs.
func TestChainsInputs(t *testing.T) {
	by := trusted(2)
	by.Platform = true
	why := func(p evidence.ProvenanceV1) string {
		_, reasons := provenance.Level(p, by)
		for _, r := range reasons {
			if strings.Contains(r.Need, "inputs by digest") {
				return r.Why
			}
		}
		return ""
	}
	p := chainsProvenance(t)
	if got := why(p); got != "2 dependencies by digest, a commit among them" {
		t.Error(got)
	}
	p.BuildDefinition.ResolvedDependencies[1].Digest = map[string]string{"gitCommit": "bb"}
	if got := why(p); got != "2 dependencies by digest, a commit among them" {
		t.Error(got)
	}
	p.BuildDefinition.ResolvedDependencies[1].Digest = map[string]string{"sha256": "bb"}
	if got := why(p); !strings.Contains(got, "no commit among them") {
		t.Error(got)
	}
}
