//go:build e2e

package tekton_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTektonSteps runs what the README shows of the catalog's steps in Tasks and Pipelines of
// one's own, in a namespace that is nobody's zone and enforces the profile restricted: a TaskRun
// of StepActions, and a PipelineRun of Tasks. Both make the same image of the same commit.
func TestTektonSteps(t *testing.T) {
	w := released(t)
	namespace := fmt.Sprintf("team-%d", time.Now().Unix()) // the last one may still be going
	w.kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+", labels: {pod-security.kubernetes.io/enforce: restricted}}\n", "apply", "-f", "-")
	t.Cleanup(func() { w.kubectl(t, "", "delete", "namespace", namespace, "--wait=false") })
	actions, err := filepath.Glob(filepath.Join(w.Dir, "tekton", "stepaction", "*", "*.yaml"))
	if err != nil || len(actions) == 0 {
		t.Fatalf("StepActions: %v %v", actions, err)
	}
	tasks := []string{filepath.Join(w.Dir, "tekton", "task", "fetch"), filepath.Join(w.Dir, "tekton", "task", "build")}
	w.kubectl(t, "", "-n", namespace, "apply", "-f", strings.Join(append(actions, tasks...), ","))

	url, _ := w.repo(t, "steps", withModule)
	// Pods of this cluster have one module proxy, which the README's readers need not name.
	proxy := "\n      - {name: goproxy, value: '" + env(t, "PATHS_CLUSTER_GOPROXY") + "'}"
	images := [2]string{}
	t.Run("runs", func(t *testing.T) {
		t.Run("StepActions", func(t *testing.T) {
			t.Parallel()
			text := example(t, "## Steps in Tasks of your own", [][2]string{
				{"registry.example.com/paths/pathctl-go@sha256:…", w.Go},
				{"https://git.example.com/acme/orders.git", url},
				{"\n      - {name: source, value: /workspace/source}", "\n      - {name: source, value: /workspace/source}" + proxy},
			})
			images[0] = w.image(t, namespace, "taskrun", text)
		})
		t.Run("Tasks", func(t *testing.T) {
			t.Parallel()
			text := example(t, "## Steps as Tasks", [][2]string{
				{"registry.example.com/paths/pathctl-go@sha256:…", w.Go},
				{"https://git.example.com/acme/orders.git", url},
				{"\n      - {name: source-path, value: source}", "\n      - {name: source-path, value: source}" + proxy},
				{"registry.example.com/staging/acme", local + "/staging/tasks"},
				// The registry of this cluster has no certificate, as with the generator's --connect.
				{"env: [", "env: [{name: PATHS_CONNECT, value: '" + local + "=" + w.Registry + "'}, "},
			})
			images[1] = w.image(t, namespace, "pipelinerun", text)
		})
	})
	if images[0] != images[1] {
		t.Errorf("StepActions made %s, Tasks made %s", images[0], images[1])
	}
}

// withModule is hello with a module that it needs: without that, it would build with no module
// cache at all.
func withModule(dir string) error {
	if err := hello(dir); err != nil {
		return err
	}
	mod, err := os.OpenFile(filepath.Join(dir, "go.mod"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = mod.WriteString("\nrequire github.com/google/uuid v1.6.0\n")
	return errors.Join(err, mod.Close(),
		os.WriteFile(filepath.Join(dir, "go.sum"), []byte("github.com/google/uuid v1.6.0 h1:NIvaJDMOsjHA8n1jAhLSgzrAzy1Hgr+hNrb57e+94F0=\n"+
			"github.com/google/uuid v1.6.0/go.mod h1:TIyPZe4MgqvfeYDBFedMoGGpEw/LqOeaOT+nhxU+yHo=\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "id.go"), []byte("package main\n\nimport \"github.com/google/uuid\"\n\nvar _ = uuid.New()\n"), 0o644))
}

// image starts a run, waits for its end, and returns its result image.
func (w *world) image(t *testing.T, namespace, kind, text string) string {
	t.Helper()
	run := w.kubectl(t, text, "-n", namespace, "create", "-o", "jsonpath={.metadata.name}", "-f", "-")
	for end := time.Now().Add(8 * time.Minute); ; time.Sleep(time.Second) {
		var r pipelineRun
		w.get(t, &r, "-n", namespace, kind, run)
		if len(r.Status.Conditions) > 0 && r.Status.Conditions[0].Status != "Unknown" {
			log, _ := w.Kubectl("", "-n", namespace, "logs", "-l", "tekton.dev/"+map[string]string{"taskrun": "taskRun", "pipelinerun": "pipelineRun"}[kind]+"="+run, "--all-containers", "--prefix", "--tail=20", "--max-log-requests=99")
			if r.Status.Conditions[0].Status != "True" {
				t.Fatalf("%+v\n%s", r.Status.Conditions, log)
			}
			// The step prints its output, and the image's digest with it.
			image := r.result("image")
			if !strings.HasPrefix(image, "sha256:") || !regexp.MustCompile(`/step-(build|run)\] digest +`+image).MatchString(log) {
				t.Errorf("the result is %q:\n%s", image, log)
			}
			return image
		}
		if time.Now().After(end) {
			t.Fatalf("it does not end: %+v", r)
		}
	}
}
