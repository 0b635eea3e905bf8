package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// TestPlatformBesideAttester: a platform's own provenance changes nothing where a policy
// asks for an attester's, however good or bad it is, and can't stand in for it.
func TestPlatformBesideAttester(t *testing.T) {
	p, in := load(t), goodInput(t)
	good := judge(t, p, in)
	platform := func(a Attestation) Attestation {
		a.Signer, a.Roles, a.MaxTier, a.MaxBuildLevel = "chains", []string{rolePlatform}, evidence.Observed, 2
		a.Predicate = replaced(a.Predicate, `"id":"`, `"id":"https://tekton.dev/chains/v2#`)
		return a
	}
	beside, alone := in, in
	beside.Attestations, alone.Attestations = slices.Clone(in.Attestations), slices.Clone(in.Attestations)
	n := 0
	for i, a := range in.Attestations {
		if a.Type == evidence.Provenance.URI {
			n++
			beside.Attestations = append(beside.Attestations, twin(platform(a), fmt.Sprint("chains ", i)))
			alone.Attestations[i] = platform(a)
		}
	}
	v := judge(t, p, beside)
	unused := 0
	v.Evidence = slices.DeleteFunc(v.Evidence, func(e EvidenceStatus) bool {
		if e.Signer == "chains" && e.Status == StatusUnused && strings.Contains(e.Why, "by role attester") {
			unused++
			return true
		}
		return false
	})
	if n == 0 || unused != n {
		t.Errorf("%d of %d are unused", unused, n)
	}
	if d := cmp.Diff(good, v); d != "" {
		t.Error("a platform's provenance changes the verdict", d)
	}
	v = judge(t, p, alone)
	if v.Passed || v.Level.Build != 0 || !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Rule == "require/provenance" }) {
		t.Errorf("it stands in for an attester's: passed %t, level %d, %+v", v.Passed, v.Level.Build, v.Findings)
	}
}

// TestPlatformIsNoSecondBuilder: what a platform says of who built in facts counts for
// nothing, so two of them are not independent, either.
func TestPlatformIsNoSecondBuilder(t *testing.T) {
	text := "apiVersion: pavedpaths.dev/v1\nkind: Policy\nname: x\nsummary: y\nrequire: [{predicate: provenance, about: image, tier: reproduced, role: %s, fix: b}]\n"
	for role, want := range map[string]bool{"attester": true, rolePlatform: false} {
		p, err := Parse(fmt.Appendf(nil, text, role))
		if err != nil {
			t.Fatal(err)
		}
		in := vouched(t)
		for i := range in.Attestations {
			in.Attestations[i].Roles = []string{role}
		}
		in.Reproduction = rebuilt(in, nil)
		v := judge(t, p, in)
		if v.Reproduced != want || v.Passed != want {
			t.Errorf("role %s: reproduced %t, passed %t: %+v", role, v.Reproduced, v.Passed, v.Findings)
		}
		if said := fmt.Sprint(v.Findings); !want && !strings.Contains(said, "as a platform of its own") {
			t.Errorf("role %s: it is not said why: %s", role, said)
		}
	}
}
