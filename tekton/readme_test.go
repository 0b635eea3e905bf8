package tekton

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/tekton/internal/world"
)

// TestReadmeRun: the PipelineRun to copy is let in, is valid, and gives the Pipeline all
// that it asks for, and nothing that it doesn't know.
func TestReadmeRun(t *testing.T) {
	text, err := world.PipelineRun(".", map[string]string{
		"BUNDLE": bundleRef, "URL": "https://git.example.com/acme/orders.git", "REVISION": strings.Repeat("0123456789", 4),
		"IMAGE": "registry.example.com/apps/example/orders", "STAGING": "registry.example.com/staging/acme",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(text, "}\n") {
		t.Errorf("it ends in %q", text[len(text)-10:])
	}
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

// TestReadmeSign: the trust root to copy is one, and has whoever signs in paths-signing;
// TaskRuns to copy give their Task all that it asks for, and nothing that it doesn't know.
func TestReadmeSign(t *testing.T) {
	root, err := world.Example(".", "## Sign", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attest.ParseTrust([]byte(root), func(string) ([]byte, error) {
		return os.ReadFile("../pathsdk/policy/export/testdata/trusted_root.json")
	}); err != nil {
		t.Error(err)
	}
	for _, account := range []string{"attester", "verifier", "promoter"} {
		if !strings.Contains(root, "/serviceaccounts/"+account+"\n") {
			t.Errorf("the trust root lacks %s", account)
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Sign\n")
	section, _, _ = strings.Cut(section, "\n## ")
	runs := strings.Split(section, "<<EOF\n")[1:]
	if len(runs) != 2 {
		t.Fatalf("%d TaskRuns, want attest and promote", len(runs))
	}
	for _, text := range runs {
		text, _, _ = strings.Cut(text, "\nEOF\n")
		run, task := &pipeline.TaskRun{}, &pipeline.Task{}
		if err := yaml.UnmarshalStrict([]byte(text), run); err != nil {
			t.Fatal(err)
		}
		name := run.Spec.TaskRef.Name
		b, err := os.ReadFile("task/" + name + "/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(b, task); err != nil {
			t.Fatal(err)
		}
		given(t, name, run.Spec.Params, task.Spec.Params, regexp.MustCompile("()$^"), nil)
	}
}

// TestReadmeSteps: the TaskRun to copy is valid, gives each step what it needs and knows,
// and reads results that there are.
func TestReadmeSteps(t *testing.T) {
	text, err := world.Example(".", "## Steps in Tasks of your own", nil)
	if err != nil {
		t.Fatal(err)
	}
	run := &pipeline.TaskRun{}
	if err := yaml.UnmarshalStrict([]byte(text), run); err != nil {
		t.Fatal(err)
	}
	run.Name = run.GenerateName + "x7k2p"
	run.SetDefaults(t.Context())
	if err := run.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	results := map[string]bool{}
	for _, s := range run.Spec.TaskSpec.Steps {
		if s.Ref == nil {
			continue
		}
		i := slices.IndexFunc(catalog.Steps(), func(c step.Step) bool { return c.Spec().Name == s.Ref.Name })
		if i < 0 {
			t.Fatalf("there is no step %s", s.Ref.Name)
		}
		a := stepAction(catalog.Steps()[i].Spec(), Committed())
		given(t, s.Name, s.Params, a.Spec.Params, regexp.MustCompile(`^\$\(steps\.(.*)\)$`), results)
		for _, r := range a.Spec.Results {
			results[s.Name+".results."+r.Name] = true
		}
	}
	for _, r := range run.Spec.TaskSpec.Results {
		if of := strings.TrimSuffix(strings.TrimPrefix(r.Value.StringVal, "$(steps."), ")"); !results[of] {
			t.Errorf("result %s: there is no %s", r.Name, of)
		}
	}
}

// TestReadmeTasks: the PipelineRun of Tasks to copy is valid, gives each Task what it needs and
// knows, and reads results that there are.
func TestReadmeTasks(t *testing.T) {
	text, err := world.Example(".", "## Steps as Tasks", nil)
	if err != nil {
		t.Fatal(err)
	}
	run := &pipeline.PipelineRun{}
	if err := yaml.UnmarshalStrict([]byte(text), run); err != nil {
		t.Fatal(err)
	}
	run.Name = run.GenerateName + "x7k2p"
	if err := validate(asObject{run}); err != nil {
		t.Error(err)
	}
	result := regexp.MustCompile(`^\$\(tasks\.(.*)\)$`)
	results := map[string]bool{}
	for _, k := range run.Spec.PipelineSpec.Tasks {
		spec := &pipeline.TaskSpec{}
		if k.TaskSpec != nil {
			spec = &k.TaskSpec.TaskSpec
		} else {
			i := slices.IndexFunc(catalog.Steps(), func(c step.Step) bool { return c.Spec().Name == k.TaskRef.Name })
			if i < 0 {
				t.Fatalf("there is no step %s", k.TaskRef.Name)
			}
			spec = &stepTask(catalog.Steps()[i].Spec(), Committed()).Spec
		}
		given(t, k.Name, k.Params, spec.Params, result, results)
		for _, r := range spec.Results {
			results[k.Name+".results."+r.Name] = true
		}
		if k.TaskSpec == nil {
			continue
		}
		hand := spec.Steps[len(spec.Steps)-1]
		if len(spec.Volumes) != 1 || spec.Volumes[0].Secret == nil || spec.Volumes[0].Secret.SecretName != credentials("registry").Secret.SecretName ||
			!slices.Contains(hand.VolumeMounts, read(spec.Volumes[0].Name, registryFolder)) ||
			!slices.Contains(spec.StepTemplate.Env, corev1.EnvVar{Name: "DOCKER_CONFIG", Value: registryFolder}) {
			t.Errorf("%s hands over without credentials of the registry", k.Name)
		}
	}
	for _, r := range run.Spec.PipelineSpec.Results {
		if of := result.FindStringSubmatch(r.Value.StringVal); of == nil || !results[of[1]] {
			t.Errorf("result %s: there is no %s", r.Name, r.Value.StringVal)
		}
	}
}

// given tells of parameters that are asked for and not given, or given and not known, and of
// values that are results of nothing before: result has a result's name in its group.
func given(t *testing.T, who string, params pipeline.Params, asked pipeline.ParamSpecs, result *regexp.Regexp, results map[string]bool) {
	t.Helper()
	names := map[string]bool{}
	for _, p := range params {
		names[p.Name] = true
		if of := result.FindStringSubmatch(p.Value.StringVal); of != nil && !results[of[1]] {
			t.Errorf("%s: %s: nothing before it has %s", who, p.Name, p.Value.StringVal)
		}
	}
	for _, p := range asked {
		if p.Default == nil && !names[p.Name] {
			t.Errorf("%s lacks %s", who, p.Name)
		}
		delete(names, p.Name)
	}
	if len(names) > 0 {
		t.Errorf("%s doesn't know %v", who, names)
	}
}

// TestCachesAreHandedOver: what a Task takes as a cache, another one's artifact has as a folder of
// that name.
func TestCachesAreHandedOver(t *testing.T) {
	made := map[string]bool{}
	for _, s := range catalog.Steps() {
		k := stepTask(s.Spec(), Committed())
		run, hand := k.Spec.Steps[len(k.Spec.Steps)-2], k.Spec.Steps[len(k.Spec.Steps)-1]
		for _, name := range s.Spec().Caches() {
			if slices.Contains(run.Args, "--caches=/out") && slices.Contains(hand.Args, "/out/"+name) {
				made[name] = true
			}
		}
	}
	asked := 0
	for _, s := range catalog.Steps() {
		for _, p := range stepTask(s.Spec(), Committed()).Spec.Params {
			name, isPath := strings.CutSuffix(p.Name, "-path")
			if f, ok := s.Spec().Input(name); isPath && ok && f.Keyless {
				if asked++; p.Default == nil || !made[p.Default.StringVal] {
					t.Errorf("Task %s: no artifact has %s where %+v says", s.Spec().Name, name, p.Default)
				}
			}
		}
	}
	if asked < 5 {
		t.Errorf("%d caches are asked for", asked)
	}
}

type asObject struct{ *pipeline.PipelineRun }

func (o asObject) GetName() string { return o.Name }
