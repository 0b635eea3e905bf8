package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript runs the command lines in testdata/script as users would. Each
// script has a home and a database of its own: $PATHS_HOME and $VULNDB. "remember NAME
// FILE" sets a variable to what a file holds.
func TestScript(t *testing.T) {
	db := smallDB(t)
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"remember": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], ts.ReadFile(args[1])) },
		},
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			shareTools(t, home)
			goroot := os.Getenv("GOROOT")
			e.Vars = append(e.Vars, "PATHS_HOME="+home, "VULNDB="+db, "HELLO="+filepath.Join(repo, "pathsdk/cmd/pathctl/testdata/hello"),
				"ADVISORIES="+filepath.Join(repo, "examples/vulndb"), "CI=true", "SOURCE_DATE_EPOCH=1760000000", "GOROOT="+goroot)
			return os.CopyFS(filepath.Join(e.WorkDir, "hello"), os.DirFS(filepath.Join(repo, "pathsdk/cmd/pathctl/testdata/hello")))
		},
	})
}
