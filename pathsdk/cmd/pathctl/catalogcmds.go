package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newSteps(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "steps [NAME]",
		Short: "List the steps, or describe one",
		Example: `  pathctl steps
  pathctl steps build`,
		Args:              usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: completeSteps,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				spec, err := specOf(args[0])
				if err != nil {
					return err
				}
				return a.print(spec, func(w io.Writer) { writeSpec(w, spec) })
			}
			var specs []step.Spec
			for _, s := range catalog.Steps() {
				specs = append(specs, s.Spec())
			}
			return a.print(specs, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "STEP\tZONE\tWHAT IT DOES")
				for _, s := range specs {
					fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, s.Zone, s.Summary)
				}
				t.Flush()
			})
		},
	}
}

func writeSpec(w io.Writer, s step.Spec) {
	fmt.Fprintf(w, "%s %s (zone %s)\n%s\n", s.Name, s.Version, s.Zone, s.Summary)
	if s.Proves != "" {
		fmt.Fprintf(w, "proves: %s\n", s.Proves)
	}
	for _, part := range []struct {
		title  string
		fields []step.Field
	}{{"inputs", s.Inputs}, {"outputs", s.Outputs}} {
		fmt.Fprintf(w, "\n%s\n", part.title)
		t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
		for _, f := range part.fields {
			note := ""
			switch {
			case f.Required:
				note = "required"
			case f.Default != "":
				note = "default " + f.Default
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", f.Name, f.Kind, note, f.Help)
		}
		t.Flush()
	}
}

func completeSteps(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, s := range catalog.Steps() {
		names = append(names, s.Spec().Name+"\t"+s.Spec().Summary)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completePaths(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, p := range catalog.Paths() {
		names = append(names, p.Name+"\t"+p.Summary)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newPaths(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "paths",
		Short: "List the paved paths",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			all := catalog.Paths()
			return a.print(all, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "PATH\tVERSION\tFOR")
				for _, p := range all {
					fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, p.Version, p.Summary)
				}
				t.Flush()
			})
		},
	}
}

// explained is one node of a path, for people who want to know what it proves.
type explained struct {
	Node     string    `json:"node"`
	Step     string    `json:"step"`
	Zone     step.Zone `json:"zone"`
	Summary  string    `json:"summary"`
	Proves   string    `json:"proves,omitempty"`
	Evidence []string  `json:"evidence,omitempty"`
	Tier     string    `json:"tier,omitempty"`
	After    []string  `json:"after,omitempty"`
}

func explain(p paths.Path) ([]explained, error) {
	var all []explained
	for _, n := range p.Nodes {
		s, err := specOf(n.Step)
		if err != nil {
			return nil, err
		}
		e := explained{Node: n.ID, Step: n.Step, Zone: s.Zone, Summary: s.Summary, Proves: s.Proves, After: n.Needs()}
		slices.Sort(e.After)
		for _, uri := range s.Evidence {
			t, ok := evidence.Lookup(uri)
			if !ok {
				return nil, fmt.Errorf("step %s emits %s, which is no known predicate type", n.Step, uri)
			}
			e.Evidence = append(e.Evidence, t.Name)
			e.Tier = string(tierOf(s.Zone, t))
		}
		all = append(all, e)
	}
	return all, nil
}

// tierOf is the tier that evidence has by where it was made.
func tierOf(z step.Zone, t evidence.Type) evidence.Tier {
	switch {
	case z.Producer():
		return evidence.Reported
	case t.Observed:
		return evidence.Observed
	}
	return evidence.Derived
}

func newExplain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "explain PATH",
		Short:             "Explain each step of a path: its zone, and what it proves",
		Example:           `  pathctl explain microservice`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: completePaths,
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := catalog.Path(args[0])
			if err != nil {
				return err
			}
			all, err := explain(p)
			if err != nil {
				return err
			}
			return a.print(map[string]any{"path": p.Name, "version": p.Version, "summary": p.Summary, "nodes": all}, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s\n%s\n", p.Name, p.Version, p.Summary)
				var zone step.Zone
				for _, e := range all {
					if e.Zone != zone {
						zone = e.Zone
						fmt.Fprintf(w, "\nzone %s: %s\n", zone, zoneHolds[zone])
					}
					fmt.Fprintf(w, "  %-11s %s\n", e.Node, e.Summary)
					if e.Proves != "" {
						fmt.Fprintf(w, "  %-11s proves (%s, %s): %s\n", "", strings.Join(e.Evidence, ", "), e.Tier, e.Proves)
					}
				}
				fmt.Fprintf(w, "\nThen the attester signs each piece of evidence, and the verifier judges it by policy %q.\n", p.Policy)
			})
		},
	}
}

var zoneHolds = map[step.Zone]string{
	step.ZoneFetch:   "may read sources and modules; runs none of your code",
	step.ZoneBuild:   "runs your code; no network, no credential, no key",
	step.ZonePublish: "hands over by digest; runs none of your code, knows no key",
	step.ZoneAttest:  "holds the attester's key; recomputes and observes",
	step.ZoneVerify:  "holds the verifier's key; trusts only local policy",
	step.ZoneDeploy:  "may write the GitOps repository",
}

func newPlan(a *app) *cobra.Command {
	var path string
	inputs := map[string]*string{}
	cmd := &cobra.Command{
		Use:   "plan [SOURCE]",
		Short: "Show what ship would run, without running it",
		Long:  "Plan reads paths.yaml and the flags of ship, and shows the graph with every input. It needs no network.",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			src := "."
			if len(args) > 0 {
				src = args[0]
			}
			pl, err := a.resolve(src, path, a.changed(cmd, inputs))
			if err != nil {
				return err
			}
			nodes, err := explain(pl.path)
			if err != nil {
				return err
			}
			doc := map[string]any{"path": pl.path.Name, "version": pl.path.Version, "inputs": pl.inputs, "nodes": nodes}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "%s %s\n\ninputs\n", pl.path.Name, pl.path.Version)
				t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
				for _, f := range pl.path.Inputs {
					if v, ok := pl.inputs[f.Name]; ok {
						fmt.Fprintf(t, "  %s\t%s\n", f.Name, v)
					}
				}
				t.Flush()
				fmt.Fprintln(w, "\nsteps")
				t = tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
				for _, n := range nodes {
					after := "-"
					if len(n.After) > 0 {
						after = strings.Join(n.After, ", ")
					}
					fmt.Fprintf(t, "  %s\t%s\tafter %s\t%s\n", n.Node, n.Zone, after, strings.Join(n.Evidence, ", "))
				}
				t.Flush()
			})
		},
	}
	cmd.Flags().StringVar(&path, "path", "", "path to plan; paths.yaml's, or microservice")
	addInputs(cmd, inputs)
	return cmd
}
