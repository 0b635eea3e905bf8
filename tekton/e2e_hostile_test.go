//go:build e2e

package tekton_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTektonRights is what a tenant tries with rights that it should not have. The API
// server says no to each.
func TestTektonRights(t *testing.T) {
	w := cluster(t)
	pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil","namespace":%q},"spec":{"serviceAccountName":%q,"containers":[{"name":"a","image":"x@sha256:` + strings.Repeat("0", 64) + `"}]}}`
	sign := `{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"evil","namespace":%q},"spec":{"serviceAccountName":"attester","taskRef":{"name":"attest"}}}`
	for name, c := range map[string]struct {
		stdin string
		args  []string
	}{
		"a pod in its build namespace":       {fmt.Sprintf(pod, tenantNamespace, "producer"), []string{"create", "-f", "-"}},
		"a pod as the attester":              {fmt.Sprintf(pod, "paths-signing", "attester"), []string{"create", "-f", "-"}},
		"a TaskRun in its build namespace":   {fmt.Sprintf(sign, tenantNamespace), []string{"create", "-f", "-"}},
		"a TaskRun in paths-signing":         {fmt.Sprintf(sign, "paths-signing"), []string{"create", "-f", "-"}},
		"another Task attest":                {"", []string{"-n", "paths-signing", "patch", "task", "attest", "--type=merge", "-p", `{"spec":{"steps":[]}}`}},
		"the list of trusted bundles":        {"", []string{"-n", "paths-signing", "patch", "configmap", "trust", "--type=merge", "-p", `{"data":{"pipelines":"x"}}`}},
		"secrets of its build namespace":     {"", []string{"-n", tenantNamespace, "get", "secrets"}},
		"secrets of paths-signing":           {"", []string{"-n", "paths-signing", "get", "secrets"}},
		"pods of paths-signing":              {"", []string{"-n", "paths-signing", "get", "pods"}},
		"a token of the attester":            {"", []string{"-n", "paths-signing", "create", "token", "attester", "--audience=sigstore"}},
		"a token of the producer":            {"", []string{"-n", tenantNamespace, "create", "token", "producer"}},
		"a role of its own":                  {"", []string{"-n", tenantNamespace, "create", "rolebinding", "evil", "--clusterrole=cluster-admin", "--user=dana"}},
		"the policy of what runs":            {"", []string{"delete", "validatingadmissionpolicybinding", "paths-build-runs"}},
		"to put its namespace out of a zone": {"", []string{"label", "namespace", tenantNamespace, "pavedpaths.dev/zone-"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := w.try(t, c.stdin, append(tenant(), c.args...)...)
			if err == nil || !strings.Contains(out, "orbidden") && !strings.Contains(out, "cannot") {
				t.Errorf("it went through, or failed otherwise: %v\n%s", err, out)
			}
		})
	}
}

// TestTektonMay asks the API server what a tenant may do: what needs an object that is
// there, too.
func TestTektonMay(t *testing.T) {
	w := cluster(t)
	for what, want := range map[string]string{
		"create pipelineruns.tekton.dev -n " + tenantNamespace:                     "yes",
		"get pipelineruns.tekton.dev -n " + tenantNamespace:                        "yes",
		"update pipelineruns.tekton.dev -n " + tenantNamespace:                     "no",
		"patch pipelineruns.tekton.dev -n " + tenantNamespace:                      "no",
		"patch pipelineruns.tekton.dev --subresource=status -n " + tenantNamespace: "no",
		"patch taskruns.tekton.dev --subresource=status -n " + tenantNamespace:     "no",
		"create pods --subresource=exec -n " + tenantNamespace:                     "no",
		"create pods --subresource=attach -n " + tenantNamespace:                   "no",
		"create pods --subresource=portforward -n " + tenantNamespace:              "no",
		"patch pods --subresource=ephemeralcontainers -n " + tenantNamespace:       "no",
		"create serviceaccounts --subresource=token -n " + tenantNamespace:         "no",
		"create serviceaccounts --subresource=token -n paths-signing":              "no",
		"impersonate serviceaccounts -n paths-signing":                             "no",
		"create pipelineruns.tekton.dev -n paths-signing":                          "no",
		"create taskruns.tekton.dev -n paths-signing":                              "no",
		"get taskruns.tekton.dev -n paths-signing":                                 "no",
		"create configmaps -n paths-signing":                                       "no",
		"create pipelineruns.tekton.dev -n default":                                "no",
		"create rolebindings.rbac.authorization.k8s.io -n " + tenantNamespace:      "no",
		"update validatingadmissionpolicies.admissionregistration.k8s.io":          "no",
	} {
		out, _ := w.try(t, "", append(append(tenant(), "auth", "can-i"), strings.Fields(what)...)...)
		if got, _, _ := strings.Cut(strings.TrimSpace(out), "\n"); !strings.HasPrefix(got, want) {
			t.Errorf("may a tenant %s: %q, want %s", what, out, want)
		}
	}
}

// TestTektonAdmission is what a tenant tries in a PipelineRun.
func TestTektonAdmission(t *testing.T) {
	w := cluster(t)
	good := w.pipelineRun("https://git.example.com/x.git", strings.Repeat("a", 40), local+"/"+apps+"/example/x")
	if out, err := w.try(t, good, append(tenant(), "create", "--dry-run=server", "-f", "-")...); err != nil {
		t.Fatalf("an honest run is not let in: %v\n%s", err, out)
	}
	for name, swap := range map[string][2]string{
		"another bundle":          {w.bundle, strings.Split(w.bundle, "@")[0] + "@sha256:" + strings.Repeat("9", 64)},
		"a bundle by tag":         {w.bundle, strings.Split(w.bundle, "@")[0] + ":latest"},
		"another resolver":        {"resolver: bundles", "resolver: git"},
		"a pipeline of its own":   {"  pipelineRef:\n    resolver: bundles\n", "  pipelineSpec: {tasks: [{name: a, taskSpec: {steps: [{name: a, image: x}]}}]}\n  x:\n    resolver: bundles\n"},
		"another ServiceAccount":  {"serviceAccountName: producer", "serviceAccountName: default"},
		"a pod template":          {"{serviceAccountName: producer}", "{serviceAccountName: producer, podTemplate: {hostNetwork: true}}"},
		"steps with more":         {"  taskRunTemplate:", "  taskRunSpecs: [{pipelineTaskName: produce, stepSpecs: [{name: build, computeResources: {}}]}]\n  taskRunTemplate:"},
		"a workspace":             {"  taskRunTemplate:", "  workspaces: [{name: a, emptyDir: {}}]\n  taskRunTemplate:"},
		"somebody else to run it": {"  taskRunTemplate:", "  managedBy: evil\n  taskRunTemplate:"},
		"an annotation of ours":   {"  generateName: run-", "  annotations: {pavedpaths.dev/signed: \"true\"}\n  generateName: run-"},
		"a finalizer":             {"  generateName: run-", "  finalizers: [example.com/x]\n  generateName: run-"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, swap[0]) {
				t.Fatalf("%q is not in the run", swap[0])
			}
			out, err := w.try(t, strings.Replace(good, swap[0], swap[1], 1), append(tenant(), "create", "--dry-run=server", "-f", "-")...)
			if err == nil {
				t.Errorf("it is let in:\n%s", out)
			}
		})
	}
}

// published counts the evidence on an image, by type.
func (w *world) published(t *testing.T, ref string) map[string]int {
	t.Helper()
	var list []struct {
		Type string `json:"type"`
	}
	raw := w.pathctl(t, "evidence", "ls", ref, "-o", "json").ok(t)
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	n := map[string]int{}
	for _, e := range list {
		n[e.Type]++
	}
	return n
}

// once fails the test unless each piece of evidence is there once.
func (w *world) once(t *testing.T, ref string) {
	t.Helper()
	n := w.published(t, ref)
	if len(n) < 8 {
		t.Errorf("evidence is missing: %v", n)
	}
	for typ, k := range n {
		if k != 1 {
			t.Errorf("%d of type %s", k, typ)
		}
	}
	w.pathctl(t, "verify", ref).ok(t)
}

// TestTektonHostile runs services that attack, and runs that are disturbed. Each ends
// signed right, or not signed with an event that says why.
func TestTektonHostile(t *testing.T) {
	w := cluster(t)
	image := func(name string) string { return local + "/" + apps + "/example/" + name }

	t.Run("a test that forges results and looks for tokens", func(t *testing.T) {
		url, commit := w.repo(t, "forger", func(dir string) {
			hello(t)(dir)
			if err := os.WriteFile(filepath.Join(dir, "forge_test.go"), []byte(forger), 0o644); err != nil {
				t.Fatal(err)
			}
		})
		name := w.start(t, w.pipelineRun(url, commit, image("forger")))
		r := w.settled(t, name, 5*time.Minute)
		if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
			w.explain(t, name)
			t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
		}
		if d := r.result("IMAGE_DIGEST"); strings.Contains(d, strings.Repeat("6", 64)) {
			t.Errorf("the run's result is the forged one: %s", d)
		}
		w.once(t, image("forger")+"@"+r.result("IMAGE_DIGEST"))
	})

	url, commit := w.repo(t, "honest", hello(t))
	refused := func(t *testing.T, text, why string) {
		t.Helper()
		name := w.start(t, text)
		r := w.settled(t, name, 5*time.Minute)
		if got := r.Metadata.Annotations["pavedpaths.dev/signed"]; !strings.HasPrefix(got, "no: ") || !strings.Contains(got, why) {
			w.explain(t, name)
			t.Errorf("signed: %q, want %q", got, why)
		}
		events := w.kubectl(t, "", "-n", tenantNamespace, "get", "events", "--field-selector", "involvedObject.name="+name, "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(events, why) {
			t.Errorf("no event says %q: %s", why, events)
		}
	}
	t.Run("an image of a neighbour's", func(t *testing.T) {
		refused(t, w.pipelineRun(url, commit, local+"/"+apps+"/other/honest"), "go below")
	})
	t.Run("a build that never ends", func(t *testing.T) {
		sleepy, commit := w.repo(t, "sleepy", func(dir string) {
			hello(t)(dir)
			if err := os.WriteFile(filepath.Join(dir, "sleep_test.go"), []byte("package main\n\nimport \"testing\"\n\nfunc TestSleep(t *testing.T) { select {} }\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		})
		refused(t, strings.Replace(w.pipelineRun(sleepy, commit, image("sleepy")), "  taskRunTemplate:", "  timeouts: {pipeline: 60s}\n  taskRunTemplate:", 1), "the run failed")
	})

	// What a tenant can't, an administrator's mistake can: the admission policy is away,
	// and a Pipeline of the same name comes from another bundle.
	t.Run("a Pipeline of the same name from another bundle", func(t *testing.T) {
		w.kubectl(t, "", "delete", "validatingadmissionpolicybinding", "paths-build-runs")
		other := w.otherBundle(t)
		name := w.start(t, strings.Replace(w.pipelineRun(url, commit, image("other")), w.bundle, other, 1))
		w.kubectl(t, "", "apply", "-k", filepath.Join(w.dir, "tekton"))
		r := w.settled(t, name, 5*time.Minute)
		if got := r.Metadata.Annotations["pavedpaths.dev/signed"]; !strings.Contains(got, "not from a trusted bundle") {
			t.Errorf("signed: %q", got)
		}
		// The attester by itself, without the controller's word.
		w.kubectl(t, fmt.Sprintf(`{"apiVersion":"tekton.dev/v1","kind":"TaskRun","metadata":{"name":"by-hand","namespace":"paths-signing"},"spec":{"serviceAccountName":"attester","taskRef":{"name":"attest"},"params":[
			{"name":"run-namespace","value":%q},{"name":"run-name","value":%q},{"name":"run-uid","value":%q},{"name":"destination","value":%q}]}}`,
			tenantNamespace, name, r.Metadata.UID, image("other")), "create", "-f", "-")
		w.kubectl(t, "", "-n", "paths-signing", "wait", "taskrun/by-hand", "--for=condition=Succeeded=False", "--timeout=120s")
		var signer pipelineRun
		w.get(t, &signer, "-n", "paths-signing", "taskrun", "by-hand")
		if why := signer.result("refusal"); !strings.Contains(why, "not trusted to build") {
			t.Errorf("the attester says %q", why)
		}
	})

	t.Run("the controller and the signer are killed", func(t *testing.T) {
		name := w.start(t, w.pipelineRun(url, commit, image("killed")))
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() { // the controller dies every few seconds, all the while
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(8 * time.Second):
					_, _ = w.try(t, "", "-n", "paths-system", "delete", "pod", "-l", "app.kubernetes.io/name=paths-controller", "--grace-period=0", "--force", "--wait=false")
				}
			}
		}()
		// The first signer dies as soon as it runs.
		uid := strings.TrimSpace(w.kubectl(t, "", "-n", tenantNamespace, "get", "pipelinerun", name, "-o", "jsonpath={.metadata.uid}"))
		killed := false
		for end := time.Now().Add(4 * time.Minute); time.Now().Before(end) && !killed; time.Sleep(300 * time.Millisecond) {
			phase, err := w.try(t, "", "-n", "paths-signing", "get", "pod", "sign-"+uid+"-0-pod", "-o", "jsonpath={.status.phase}")
			if err == nil && phase == "Running" {
				time.Sleep(1500 * time.Millisecond) // into its work
				_, err := w.try(t, "", "-n", "paths-signing", "delete", "pod", "sign-"+uid+"-0-pod", "--grace-period=0", "--force", "--wait=false")
				killed = err == nil
			}
		}
		close(stop)
		<-done
		if !killed {
			t.Error("no signer was there to be killed")
		}
		r := w.settled(t, name, 8*time.Minute)
		if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
			w.explain(t, name)
			t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
		}
		w.once(t, image("killed")+"@"+r.result("IMAGE_DIGEST"))
	})

	t.Run("Fulcio is away", func(t *testing.T) {
		sigstore := func(verb string) {
			cmd := exec.Command("../bin/sigstore", verb, "fulcio")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("sigstore %s fulcio: %v\n%s", verb, err, out)
			}
		}
		sigstore("stop")
		name := w.start(t, w.pipelineRun(url, commit, image("outage")))
		for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Second) {
			events := w.kubectl(t, "", "-n", tenantNamespace, "get", "events", "--field-selector", "involvedObject.name="+name, "-o", "jsonpath={.items[*].reason}")
			if strings.Contains(events, "SigningRetried") {
				break
			}
			if time.Now().After(end) {
				sigstore("start")
				w.explain(t, name)
				t.Fatal("no attempt failed")
			}
		}
		sigstore("start")
		r := w.settled(t, name, 8*time.Minute)
		if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
			w.explain(t, name)
			t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
		}
		w.once(t, image("outage")+"@"+r.result("IMAGE_DIGEST"))
	})
}

// forger is a test of a service's that writes results of its own wherever it can, and
// fails if it finds a token.
const forger = `package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestForge(t *testing.T) {
	digest := "sha256:6666666666666666666666666666666666666666666666666666666666666666"
	for _, dir := range []string{"/tekton/results", "/tekton/steps", "/tekton/run", "/tekton/termination", "/dev/termination-log"} {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				for _, name := range []string{"IMAGE_DIGEST", "IMAGE_URL", "handover"} {
					_ = os.WriteFile(filepath.Join(p, name), []byte(digest), 0o666)
				}
			} else if err == nil {
				_ = os.WriteFile(p, []byte(digest), 0o666)
			}
			return nil
		})
	}
	looks := func(where, text string) {
		if strings.Contains(text, "eyJ") || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("a secret in %s", where)
		}
	}
	for _, v := range os.Environ() {
		looks("the environment", v)
	}
	for _, dir := range []string{"/var/run/secrets", "/run/secrets", "/tekton/creds", "/tekton/home", "/etc/paths", "/proc", "/paths", "/home", "/root"} {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Count(p, "/") > 6 {
				return nil
			}
			if base := filepath.Base(p); dir == "/proc" && base != "environ" && base != "cmdline" {
				return nil
			}
			if raw, err := os.ReadFile(p); err == nil && len(raw) < 1<<20 {
				looks(p, string(raw))
			}
			return nil
		})
	}
}
`
