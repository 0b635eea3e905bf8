package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/run/host"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// app is what every verb shares: where it runs, and where its output goes.
type app struct {
	host   host.Host
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	output string // text or json
}

func stepNamed(name string) (step.Step, error) { return catalog.Step(name) }

// transport is how registries are reached.
func (a *app) transport() http.RoundTripper { return oci.NewTransport(a.host.Connect) }

// exitCode maps an error to the exit codes in the README: 2 for a command that
// can't be run as it was given, 3 for a gate that refused, 1 for the rest.
func exitCode(err error) int {
	var gate *step.GateError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, step.ErrUsage):
		return 2
	case errors.As(err, &gate):
		return 3
	}
	return 1
}

// fail prints an error where people and machines look for it.
func (a *app) fail(err error) {
	if a.output == "json" {
		doc := map[string]any{"error": withSpace(err), "exitCode": exitCode(err)}
		var gate *step.GateError
		if errors.As(err, &gate) {
			doc["gate"], doc["findings"], doc["fix"] = gate.Gate, gate.Findings, gate.Fix
		}
		_ = json.NewEncoder(a.stderr).Encode(doc)
		return
	}
	fmt.Fprintln(a.stderr, "pathctl:", withSpace(err))
	if errors.Is(err, step.ErrUsage) {
		fmt.Fprintln(a.stderr, "  see: pathctl help")
	}
}

// withSpace is an error's text, with what to do where the disk is full: anything
// that writes can meet that.
func withSpace(err error) string {
	text := err.Error()
	if strings.Contains(text, "no space left on device") && !strings.Contains(text, "free ") {
		text += "\n  fix: free space there, then run again; it goes on from the last finished step"
	}
	return text
}

// print writes a result: v as JSON when asked for, otherwise text.
func (a *app) print(v any, text func(w io.Writer)) error {
	if a.output == "json" {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	text(a.stdout)
	return nil
}

// usageArgs makes cobra's argument checks usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return step.Usagef("%w; see: pathctl %s --help", err, cmd.Name())
		}
		return nil
	}
}

// writeFile writes by rename, so that a reader sees the old file or the new.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(content); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
