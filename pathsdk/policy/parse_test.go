package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		v    any
		want float64
		ok   bool
	}{
		{83.1, 83.1, true}, {0.0, 0, true}, {100.0, 100, true}, {int64(7), 7, true}, {"83.1", 83.1, true}, {"83.1%", 83.1, true},
		{-0.1, 0, false}, {100.1, 0, false}, {"NaN", 0, false}, {"much", 0, false}, {"", 0, false}, {true, 0, false}, {nil, 0, false},
	} {
		if got, err := percent(c.v); got != c.want || (err == nil) != c.ok {
			t.Errorf("%v: %v, %v", c.v, got, err)
		}
	}
}

func TestParseTest(t *testing.T) {
	for predicate, want := range map[string]record{
		`{"result":"PASSED","configuration":[{"name":"go test","uri":"x"}],"passedTests":["a"]}`: {
			"result": "PASSED", "passed": []string{"a"}, "warned": []string{}, "failed": []string{},
			"hasCoverage": false, "coverage": 0.0, "suites": []string{"go test"},
		},
		`{"result":"WARNED","configuration":[{"uri":"x","annotations":{"coverage":"50"}}],"warnedTests":["w"]}`: {
			"result": "WARNED", "passed": []string{}, "warned": []string{"w"}, "failed": []string{},
			"hasCoverage": true, "coverage": 50.0, "suites": []string{},
		},
	} {
		f, err := parseTest(json.RawMessage(predicate))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, f.rec); d != "" {
			t.Errorf("%s (-want +got):\n%s", predicate, d)
		}
	}
	if _, err := parseTest(json.RawMessage(`{"result":"PASSED","configuration":[{"uri":"x","annotations":{"coverage":"101"}}]}`)); err == nil || !strings.Contains(err.Error(), "coverage") {
		t.Errorf("coverage of 101: %v", err)
	}
}

// TestParseProvenance takes away what a policy needs to know of a run.
func TestParseProvenance(t *testing.T) {
	raw := ofType(t, goodInput(t), evidence.Provenance).Predicate
	if _, err := parseProvenance(raw); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"no metadata": func(p map[string]any) { delete(p["runDetails"].(map[string]any), "metadata") },
		"no invocation": func(p map[string]any) {
			delete(p["runDetails"].(map[string]any)["metadata"].(map[string]any), "invocationId")
		},
		"no start": func(p map[string]any) {
			delete(p["runDetails"].(map[string]any)["metadata"].(map[string]any), "startedOn")
		},
		"no end": func(p map[string]any) {
			delete(p["runDetails"].(map[string]any)["metadata"].(map[string]any), "finishedOn")
		},
	} {
		var p map[string]any
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		change(p)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseProvenance(b); err == nil || !strings.Contains(err.Error(), "runDetails.metadata lacks") {
			t.Errorf("%s: %v", name, err)
		}
	}
	f, err := parseProvenance(replaced(raw, `"digest":{"gitCommit":"4c76bb580b2736d67751410fa4ab66d2b6b9b27d"},`, ""))
	if err != nil {
		t.Fatal(err)
	}
	deps := []any{
		record{"name": "source", "uri": "", "digest": map[string]string{"sha256": strings.Repeat("a", 64)}},
		record{"name": "revision", "uri": "git+https://example.com/team/service@4c76bb580b2736d67751410fa4ab66d2b6b9b27d", "digest": map[string]string{}},
		record{"name": "golang.org/x/text", "uri": "pkg:golang/golang.org/x/text@v0.31.0", "digest": map[string]string{"dirHash": strings.Repeat("c", 64)}},
	}
	if d := cmp.Diff(any(deps), f.rec["dependencies"]); d != "" {
		t.Errorf("dependencies (-want +got):\n%s", d)
	}
	f, err = parseProvenance(replaced(raw, `"config":`, `"config":{"custom":[{"name":"lint"},{}]},"was":`))
	if err == nil {
		t.Errorf("a custom step without a name: %v", f.rec["custom"])
	}
	f, err = parseProvenance(replaced(raw, `"config":`, `"config":{"custom":[{"name":"lint"}]},"was":`))
	if err != nil || fmt.Sprint(f.rec["custom"]) != "[lint]" || len(f.times) != 2 || !f.at.Equal(f.times[1]) || !f.times[0].Before(f.at) {
		t.Errorf("%v, %v: %v", f.rec["custom"], f.times, err)
	}
}

// TestSourceOf: one dependency is the source, or nobody knows what it was.
func TestSourceOf(t *testing.T) {
	dep := func(name, hex string) evidence.ResourceDescriptor {
		return evidence.ResourceDescriptor{Name: name, Digest: map[string]string{"sha256": hex}}
	}
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for name, c := range map[string]struct {
		deps []evidence.ResourceDescriptor
		want string
	}{
		"one":              {[]evidence.ResourceDescriptor{dep("other", b), dep("source", a), dep("more", b)}, "sha256:" + a},
		"none":             {[]evidence.ResourceDescriptor{dep("other", b)}, ""},
		"two":              {[]evidence.ResourceDescriptor{dep("source", a), dep("source", b)}, ""},
		"two of one":       {[]evidence.ResourceDescriptor{dep("source", a), dep("source", a)}, ""},
		"no digest":        {[]evidence.ResourceDescriptor{dep("source", "")}, ""},
		"a half digest":    {[]evidence.ResourceDescriptor{dep("source", a[:32])}, ""},
		"a broken one too": {[]evidence.ResourceDescriptor{dep("source", a), dep("source", "x")}, ""},
	} {
		var p evidence.ProvenanceV1
		p.BuildDefinition.ResolvedDependencies = c.deps
		if got := sourceOf(&p); string(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestSBOMFact(t *testing.T) {
	f := sbomFact(evidence.SBOM{Packages: []evidence.SBOMPackage{
		{Name: "a", Version: "1", PURL: "pkg:golang/a@1"}, {Name: "b", Version: "1"}, {Name: "c", PURL: "pkg:golang/c"}, {Name: "d"},
	}})
	if f.rec["packages"] != int64(4) || f.rec["named"] != int64(1) {
		t.Errorf("%v", f.rec)
	}
}
