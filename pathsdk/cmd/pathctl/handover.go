package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newHandover(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "handover",
		Short: "Take what zones hand over from container to container, by digest",
		Long: `Handover takes folders from one container to another where they share no disk, as
on Kubernetes: push packs them into one artifact of a repository, and pull unpacks
it. The digest that push prints is all that has to be trusted on the way.`,
	}
	var to, file string
	push := &cobra.Command{
		Use:   "push DIR...",
		Short: "Pack folders into one artifact of a repository, and print its digest",
		Long: `Push packs folders into one artifact of a repository, without a tag, and prints its
digest. The last elements of the folders' paths are their names.`,
		Example: `  pathctl handover push /out/fetch /out/build /out/publish --to registry.example.com/staging/orders
  pathctl handover push /out/build --to registry.example.com/staging/orders --digest-file /tekton/results/handover`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.pushFolders(cmd.Context(), args, to, file) },
	}
	push.Flags().StringVar(&to, "to", "", "repository, HOST/REPO, or layout, oci:DIR")
	push.Flags().StringVar(&file, "digest-file", "", "file to write the reference to as well, REPOSITORY@DIGEST, without a line's end")
	_ = push.MarkFlagRequired("to")
	var out, only string
	pull := &cobra.Command{
		Use:   "pull REPOSITORY@DIGEST",
		Short: "Unpack such an artifact into a new folder, checked against its digest",
		Example: `  pathctl handover pull registry.example.com/staging/orders@sha256:… --out /in
  pathctl attest --from /in/fetch --from /in/build --from /in/publish --to registry.example.com/team/orders:v1
  pathctl handover pull registry.example.com/staging/orders@sha256:… --only fetch/source --out /in`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("only") && only == "" {
				return step.Usagef("--only is empty: give a path within the artifact, such as fetch/source, or leave it out to unpack all")
			}
			return a.pullFolders(cmd.Context(), args[0], out, only)
		},
	}
	pull.Flags().StringVar(&out, "out", "", "new folder; each folder that was packed is one below it")
	pull.Flags().StringVar(&only, "only", "", "path of a file or folder, such as fetch/source: unpack the folder alone that holds it, here fetch")
	_ = pull.MarkFlagRequired("out")
	cmd.AddCommand(push, pull)
	return cmd
}

func (a *app) pushFolders(ctx context.Context, dirs []string, place, file string) error {
	to, err := oci.ParseLocator(place)
	if err != nil {
		return err
	}
	if to.Tag != "" || to.Digest != "" {
		return step.Usagef("--to %s: give the repository alone: what is handed over is known by its digest", place)
	}
	w, err := oci.Open(ctx, to, oci.WithCreate(), oci.WithTransport(a.transport()))
	if err != nil {
		return err
	}
	d, err := oci.PutFolders(ctx, w, dirs)
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	to.Digest = d
	if file != "" {
		if err := writeFile(file, []byte(to.String()), 0o644); err != nil {
			return fmt.Errorf("--digest-file: %w", err)
		}
	}
	return a.print(map[string]string{"reference": to.String(), "digest": string(d)}, func(w io.Writer) { fmt.Fprintln(w, to) })
}

func (a *app) pullFolders(ctx context.Context, ref, out, only string) error {
	from, err := oci.ParseLocator(ref)
	if err != nil {
		return err
	}
	if from.Digest == "" {
		return step.Usagef("%s: give it by digest, as handover push prints it: whoever can write a tag could change what is taken over", ref)
	}
	var names []string
	if only != "" {
		if !filepath.IsLocal(only) {
			return step.Usagef("--only %s: give a path within the artifact, such as fetch/source", only)
		}
		name, _, _ := strings.Cut(filepath.ToSlash(filepath.Clean(only)), "/")
		names = []string{name}
	}
	s, err := oci.Open(ctx, from, oci.WithTransport(a.transport()))
	if err != nil {
		return err
	}
	dirs, err := oci.TakeFolders(ctx, s, from.Digest, out, names...)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	if only != "" {
		if _, err := os.Lstat(filepath.Join(out, filepath.FromSlash(only))); err != nil {
			_ = os.RemoveAll(out)
			return fmt.Errorf("take over: --only %s: %s has no such path: %w", only, ref, err)
		}
	}
	return a.print(map[string][]string{"folders": dirs}, func(w io.Writer) {
		for _, d := range dirs {
			fmt.Fprintln(w, d)
		}
	})
}
