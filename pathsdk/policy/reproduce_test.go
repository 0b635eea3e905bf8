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

// vouched is a good input whose builds a platform vouches for.
func vouched(t *testing.T) Input {
	t.Helper()
	in := goodInput(t)
	for i := range in.Attestations {
		a := &in.Attestations[i]
		if a.Type != evidence.Provenance.URI {
			continue
		}
		a.RunIssuers = []string{"https://platform.example.com"}
		a.Predicate = replaced(a.Predicate, `{"how":"keys lie`, `{"how":"x","name":"provenance.source","value":"control-plane"},{"how":"x","name":"producer.issuer","value":"https://platform.example.com"},`+
			`{"how":"x","name":"producer.identity","value":"https://example.com/a/ship.yaml@refs/heads/main"},{"how":"x","name":"run.uri","value":"https://example.com/a/runs/1"},{"how":"keys lie`)
	}
	return in
}

// rebuilt is the provenance of an input as another builder would have made it.
func rebuilt(in Input, change func(*Attestation)) *Reproduction {
	r := &Reproduction{Reference: "rebuilds.example.com/orders"}
	for _, a := range in.Attestations {
		if a.Type != evidence.Provenance.URI {
			continue
		}
		a.Digest = step.Digest("sha256:" + strings.Repeat("e", 60) + string(a.Digest[len(a.Digest)-4:]))
		a.Signer = "rebuilder"
		a.Predicate = replaced(replaced(a.Predicate, "/a/ship.yaml", "/b/ship.yaml"), "/a/runs/1", "/b/runs/1")
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
	p, in := load(t), vouched(t)
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
		"the same run":      {rebuilt(in, func(a *Attestation) { a.Predicate = replaced(a.Predicate, "/b/runs/1", "/a/runs/1") }), "both are of run"},
		"the same workflow on another branch": {rebuilt(in, func(a *Attestation) {
			a.Predicate = replaced(a.Predicate, "/b/ship.yaml@refs/heads/main", "/a/ship.yaml@refs/heads/copy")
		}), "built both"},
		"a builder whom nobody vouches for": {rebuilt(in, func(a *Attestation) { a.Predicate = replaced(a.Predicate, "control-plane", "runner") }), "no platform vouches"},
		"a platform that nobody believes":   {rebuilt(in, func(a *Attestation) { a.RunIssuers = nil }), "does not take the word"},
		"no producer":                       {rebuilt(in, func(a *Attestation) { a.Predicate = replaced(a.Predicate, "producer.identity", "producer.none") }), "no platform vouches"},
		"another source": {rebuilt(in, func(a *Attestation) {
			a.Predicate = replaced(a.Predicate, strings.TrimPrefix(source, "sha256:"), strings.Repeat("f", 64))
		}), "it names source"},
		"a signer for less":  {rebuilt(in, func(a *Attestation) { a.MaxTier = evidence.Derived }), "low-tier"},
		"not an attester":    {rebuilt(in, func(a *Attestation) { a.Roles = []string{"verifier"} }), "has not the role"},
		"nobody known":       {rebuilt(in, func(a *Attestation) { a.Foreign = true }), "nobody in the trust root"},
		"a broken signature": {rebuilt(in, func(a *Attestation) { a.Err = fmt.Errorf("the signature does not fit") }), "does not fit"},
		"the same producer":  {rebuilt(in, func(a *Attestation) { a.Predicate = replaced(a.Predicate, "/b/ship.yaml", "/a/ship.yaml") }), "built both"},
		"another image":      {rebuilt(in, func(a *Attestation) { a.Subject = step.Digest("sha256:" + strings.Repeat("9", 64)) }), "is about"},
		"the same identity":  {rebuilt(in, func(a *Attestation) { a.Identity = &Identity{Issuer: "i", Subject: "s", Run: "2"} }), "signed both"},
	} {
		in := vouched(t)
		in.Reproduction = c.r
		if name == "the same identity" {
			for i := range in.Attestations {
				in.Attestations[i].Identity = &Identity{Issuer: "i", Subject: "s", Run: "1"}
			}
		}
		v := judge(t, p, in)
		if v.Passed || v.Reproduced {
			t.Errorf("%s: it counts as reproduced", name)
		}
		said := fmt.Sprint(v.Findings)
		if name == "a signer for less" {
			c.want = "is below observed"
		}
		if slices.Contains([]string{"signed both", "built both", "both are of run", "it names source"}, c.want) && !strings.Contains(said, "is no independent one: ") {
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

	// Without provenance in the policy there is nothing to compare.
	without := *p
	without.Require = slices.DeleteFunc(slices.Clone(p.Require), func(r Require) bool { return r.typ == evidence.Provenance || r.About == AboutSource })
	in = vouched(t)
	in.Reproduction = rebuilt(in, nil)
	if v := judge(t, &without, in); v.Passed || v.Reproduced || !strings.Contains(fmt.Sprint(v.Findings), "asks for no provenance") || !failed(v, ruleReproduced) {
		t.Errorf("without provenance: passed %t, reproduced %t, rules %+v", v.Passed, v.Reproduced, v.Rules)
	}

	// Nothing to reproduce is not reproduced.
	in = vouched(t)
	in.Reproduction = rebuilt(in, nil)
	in.Attestations = slices.DeleteFunc(in.Attestations, prov)
	if v := judge(t, p, in); v.Passed || v.Reproduced || !failed(v, ruleReproduced) {
		t.Errorf("a first image without provenance: passed %t, reproduced %t", v.Passed, v.Reproduced)
	}

	// An image for one platform has one provenance.
	in = vouched(t)
	in.Images = slices.DeleteFunc(in.Images, func(im Image) bool { return im.Index })[:1]
	in.Digest = in.Images[0].Digest
	in.Attestations = slices.DeleteFunc(in.Attestations, func(a Attestation) bool { return a.Image != in.Digest })
	in.Reproduction = rebuilt(in, nil)
	if v := judge(t, p, in); !v.Reproduced || failed(v, ruleReproduced) {
		t.Errorf("an image for one platform: %+v", v.Findings)
	}

	// What a stranger hangs there changes nothing.
	stranger := first
	stranger.Digest, stranger.Foreign = step.Digest("sha256:"+strings.Repeat("7", 64)), true
	in = vouched(t)
	in.Reproduction = rebuilt(in, nil)
	in.Attestations = append(in.Attestations, stranger)
	if v := judge(t, p, in); !v.Passed || !v.Reproduced {
		t.Errorf("beside a stranger's provenance: %+v", v.Findings)
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
	in = vouched(t)
	in.Reproduction = rebuilt(in, nil)
	if v := judge(t, strict, in); !v.Passed {
		t.Errorf("a policy that demands it: %+v", v.Findings)
	}
	in.Attestations = append(in.Attestations, stranger)
	in.Reproduction = nil
	v = judge(t, strict, in)
	if i := slices.IndexFunc(v.Evidence, func(e EvidenceStatus) bool { return e.Digest == stranger.Digest }); i < 0 || v.Evidence[i].Status != StatusForeign {
		t.Errorf("a stranger's provenance is not shown as that: %+v", v.Evidence)
	}
	// A second builder doesn't raise what was merely derived.
	in = vouched(t)
	in.Reproduction = rebuilt(in, nil)
	for i := range in.Attestations {
		if prov(in.Attestations[i]) {
			in.Attestations[i].MaxTier = evidence.Derived
		}
	}
	if v := judge(t, strict, in); v.Passed || v.Reproduced {
		t.Errorf("a first provenance of a low tier: passed %t, reproduced %t", v.Passed, v.Reproduced)
	}
	in = vouched(t)
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

func failed(v Verdict, rule string) bool {
	return slices.ContainsFunc(v.Rules, func(r RuleResult) bool { return r.Rule == rule && !r.Held })
}
