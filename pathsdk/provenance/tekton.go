package provenance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// TektonRun is what the API server of a Kubernetes cluster says of one PipelineRun of
// Tekton's (tekton.dev/v1), read by the attester itself. The JSON names are the API's;
// what is not asked for here is left out.
type TektonRun struct {
	// Issuer is the cluster's issuer of ServiceAccount tokens: its name to the world.
	Issuer string
	// Pipeline is the PipelineRun, Tasks are its TaskRuns by the task's name in the
	// pipeline, and Pods are the pods that ran those, as far as they are still there.
	Pipeline PipelineRun
	Tasks    map[string]TaskRun
	Pods     map[string]Pod
}

// ObjectMeta is what is read of every object's metadata.
type ObjectMeta struct {
	Name            string `json:"name"`
	Namespace       string `json:"namespace"`
	UID             string `json:"uid"`
	OwnerReferences []struct {
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		UID        string `json:"uid"`
		Controller bool   `json:"controller"`
	} `json:"ownerReferences"`
}

// NamedValue is a parameter or a result: a text, a list of texts or an object.
type NamedValue struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// Condition is the state of a run; type Succeeded tells how it ended.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// PipelineRun is a run of a pipeline.
type PipelineRun struct {
	Metadata ObjectMeta `json:"metadata"`
	Spec     struct {
		PipelineRef *struct {
			Resolver string `json:"resolver"`
		} `json:"pipelineRef"`
		PipelineSpec    json.RawMessage   `json:"pipelineSpec"`
		Params          []NamedValue      `json:"params"`
		TaskRunSpecs    []json.RawMessage `json:"taskRunSpecs"`
		Workspaces      []json.RawMessage `json:"workspaces"`
		TaskRunTemplate struct {
			ServiceAccountName string          `json:"serviceAccountName"`
			PodTemplate        json.RawMessage `json:"podTemplate"`
		} `json:"taskRunTemplate"`
		ManagedBy string `json:"managedBy"`
	} `json:"spec"`
	Status struct {
		Conditions   []Condition `json:"conditions"`
		PipelineSpec struct {
			Tasks []struct {
				Name     string          `json:"name"`
				TaskRef  json.RawMessage `json:"taskRef"`
				TaskSpec json.RawMessage `json:"taskSpec"`
			} `json:"tasks"`
			Finally []json.RawMessage `json:"finally"`
		} `json:"pipelineSpec"`
		ChildReferences []struct {
			Kind             string `json:"kind"`
			Name             string `json:"name"`
			PipelineTaskName string `json:"pipelineTaskName"`
		} `json:"childReferences"`
		Provenance struct {
			RefSource struct {
				URI        string            `json:"uri"`
				Digest     map[string]string `json:"digest"`
				EntryPoint string            `json:"entryPoint"`
			} `json:"refSource"`
		} `json:"provenance"`
	} `json:"status"`
}

// TaskRun is a run of one of its tasks, in one pod.
type TaskRun struct {
	Metadata ObjectMeta `json:"metadata"`
	Spec     struct {
		ServiceAccountName string            `json:"serviceAccountName"`
		Debug              json.RawMessage   `json:"debug"`
		PodTemplate        json.RawMessage   `json:"podTemplate"`
		Workspaces         []json.RawMessage `json:"workspaces"`
		StepSpecs          []json.RawMessage `json:"stepSpecs"`
		SidecarSpecs       []json.RawMessage `json:"sidecarSpecs"`
		ManagedBy          string            `json:"managedBy"`
	} `json:"spec"`
	Status struct {
		PodName    string      `json:"podName"`
		Conditions []Condition `json:"conditions"`
		Steps      []struct {
			Name    string       `json:"name"`
			ImageID string       `json:"imageID"`
			Results []NamedValue `json:"results"`
		} `json:"steps"`
		Sidecars      []json.RawMessage `json:"sidecars"`
		RetriesStatus []json.RawMessage `json:"retriesStatus"`
		TaskSpec      json.RawMessage   `json:"taskSpec"`
	} `json:"status"`
}

// Pod is a pod.
type Pod struct {
	Metadata ObjectMeta `json:"metadata"`
	Spec     struct {
		NodeName         string `json:"nodeName"`
		RuntimeClassName string `json:"runtimeClassName"`
	} `json:"spec"`
}

// TektonTrust is what the attester is told of runs by the platform team, never by a run.
type TektonTrust struct {
	// UID is that of the run which is meant: names are used again.
	UID string
	// Pipelines are the bundles that may build, REPOSITORY@DIGEST.
	Pipelines []string
	// RuntimeClass is the sandbox that the platform runs every build in, by its default
	// pod template: pods of this class share no kernel with others. Empty if it has none.
	RuntimeClass string
}

// What a trusted pipeline is called by. ProducerAccount is the ServiceAccount that builds
// run as. A result counts if it is of the step that is named for it: a step's results lie
// where no other step can write; those of a task, or of the run, could come from the step
// that runs user code.
const (
	ProducerAccount   = "producer"
	StepPublish       = "publish"
	StepHand          = "hand"
	ResultImageDigest = "IMAGE_DIGEST" // of StepPublish
	ResultHandover    = "handover"     // of StepHand
	ParamURL          = "url"
	ParamRevision     = "revision"
)

// Check refuses a run that did not end well, was not what a trusted pipeline says, or was
// given more than parameters. The first thing that does not fit is the error.
func (t TektonRun) Check(trust TektonTrust) error {
	p := t.Pipeline
	switch {
	case trust.UID == "" || p.Metadata.UID != trust.UID:
		return fmt.Errorf("the run %s has the UID %s, and another one was meant, %s: it was deleted, and its name used again", p.Metadata.Name, p.Metadata.UID, cmp.Or(trust.UID, "without a UID"))
	case t.Issuer == "":
		return errors.New("the cluster's issuer is not known")
	}
	if err := succeeded(p.Status.Conditions); err != nil {
		return fmt.Errorf("the run: %w", err)
	}
	if err := t.checkSpec(trust); err != nil {
		return fmt.Errorf("the run: %w", err)
	}
	tasks := p.Status.PipelineSpec.Tasks
	if len(tasks) == 0 || len(p.Status.PipelineSpec.Finally) > 0 || len(p.Status.ChildReferences) != len(tasks) || len(t.Tasks) > len(tasks) {
		return fmt.Errorf("the run: its pipeline has %d tasks and %d at the end, and %d ran: want each once, and none at the end",
			len(tasks), len(p.Status.PipelineSpec.Finally), len(p.Status.ChildReferences))
	}
	for _, child := range p.Status.ChildReferences {
		if _, ok := t.Tasks[child.PipelineTaskName]; !ok {
			return fmt.Errorf("its TaskRun %s, which shows how it was built, was deleted: start another run", child.Name)
		}
	}
	for _, task := range tasks {
		if err := t.checkTask(task.Name, task.TaskRef, task.TaskSpec, trust); err != nil {
			return fmt.Errorf("task %s: %w", task.Name, err)
		}
	}
	return nil
}

func succeeded(conditions []Condition) error {
	i := slices.IndexFunc(conditions, func(c Condition) bool { return c.Type == "Succeeded" })
	switch {
	case i < 0 || conditions[i].Status == "Unknown":
		return errors.New("it has not ended yet")
	case conditions[i].Status != "True":
		return fmt.Errorf("it did not succeed: %.100q, %.300q", conditions[i].Reason, conditions[i].Message)
	}
	return nil
}

// checkSpec holds the run against what a tenant may say: which trusted pipeline, and
// with which parameters.
func (t TektonRun) checkSpec(trust TektonTrust) error {
	s, source := t.Pipeline.Spec, t.Pipeline.Status.Provenance.RefSource
	bundle := source.URI + "@sha256:" + source.Digest["sha256"]
	switch {
	case given(s.PipelineSpec) || s.PipelineRef == nil || s.PipelineRef.Resolver != "bundles":
		return errors.New("its pipeline does not come from a bundle: want pipelineRef with the resolver bundles, and no pipelineSpec")
	case !slices.Contains(trust.Pipelines, bundle):
		return fmt.Errorf("its pipeline comes from %.300q, which is not trusted to build: the trusted ones are %s", bundle, cmp.Or(strings.Join(trust.Pipelines, ", "), "none"))
	case len(s.TaskRunSpecs) > 0:
		return errors.New("it changes tasks (taskRunSpecs)")
	case len(s.Workspaces) > 0:
		return errors.New("it gives workspaces, which another run could have")
	case s.TaskRunTemplate.ServiceAccountName != ProducerAccount:
		return fmt.Errorf("it runs as ServiceAccount %.100q, want %s", s.TaskRunTemplate.ServiceAccountName, ProducerAccount)
	case !trust.gave(s.TaskRunTemplate.PodTemplate):
		return errors.New("it has a pod template that the platform did not give it")
	case s.ManagedBy != "":
		return fmt.Errorf("%.100q says that it ran, not Tekton", s.ManagedBy)
	}
	return nil
}

// checkTask holds a TaskRun against its task in the pipeline.
func (t TektonRun) checkTask(name string, ref, spec json.RawMessage, trust TektonTrust) error {
	run, ok := t.Tasks[name]
	if !ok {
		return errors.New("it did not run")
	}
	owner := t.Pipeline.Metadata
	owned := false
	for _, o := range run.Metadata.OwnerReferences {
		owned = owned || o.Controller && o.Kind == "PipelineRun" && o.UID == owner.UID
	}
	s := run.Spec
	switch {
	case given(ref) || !given(spec):
		return errors.New("it is taken from elsewhere (taskRef): want it in the pipeline itself")
	case !owned || run.Metadata.Namespace != owner.Namespace:
		return fmt.Errorf("TaskRun %.100q is not the run's", run.Metadata.Name)
	case s.ServiceAccountName != ProducerAccount:
		return fmt.Errorf("it ran as ServiceAccount %.100q, want %s", s.ServiceAccountName, ProducerAccount)
	case !trust.gave(s.PodTemplate):
		return errors.New("it has a pod template that the platform did not give it")
	case given(s.Debug) || len(s.Workspaces) > 0 || len(s.StepSpecs) > 0 || len(s.SidecarSpecs) > 0 || s.ManagedBy != "":
		return errors.New("its TaskRun changes it (debug, workspaces, stepSpecs, sidecarSpecs or managedBy)")
	case len(run.Status.Sidecars) > 0:
		return errors.New("it had sidecars")
	case len(run.Status.RetriesStatus) > 0:
		return errors.New("it was tried more than once")
	}
	if err := succeeded(run.Status.Conditions); err != nil {
		return err
	}
	return sameTask(spec, run)
}

// taskSpec is what is compared of a task. What its steps do is in the images and the
// commands; arguments and environment are where parameters go.
type taskSpec struct {
	Steps        []map[string]any `json:"steps"`
	Volumes      any              `json:"volumes"`
	StepTemplate any              `json:"stepTemplate"`
	Sidecars     []any            `json:"sidecars"`
	Workspaces   []any            `json:"workspaces"`
}

// sameTask refuses a TaskRun whose steps are not those of the pipeline's task, image by
// image.
func sameTask(spec json.RawMessage, run TaskRun) error {
	var want, got taskSpec
	if err := json.Unmarshal(spec, &want); err != nil {
		return fmt.Errorf("the pipeline's task can't be read: %w", err)
	}
	if err := json.Unmarshal(run.Status.TaskSpec, &got); err != nil {
		return fmt.Errorf("what ran can't be read: %w", err)
	}
	if len(want.Sidecars) > 0 || len(want.Workspaces) > 0 {
		return errors.New("the pipeline's task has sidecars or workspaces")
	}
	if len(want.Steps) == 0 || len(run.Status.Steps) != len(want.Steps) {
		return fmt.Errorf("it has %d steps, and %d ran", len(want.Steps), len(run.Status.Steps))
	}
	for i, s := range run.Status.Steps {
		image, _ := want.Steps[i]["image"].(string)
		_, digest, ok := strings.Cut(image, "@")
		if !ok {
			return fmt.Errorf("step %d names its image by a tag, %.200q", i, image)
		}
		if name, _ := want.Steps[i]["name"].(string); s.Name != name {
			return fmt.Errorf("step %d is %.100q, and %.100q ran", i, name, s.Name)
		}
		if _, ran, _ := strings.Cut(s.ImageID, "@"); ran != digest {
			return fmt.Errorf("step %s ran image %.200q, want %s", s.Name, s.ImageID, digest)
		}
	}
	for _, steps := range [][]map[string]any{want.Steps, got.Steps} {
		for _, s := range steps {
			delete(s, "args")
			delete(s, "env")
		}
	}
	if !reflect.DeepEqual(want, got) {
		return errors.New("what ran is not what the pipeline says, but for arguments and environment")
	}
	return nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// gave reports whether a pod template is the platform's own: its sandbox, and no more.
func (t TektonTrust) gave(template json.RawMessage) bool {
	if !given(template) {
		return t.RuntimeClass == ""
	}
	var got map[string]any
	return json.Unmarshal(template, &got) == nil && len(got) == 1 && t.RuntimeClass != "" && got["runtimeClassName"] == t.RuntimeClass
}

// result is a result of the one step of that name, as a text; empty if there is none.
func (t TektonRun) result(step, name string) string {
	found := ""
	for _, task := range t.Tasks {
		for _, s := range task.Status.Steps {
			if s.Name != step {
				continue
			}
			for _, r := range s.Results {
				if r.Name != name {
					continue
				}
				if found != "" {
					return "" // two say so: neither counts
				}
				found = text(r.Value)
			}
		}
	}
	return found
}

// Param is a parameter that the run was given; nil if it was not.
func (t TektonRun) Param(name string) json.RawMessage {
	for _, p := range t.Pipeline.Spec.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return nil
}

// Handover is the artifact in which the run's zones handed over what they made:
// REPOSITORY@DIGEST.
func (t TektonRun) Handover() string { return t.result(StepHand, ResultHandover) }

// URI names the run, within the cluster and beyond.
func (t TektonRun) URI() string {
	m := t.Pipeline.Metadata
	return fmt.Sprintf("%s/apis/tekton.dev/v1/namespaces/%s/pipelineruns/%s?uid=%s", strings.TrimSuffix(t.Issuer, "/"), m.Namespace, m.Name, m.UID)
}

// producer is the name that certificates of the account have (Fulcio, OIDC issuers of
// type kubernetes).
func (t TektonRun) producer() string {
	return fmt.Sprintf("https://kubernetes.io/namespaces/%s/serviceaccounts/%s", t.Pipeline.Metadata.Namespace, ProducerAccount)
}

// Observed is the record of a path that ran as this run, which Check has passed, with
// what the API server says of it in the place of what the runner believes. It refuses a
// record of another image, source or revision than the run's.
func (t TektonRun) Observed(r Record, trust TektonTrust) (Record, error) {
	for name, want := range map[string]string{"repository": text(t.Param(ParamURL)), "revision": text(t.Param(ParamRevision))} {
		if got := text(r.Inputs[name]); want == "" || strings.TrimSuffix(got, ".git") != strings.TrimSuffix(want, ".git") {
			return r, fmt.Errorf("the record's %s is %.200q, the run's %.200q", name, got, want)
		}
	}
	if dirty := r.Inputs["dirty"]; given(dirty) && string(dirty) != "false" {
		return r, errors.New("the record says that the source differs from its commit")
	}
	image := t.result(StepPublish, ResultImageDigest)
	for _, n := range r.Nodes {
		if n.Step == "build" && string(n.Subject.Digest) != image {
			return r, fmt.Errorf("the record's image is %s, and the run's result %s says %.100q", n.Subject.Digest, ResultImageDigest, image)
		}
	}
	const how = "the cluster's API server, asked by the attester"
	node, nodeHow := t.isolation(trust)
	caches, cachesHow := t.caches()
	facts := []Fact{
		{FactHost, HostTekton, how + ": a PipelineRun of a trusted pipeline, as it stands in its bundle"},
		{FactSource, SourceControlPlane, how + ": it recorded what ran, from which images, with which parameters"},
		{FactEphemeral, "true", how + ": every task ran in a pod made for this run, without workspaces"},
		{FactNode, node, nodeHow},
		{FactCaches, caches, cachesHow},
		{FactProducer, t.producer(), how + ": the ServiceAccount of the run"},
		{FactProducerIssuer, t.Issuer, "it signs the cluster's ServiceAccount tokens"},
		{FactRun, t.URI(), how},
	}
	known := map[string]bool{}
	for _, f := range facts {
		known[f.Name] = true
	}
	for _, f := range r.Facts {
		if !known[f.Name] {
			facts = append(facts, f)
		}
	}
	r.Facts, r.Invocation, r.Platform = facts, t.URI(), t.materials()
	r.Parameters = map[string]json.RawMessage{}
	for _, p := range t.Pipeline.Spec.Params {
		r.Parameters[p.Name] = p.Value
	}
	return r, nil
}

// isolation says what the run's pods shared with other builds.
func (t TektonRun) isolation(trust TektonTrust) (value, how string) {
	for name, task := range t.Tasks {
		pod, ok := t.Pods[task.Status.PodName]
		if !ok {
			return NodeShared, "the pod of task " + name + " is gone: nobody knows where it ran"
		}
		if class := pod.Spec.RuntimeClassName; class == "" || class != trust.RuntimeClass {
			return NodeShared, fmt.Sprintf("the pod of task %s ran on node %.100q with its kernel, beside others (runtimeClassName %.100q)", name, pod.Spec.NodeName, pod.Spec.RuntimeClassName)
		}
	}
	return NodeSandbox, "every pod ran in a RuntimeClass that the platform calls a sandbox"
}

// caches says whether a pod mounted what another run could have written.
func (t TektonRun) caches() (value, how string) {
	for _, task := range t.Pipeline.Status.PipelineSpec.Tasks {
		var spec struct {
			Volumes []map[string]json.RawMessage `json:"volumes"`
		}
		if err := json.Unmarshal(task.TaskSpec, &spec); err != nil {
			return CachesShared, "the volumes of task " + task.Name + " can't be read"
		}
		for _, v := range spec.Volumes {
			for kind := range v {
				if !slices.Contains([]string{"name", "emptyDir", "secret", "configMap", "projected", "downwardAPI"}, kind) {
					return CachesShared, fmt.Sprintf("task %s mounts volume %s of kind %.100q, which may outlive its pod", task.Name, v["name"], kind)
				}
			}
		}
	}
	return CachesPrivate, "no task mounts a volume that outlives its pod"
}

// materials are the pipeline and the images of its steps.
func (t TektonRun) materials() []Material {
	source := t.Pipeline.Status.Provenance.RefSource
	out := []Material{{Name: "pipeline " + source.EntryPoint, URI: "oci://" + strings.TrimPrefix(source.URI, "oci://"), Digest: step.Digest("sha256:" + source.Digest["sha256"])}}
	seen := map[string]bool{}
	for _, task := range t.Pipeline.Status.PipelineSpec.Tasks {
		for _, s := range t.Tasks[task.Name].Status.Steps {
			image, digest, _ := strings.Cut(s.ImageID, "@")
			if !seen[digest] {
				seen[digest] = true
				out = append(out, Material{Name: "image of step " + s.Name, URI: "oci://" + image, Digest: step.Digest(digest)})
			}
		}
	}
	return out
}
