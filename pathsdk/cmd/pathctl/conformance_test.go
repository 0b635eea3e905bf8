//go:build conformance

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestConformanceScript runs the command lines that need public test data which
// is not part of this repository.
func TestConformanceScript(t *testing.T) {
	data := os.Getenv("PATHS_TESTDATA")
	if data == "" {
		t.Fatal("PATHS_TESTDATA is not set\n  fix: set it to the folder that holds slsa-legacy")
	}
	if _, err := os.Stat(filepath.Join(data, "slsa-legacy")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/conformance",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "PATHS_HOME="+filepath.Join(e.WorkDir, "home"), "DATA="+filepath.Join(data, "slsa-legacy"),
				"ROOT="+filepath.Join(strings.TrimSpace(string(out)), "examples", "trusted-root-public-good.json"),
				"W=https://github.com/slsa-framework/slsa-github-generator/.github/workflows")
			return nil
		},
		// exits CODE COMMAND [ARGS...] wants one exit code; ! exec takes any but 0.
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": func(ts *testscript.TestScript, _ bool, args []string) {
			want, err := strconv.Atoi(args[0])
			ts.Check(err)
			var exit *exec.ExitError
			if err = ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) || exit.ExitCode() != want {
				ts.Fatalf("exits %d: got %v", want, err)
			}
		}},
	})
}
