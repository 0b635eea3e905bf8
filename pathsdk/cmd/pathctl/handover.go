package main

import (
	"context"
	"fmt"
	"io"

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
	var out string
	pull := &cobra.Command{
		Use:   "pull REPOSITORY@DIGEST",
		Short: "Unpack such an artifact into a new folder, checked against its digest",
		Example: `  pathctl handover pull registry.example.com/staging/orders@sha256:… --out /in
  pathctl attest --from /in/fetch --from /in/build --from /in/publish --to registry.example.com/team/orders:v1`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.pullFolders(cmd.Context(), args[0], out) },
	}
	pull.Flags().StringVar(&out, "out", "", "new folder; each folder that was packed is one below it")
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

func (a *app) pullFolders(ctx context.Context, ref, out string) error {
	from, err := oci.ParseLocator(ref)
	if err != nil {
		return err
	}
	if from.Digest == "" {
		return step.Usagef("%s: give it by digest, as handover push prints it: whoever can write a tag could change what is taken over", ref)
	}
	s, err := oci.Open(ctx, from, oci.WithTransport(a.transport()))
	if err != nil {
		return err
	}
	dirs, err := oci.TakeFolders(ctx, s, from.Digest, out)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	return a.print(map[string][]string{"folders": dirs}, func(w io.Writer) {
		for _, d := range dirs {
			fmt.Fprintln(w, d)
		}
	})
}
