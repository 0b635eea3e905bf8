package tekton

import (
	"strings"
	"time"

	pipeline "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nobody is the user of every container; files between containers are its own.
const nobody = 65532

// home is pathctl's folder, in all containers but the fetcher's.
const home = "/paths"

// registryFolder has Docker's config.json, if the secret with it exists.
const registryFolder = "/run/secrets/registry"

// stepVersion is the annotation with the version of the catalog's step.
const stepVersion = "pavedpaths.dev/step-version"

// meta is what Artifact Hub and people read of an object.
func meta(name, display string, tags ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			"app.kubernetes.io/version": Version,
			"app.kubernetes.io/part-of": "paved-paths",
		},
		Annotations: map[string]string{
			"tekton.dev/displayName":          display,
			"tekton.dev/pipelines.minVersion": "1.12.0",
			"tekton.dev/categories":           "Security",
			"tekton.dev/tags":                 strings.Join(append([]string{"supply-chain", "slsa"}, tags...), ", "),
			"tekton.dev/platforms":            "linux/amd64,linux/arm64",
			"artifacthub.io/category":         "security",
			"artifacthub.io/license":          "Apache-2.0",
		},
	}
}

func task(name, display, tag, help string) *pipeline.Task {
	return &pipeline.Task{
		TypeMeta:   metav1.TypeMeta{APIVersion: pipeline.SchemeGroupVersion.String(), Kind: "Task"},
		ObjectMeta: meta(name, display, tag),
		Spec:       pipeline.TaskSpec{Description: help},
	}
}

// run completes a step that runs pathctl, or what it has as its command.
func run(image string, s pipeline.Step, size corev1.ResourceRequirements, limit time.Duration) pipeline.Step {
	s.Image = image
	if len(s.Command) == 0 {
		s.Command = []string{pathctl}
	}
	s.Env = append(environment(home, "/tmp"), s.Env...)
	s.SecurityContext = restricted()
	s.ComputeResources = size
	s.Timeout = &metav1.Duration{Duration: limit}
	return s
}

// own gives every step a home and a folder for temporary files that no other step can
// see.
func own(t *pipeline.TaskSpec, set Settings) {
	for i := range t.Steps {
		s := &t.Steps[i]
		if set.Connect != "" {
			s.Env = append(s.Env, corev1.EnvVar{Name: "PATHS_CONNECT", Value: set.Connect})
		}
		t.Volumes = append(t.Volumes, emptyDir("home-"+s.Name), emptyDir("tmp-"+s.Name))
		s.VolumeMounts = append([]corev1.VolumeMount{write("home-"+s.Name, home), write("tmp-"+s.Name, "/tmp")}, s.VolumeMounts...)
	}
}

func environment(home, tmp string) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "PATHS_HOST", Value: "tekton"},
		{Name: "PATHS_HOME", Value: home},
		{Name: "HOME", Value: home},
		{Name: "TMPDIR", Value: tmp},
		{Name: "NO_COLOR", Value: "1"},
	}
}

// restricted is what Pod Security's profile of that name asks for, and a root folder
// that can't be written.
func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsNonRoot:             new(true),
		RunAsUser:                new(int64(nobody)),
		RunAsGroup:               new(int64(nobody)),
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func small() corev1.ResourceRequirements { return requests("50m", "128Mi") }

func large() corev1.ResourceRequirements { return requests("500m", "1Gi") }

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// credentials is a secret of type kubernetes.io/dockerconfigjson, NAME-credentials. A
// registry may do without, so the secret may be missing.
func credentials(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: name + "-credentials", Optional: new(true), DefaultMode: new(int32(0o444)),
		Items: []corev1.KeyToPath{{Key: corev1.DockerConfigJsonKey, Path: "config.json"}},
	}}}
}

func read(volume, at string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: at, ReadOnly: true}
}

func write(volume, at string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: volume, MountPath: at}
}

func title(name string) string {
	name = strings.ReplaceAll(name, "-", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}
