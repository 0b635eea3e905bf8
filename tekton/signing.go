package tekton

import (
	"time"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pavedpaths/paths/pathsdk/paths"
)

// Audience is whom tokens are for that become Sigstore's certificates.
const Audience = "sigstore"

const (
	trustFolder    = "/etc/paths/trust"
	identityFolder = "/run/secrets/identity"
	identityToken  = identityFolder + "/token"
	// kubernetesFolder is where Kubernetes' own clients look.
	kubernetesFolder = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// attestTask signs, as paths-signing/attester, what one run made. It is told which run
// to look at, and reads everything about it from the API server: what was handed over,
// too.
func attestTask(list []paths.Path, set Settings) *pipeline.Task {
	t := task(AttestTask, "Attest a run (Paved Paths)", "signing",
		"Observes a run in the Kubernetes API, takes over what it handed over, examines the image anew, signs the evidence by the identity of its ServiceAccount, and publishes both. It never runs code of the service.")
	t.Namespace = SigningNamespace
	t.Spec.Params = pipeline.ParamSpecs{
		text("run-namespace", "namespace of the PipelineRun"),
		text("run-name", "name of the PipelineRun"),
		text("run-uid", "its UID"),
		text("destination", "where the image and its evidence go, HOST/NAME"),
	}
	args := []string{
		"attest", "--observe=$(params.run-namespace)/$(params.run-name)", "--observe-uid=$(params.run-uid)",
		"--platform=" + trustFolder, "--to=$(params.destination)", "--digest-file=$(results." + ResultSigned + ".path)",
		"--signing-config=" + trustFolder + "/signing_config.json", "--trusted-root=" + trustFolder + "/trusted_root.json",
	}
	seen := map[string]bool{}
	for _, p := range list {
		for _, f := range p.Inputs {
			if f.Local && !seen[f.Name] {
				seen[f.Name] = true
				in := param(f)
				if set.VulnDB != "" && f.Name == "vulnDB" {
					in.Default = pipeline.NewStructuredValues(set.VulnDB)
				}
				t.Spec.Params = append(t.Spec.Params, in)
				args = append(args, flag(f, "$(params."+f.Name+")"))
			}
		}
	}
	t.Spec.Volumes = []corev1.Volume{trust(), identity(), kubernetes(), credentials("registry")}
	t.Spec.Steps = []pipeline.Step{run(set.Tool, pipeline.Step{
		Name: AttestTask,
		Args: args,
		Env: []corev1.EnvVar{
			{Name: "DOCKER_CONFIG", Value: registryFolder},
			{Name: "PATHS_IDENTITY_TOKEN_FILE", Value: identityToken},
		},
		VolumeMounts: []corev1.VolumeMount{
			read("trust", trustFolder), read("identity", identityFolder), read("kubernetes", kubernetesFolder), read("registry", registryFolder),
		},
	}, requests("200m", "1Gi"), 30*time.Minute)}
	refuses(t)
	// The controller asks nobody else which image it was.
	t.Spec.Results = append(t.Spec.Results, pipeline.TaskResult{Name: ResultSigned, Type: pipeline.ResultsTypeString, Description: "digest of the image that was attested"})
	own(&t.Spec, set)
	return t
}

// verifyTask judges an image by its evidence and signs the verdict, as
// paths-signing/verifier. It can't see the run, and the Kubernetes API neither.
func verifyTask(set Settings) *pipeline.Task {
	t := task(VerifyTask, "Verify an image (Paved Paths)", "verification",
		"Verifies an image by its signed evidence, a trust root and a policy, and signs the verdict by the identity of its ServiceAccount.")
	return judge(t, set, "destination", []string{"--attest", "--svr"})
}

// promoteTask takes an image to another registry, as paths-signing/promoter, and judges
// it there before it signs that it did.
func promoteTask(set Settings) *pipeline.Task {
	t := task(PromoteTask, "Promote an image (Paved Paths)", "promotion",
		"Takes an image that passes a policy to another registry with all its evidence, judges it again there, and signs the release and the verdict by the identity of its ServiceAccount.")
	t.Spec.Params = pipeline.ParamSpecs{text("to", "where the image goes, HOST/NAME[:TAG]")}
	return judge(t, set, "from", []string{"--to=$(params.to)"})
}

// judge completes a Task whose one step judges an image and signs what it saw: place is
// the parameter that says where the image is.
func judge(t *pipeline.Task, set Settings, place string, flags []string) *pipeline.Task {
	t.Namespace = SigningNamespace
	t.Spec.Params = append(pipeline.ParamSpecs{
		text(place, "where the image and its evidence are, HOST/NAME"),
		text("image-digest", "its digest"),
		text("policy", "a shipped policy by name", "microservice"),
	}, t.Spec.Params...)
	args := append([]string{t.Name, "--policy=$(params.policy)", "--trust=" + trustFolder + "/trust.yaml"}, flags...)
	t.Spec.Volumes = []corev1.Volume{trust(), identity(), credentials("registry")}
	t.Spec.Steps = []pipeline.Step{run(set.Tool, pipeline.Step{
		Name: t.Name,
		Args: append(args,
			"--signing-config="+trustFolder+"/signing_config.json", "--trusted-root="+trustFolder+"/trusted_root.json",
			// The verifier signs by what it is told, never by what its environment has.
			"--identity-token="+identityToken,
			"--", "$(params."+place+")@$(params.image-digest)"),
		Env:          []corev1.EnvVar{{Name: "DOCKER_CONFIG", Value: registryFolder}},
		VolumeMounts: []corev1.VolumeMount{read("trust", trustFolder), read("identity", identityFolder), read("registry", registryFolder)},
	}, small(), 10*time.Minute)}
	refuses(t)
	own(&t.Spec, set)
	return t
}

// refuses lets a Task of one step say why it refuses, which its log tells nobody who may
// not read the signing namespace.
func refuses(t *pipeline.Task) {
	t.Spec.Results = []pipeline.TaskResult{{Name: ResultRefusal, Type: pipeline.ResultsTypeString, Description: "why it is refused, if it is"}}
	s := &t.Spec.Steps[0]
	s.Env = append(s.Env, corev1.EnvVar{Name: "PATHS_REFUSAL_FILE", Value: "$(results." + ResultRefusal + ".path)"})
}

// trust is the ConfigMap that says what is trusted.
func trust() corev1.Volume {
	return corev1.Volume{Name: "trust", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: TrustMap},
	}}}
}

// identity is a token of the pod's ServiceAccount that is good for Sigstore, for ten
// minutes, and for nothing else.
func identity() corev1.Volume { return projected("identity", tokenOf(Audience, 600)) }

// kubernetes is what a client of the API server needs. Pods get none by themselves
// here, so that a container has it only where it is mounted.
func kubernetes() corev1.Volume {
	return projected("kubernetes", tokenOf("", 3600),
		corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}})
}

func projected(name string, sources ...corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: sources, DefaultMode: new(int32(0o444)),
	}}}
}

func tokenOf(audience string, seconds int64) corev1.VolumeProjection {
	return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
		Audience: audience, ExpirationSeconds: &seconds, Path: "token",
	}}
}
