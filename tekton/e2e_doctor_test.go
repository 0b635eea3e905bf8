//go:build e2e

package tekton_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestTektonDoctor: the cluster of these tests is set up as the README wants, but for a
// sandbox, and the doctor sees it when something is not, or may not be read.
func TestTektonDoctor(t *testing.T) {
	w := cluster(t)
	t.Setenv("PATH", filepath.Dir(env(t, "PATHS_KUBECTL"))+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("KUBECONFIG", env(t, "PATHS_KUBECONFIG"))
	doctor := func(more ...string) string {
		r := w.pathctl(t, append([]string{"doctor", "--cluster"}, more...)...)
		return r.stdout + r.stderr
	}
	said := doctor()
	t.Log(said)
	for _, name := range []string{"tekton", "flags", "namespaces", "admission", "tasks", "controller", "trust"} {
		if !strings.Contains(said, "\nok       "+name+" ") {
			t.Errorf("%s is not ok", name)
		}
	}
	if !strings.Contains(said, "\nwarning  sandbox ") {
		t.Error("no word of a sandbox")
	}
	flag := func(value string) {
		w.kubectl(t, "", "-n", "tekton-pipelines", "patch", "configmap", "feature-flags", "--type=merge", "-p", `{"data":{"disable-creds-init":"`+value+`"}}`)
	}
	flag("false")
	t.Cleanup(func() { flag("true") })
	if said := doctor(); !strings.Contains(said, "\nproblem  flags ") {
		t.Errorf("it sees no problem:\n%s", said)
	}
	flag("true")

	// Who may read nothing is told so, check by check, and never that all is well.
	raw, err := os.ReadFile(env(t, "PATHS_KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	for _, u := range config["users"].([]any) {
		u.(map[string]any)["user"].(map[string]any)["as"] = "dana"
	}
	if raw, err = yaml.Marshal(config); err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(t.TempDir(), "stranger.yaml")
	if err := os.WriteFile(stranger, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	said = doctor("--kubeconfig", stranger)
	t.Log(said)
	for _, name := range []string{"tekton", "flags", "namespaces", "admission", "tasks", "controller", "trust", "sandbox"} {
		if !strings.Contains(said, "\nproblem  "+name+" ") {
			t.Errorf("%s is no problem for who may not read it", name)
		}
	}
	if n := strings.Count(said, "the right to "); n != 8 {
		t.Errorf("%d rights are named, want 8", n)
	}
}
