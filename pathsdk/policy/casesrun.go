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

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

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
				RunIssuers: s.RunIssuers, Identity: s.Identity,
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
			a.RunIssuers, a.Identity = s.RunIssuers, s.Identity
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
