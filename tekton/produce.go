package tekton

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/provenance"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// maxReference bounds what a run may call a place, in bytes, so that results stay far
// below Tekton's 4096 bytes a container.
const maxReference = 512

// pathPipeline is a path of the catalog: one task, so one pod, with a container for
// each zone of the producer.
func pathPipeline(p paths.Path, set Settings) (*pipeline.Pipeline, error) {
	own := sourceParams()
	var inputs pipeline.ParamSpecs
	var flags []string
	for _, f := range p.Inputs {
		// What names a place is the attester's to say; a secret is no business of a
		// producer.
		if f.Local {
			continue
		}
		if f.Kind == step.KindSecret || slices.ContainsFunc(own, func(o pipeline.ParamSpec) bool { return o.Name == f.Name }) {
			return nil, fmt.Errorf("input %s: a path's pipeline can have no such parameter", f.Name)
		}
		in := param(f)
		in.Description += "; paths.yaml's when empty"
		if f.Default != "" {
			in.Description += ", or " + f.Default
		}
		in.Default = pipeline.NewStructuredValues("")
		inputs = append(inputs, in)
		flags = append(flags, flag(f, "$(params."+f.Name+")"))
	}
	t := produce(p, set, flags)
	t.Params = slices.Concat(own, inputs)
	embedded := &pipeline.EmbeddedTask{TaskSpec: t}
	embedded.Metadata.Labels = map[string]string{ZoneLabel: "build"}
	pt := pipeline.PipelineTask{
		Name: ProduceTask, DisplayName: "source, fetch, build, publish",
		// Work is limited by each step's time. A task's begins while it waits for room on a
		// node, which is the run's own to limit (timeouts.pipeline, or the cluster's default).
		TaskSpec: embedded, Timeout: &metav1.Duration{Duration: 24 * time.Hour},
	}
	for _, in := range t.Params {
		pt.Params = append(pt.Params, pipeline.Param{Name: in.Name, Value: *pipeline.NewStructuredValues("$(params." + in.Name + ")")})
	}
	out := &pipeline.Pipeline{
		TypeMeta:   metav1.TypeMeta{APIVersion: pipeline.SchemeGroupVersion.String(), Kind: "Pipeline"},
		ObjectMeta: meta(p.Name, title(p.Name)+" (Paved Paths)", "go", "build"),
		Spec: pipeline.PipelineSpec{
			Description: p.Summary + " This is the producer's part, in one pod without any identity; what it makes is attested and verified elsewhere.",
			Params:      t.Params, Tasks: []pipeline.PipelineTask{pt},
		},
	}
	out.Annotations["pavedpaths.dev/path-version"] = p.Version
	for _, r := range t.Results {
		out.Spec.Results = append(out.Spec.Results, pipeline.PipelineResult{
			Name: r.Name, Type: pipeline.ResultsTypeString, Description: r.Description,
			Value: *pipeline.NewStructuredValues("$(tasks." + ProduceTask + ".results." + r.Name + ")"),
		})
	}
	return out, nil
}

func sourceParams() pipeline.ParamSpecs {
	return pipeline.ParamSpecs{
		text(provenance.ParamURL, "the source's git repository, https://…, without credentials"),
		text(provenance.ParamRevision, "full hash of the commit to build"),
		text("subdirectory", "folder of the service in the repository; the repository itself when empty", ""),
		text("image", "where the image goes once it is attested, HOST/NAME[:TAG]"),
		text("staging", "repository for what is handed over to the attester, HOST/NAME"),
	}
}

// Folders of the zones: each a volume, which only its own zone may write.
func made(zone string) string { return "/zone/" + zone + "/" + zone }

func zoneVolume(zone string) string { return "/zone/" + zone }

// produce is the producer's task. No container of it has a ServiceAccount's token, and
// those that run or hold user code have no credential either.
func produce(p paths.Path, set Settings, flags []string) pipeline.TaskSpec {
	fetch, build, publish := StepFetch, StepBuild, StepPublish
	// The fetcher's home, with the module cache in it. It keeps its path from zone to zone,
	// and the zones after it have homes of their own: a folder made around a mount would be
	// root's.
	const tools = "/tools"
	from := func(zones ...string) (args []string) {
		for _, z := range zones {
			args = append(args, "--from="+made(z))
		}
		return args
	}
	t := pipeline.TaskSpec{
		Description: "Each step is a zone of its own: it sees what it mounts, and nothing else.",
		Volumes: []corev1.Volume{
			emptyDir("source"), emptyDir("tools"), emptyDir("fetched"), emptyDir("built"), emptyDir("published"),
			{Name: "git", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName: "git-credentials", Optional: new(true), DefaultMode: new(int32(0o444)),
			}}},
			credentials("staging"),
		},
		Steps: []pipeline.Step{
			source(set),
			run(set.Go, pipeline.Step{
				Name: fetch, DisplayName: "network, no user code",
				// A folder of the source's, so no parameter can be a flag.
				Env:          []corev1.EnvVar{{Name: "PATHS_HOME", Value: tools}},
				Args:         slices.Concat([]string{"zone", fetch, "/source/$(params.subdirectory)", "--path=" + p.Name, "--out=" + made(fetch)}, flags),
				VolumeMounts: []corev1.VolumeMount{read("source", "/source"), write("tools", tools), write("fetched", zoneVolume(fetch))},
			}, requests("100m", "256Mi"), 15*time.Minute),
			run(set.Go, pipeline.Step{
				Name: build, DisplayName: "user code, no credential",
				Args:         slices.Concat([]string{"zone", build}, from(fetch), []string{"--out=" + made(build)}),
				VolumeMounts: []corev1.VolumeMount{read("tools", tools), read("fetched", zoneVolume(fetch)), write("built", zoneVolume(build))},
			}, large(), 30*time.Minute),
			run(set.Tool, pipeline.Step{
				Name: publish, DisplayName: "image and claims by digest",
				Args:         slices.Concat([]string{"zone", publish}, from(fetch, build), []string{"--out=" + made(publish), "--digest-file=$(step.results." + ResultImageDigest + ".path)"}),
				VolumeMounts: []corev1.VolumeMount{read("fetched", zoneVolume(fetch)), read("built", zoneVolume(build)), write("published", zoneVolume(publish))},
			}, small(), 10*time.Minute),
			run(set.Tool, pipeline.Step{
				Name: StepHand, DisplayName: "push to staging",
				Args:         []string{"handover", "push", made(fetch), made(build), made(publish), "--to=$(params.staging)", "--digest-file=$(step.results." + ResultHandover + ".path)"},
				Env:          []corev1.EnvVar{{Name: "DOCKER_CONFIG", Value: registryFolder}},
				VolumeMounts: []corev1.VolumeMount{read("fetched", zoneVolume(fetch)), read("built", zoneVolume(build)), read("published", zoneVolume(publish)), read("staging", registryFolder)},
			}, small(), 10*time.Minute),
		},
	}
	for _, r := range []struct{ name, step, help string }{
		{ResultImageURL, StepSource, "where the image goes once it is attested"},
		{ResultImageDigest, publish, "digest of the image"},
		{ResultHandover, StepHand, "what the zones hand over, image included, REPOSITORY@DIGEST"},
	} {
		t.Results = append(t.Results, pipeline.TaskResult{
			Name: r.name, Type: pipeline.ResultsTypeString, Description: r.help,
			Value: pipeline.NewStructuredValues("$(steps." + r.step + ".results." + r.name + ")"),
		})
		for i := range t.Steps {
			if t.Steps[i].Name == r.step {
				t.Steps[i].Results = append(t.Steps[i].Results, pipeline.StepResult{Name: r.name, Type: pipeline.ResultsTypeString, Description: r.help})
			}
		}
	}
	own(&t, set)
	return t
}

// source gets a commit, and nothing that git would run on the way: no hook, no filter,
// no submodule, no protocol but https. Its program is constant; parameters are
// variables, which a shell doesn't read as program.
func source(set Settings) pipeline.Step {
	protocols, forms := "https", "https://*"
	if set.PlainGit {
		protocols, forms = "https:http", "https://*|http://*"
	}
	variable := func(name, v string) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: v} }
	env := []corev1.EnvVar{
		variable("URL", "$(params.url)"),
		variable("REVISION", "$(params.revision)"),
		variable("SUBDIRECTORY", "$(params.subdirectory)"),
		variable("IMAGE", "$(params.image)"),
		variable("STAGING", "$(params.staging)"),
		variable("RESULT", "$(step.results."+ResultImageURL+".path)"),
		variable("GIT_ALLOW_PROTOCOL", protocols),
		variable("GIT_TERMINAL_PROMPT", "0"),
		variable("GIT_CONFIG_NOSYSTEM", "1"),
		variable("GIT_CONFIG_GLOBAL", "/dev/null"),
	}
	env = append(env, gitConfig(
		// The volume belongs to root, and nobody but this container has written to it.
		"safe.directory", "*",
		"core.hooksPath", "/dev/null",
		"core.fsmonitor", "false",
		"core.attributesFile", "/dev/null",
		"fetch.recurseSubmodules", "false",
		"submodule.recurse", "false",
		"transfer.fsckObjects", "true",
		"gc.auto", "0",
		"maintenance.auto", "false",
		"init.defaultBranch", "main",
		// In the form of git-credential-store; only read, and only for its own host.
		"credential.helper", `!f() { if test "$1" = get && test -r /run/secrets/git/credentials; then git credential-store --file=/run/secrets/git/credentials get; fi; }; f`,
	)...)
	return run(set.Go, pipeline.Step{
		Name: StepSource, DisplayName: "git, at a commit",
		Command: []string{"/bin/sh", "-euc", strings.NewReplacer("FORMS", forms, "MAX", fmt.Sprint(maxReference)).Replace(sourceProgram)},
		Env:     env, WorkingDir: "/source",
		VolumeMounts: []corev1.VolumeMount{write("source", "/source"), read("git", "/run/secrets/git")},
	}, small(), 10*time.Minute)
}

// sourceProgram is for POSIX shells. What begins with a dollar and a parenthesis would
// be Tekton's or Kubernetes' to replace; there is none here.
const sourceProgram = `refuse() { echo "source: $1" >&2; exit 2; }
case "$REVISION" in *[!0-9a-f]*) refuse "revision is no commit: give its full hash" ;; esac
case "${#REVISION}" in
40) format=sha1 ;;
64) format=sha256 ;;
*) refuse "revision is no commit: give its full hash, 40 or 64 digits" ;;
esac
case "$URL" in FORMS) ;; *) refuse "url: give one that begins with https://" ;; esac
case "$URL" in *@*|*[[:space:]]*) refuse "url: credentials and spaces have no place there; see secret git-credentials" ;; esac
for name in "$IMAGE" "$STAGING"; do
  case "$name" in ''|*[!A-Za-z0-9._:/-]*) refuse "image, staging: give HOST/NAME" ;; esac
  test "${#name}" -le MAX || refuse "image, staging: longer than MAX bytes"
done
git init --quiet --template= --object-format="$format"
git config remote.origin.url "$URL"
git fetch --quiet --depth=1 --no-tags --no-recurse-submodules origin "$REVISION"
git checkout --quiet --detach "$REVISION"
# A folder of the commit: not a link, and not outside of it.
git ls-tree "$REVISION:$SUBDIRECTORY" >/dev/null || refuse "subdirectory: the commit has no such folder"
printf %s "$IMAGE" >"$RESULT"
`

// gitConfig are settings of git in its environment, where it takes those that a
// repository must not make.
func gitConfig(pairs ...string) []corev1.EnvVar {
	env := []corev1.EnvVar{{Name: "GIT_CONFIG_COUNT", Value: fmt.Sprint(len(pairs) / 2)}}
	for i := 0; i < len(pairs); i += 2 {
		env = append(env,
			corev1.EnvVar{Name: fmt.Sprintf("GIT_CONFIG_KEY_%d", i/2), Value: pairs[i]},
			corev1.EnvVar{Name: fmt.Sprintf("GIT_CONFIG_VALUE_%d", i/2), Value: pairs[i+1]})
	}
	return env
}
