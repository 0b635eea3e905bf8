package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/internal/trivydb"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func newVulnDB(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vulndb",
		Short: "Make a small vulnerability database from advisory records",
		Long: `A database made here holds only the records that you give it: it is for demos,
tests and advisories of your own. Ship and scan use the full one by default.`,
	}
	var out string
	var fresh time.Duration
	mk := &cobra.Command{
		Use:     "make ADVISORIES",
		Short:   "Make a database from a folder of advisory records (YAML)",
		Example: `  pathctl vulndb make examples/vulndb --out ./vulndb`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				return step.Usagef("give the folder for the database with --out DIR")
			}
			if m, err := trivydb.ReadMetadata(out); err == nil && fresh > 0 && time.Since(m.UpdatedAt) < fresh {
				if _, err := trivydb.Check(out); err == nil {
					return nil
				}
			}
			made, err := trivydb.Make(args[0], out, time.Now())
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) {
				fmt.Fprintf(w, "made %s: %d advisories, trivy.db %s\n", out, made.Advisories, made.Digest)
			})
		},
	}
	mk.Flags().StringVar(&out, "out", "", "folder for trivy.db and metadata.json")
	mk.Flags().DurationVar(&fresh, "unless-newer-than", 0, "keep a database that was made less than this ago")
	var addr string
	serve := &cobra.Command{
		Use:     "serve DIR",
		Short:   "Serve a database from a registry on loopback, as a mirror would",
		Example: `  pathctl vulndb serve ./vulndb`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.serveVulnDB(cmd.Context(), args[0], addr) },
	}
	serve.Flags().StringVar(&addr, "listen", "127.0.0.1:0", "loopback address and port; port 0 takes a free one")
	cmd.AddCommand(mk, serve)
	return cmd
}

// serveVulnDB pushes the database to a registry of its own, so that whoever asks
// for it downloads it as from any mirror.
func (a *app) serveVulnDB(ctx context.Context, dir, addr string) error {
	l, err := listenLoopback(addr)
	if err != nil {
		return err
	}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ref := l.Addr().String() + "/vulndb:2"
	return serveUntilDone(ctx, l, handler, func() error {
		if _, err := trivydb.Push(ctx, dir, ref, nil); err != nil {
			return err
		}
		return a.print(map[string]string{"reference": ref}, func(w io.Writer) {
			fmt.Fprintf(w, "serving %s as %s; interrupt to stop\n", dir, ref)
		})
	})
}

// listenLoopback listens where only this machine can connect.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, step.Usagef("--listen %s: %w; give an address such as 127.0.0.1:5000", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, step.Usagef("--listen %s is not on loopback: give 127.0.0.1:PORT; a registry that others can reach must ask who they are", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; another port may be free", addr, err)
	}
	return l, nil
}

// serveUntilDone serves until ctx ends; ready runs once requests are answered.
func serveUntilDone(ctx context.Context, l net.Listener, h http.Handler, ready func() error) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(l) }()
	defer func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(bounded)
	}()
	if err := ready(); err != nil {
		return err
	}
	select {
	case err := <-stopped:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
		return nil
	}
}
