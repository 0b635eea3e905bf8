package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/oci"
)

func newRegistry(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Serve an OCI layout as a registry",
	}
	var addr string
	serve := &cobra.Command{
		Use:   "serve LAYOUT",
		Short: "Serve a layout on loopback, read-only, for tools that want a registry",
		Long: `Serve answers the OCI distribution API over an OCI layout, referrers included.
Every repository name means this layout. It takes no pushes, and listens on
loopback only: it asks nobody who they are.`,
		Example: `  pathctl registry serve .paths/store
  pathctl registry serve .paths/store --listen 127.0.0.1:5000`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.serve(cmd.Context(), args[0], addr) },
	}
	serve.Flags().StringVar(&addr, "listen", "127.0.0.1:0", "loopback address and port; port 0 takes a free one")
	cmd.AddCommand(serve)
	return cmd
}

func (a *app) serve(ctx context.Context, layout, addr string) error {
	l, err := listenLoopback(addr)
	if err != nil {
		return err
	}
	defer l.Close()
	if _, err := oci.OpenLayout(layout); err != nil {
		return err
	}
	return serveUntilDone(ctx, l, oci.Handler(layout), func() error {
		return a.print(map[string]string{"address": l.Addr().String()}, func(w io.Writer) {
			fmt.Fprintf(w, "serving %s on %s; any repository name will do, such as %s/store; interrupt to stop\n", layout, l.Addr(), l.Addr())
		})
	})
}
