package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/run/fence"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// check is one thing that doctor looked at.
type check struct {
	Name string `json:"name"`
	// State is ok, warning (a run works, but proves less) or problem.
	State  string `json:"state"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

func newDoctor(a *app) *cobra.Command {
	var registry, kubeconfig string
	var cluster bool
	cmd := &cobra.Command{
		Use:   "doctor [SOURCE]",
		Short: "Check this machine, a service, a registry and a cluster, and say what to fix",
		Example: `  pathctl doctor .
  pathctl doctor . --registry registry.example.com/team/orders
  pathctl doctor --cluster`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kubeconfig != "" && !cluster {
				return step.Usagef("--kubeconfig names the cluster for --cluster: give both")
			}
			checks := a.doctor(cmd.Context(), args, registry)
			if cluster {
				checks = append(checks, checkCluster(cmd.Context(), kubeconfig)...)
			}
			var bad []string
			for _, c := range checks {
				if c.State == "problem" {
					bad = append(bad, c.Name+": "+c.Detail)
				}
			}
			if err := a.print(checks, func(w io.Writer) {
				for _, c := range checks {
					fmt.Fprintf(w, "%-8s %-12s %s\n", c.State, c.Name, c.Detail)
					if c.Fix != "" {
						fmt.Fprintf(w, "%-21s fix: %s\n", "", c.Fix)
					}
				}
			}); err != nil {
				return err
			}
			if len(bad) > 0 {
				return &step.GateError{Gate: "doctor", Findings: bad, Fix: "do what the lines above say, and run doctor again"}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&registry, "registry", "", "also check that this registry can be read: HOST/REPO[:TAG]")
	cmd.Flags().BoolVar(&cluster, "cluster", false, "also check that kubectl's cluster is set up to run paths on Tekton; nothing is changed")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file that names the cluster and who you are there, for --cluster; without it, kubectl's own choice: KUBECONFIG, ~/.kube/config, or the cluster of the pod")
	return cmd
}

func (a *app) doctor(ctx context.Context, args []string, registry string) []check {
	checks := []check{a.checkGo(ctx), checkGit(), a.checkFence(ctx), a.checkHome(), a.checkKeys()}
	if len(args) > 0 {
		checks = append(checks, checkService(args[0]))
	}
	if registry != "" {
		checks = append(checks, a.checkRegistry(ctx, registry))
	}
	return checks
}

func problem(name string, err error, fix string) check {
	return check{Name: name, State: "problem", Detail: err.Error(), Fix: fix}
}

func (a *app) checkGo(ctx context.Context) check {
	g, err := a.host.Go(ctx)
	if err != nil {
		return problem("go", err, "install Go from https://go.dev/dl and put it on PATH")
	}
	out, err := exec.CommandContext(ctx, g.Command, "version").Output()
	if err != nil {
		return problem("go", err, "reinstall Go: its command does not run")
	}
	return check{Name: "go", State: "ok", Detail: strings.TrimSpace(string(out))}
}

func checkGit() check {
	if _, err := exec.LookPath("git"); err != nil {
		return check{Name: "git", State: "warning", Detail: "no git on PATH: provenance can't name a commit", Fix: "install git"}
	}
	return check{Name: "git", State: "ok", Detail: "found"}
}

func (a *app) checkFence(ctx context.Context) check {
	r, err := fence.New(a.host.Self).Probe(ctx)
	switch {
	case err != nil:
		return problem("fence", err, "builds and tests can't be started; check that /proc is mounted and the binary is executable")
	case !r.Files():
		return check{Name: "fence", State: "warning", Detail: "the kernel has neither Landlock nor namespaces for you: user code can read your keys", Fix: "use a kernel of 5.13 or newer with Landlock (CONFIG_LSM), or allow user namespaces"}
	case !r.Offline():
		return check{Name: "fence", State: "warning", Detail: r.Mechanism() + ", but builds can reach the network", Fix: "allow user namespaces, or use a kernel of 6.7 or newer"}
	}
	return check{Name: "fence", State: "ok", Detail: r.Mechanism()}
}

func (a *app) checkHome() check {
	if err := os.MkdirAll(a.host.Home, 0o700); err != nil {
		return problem("home", err, "give a folder that you can write with --home or PATHS_HOME")
	}
	probe := filepath.Join(a.host.Home, ".doctor")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return problem("home", err, "give a folder that you can write with --home or PATHS_HOME")
	}
	_ = os.Remove(probe)
	var st unix.Statfs_t
	if err := unix.Statfs(a.host.Home, &st); err != nil {
		return problem("home", err, "check the file system of "+a.host.Home)
	}
	free := int64(st.Bavail) * st.Bsize
	c := check{Name: "home", State: "ok", Detail: fmt.Sprintf("%s, %d GiB free", a.host.Home, free>>30)}
	if free < 2<<30 {
		c.State, c.Fix = "warning", "free at least 2 GiB: build caches and databases go there"
	}
	return c
}

func (a *app) checkKeys() check {
	_, err := attest.LoadTrust(filepath.Join(a.host.Home, attest.TrustFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return check{Name: "keys", State: "ok", Detail: "none yet; the first ship makes them, or: pathctl key init"}
	case err != nil:
		return problem("keys", err, "mend trust.yaml, or move "+a.host.Home+" away and run: pathctl key init")
	}
	return check{Name: "keys", State: "ok", Detail: "attester and verifier"}
}

func checkService(dir string) check {
	s, err := service.Load(dir)
	if err != nil {
		return problem("service", err, "see: pathctl init --help")
	}
	if !s.Found() {
		return check{Name: "service", State: "ok", Detail: "no paths.yaml: defaults of path " + s.Path}
	}
	return check{Name: "service", State: "ok", Detail: "paths.yaml for path " + s.Path}
}

func (a *app) checkRegistry(ctx context.Context, ref string) check {
	loc, err := oci.ParseLocator(ref)
	if err != nil {
		return problem("registry", err, "give HOST/REPO")
	}
	store, err := oci.Open(ctx, loc, oci.WithTransport(a.transport()))
	if err != nil {
		return problem("registry", err, "log in with your registry's tool (docker login HOST), or check the name")
	}
	// Any digest will do: what matters is whether the registry answers.
	const some = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if _, err := store.Referrers(ctx, some); err != nil {
		return problem("registry", err, "log in with your registry's tool (docker login HOST), or check the name")
	}
	return check{Name: "registry", State: "ok", Detail: ref + " answers"}
}
