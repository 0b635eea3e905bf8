package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Specs are the specifications of steps by name.
func Specs(steps []step.Step) map[string]step.Spec {
	m := map[string]step.Spec{}
	for _, s := range steps {
		m[s.Spec().Name] = s.Spec()
	}
	return m
}

// Check reports everything that is wrong with the graph of a path, given the
// specifications of the steps: nodes without a step, wires from or to what does
// not exist or is of another kind, inputs that nothing fills, cycles, and zones
// that leak into each other. It returns nil for a sound path.
func Check(p paths.Path, specs map[string]step.Spec) []string {
	c := checker{path: p, specs: specs, nodes: map[string]step.Spec{}}
	c.inputs()
	for _, n := range p.Nodes {
		c.node(n)
	}
	for _, n := range p.Nodes {
		if spec, ok := c.nodes[n.ID]; ok {
			c.wires(n, spec)
			c.zones(n, spec)
		}
	}
	c.order()
	return c.found
}

type checker struct {
	path  paths.Path
	specs map[string]step.Spec
	nodes map[string]step.Spec // by node id, of nodes whose step exists
	found []string
}

func (c *checker) add(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *checker) inputs() {
	seen := map[string]bool{}
	for _, f := range append(slices.Clone(c.path.Inputs), paths.HostInputs()...) {
		if seen[f.Name] {
			c.add("input %s: declared twice", f.Name)
		}
		seen[f.Name] = true
		if f.Help == "" {
			c.add("input %s: no help", f.Name)
		}
		if f.Default != "" {
			if _, err := step.Parse(f, f.Default); err != nil {
				c.add("input %s: default: %v", f.Name, err)
			}
		}
	}
	used := map[string]bool{}
	for _, n := range c.path.Nodes {
		for _, w := range n.With {
			used[w.Input] = true
		}
	}
	for _, f := range c.path.Inputs {
		if !used[f.Name] {
			c.add("input %s: no node uses it", f.Name)
		}
	}
}

func (c *checker) node(n paths.Node) {
	if _, ok := c.nodes[n.ID]; ok || n.ID == "" {
		c.add("node %q: its id is empty or not unique", n.ID)
	}
	spec, ok := c.specs[n.Step]
	if !ok {
		c.add("node %s: no step is called %q; %s", n.ID, n.Step, nearest.Hint(n.Step, slices.Collect(maps.Keys(c.specs))))
		return
	}
	c.nodes[n.ID] = spec
}

func (c *checker) wires(n paths.Node, spec step.Spec) {
	for _, name := range slices.Sorted(maps.Keys(n.With)) {
		in, ok := spec.Input(name)
		if !ok {
			c.add("node %s: step %s has no input %q; %s", n.ID, n.Step, name, hint(name, spec.Inputs))
			continue
		}
		if problem := c.wire(n.With[name], in); problem != "" {
			c.add("node %s: input %s: %s", n.ID, name, problem)
		}
	}
	for _, in := range spec.Inputs {
		if _, ok := n.With[in.Name]; !ok && in.Required {
			c.add("node %s: input %s of step %s is required, and neither wired nor given a default", n.ID, in.Name, n.Step)
		}
	}
}

// wire says what is wrong with a wire into the input in.
func (c *checker) wire(w paths.Wire, in step.Field) string {
	ways := 0
	for _, set := range []bool{w.Node != "" || w.Output != "", w.Input != "", w.Value != "", w.Reports} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Sprintf("its wire has %d sources, want one", ways)
	}
	switch {
	case w.Reports:
		if in.Kind != step.KindDir {
			return fmt.Sprintf("is a %s, and reports are a dir", in.Kind)
		}
	case w.Value != "":
		if _, err := step.Parse(in, w.Value); err != nil {
			return err.Error()
		}
	case w.Input != "":
		return c.fromInput(w.Input, in)
	default:
		return c.fromOutput(w, in)
	}
	return ""
}

func (c *checker) fromInput(name string, in step.Field) string {
	from, ok := c.path.Input(name)
	host := false
	if !ok {
		i := slices.IndexFunc(paths.HostInputs(), func(f step.Field) bool { return f.Name == name })
		if i < 0 {
			return fmt.Sprintf("path %s has no input %q; %s", c.path.Name, name, hint(name, append(slices.Clone(c.path.Inputs), paths.HostInputs()...)))
		}
		from, host = paths.HostInputs()[i], true
	}
	if !fits(from.Kind, in.Kind) {
		return fmt.Sprintf("is a %s, and path input %s is a %s", in.Kind, name, from.Kind)
	}
	// Files and folders of the host are always there: it makes them itself.
	given := from.Required || from.Default != "" || from.Kind == step.KindBool ||
		host && (from.Kind == step.KindFile || from.Kind == step.KindDir)
	if in.Required && !given {
		return fmt.Sprintf("is required, and path input %s may be empty", name)
	}
	return ""
}

func (c *checker) fromOutput(w paths.Wire, in step.Field) string {
	spec, ok := c.nodes[w.Node]
	if !ok {
		return fmt.Sprintf("comes from node %q, which there is not", w.Node)
	}
	out, ok := spec.Output(w.Output)
	if !ok {
		return fmt.Sprintf("step %s has no output %q; %s", spec.Name, w.Output, hint(w.Output, spec.Outputs))
	}
	if !fits(out.Kind, in.Kind) {
		return fmt.Sprintf("is a %s, and output %s of node %s is a %s", in.Kind, w.Output, w.Node, out.Kind)
	}
	if out.Keyless != in.Keyless {
		return fmt.Sprintf(`keyless is %t, and %t for output %s of node %s: tag both or none with key:"-"`, in.Keyless, out.Keyless, w.Output, w.Node)
	}
	return ""
}

// fits reports whether a value of one kind can fill an input of another. A
// digest is text; nothing else converts.
func fits(from, to step.Kind) bool {
	return from == to || from == step.KindDigest && to == step.KindString
}

// zones checks that work only moves towards trust: forward, and from producer
// to attester through publish alone.
func (c *checker) zones(n paths.Node, spec step.Spec) {
	at := slices.Index(step.Zones(), spec.Zone)
	if at < 0 {
		c.add("node %s: zone %q of step %s is none of %v", n.ID, spec.Zone, n.Step, step.Zones())
		return
	}
	if spec.Needs.UserCode && spec.Zone != step.ZoneBuild {
		c.add("node %s: step %s runs user code outside of zone build", n.ID, n.Step)
	}
	if spec.Needs.Network && spec.Zone == step.ZoneBuild {
		c.add("node %s: step %s needs a network, and zone build has none", n.ID, n.Step)
	}
	for _, id := range slices.Sorted(slices.Values(n.Needs())) {
		dep, ok := c.nodes[id]
		if !ok {
			if slices.Contains(n.After, id) {
				c.add("node %s: runs after %q, which there is not", n.ID, id)
			}
			continue
		}
		if slices.Index(step.Zones(), dep.Zone) > at {
			c.add("node %s: zone %s waits for %s in zone %s; zones only move forward", n.ID, spec.Zone, id, dep.Zone)
		}
		wired := slices.ContainsFunc(slices.Collect(maps.Values(n.With)), func(w paths.Wire) bool { return w.Node == id })
		if wired && !spec.Zone.Producer() && dep.Zone.Producer() && dep.Zone != step.ZonePublish {
			c.add("node %s: zone %s takes outputs of %s in zone %s; only those of publish may pass", n.ID, spec.Zone, id, dep.Zone)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.With)) {
		if n.With[name].Reports && spec.Zone != step.ZonePublish {
			c.add("node %s: input %s takes the producer's reports, which only zone publish may", n.ID, name)
		}
	}
}

// order checks that the nodes stand in an order in which they could run, which
// a graph with a cycle has not.
func (c *checker) order() {
	done := map[string]bool{}
	left := slices.Clone(c.path.Nodes)
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(n paths.Node) bool {
			return !slices.ContainsFunc(n.Needs(), func(id string) bool {
				return !done[id] && slices.ContainsFunc(left, func(m paths.Node) bool { return m.ID == id })
			})
		})
		if i < 0 {
			var ids []string
			for _, n := range left {
				ids = append(ids, n.ID)
			}
			c.add("nodes %s: wait for each other in a cycle, or for one", strings.Join(ids, ", "))
			return
		}
		if i > 0 {
			c.add("node %s: stands before %s, which it waits for", left[0].ID, strings.Join(left[0].Needs(), ", "))
		}
		done[left[i].ID] = true
		left = slices.Delete(left, i, i+1)
	}
}

func hint(name string, fields []step.Field) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.Name)
	}
	return nearest.Hint(name, names)
}
