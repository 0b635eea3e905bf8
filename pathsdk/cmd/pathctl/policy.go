package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/policy"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newPolicy(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "List, print, test and export policies",
	}
	cmd.AddCommand(
		newPolicyExport(a),
		&cobra.Command{
			Use:   "ls",
			Short: "List the shipped policies and their parameters",
			Args:  usageArgs(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				var all []*policy.Policy
				for _, name := range policy.Names() {
					p, err := policy.Load(name)
					if err != nil {
						return err
					}
					all = append(all, p)
				}
				return a.print(all, func(w io.Writer) {
					for _, p := range all {
						fmt.Fprintf(w, "%s: %s\n", p.Name, p.Summary)
						t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
						var names []string
						for n := range p.Params {
							names = append(names, n)
						}
						slices.Sort(names)
						for _, n := range names {
							fmt.Fprintf(t, "  %s\t%s\t%v\t%s\n", n, p.Params[n].Type, p.Params[n].Default, p.Params[n].Help)
						}
						t.Flush()
					}
				})
			},
		},
		&cobra.Command{
			Use:     "show NAME",
			Short:   "Print a shipped policy, to start one of your own",
			Example: `  pathctl policy show microservice > policy.yaml`,
			Args:    usageArgs(cobra.ExactArgs(1)),
			ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				return policy.Names(), cobra.ShellCompDirectiveNoFileComp
			},
			RunE: func(_ *cobra.Command, args []string) error {
				src, err := policy.Source(args[0])
				if err != nil {
					return err
				}
				_, err = a.stdout.Write(src)
				return err
			},
		},
		&cobra.Command{
			Use:     "test POLICY CASES",
			Short:   "Run a policy's unit tests",
			Example: `  pathctl policy test policy.yaml policy_test.yaml`,
			Args:    usageArgs(cobra.ExactArgs(2)),
			RunE: func(_ *cobra.Command, args []string) error {
				p, err := policy.Load(args[0])
				if err != nil {
					return err
				}
				if _, err := os.Stat(args[1]); err != nil {
					return step.Usagef("cases: %w", err)
				}
				results, err := policy.Test(p, args[1])
				if err != nil {
					return err
				}
				var failed []string
				for _, r := range results {
					if len(r.Problems) > 0 {
						failed = append(failed, r.Name+": "+strings.Join(r.Problems, "; "))
					}
				}
				if err := a.print(results, func(w io.Writer) {
					fmt.Fprintf(w, "%d cases, %d failed\n", len(results), len(failed))
				}); err != nil {
					return err
				}
				if len(failed) > 0 {
					return &step.GateError{Gate: "policy tests", Findings: failed, Fix: "mend the policy, or the case if it asks for the wrong thing"}
				}
				return nil
			},
		},
	)
	return cmd
}
