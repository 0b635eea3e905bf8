package policy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// scope is what one expression sees.
type scope struct {
	ctx  context.Context // of the one Judge that the scope lives in
	vars map[string]any
	it   ref.Val // nil outside forEach
}

// ResolveName finds a variable.
func (s *scope) ResolveName(name string) (any, bool) {
	if name == "it" && s.it != nil {
		return s.it, true
	}
	v, ok := s.vars[name]
	return v, ok
}

// Parent is nil: there is no outer scope.
func (s *scope) Parent() cel.Activation { return nil }

var _ cel.Activation = (*scope)(nil)

// rules judges every rule.
func (j *judgement) rules() {
	have := map[string]bool{}
	for _, it := range j.items {
		if it.status == StatusUsed {
			have[it.typ.Name] = true
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	outer := &scope{ctx: ctx, vars: j.variables()}
	for i := range j.policy.compiled {
		c := &j.policy.compiled[i]
		before := len(j.verdict.Findings)
		res := RuleResult{Rule: c.ID}
		if absent := lacking(c.needs, have); absent != "" {
			res.Why = "could not be judged: there is no usable " + absent
			if !j.required(absent) {
				j.fail(Finding{Rule: c.ID, Severity: c.Severity, Subject: j.in.Digest, Reason: res.Why, Fix: c.fix.render(outer)})
			}
		} else {
			j.rule(c, outer)
			res.Held = true
			for _, f := range j.verdict.Findings[before:] {
				res.Held = res.Held && f.Waived
			}
		}
		j.announce(c.Rule, before)
		if !c.Waivable || c.forEach != nil {
			j.waivers.refuse(c.ID, c.Waivable)
		}
		j.verdict.Rules = append(j.verdict.Rules, res)
	}
	for i := range j.policy.Require {
		j.waivers.refuse(j.policy.Require[i].ID(), false)
	}
}

// announce makes warnings of what a rule found that does not count yet.
func (j *judgement) announce(r *Rule, before int) {
	from, err := time.Parse(time.DateOnly, r.EffectiveOn)
	if err != nil || !j.in.Now.Before(from) { // no date, or past
		return
	}
	for i := range j.verdict.Findings[before:] {
		if f := &j.verdict.Findings[before+i]; f.Severity == SeverityError {
			f.Severity, f.BlocksFrom = SeverityWarning, r.EffectiveOn
			f.Reason += "; this fails the policy from " + r.EffectiveOn + " on"
		}
	}
}

// lacking returns the names of needed types if there is none of them at all. A
// rule over both SBOM formats can be judged with one.
func lacking(needs []string, have map[string]bool) string {
	var absent []string
	sbom := false
	for _, n := range needs {
		isSBOM := n == "spdx" || n == "cyclonedx"
		if have[n] {
			sbom = sbom || isSBOM
			continue
		}
		absent = append(absent, n)
	}
	if sbom {
		kept := absent[:0]
		for _, n := range absent {
			if n != "spdx" && n != "cyclonedx" {
				kept = append(kept, n)
			}
		}
		absent = kept
	}
	return strings.Join(absent, ", ")
}

// required reports whether a failed requirement already says that the first of
// the comma-separated types is missing.
func (j *judgement) required(absent string) bool {
	for _, n := range strings.Split(absent, ", ") {
		for _, r := range j.verdict.Rules {
			if r.Rule == "require/"+n && !r.Held {
				return true
			}
		}
	}
	return false
}

// rule judges one rule. Whatever goes wrong fails it.
func (j *judgement) rule(c *compiledRule, outer *scope) {
	if c.forEach == nil {
		ok, err := c.expr.holds(outer)
		if err != nil {
			j.broken(c, outer, err)
			return
		}
		if ok {
			return
		}
		f := j.finding(c, outer, j.in.Digest)
		f.Details = j.detailList(c, outer)
		if c.Waivable {
			ok, note := j.waivers.cover(nil, c.ID, c.ID)
			f.Waived = ok
			f.Reason += note
		}
		j.fail(f)
		return
	}
	v, err := c.forEach.eval(outer)
	if err != nil {
		j.broken(c, outer, err)
		return
	}
	list, ok := v.(traits.Lister)
	if !ok {
		j.broken(c, outer, fmt.Errorf("forEach gives %s, want a list", v.Type().TypeName()))
		return
	}
	j.each(c, outer, list)
}

// each judges the elements of forEach; those that fail make one finding for each
// image, and one more for what is waived.
func (j *judgement) each(c *compiledRule, outer *scope, list traits.Lister) {
	type key struct {
		image  step.Digest
		waived bool
	}
	found := map[key]*Finding{}
	var order []key
	inner := &scope{ctx: outer.ctx, vars: outer.vars}
	for i := list.Iterator(); i.HasNext() == types.True; {
		inner.it = i.Next()
		ok, err := c.expr.holds(inner)
		if ok && err == nil {
			continue
		}
		image, ids := identify(inner.it)
		if image == "" {
			image = j.in.Digest
		}
		detail := j.detail(c, inner, err)
		waived := false
		if c.Waivable && err == nil {
			var note string
			waived, note = j.waivers.cover(ids, c.ID, orElse(first(ids), c.ID))
			detail += note
		}
		k := key{image, waived}
		f := found[k]
		if f == nil {
			x := j.finding(c, outer, image)
			x.Waived = waived
			f = &x
			found[k] = f
			order = append(order, k)
		}
		f.Details = append(f.Details, detail)
	}
	for _, k := range order {
		f := found[k]
		f.Details = bound(f.Details)
		j.fail(*f)
	}
}

// identify reads the image and the ids of an element that has them.
func identify(v ref.Val) (step.Digest, []string) {
	r, ok := v.Value().(record)
	if !ok {
		return "", nil
	}
	image, _ := r["image"].(string)
	ids, _ := r["ids"].([]string)
	return step.Digest(image), ids[:len(ids):len(ids)]
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func (j *judgement) finding(c *compiledRule, outer *scope, subject step.Digest) Finding {
	return Finding{
		Rule:     c.ID,
		Severity: c.Severity,
		Subject:  subject,
		Reason:   clip(c.reason.render(outer), 4000),
		Fix:      clip(c.fix.render(outer), 4000),
	}
}

// broken records a rule whose expression failed: it fails, and says so.
func (j *judgement) broken(c *compiledRule, outer *scope, err error) {
	f := j.finding(c, outer, j.in.Digest)
	f.Reason = "the rule could not be computed, so it fails: " + f.Reason
	f.Details = []string{clip(err.Error(), 1000)}
	j.fail(f)
}

// detail is the text for one failed element.
func (j *judgement) detail(c *compiledRule, inner *scope, err error) string {
	if err != nil {
		return "could not be computed: " + err.Error()
	}
	if c.details == nil {
		_, ids := identify(inner.it)
		return orElse(first(ids), text(inner.it))
	}
	v, err := c.details.eval(inner)
	if err != nil {
		return "(?): " + err.Error()
	}
	return text(v)
}

// detailList is the details of a rule without forEach.
func (j *judgement) detailList(c *compiledRule, outer *scope) []string {
	if c.details == nil {
		return nil
	}
	v, err := c.details.eval(outer)
	if err != nil {
		return []string{"(?): " + err.Error()}
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return []string{text(v)}
	}
	var out []string
	for i := list.Iterator(); i.HasNext() == types.True; {
		out = append(out, text(i.Next()))
	}
	return bound(out)
}
