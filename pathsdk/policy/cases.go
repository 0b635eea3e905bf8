package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// CasesKind is the kind of a file of policy tests.
const CasesKind = "PolicyTest"

// Cases is a file of unit tests for a policy: one input, and cases that change
// it and say which rules must fail then. Its file lies beside the policy's and
// ends in _test.yaml.
type Cases struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Now is the time of judgement.
	Now time.Time `json:"now"`
	// Images by a short name; the first in order of Order is judged.
	Images []CaseImage `json:"images"`
	// Signers by name.
	Signers map[string]CaseSigner `json:"signers"`
	// Evidence of the input.
	Evidence []CaseEvidence `json:"evidence"`
	Cases    []Case         `json:"cases"`
}

// CaseImage is one image of the input; the first one is judged.
type CaseImage struct {
	Name     string      `json:"name"`
	Digest   step.Digest `json:"digest"`
	Index    bool        `json:"index,omitempty"`
	Platform string      `json:"platform,omitempty"`
}

// CaseSigner is a signer as the trust root has it.
type CaseSigner struct {
	Roles         []string      `json:"roles"`
	MaxTier       evidence.Tier `json:"maxTier"`
	MaxBuildLevel int           `json:"maxBuildLevel"`
}

// CaseEvidence is one statement, attached to each of Images by name.
type CaseEvidence struct {
	// Name is unique; changes name it, or NAME@IMAGE for one attachment.
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Images []string `json:"images"`
	// Subject is the image it is attached to when empty.
	Subject   step.Digest     `json:"subject,omitempty"`
	Signer    string          `json:"signer"`
	Tier      evidence.Tier   `json:"tier"`
	Predicate json.RawMessage `json:"predicate"`
	// Foreign and Invalid make it not usable.
	Foreign bool   `json:"foreign,omitempty"`
	Invalid string `json:"invalid,omitempty"`
}

// Case is one test.
type Case struct {
	Name string `json:"name"`
	// Changes are made to a copy of the input, in order.
	Changes []Change `json:"changes,omitempty"`
	// Add is more evidence, after the changes.
	Add     []CaseEvidence `json:"add,omitempty"`
	Now     *time.Time     `json:"now,omitempty"`
	Params  map[string]any `json:"params,omitempty"`
	Waivers []Waiver       `json:"waivers,omitempty"`
	// KEV lists known exploited vulnerabilities; without it none are checked.
	KEV []string `json:"kev,omitempty"`
	// Fails, Warns and Waived list the rules with findings of that kind; a case
	// without fails must pass.
	Fails  []string `json:"fails,omitempty"`
	Warns  []string `json:"warns,omitempty"`
	Waived []string `json:"waived,omitempty"`
	// States are the expected states of waivers, by id, if given.
	States map[string]string `json:"states,omitempty"`
}

// Change changes evidence of the input.
type Change struct {
	// Of names evidence: NAME, or NAME@IMAGE.
	Of string `json:"of"`
	// Drop removes it.
	Drop bool `json:"drop,omitempty"`
	// Path is a place in the predicate, such as scanner.result.0.id; Value
	// replaces what is there, and without a value it is removed.
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
	// Signer, Tier and Subject replace those of the statement.
	Signer  string        `json:"signer,omitempty"`
	Tier    evidence.Tier `json:"tier,omitempty"`
	Subject step.Digest   `json:"subject,omitempty"`
	// Foreign and Invalid make it not usable.
	Foreign bool   `json:"foreign,omitempty"`
	Invalid string `json:"invalid,omitempty"`
}

// CaseResult is the outcome of one case.
type CaseResult struct {
	Name string
	// Problems say how the verdict differs from what was expected; none means
	// that the case holds.
	Problems []string
	Verdict  Verdict
}

// Test runs every case of a file against a policy.
func Test(p *Policy, casesFile string) ([]CaseResult, error) {
	b, err := readFile(casesFile)
	if err != nil {
		return nil, step.Usagef("policy tests %s: %w", casesFile, err)
	}
	c, err := ParseCases(b)
	if err != nil {
		return nil, step.Usagef("policy tests %s: %w", casesFile, err)
	}
	var out []CaseResult
	for _, one := range c.Cases {
		r, err := c.run(p, one)
		if err != nil {
			return nil, fmt.Errorf("policy tests %s: case %q: %w", casesFile, one.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// ParseCases reads a file of policy tests.
func ParseCases(b []byte) (*Cases, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("larger than %d bytes", MaxFile)
	}
	var c Cases
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		return nil, fmt.Errorf("not a file of policy tests: %w", err)
	}
	if c.APIVersion != APIVersion || c.Kind != CasesKind {
		return nil, fmt.Errorf("apiVersion and kind are %q and %q, want %q and %q", c.APIVersion, c.Kind, APIVersion, CasesKind)
	}
	if len(c.Images) == 0 || len(c.Cases) == 0 {
		return nil, errors.New("images or cases are missing")
	}
	return &c, nil
}

// Input is the unchanged input of the cases.
func (c *Cases) Input() (Input, error) {
	in := Input{Reference: "oci:test", Digest: c.Images[0].Digest, Now: c.Now}
	for _, im := range c.Images {
		in.Images = append(in.Images, Image{Digest: im.Digest, Index: im.Index, Platform: im.Platform})
	}
	_, err := c.attach(&in, c.Evidence)
	return in, err
}

// attach adds evidence and returns the name of each attachment.
func (c *Cases) attach(in *Input, list []CaseEvidence) ([]string, error) {
	var names []string
	for _, e := range list {
		t, ok := evidence.Lookup(e.Type)
		uri := t.URI
		if !ok {
			uri = e.Type
		}
		s, ok := c.Signers[e.Signer]
		if !ok && !e.Foreign {
			return nil, fmt.Errorf("evidence %s: signer %q is not among the signers", e.Name, e.Signer)
		}
		for _, on := range e.Images {
			i := slices.IndexFunc(c.Images, func(im CaseImage) bool { return im.Name == on })
			if i < 0 {
				return nil, fmt.Errorf("evidence %s: image %q is not among the images", e.Name, on)
			}
			name := e.Name + "@" + on
			sum := sha256.Sum256([]byte(name))
			a := Attestation{
				Digest: step.Digest("sha256:" + hex.EncodeToString(sum[:])),
				Image:  c.Images[i].Digest, Type: uri,
				Subject: step.Digest(orElse(string(e.Subject), string(c.Images[i].Digest))),
				Signer:  e.Signer, Roles: s.Roles, MaxTier: s.MaxTier, MaxBuildLevel: s.MaxBuildLevel,
				Tier: e.Tier, Predicate: e.Predicate, Foreign: e.Foreign,
			}
			if e.Invalid != "" {
				a.Err = errors.New(e.Invalid)
			}
			in.Attestations = append(in.Attestations, a)
			names = append(names, name)
		}
	}
	return names, nil
}

// run judges one case.
func (c *Cases) run(p *Policy, one Case) (CaseResult, error) {
	in := Input{Reference: "oci:test", Digest: c.Images[0].Digest, Now: c.Now, Params: one.Params, Waivers: one.Waivers}
	for _, im := range c.Images {
		in.Images = append(in.Images, Image{Digest: im.Digest, Index: im.Index, Platform: im.Platform})
	}
	if one.Now != nil {
		in.Now = *one.Now
	}
	if one.KEV != nil {
		ids := KEVIDs{}
		for _, id := range one.KEV {
			ids[id] = true
		}
		in.KEV = ids
	}
	names, err := c.attach(&in, c.Evidence)
	if err != nil {
		return CaseResult{}, err
	}
	for _, ch := range one.Changes {
		if names, err = c.change(&in, names, ch); err != nil {
			return CaseResult{}, err
		}
	}
	if _, err := c.attach(&in, one.Add); err != nil {
		return CaseResult{}, err
	}
	v, err := Judge(p, in)
	if err != nil {
		return CaseResult{}, err
	}
	return CaseResult{Name: one.Name, Problems: one.compare(v), Verdict: v}, nil
}

// change makes one change to every attachment that it names.
func (c *Cases) change(in *Input, names []string, ch Change) ([]string, error) {
	hit := false
	for i := 0; i < len(names); i++ {
		name, _, _ := strings.Cut(names[i], "@")
		if ch.Of != name && ch.Of != names[i] {
			continue
		}
		hit = true
		if ch.Drop {
			names = slices.Delete(names, i, i+1)
			in.Attestations = slices.Delete(in.Attestations, i, i+1)
			i--
			continue
		}
		a := &in.Attestations[i]
		if ch.Signer != "" {
			s, ok := c.Signers[ch.Signer]
			if !ok {
				return nil, fmt.Errorf("change of %s: signer %q is not among the signers", ch.Of, ch.Signer)
			}
			a.Signer, a.Roles, a.MaxTier, a.MaxBuildLevel = ch.Signer, s.Roles, s.MaxTier, s.MaxBuildLevel
		}
		a.Tier = evidence.Tier(orElse(string(ch.Tier), string(a.Tier)))
		a.Subject = step.Digest(orElse(string(ch.Subject), string(a.Subject)))
		a.Foreign = a.Foreign || ch.Foreign
		if ch.Invalid != "" {
			a.Err = errors.New(ch.Invalid)
		}
		if ch.Path != "" {
			raw, err := edit(a.Predicate, ch.Path, ch.Value)
			if err != nil {
				return nil, fmt.Errorf("change of %s: %w", ch.Of, err)
			}
			a.Predicate = raw
		}
	}
	if !hit {
		return nil, fmt.Errorf("change of %s: there is no such evidence", ch.Of)
	}
	return names, nil
}

// edit replaces, adds or (value nil) removes what is at a path.
func edit(raw json.RawMessage, path string, value any) (json.RawMessage, error) {
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	doc, err := editAt(doc, strings.Split(path, "."), value)
	if err != nil {
		return nil, fmt.Errorf("path %s: %w", path, err)
	}
	return json.Marshal(doc)
}

func editAt(doc any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch d := doc.(type) {
	case map[string]any:
		if len(path) == 1 && value == nil {
			delete(d, path[0])
			return d, nil
		}
		inner, err := editAt(d[path[0]], path[1:], value)
		d[path[0]] = inner
		return d, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i > len(d) {
			return nil, fmt.Errorf("%q is no place in a list of %d", path[0], len(d))
		}
		if i == len(d) {
			d = append(d, nil)
		}
		if len(path) == 1 && value == nil {
			return slices.Delete(d, i, i+1), nil
		}
		d[i], err = editAt(d[i], path[1:], value)
		return d, err
	case nil:
		return editAt(map[string]any{}, path, value)
	}
	return nil, fmt.Errorf("%q is below a value that is neither an object nor a list", path[0])
}

// compare lists how a verdict differs from what the case expects.
func (one Case) compare(v Verdict) []string {
	var fails, warns, waived []string
	add := func(to *[]string, id string) {
		if !slices.Contains(*to, id) {
			*to = append(*to, id)
		}
	}
	for _, f := range v.Findings {
		switch {
		case f.Waived:
			add(&waived, f.Rule)
		case f.Severity == SeverityWarning:
			add(&warns, f.Rule)
		default:
			add(&fails, f.Rule)
		}
	}
	var problems []string
	for _, x := range []struct {
		what      string
		got, want []string
	}{{"fails", fails, one.Fails}, {"warns", warns, one.Warns}, {"waived", waived, one.Waived}} {
		slices.Sort(x.got)
		want := slices.Sorted(slices.Values(x.want))
		if !slices.Equal(x.got, want) {
			problems = append(problems, fmt.Sprintf("%s: got %v, want %v", x.what, x.got, want))
		}
	}
	if v.Passed != (len(one.Fails) == 0) {
		problems = append(problems, fmt.Sprintf("passed is %t", v.Passed))
	}
	for _, w := range v.Waivers {
		if want, ok := one.States[w.ID]; ok && w.State != want {
			problems = append(problems, fmt.Sprintf("waiver %s is %s, want %s", w.ID, w.State, want))
		}
	}
	return problems
}
