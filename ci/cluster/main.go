// Cluster gives this machine a Kubernetes with Tekton, for tests: the cluster that
// PATHS_KUBECONFIG names, else one of a single node, which is built from Go modules and
// Debian packages and runs in namespaces of its own. Its pods reach no network but each
// other, a registry, a Go module proxy, and what they are offered.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: cluster VERB

  up [PORT[:NODEPORT]...]  start the cluster, unless it runs, offer it these ports of the host's
                           loopback, and print what to export
  build                    build what up would build, and start nothing; a cluster of ours that
                           was made of something else is stopped
  down                     stop it, and leave nothing but programs and keys
  purge                    stop it, and remove programs and keys
  status                   say whether it runs, and what it reaches
  offer PORT[:NODEPORT]    let pods reach a port of the host's loopback, and print where
  reach ADDRESS:PORT       let the host reach an address in the cluster, and print where
  restart PROGRAM          kill a program of the node, such as kube-apiserver, and start it again
  in COMMAND...            run a command inside the node

State is in PATHS_CLUSTER, or ~/.cache/paths-cluster.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	c, err := load(os.Getenv)
	if err != nil {
		return err
	}
	verb, args := args[0], args[1:]
	switch {
	case verb == "up":
		return up(ctx, c, args)
	case verb == "build" && len(args) == 0:
		return ahead(ctx, c)
	case verb == "down" && len(args) == 0:
		return locked(c, func() error { return down(c) })
	case verb == "purge" && len(args) == 0:
		return locked(c, func() error { return purge(c) })
	case verb == "status" && len(args) == 0:
		return status(ctx, c)
	case verb == "offer" && len(args) == 1:
		return ask(ctx, c, verbOffer, args[0])
	case verb == "reach" && len(args) == 1:
		return ask(ctx, c, verbReach, args[0])
	case verb == "restart" && len(args) == 1:
		return restart(ctx, c, args[0])
	case verb == "in" && len(args) > 0:
		return enter(c, args)
	case verb == verbNode && len(args) == 0:
		return runNode(ctx, c)
	case verb == verbLink && len(args) == 0:
		return runLink(ctx, c)
	}
	return errUsage
}

// locked keeps two commands from building or starting the same cluster at once.
func locked(c *config, f func() error) error {
	if err := os.MkdirAll(c.path(), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(c.dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return f()
}

// say tells what takes long.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...) }
