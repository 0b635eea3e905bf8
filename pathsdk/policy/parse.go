package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// fact is what one verified predicate says, in the form that rules read.
type fact struct {
	// at decides which of several statements counts; zero if the type has no
	// time inside. times are all times that can't be in the future.
	at    time.Time
	times []time.Time
	// rec holds the fields of the type's object, without those of meta.
	rec record
	// findings are the vulnerabilities or secrets inside.
	findings []record
	prov     *evidence.ProvenanceV1
}

// parse reads a predicate strictly; what it refuses is no evidence.
func (j *judgement) parse(it *item) (fact, error) {
	switch it.typ.URI {
	case evidence.Signature.URI:
		return fact{rec: record{}}, evidence.ParseSignature(it.Predicate)
	case evidence.Provenance.URI:
		return parseProvenance(it.Predicate)
	case evidence.TestResult.URI:
		return parseTest(it.Predicate)
	case evidence.SPDX.URI:
		s, err := evidence.ParseSPDX(it.Predicate)
		return sbomFact(s), err
	case evidence.CycloneDX.URI:
		s, err := evidence.ParseCycloneDX(it.Predicate)
		return sbomFact(s), err
	case evidence.Vulns.URI:
		return j.parseVulns(it)
	case evidence.SCAI.URI:
		return parseSecrets(it)
	}
	return fact{}, fmt.Errorf("policies can't require a %s", it.typ.Name)
}

func parseProvenance(raw json.RawMessage) (fact, error) {
	p, err := evidence.ParseProvenance(raw)
	if err != nil {
		return fact{}, err
	}
	m := p.RunDetails.Metadata
	if m == nil || m.FinishedOn == nil || m.StartedOn == nil || m.InvocationID == "" {
		return fact{}, errors.New("provenance predicate: runDetails.metadata lacks invocationId, startedOn or finishedOn")
	}
	params, err := decodeAll(p.BuildDefinition.ExternalParameters)
	if err != nil {
		return fact{}, err
	}
	internal, err := decodeAll(p.BuildDefinition.InternalParameters)
	if err != nil {
		return fact{}, err
	}
	deps := make([]any, len(p.BuildDefinition.ResolvedDependencies))
	for i, d := range p.BuildDefinition.ResolvedDependencies {
		digest := d.Digest
		if digest == nil {
			digest = map[string]string{}
		}
		deps[i] = record{"name": d.Name, "uri": d.URI, "digest": digest}
	}
	return fact{
		at:    *m.FinishedOn,
		times: []time.Time{*m.StartedOn, *m.FinishedOn},
		prov:  &p,
		rec: record{
			"builder":      p.RunDetails.Builder.ID,
			"buildType":    p.BuildDefinition.BuildType,
			"invocation":   m.InvocationID,
			"started":      *m.StartedOn,
			"finished":     *m.FinishedOn,
			"parameters":   params,
			"internal":     internal,
			"dependencies": deps,
			"source":       string(sourceOf(&p)),
		},
	}, nil
}

func decodeAll(in map[string]json.RawMessage) (record, error) {
	out := make(record, len(in))
	for name, raw := range in {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("provenance predicate: parameter %.80q: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

// sourceOf finds the one dependency that is the source; empty if there is none
// or more than one.
func sourceOf(p *evidence.ProvenanceV1) step.Digest {
	var found step.Digest
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if d.Name != provenance.DependencySource {
			continue
		}
		s, err := step.ParseDigest("sha256:" + d.Digest["sha256"])
		if err != nil || found != "" {
			return ""
		}
		found = s
	}
	return found
}

func parseTest(raw json.RawMessage) (fact, error) {
	p, err := evidence.ParseTestResult(raw)
	if err != nil {
		return fact{}, err
	}
	rec := record{
		"suite":       p.Configuration[0].Name,
		"result":      p.Result,
		"passed":      nonNil(p.PassedTests),
		"warned":      nonNil(p.WarnedTests),
		"failed":      nonNil(p.FailedTests),
		"hasCoverage": false,
		"coverage":    0.0,
	}
	for _, c := range p.Configuration {
		v, ok := c.Annotations[coverageAnnotation]
		if !ok {
			continue
		}
		n, err := percent(v)
		if err != nil {
			return fact{}, fmt.Errorf("test-result predicate: coverage: %w", err)
		}
		rec["hasCoverage"], rec["coverage"] = true, n
	}
	return fact{rec: rec}, nil
}

func percent(v any) (float64, error) {
	n := -1.0
	switch v := v.(type) {
	case float64:
		n = v
	case int64:
		n = float64(v)
	case string:
		f, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
		if err == nil {
			n = f
		}
	}
	if !(n >= 0 && n <= 100) { // also refuses NaN
		return 0, fmt.Errorf("%.40q is no percentage", fmt.Sprint(v))
	}
	return n, nil
}

func sbomFact(s evidence.SBOM) fact {
	named := 0
	for _, p := range s.Packages {
		if p.PURL != "" && p.Version != "" {
			named++
		}
	}
	return fact{
		at:    s.Created,
		times: []time.Time{s.Created},
		rec: record{
			"format":   s.Format,
			"version":  s.Version,
			"created":  s.Created,
			"packages": int64(len(s.Packages)),
			"named":    int64(named),
		},
	}
}

func (j *judgement) parseVulns(it *item) (fact, error) {
	p, err := evidence.ParseVulns(it.Predicate)
	if err != nil {
		return fact{}, err
	}
	f := fact{
		at:    p.Metadata.ScanFinishedOn,
		times: []time.Time{p.Metadata.ScanStartedOn, p.Metadata.ScanFinishedOn, p.Scanner.DB.LastUpdate},
		rec: record{
			"scanner":   p.Scanner.URI,
			"version":   p.Scanner.Version,
			"db":        p.Scanner.DB.URI,
			"dbUpdated": p.Scanner.DB.LastUpdate,
			"started":   p.Metadata.ScanStartedOn,
			"finished":  p.Metadata.ScanFinishedOn,
			"findings":  int64(len(p.Scanner.Result)),
		},
		findings: make([]record, 0, len(p.Scanner.Result)),
	}
	for i, r := range p.Scanner.Result {
		v, err := j.vuln(it, r)
		if err != nil {
			return fact{}, fmt.Errorf("vulns predicate: scanner.result[%d]: %w", i, err)
		}
		f.findings = append(f.findings, v)
	}
	return f, nil
}

func (j *judgement) vuln(it *item, r evidence.VulnResult) (record, error) {
	severity, rank, err := worst(r.Severity)
	if err != nil {
		return nil, err
	}
	a, err := annotations(r.Annotations)
	if err != nil {
		return nil, err
	}
	ids := []string{r.ID}
	for _, alias := range a.list("aliases") {
		if !slices.Contains(ids, alias) {
			ids = append(ids, alias)
		}
	}
	vex := a.text("vex")
	if !slices.Contains([]string{"", "not_affected", "affected", "fixed", "under_investigation"}, vex) {
		return nil, fmt.Errorf("vex status %.40q is unknown", vex)
	}
	kev := false
	if j.in.KEV != nil {
		kev = slices.ContainsFunc(ids, j.in.KEV.Has)
	}
	v := record{
		"image":    string(it.Image),
		"platform": it.platform,
		"id":       r.ID,
		"ids":      ids,
		"package":  a.text("package"),
		"version":  a.text("version"),
		"purl":     a.text("purl"),
		"fixed":    a.text("fixed"),
		"severity": severity,
		"rank":     int64(rank),
		"vex":      vex,
		"vexWhy":   a.text("vexWhy"),
		"kev":      kev,
	}
	return v, a.err
}

// severities in ascending order; unknown ranks as none.
var severities = [...]string{"none", "low", "medium", "high", "critical"}

func severityRank(s string) (int, bool) {
	if s == "unknown" {
		return 0, true
	}
	i := slices.Index(severities[:], s)
	return max(i, 0), i >= 0
}

// worst is the highest severity that any method gives. Words decide; CVSS
// scores only where there is no word. A score that is neither is refused, since
// nobody can say how bad it is.
func worst(ss []evidence.VulnSeverity) (string, int, error) {
	word, rank := "", -1
	byScore := 0.0
	for _, s := range ss {
		w := strings.ToLower(s.Score)
		if w == "negligible" {
			w = "low"
		}
		if r, ok := severityRank(w); ok {
			if r > rank {
				word, rank = w, r
			}
			continue
		}
		n, err := strconv.ParseFloat(s.Score, 64)
		if err != nil || !(n >= 0 && n <= 10) {
			return "", 0, fmt.Errorf("severity %.40q is neither a word nor a CVSS score", s.Score)
		}
		byScore = max(byScore, n)
	}
	if rank < 0 {
		// The qualitative scale of CVSS v3.1, section 5.
		switch {
		case byScore >= 9:
			rank = 4
		case byScore >= 7:
			rank = 3
		case byScore >= 4:
			rank = 2
		case byScore > 0:
			rank = 1
		default:
			rank = 0
		}
		word = severities[rank]
	}
	return word, rank, nil
}

// notes are a finding's annotations, merged.
type notes struct {
	m   map[string]any
	err error
}

func annotations(list []map[string]any) (*notes, error) {
	n := &notes{m: map[string]any{}}
	for _, m := range list {
		for k, v := range m {
			if _, ok := n.m[k]; ok {
				return nil, fmt.Errorf("annotation %.40q stands there twice", k)
			}
			n.m[k] = v
		}
	}
	return n, nil
}

func (n *notes) text(key string) string {
	v, ok := n.m[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok && n.err == nil {
		n.err = fmt.Errorf("annotation %q is no text", key)
	}
	return s
}

func (n *notes) list(key string) []string {
	v, ok := n.m[key]
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	var out []string
	for _, e := range l {
		s, isText := e.(string)
		ok = ok && isText
		out = append(out, s)
	}
	if !ok && n.err == nil {
		n.err = fmt.Errorf("annotation %q is no list of texts", key)
	}
	return out
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
