package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// judgement is the state of one Judge.
type judgement struct {
	policy  *Policy
	in      Input
	values  values
	items   []*item
	second  []*item     // provenance by another builder
	source  step.Digest // that the provenance of the image names
	config  map[string]any
	waivers *waivers
	verdict Verdict
}

// Judge judges the evidence on one image. A failed policy is a verdict, not an
// error; errors mean that the input can't be judged at all. Judge reads no
// clock, file or network, and the same input gives the same verdict, whatever
// the order of the attestations.
func Judge(p *Policy, in Input) (Verdict, error) {
	if err := checkInput(in); err != nil {
		return Verdict{}, err
	}
	in.Now = in.Now.UTC()
	vals, err := p.resolve(in.Params)
	if err != nil {
		return Verdict{}, err
	}
	j := &judgement{
		policy: p,
		in:     in,
		values: vals,
		verdict: Verdict{
			Reference:  in.Reference,
			Digest:     in.Digest,
			Images:     in.Images,
			Policy:     PolicyRef{Name: p.Name, Digest: p.digest},
			KEV:        kevText(in),
			VerifiedOn: in.Now,
			Findings:   []Finding{},
			Rules:      []RuleResult{},
			Evidence:   []EvidenceStatus{},
			Waivers:    []Waiver{},
		},
	}
	j.admit()
	// Provenance first: it names the source that tests must be about, and holds
	// the service's own gates and waivers.
	prov := j.require(evidence.Provenance)
	if prov != nil {
		j.choose(prov)
	}
	j.reproduce(prov)
	if prov != nil {
		j.demand(prov)
	}
	j.observe()
	for i := range p.Require {
		req := &p.Require[i]
		if req != prov {
			j.choose(req)
		}
		j.requirement(req)
	}
	j.verdict.Level = j.level()
	j.rules()
	j.finish()
	return j.verdict, nil
}

func checkInput(in Input) error {
	if _, err := step.ParseDigest(string(in.Digest)); err != nil {
		return fmt.Errorf("judge: image: %w", err)
	}
	if in.Now.IsZero() {
		return errors.New("judge: the time of judgement is missing")
	}
	found := false
	seen := map[step.Digest]bool{}
	for _, im := range in.Images {
		if _, err := step.ParseDigest(string(im.Digest)); err != nil {
			return fmt.Errorf("judge: images: %w", err)
		}
		if seen[im.Digest] {
			return fmt.Errorf("judge: images: %s stands there twice", im.Digest)
		}
		seen[im.Digest] = true
		found = found || im.Digest == in.Digest
	}
	if !found {
		return fmt.Errorf("judge: images do not hold %s", in.Digest)
	}
	if len(in.Images) == 1 && in.Images[0].Index {
		return fmt.Errorf("judge: %s is an index without images", in.Digest)
	}
	return nil
}

func kevText(in Input) string {
	switch {
	case in.KEV == nil:
		return "not checked: no list of known exploited vulnerabilities was given"
	case in.KEVSource == "":
		return "checked"
	}
	return "checked against " + in.KEVSource
}

// observe takes source, gates and waivers from the provenance that counts for
// the image under judgement.
func (j *judgement) observe() {
	list := j.in.Waivers
	for _, it := range j.items {
		if it.status != StatusUsed || it.typ != evidence.Provenance || it.Image != j.in.Digest {
			continue
		}
		j.source = sourceOf(it.fact.prov)
		params, _ := it.fact.rec["parameters"].(record)
		j.config, _ = params[configParameter].(map[string]any)
		if gates, ok := j.config["gates"].(map[string]any); ok {
			j.policy.tighten(j.values, gates)
		}
		if list == nil {
			var err error
			if list, err = readWaivers(j.config); err != nil {
				j.fail(Finding{
					Rule: "waivers", Severity: SeverityError, Subject: j.in.Digest,
					Reason: fmt.Sprintf("the provenance records a paths.yaml that can't be read: %v", err),
					Fix:    "correct the waivers in paths.yaml and run pathctl ship again",
				})
			}
		}
	}
	longest, _ := j.values.val[maxWaiverParam].(time.Duration)
	j.waivers = &waivers{}
	if j.in.Waivers == nil {
		j.waivers.add(WaiverFromService, list, j.in.Now, longest)
	} else {
		j.waivers.add(WaiverFromVerifier, list, j.in.Now, 0)
	}
	j.waivers.add(WaiverFromAttestation, j.signedWaivers(), j.in.Now, longest)
}

// fail records a finding.
func (j *judgement) fail(f Finding) {
	j.verdict.Findings = append(j.verdict.Findings, f)
}

// finish fills in what depends on everything else.
func (j *judgement) finish() {
	v := &j.verdict
	v.Params = j.values.list()
	v.Waivers = append(v.Waivers, j.waivers.list...)
	j.settleWaivers()
	v.Passed = true
	for _, f := range v.Findings {
		if f.Severity != SeverityWarning && !f.Waived {
			v.Passed = false
		}
	}
	for _, it := range slices.Concat(j.items, j.second) {
		s := EvidenceStatus{
			Digest: it.Digest, Subject: it.Image, Type: it.Type, Signer: it.Signer, Identity: it.Identity,
			Tier: it.tier, Status: it.status, Code: it.code, Why: clip(it.why, 1000), From: it.from,
		}
		if it.tier != it.Tier && it.tier != "" {
			s.Claimed = it.Tier
		}
		if it.status == StatusUsed {
			s.Predicate = it.Predicate
		}
		v.Evidence = append(v.Evidence, s)
	}
}

// variables builds what expressions see.
func (j *judgement) variables() map[string]any {
	lists := map[string][]ref.Val{}
	add := func(name string, r record) {
		lists[name] = append(lists[name], value(r))
	}
	for _, it := range j.items {
		if it.status != StatusUsed {
			continue
		}
		m := j.meta(it)
		add("evidence", m)
		for k, v := range it.fact.rec {
			m[k] = v
		}
		list, findings := listOf(it.typ)
		add(list, m)
		for _, f := range it.fact.findings {
			add(findings, f)
		}
	}
	vars := map[string]any{
		"now":        types.Timestamp{Time: j.in.Now},
		"kevChecked": types.Bool(j.in.KEV != nil),
		"params":     value(j.values.val),
	}
	for _, name := range []string{"evidence", "signatures", "provenances", "tests", "sboms", "scans", "vulns", "secretScans", "secrets"} {
		vars[name] = types.NewRefValList(types.DefaultTypeAdapter, lists[name])
	}
	images := make([]ref.Val, len(j.in.Images))
	for i, im := range j.in.Images {
		images[i] = value(record{"digest": string(im.Digest), "platform": im.Platform})
		if im.Digest == j.in.Digest {
			vars["image"] = images[i]
		}
	}
	vars["images"] = types.NewRefValList(types.DefaultTypeAdapter, images)
	missing := []string{}
	for _, r := range j.verdict.Level.Reasons {
		if !r.Holds {
			missing = append(missing, fmt.Sprintf("Build L%d: %s (%s)", r.Level, r.Need, r.Why))
		}
	}
	vars["level"] = value(record{"build": int64(j.verdict.Level.Build), "missing": missing})
	return vars
}

func value(r record) ref.Val { return types.NewStringInterfaceMap(types.DefaultTypeAdapter, r) }

// listOf names the variables that hold a type's statements and its findings.
func listOf(t evidence.Type) (list, findings string) {
	switch t.URI {
	case evidence.Signature.URI:
		return "signatures", ""
	case evidence.Provenance.URI:
		return "provenances", ""
	case evidence.TestResult.URI:
		return "tests", ""
	case evidence.Vulns.URI:
		return "scans", "vulns"
	case evidence.SCAI.URI:
		return "secretScans", "secrets"
	}
	return "sboms", ""
}

func (j *judgement) meta(it *item) record {
	age := time.Duration(0)
	if !it.fact.at.IsZero() {
		age = j.in.Now.Sub(it.fact.at)
	}
	m := make(record, 24)
	m["name"] = it.typ.Name
	m["type"] = it.typ.URI
	m["digest"] = string(it.Digest)
	m["image"] = string(it.Image)
	m["subject"] = string(it.Subject)
	m["platform"] = it.platform
	m["signer"] = it.Signer
	m["roles"] = nonNil(it.Roles)
	m["tier"] = string(it.tier)
	m["claimed"] = string(it.Tier)
	m["tierRank"] = int64(it.tier.Rank())
	m["age"] = age
	return m
}
