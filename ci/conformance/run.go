package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The signer and issuer of cases that name none (the suite's README.md).
const (
	beacon = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	issuer = "https://token.actions.githubusercontent.com"
)

// client runs one command line of the protocol, and returns its exit code and
// what it said.
type client func(args ...string) (int, string, error)

// runCases runs every case of a folder against this program, started anew for
// each. A case that can't be run is a failure: none is skipped.
func runCases(args []string, out io.Writer) error {
	fl := flag.NewFlagSet("run", flag.ContinueOnError)
	publicGood := fl.String("trusted-root", "", "trusted_root.json of the public instance")
	dir, err := parse(fl, args)
	if err != nil {
		return err
	}
	if *publicGood == "" {
		return fmt.Errorf("%w: --trusted-root is missing", errUsage)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return run(dir, *publicGood, out, func(args ...string) (int, string, error) {
		var said bytes.Buffer
		cmd := exec.Command(self, args...)
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() {
			err = nil
		}
		return cmd.ProcessState.ExitCode(), strings.TrimSpace(said.String()), err
	})
}

func run(dir, publicGood string, out io.Writer, ask client) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	var good, bad, wrong int
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		mustFail := strings.HasSuffix(e.Name(), "_fail")
		if mustFail {
			bad++
		} else {
			good++
		}
		said, err := runCase(filepath.Join(dir, e.Name()), publicGood, mustFail, ask)
		state := "ok  "
		if err != nil {
			wrong++
			state, said = "FAIL", err.Error()
		}
		fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("%s %-52s %s", state, e.Name(), firstLine(said))))
	}
	fmt.Fprintf(out, "%d cases: %d must pass, %d must fail; %d as they should be, %d not, 0 skipped\n", good+bad, good, bad, good+bad-wrong, wrong)
	if good == 0 || bad == 0 {
		return fmt.Errorf("%w: %s has %d cases that must pass and %d that must fail: it is not the suite", errUsage, dir, good, bad)
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d cases are not as they should be", wrong, good+bad)
	}
	return nil
}

// runCase asks twice, by the artifact's file and by its digest, and wants the
// same answer. It returns what was said of a bundle that was rightly refused.
func runCase(dir, publicGood string, mustFail bool, ask client) (string, error) {
	args := []string{"verify-bundle", "--bundle", filepath.Join(dir, "bundle.sigstore.json")}
	if key := filepath.Join(dir, "key.pub"); exists(key) {
		args = append(args, "--key", key)
	} else {
		id, err := either(filepath.Join(dir, "identity"), beacon)
		if err != nil {
			return "", err
		}
		by, err := either(filepath.Join(dir, "issuer"), issuer)
		if err != nil {
			return "", err
		}
		args = append(args, "--certificate-identity", id, "--certificate-oidc-issuer", by)
	}
	trust := filepath.Join(dir, "trusted_root.json")
	if !exists(trust) {
		trust = publicGood
	}
	args = append(args, "--trusted-root", trust)
	artifact := filepath.Join(dir, "artifact")
	if !exists(artifact) {
		artifact = filepath.Join(filepath.Dir(dir), "a.txt")
	}
	b, err := os.ReadFile(artifact)
	if err != nil {
		return "", err
	}
	var last string
	for _, of := range []string{artifact, fmt.Sprintf("sha256:%x", sha256.Sum256(b))} {
		code, said, err := ask(append(args, of)...)
		switch last = said; {
		case err != nil:
			return "", err
		case code != 0 && code != 1:
			return "", fmt.Errorf("of %s: it could not be asked (exit code %d): %s", of, code, said)
		case mustFail && code == 0:
			return "", fmt.Errorf("of %s: accepted, and must be refused", of)
		case !mustFail && code != 0:
			return "", fmt.Errorf("of %s: refused, and must be accepted: %s", of, said)
		}
	}
	return last, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// either is the content of a file, or a default if there is none.
func either(path, otherwise string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return otherwise, nil
	}
	return strings.TrimSpace(string(b)), err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return fmt.Sprintf("%.160s", line)
}
