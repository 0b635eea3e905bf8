//go:build conformance

package provenance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/provenance"
)

// TestTektonChainsExamples reads the runs that Tekton Chains has as examples: each is
// read, and none is what a trusted pipeline does.
func TestTektonChainsExamples(t *testing.T) {
	data := os.Getenv("PATHS_TESTDATA")
	if data == "" {
		t.Fatal("PATHS_TESTDATA is not set\n  fix: set it to the folder that holds tekton-chains, the example runs of github.com/tektoncd/chains (pkg/chains/formats/slsa/testdata)")
	}
	names, err := filepath.Glob(filepath.Join(data, "tekton-chains", "*", "*.json"))
	if err != nil || len(names) < 20 {
		t.Fatalf("%d examples of runs in %s, %v", len(names), data, err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		run := provenance.TektonRun{Issuer: tektonIssuer, Tasks: map[string]provenance.TaskRun{}}
		var task provenance.TaskRun
		if strings.HasPrefix(filepath.Base(name), "taskrun") {
			if err := json.Unmarshal(raw, &task); err != nil || len(task.Status.Steps) == 0 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err := json.Unmarshal(raw, &run.Pipeline); err != nil || len(run.Pipeline.Status.Conditions) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		err = run.Check(provenance.TektonTrust{UID: run.Pipeline.Metadata.UID + "x", Pipelines: []string{tektonBundle}})
		if err == nil {
			t.Errorf("%s is attested", name)
		}
	}
}
