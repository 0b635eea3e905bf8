package policy

import (
	"encoding/json"
	"errors"
	"fmt"
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

// readable are the types that parse reads, and that a policy can require.
func readable() []evidence.Type {
	return []evidence.Type{evidence.Signature, evidence.Provenance, evidence.TestResult, evidence.SPDX, evidence.CycloneDX, evidence.Vulns, evidence.SCAI}
}

func readableNames() string {
	var names []string
	for _, t := range readable() {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
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
	custom, err := customSteps(params)
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
			"custom":       custom,
			"source":       string(sourceOf(&p)),
		},
	}, nil
}

// customSteps names the custom steps of the paths.yaml that was recorded.
func customSteps(params record) ([]string, error) {
	names := []string{}
	config, _ := params[configParameter].(map[string]any)
	if config["custom"] == nil {
		return names, nil
	}
	list, ok := config["custom"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		name, _ := m["name"].(string)
		ok = ok && name != ""
		names = append(names, name)
	}
	if !ok {
		return nil, errors.New("provenance predicate: config.custom is no list of named steps")
	}
	return names, nil
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
		"result":      p.Result,
		"passed":      nonNil(p.PassedTests),
		"warned":      nonNil(p.WarnedTests),
		"failed":      nonNil(p.FailedTests),
		"hasCoverage": false,
		"coverage":    0.0,
	}
	suites := make([]string, 0, len(p.Configuration))
	for _, c := range p.Configuration {
		if c.Name != "" {
			suites = append(suites, c.Name)
		}
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
	rec["suites"] = suites
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
		// The commit's time, an input of the build; it may lie in the future.
		at: s.Created,
		rec: record{
			"format":   s.Format,
			"version":  s.Version,
			"created":  s.Created,
			"packages": int64(len(s.Packages)),
			"named":    int64(named),
		},
	}
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
