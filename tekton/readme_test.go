package tekton

import (
	"os"
	"slices"
	"strings"
	"testing"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/paths"
)

// TestReadmeRun: the PipelineRun to copy is let in, is valid, and gives the Pipeline all
// that it asks for, and nothing that it doesn't know.
func TestReadmeRun(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("there is no example")
	}
	text = strings.ReplaceAll(text, "registry.example.com/paths/tekton@sha256:…", bundleRef)
	run := &pipeline.PipelineRun{}
	if err := yaml.UnmarshalStrict([]byte(text), run); err != nil {
		t.Fatal(err)
	}
	if run.Namespace != BuildPrefix+exampleTenant {
		t.Errorf("namespace %s", run.Namespace)
	}
	run.Name = run.GenerateName + "x7k2p" // as the API server does
	if err := validate(asObject{run}); err != nil {
		t.Error(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	if got := refusal(t, "paths-build-runs", map[string]any{
		"object": object, "request": map[string]any{"operation": "CREATE"}, "params": map[string]any{"data": map[string]any{TrustPipelines: bundleRef + "\n"}},
	}); got != "" {
		t.Errorf("it is refused: %s", got)
	}
	p, err := pathPipeline(paths.Microservice(), Committed())
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	for _, in := range run.Spec.Params {
		given = append(given, in.Name)
	}
	for _, s := range p.Spec.Params {
		if s.Default == nil && !slices.Contains(given, s.Name) {
			t.Errorf("it lacks %s", s.Name)
		}
		given = slices.DeleteFunc(given, func(n string) bool { return n == s.Name })
	}
	if len(given) > 0 {
		t.Errorf("the Pipeline doesn't know %v", given)
	}
}

type asObject struct{ *pipeline.PipelineRun }

func (o asObject) GetName() string { return o.Name }
