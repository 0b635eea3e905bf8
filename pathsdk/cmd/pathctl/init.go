package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/gen"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newInit(a *app) *cobra.Command {
	var force bool
	var name string
	cmd := &cobra.Command{
		Use:     "init [SOURCE]",
		Short:   "Write a paths.yaml for a service",
		Example: `  pathctl init .`,
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			src := "."
			if len(args) > 0 {
				src = args[0]
			}
			file := filepath.Join(src, service.File)
			if _, err := os.Lstat(file); err == nil && !force {
				return step.Usagef("%s exists: edit it, or give --force to replace it", file)
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			p, err := catalog.Path(name)
			if err != nil {
				return err
			}
			gates, err := gen.Gates(p.Policy)
			if err != nil {
				return err
			}
			content := service.Init(p, gates)
			if err := writeFile(file, content, 0o644); err != nil {
				return fmt.Errorf("write %s: %w", file, err)
			}
			return a.print(map[string]string{"file": file}, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %s; next: pathctl plan %s, then pathctl ship %s\n", file, src, src)
			})
		},
	}
	cmd.Flags().StringVar(&name, "path", "microservice", "path that the service takes")
	_ = cmd.RegisterFlagCompletionFunc("path", completePaths)
	cmd.Flags().BoolVar(&force, "force", false, "replace an existing paths.yaml")
	return cmd
}
