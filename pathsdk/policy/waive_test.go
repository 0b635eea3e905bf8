package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// unwaived is an input whose scan found something that its service has not waived.
func unwaived(t *testing.T) Input {
	t.Helper()
	in := goodInput(t)
	for i, a := range in.Attestations {
		if a.Type == evidence.Vulns.URI {
			in.Attestations[i].Predicate = replaced(a.Predicate, "CVE-2026-0001", "CVE-2026-0009")
		}
	}
	return in
}

// waiver is one that a security team signed.
func waiver(in Input, id, expires string, change func(*Attestation)) Attestation {
	predicate, _ := json.Marshal(evidence.WaiverV1{ID: id, Reason: "never called", Expires: expires})
	a := Attestation{
		Digest: step.Digest("sha256:" + strings.Repeat("d", 64)), Image: in.Digest, Subject: in.Digest, Type: evidence.Waiver.URI,
		Signer: "security", Roles: []string{"waiver"}, MaxTier: evidence.Derived, Tier: evidence.Derived, Predicate: predicate,
		Identity: &Identity{Issuer: "https://login.example.com", Subject: "security@example.com"},
	}
	if change != nil {
		change(&a)
	}
	return a
}

// builtBy makes the provenance say who built, and returns the waiver.
func builtBy(in Input, issuer, producer string, w Attestation) Attestation {
	for i, a := range in.Attestations {
		if a.Type == evidence.Provenance.URI {
			in.Attestations[i].Predicate = replaced(a.Predicate, `{"how":"keys lie`, `{"how":"x","name":"`+provenance.FactProducer+`","value":"`+producer+
				`"},{"how":"x","name":"`+provenance.FactProducerIssuer+`","value":"`+issuer+`"},{"how":"keys lie`)
		}
	}
	return w
}

func TestSignedWaivers(t *testing.T) {
	p := load(t)
	if judge(t, p, unwaived(t)).Passed {
		t.Fatal("there is nothing to waive")
	}
	const cve, soon = "CVE-2026-0009", "2026-03-20"
	for name, c := range map[string]struct {
		waiver func(Input) Attestation
		passes bool
		state  string
		status string
		why    string
	}{
		"by who may":         {func(in Input) Attestation { return waiver(in, cve, soon, nil) }, true, WaiverActive, StatusUsed, ""},
		"of the whole rule":  {func(in Input) Attestation { return waiver(in, "vulnerabilities", soon, nil) }, true, WaiverActive, StatusUsed, ""},
		"of another finding": {func(in Input) Attestation { return waiver(in, "CVE-2026-0008", soon, nil) }, false, WaiverUnused, StatusUnused, "unused"},
		"of the past":        {func(in Input) Attestation { return waiver(in, cve, "2026-02-28", nil) }, false, WaiverExpired, StatusUnused, "expired"},
		"on its last day":    {func(in Input) Attestation { return waiver(in, cve, "2026-03-01", nil) }, true, WaiverActive, StatusUsed, ""},
		"far ahead":          {func(in Input) Attestation { return waiver(in, cve, "2099-01-01", nil) }, false, WaiverRefused, StatusUnused, "maxWaiver"},
		"of what can't be":   {func(in Input) Attestation { return waiver(in, "level", soon, nil) }, false, WaiverRefused, StatusUnused, "refused"},
		"of a requirement":   {func(in Input) Attestation { return waiver(in, "require/vulns", soon, nil) }, false, WaiverRefused, StatusUnused, "refused"},
		"by an attester": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Roles = []string{"attester", "verifier"} })
		}, false, WaiverRefused, StatusInvalid, "has not the role"},
		"by nobody known": {func(in Input) Attestation { return waiver(in, cve, soon, func(a *Attestation) { a.Foreign = true }) }, false, "", StatusForeign, "nobody"},
		"changed": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Err = fmt.Errorf("the signature does not fit") })
		}, false, "", StatusInvalid, "does not fit"},
		"of another image": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Subject = step.Digest("sha256:" + strings.Repeat("9", 64)) })
		}, false, WaiverRefused, StatusInvalid, "is about"},
		"on a part": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Image, a.Subject = in.Images[1].Digest, in.Images[1].Digest })
		}, false, WaiverRefused, StatusUnused, "part of the image"},
		"without a reason": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Predicate = json.RawMessage(`{"id":"CVE-2026-0009","expires":"2026-03-20"}`) })
		}, false, WaiverInvalid, StatusInvalid, "reason is missing"},
		"by who attested": {func(in Input) Attestation {
			return waiver(in, cve, soon, func(a *Attestation) { a.Signer = "attester" })
		}, false, WaiverRefused, StatusInvalid, "somebody else must waive"},
		"as another's identity": {func(in Input) Attestation {
			in.Attestations[0].Identity = &Identity{Issuer: "https://login.example.com", Subject: "security@example.com", Run: "x"}
			return waiver(in, cve, soon, nil)
		}, false, WaiverRefused, StatusInvalid, "somebody else must waive"},
		"by a namesake elsewhere": {func(in Input) Attestation {
			in.Attestations[0].Identity = &Identity{Issuer: "https://other.example.com", Subject: "security@example.com"}
			return waiver(in, cve, soon, nil)
		}, true, WaiverActive, StatusUsed, ""},
		"by a colleague": {func(in Input) Attestation {
			in.Attestations[0].Identity = &Identity{Issuer: "https://login.example.com", Subject: "ship@example.com"}
			return waiver(in, cve, soon, nil)
		}, true, WaiverActive, StatusUsed, ""},
		"by a namesake of who built": {func(in Input) Attestation {
			return builtBy(in, "https://other.example.com", "security@example.com", waiver(in, cve, soon, nil))
		}, true, WaiverActive, StatusUsed, ""},
		"by a colleague of who built": {func(in Input) Attestation {
			return builtBy(in, "https://login.example.com", "ship@example.com", waiver(in, cve, soon, nil))
		}, true, WaiverActive, StatusUsed, ""},
		"by a key, whoever built": {func(in Input) Attestation {
			return builtBy(in, "https://login.example.com", "security@example.com", waiver(in, cve, soon, func(a *Attestation) { a.Identity = nil }))
		}, true, WaiverActive, StatusUsed, ""},
		"by who built": {func(in Input) Attestation {
			return builtBy(in, "https://login.example.com", "security@example.com", waiver(in, cve, soon, nil))
		}, false, WaiverRefused, StatusInvalid, "who built it"},
	} {
		in := unwaived(t)
		w := c.waiver(in)
		in.Attestations = append(in.Attestations, w)
		v := judge(t, p, in)
		if v.Passed != c.passes {
			t.Errorf("%s: passed %t, want %t: %+v", name, v.Passed, c.passes, v.Findings)
		}
		i := slices.IndexFunc(v.Waivers, func(x Waiver) bool { return x.From == WaiverFromAttestation })
		switch {
		case c.state == "" && i >= 0:
			t.Errorf("%s: it is among the waivers: %+v", name, v.Waivers[i])
		case c.state != "" && (i < 0 || v.Waivers[i].State != c.state || v.Waivers[i].Signer != w.Signer || (v.Waivers[i].Identity == nil) != (w.Identity == nil)):
			t.Errorf("%s: want state %s: %+v", name, c.state, v.Waivers)
		}
		e := v.Evidence[slices.IndexFunc(v.Evidence, func(e EvidenceStatus) bool { return e.Type == evidence.Waiver.URI })]
		if e.Status != c.status || !strings.Contains(e.Why, c.why) {
			t.Errorf("%s: evidence is %s because %q, want %s and %q", name, e.Status, e.Why, c.status, c.why)
		}
		raw, err := VSA(v, VSAOptions{})
		if err != nil || c.passes != strings.Contains(string(raw), strings.Repeat("d", 64)) {
			t.Errorf("%s: the VSA rests on the waiver that counts, and on no other: %s, %v", name, raw, err)
		}
	}

	// Several are judged each by itself, and the service's own stay what they were.
	in := unwaived(t)
	late := waiver(in, cve, "2026-02-28", func(a *Attestation) { a.Digest = step.Digest("sha256:" + strings.Repeat("c", 64)) })
	in.Attestations = append(in.Attestations, late, waiver(in, cve, soon, nil))
	v := judge(t, p, in)
	states := map[string]string{}
	for _, w := range v.Waivers {
		states[w.Expires] = w.State
	}
	if !v.Passed || states["2026-02-28"] != WaiverExpired || states[soon] != WaiverActive || len(v.Waivers) != 3 {
		t.Errorf("passed %t: %+v", v.Passed, v.Waivers)
	}
	for _, e := range v.Evidence {
		if want := map[step.Digest]string{late.Digest: StatusUnused, waiver(in, cve, soon, nil).Digest: StatusUsed}[e.Digest]; want != "" && e.Status != want {
			t.Errorf("%s is %s, want %s", e.Digest, e.Status, want)
		}
	}
	// What the verifier gives replaces the service's waivers, not the signed ones.
	in.Waivers = []Waiver{}
	if v := judge(t, p, in); !v.Passed || len(v.Waivers) != 2 {
		t.Errorf("passed %t: %+v", v.Passed, v.Waivers)
	}
}

// TestWaiverAlone is judged where there is no other evidence.
func TestWaiverAlone(t *testing.T) {
	in := unwaived(t)
	in.Attestations = []Attestation{waiver(in, "CVE-2026-0009", "2026-03-20", nil)}
	v := judge(t, load(t), in)
	if e := v.Evidence[0]; v.Passed || len(v.Waivers) != 1 || v.Waivers[0].State != WaiverUnused || e.Status != StatusUnused {
		t.Errorf("passed %t, %+v, %s", v.Passed, v.Waivers, e.Status)
	}
}
