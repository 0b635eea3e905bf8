package tekton

import (
	"fmt"
	"strings"
	"time"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// pathctl is where every image has it.
const pathctl = "/usr/local/bin/pathctl"

// stepRun is the step of a Task that runs the step of the catalog.
const stepRun = "run"

// stepAction is a step of the catalog to be put into somebody's own Task: folders,
// files and secrets are places in its pod.
func stepAction(s step.Spec, set Settings) *v1beta1.StepAction {
	a := &v1beta1.StepAction{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.SchemeGroupVersion.String(), Kind: "StepAction"},
		ObjectMeta: meta(s.Name, title(s.Name)+" (Paved Paths)", string(s.Zone)),
	}
	a.Annotations[stepVersion] = s.Version
	spec := v1beta1.StepActionSpec{
		Description:     describe(s),
		Image:           set.image(s.Zone),
		Command:         []string{pathctl},
		Args:            []string{"step", s.Name, "--out=$(params.out)", "--record=$(params.out)/record.json"},
		SecurityContext: restricted(),
		// What a step mounts in any Task, and may write to.
		Env: environment("/tekton/home/paths", "/tekton/home"),
		Params: pipeline.ParamSpecs{text("out", "new folder for what the step makes, with its record and unsigned evidence in record.json",
			"/workspace/"+s.Name)},
	}
	for _, f := range s.Inputs {
		if f.Kind == step.KindSecret {
			spec.Params = append(spec.Params, text(f.Name+"-volume", "volume of the Task with the key "+f.Name+": "+f.Help))
			spec.VolumeMounts = append(spec.VolumeMounts, corev1.VolumeMount{Name: "$(params." + f.Name + "-volume)", MountPath: secretFolder(f), ReadOnly: true})
			spec.Args = append(spec.Args, secretFlag(f))
			continue
		}
		spec.Params = append(spec.Params, param(f))
		spec.Args = append(spec.Args, flag(f, "$(params."+f.Name+")"))
	}
	var flags []string
	spec.Results, flags = digests(s)
	spec.Args = append(spec.Args, flags...)
	a.Spec = spec
	return a
}

// stepTask is a step of the catalog as a Task by itself. Its folders and files come
// and go as artifacts of a registry, by digest. So do caches, which are where they are for
// the steps of one pod: each is a folder of the artifact by itself, for those alone who ask
// for it.
func stepTask(s step.Spec, set Settings) *pipeline.Task {
	folders := append([]string{s.Name}, s.Caches()...)
	help := ", in a folder called " + folders[0]
	if len(folders) > 1 {
		help = ", in folders called " + strings.Join(folders, ", ")
	}
	t := task(s.Name, title(s.Name)+" (Paved Paths)", string(s.Zone), describe(s)+
		" Folders and files come as artifacts by digest, and what the step makes leaves as one"+help+".")
	t.Annotations[stepVersion] = s.Version
	args := []string{"step", s.Name, "--out=/out/" + s.Name, "--record=/out/" + s.Name + "/record.json"}
	if len(folders) > 1 {
		args = append(args, "--caches=/out")
	}
	mounts := []corev1.VolumeMount{read("in", "/in"), write("out", "/out")}
	t.Spec.Volumes = []corev1.Volume{emptyDir("in"), emptyDir("out"), credentials("registry")}
	for _, f := range s.Inputs {
		switch {
		case f.Kind == step.KindSecret:
			name := "secret-" + step.Flag(f.Name)
			t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: s.Name + "-" + step.Flag(f.Name), DefaultMode: new(int32(0o444))},
			}})
			mounts = append(mounts, read(name, secretFolder(f)))
			args = append(args, secretFlag(f))
		case f.Kind != step.KindDir && f.Kind != step.KindFile:
			t.Spec.Params = append(t.Spec.Params, param(f))
			args = append(args, flag(f, "$(params."+f.Name+")"))
		case f.Required:
			// A cache is a folder of its own, by its name.
			var usual []string
			if f.Keyless {
				usual = []string{f.Name}
			}
			t.Spec.Params = append(t.Spec.Params,
				text(f.Name, f.Help+"; the artifact that holds it, REPOSITORY@DIGEST"),
				text(f.Name+"-path", "path of "+f.Name+" in its artifact, the folder's name first", usual...))
			t.Spec.Steps = append(t.Spec.Steps, run(set.Tool, pipeline.Step{
				Name: "take-" + strings.ToLower(step.Flag(f.Name)),
				// The end of flags: a parameter can't become one.
				Args:         []string{"handover", "pull", "--only=$(params." + f.Name + "-path)", "--out=/in/" + f.Name, "--", "$(params." + f.Name + ")"},
				VolumeMounts: []corev1.VolumeMount{write("in", "/in"), read("registry", registryFolder)},
				Env:          []corev1.EnvVar{{Name: "DOCKER_CONFIG", Value: registryFolder}},
			}, small(), 20*time.Minute))
			args = append(args, flag(f, "/in/"+f.Name+"/$(params."+f.Name+"-path)"))
		}
		// A folder that is optional is left out: nothing can be taken over by chance.
	}
	t.Spec.Params = append(t.Spec.Params, text("to", "repository for what the step makes, HOST/NAME"))
	results, flags := digests(s)
	args = append(args, flags...)
	t.Spec.Results = []pipeline.TaskResult{{
		Name: "artifact", Type: pipeline.ResultsTypeString, Description: "what the step made, REPOSITORY@DIGEST",
		Value: pipeline.NewStructuredValues("$(steps.hand.results.artifact)"),
	}}
	for _, r := range results {
		t.Spec.Results = append(t.Spec.Results, pipeline.TaskResult{
			Name: r.Name, Type: r.Type, Description: r.Description, Value: pipeline.NewStructuredValues("$(steps." + stepRun + ".results." + r.Name + ")"),
		})
	}
	hand := []string{"handover", "push"}
	for _, name := range folders {
		hand = append(hand, "/out/"+name)
	}
	size := small()
	if s.Zone == step.ZoneBuild {
		size = large()
	}
	t.Spec.Steps = append(t.Spec.Steps,
		run(set.image(s.Zone), pipeline.Step{Name: stepRun, Args: args, VolumeMounts: mounts, Results: results}, size, time.Hour),
		run(set.Tool, pipeline.Step{
			Name:         StepHand,
			Args:         append(hand, "--to=$(params.to)", "--digest-file=$(step.results.artifact.path)"),
			VolumeMounts: []corev1.VolumeMount{read("out", "/out"), read("registry", registryFolder)},
			Env:          []corev1.EnvVar{{Name: "DOCKER_CONFIG", Value: registryFolder}},
			Results:      []pipeline.StepResult{{Name: "artifact", Type: pipeline.ResultsTypeString, Description: "what the step made, REPOSITORY@DIGEST"}},
		}, small(), 20*time.Minute))
	own(&t.Spec, set)
	return t
}

// digests are the outputs of a step that the next one needs the words of, as results, and
// the flags that write them. Nothing but digests is in a result: what is larger goes by
// folder, or as an artifact.
func digests(s step.Spec) (results []pipeline.StepResult, flags []string) {
	for _, f := range s.Outputs {
		if f.Kind == step.KindDigest {
			results = append(results, pipeline.StepResult{Name: f.Name, Type: pipeline.ResultsTypeString, Description: f.Help})
			flags = append(flags, "--result="+f.Name+"=$(step.results."+f.Name+".path)")
		}
	}
	return results, flags
}

// image is the image for a zone: only where a service is fetched or compiled are
// there a compiler and a shell.
func (s Settings) image(z step.Zone) string {
	if z == step.ZoneFetch || z == step.ZoneBuild {
		return s.Go
	}
	return s.Tool
}

// param is an input as a parameter. All are text, lists joined by commas, as flags
// take them: a flag is one argument whatever the text is, while the elements of an
// array would each be an argument, and so could be flags themselves.
func param(f step.Field) pipeline.ParamSpec {
	help := f.Help
	switch f.Kind {
	case step.KindStrings:
		help += "; joined by commas"
	case step.KindBool:
		help += "; true or false"
	}
	// Tekton's own enum is behind a feature flag; pathctl checks the value.
	if len(f.Enum) > 0 {
		help += "; one of " + strings.Join(f.Enum, ", ")
	}
	if f.Deprecated != "" {
		help += "; deprecated: " + f.Deprecated
	}
	if f.Required {
		return text(f.Name, help)
	}
	return text(f.Name, help, f.Default)
}

func text(name, help string, def ...string) pipeline.ParamSpec {
	p := pipeline.ParamSpec{Name: name, Type: pipeline.ParamTypeString, Description: help}
	if len(def) > 0 {
		p.Default = pipeline.NewStructuredValues(def[0])
	}
	return p
}

func flag(f step.Field, value string) string { return "--" + step.Flag(f.Name) + "=" + value }

func secretFolder(f step.Field) string { return "/run/secrets/" + step.Flag(f.Name) }

// secretFlag names the file; what is in it is in no argument.
func secretFlag(f step.Field) string {
	return fmt.Sprintf("--%s-file=%s/%s", step.Flag(f.Name), secretFolder(f), f.Name)
}

func describe(s step.Spec) string {
	if s.Proves == "" {
		return s.Summary
	}
	return s.Summary + " Proves: " + s.Proves
}
