package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// up gives a cluster, and prints the lines of shell that a caller evaluates to use it.
func up(ctx context.Context, c *config, offers []string) error {
	if c.given != "" {
		if len(offers) > 0 {
			return errors.New("PATHS_KUBECONFIG names a cluster that is not ours, and only ours is offered ports\n  fix: unset PATHS_KUBECONFIG")
		}
		if err := hasTekton(c.given); err != nil {
			return fmt.Errorf("the cluster of PATHS_KUBECONFIG: %w\n  fix: start it and install Tekton Pipelines, or unset PATHS_KUBECONFIG", err)
		}
		say("using the cluster of PATHS_KUBECONFIG")
		fmt.Printf("export PATHS_KUBECONFIG=%s\n", quote(c.given))
		return nil
	}
	if err := possible(); err != nil {
		return err
	}
	var shell string
	err := locked(c, func() error {
		if err := tryCgroups(c); err != nil {
			return err
		}
		if err := build(ctx, c); err != nil {
			return err
		}
		if err := c.choosePorts(); err != nil {
			return err
		}
		if err := makeKeys(c); err != nil {
			return err
		}
		if err := start(ctx, c); err != nil {
			return err
		}
		var err error
		shell, err = pushShell(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	for _, what := range offers {
		if _, err := askLink(ctx, c, verbOffer, what); err != nil {
			return err
		}
	}
	for _, line := range [][2]string{
		{"PATHS_CLUSTER", c.dir},
		{"PATHS_KUBECONFIG", c.kubeconfig("admin")},
		{"PATHS_KUBECTL", c.made("bin", "kubectl")},
		{"PATHS_CLUSTER_REGISTRY", registryAddr},
		{"PATHS_CLUSTER_REGISTRY_HOST", c.loopback("registry")},
		{"PATHS_CLUSTER_SHELL", shell},
		{"PATHS_CLUSTER_GOPROXY", "http://" + proxyAddr},
		{"PATHS_CLUSTER_NODE", nodeIP},
		{"PATHS_CLUSTER_ISSUER", c.issuer()},
		{"PATHS_CLUSTER_CA", c.keys("ca.crt")},
	} {
		fmt.Printf("export %s=%s\n", line[0], quote(line[1]))
	}
	return nil
}

// ahead builds what up would build.
func ahead(ctx context.Context, c *config) error {
	if c.given != "" {
		return nil
	}
	if err := possible(); err != nil {
		return err
	}
	return locked(c, func() error { return build(ctx, c) })
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

const twoWays = `
  fix: there are two ways to get a cluster:
  1. name one that has Tekton Pipelines: export PATHS_KUBECONFIG=FILE
  2. run this as root on Debian or its like, and let it build one`

const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// possible reports why a cluster can't be started here.
func possible() error {
	if os.Geteuid() != 0 {
		return errors.New("no cluster is named, and to start one needs root" + twoWays)
	}
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("no cluster is named, and namespaces are refused here: %w%s", err, twoWays)
	}
	for what, pkg := range map[string]string{
		"iptables": "iptables", "nsenter": "util-linux", "flock": "util-linux", "apt-get": "apt", "dpkg-deb": "dpkg", "/" + caBundle: "ca-certificates",
	} {
		_, err := exec.LookPath(what)
		if strings.HasPrefix(what, "/") {
			_, err = os.Stat(what)
		}
		if err != nil {
			return fmt.Errorf("there is no %s, which the node needs\n  fix: install it; on Debian: apt-get install %s", what, pkg)
		}
	}
	return nil
}

// start starts node and link, unless they run, and Tekton on them.
func start(ctx context.Context, c *config) error {
	if pid(c, verbNode) != 0 && pid(c, verbLink) != 0 {
		if _, err := os.Stat(c.run("ready")); err == nil {
			return nil
		}
	} else if raw, err := os.ReadFile(c.run("log", verbNode+".log")); err == nil && len(raw) > 0 {
		say("the last one ended: %s", tail(string(raw), 10))
	}
	if err := down(c); err != nil { // what an unclean end left behind
		return err
	}
	if err := launch(ctx, c); err != nil {
		return errors.Join(fmt.Errorf("the cluster did not start: %w%s", err, logs(c)), down(c))
	}
	return nil
}

func launch(ctx context.Context, c *config) error {
	if err := os.MkdirAll(c.run("log"), 0o755); err != nil {
		return err
	}
	if err := makeCgroups(c); err != nil {
		return err
	}
	if err := background(c, verbNode, namespaces); err != nil {
		return err
	}
	networked := func() error {
		_, err := os.Stat(c.run("network"))
		return err
	}
	if err := await(ctx, c, "the node's network", time.Minute, networked); err != nil {
		return err
	}
	if err := background(c, verbLink, 0); err != nil {
		return err
	}
	ready, err := answering(c, "https://"+c.loopback("api")+"/readyz")
	if err != nil {
		return err
	}
	if err := await(ctx, c, "the API server", 2*time.Minute, ready); err != nil {
		return err
	}
	// While images are still being imported.
	apply := func() error {
		_, err := kubectl(ctx, c, "apply", "--server-side", "--force-conflicts", "-f", c.made("tekton.yaml"))
		return err
	}
	// Again at need: Tekton's own webhook refuses settings until its pod is there.
	if err := await(ctx, c, "Tekton's objects", 2*time.Minute, apply); err != nil {
		return err
	}
	for _, wait := range [][]string{
		{"wait", "--for=condition=Ready", "node/" + nodeName},
		// Before it is there, pods are refused.
		{"wait", "--for=create", "serviceaccount/default"},
		{"-n", "tekton-pipelines", "wait", "--for=condition=Available", "deployment", "--all"},
		{"-n", "tekton-pipelines-resolvers", "wait", "--for=condition=Available", "deployment", "--all"},
	} {
		waits := func() error {
			_, err := kubectl(ctx, c, append(wait, "--timeout=10s")...)
			return err
		}
		if err := await(ctx, c, strings.Join(wait, " "), 5*time.Minute, waits); err != nil {
			return err
		}
	}
	return write(c.run("ready"), nil, 0o644)
}

// await waits until something is ready, and no longer than node and link run.
func await(ctx context.Context, c *config, what string, long time.Duration, ready func() error) error {
	until := time.Now().Add(long)
	for {
		err := ready()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case pid(c, verbNode) == 0:
			return errors.New("the node ended")
		case pid(c, verbLink) == 0 && what != "the node's network":
			return errors.New("the link ended")
		case time.Now().After(until):
			return fmt.Errorf("%s: not ready after %v: %w", what, long, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func logs(c *config) string {
	var b strings.Builder
	for _, name := range []string{verbNode, verbLink} {
		if raw, err := os.ReadFile(c.run("log", name+".log")); err == nil && len(raw) > 0 {
			fmt.Fprintf(&b, "\n-- %s\n%s", name, tail(string(raw), 15))
		}
	}
	return b.String()
}

func kubectl(ctx context.Context, c *config, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.made("bin", "kubectl"), append([]string{"--kubeconfig", c.kubeconfig("admin")}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", args[0], err, tail(stderr.String(), 5))
	}
	return string(out), nil
}

// pushShell pushes an image with a shell, which pods may be made of, and returns the name
// by which they get it.
func pushShell(ctx context.Context, c *config) (string, error) {
	img, err := tarball.ImageFromPath(c.made("shell.tar"), nil)
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewTag(c.loopback("registry")+"/shell:latest", name.Insecure)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("push the image shell: %w", err)
	}
	return registryAddr + "/shell@" + digest.String(), nil
}

// status says whether the cluster runs, and what it and the host reach of each other.
func status(ctx context.Context, c *config) error {
	if pid(c, verbNode) == 0 || pid(c, verbLink) == 0 {
		return errors.New("no cluster of ours runs here\n  fix: make cluster")
	}
	if _, err := os.Stat(c.run("ready")); err != nil {
		return errors.New("the cluster is not ready: it is starting, or its start was interrupted\n  fix: make cluster")
	}
	lines, err := opened(ctx, c)
	if err != nil {
		return err
	}
	fmt.Println(c.kubeconfig("admin"))
	for _, line := range lines {
		fmt.Println(line)
	}
	return nil
}

// ask asks the link for one more opening, and prints the address.
func ask(ctx context.Context, c *config, verb, what string) error {
	if pid(c, verbLink) == 0 {
		return errors.New("no cluster of ours runs here\n  fix: make cluster")
	}
	at, err := askLink(ctx, c, verb, what)
	if err != nil {
		return err
	}
	fmt.Println(at)
	return nil
}

// enter becomes a command that sees what the node does.
func enter(c *config, args []string) error {
	n := pid(c, verbNode)
	if n == 0 {
		return errors.New("no cluster of ours runs here\n  fix: make cluster")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	env := append(os.Environ(), "PATH="+c.made("bin")+":"+os.Getenv("PATH"), "CONTAINERD_ADDRESS="+containerdSocket, "CONTAINERD_NAMESPACE=k8s.io")
	return syscall.Exec(nsenter, append([]string{"nsenter", fmt.Sprintf("--target=%d", n), "--mount", "--net", "--pid", "--ipc", "--uts", "--"}, args...), env)
}
