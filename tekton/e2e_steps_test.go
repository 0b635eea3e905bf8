//go:build e2e

package tekton_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTektonSteps runs the README's TaskRun of steps of the catalog, in a namespace that is
// nobody's zone and enforces the profile restricted.
func TestTektonSteps(t *testing.T) {
	w := cluster(t)
	namespace := fmt.Sprintf("team-%d", time.Now().Unix()) // the last one may still be going
	w.kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+", labels: {pod-security.kubernetes.io/enforce: restricted}}\n", "apply", "-f", "-")
	t.Cleanup(func() { w.kubectl(t, "", "delete", "namespace", namespace, "--wait=false") })
	actions, err := filepath.Glob(filepath.Join(w.Dir, "tekton", "stepaction", "*", "*.yaml"))
	if err != nil || len(actions) == 0 {
		t.Fatalf("StepActions: %v %v", actions, err)
	}
	w.kubectl(t, "", "-n", namespace, "apply", "-f", strings.Join(actions, ","))

	url, _ := w.repo(t, "steps", hello)
	text := example(t, "## Steps in Tasks of your own", [][2]string{
		{"registry.example.com/paths/pathctl-go@sha256:…", w.Go},
		{"https://git.example.com/acme/orders.git", url},
	})
	run := w.kubectl(t, text, "-n", namespace, "create", "-o", "jsonpath={.metadata.name}", "-f", "-")
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) {
		var r pipelineRun
		w.get(t, &r, "-n", namespace, "taskrun", run)
		if len(r.Status.Conditions) > 0 && r.Status.Conditions[0].Status != "Unknown" {
			log, _ := w.Kubectl("", "-n", namespace, "logs", run+"-pod", "--all-containers", "--prefix", "--tail=20")
			if r.Status.Conditions[0].Status != "True" {
				t.Fatalf("%+v\n%s", r.Status.Conditions, log)
			}
			// The step prints its output, and the image's digest with it.
			image := r.result("image")
			if !strings.HasPrefix(image, "sha256:") || !regexp.MustCompile(`step-build\] digest +`+image).MatchString(log) {
				t.Errorf("the result is %q:\n%s", image, log)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it does not end: %+v", r)
		}
	}
}
