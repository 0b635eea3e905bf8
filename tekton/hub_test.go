package tekton

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// TestArtifactHub checks what Artifact Hub asks of Tekton packages: KIND/NAME/NAME.yaml
// with a name, a description, a version of semver that is the same for all, and
// annotations of known values.
func TestArtifactHub(t *testing.T) {
	categories := []string{"Automation", "Build Tools", "CLI", "Cloud", "Code Quality", "Continuous Integration", "Deployment", "Developer Tools", "Git", "Image Build", "Integration & Delivery", "Kubernetes", "Messaging", "Monitoring", "Networking", "Openshift", "Publishing", "Security", "Storage", "Testing"}
	platform := regexp.MustCompile(`^linux/(amd64|arm64)$`)
	n := 0
	for name, raw := range files(t) {
		kind := strings.Split(name, "/")[0]
		if !slices.Contains([]string{"task", "pipeline", "stepaction"}, kind) {
			continue
		}
		n++
		var o struct {
			Metadata struct {
				Name                string
				Labels, Annotations map[string]string
			}
			Spec struct{ Description string }
		}
		if err := yaml.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		m := o.Metadata
		if want := path.Join(kind, m.Name, m.Name+".yaml"); name != want {
			t.Errorf("%s: Artifact Hub looks for it in %s", name, want)
		}
		if v := m.Labels["app.kubernetes.io/version"]; v != Version || !semver.IsValid("v"+v) {
			t.Errorf("%s: version %q", name, v)
		}
		if v := m.Annotations["tekton.dev/pipelines.minVersion"]; !semver.IsValid("v" + v) {
			t.Errorf("%s: least version of Tekton %q", name, v)
		}
		if o.Spec.Description == "" || m.Annotations["tekton.dev/displayName"] == "" || m.Annotations["tekton.dev/tags"] == "" {
			t.Errorf("%s: has no description, display name or tags", name)
		}
		if c := m.Annotations["tekton.dev/categories"]; !slices.Contains(categories, c) {
			t.Errorf("%s: category %q", name, c)
		}
		if c := m.Annotations["artifacthub.io/category"]; c != "security" {
			t.Errorf("%s: Artifact Hub's category %q", name, c)
		}
		if l := m.Annotations["artifacthub.io/license"]; l != "Apache-2.0" {
			t.Errorf("%s: licence %q", name, l)
		}
		for _, p := range strings.Split(m.Annotations["tekton.dev/platforms"], ",") {
			if !platform.MatchString(p) {
				t.Errorf("%s: platform %q", name, p)
			}
		}
	}
	if n == 0 {
		t.Error("there are no packages")
	}
}
