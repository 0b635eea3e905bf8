package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// up gives an engine, and the lines of shell that a caller evaluates to use it.
func up(ctx context.Context, c config) (string, error) {
	switch {
	case c.named():
		cli, builtIn, err := daggerCommand(ctx, c)
		if err != nil {
			return "", err
		}
		if err := answers(ctx, cli, c); err != nil {
			return "", err
		}
		say("using the engine at %s", c.Given)
		return exports(c, c.Given, cli, builtIn, ""), nil
	case c.Given == "" && dockerAnswers(ctx):
		cli, builtIn, err := daggerCommand(ctx, c)
		if err != nil {
			return "", err
		}
		say("using Docker: dagger starts an engine of version %s in it", c.Version)
		return exports(c, "", cli, builtIn, ""), nil
	}
	if err := possible(os.Geteuid()); err != nil {
		return "", err
	}
	var image string
	err := locked(c, func() error {
		if err := prepare(ctx, c); err != nil {
			return err
		}
		var err error
		image, err = start(ctx, c)
		return err
	})
	if err != nil {
		return "", err
	}
	return exports(c, c.socket(), c.path("bin", "dagger"), true, image), nil
}

// named reports whether the caller names an engine that is not ours.
func (c config) named() bool { return c.Given != "" && c.Given != c.socket() }

// ahead builds what up would build.
func ahead(ctx context.Context, c config) error {
	if c.named() || c.Given == "" && dockerAnswers(ctx) {
		_, _, err := daggerCommand(ctx, c)
		return err
	}
	if err := possible(os.Geteuid()); err != nil {
		return err
	}
	return locked(c, func() error { return prepare(ctx, c) })
}

// prepare makes what start starts.
func prepare(ctx context.Context, c config) error {
	if err := install(ctx); err != nil {
		return err
	}
	return build(ctx, c)
}

const threeWays = `
  there are three ways to get an engine:
  1. name one that runs: export _EXPERIMENTAL_DAGGER_RUNNER_HOST=tcp://HOST:PORT (or unix://SOCKET)
  2. start a Docker engine on this machine
  3. run this as root on Debian or its like, and let it build one`

// dockerAnswers reports whether a Docker engine runs here.
func dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Output()
	return err == nil && len(strings.TrimSpace(string(out))) > 0
}

// daggerCommand finds or builds a dagger of exactly the wanted version.
func daggerCommand(ctx context.Context, c config) (path string, builtIn bool, err error) {
	if found, err := exec.LookPath("dagger"); err == nil {
		out, err := output(found, "version")
		if err == nil && strings.HasPrefix(out, "dagger "+c.Version+" ") {
			if found, err = filepath.Abs(found); err == nil {
				return found, strings.HasPrefix(found, c.Dir), nil
			}
		}
	}
	cli := c.path("cli", c.Version, "dagger")
	return cli, true, locked(c, func() error { return buildCLI(ctx, c, cli) })
}

// buildCLI builds the command alone: with somebody else's engine nothing more is needed.
func buildCLI(ctx context.Context, c config, cli string) error {
	if _, err := os.Stat(cli); err == nil {
		return nil
	}
	say("building the command dagger %s from its Go module, once: some minutes", c.Version)
	if err := os.MkdirAll(filepath.Dir(cli), 0o755); err != nil {
		return err
	}
	if err := goBuild(ctx, []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false"},
		append(daggerFlags(c), "-o", cli+".new", "github.com/dagger/dagger/cmd/dagger")...); err != nil {
		return err
	}
	return os.Rename(cli+".new", cli)
}

// answers checks that the engine which the caller named is there, and of the
// wanted version.
func answers(ctx context.Context, cli string, c config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, "--silent", "core", "version")
	cmd.Env = append(os.Environ(), "DAGGER_NO_NAG=1", "DO_NOT_TRACK=1")
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return fmt.Errorf("the engine at %s does not answer: %w: %s%s", c.Given, err, text, threeWays)
	}
	return sameVersion(c, text)
}

func sameVersion(c config, said string) error {
	got := regexp.MustCompile(`v[0-9]+\.[0-9]+\.[0-9]+\S*`).FindString(said)
	if got != c.Version {
		return fmt.Errorf("the engine at %s is version %s, and this repository needs %s: start one of that version, or unset _EXPERIMENTAL_DAGGER_RUNNER_HOST", c.Given, got, c.Version)
	}
	return nil
}

// possible reports why an engine can't be started here.
func possible(uid int) error {
	why := func(text string) error { return errors.New("no Dagger engine: " + text + threeWays) }
	if uid != 0 {
		return why("no engine is named, no Docker engine answers, and building one needs root")
	}
	if out, err := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "true").CombinedOutput(); err != nil {
		return why("no engine is named, no Docker engine answers, and namespaces are refused here: " + strings.TrimSpace(string(out)))
	}
	return nil
}

// exports are the lines that a shell evaluates.
func exports(c config, host, cli string, builtIn bool, goImage string) string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, quote(value)) }
	if host != "" {
		set("_EXPERIMENTAL_DAGGER_RUNNER_HOST", host)
	}
	if builtIn {
		// The built command has no interactive display.
		set("DAGGER_PROGRESS", "plain")
	}
	set("DAGGER_NO_NAG", "1")
	set("DO_NOT_TRACK", "1")
	if goImage != "" {
		set("PATHS_REGISTRY", c.registry())
		set("PATHS_GO_IMAGE", goImage)
	}
	fmt.Fprintf(&b, "export PATH=%s:\"$PATH\"\n", quote(filepath.Dir(cli)))
	return b.String()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
