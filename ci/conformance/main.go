// Command conformance is a Sigstore client that speaks the command-line protocol
// of github.com/sigstore/sigstore-conformance (docs/cli_protocol.md), and runs
// that suite's verification cases against itself.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// errUsage marks what says nothing of a bundle: a command line or a file that
// can't be read. Without it, a broken set-up would pass for a refusal.
var errUsage = errors.New("usage")

func main() {
	err := dispatch(os.Args[1:], os.Stdout)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func dispatch(args []string, out io.Writer) error {
	verbs := map[string]func([]string, io.Writer) error{
		"verify-bundle": func(args []string, _ io.Writer) error { return verifyBundle(args) },
		"sign-bundle":   func(args []string, _ io.Writer) error { return signBundle(args) },
		"run":           runCases,
	}
	if len(args) == 0 || verbs[args[0]] == nil {
		return fmt.Errorf("%w: give verify-bundle, sign-bundle or run", errUsage)
	}
	return verbs[args[0]](args[1:], out)
}

func verifyBundle(args []string) error {
	var q verification
	fl := flag.NewFlagSet("verify-bundle", flag.ContinueOnError)
	fl.StringVar(&q.bundle, "bundle", "", "the bundle")
	fl.StringVar(&q.identity, "certificate-identity", "", "the signer's identity")
	fl.StringVar(&q.issuer, "certificate-oidc-issuer", "", "who vouches for it")
	fl.StringVar(&q.key, "key", "", "PEM public key, in place of an identity")
	fl.StringVar(&q.root, "trusted-root", "", "trusted_root.json")
	artifact, err := parse(fl, args)
	if err != nil {
		return err
	}
	q.artifact = artifact
	if q.bundle == "" || (q.key == "") == (q.identity == "" || q.issuer == "") {
		return fmt.Errorf("%w: give --bundle, and either --key or both --certificate-identity and --certificate-oidc-issuer", errUsage)
	}
	// A trust root is given locally; this client fetches none.
	if q.root == "" && q.key == "" {
		return fmt.Errorf("%w: --trusted-root is missing", errUsage)
	}
	return q.verify()
}

func signBundle(args []string) error {
	var q signing
	fl := flag.NewFlagSet("sign-bundle", flag.ContinueOnError)
	fl.BoolVar(&q.intoto, "in-toto", false, "the file is an in-toto statement")
	// The protocol has the token here. It is one of the suite's own, for anybody.
	fl.StringVar(&q.token, "identity-token", "", "the OIDC token")
	fl.StringVar(&q.bundle, "bundle", "", "where the bundle is written")
	fl.StringVar(&q.root, "trusted-root", "", "trusted_root.json")
	fl.StringVar(&q.config, "signing-config", "", "signing_config.json")
	artifact, err := parse(fl, args)
	if err != nil {
		return err
	}
	q.artifact = artifact
	for name, v := range map[string]string{"identity-token": q.token, "bundle": q.bundle, "trusted-root": q.root, "signing-config": q.config} {
		if v == "" {
			return fmt.Errorf("%w: --%s is missing", errUsage, name)
		}
	}
	return q.sign()
}

// parse reads flags and the one file behind them.
func parse(fl *flag.FlagSet, args []string) (string, error) {
	fl.SetOutput(io.Discard)
	// Which instance is used is in the files; the protocol may still say it.
	_ = fl.Bool("staging", false, "use the staging instance")
	if err := fl.Parse(args); err != nil {
		return "", fmt.Errorf("%w: %w", errUsage, err)
	}
	if fl.NArg() != 1 {
		return "", fmt.Errorf("%w: give one file, behind the flags", errUsage)
	}
	return fl.Arg(0), nil
}

// isDigest reports whether an argument is a digest, by the protocol's rule: what
// is also a file on disk is the file.
func isDigest(arg string) (string, bool) {
	text, ok := strings.CutPrefix(arg, "sha256:")
	if !ok || len(text) != 64 || strings.Trim(strings.ToLower(text), "0123456789abcdef") != "" {
		return "", false
	}
	_, err := os.Lstat(arg)
	return text, err != nil
}
