//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestCluster is one cluster's life. Its parts follow on each other.
func TestCluster(t *testing.T) {
	c, err := load(func(name string) string {
		if name == "PATHS_KUBECONFIG" {
			return "" // for what is in it, up is asked
		}
		return os.Getenv(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PATHS_CLUSTER") == "" || pid(c, verbNode) != 0 {
		t.Fatal("this test stops its cluster, and wants one of its own\n  fix: make e2e-cluster")
	}
	e := &env{t: t, c: c}
	before := outside(t)
	t.Cleanup(func() { _, _ = e.cluster("down") })

	t.Run("an interrupted start", e.interrupted)
	e.up()
	if t.Failed() {
		t.FailNow()
	}
	inside := e.traces()
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"up again", e.upAgain},
		{"a given cluster", e.given},
		{"a wrong Task", e.wrongTask},
		{"a restricted namespace", e.restricted},
		{"a bundle", e.bundle},
		{"no way out", e.noWayOut},
		{"a way in", e.wayIn},
		{"a certificate for a run", e.certificate},
	} {
		t.Run(part.name, part.run)
	}
	t.Run("down", func(t *testing.T) {
		// The kernel gives numbers of namespaces away again: what starts from here on is
		// none of ours.
		marker := exec.Command("cat")
		if _, err := marker.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := marker.Start(); err != nil {
			t.Fatal(err)
		}
		inside.until = started(marker.Process.Pid)
		_ = marker.Process.Kill()
		_ = marker.Wait()
		running := strings.Join(e.left(t, before, inside), "\n")
		for _, want := range []string{"runs", "is in net:", "is in mnt:", "is in pid:", "sees a mount", "has net:", "cgroups", e.c.run()} {
			if !strings.Contains(running, want) {
				t.Errorf("of a cluster that runs, this test does not see: %s", want)
			}
		}
		if out, err := e.cluster("down"); err != nil {
			t.Fatal(err, out)
		}
		for _, trace := range e.left(t, before, inside) {
			t.Error(trace)
		}
		if out, err := e.cluster("status"); err == nil || !strings.Contains(out, "fix: make cluster") {
			t.Errorf("status after down: %v %s", err, out)
		}
	})
}

type env struct {
	t       *testing.T
	c       *config
	exports map[string]string
}

// cluster runs the program.
func (e *env) cluster(args ...string) (string, error) {
	cmd := exec.Command(os.Getenv("PATHS_CLUSTER_TOOL"), args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *env) up() {
	e.t.Helper()
	begin := time.Now()
	out, err := e.cluster("up")
	if err != nil {
		e.t.Fatalf("up: %v\n%s", err, out)
	}
	e.t.Logf("up took %v", time.Since(begin).Round(time.Second/10))
	e.exports = map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); ok {
			e.exports[name] = strings.Trim(value, "'")
		}
	}
}

// interrupted kills up in the middle: the next one, and down, must work all the same.
func (e *env) interrupted(t *testing.T) {
	for _, at := range []string{"node.pid", "link.sock"} {
		cmd := exec.Command(os.Getenv("PATHS_CLUSTER_TOOL"), "up")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(20 * time.Minute) // it may build
		for {
			if _, err := os.Stat(e.c.run(at)); err == nil {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("no %s appeared", at)
			}
			time.Sleep(5 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if out, err := e.cluster("status"); err == nil {
			t.Errorf("status of half a cluster: %s", out)
		}
	}
}

func (e *env) upAgain(t *testing.T) {
	begin, old := time.Now(), pid(e.c, verbNode)
	e.up()
	if took := time.Since(begin); took > 10*time.Second || pid(e.c, verbNode) != old {
		t.Errorf("it started anew, in %v", took)
	}
	if out, err := e.cluster("status"); err != nil || !strings.Contains(out, "reach "+apiAddr) {
		t.Errorf("status: %v %s", err, out)
	}
}

func (e *env) given(t *testing.T) {
	raw, err := os.ReadFile(e.exports["PATHS_KUBECONFIG"])
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(theirs, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_KUBECONFIG", theirs)
	if out, err := e.cluster("up"); err != nil || !strings.Contains(out, "export PATHS_KUBECONFIG='"+theirs+"'") {
		t.Errorf("%v %s", err, out)
	}
	silent := strings.Replace(string(raw), e.exports["PATHS_CLUSTER_ISSUER"], "https://127.0.0.1:1", 1)
	if err := os.WriteFile(theirs, []byte(silent), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := e.cluster("up"); err == nil || !strings.Contains(out, "it does not answer") || !strings.Contains(out, "fix:") {
		t.Errorf("a cluster that does not answer: %v %s", err, out)
	}
}

func (e *env) wrongTask(t *testing.T) {
	out, err := e.apply(`
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: wrong, namespace: default}
spec:
  steps: [{name: a, image: none.invalid/none, command: [echo], args: ["$(params.nope)"]}]
`)
	if err == nil || !strings.Contains(out, `admission webhook "validation.webhook.pipeline.tekton.dev" denied`) || !strings.Contains(out, "non-existent variable") {
		t.Errorf("%v %s", err, out)
	}
}

// restrictedContext is what the restricted profile wants of every container.
const restrictedContext = "{allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"

// task is a Task as the restricted profile wants it. Its command is a shell's.
func task(name, image, command string) string {
	return fmt.Sprintf(`
apiVersion: tekton.dev/v1
kind: Task
metadata: {name: %s}
spec:
  results: [{name: said}]
  stepTemplate:
    securityContext: %s
  steps:
  - name: a
    image: %s
    env: [{name: SAID, value: $(results.said.path)}]
    command: [sh, -euc]
    args: [%q]
`, name, restrictedContext, image, command)
}

func namespace(name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %s, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder, namespace: %[1]s}
`, name)
}

func taskRun(of string) string {
	return fmt.Sprintf(`
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: %s}
spec: {serviceAccountName: builder, taskRef: {name: %[1]s}}
`, of)
}

func (e *env) restricted(t *testing.T) {
	e.must(t, "", namespace("restricted"))
	image := e.exports["PATHS_CLUSTER_SHELL"]
	if !strings.Contains(image, "@sha256:") {
		t.Fatalf("the image is %q", image)
	}
	e.must(t, "restricted", task("hello", image, `if touch /here 2>/dev/null; then echo writable; exit 1; fi; printf '%s' "hello from $(id -u)" > "$SAID"`), taskRun("hello"))
	if said := e.done(t, "restricted", "taskrun/hello"); said != "hello from 65532" {
		t.Errorf("it said %q", said)
	}
	// The profile is enforced: a pod like any other is refused.
	if out, err := e.apply(`
apiVersion: v1
kind: Pod
metadata: {name: lax, namespace: restricted}
spec: {containers: [{name: a, image: "` + image + `"}]}
`); err == nil || !strings.Contains(out, "violates PodSecurity") {
		t.Errorf("%v %s", err, out)
	}
}

func (e *env) bundle(t *testing.T) {
	e.must(t, "", namespace("bundles"))
	at := e.push(t, "bundle", taskBundle(t, "bundled", task("bundled", e.exports["PATHS_CLUSTER_SHELL"], `printf bundled > "$SAID"`)))
	e.must(t, "bundles", `
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {name: bundled}
spec:
  pipelineSpec:
    results: [{name: said, value: $(tasks.one.results.said)}]
    tasks:
    - name: one
      taskRef:
        resolver: bundles
        params: [{name: bundle, value: "`+at+`"}, {name: name, value: bundled}, {name: kind, value: task}]
`)
	if said := e.done(t, "bundles", "pipelinerun/bundled"); said != "bundled" {
		t.Errorf("it said %q", said)
	}
}

// noWayOut runs in pods what reaches something, or must not.
func (e *env) noWayOut(t *testing.T) {
	e.must(t, "", namespace("network"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "offered") }))
	}()
	port := l.Addr().(*net.TCPAddr).Port
	offered := fmt.Sprintf("http://%s:%d", nodeIP, port)
	image := e.push(t, "probe", e.program(t, "probe"))
	run := func(name string, args ...string) string {
		return fmt.Sprintf(`
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: %s}
spec:
  serviceAccountName: builder
  taskSpec:
    results: [{name: said}]
    steps:
    - name: a
      image: %s
      securityContext: %s
      command: [/program]
      args: [$(results.said.path), %s]
`, name, image, restrictedContext, strings.Join(args, ", "))
	}
	e.must(t, "network", run("closed", "closed", "http://1.1.1.1", "'http://[2606:4700:4700::1111]'", "https://example.com", offered,
		fmt.Sprintf("http://127.0.0.1:%d", port), "http://"+e.exports["PATHS_CLUSTER_REGISTRY_HOST"]))
	e.done(t, "network", "taskrun/closed")
	if out, err := e.cluster("offer", fmt.Sprint(port)); err != nil || "http://"+strings.TrimSpace(out) != offered {
		t.Fatalf("offer: %v %s", err, out)
	}
	e.must(t, "network", run("open", "open", e.exports["PATHS_CLUSTER_GOPROXY"]+"/github.com/google/uuid/@v/v1.6.0.mod",
		"http://"+e.exports["PATHS_CLUSTER_REGISTRY"]+"/v2/shell/tags/list", offered))
	if said := e.done(t, "network", "taskrun/open"); said != "offered" {
		t.Errorf("it said %q", said)
	}
}

func (e *env) wayIn(t *testing.T) {
	ip, err := e.kubectl("-n", "tekton-pipelines", "get", "pod", "-l", "app.kubernetes.io/name=controller,app.kubernetes.io/part-of=tekton-pipelines", "-o", "jsonpath={.items[0].status.podIP}")
	if err != nil {
		t.Fatal(err, ip)
	}
	at, err := e.cluster("reach", ip+":9090")
	if err != nil {
		t.Fatal(err, at)
	}
	resp, err := http.Get("http://" + strings.TrimSpace(at) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(text, []byte("tekton")) {
		t.Errorf("%v %.200s", err, text)
	}
	if out, err := e.cluster("in", "hostname"); err != nil || strings.TrimSpace(out) != nodeName {
		t.Errorf("in: %v %s", err, out)
	}
	scheduler := func() string {
		out, err := e.cluster("in", "pidof", "kube-scheduler")
		if err != nil {
			t.Errorf("pidof: %v %s", err, out)
		}
		return strings.TrimSpace(out)
	}
	before := scheduler()
	if out, err := e.cluster("restart", "kube-scheduler"); err != nil {
		t.Errorf("restart: %v %s", err, out)
	}
	if now := scheduler(); now == "" || now == before {
		t.Errorf("the scheduler was process %s, and is %s", before, now)
	}
	for _, name := range []string{"node", "../node", "nothing"} {
		if out, err := e.cluster("restart", name); err == nil || !strings.Contains(out, "no program of the node") {
			t.Errorf("restart %s: %v %s", name, err, out)
		}
	}
}

// certificate has a run take a certificate from the Fulcio of ci/sigstore, with the token
// that Kubernetes gave it.
func (e *env) certificate(t *testing.T) {
	for _, name := range []string{"PATHS_CLUSTER_ISSUER", "PATHS_CLUSTER_CA"} {
		t.Setenv(name, e.exports[name])
	}
	t.Cleanup(func() { _ = exec.Command("../../scripts/sigstore.sh", "down").Run() })
	up := exec.Command("../../scripts/sigstore.sh", "up")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("sigstore up: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(os.Getenv("PATHS_SIGSTORE"), "ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ports map[string]int
	if err := json.Unmarshal(raw, &ports); err != nil {
		t.Fatal(err)
	}
	fulcio, err := e.cluster("offer", fmt.Sprint(ports["fulcio"]))
	if err != nil {
		t.Fatal(err, fulcio)
	}
	image := e.push(t, "keyless", e.program(t, "keyless"))
	e.must(t, "", namespace("keyless"))
	run := func(name, audience string) string {
		return fmt.Sprintf(`
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {name: %s}
spec:
  serviceAccountName: builder
  taskSpec:
    results: [{name: said}]
    volumes: [{name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: %s, expirationSeconds: 600}}]}}]
    steps:
    - name: a
      image: %s
      securityContext: %s
      volumeMounts: [{name: token, mountPath: /var/run/sigstore, readOnly: true}]
      command: [/program]
      args: ["http://%s", /var/run/sigstore/token, $(results.said.path)]
`, name, audience, image, restrictedContext, strings.TrimSpace(fulcio))
	}
	e.must(t, "keyless", run("signs", "sigstore"), run("other", "elsewhere"))
	if said := e.done(t, "keyless", "taskrun/signs"); said != "https://kubernetes.io/namespaces/keyless/serviceaccounts/builder" {
		t.Errorf("the certificate names %q", said)
	}
	if status, _, log := e.ended(t, "keyless", "taskrun/other"); status != "False" || !strings.Contains(log, "keyless: 4") {
		t.Errorf("a token for another audience: %s %s", status, log)
	}
}

// taskBundle is an image as Tekton's bundles are: pkg/remote/oci in its module.
func taskBundle(t *testing.T, name, object string) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(object)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, object); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, Annotations: map[string]string{
		"dev.tekton.image.name": name, "dev.tekton.image.kind": "task", "dev.tekton.image.apiVersion": "v1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// program is an image with a program of testdata.
func (e *env) program(t *testing.T, name string) v1.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := goBuild(t.Context(), ".", "-o", file, "./testdata/"+name); err != nil {
		t.Fatal(err)
	}
	var l layer
	l.copy("program", file)
	image, err := l.image(v1.Config{User: nonRoot})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// push pushes an image from the host, and returns the name by which pods get it.
func (e *env) push(t *testing.T, repository string, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(e.exports["PATHS_CLUSTER_REGISTRY_HOST"] + "/" + repository + "@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return e.exports["PATHS_CLUSTER_REGISTRY"] + "/" + repository + "@" + digest.String()
}

func (e *env) kubectl(args ...string) (string, error) {
	out, err := exec.Command(e.exports["PATHS_KUBECTL"], append([]string{"--kubeconfig", e.exports["PATHS_KUBECONFIG"]}, args...)...).CombinedOutput()
	return string(out), err
}

func (e *env) apply(objects string, args ...string) (string, error) {
	cmd := exec.Command(e.exports["PATHS_KUBECTL"], append([]string{"--kubeconfig", e.exports["PATHS_KUBECONFIG"], "apply", "-f", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(objects)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (e *env) must(t *testing.T, namespace string, objects ...string) {
	t.Helper()
	var args []string
	if namespace != "" {
		args = []string{"-n", namespace}
	}
	if out, err := e.apply(strings.Join(objects, "---"), args...); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// done waits for a run that must succeed, and returns what it said.
func (e *env) done(t *testing.T, namespace, run string) string {
	t.Helper()
	status, said, log := e.ended(t, namespace, run)
	if status != "True" {
		out, _ := e.kubectl("-n", namespace, "get", run, "-o", "jsonpath={.status.conditions}")
		t.Fatalf("%s: %s\n%s", run, out, log)
	}
	return said
}

// ended waits for a run, and returns how it ended, what it said, and its log.
func (e *env) ended(t *testing.T, namespace, run string) (status, said, log string) {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) < 3*time.Minute {
		status, _ = e.kubectl("-n", namespace, "get", run, "-o", `jsonpath={.status.conditions[?(@.type=="Succeeded")].status}`)
		if status == "True" || status == "False" {
			break
		}
		time.Sleep(250 * time.Millisecond)
	}
	t.Logf("%s took %v", run, time.Since(begin).Round(time.Second/10))
	said, _ = e.kubectl("-n", namespace, "get", run, "-o", "jsonpath={.status.results[0].value}")
	log, _ = e.kubectl("-n", namespace, "logs", "--all-containers", "-l", "app.kubernetes.io/managed-by=tekton-pipelines,tekton.dev/taskRun="+filepath.Base(run))
	return status, said, log
}
