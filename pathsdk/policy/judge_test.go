package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// shippedCases is the passing input beside the microservice policy.
func shippedCases(t testing.TB) *Cases {
	t.Helper()
	b, err := os.ReadFile("shipped/microservice_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCases(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func goodInput(t testing.TB) Input {
	t.Helper()
	in, err := shippedCases(t).Input()
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func load(t testing.TB) *Policy {
	t.Helper()
	p, err := Load("microservice")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func judge(t testing.TB, p *Policy, in Input) Verdict {
	t.Helper()
	v, err := Judge(p, in)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func digestOf(s string) step.Digest {
	sum := sha256.Sum256([]byte(s))
	return step.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

func TestVerdictOfAGoodImage(t *testing.T) {
	v := judge(t, load(t), goodInput(t))
	if !v.Passed || v.Level.Build != 1 {
		t.Fatalf("passed %t, level %d; findings %+v", v.Passed, v.Level.Build, v.Findings)
	}
	for _, r := range v.Rules {
		if !r.Held {
			t.Errorf("rule %s does not hold: %s", r.Rule, r.Why)
		}
	}
	if v.KEV != "not checked: no list of known exploited vulnerabilities was given" {
		t.Errorf("KEV is %q", v.KEV)
	}
	for _, e := range v.Evidence {
		if e.Status != StatusUsed || e.Predicate == nil || e.Claimed != "" {
			t.Errorf("%s on %s is %s: %s", e.Type, e.Subject, e.Status, e.Why)
		}
	}
	want := []Finding{{
		Rule: "vulnerabilities", Severity: SeverityError,
		Reason:  "there are vulnerabilities of severity high or above",
		Fix:     "update what has a fix; say in an OpenVEX document why others do not matter; or waive them in paths.yaml with a reason and an expiry",
		Details: []string{"CVE-2026-0001 (high) in golang.org/x/text v0.31.0, fixed in v0.32.0"},
		Waived:  true,
	}}
	got := v.Findings
	if len(got) != 2 || got[0].Subject == got[1].Subject {
		t.Fatalf("want one finding for each platform, got %+v", got)
	}
	got[0].Subject = ""
	if d := cmp.Diff(want, got[:1]); d != "" {
		t.Errorf("findings (-want +got):\n%s", d)
	}
	wantParam := ParamValue{Name: "minCoverage", Value: int64(60), From: "paths.yaml"}
	for _, p := range v.Params {
		if p.Name == wantParam.Name && p != wantParam {
			t.Errorf("param is %+v, want %+v", p, wantParam)
		}
	}
	// A workstation says why it is not more.
	missing := 0
	for _, r := range v.Level.Reasons {
		if !r.Holds && r.Level == 2 {
			missing++
		}
	}
	if missing == 0 {
		t.Errorf("level says nothing about what L2 lacks: %+v", v.Level.Reasons)
	}
}

// TestOrder: a registry chooses the order of referrers, so it may decide nothing.
func TestOrder(t *testing.T) {
	p, in := load(t), goodInput(t)
	in.Attestations = append(in.Attestations, twin(in.Attestations[0], "x"), twin(in.Attestations[8], "y"))
	want := judge(t, p, in)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		r.Shuffle(len(in.Attestations), func(i, j int) {
			in.Attestations[i], in.Attestations[j] = in.Attestations[j], in.Attestations[i]
		})
		if d := cmp.Diff(want, judge(t, p, in)); d != "" {
			t.Fatalf("another order, another verdict:\n%s", d)
		}
	}
}

func twin(a Attestation, name string) Attestation {
	a.Digest = digestOf(name)
	return a
}

func TestTies(t *testing.T) {
	p, in := load(t), goodInput(t)
	for i, a := range in.Attestations {
		if a.Type != evidence.Vulns.URI {
			continue
		}
		bad := a
		bad.Digest = "sha256:" + step.Digest(strings.Repeat("f", 64))
		bad.Predicate = json.RawMessage(strings.Replace(string(a.Predicate), `"medium"`, `"critical"`, 1))
		in.Attestations = append(in.Attestations, bad)
		if v := judge(t, p, in); v.Passed {
			t.Error("of two scans of one moment the one with the highest digest counts")
		}
		in.Attestations[len(in.Attestations)-1].Digest = "sha256:" + step.Digest(strings.Repeat("0", 64))
		if v := judge(t, p, in); !v.Passed {
			t.Error("of two scans of one moment the one with the lowest digest does not count")
		}
		_ = i
		break
	}
}

func TestEvidenceStatus(t *testing.T) {
	p, in := load(t), goodInput(t)
	good := judge(t, p, in)
	scan := in.Attestations[len(in.Attestations)-4]
	if scan.Type != evidence.Vulns.URI {
		t.Fatalf("fixture has moved: %s", scan.Type)
	}
	other := step.Digest("sha256:" + strings.Repeat("9", 64))
	tests := []struct {
		name   string
		change func(*Attestation)
		status string
		why    string
	}{
		{"older", func(a *Attestation) {
			a.Predicate = json.RawMessage(strings.Replace(string(a.Predicate), "11:03:00", "11:02:30", 1))
		}, StatusSuperseded, "counts"},
		{"foreign", func(a *Attestation) { a.Foreign = true }, StatusForeign, "nobody"},
		{"foreign, and why", func(a *Attestation) { a.Foreign, a.Err = true, errors.New("its key has another hint") }, StatusForeign, "its key has another hint"},
		{"other image", func(a *Attestation) { a.Image = other }, StatusInvalid, "not part of the image"},
		{"other subject", func(a *Attestation) { a.Subject = other }, StatusInvalid, "is about"},
		{"no role", func(a *Attestation) { a.Roles = nil }, StatusInvalid, "has not the role"},
		{"no tier", func(a *Attestation) { a.Tier = "" }, StatusInvalid, "tier none is below derived"},
		{"unknown tier", func(a *Attestation) { a.Tier = "certain" }, StatusInvalid, "below derived"},
		{"unknown type", func(a *Attestation) { a.Type = "https://example.com/x" }, StatusUnused, "no policy reads"},
		{"short name as type", func(a *Attestation) { a.Type = "vulns" }, StatusUnused, "no policy reads"},
		{"summary", func(a *Attestation) { a.Type = evidence.VSA.URI }, StatusUnused, "does not ask"},
		{"unreadable", func(a *Attestation) { a.Predicate = json.RawMessage(`{"scanner":`) }, StatusInvalid, "vulns predicate"},
		{"name that stands there twice", func(a *Attestation) {
			a.Predicate = json.RawMessage(strings.Replace(string(a.Predicate), `"scanner":`, `"scanner":{},"scanner":`, 1))
		}, StatusInvalid, "duplicate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := in
			extra := twin(scan, tt.name)
			tt.change(&extra)
			in.Attestations = append(in.Attestations[:len(in.Attestations):len(in.Attestations)], extra)
			v := judge(t, p, in)
			if v.Passed != good.Passed || len(v.Findings) != len(good.Findings) {
				t.Errorf("an extra changed the verdict: %+v", v.Findings)
			}
			for _, e := range v.Evidence {
				if e.Digest != extra.Digest {
					continue
				}
				if e.Status != tt.status || !strings.Contains(e.Why, tt.why) {
					t.Errorf("got %s (%s), want %s (%s)", e.Status, e.Why, tt.status, tt.why)
				}
				if e.Predicate != nil {
					t.Error("the predicate of unused evidence is shown")
				}
			}
		})
	}
}

func TestKEVText(t *testing.T) {
	for want, in := range map[string]Input{
		"not checked: no list of known exploited vulnerabilities was given": {KEVSource: "cisa"},
		"checked":              {KEV: KEVIDs{}},
		"checked against cisa": {KEV: KEVIDs{}, KEVSource: "cisa"},
	} {
		if got := kevText(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestLevelOfNothing: without provenance the level is none, and L1 is what lacks.
func TestLevelOfNothing(t *testing.T) {
	in := goodInput(t)
	in.Attestations = nil
	if l := judge(t, load(t), in).Level; l.Build != 0 || len(l.Reasons) != 1 || l.Reasons[0].Level != 1 || l.Reasons[0].Holds || l.Reasons[0].Why != "0 of 3 have usable provenance" {
		t.Errorf("%+v", l)
	}
}

func TestTiersAreLoweredAndMarked(t *testing.T) {
	tests := []struct {
		typ                   evidence.Type
		claimed, signer, want evidence.Tier
	}{
		{evidence.Provenance, evidence.Observed, evidence.Observed, evidence.Observed},
		{evidence.Provenance, evidence.Reproduced, evidence.Reproduced, evidence.Observed},
		{evidence.Provenance, evidence.Reported, evidence.Observed, evidence.Reported},
		{evidence.Vulns, evidence.Observed, evidence.Observed, evidence.Derived},
		{evidence.TestResult, evidence.Observed, evidence.Observed, evidence.Reported},
		{evidence.Vulns, evidence.Derived, evidence.Reported, evidence.Reported},
		{evidence.Vulns, "", evidence.Observed, ""},
		{evidence.Vulns, evidence.Observed, "", ""},
		{evidence.Vulns, "gold", evidence.Observed, "gold"}, // ranks below reported
	}
	for _, tt := range tests {
		if got := effective(tt.claimed, tt.signer, highest(tt.typ)); got != tt.want {
			t.Errorf("%s claimed %q by a signer of at most %q: got %q, want %q", tt.typ.Name, tt.claimed, tt.signer, got, tt.want)
		}
	}
	in := goodInput(t)
	for i := range in.Attestations {
		if in.Attestations[i].Type == evidence.TestResult.URI {
			in.Attestations[i].Tier = evidence.Observed
		}
	}
	for _, e := range judge(t, load(t), in).Evidence {
		if e.Type == evidence.TestResult.URI && (e.Tier != evidence.Reported || e.Claimed != evidence.Observed) {
			t.Errorf("tier %s, claimed %s; want reported, marked as claimed observed", e.Tier, e.Claimed)
		}
	}
}

func TestBadInput(t *testing.T) {
	p := load(t)
	tests := []struct {
		name   string
		change func(*Input)
		want   string
	}{
		{"no digest", func(in *Input) { in.Digest = "" }, "want sha256:"},
		{"no time", func(in *Input) { in.Now = time.Time{} }, "time of judgement"},
		{"image not among images", func(in *Input) { in.Images = in.Images[1:] }, "do not hold"},
		{"image without digest", func(in *Input) { in.Images = append(in.Images[:3:3], Image{Digest: "sha256:12"}) }, "images: "},
		{"image twice", func(in *Input) { in.Images = append(in.Images[:3:3], in.Images[0]) }, "twice"},
		{"index alone", func(in *Input) { in.Images = in.Images[:1] }, "index without images"},
		{"unknown param", func(in *Input) { in.Params = map[string]any{"maxseverity": "low"} }, "policy microservice takes buildTypes, builders"},
		{"wrong param", func(in *Input) { in.Params = map[string]any{"maxSeverity": "worst"} }, "is not one of none, low"},
		{"wrong type", func(in *Input) { in.Params = map[string]any{"minLevel": "one"} }, "is not a int"},
	}
	for _, tt := range tests {
		in := goodInput(t)
		tt.change(&in)
		if _, err := Judge(p, in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

// TestAnIndexEntryWithoutPlatform: whatever is no index needs all evidence, even
// if its descriptor names no platform.
func TestAnIndexEntryWithoutPlatform(t *testing.T) {
	in := goodInput(t)
	in.Images = append(in.Images, Image{Digest: digestOf("hidden")})
	v := judge(t, load(t), in)
	got := map[string]bool{}
	for _, f := range v.Findings {
		if f.Subject == digestOf("hidden") {
			got[f.Rule] = true
		}
	}
	want := map[string]bool{"require/signature": true, "require/provenance": true, "require/test-result": true, "require/spdx": true, "require/cyclonedx": true, "require/vulns": true, "require/scai": true}
	if d := cmp.Diff(want, got); d != "" || v.Passed {
		t.Errorf("passed %t, findings (-want +got):\n%s", v.Passed, d)
	}
}

func TestCasesCanFail(t *testing.T) {
	c := shippedCases(t)
	r, err := c.run(load(t), Case{Name: "wrong", Fails: []string{"level"}, States: map[string]string{"CVE-2026-0001": "unused"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 4 {
		t.Errorf("want problems with fails, waived, passed and the waiver, got %q", r.Problems)
	}
	for _, ch := range []Change{{Of: "nothing", Drop: true}, {Of: "scan", Path: "scanner.uri.x", Value: "y"}, {Of: "scan", Signer: "nobody"}} {
		if _, err := c.run(load(t), Case{Changes: []Change{ch}}); err == nil {
			t.Errorf("change %+v: want an error", ch)
		}
	}
}
