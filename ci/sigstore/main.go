// Sigstore gives this machine a Sigstore of its own, for tests: a certificate
// authority (Fulcio), a transparency log (Rekor v2), a timestamp authority, and an
// OIDC issuer whose tokens are shaped as GitHub's and Kubernetes' are, and at which people
// log in. The services are the real ones, built from their Go modules; they listen on
// loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: sigstore VERB

  up                         start all services, unless they run, and print what to export
  build                      build them, and start nothing
  down                       stop them
  purge                      stop them, and remove keys, log and binaries
  start NAME                 start one service: issuer, fulcio, rekor, rekor-front, tsa
  stop NAME                  stop one service
  token [FLAGS]              print an identity token; sigstore token -help lists the flags
  signer [person]            print the entry of a trust root for the identity in those tokens,
                             or for dev@example.com, who logs in
  verify [FLAGS] BUNDLE...   verify bundles with sigstore-go alone

When PATHS_CLUSTER_ISSUER and PATHS_CLUSTER_CA are set at up, as by make cluster, Fulcio
takes that cluster's tokens, too. State is in PATHS_SIGSTORE, or ~/.cache/paths-sigstore.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "sigstore:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	c, err := load()
	if err != nil {
		return err
	}
	verb, args := args[0], args[1:]
	switch {
	case verb == "up" && len(args) == 0:
		return up(ctx, c)
	case verb == "build" && len(args) == 0:
		return build(ctx, c)
	case verb == "down" && len(args) == 0:
		return down(c)
	case verb == "purge" && len(args) == 0:
		if err := down(c); err != nil {
			return err
		}
		return os.RemoveAll(c.dir)
	case verb == "start" && len(args) == 1:
		return startOne(ctx, c, args[0])
	case verb == "stop" && len(args) == 1:
		if c.service(args[0]) == nil {
			return errUsage
		}
		return stop(c, args[0])
	case verb == "token":
		return printToken(c, args)
	case verb == "signer" && len(args) == 0:
		printSigner(c, "ci", githubPath, "https://github.com/"+defaults().workflow)
		return nil
	case verb == "signer" && len(args) == 1 && args[0] == "person":
		printSigner(c, "person", peoplePath, defaults().email)
		return nil
	case verb == "verify":
		return verifyBundles(c, args)
	case verb == verbIssuer && len(args) == 0:
		return serveIssuer(ctx, c)
	case verb == verbFront && len(args) == 0:
		return serveFront(ctx, c)
	case verb == verbTSA && len(args) == 0:
		return serveTSA(ctx, c)
	}
	return errUsage
}

// printSigner prints an attester of a trust root.
func printSigner(c *config, name, issuer, subject string) {
	fmt.Printf("  - name: %s\n    roles: [attester]\n    maxTier: observed\n    maxBuildLevel: 1\n    identity:\n"+
		"      trustedRoot: %s\n      issuer: %s\n      subject: %s\n", name, c.path("trusted_root.json"), c.url("issuer")+issuer, subject)
}

// up starts what does not run. It may be called at any time.
func up(ctx context.Context, c *config) error {
	if err := build(ctx, c); err != nil {
		return err
	}
	if err := makeKeys(c); err != nil {
		return err
	}
	if err := c.choosePorts(); err != nil {
		return err
	}
	if err := writeTrust(c); err != nil {
		return err
	}
	if err := writeTUF(c); err != nil {
		return err
	}
	if err := configureFulcio(c); err != nil {
		return err
	}
	for _, s := range c.services() {
		if err := start(ctx, c, s); err != nil {
			return errors.Join(err, down(c))
		}
	}
	fmt.Printf("export PATHS_SIGSTORE='%s'\n", c.dir)
	fmt.Printf("export PATHS_SIGNING_CONFIG='%s'\n", c.path("signing_config.json"))
	fmt.Printf("export PATHS_TRUSTED_ROOT='%s'\n", c.path("trusted_root.json"))
	return nil
}

func down(c *config) error {
	var failed []error
	for _, s := range c.services() {
		failed = append(failed, stop(c, s.name))
	}
	return errors.Join(failed...)
}

func startOne(ctx context.Context, c *config, name string) error {
	s := c.service(name)
	if s == nil {
		return errUsage
	}
	if c.Ports == nil {
		return errors.New("nothing was set up here\n  fix: make sigstore")
	}
	return start(ctx, c, *s)
}
