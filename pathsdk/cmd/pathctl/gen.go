package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/gen"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newGen(a *app) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "gen [ROOT]",
		Short: "Write the generated files of this project: reference, schemas, tables",
		Long: `Gen writes everything that follows from the catalog and the command line. It is
for contributors to Paved Paths; go test fails when a generated file is stale.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := "."
			if len(args) > 0 {
				root = args[0]
			}
			files, err := gen.Files(cmd.Root(), root)
			if err != nil {
				return err
			}
			if check {
				if stale := gen.Check(root, files); len(stale) > 0 {
					return &step.GateError{Gate: "generated files", Findings: stale, Fix: "run: make gen"}
				}
				return nil
			}
			written, err := gen.Write(root, files)
			if err != nil {
				return err
			}
			return a.print(written, func(w io.Writer) {
				for _, f := range written {
					fmt.Fprintln(w, filepath.Join(root, f))
				}
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail if a file is stale")
	return cmd
}
