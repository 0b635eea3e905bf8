package tekton

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func cutFolder(name string) (folder, rest string, ok bool) { return strings.Cut(name, "/") }

// specs are the task specs of all objects, those inside of pipelines included.
func specs(t *testing.T) map[string]*pipeline.TaskSpec {
	t.Helper()
	objects, err := Objects(Committed())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*pipeline.TaskSpec{}
	for name, o := range objects {
		switch o := o.(type) {
		case *pipeline.Task:
			found[name] = &o.Spec
		case *pipeline.Pipeline:
			for i := range o.Spec.Tasks {
				found[name+" "+o.Spec.Tasks[i].Name] = &o.Spec.Tasks[i].TaskSpec.TaskSpec
			}
		case *v1beta1.StepAction:
			s := o.Spec.ToStep()
			found[name] = &pipeline.TaskSpec{Steps: []pipeline.Step{*s}}
		}
	}
	return found
}

// TestRestricted checks each container against Pod Security's profile "restricted",
// and against what we ask for beyond it.
func TestRestricted(t *testing.T) {
	for name, spec := range specs(t) {
		action := strings.HasPrefix(name, "stepaction/")
		if len(spec.Sidecars) > 0 || spec.StepTemplate != nil {
			t.Errorf("%s: has sidecars or a template", name)
		}
		for _, s := range spec.Steps {
			at := name + " " + s.Name
			want := &corev1.SecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), RunAsGroup: new(int64(65532)),
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			}
			if d := cmp.Diff(want, s.SecurityContext); d != "" {
				t.Errorf("%s: %s", at, d)
			}
			if !imageForm.MatchString(s.Image) {
				t.Errorf("%s: image %s is not by digest", at, s.Image)
			}
			if s.Script != "" || s.OnError != "" || s.StdoutConfig != nil || len(s.Workspaces) > 0 || len(s.VolumeDevices) > 0 || len(s.EnvFrom) > 0 {
				t.Errorf("%s: has a script, or what else no step has", at)
			}
			for _, e := range s.Env {
				if e.ValueFrom != nil {
					t.Errorf("%s: variable %s comes from elsewhere; secrets are files", at, e.Name)
				}
			}
			if action {
				continue // its Task says so
			}
			if s.Timeout == nil || s.Timeout.Duration <= 0 {
				t.Errorf("%s: has no time limit", at)
			}
			for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if _, ok := s.ComputeResources.Requests[r]; !ok {
					t.Errorf("%s: requests no %s", at, r)
				}
			}
		}
		for _, v := range spec.Volumes {
			ok := v.EmptyDir != nil || v.Secret != nil || v.ConfigMap != nil || v.Projected != nil
			if !ok {
				t.Errorf("%s: volume %s is none that the profile lets in", name, v.Name)
			}
			for _, s := range spec.Steps {
				for _, m := range s.VolumeMounts {
					if m.Name == v.Name && v.EmptyDir == nil && !m.ReadOnly {
						t.Errorf("%s %s: %s can be written", name, s.Name, m.MountPath)
					}
				}
			}
		}
	}
}

// TestVariables checks where Tekton may put text that others chose: in arguments and
// environment variables, and never where a program or a flag's name is read.
func TestVariables(t *testing.T) {
	variable := regexp.MustCompile(`\$\([^)]*\)`)
	for name, spec := range specs(t) {
		for _, s := range spec.Steps {
			for i, a := range s.Args {
				at := fmt.Sprintf("%s %s: argument %q", name, s.Name, a)
				v := variable.FindString(a)
				if strings.Contains(v, "[*]") {
					t.Errorf("%s: elements of an array can be flags", at)
				}
				own := regexp.MustCompile(`^(--[a-z-]+=|/)`).MatchString(a) || slices.Contains(s.Args[:i], "--")
				if v != "" && !own {
					t.Errorf("%s: could be a flag", at)
				}
			}
			s.Args, s.Env = nil, nil
			if strings.HasPrefix(name, "stepaction/") {
				s.VolumeMounts = nil // Tekton wants a parameter there
			}
			raw, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if v := variable.Find(raw); v != nil {
				t.Errorf("%s %s: %s stands outside of args and env", name, s.Name, v)
			}
		}
		raw, err := json.Marshal(spec.Volumes)
		if err != nil {
			t.Fatal(err)
		}
		if v := variable.Find(raw); v != nil {
			t.Errorf("%s: %s stands in a volume", name, v)
		}
	}
}

// TestPipelineIsOneTask: whoever signs reads one pod, run once.
func TestPipelineIsOneTask(t *testing.T) {
	for _, p := range catalog.Paths() {
		o, err := pathPipeline(p, Committed())
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Spec.Tasks) != 1 || len(o.Spec.Finally) > 0 || len(o.Spec.Workspaces) > 0 {
			t.Fatalf("%s: want one task, and nothing beside", p.Name)
		}
		pt := o.Spec.Tasks[0]
		if pt.Retries != 0 || pt.Timeout == nil || pt.TaskRef != nil || len(pt.When) > 0 || pt.OnError != "" || pt.Matrix != nil {
			t.Errorf("%s: its task is retried, has no time limit, or may not run", p.Name)
		}
		if pt.Timeout != nil && pt.Timeout.Duration <= time.Hour {
			t.Errorf("%s: its task may wait for %s only, whatever the run says", p.Name, pt.Timeout.Duration)
		}
		for _, in := range pt.Params {
			if in.Value.StringVal != "$(params."+in.Name+")" {
				t.Errorf("%s: parameter %s is %q", p.Name, in.Name, in.Value.StringVal)
			}
		}
		for _, f := range p.Inputs {
			i := slices.IndexFunc(o.Spec.Params, func(s pipeline.ParamSpec) bool { return s.Name == f.Name })
			if (i >= 0) == f.Local {
				t.Errorf("%s: input %s is missing, or names a place and is there", p.Name, f.Name)
			}
		}
	}
}

// TestWhoSeesWhat is the table of the producer's mounts. Where user code runs there is
// no credential, and what a zone made is written by that zone alone.
func TestWhoSeesWhat(t *testing.T) {
	o, err := pathPipeline(paths.Microservice(), Committed())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range o.Spec.Tasks[0].TaskSpec.Steps {
		for _, m := range s.VolumeMounts {
			mode := "rw"
			if m.ReadOnly {
				mode = "ro"
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", s.Name, mode, m.Name, m.MountPath))
		}
	}
	want := []string{
		"source rw home-source /paths", "source rw tmp-source /tmp", "source rw source /source", "source ro git /run/secrets/git",
		"fetch rw home-fetch /paths", "fetch rw tmp-fetch /tmp", "fetch ro source /source", "fetch rw tools /tools", "fetch rw fetched /zone/fetch",
		"build rw home-build /paths", "build rw tmp-build /tmp", "build ro tools /tools", "build ro fetched /zone/fetch", "build rw built /zone/build",
		"publish rw home-publish /paths", "publish rw tmp-publish /tmp", "publish ro fetched /zone/fetch", "publish ro built /zone/build", "publish rw published /zone/publish",
		"hand rw home-hand /paths", "hand rw tmp-hand /tmp", "hand ro fetched /zone/fetch", "hand ro built /zone/build", "hand ro published /zone/publish", "hand ro staging /run/secrets/registry",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestResultsAreSmall: a container's results have 4096 bytes, names and JSON included.
// A place has maxReference at most (the program of step source refuses longer ones),
// and a digest 71.
func TestResultsAreSmall(t *testing.T) {
	longest := 3 * (maxReference + len("@sha256:") + 64 + 256)
	for _, s := range catalog.Steps() {
		results, _ := digests(s.Spec())
		longest = max(longest, len(results)*(71+256))
	}
	if longest >= 4096 {
		t.Errorf("results may take %d bytes", longest)
	}
	for name, spec := range specs(t) {
		for _, r := range spec.Results {
			if len(spec.Steps) == 1 && (r.Name == ResultRefusal || r.Name == ResultSigned) {
				continue // of at most 1024 bytes, or a digest, and there is no other step to write it
			}
			if r.Type != pipeline.ResultsTypeString || r.Value == nil || !strings.HasPrefix(r.Value.StringVal, "$(steps.") {
				t.Errorf("%s: result %s is not one step's own", name, r.Name)
			}
		}
	}
}

// TestDigestsAreResults: what the next step asks for by digest is a result of the one
// before, as a StepAction and as a Task.
func TestDigestsAreResults(t *testing.T) {
	for _, s := range catalog.Steps() {
		spec := s.Spec()
		a, k := stepAction(spec, Committed()), stepTask(spec, Committed())
		for _, f := range spec.Outputs {
			named := func(r pipeline.StepResult) bool { return r.Name == f.Name }
			wrote := "--result=" + f.Name + "=$(step.results." + f.Name + ".path)"
			run := k.Spec.Steps[len(k.Spec.Steps)-2]
			task := slices.ContainsFunc(k.Spec.Results, func(r pipeline.TaskResult) bool {
				return r.Name == f.Name && r.Value.StringVal == "$(steps.run.results."+f.Name+")"
			})
			for what, got := range map[string]bool{
				"StepAction": slices.ContainsFunc(a.Spec.Results, named) && slices.Contains(a.Spec.Args, wrote),
				"Task":       slices.ContainsFunc(run.Results, named) && slices.Contains(run.Args, wrote) && task,
			} {
				if got != (f.Kind == step.KindDigest) {
					t.Errorf("%s %s: %s, a %s, is a result: %v", what, spec.Name, f.Name, f.Kind, got)
				}
			}
		}
	}
}

// TestParameters: every input of a step is a parameter, or a folder, or a secret.
func TestParameters(t *testing.T) {
	for _, s := range catalog.Steps() {
		spec := s.Spec()
		a, k := stepAction(spec, Committed()), stepTask(spec, Committed())
		for _, f := range spec.Inputs {
			if !slices.Contains(a.Spec.Args, "--"+step.Flag(f.Name)+"=$(params."+f.Name+")") {
				t.Errorf("StepAction %s does not pass %s", spec.Name, f.Name)
			}
			i := slices.IndexFunc(a.Spec.Params, func(p pipeline.ParamSpec) bool { return p.Name == f.Name })
			if i < 0 || a.Spec.Params[i].Default == nil != f.Required {
				t.Errorf("StepAction %s: parameter %s is missing, or required where it is not", spec.Name, f.Name)
			}
			run := k.Spec.Steps[len(k.Spec.Steps)-2]
			given := slices.ContainsFunc(run.Args, func(a string) bool { return strings.HasPrefix(a, "--"+step.Flag(f.Name)+"=") })
			optional := !f.Required && (f.Kind == step.KindDir || f.Kind == step.KindFile)
			if given == optional {
				t.Errorf("Task %s: passes %s: %v", spec.Name, f.Name, given)
			}
		}
	}
}

// TestSecret: no step of the catalog has a secret today; what would be made of one is
// a file from a volume, and no parameter.
func TestSecret(t *testing.T) {
	s := step.Spec{Meta: step.Meta{Name: "push", Zone: step.ZoneDeploy, Summary: "Pushes."}, Inputs: []step.Field{{Name: "deployKey", Kind: step.KindSecret, Help: "the key"}}}
	k := stepTask(s, Committed())
	if err := validate(k); err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.Marshal(k.Spec.Steps[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--deploy-key-file=/run/secrets/deploy-key/deployKey", "mountPath: /run/secrets/deploy-key"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in\n%s", want, raw)
		}
	}
	if slices.ContainsFunc(k.Spec.Params, func(p pipeline.ParamSpec) bool { return strings.Contains(p.Name, "Key") }) {
		t.Error("the secret is a parameter")
	}
	a := stepAction(s, Committed())
	if err := validate(a); err != nil {
		t.Fatal(err)
	}
	if len(a.Spec.VolumeMounts) != 1 || !a.Spec.VolumeMounts[0].ReadOnly {
		t.Error("the StepAction mounts no secret, or not to read only")
	}
}

// TestSigners: who signs has its own Task and token; the API server's is for the attester
// alone, and no container has a token that it didn't mount.
func TestSigners(t *testing.T) {
	objects, err := Objects(Committed())
	if err != nil {
		t.Fatal(err)
	}
	for name, asks := range map[string]bool{AttestTask: true, VerifyTask: false, PromoteTask: false} {
		o, ok := objects["task/"+name+"/"+name+".yaml"].(*pipeline.Task)
		if !ok {
			t.Fatalf("there is no Task %s", name)
		}
		if o.Namespace != SigningNamespace || len(o.Spec.Steps) != 1 {
			t.Errorf("%s: in namespace %q, with %d steps", name, o.Namespace, len(o.Spec.Steps))
		}
		tokens := map[string]int64{}
		for _, v := range o.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil {
					tokens[s.ServiceAccountToken.Audience] = *s.ServiceAccountToken.ExpirationSeconds
				}
			}
		}
		if _, ok := tokens[""]; ok != asks || tokens[Audience] != 600 || len(tokens) > 2 {
			t.Errorf("%s: its tokens are %v", name, tokens)
		}
	}
}

// TestControllerParameters: what the controller tells is what the Tasks ask for. Others
// have a default.
func TestControllerParameters(t *testing.T) {
	told := []string{"run-namespace", "run-name", "run-uid", "image-digest", "destination"}
	for _, k := range []*pipeline.Task{attestTask(catalog.Paths(), Committed()), verifyTask(Committed())} {
		for _, p := range k.Spec.Params {
			if p.Default == nil && !slices.Contains(told, p.Name) {
				t.Errorf("Task %s needs %s, which the controller doesn't tell", k.Name, p.Name)
			}
		}
	}
}
