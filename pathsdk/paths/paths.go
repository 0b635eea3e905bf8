// Package paths holds the paved paths: one file each, data only. A path is a
// graph of steps; this package says how their inputs and outputs are wired, and
// runs nothing.
package paths

import "github.com/pavedpaths/paths/pathsdk/step"

// Path is one paved path: a graph of steps from source to evidence.
type Path struct {
	// Name and Version identify the path; Version changes whenever the graph or
	// its inputs do.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Summary is one sentence for someone who chooses a path.
	Summary string `json:"summary"`
	// Policy names the shipped policy that judges what the path makes.
	Policy string `json:"policy"`
	// Inputs are what a consumer may set in paths.yaml or by flags.
	Inputs []step.Field `json:"inputs"`
	// Nodes in an order in which they could run.
	Nodes []Node `json:"nodes"`
}

// Node is one use of a step in a path.
type Node struct {
	// ID is unique in the path, and usually the step's name.
	ID string `json:"id"`
	// Step is the name of a step in the catalog.
	Step string `json:"step"`
	// With wires the step's inputs. An input that is not wired has its default.
	With map[string]Wire `json:"with,omitempty"`
	// After lists nodes that must have passed although nothing of theirs is
	// wired.
	After []string `json:"after,omitempty"`
}

// Wire is where the value of one input comes from; exactly one of its ways is
// set.
type Wire struct {
	// Node and Output name an output of another node.
	Node   string `json:"node,omitempty"`
	Output string `json:"output,omitempty"`
	// Input names an input of the path.
	Input string `json:"input,omitempty"`
	// Value is a constant in its text form.
	Value string `json:"value,omitempty"`
	// Reports stands for a folder that the runner fills with what the producer
	// reported so far: NODE.json, the unsigned evidence of each node.
	Reports bool `json:"reports,omitempty"`
}

// From wires an output of another node.
func From(node, output string) Wire { return Wire{Node: node, Output: output} }

// Input wires an input of the path.
func Input(name string) Wire { return Wire{Input: name} }

// Value wires a constant.
func Value(text string) Wire { return Wire{Value: text} }

// Reports wires the folder of unsigned evidence from the nodes before.
func Reports() Wire { return Wire{Reports: true} }

// Needs lists the nodes that n waits for, without repeats, in no order.
func (n Node) Needs() []string {
	seen := map[string]bool{}
	var ids []string
	add := func(id string) {
		if id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for _, w := range n.With {
		add(w.Node)
	}
	for _, id := range n.After {
		add(id)
	}
	return ids
}

// Input returns the path's input of that name.
func (p Path) Input(name string) (step.Field, bool) {
	for _, f := range p.Inputs {
		if f.Name == name {
			return f, true
		}
	}
	return step.Field{}, false
}
