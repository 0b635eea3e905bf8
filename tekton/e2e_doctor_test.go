//go:build e2e

package tekton_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTektonDoctor: the cluster of these tests is set up as the README wants, but for a
// sandbox, and the doctor sees it when something is not.
func TestTektonDoctor(t *testing.T) {
	w := cluster(t)
	t.Setenv("PATH", filepath.Dir(env(t, "PATHS_KUBECTL"))+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("KUBECONFIG", env(t, "PATHS_KUBECONFIG"))
	doctor := func() string {
		r := w.pathctl(t, "doctor", "--cluster")
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
}
