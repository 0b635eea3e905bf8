package tekton

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/catalog"
)

func files(t *testing.T) map[string][]byte {
	t.Helper()
	all, err := Files(Committed())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestUpToDate fails when what is committed is not what the catalog says.
func TestUpToDate(t *testing.T) {
	found, err := Check(".", files(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Errorf("%s; run: make gen", f)
	}
}

func TestFilesAreDeterministic(t *testing.T) {
	if d := cmp.Diff(files(t), files(t)); d != "" {
		t.Error(d)
	}
}

// TestCommittedObjects reads what is committed as strictly as Tekton does, and asks
// Tekton about it.
func TestCommittedObjects(t *testing.T) {
	want := 2*len(catalog.Steps()) + len(catalog.Paths()) + len([]string{AttestTask, VerifyTask, PromoteTask})
	got := 0
	for name := range files(t) {
		kind, _, _ := cutFolder(name)
		var o Object
		switch kind {
		case "task":
			o = &pipeline.Task{}
		case "pipeline":
			o = &pipeline.Pipeline{}
		case "stepaction":
			o = &v1beta1.StepAction{}
		default:
			continue
		}
		got++
		raw, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := yaml.UnmarshalStrict(raw, o); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := validate(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got != want {
		t.Errorf("%d objects are generated, want %d", got, want)
	}
}

func TestWriteAndCheck(t *testing.T) {
	dir, all := t.TempDir(), files(t)
	if _, err := Write(dir, all); err != nil {
		t.Fatal(err)
	}
	if again, err := Write(dir, all); err != nil || len(again) > 0 {
		t.Errorf("a second time it writes %v, %v", again, err)
	}
	old := filepath.Join(dir, "task", "old")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"old.yaml": edit + "kind: Task\n", "mine.yaml": "kind: Task\n"} {
		if err := os.WriteFile(filepath.Join(old, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stale := filepath.Join(dir, "task", "scan", "scan.yaml")
	if err := os.WriteFile(stale, []byte(edit), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "task", "sbom", "sbom.yaml")); err != nil {
		t.Fatal(err)
	}
	found, err := Check(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"task/old/old.yaml is generated no more", "task/sbom/sbom.yaml is missing", "task/scan/scan.yaml is stale"}
	if d := cmp.Diff(want, found); d != "" {
		t.Error(d)
	}
	if _, err := Write(dir, all); err != nil {
		t.Fatal(err)
	}
	if found, err = Check(dir, all); err != nil || len(found) > 0 {
		t.Errorf("after writing: %v, %v", found, err)
	}
	if _, err := os.Stat(filepath.Join(old, "mine.yaml")); err != nil {
		t.Errorf("a file that nobody generated is gone: %v", err)
	}
}

func TestImagesAreByDigest(t *testing.T) {
	for image, ok := range map[string]bool{
		Committed().Tool: true,
		"registry.example.com:5000/team/pathctl@" + zeros: true,
		"registry.example.com/team/pathctl:v1":            false,
		"registry.example.com/team/pathctl:v1@" + zeros:   false,
		"pathctl@" + zeros:                                false,
		"":                                                false,
		"registry.example.com/team/pathctl@sha256:abc":    false,
	} {
		for _, set := range []Settings{{Tool: image, Go: Committed().Go}, {Tool: Committed().Tool, Go: image}} {
			if _, err := Files(set); (err == nil) != ok {
				t.Errorf("%q: %v", image, err)
			}
		}
	}
}

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
