package service

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// customStep is the step of the catalog that runs a service's own command.
const customStep = "custom"

// Graph adds the service's custom steps to a path: each is a node of its own,
// which takes what the test node takes from others, and which publish waits
// for. A custom step runs after those in its After, which can be any node that
// publish waits for, or another custom step.
//
// The command of a custom step is an input of the returned path, so that it
// stands among the parameters in provenance; Resolve fills it.
func Graph(path paths.Path, svc Service) (paths.Path, error) {
	if err := svc.supports(path); err != nil {
		return paths.Path{}, err
	}
	path.Nodes, path.Inputs = slices.Clone(path.Nodes), slices.Clone(path.Inputs)
	if len(svc.Custom) == 0 {
		return path, nil
	}
	test := slices.IndexFunc(path.Nodes, func(n paths.Node) bool { return n.Step == "test" })
	publish := slices.IndexFunc(path.Nodes, func(n paths.Node) bool { return n.Step == "publish" })
	if test < 0 || publish < 0 {
		return paths.Path{}, step.Usagef("%s: path %s has no place for custom steps: it needs a test and a publish node", svc.at("custom"), path.Name)
	}
	customs, err := svc.sorted(path, publish)
	if err != nil {
		return paths.Path{}, err
	}
	gate := path.Nodes[publish]
	gate.After = slices.Clone(gate.After)
	var nodes []paths.Node
	for _, c := range customs {
		n := paths.Node{ID: c.Name, Step: customStep, After: c.After, With: map[string]paths.Wire{
			"name": paths.Value(c.Name), "command": paths.Input(commandInput(c.Name)),
		}}
		for name, w := range path.Nodes[test].With {
			if w.Node != "" {
				n.With[name] = w
			}
		}
		nodes = append(nodes, n)
		gate.After = append(gate.After, c.Name)
		path.Inputs = append(path.Inputs, step.Field{
			Name: commandInput(c.Name), Kind: step.KindStrings, Required: true,
			Help: "command of the service's own step " + c.Name,
		})
	}
	path.Nodes[publish] = gate
	path.Nodes = slices.Insert(path.Nodes, publish, nodes...)
	return path, nil
}

// sorted checks the custom steps against the path and each other, and returns
// them in an order in which they could run.
func (s Service) sorted(path paths.Path, publish int) ([]Custom, error) {
	before := before(path, path.Nodes[publish])
	pending, allowed := map[string]bool{}, slices.Collect(maps.Keys(before))
	for i, c := range s.Custom {
		if slices.ContainsFunc(path.Nodes, func(n paths.Node) bool { return n.ID == c.Name }) {
			return nil, step.Usagef("%s: path %s has a node called %q; choose another name", s.at(fmt.Sprintf("custom[%d].name", i)), path.Name, c.Name)
		}
		if slices.Contains(reserved, c.Name) {
			return nil, step.Usagef("%s: %q names a part of every test result; choose another name", s.at(fmt.Sprintf("custom[%d].name", i)), c.Name)
		}
		pending[c.Name] = true
		allowed = append(allowed, c.Name)
	}
	for i, c := range s.Custom {
		for _, id := range c.After {
			if !slices.Contains(allowed, id) || id == c.Name {
				return nil, step.Usagef("%s: a custom step can't run after %q; %s", s.at(fmt.Sprintf("custom[%d].after", i)), id,
					nearest.Hint(id, slices.DeleteFunc(slices.Clone(allowed), func(n string) bool { return n == c.Name })))
			}
		}
	}
	var out []Custom
	left := slices.Clone(s.Custom)
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(c Custom) bool {
			return !slices.ContainsFunc(c.After, func(id string) bool { return pending[id] })
		})
		if i < 0 {
			var names []string
			for _, c := range left {
				names = append(names, c.Name)
			}
			return nil, step.Usagef("%s: %s wait for each other; remove one after", s.at("custom"), strings.Join(names, ", "))
		}
		delete(pending, left[i].Name)
		out = append(out, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return out, nil
}

// before are the ids of all nodes that n waits for, directly or not.
func before(path paths.Path, n paths.Node) map[string]bool {
	seen := map[string]bool{}
	var walk func(ids []string)
	walk = func(ids []string) {
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			for _, m := range path.Nodes {
				if m.ID == id {
					walk(m.Needs())
				}
			}
		}
	}
	walk(n.Needs())
	return seen
}

// reserved are names in the configuration of test results: a policy could not
// tell a custom step of that name from them.
var reserved = []string{"source", "go"}

// commandInput is the path's input with the command of a custom step. Its dot
// keeps it apart from every name that a file or a flag can give.
func commandInput(name string) string { return "custom." + name }

func isCommandInput(input string) bool { return strings.HasPrefix(input, "custom.") }
