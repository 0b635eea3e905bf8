package service

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// values are the entries of a map of simple values, as JSON.
func (p *parser) values(n *yaml.Node, at string) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	fields := p.fields(n, at)
	for _, name := range slices.Sorted(maps.Keys(fields)) { // sorted: the first error is always the same
		v, field := fields[name], at+"."+name
		var x any
		if v.Kind == yaml.SequenceNode {
			x = p.texts(v, field)
		} else if p.scalar(v, field) {
			x = simple(v)
		}
		raw, err := json.Marshal(x)
		if err != nil {
			p.fail(v, field, "%v", err)
		}
		m[name] = raw
	}
	return m
}

// simple gives a value its JSON type where that loses nothing of its text.
func simple(n *yaml.Node) any {
	switch n.Tag {
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil && strconv.FormatInt(i, 10) == n.Value && i > -1<<53 && i < 1<<53 {
			return i
		}
	case "!!float":
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == n.Value {
			return json.Number(n.Value)
		}
	}
	return n.Value
}

func (p *parser) waivers(n *yaml.Node) []Waiver {
	var out []Waiver
	seen := map[string]bool{}
	for i, e := range p.items(n, "waivers") {
		at := fmt.Sprintf("waivers[%d]", i)
		f := p.fields(e, at, "id", "reason", "expires")
		w := Waiver{ID: p.need(e, f, at, "id"), Reason: p.need(e, f, at, "reason"), Expires: p.need(e, f, at, "expires")}
		if p.err != nil {
			return nil
		}
		if _, err := time.Parse(time.DateOnly, w.Expires); err != nil {
			p.fail(f["expires"], at+".expires", "%.40q is no day; write it as 2026-12-31", w.Expires)
		}
		if seen[w.ID] {
			p.fail(f["id"], at+".id", "%.60q is waived twice; keep one", w.ID)
		}
		seen[w.ID] = true
		out = append(out, w)
	}
	return out
}

func (p *parser) custom(n *yaml.Node) []Custom {
	var out []Custom
	seen := map[string]bool{}
	for i, e := range p.items(n, "custom") {
		at := fmt.Sprintf("custom[%d]", i)
		f := p.fields(e, at, "name", "command", "after")
		c := Custom{Name: p.need(e, f, at, "name")}
		if v, ok := f["command"]; ok {
			c.Command = p.texts(v, at+".command")
		}
		if v, ok := f["after"]; ok {
			c.After = p.texts(v, at+".after")
		}
		if p.err != nil {
			return nil
		}
		switch {
		case !nodeName.MatchString(c.Name):
			p.fail(f["name"], at+".name", "%.60q is no name; use lower-case letters, digits and dashes", c.Name)
		case seen[c.Name]:
			p.fail(f["name"], at+".name", "%q is used twice; names are unique", c.Name)
		case len(c.Command) == 0 || c.Command[0] == "":
			p.fail(e, at+".command", `is missing; write the program and its arguments, such as [go, vet, ./...]`)
		}
		seen[c.Name] = true
		out = append(out, c)
	}
	return out
}

// need is a field that may not be missing or blank.
func (p *parser) need(n *yaml.Node, fields map[string]*yaml.Node, at, name string) string {
	v, ok := fields[name]
	if !ok {
		p.fail(n, at+"."+name, "is missing")
		return ""
	}
	s := p.text(v, at+"."+name)
	if p.err == nil && strings.TrimSpace(s) == "" {
		p.fail(v, at+"."+name, "is blank")
	}
	return s
}
