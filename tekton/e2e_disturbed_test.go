//go:build e2e

package tekton_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTektonDisturbed disturbs honest runs. Each ends signed, with each piece of evidence
// once, or not signed with an event that says why.
func TestTektonDisturbed(t *testing.T) {
	w := cluster(t)
	url, commit := w.repo(t, "disturbed", hello)
	t.Run("the controller and the signer are killed", func(t *testing.T) {
		name := w.start(t, w.pipelineRun(t, url, commit, image("killed")))
		// The controller dies again and again, all the while, each time after it may have
		// done something: on a busy machine it takes some seconds to start.
		end := again(t, 20*time.Second, func() {
			_, _ = w.Kubectl("", "-n", "paths-system", "delete", "pod", "-l", "app.kubernetes.io/name=paths-controller", "--grace-period=0", "--force", "--wait=false")
		})
		// The first signer dies as soon as it runs.
		uid := strings.TrimSpace(w.kubectl(t, "", "-n", tenantNamespace, "get", "pipelinerun", name, "-o", "jsonpath={.metadata.uid}"))
		killed := false
		for until := time.Now().Add(6 * time.Minute); time.Now().Before(until) && !killed; time.Sleep(300 * time.Millisecond) {
			phase, err := w.Kubectl("", "-n", "paths-signing", "get", "pod", "sign-"+uid+"-0-pod", "-o", "jsonpath={.status.phase}")
			if err == nil && phase == "Running" {
				time.Sleep(1500 * time.Millisecond) // into its work
				_, err := w.Kubectl("", "-n", "paths-signing", "delete", "pod", "sign-"+uid+"-0-pod", "--grace-period=0", "--force", "--wait=false")
				killed = err == nil
			}
		}
		end()
		if !killed {
			t.Error("no signer was there to be killed")
		}
		w.signed(t, name, image("killed"))
	})

	// runs waits until a pod runs.
	runs := func(t *testing.T, namespace, pod string) {
		t.Helper()
		w.kubectl(t, "", "-n", namespace, "wait", "--for=create", "pod/"+pod, "--timeout=300s")
		w.kubectl(t, "", "-n", namespace, "wait", "--for=jsonpath={.status.phase}=Running", "pod/"+pod, "--timeout=120s")
	}
	uid := func(t *testing.T, run string) string {
		t.Helper()
		return w.kubectl(t, "", "-n", tenantNamespace, "get", "pipelinerun", run, "-o", "jsonpath={.metadata.uid}")
	}
	restart := func(t *testing.T, program string) {
		t.Helper()
		if out, err := exec.Command(env(t, "PATHS_CLUSTER_TOOL"), "restart", program).CombinedOutput(); err != nil {
			t.Fatalf("restart %s: %v\n%s", program, err, out)
		}
	}

	t.Run("the API server is killed, while it builds and while it signs", func(t *testing.T) {
		run := w.start(t, w.pipelineRun(t, url, commit, image("restarted")))
		id := uid(t, run)
		runs(t, tenantNamespace, run+"-produce-pod")
		restart(t, "kube-apiserver")
		w.answers(t)
		runs(t, "paths-signing", "sign-"+id+"-0-pod")
		restart(t, "kube-apiserver")
		w.answers(t)
		w.signed(t, run, image("restarted"))
	})

	// The kubelet is told that memory is scarce far earlier than it is, and evicts pods one
	// after the other until it is told otherwise.
	t.Run("the node is under pressure", func(t *testing.T) {
		file := filepath.Join(env(t, "PATHS_CLUSTER"), "run", "kubelet.yaml")
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A soft threshold: a hard one is taken from what pods may ask for, and the kubelet
		// would turn them away as it starts.
		scarce := string(before) + "evictionSoft: {memory.available: 99%}\nevictionSoftGracePeriod: {memory.available: 1s}\nevictionPressureTransitionPeriod: 5s\n"
		set := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			restart(t, "kubelet")
		}
		pressed := func(want string) {
			t.Helper()
			w.kubectl(t, "", "wait", "--for=condition=MemoryPressure="+want, "node", "--all", "--timeout=180s")
		}
		// One that takes a while: it is to be there when pods are evicted.
		url, commit := w.service(t, "slow", "package main\n\nimport (\n\t\"testing\"\n\t\"time\"\n)\n\nfunc TestSlow(t *testing.T) { time.Sleep(time.Minute) }\n")
		// Of a container that the kubelet lost with its pod, Tekton 1.12 can't read how it
		// ended, and tries again until the run's time is up.
		run := w.start(t, strings.Replace(w.pipelineRun(t, url, commit, image("pressed")), "  taskRunTemplate:", "  timeouts: {pipeline: 4m}\n  taskRunTemplate:", 1))
		runs(t, tenantNamespace, run+"-produce-pod")
		released := false
		t.Cleanup(func() {
			if !released { // or all tests after it have a node under pressure
				set(string(before))
			}
		})
		set(scarce)
		pressed("True")
		pod := func() (reason string) {
			out, _ := w.Kubectl("", "-n", tenantNamespace, "get", "pod", run+"-produce-pod", "-o", "jsonpath={.status.phase} {.status.reason}")
			return strings.TrimSpace(out)
		}
		for end := time.Now().Add(2 * time.Minute); strings.HasPrefix(pod(), "Running") && time.Now().Before(end); time.Sleep(time.Second) {
		}
		became := pod()
		set(string(before))
		released = true
		pressed("False")
		for _, ns := range []string{"tekton-pipelines", "tekton-pipelines-resolvers", "paths-system"} {
			w.kubectl(t, "", "-n", ns, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=180s")
		}
		t.Logf("the build's pod: %s", became)
		if strings.Contains(became, "Evicted") {
			w.refused(t, run, "the run failed")
			return
		}
		// Others went first, and it was done before its turn.
		w.signed(t, run, image("pressed"))
	})
}

// answers waits until the API server does.
func (w *world) answers(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		out, err := w.Kubectl("", "get", "--raw", "/readyz")
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the API server does not answer: %v\n%s", err, out)
		}
	}
}
