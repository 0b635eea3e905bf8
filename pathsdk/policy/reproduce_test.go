package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// rebuilt is the provenance of an input as another builder would have made it.
func rebuilt(in Input, change func(*Attestation)) *Reproduction {
	r := &Reproduction{Reference: "rebuilds.example.com/orders"}
	for _, a := range in.Attestations {
		if a.Type != evidence.Provenance.URI {
			continue
		}
		a.Digest = step.Digest("sha256:" + strings.Repeat("e", 60) + string(a.Digest[len(a.Digest)-4:]))
		a.Signer = "rebuilder"
		a.Predicate = replaced(a.Predicate, `"invocationId":"`, `"invocationId":"again-`)
		if change != nil {
			change(&a)
		}
		r.Attestations = append(r.Attestations, a)
	}
	return r
}

func replaced(raw json.RawMessage, old, with string) json.RawMessage {
	var v any
	_ = json.Unmarshal(raw, &v)
	b, _ := json.Marshal(v)
	return json.RawMessage(strings.ReplaceAll(string(b), old, with))
}

func TestReproduced(t *testing.T) {
	p, in := load(t), goodInput(t)
	if v := judge(t, p, in); v.Reproduced || !v.Passed {
		t.Fatalf("passed %t, reproduced %t without a second builder", v.Passed, v.Reproduced)
	}
	in.Reproduction = rebuilt(in, nil)
	v := judge(t, p, in)
	if !v.Passed || !v.Reproduced {
		t.Fatalf("passed %t, reproduced %t: %+v", v.Passed, v.Reproduced, v.Findings)
	}
	tiers, second := 0, 0
	for _, e := range v.Evidence {
		if e.Status == StatusUsed && e.Type == evidence.Provenance.URI && e.Tier == evidence.Reproduced {
			tiers++
		}
		if e.Status == StatusReproduces && e.From == in.Reproduction.Reference && e.Signer == "rebuilder" {
			second++
		}
	}
	if tiers != len(in.Images) || second != len(in.Images) {
		t.Errorf("%d reproduced, %d by a second builder, want %d of each", tiers, second, len(in.Images))
	}
	raw, err := VSA(v, VSAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	vsa, err := evidence.ParseVSA(raw)
	if err != nil || !slices.Contains(vsa.VerifiedLevels, Reproduced) {
		t.Errorf("the VSA does not say it: %s, %v", raw, err)
	}
	if n := len(vsa.InputAttestations); n != strings.Count(string(raw), `"sha256"`)-1 || !strings.Contains(string(raw), strings.Repeat("e", 60)) {
		t.Errorf("the second builder's provenance is not among the %d input attestations: %s", n, raw)
	}
	svr, err := SVR(v, VSAOptions{})
	if err != nil || !strings.Contains(string(svr), Reproduced) {
		t.Errorf("the SVR does not say it: %s, %v", svr, err)
	}

	prov := func(a Attestation) bool { return a.Type == evidence.Provenance.URI }
	first := in.Attestations[slices.IndexFunc(in.Attestations, prov)]
	source := string(sourceDigest(t, first.Predicate))
	for name, c := range map[string]struct {
		r    *Reproduction
		want string
	}{
		"nothing":           {&Reproduction{}, "no usable provenance"},
		"one platform only": {&Reproduction{Attestations: rebuilt(in, nil).Attestations[:1]}, "no usable provenance"},
		"another one's":     {&Reproduction{Attestations: rebuilt(in, nil).Attestations[1:]}, "no usable provenance"},
		"the same signer":   {rebuilt(in, func(a *Attestation) { a.Signer = first.Signer }), "signed both"},
		"the same run":      {rebuilt(in, func(a *Attestation) { a.Predicate = replaced(a.Predicate, "again-", "") }), "both are of run"},
		"another source": {rebuilt(in, func(a *Attestation) {
			a.Predicate = replaced(a.Predicate, strings.TrimPrefix(source, "sha256:"), strings.Repeat("f", 64))
		}), "it names source"},
		"a signer for less":  {rebuilt(in, func(a *Attestation) { a.MaxTier = evidence.Derived }), "low-tier"},
		"not an attester":    {rebuilt(in, func(a *Attestation) { a.Roles = []string{"verifier"} }), "has not the role"},
		"nobody known":       {rebuilt(in, func(a *Attestation) { a.Foreign = true }), "nobody in the trust root"},
		"a broken signature": {rebuilt(in, func(a *Attestation) { a.Err = fmt.Errorf("the signature does not fit") }), "does not fit"},
		"the same producer":  {rebuilt(in, nil), "https://ci.example.com/build built both"},
		"another image":      {rebuilt(in, func(a *Attestation) { a.Subject = step.Digest("sha256:" + strings.Repeat("9", 64)) }), "is about"},
		"the same identity":  {rebuilt(in, func(a *Attestation) { a.Identity = &Identity{Issuer: "i", Subject: "s", Run: "2"} }), "signed both"},
	} {
		in := goodInput(t)
		in.Reproduction = c.r
		if name == "the same identity" {
			for i := range in.Attestations {
				in.Attestations[i].Identity = &Identity{Issuer: "i", Subject: "s", Run: "1"}
			}
		}
		if name == "the same producer" {
			const who = "https://ci.example.com/build"
			builtBy(in, "https://ci.example.com", who, Attestation{})
			again := Input{Attestations: c.r.Attestations}
			builtBy(again, "https://ci.example.com", who, Attestation{})
		}
		v := judge(t, p, in)
		if v.Passed || v.Reproduced {
			t.Errorf("%s: it counts as reproduced", name)
		}
		said := fmt.Sprint(v.Findings)
		if name == "a signer for less" {
			c.want = "is below observed"
		}
		if slices.Contains([]string{"signed both", "https://ci.example.com/build built both", "both are of run", "it names source"}, c.want) && !strings.Contains(said, "is no independent one: ") {
			t.Errorf("%s: it is not said which provenance it is about: %s", name, said)
		}
		if !strings.Contains(said, c.want) || !strings.Contains(said, "reproduced") {
			t.Errorf("%s: want %q: %s", name, c.want, said)
		}
		for _, e := range v.Evidence {
			if e.Tier == evidence.Reproduced {
				t.Errorf("%s: %s has the tier reproduced", name, e.Digest)
			}
		}
	}

	// What is refused of the first builder's is not asked for again.
	in = goodInput(t)
	in.Reproduction = rebuilt(in, nil)
	broken := twin(first, "broken")
	broken.Err = fmt.Errorf("the signature does not fit")
	in.Attestations = append(in.Attestations, broken)
	if v := judge(t, p, in); !v.Passed || !v.Reproduced || statusOf(t, v, broken.Digest).Why != "the signature does not fit" {
		t.Errorf("beside a broken one: passed %t, reproduced %t: %+v", v.Passed, v.Reproduced, v.Findings)
	}

	// Where there is no first provenance, nothing is reproduced.
	in = goodInput(t)
	in.Reproduction = rebuilt(in, nil)
	in.Attestations = slices.DeleteFunc(in.Attestations, prov)
	v = judge(t, p, in)
	if held := slices.Contains(v.Rules, RuleResult{Rule: ruleReproduced, Held: true}); v.Passed || v.Reproduced || held {
		t.Errorf("without a first provenance: passed %t, reproduced %t, the rule holds: %t", v.Passed, v.Reproduced, held)
	}

	// Two producers who are known are two.
	in = goodInput(t)
	in.Reproduction = rebuilt(in, nil)
	builtBy(in, "https://ci.example.com", "https://ci.example.com/build", Attestation{})
	builtBy(Input{Attestations: in.Reproduction.Attestations}, "https://ci.example.com", "https://ci.example.com/again", Attestation{})
	if v := judge(t, p, in); !v.Reproduced {
		t.Errorf("two producers: %+v", v.Findings)
	}

	// A policy can demand it; a signer can't claim it.
	src, err := Source("microservice")
	if err != nil {
		t.Fatal(err)
	}
	strict, err := Parse([]byte(strings.Replace(string(src), "about: image\n    tier: observed", "about: image\n    tier: reproduced", 1)))
	if err != nil {
		t.Fatal(err)
	}
	in = goodInput(t)
	in.Reproduction = rebuilt(in, nil)
	if v := judge(t, strict, in); !v.Passed {
		t.Errorf("a policy that demands it: %+v", v.Findings)
	}
	// What nobody observed is not reproduced either.
	reported := goodInput(t)
	for i := range reported.Attestations {
		if prov(reported.Attestations[i]) {
			reported.Attestations[i].Tier = evidence.Derived
		}
	}
	reported.Reproduction = rebuilt(goodInput(t), nil)
	if v := judge(t, strict, reported); v.Passed || v.Reproduced {
		t.Errorf("a first provenance that is derived: passed %t, reproduced %t", v.Passed, v.Reproduced)
	}
	in.Reproduction = nil
	for i := range in.Attestations {
		in.Attestations[i].Tier, in.Attestations[i].MaxTier = evidence.Reproduced, evidence.Reproduced
	}
	if v := judge(t, strict, in); v.Passed || !strings.Contains(fmt.Sprint(v.Findings), "second builder") {
		t.Errorf("a signer that claims it: passed %t, %+v", v.Passed, v.Findings)
	}
}

func sourceDigest(t *testing.T, raw json.RawMessage) step.Digest {
	t.Helper()
	p, err := evidence.ParseProvenance(raw)
	if err != nil {
		t.Fatal(err)
	}
	return sourceOf(&p)
}
