package gen

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func stepsPage(specs []step.Spec) []byte {
	var b bytes.Buffer
	b.WriteString(edit + "\n# Steps\n\nEach step runs anywhere as a part of `pathctl`. Its zone decides what it may hold and see, and which trust tier\nits evidence can have.\n\n")
	b.WriteString(stepsTable(specs))
	for _, s := range specs {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.Name, s.Summary)
		if s.Proves != "" {
			fmt.Fprintf(&b, "\nProves: %s\n", s.Proves)
		}
		b.WriteString("\n")
		row(&b, "version", "zone", "needs", "evidence")
		rule(&b, 4)
		row(&b, s.Version, string(s.Zone), needs(s.Needs), types(s.Evidence, true))
		if len(s.Inputs) > 0 {
			b.WriteString("\n### Inputs\n\n")
			fields(&b, s.Inputs, true)
		}
		b.WriteString("\n### Outputs\n\n")
		fields(&b, s.Outputs, false)
	}
	return b.Bytes()
}

func pathsPage(list []paths.Path, specs map[string]step.Spec) []byte {
	var b bytes.Buffer
	b.WriteString(edit + "\n# Paths\n\nA path is a graph of [steps](steps.gen.md). A service chooses one in its `paths.yaml`.\n\n")
	b.WriteString(pathsTable(list))
	for _, p := range list {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\nVersion %s, judged by policy `%s`.\n\n### Inputs\n\n", p.Name, p.Summary, p.Version, p.Policy)
		fields(&b, p.Inputs, true)
		b.WriteString("\nThe host resolves these, once for each run:\n\n")
		fields(&b, paths.HostInputs(), true)
		b.WriteString("\n### Graph\n\n```mermaid\ngraph LR\n")
		for _, n := range p.Nodes {
			for _, id := range slices.Sorted(slices.Values(n.Needs())) {
				fmt.Fprintf(&b, "  %s --> %s\n", id, n.ID)
			}
		}
		b.WriteString("```\n\n")
		row(&b, "node", "step", "zone", "waits for", "proves")
		rule(&b, 5)
		for _, n := range p.Nodes {
			s := specs[n.Step]
			row(&b, n.ID, link(n.Step), string(s.Zone), strings.Join(slices.Sorted(slices.Values(n.Needs())), ", "), s.Proves)
		}
	}
	return b.Bytes()
}

func stepsTable(specs []step.Spec) string {
	var b bytes.Buffer
	row(&b, "step", "zone", "does", "evidence")
	rule(&b, 4)
	for _, s := range specs {
		row(&b, "`"+s.Name+"`", string(s.Zone), s.Summary, types(s.Evidence, false))
	}
	return b.String()
}

func pathsTable(list []paths.Path) string {
	var b bytes.Buffer
	row(&b, "path", "version", "takes a service", "steps")
	rule(&b, 4)
	for _, p := range list {
		var ids []string
		for _, n := range p.Nodes {
			ids = append(ids, n.ID)
		}
		row(&b, "`"+p.Name+"`", p.Version, p.Summary, strings.Join(ids, ", "))
	}
	return b.String()
}

func fields(b *bytes.Buffer, list []step.Field, input bool) {
	if !input {
		row(b, "name", "kind", "what it is")
		rule(b, 3)
	} else {
		row(b, "name", "kind", "default", "what it is")
		rule(b, 4)
	}
	for _, f := range list {
		help := f.Help
		if len(f.Enum) > 0 {
			help += " (" + strings.Join(f.Enum, ", ") + ")"
		}
		if f.Keyless {
			help += "; not part of the cache key"
		}
		if f.Since != "" {
			help += "; since " + f.Since
		}
		if f.Deprecated != "" {
			help += "; deprecated: " + f.Deprecated
		}
		if !input {
			row(b, "`"+f.Name+"`", string(f.Kind), help)
			continue
		}
		def := "empty"
		switch {
		case f.Default != "":
			def = "`" + f.Default + "`"
		case f.Required:
			def = "required"
		case f.Kind == step.KindBool:
			def = "`false`"
		}
		row(b, "`"+f.Name+"`", string(f.Kind), def, help)
	}
}

func needs(n step.Needs) string {
	var s []string
	if n.Network {
		s = append(s, "network")
	}
	if n.UserCode {
		s = append(s, "a fence: it runs the service's code")
	}
	if n.Fresh {
		s = append(s, "to run every time")
	}
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, "; ")
}

// types names predicate types, by their URIs where those matter.
func types(uris []string, full bool) string {
	var s []string
	for _, uri := range uris {
		name := uri
		if t, ok := evidence.Lookup(uri); ok {
			name = t.Name
		}
		if full {
			name += " (`" + uri + "`)"
		}
		s = append(s, name)
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

func link(name string) string { return "[" + name + "](steps.gen.md#" + name + ")" }

// row writes one row of a table. A bar or a line break in a cell would end it.
func row(b *bytes.Buffer, cells ...string) {
	for _, c := range cells {
		c = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
		b.WriteString(strings.TrimRight("| "+c, " ") + " ")
	}
	b.WriteString("|\n")
}

func rule(b *bytes.Buffer, n int) { b.WriteString(strings.Repeat("|---", n) + "|\n") }
