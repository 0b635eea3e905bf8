package main

import (
	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	groupMain  = "main"
	groupTrust = "trust"
	groupLearn = "learn"
)

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "pathctl",
		Short: "Paved paths from source to a verified image",
		Long: `pathctl takes a service from source to a signed, verified, explained image.

Every step runs in a security zone: what builds can't sign, what signs never
runs your code, and what verifies trusts only keys and policies on this machine.
The SLSA level of an image is computed from observed facts, never claimed.`,
		Example: `  pathctl ship .                          build, attest and verify the service here
  pathctl plan .                          what ship would run, offline
  pathctl verify oci:.paths/store         judge what was shipped
  pathctl evidence tree oci:.paths/store  what is known about it`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return step.Usagef("--output %s: give text or json", a.output)
			}
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "format of the result on standard output: text or json")
	root.PersistentFlags().StringVar(&a.host.Home, "home", a.host.Home, "folder with keys, trust root and caches (or PATHS_HOME)")
	root.PersistentFlags().Lookup("home").DefValue = "~/.paths"
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return step.Usagef("%w; see: %s --help", err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupMain, Title: "Run a path:"},
		&cobra.Group{ID: groupTrust, Title: "Evidence and trust:"},
		&cobra.Group{ID: groupLearn, Title: "Look around:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupMain, newShip(a), newInit(a), newDoctor(a), newPlan(a), newStep(a), newZone(a), newHandover(a))
	add(groupTrust, newAttest(a), newVerify(a), newPromote(a), newWaiver(a), newEvidence(a), newReport(a), newKey(a), newRegistry(a), newVulnDB(a), newPolicy(a))
	add(groupLearn, newExplain(a), newSteps(a), newPaths(a), newVersion(a))
	root.AddCommand(newGen(a))
	return root
}
