package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestOurProvenance: what package provenance writes is what this package reads:
// source, facts, the service's gates and waivers.
func TestOurProvenance(t *testing.T) {
	p, in := load(t), single(goodInput(t))
	source := step.Digest("sha256:" + strings.Repeat("a", 64))
	at := in.Now.Add(-time.Hour)
	out, err := json.Marshal(map[string]string{"baseDigest": string(digestOf("base")), "toolchainDigest": string(digestOf("go")), "toolchain": "go1.26.0"})
	if err != nil {
		t.Fatal(err)
	}
	node := func(name string, subject step.Digest) provenance.NodeRecord {
		return provenance.NodeRecord{
			ID: name, Step: name, Version: "1", Zone: step.ZoneBuild, StartedOn: at, FinishedOn: at.Add(time.Minute),
			Subject: step.Subject{Name: name, Digest: subject}, Output: out,
		}
	}
	ship := func(config string) Verdict {
		pred, err := provenance.Predicate(provenance.Build{
			Record: provenance.Record{
				Path: "microservice", Version: "0.1.0", Invocation: "run-1",
				Inputs: map[string]json.RawMessage{"base": json.RawMessage(`"scratch"`)},
				Config: json.RawMessage(config),
				Tool:   provenance.Tool{Name: "pathctl", Version: "v0.1.0", Digest: digestOf("pathctl")},
				Facts:  provenance.Workstation(provenance.Fence{Landlock: true}),
				Nodes:  []provenance.NodeRecord{node("fetch", source), node("build", in.Digest)},
			},
			Image: in.Digest, Source: source,
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := pred.Encode()
		if err != nil {
			t.Fatal(err)
		}
		x := in
		x.Attestations = slices.Clone(in.Attestations)
		for i := range x.Attestations {
			if x.Attestations[i].Type == evidence.Provenance.URI {
				x.Attestations[i].Predicate = raw
			}
		}
		return judge(t, p, x)
	}
	waived := `"waivers":[{"id":"CVE-2026-0001","reason":"no listener","expires":"2026-03-31"}]`
	if v := ship(`{` + waived + `}`); !v.Passed || v.Level.Build != 1 || v.Waivers[0].State != WaiverActive {
		t.Errorf("passed %t, level %d, waivers %+v, findings %+v", v.Passed, v.Level.Build, v.Waivers, v.Findings)
	}
	if v := ship(`{}`); v.Passed {
		t.Error("a vulnerability passes without a waiver")
	}
	if v := ship(`{"gates":{"minCoverage":90},` + waived + `}`); v.Passed {
		t.Error("the service's own gate does not hold")
	}
	if v := ship(`{"custom":[{"name":"lint","command":["./lint"]}],` + waived + `}`); v.Passed {
		t.Error("a custom step without a result passes")
	}
}
