//go:build e2e

package tekton_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

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

// signed waits until a run is settled, and fails the test unless it is signed, with each
// piece of evidence once. It returns the image by digest.
func (w *world) signed(t *testing.T, run, image string) string {
	t.Helper()
	r := w.settled(t, run, 10*time.Minute)
	if got := r.Metadata.Annotations["pavedpaths.dev/signed"]; got != "true" {
		w.explain(t, run)
		t.Fatalf("signed: %q", got)
	}
	ref := image + "@" + r.result("IMAGE_DIGEST")
	w.once(t, ref)
	return ref
}

// refused waits until a run is settled, and fails the test unless it is not signed, with
// an event that says why.
func (w *world) refused(t *testing.T, run, why string) {
	t.Helper()
	r := w.settled(t, run, 10*time.Minute)
	if got := r.Metadata.Annotations["pavedpaths.dev/signed"]; !strings.HasPrefix(got, "no: ") || !strings.Contains(got, why) {
		w.explain(t, run)
		t.Errorf("signed: %q, want %q", got, why)
	}
	if events := w.events(t, run, "message"); !strings.Contains(events, why) {
		t.Errorf("no event says %q: %s", why, events)
	}
}

// events are a field of the events on a run.
func (w *world) events(t *testing.T, run, field string) string {
	t.Helper()
	return w.kubectl(t, "", "-n", tenantNamespace, "get", "events", "--field-selector", "involvedObject.name="+run, "-o", "jsonpath={.items[*]."+field+"}")
}

// again does something again and again beside the test, until the function that it returns
// is called, or the test ends.
func again(t *testing.T, every time.Duration, do func()) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	end = sync.OnceFunc(func() { close(stop); <-done })
	t.Cleanup(end)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(every):
				do()
			}
		}
	}()
	return end
}

// image is where a tenant's image goes.
func image(name string) string { return local + "/" + apps + "/example/" + name }

// service makes a repository of a small service with one more test.
func (w *world) service(t *testing.T, name, test string) (url, commit string) {
	t.Helper()
	return w.repo(t, name, func(dir string) error {
		if err := hello(dir); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+"_test.go"), []byte(test), 0o644)
	})
}

// TestTektonHostile runs services that attack, and tenants who do. Each ends signed
// right, or not signed with an event that says why.
func TestTektonHostile(t *testing.T) {
	w := cluster(t)
	url, commit := w.repo(t, "honest", hello)

	// They run at once, and what is to be signed waits for Fulcio.
	t.Run("Fulcio is away for five minutes", func(t *testing.T) {
		sigstore(t, "stop")
		back := time.Now().Add(5 * time.Minute)
		t.Cleanup(func() { sigstore(t, "start") })
		// These are to be built before Fulcio is back: nothing else starts before them.
		honest := w.start(t, w.pipelineRun(t, url, commit, image("outage")))
		erased := w.start(t, w.pipelineRun(t, url, commit, image("erased")))
		exists := func(run string) {
			w.kubectl(t, "", "-n", tenantNamespace, "wait", "--for=create", "pod/"+run+"-produce-pod", "--timeout=120s")
		}
		exists(honest)
		exists(erased)
		// remove deletes a run once it is built, and returns its image.
		remove := func(t *testing.T, run, image, cascade string) string {
			t.Helper()
			w.kubectl(t, "", "-n", tenantNamespace, "wait", "--for=condition=Succeeded", "pipelinerun/"+run, "--timeout=600s")
			var r pipelineRun
			w.get(t, &r, "-n", tenantNamespace, "pipelinerun", run)
			if r.Metadata.Annotations["pavedpaths.dev/signed"] != "" {
				t.Fatalf("it is settled already: %q", r.Metadata.Annotations)
			}
			w.kubectl(t, "", "-n", tenantNamespace, "delete", "pipelinerun", run, "--cascade="+cascade, "--wait=false")
			return image + "@" + r.result("IMAGE_DIGEST")
		}
		gone := func(t *testing.T, run string) {
			t.Helper()
			w.kubectl(t, "", "-n", tenantNamespace, "wait", "--for=delete", "pipelinerun/"+run, "--timeout=600s")
		}
		// What one container may take is small here, so that little has to be taken.
		limit := func(memory, disk string) {
			w.kubectl(t, "", "-n", tenantNamespace, "patch", "limitrange", "containers", "--type=json", "-p", fmt.Sprintf(
				`[{"op":"replace","path":"/spec/limits/0/default","value":{"memory":%q,"ephemeral-storage":%q}}]`, memory, disk))
		}
		before := w.kubectl(t, "", "-n", tenantNamespace, "get", "limitrange", "containers", "-o", "jsonpath={.spec.limits[0].default}")
		restore := func() {
			w.kubectl(t, "", "-n", tenantNamespace, "patch", "limitrange", "containers", "--type=json", "-p", `[{"op":"replace","path":"/spec/limits/0/default","value":`+before+`}]`)
		}
		t.Cleanup(restore)
		limit("1Gi", "300Mi")
		greedy := map[string]string{}
		for name, test := range map[string]string{"memory": memory, "disk": disk} {
			url, commit := w.service(t, name, test)
			greedy[name] = w.start(t, w.pipelineRun(t, url, commit, image(name)))
		}
		for _, run := range greedy {
			exists(run)
		}
		restore()
		t.Run("a run that is deleted with what shows how it was built", func(t *testing.T) {
			t.Parallel()
			ref := remove(t, erased, image("erased"), "foreground")
			gone(t, erased)
			if events := w.events(t, erased, "message"); !strings.Contains(events, "not signed") || !strings.Contains(events, "was deleted") {
				t.Errorf("no event says that it is not signed, and why: %s", events)
			}
			time.Sleep(time.Until(back.Add(30 * time.Second))) // until it could be signed
			if r := w.pathctl(t, "verify", ref); r.code != 3 {
				t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
		t.Run("a test that eats memory", func(t *testing.T) {
			t.Parallel()
			w.refused(t, greedy["memory"], "the run failed")
			if log, _ := w.Kubectl("", "-n", tenantNamespace, "logs", greedy["memory"]+"-produce-pod", "-c", "step-build"); !strings.Contains(log, "killed") {
				t.Errorf("nothing was killed:\n%s", log)
			}
		})
		t.Run("a test that fills the disk", func(t *testing.T) {
			t.Parallel()
			w.refused(t, greedy["disk"], "the run failed")
			var pod struct {
				Status struct{ Reason, Message string }
			}
			w.get(t, &pod, "-n", tenantNamespace, "pod", greedy["disk"]+"-produce-pod")
			if pod.Status.Reason != "Evicted" {
				t.Errorf("the pod was not evicted: %+v", pod.Status)
			}
		})
		t.Run("an image of a neighbour's", func(t *testing.T) {
			t.Parallel()
			w.refused(t, w.start(t, w.pipelineRun(t, url, commit, local+"/"+apps+"/other/honest")), "go below")
		})
		t.Run("a build that never ends", func(t *testing.T) {
			t.Parallel()
			url, commit := w.service(t, "sleepy", "package main\n\nimport \"testing\"\n\nfunc TestSleep(t *testing.T) { select {} }\n")
			w.refused(t, w.start(t, strings.Replace(w.pipelineRun(t, url, commit, image("sleepy")), "  taskRunTemplate:", "  timeouts: {pipeline: 90s}\n  taskRunTemplate:", 1)), "the run failed")
		})
		t.Run("an honest run, which is deleted meanwhile", func(t *testing.T) {
			t.Parallel()
			ref := remove(t, honest, image("outage"), "background")
			time.Sleep(time.Until(back))
			var r pipelineRun
			w.get(t, &r, "-n", tenantNamespace, "pipelinerun", honest)
			if r.Metadata.Annotations["pavedpaths.dev/signed"] != "" {
				t.Errorf("it has not waited for Fulcio: %+v", r)
			}
			sigstore(t, "start")
			gone(t, honest)
			if events := w.events(t, honest, "message"); !strings.Contains(events, "signed: "+ref[strings.Index(ref, "@")+1:]) {
				t.Errorf("no event says that it is signed: %s", events)
			}
			w.once(t, ref)
		})
	})

	t.Run("tenants", func(t *testing.T) {
		t.Run("a test that forges results and looks for tokens", func(t *testing.T) {
			t.Parallel()
			url, commit := w.service(t, "forger", forger)
			ref := w.signed(t, w.start(t, w.pipelineRun(t, url, commit, image("forger"))), image("forger"))
			if strings.Contains(ref, strings.Repeat("6", 64)) {
				t.Errorf("the run's result is the forged one: %s", ref)
			}
		})
		t.Run("another image under the same tag, again and again", func(t *testing.T) {
			t.Parallel()
			tag, err := name.NewTag(w.RegistryHost + "/" + apps + "/example/moved:v1")
			if err != nil {
				t.Fatal(err)
			}
			evil, err := random.Image(64, 1)
			if err != nil {
				t.Fatal(err)
			}
			run := w.start(t, w.pipelineRun(t, url, commit, image("moved")+":v1"))
			pushes := 0
			end := again(t, 300*time.Millisecond, func() {
				if remote.Write(tag, evil) == nil {
					pushes++
				}
			})
			ref := w.signed(t, run, image("moved"))
			end()
			if pushes == 0 {
				t.Error("no image was pushed")
			}
			d, err := evil.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(ref, d.String()) {
				t.Errorf("the tenant's own image was signed: %s", ref)
			}
			if err := remote.Write(tag, evil); err != nil {
				t.Fatal(err)
			}
			if r := w.pathctl(t, "verify", image("moved")+":v1"); r.code != 3 {
				t.Errorf("the tenant's own image, by its tag: exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
		t.Run("what the run says of itself, written by an administrator", func(t *testing.T) {
			t.Parallel()
			run := w.start(t, w.pipelineRun(t, url, commit, image("edited")))
			ref := w.signed(t, run, image("edited"))
			_, digest, _ := strings.Cut(ref, "@")
			w.kubectl(t, "", "-n", tenantNamespace, "annotate", "--overwrite", "pipelinerun", run, "pavedpaths.dev/signed=no: evil", "pavedpaths.dev/signed-image=sha256:"+strings.Repeat("6", 64))
			for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
				var r pipelineRun
				w.get(t, &r, "-n", tenantNamespace, "pipelinerun", run)
				if r.Metadata.Annotations["pavedpaths.dev/signed"] == "true" && r.Metadata.Annotations["pavedpaths.dev/signed-image"] == digest {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("it stays: %q", r.Metadata.Annotations)
				}
			}
			w.once(t, ref)
		})
	})

	// What a tenant can't, an administrator's mistake can: the admission policy is away,
	// and a Pipeline of the same name comes from another bundle.
	t.Run("a Pipeline of the same name from another bundle", func(t *testing.T) {
		w.kubectl(t, "", "delete", "validatingadmissionpolicybinding", "paths-build-runs")
		other := w.otherBundle(t)
		run := w.start(t, strings.Replace(w.pipelineRun(t, url, commit, image("other")), w.Bundle, other, 1))
		w.kubectl(t, "", "apply", "-k", filepath.Join(w.Dir, "tekton"))
		w.refused(t, run, "not from a trusted bundle")
		// The attester by itself, without the controller's word.
		uid := w.kubectl(t, "", "-n", tenantNamespace, "get", "pipelinerun", run, "-o", "jsonpath={.metadata.uid}")
		signer := w.task(t, "attest", "attester", map[string]string{"run-namespace": tenantNamespace, "run-name": run, "run-uid": uid, "destination": image("other")})
		if why := signer.result("refusal"); !strings.Contains(why, "not trusted to build") {
			t.Errorf("the attester says %q", why)
		}
	})
}

// task runs one of the signing Tasks as the platform team would by hand, and returns it
// when it has ended.
func (w *world) task(t *testing.T, task, account string, params map[string]string) pipelineRun {
	t.Helper()
	var list []map[string]string
	for k, v := range params {
		list = append(list, map[string]string{"name": k, "value": v})
	}
	raw, err := json.Marshal(map[string]any{
		"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": map[string]string{"generateName": "by-hand-", "namespace": "paths-signing"},
		"spec": map[string]any{"serviceAccountName": account, "taskRef": map[string]string{"name": task}, "params": list},
	})
	if err != nil {
		t.Fatal(err)
	}
	run := w.kubectl(t, string(raw), "create", "-o", "jsonpath={.metadata.name}", "-f", "-")
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		var r pipelineRun
		w.get(t, &r, "-n", "paths-signing", "taskrun", run)
		if len(r.Status.Conditions) > 0 && r.Status.Conditions[0].Status != "Unknown" {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("TaskRun %s does not end: %+v", run, r)
		}
	}
}

// sigstore starts or stops Fulcio; what runs, or doesn't, already is left as it is.
func sigstore(t *testing.T, verb string) {
	t.Helper()
	if out, err := exec.Command("../bin/sigstore", verb, "fulcio").CombinedOutput(); err != nil {
		t.Errorf("sigstore %s fulcio: %v\n%s", verb, err, out)
	}
}

// memory is a test of a service's that takes all memory that it can get.
const memory = `package main

import "testing"

func TestMemory(t *testing.T) {
	var all [][]byte
	for {
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
}
`

// disk is one that writes until it is stopped.
const disk = `package main

import (
	"os"
	"testing"
	"time"
)

func TestDisk(t *testing.T) {
	f, err := os.CreateTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range 2560 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Minute) // until somebody looks
}
`

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
