package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// variant is the microservice policy with a change of its text.
func variant(t *testing.T, old, with string) *Policy {
	t.Helper()
	src, err := Source("microservice")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse([]byte(strings.Replace(string(src), old, with, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func statusOf(t *testing.T, v Verdict, d step.Digest) EvidenceStatus {
	t.Helper()
	for _, e := range v.Evidence {
		if e.Digest == d {
			return e
		}
	}
	t.Fatalf("nothing is said of %s", d)
	return EvidenceStatus{}
}

// ofType is the first attestation of a type.
func ofType(t *testing.T, in Input, typ evidence.Type) Attestation {
	t.Helper()
	for _, a := range in.Attestations {
		if a.Type == typ.URI {
			return a
		}
	}
	t.Fatalf("no %s", typ.Name)
	return Attestation{}
}

// TestScanOfOtherSource: beside a secret scan of the very source, one of another source
// does not count.
func TestScanOfOtherSource(t *testing.T) {
	in := goodInput(t)
	other := twin(ofType(t, in, evidence.SCAI), "other")
	other.Predicate = replaced(other.Predicate, strings.Repeat("a", 64), strings.Repeat("b", 64))
	in.Attestations = append(in.Attestations, other)
	v := judge(t, load(t), in)
	if e := statusOf(t, v, other.Digest); e.Status != StatusSuperseded || e.Code != codeSource || !v.Passed {
		t.Errorf("passed %t; it is %s %s (%s)", v.Passed, e.Status, e.Code, e.Why)
	}
}

// TestMaxAge: evidence counts up to its last moment, and what has no time is stale.
func TestMaxAge(t *testing.T) {
	for name, c := range map[string]struct {
		typ    evidence.Type
		about  string
		age    string
		status string
	}{
		"at its limit":   {evidence.Vulns, "about: platforms", "57m", StatusUsed},
		"a second older": {evidence.Vulns, "about: platforms", "56m59s", StatusInvalid},
		"by a parameter": {evidence.Vulns, "about: platforms", "vulnDBMaxAge", StatusUsed},
		"without a time": {evidence.TestResult, "about: source", "24h", StatusInvalid},
	} {
		in := goodInput(t)
		head := "predicate: " + c.typ.Name + "\n    " + c.about
		v := judge(t, variant(t, head, head+"\n    maxAge: "+c.age), in)
		e := statusOf(t, v, ofType(t, in, c.typ).Digest)
		if e.Status != c.status || c.status == StatusInvalid && e.Code != codeStale || v.Passed != (c.status == StatusUsed) {
			t.Errorf("%s: passed %t; it is %s %s (%s)", name, v.Passed, e.Status, e.Code, e.Why)
		}
		if name == "without a time" && e.Why != "is of an unknown time, older than 24h0m0s" || name == "a second older" && e.Why != "is of 2026-03-01T11:03:00Z, older than 56m59s" {
			t.Errorf("%s: %s", name, e.Why)
		}
	}
}

// TestFutureDates: a signer's clock may be ahead a little.
func TestFutureDates(t *testing.T) {
	for at, status := range map[string]string{"2026-03-01T12:05:00Z": StatusUsed, "2026-03-01T12:05:01Z": StatusInvalid} {
		in := goodInput(t)
		scan := ofType(t, in, evidence.Vulns)
		for i, a := range in.Attestations {
			if a.Digest == scan.Digest {
				in.Attestations[i].Predicate = replaced(a.Predicate, "2026-03-01T11:03:00Z", at)
			}
		}
		e := statusOf(t, judge(t, load(t), in), scan.Digest)
		if e.Status != status || status == StatusInvalid && e.Code != codeFuture {
			t.Errorf("%s: it is %s %s (%s)", at, e.Status, e.Code, e.Why)
		}
	}
}

// TestMalformed: what can't be read is no evidence of any type, and the requirement
// says why it has none.
func TestMalformed(t *testing.T) {
	for _, typ := range []evidence.Type{evidence.Signature, evidence.Provenance, evidence.TestResult, evidence.SPDX, evidence.CycloneDX, evidence.Vulns, evidence.SCAI} {
		in := goodInput(t)
		bad := ofType(t, in, typ)
		for i, a := range in.Attestations {
			if a.Digest == bad.Digest {
				in.Attestations[i].Predicate = json.RawMessage(`{"a":1,"a":2}`)
			}
		}
		v := judge(t, load(t), in)
		if e := statusOf(t, v, bad.Digest); e.Status != StatusInvalid || e.Code != codePredicate || v.Passed {
			t.Errorf("%s: passed %t; it is %s %s (%s)", typ.Name, v.Passed, e.Status, e.Code, e.Why)
		}
		said := false
		for _, f := range v.Findings {
			about := strings.Contains(f.Reason, " about the source sha256:")
			said = said || about == (typ == evidence.TestResult) && len(f.Details) == 1 && f.Rule == "require/"+typ.Name && strings.Contains(fmt.Sprint(f.Details), string(bad.Digest)+" is invalid: ")
		}
		if !said {
			t.Errorf("%s: no finding says why: %+v", typ.Name, v.Findings)
		}
	}
}

// TestDetails: a finding says what became of that evidence on that image, and of no other.
func TestDetails(t *testing.T) {
	in := goodInput(t)
	want := map[string][]string{}
	for i, a := range in.Attestations {
		if a.Type == evidence.Vulns.URI || a.Type == evidence.SPDX.URI {
			in.Attestations[i].Err = fmt.Errorf("it is broken")
			rule := map[string]string{evidence.Vulns.URI: "require/vulns", evidence.SPDX.URI: "require/spdx"}[a.Type]
			want[rule+" "+string(a.Image)] = []string{string(a.Digest) + " is invalid: it is broken"}
		}
	}
	got := map[string][]string{}
	for _, f := range judge(t, load(t), in).Findings {
		if strings.HasPrefix(f.Rule, "require/") {
			got[f.Rule+" "+string(f.Subject)] = f.Details
		}
	}
	if d := cmp.Diff(want, got); d != "" || len(want) != 4 {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestManyDetails: whoever can push may hang ten thousand broken ones on an image.
func TestManyDetails(t *testing.T) {
	in := goodInput(t)
	scan := ofType(t, in, evidence.Vulns)
	for i := range in.Attestations {
		if in.Attestations[i].Type == evidence.Vulns.URI {
			in.Attestations[i].Err = fmt.Errorf("it is broken")
		}
	}
	for i := range MaxDetails + 1 {
		broken := twin(scan, fmt.Sprint(i))
		broken.Err = fmt.Errorf("it is broken")
		in.Attestations = append(in.Attestations, broken)
	}
	for _, f := range judge(t, load(t), in).Findings {
		if f.Rule == "require/vulns" && f.Subject == scan.Image && (len(f.Details) != MaxDetails+1 || f.Details[MaxDetails] != "and 2 more") {
			t.Errorf("%d details", len(f.Details))
		}
	}
}

// TestMeta is what rules read of every statement.
func TestMeta(t *testing.T) {
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	it := &item{
		Attestation: &Attestation{Digest: "d", Image: "i", Subject: "s", Signer: "attester", Tier: evidence.Observed},
		typ:         evidence.Vulns, platform: "linux/amd64", tier: evidence.Derived, fact: fact{at: at},
	}
	j := &judgement{in: Input{Now: at.Add(time.Hour)}}
	want := record{
		"name": "vulns", "type": evidence.Vulns.URI, "digest": "d", "image": "i", "subject": "s", "platform": "linux/amd64", "signer": "attester",
		"roles": []string{}, "tier": "derived", "claimed": "observed", "tierRank": int64(2), "age": time.Hour,
	}
	if d := cmp.Diff(want, j.meta(it)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	it.fact.at = time.Time{}
	if age := j.meta(it)["age"]; age != time.Duration(0) {
		t.Errorf("without a time its age is %v", age)
	}
}

// TestVariables is what rules read of the image.
func TestVariables(t *testing.T) {
	in := goodInput(t)
	for expr, want := range map[string]bool{
		"image.digest == '" + string(in.Digest) + "' && image.platform == ''":                                                         true,
		"images.map(i, i.platform) == ['', 'linux/amd64', 'linux/arm64']":                                                             true,
		"evidence.all(e, images.exists(i, i.digest == e.image && i.platform == e.platform))":                                          true,
		"evidence.size() == signatures.size() + provenances.size() + tests.size() + sboms.size() + scans.size() + secretScans.size()": true,
		"sboms.size() == 4 && scans.size() == 2 && vulns.size() == 6 && secrets.size() == 0":                                          true,
		"level.build == 1 && level.missing.size() > 0 && level.missing.all(m, !m.startsWith('Build L1'))":                             true,
		"now == timestamp('2026-03-01T12:00:00Z') && !kevChecked":                                                                     true,
		"evidence.size() == 0": false,
	} {
		p := variant(t, "rules:\n", "rules:\n  - id: asked\n    expr: \""+expr+"\"\n    reason: it is not so\n    fix: make it so\n\n")
		v := judge(t, p, in)
		if v.Passed != want {
			t.Errorf("%s: passed %t: %+v", expr, v.Passed, v.Findings)
		}
	}
}

func TestDescribe(t *testing.T) {
	for want, im := range map[string]Image{"sha256:1": {Digest: "sha256:1"}, "sha256:1 (linux/arm64)": {Digest: "sha256:1", Platform: "linux/arm64"}} {
		if got := describe(im); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestNowIsUTC: a verdict is the same wherever it is made.
func TestNowIsUTC(t *testing.T) {
	in := goodInput(t)
	want, err := json.Marshal(judge(t, load(t), in))
	if err != nil {
		t.Fatal(err)
	}
	in.Now = in.Now.In(time.FixedZone("far", 9*60*60))
	got, err := json.Marshal(judge(t, load(t), in))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

// TestLater: the time decides, then the digest, then the bytes.
func TestLater(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	of := func(at time.Time, digest step.Digest, predicate string) *item {
		return &item{Attestation: &Attestation{Digest: digest, Predicate: json.RawMessage(predicate)}, fact: fact{at: at}}
	}
	for name, c := range map[string]struct {
		a, b *item
		want bool
	}{
		"newer":            {of(at.Add(1), "a", "a"), of(at, "b", "b"), true},
		"older":            {of(at, "b", "b"), of(at.Add(1), "a", "a"), false},
		"a higher digest":  {of(at, "b", "a"), of(at, "a", "b"), true},
		"a lower digest":   {of(at, "a", "b"), of(at, "b", "a"), false},
		"higher bytes":     {of(at, "a", "b"), of(at, "a", "a"), true},
		"lower bytes":      {of(at, "a", "a"), of(at, "a", "b"), false},
		"the same, itself": {of(at, "a", "a"), of(at, "a", "a"), false},
	} {
		if got := later(c.a, c.b); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestBound(t *testing.T) {
	many := make([]string, MaxDetails+2)
	if d := cmp.Diff(many[:MaxDetails], bound(many[:MaxDetails])); d != "" {
		t.Error(d)
	}
	got := bound(many)
	if len(got) != MaxDetails+1 || got[MaxDetails] != "and 2 more" {
		t.Errorf("%d details, the last is %q", len(got), got[len(got)-1])
	}
	if got := bound([]string{strings.Repeat("x", 1001)}); got[0] != strings.Repeat("x", 1000)+"..." {
		t.Errorf("%d bytes of a detail", len(got[0]))
	}
	for s, want := range map[string]string{"abc": "abc", "abcd": "abc...", "abä": "ab..."} {
		if got := clip(s, 3); got != want {
			t.Errorf("clip %q: %q, want %q", s, got, want)
		}
	}
}
