package provenance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const (
	tektonIssuer = "https://cluster.example.com"
	tektonBundle = "registry.example.com/paths/tekton@sha256:3333333333333333333333333333333333333333333333333333333333333333"
)

func tektonTrust() provenance.TektonTrust {
	return provenance.TektonTrust{UID: "0f1e2d3c", Pipelines: []string{tektonBundle}}
}

// tektonFiles are the API server's answers.
func tektonFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"pipelinerun", "taskrun", "pod"} {
		raw, err := os.ReadFile(filepath.Join("testdata/tekton", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		if raw, err = json.Marshal(v); err != nil {
			t.Fatal(err)
		}
		files[name] = string(raw)
	}
	return files
}

func tektonRun(t *testing.T, files map[string]string) provenance.TektonRun {
	t.Helper()
	run := provenance.TektonRun{Issuer: tektonIssuer, Tasks: map[string]provenance.TaskRun{}, Pods: map[string]provenance.Pod{}}
	var task provenance.TaskRun
	var pod provenance.Pod
	for name, to := range map[string]any{"pipelinerun": &run.Pipeline, "taskrun": &task, "pod": &pod} {
		if err := json.Unmarshal([]byte(files[name]), to); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, files[name])
		}
	}
	run.Tasks["produce"], run.Pods[pod.Metadata.Name] = task, pod
	return run
}

func tektonRecord() provenance.Record {
	return provenance.Record{
		Path: "microservice", Version: "0.1.0", Invocation: "x",
		Inputs: map[string]json.RawMessage{
			"repository": json.RawMessage(`"https://git.example.com/acme/orders"`), "revision": json.RawMessage(`"` + strings.Repeat("a", 40) + `"`),
		},
		Facts: provenance.Workstation(provenance.Fence{Landlock: true}),
		Nodes: []provenance.NodeRecord{{ID: "build", Step: "build", Zone: step.ZoneBuild, Subject: step.Subject{Digest: step.Digest("sha256:" + strings.Repeat("5", 64))}}},
	}
}

// TestTektonRun reads a run that is as it should be.
func TestTektonRun(t *testing.T) {
	run := tektonRun(t, tektonFiles(t))
	if err := run.Check(tektonTrust()); err != nil {
		t.Fatal(err)
	}
	if got, want := run.Handover(), "registry.example.com/staging/orders@sha256:"+strings.Repeat("4", 64); got != want {
		t.Errorf("handover %q, want %q", got, want)
	}
	rec, err := run.Observed(tektonRecord(), tektonTrust())
	if err != nil {
		t.Fatal(err)
	}
	facts := map[string]string{}
	for _, f := range rec.Facts {
		if _, twice := facts[f.Name]; twice || f.How == "" {
			t.Errorf("fact %+v", f)
		}
		facts[f.Name] = f.Value
	}
	uri := "https://cluster.example.com/apis/tekton.dev/v1/namespaces/paths-build-orders/pipelineruns/orders-1?uid=0f1e2d3c"
	for name, want := range map[string]string{
		provenance.FactHost: provenance.HostTekton, provenance.FactSource: provenance.SourceControlPlane, provenance.FactEphemeral: "true",
		provenance.FactNode: provenance.NodeShared, provenance.FactCaches: provenance.CachesPrivate, provenance.FactFence: "landlock",
		provenance.FactProducer:       "https://kubernetes.io/namespaces/paths-build-orders/serviceaccounts/producer",
		provenance.FactProducerIssuer: tektonIssuer, provenance.FactRun: uri,
	} {
		if facts[name] != want {
			t.Errorf("%s is %q, want %q", name, facts[name], want)
		}
	}
	if rec.Invocation != uri {
		t.Errorf("invocation %q", rec.Invocation)
	}
	var materials []string
	for _, m := range rec.Platform {
		materials = append(materials, fmt.Sprintf("%s %s %.9s", m.Name, m.URI, m.Digest))
	}
	want := []string{"pipeline microservice oci://registry.example.com/paths/tekton sha256:33", "image of step fetch oci://registry.example.com/paths/go sha256:11", "image of step publish oci://registry.example.com/paths/pathctl sha256:22"}
	if !slices.Equal(materials, want) {
		t.Errorf("materials %q, want %q", materials, want)
	}
	for _, part := range []func(*provenance.Record){
		func(r *provenance.Record) { r.Facts, r.Platform = nil, r.Platform[:1] },
		func(r *provenance.Record) {
			r.Platform = nil
			r.Facts = []provenance.Fact{{Name: provenance.FactNode, Value: "x"}}
		},
	} {
		r := rec
		part(&r)
		if err := r.CheckReported(); err == nil {
			t.Errorf("such a record could be handed over: %+v", r)
		}
	}
	// What the platform used stands among the dependencies.
	b := sample()
	before := len(predicate(t, b).BuildDefinition.ResolvedDependencies)
	b.Record.Platform = rec.Platform
	deps := predicate(t, b).BuildDefinition.ResolvedDependencies
	i := slices.IndexFunc(deps, func(d evidence.ResourceDescriptor) bool { return d.Name == "image of step publish" })
	if len(deps) != before+3 || i < 0 || deps[i].URI != "oci://registry.example.com/paths/pathctl" || deps[i].Digest["sha256"] != strings.Repeat("2", 64) {
		t.Errorf("dependencies %+v", deps)
	}
	// So do the run's parameters, all of them, among those from outside.
	b.Record.Parameters = rec.Parameters
	if got := string(predicate(t, b).BuildDefinition.ExternalParameters["parameters"]); got != `{"revision":"`+strings.Repeat("a", 40)+`","url":"https://git.example.com/acme/orders.git"}` {
		t.Errorf("parameters %s", got)
	}
	b.Record.Platform[0].Digest = "sha256:x"
	if _, err := provenance.Predicate(b); err == nil {
		t.Error("a material without a digest went through")
	}
}

// TestTektonIsolation tells a sandbox from a shared kernel, and volumes that last.
func TestTektonIsolation(t *testing.T) {
	fact := func(files map[string]string, trust provenance.TektonTrust, name string) string {
		rec, err := tektonRun(t, files).Observed(tektonRecord(), trust)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range rec.Facts {
			if f.Name == name {
				return f.Value
			}
		}
		return ""
	}
	files, trust := tektonFiles(t), tektonTrust()
	files["pod"] = strings.Replace(files["pod"], `"nodeName"`, `"runtimeClassName":"gvisor","nodeName"`, 1)
	if got := fact(files, trust, provenance.FactNode); got != provenance.NodeShared {
		t.Errorf("a RuntimeClass that nobody calls a sandbox: %s", got)
	}
	trust.RuntimeClass = "gvisor"
	if got := fact(files, trust, provenance.FactNode); got != provenance.NodeSandbox {
		t.Errorf("a sandbox: %s", got)
	}
	files["pod"] = strings.Replace(files["pod"], "orders-1-produce-pod", "another-pod", 1)
	if got := fact(files, trust, provenance.FactNode); got != provenance.NodeShared {
		t.Errorf("a pod that is gone: %s", got)
	}
	if got := fact(tektonFiles(t), tektonTrust(), provenance.FactNode); got != provenance.NodeShared {
		t.Errorf("no RuntimeClass: %s", got)
	}
	for _, kind := range []string{"persistentVolumeClaim", "hostPath", "csi", "ephemeral"} {
		files := tektonFiles(t)
		files["pipelinerun"] = strings.Replace(files["pipelinerun"], `"emptyDir":{}`, `"`+kind+`":{}`, 1)
		if got := fact(files, trust, provenance.FactCaches); got != provenance.CachesShared {
			t.Errorf("volume %s: %s", kind, got)
		}
	}
}

// TestTektonForged refuses every run that is not what a trusted pipeline does.
func TestTektonForged(t *testing.T) {
	swap := func(file, old, with string) func(map[string]string) {
		return func(f map[string]string) {
			if !strings.Contains(f[file], old) {
				t.Fatalf("%s has no %s: %s", file, old, f[file])
			}
			f[file] = strings.Replace(f[file], old, with, 1)
		}
	}
	sha := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	for name, c := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"another run of that name":         {swap("pipelinerun", `"uid":"0f1e2d3c"`, `"uid":"ffffffff"`), "its name used again"},
		"not ended":                        {swap("pipelinerun", `"status":"True"`, `"status":"Unknown"`), "has not ended"},
		"no condition":                     {swap("pipelinerun", `"type":"Succeeded"`, `"type":"Ready"`), "has not ended"},
		"failed":                           {swap("pipelinerun", `"status":"True"`, `"status":"False"`), "did not succeed"},
		"a pipeline of its own":            {swap("pipelinerun", `"spec":{`, `"spec":{"pipelineSpec":{"tasks":[]},`), "does not come from a bundle"},
		"a pipeline by name":               {swap("pipelinerun", `"resolver":"bundles"`, `"resolver":""`), "does not come from a bundle"},
		"a pipeline from the cluster":      {swap("pipelinerun", `"resolver":"bundles"`, `"resolver":"cluster"`), "does not come from a bundle"},
		"no pipelineRef":                   {swap("pipelinerun", `"pipelineRef"`, `"pipelineRe"`), "does not come from a bundle"},
		"another bundle":                   {swap("pipelinerun", strings.Repeat("3", 64)+`"},"entryPoint"`, strings.Repeat("9", 64)+`"},"entryPoint"`), "not trusted to build"},
		"another repository":               {swap("pipelinerun", `"uri":"registry.example.com/paths/tekton"`, `"uri":"registry.example.com/evil/tekton"`), "not trusted to build"},
		"no refSource":                     {swap("pipelinerun", `"refSource"`, `"refSourc"`), "not trusted to build"},
		"changed tasks":                    {swap("pipelinerun", `"spec":{`, `"spec":{"taskRunSpecs":[{"pipelineTaskName":"produce"}],`), "taskRunSpecs"},
		"a workspace":                      {swap("pipelinerun", `"spec":{`, `"spec":{"workspaces":[{"name":"x"}],`), "workspaces"},
		"another account":                  {swap("pipelinerun", `"serviceAccountName":"producer"`, `"serviceAccountName":"default"`), "ServiceAccount"},
		"a pod template":                   {swap("pipelinerun", `"taskRunTemplate":{`, `"taskRunTemplate":{"podTemplate":{"hostNetwork":true},`), "pod template"},
		"run by another one":               {swap("pipelinerun", `"spec":{`, `"spec":{"managedBy":"evil",`), "not Tekton"},
		"a task at the end":                {swap("pipelinerun", `"pipelineSpec":{`, `"pipelineSpec":{"finally":[{"name":"x"}],`), "none at the end"},
		"no task":                          {swap("pipelinerun", `"pipelineSpec":{"tasks"`, `"pipelineSpec":{"task"`), "each once"},
		"a task that did not run":          {swap("pipelinerun", `{"tasks":[{"name":"produce"`, `{"tasks":[{"name":"other"`), "did not run"},
		"more children than tasks":         {swap("pipelinerun", `"childReferences":[`, `"childReferences":[{"kind":"TaskRun","name":"b"},`), "each once"},
		"a task from elsewhere":            {swap("pipelinerun", `"name":"produce","taskSpec"`, `"name":"produce","taskRef":{"name":"x"},"taskSpec"`), "taskRef"},
		"a tag for an image":               {swap("pipelinerun", "paths/pathctl@"+sha("2"), "paths/pathctl:latest"), "by a tag"},
		"the TaskRun of another run":       {swap("taskrun", `"uid":"0f1e2d3c"`, `"uid":"ffffffff"`), "is not the run's"},
		"a TaskRun that only names it":     {swap("taskrun", `"controller":true`, `"controller":false`), "is not the run's"},
		"a TaskRun of another kind's":      {swap("taskrun", `"kind":"PipelineRun"`, `"kind":"CronJob"`), "is not the run's"},
		"a TaskRun elsewhere":              {swap("taskrun", `"namespace":"paths-build-orders"`, `"namespace":"default"`), "is not the run's"},
		"a TaskRun of another account":     {swap("taskrun", `"serviceAccountName":"producer"`, `"serviceAccountName":"admin"`), "ServiceAccount"},
		"a TaskRun with a pod template":    {swap("taskrun", `"spec":{`, `"spec":{"podTemplate":{"hostNetwork":true},`), "pod template"},
		"a TaskRun with a workspace":       {swap("taskrun", `"spec":{`, `"spec":{"workspaces":[{"name":"x"}],`), "changes it"},
		"a TaskRun with step overrides":    {swap("taskrun", `"spec":{`, `"spec":{"stepSpecs":[{"name":"x"}],`), "changes it"},
		"a TaskRun with sidecar overrides": {swap("taskrun", `"spec":{`, `"spec":{"sidecarSpecs":[{"name":"x"}],`), "changes it"},
		"a TaskRun with breakpoints":       {swap("taskrun", `"spec":{`, `"spec":{"debug":{"breakpoints":{"onFailure":"enabled"}},`), "changes it"},
		"a TaskRun managed by another one": {swap("taskrun", `"spec":{`, `"spec":{"managedBy":"evil",`), "changes it"},
		"a TaskRun with a sidecar":         {swap("taskrun", `"status":{`, `"status":{"sidecars":[{"name":"x"}],`), "sidecars"},
		"a TaskRun that was retried":       {swap("taskrun", `"status":{`, `"status":{"retriesStatus":[{}],`), "more than once"},
		"a TaskRun that failed":            {swap("taskrun", `"status":"True"`, `"status":"False"`), "did not succeed"},
		"another image":                    {swap("taskrun", `"imageID":"registry.example.com/paths/go@`+sha("1"), `"imageID":"registry.example.com/paths/go@`+sha("9")), "ran image"},
		"no image id":                      {swap("taskrun", `"imageID":"registry.example.com/paths/go@`+sha("1")+`"`, `"imageID":""`), "ran image"},
		"another step":                     {swap("taskrun", `"name":"fetch"},{`, `"name":"evil"},{`), "ran"},
		"a step more":                      {swap("taskrun", `"steps":[{"container"`, `"steps":[{"name":"x"},{"container"`), "steps, and"},
		"another command":                  {swap("taskrun", `"taskSpec":{"params":[{"name":"revision","type":"string"}],"steps":[{"args":["zone","fetch","--revision=`+strings.Repeat("a", 40)+`"],"command":["pathctl"]`, `"taskSpec":{"params":[{"name":"revision","type":"string"}],"steps":[{"args":["zone"],"command":["sh"]`), "what ran is not what"},
		"privileges": {func(f map[string]string) {
			i := strings.LastIndex(f["taskrun"], `"runAsNonRoot":true`)
			f["taskrun"] = f["taskrun"][:i] + strings.Replace(f["taskrun"][i:], "true", "false", 1)
		}, "what ran is not what"},
	} {
		t.Run(name, func(t *testing.T) {
			files := tektonFiles(t)
			c.change(files)
			if err := tektonRun(t, files).Check(tektonTrust()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	run := tektonRun(t, tektonFiles(t))
	delete(run.Tasks, "produce")
	if err := run.Check(tektonTrust()); err == nil || !strings.Contains(err.Error(), "was deleted") {
		t.Errorf("a TaskRun that was deleted: %v", err)
	}
}

// TestTektonRecord refuses a record that is of something else than the run.
func TestTektonRecord(t *testing.T) {
	run := tektonRun(t, tektonFiles(t))
	for name, c := range map[string]struct {
		change func(*provenance.Record)
		want   string
	}{
		"another repository": {func(r *provenance.Record) { r.Inputs["repository"] = json.RawMessage(`"https://evil.example.com"`) }, "repository"},
		"another revision": {func(r *provenance.Record) {
			r.Inputs["revision"] = json.RawMessage(`"` + strings.Repeat("b", 40) + `"`)
		}, "revision"},
		"no revision":    {func(r *provenance.Record) { delete(r.Inputs, "revision") }, "revision"},
		"a dirty source": {func(r *provenance.Record) { r.Inputs["dirty"] = json.RawMessage("true") }, "differs from its commit"},
		"another image": {func(r *provenance.Record) {
			r.Nodes[0].Subject.Digest = "sha256:" + step.Digest(strings.Repeat("9", 64))
		}, "IMAGE_DIGEST"},
	} {
		rec := tektonRecord()
		c.change(&rec)
		if _, err := run.Observed(rec, tektonTrust()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	rec := tektonRecord()
	rec.Inputs["dirty"] = json.RawMessage("false")
	if _, err := run.Observed(rec, tektonTrust()); err != nil {
		t.Errorf("a clean source: %v", err)
	}
	files := tektonFiles(t)
	// What another step says is no result, and what two say neither.
	for _, forged := range [][2]string{
		{`"name":"publish","results"`, `"name":"other","results"`},
		{`{"container":"step-fetch"`, `{"container":"x","name":"publish","results":[{"name":"IMAGE_DIGEST","value":"x"}]},{"container":"step-fetch"`},
	} {
		files := tektonFiles(t)
		if files["taskrun"] = strings.Replace(files["taskrun"], forged[0], forged[1], 1); files["taskrun"] == tektonFiles(t)["taskrun"] {
			t.Fatalf("nothing is forged by %q", forged)
		}
		if _, err := tektonRun(t, files).Observed(tektonRecord(), tektonTrust()); err == nil || !strings.Contains(err.Error(), "IMAGE_DIGEST") {
			t.Errorf("%q: got %v", forged[1], err)
		}
	}
	files["pipelinerun"] = strings.Replace(files["pipelinerun"], `"name":"url"`, `"name":"source"`, 1)
	if _, err := tektonRun(t, files).Observed(tektonRecord(), tektonTrust()); err == nil {
		t.Error("a run that was given no repository is attested")
	}
}

// TestTektonTemplate lets the platform give every run a pod template, and nobody else.
func TestTektonTemplate(t *testing.T) {
	files, trust := tektonFiles(t), tektonTrust()
	files["pipelinerun"] = strings.Replace(files["pipelinerun"], `"taskRunTemplate":{`, `"taskRunTemplate":{"podTemplate":{"runtimeClassName":"gvisor"},`, 1)
	files["taskrun"] = strings.Replace(files["taskrun"], `"spec":{`, `"spec":{"podTemplate":{"runtimeClassName":"gvisor"},`, 1)
	trust.RuntimeClass = "gvisor"
	if err := tektonRun(t, files).Check(trust); err != nil {
		t.Errorf("the platform's own: %v", err)
	}
	more := tektonFiles(t)
	for _, name := range []string{"pipelinerun", "taskrun"} {
		more[name] = strings.Replace(files[name], `"runtimeClassName":"gvisor"`, `"runtimeClassName":"gvisor","hostNetwork":true`, 1)
	}
	if tektonRun(t, more).Check(trust) == nil {
		t.Error("the platform's own, and more")
	}
	trust.RuntimeClass = "kata"
	if tektonRun(t, files).Check(trust) == nil {
		t.Error("another one")
	}
	if tektonRun(t, tektonFiles(t)).Check(trust) == nil {
		t.Error("none, where the platform gives one")
	}
	for _, trust := range []provenance.TektonTrust{{Pipelines: []string{tektonBundle}}, {UID: "0f1e2d3c"}} {
		if tektonRun(t, tektonFiles(t)).Check(trust) == nil {
			t.Errorf("%+v", trust)
		}
	}
	run := tektonRun(t, tektonFiles(t))
	run.Issuer = ""
	if run.Check(tektonTrust()) == nil {
		t.Error("a cluster without a name")
	}
}
