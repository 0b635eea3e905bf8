//go:build e2e

package tekton_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/tekton/controller"
	ready "github.com/pavedpaths/paths/tekton/internal/world"
)

// world is a cluster with all of ours on it, for tests.
type world struct{ *ready.World }

const (
	tenantNamespace = ready.Namespace
	local           = ready.Local
	apps            = ready.Apps
)

// installed is the world that the cluster has: what one installs replaces what another did.
var installed struct {
	kind string
	*world
}

// cluster is the world of most tests. In its image with Go, the standard library is compiled:
// each build's own cache begins empty, and two processors would do little else.
func cluster(t *testing.T) *world {
	t.Helper()
	return install(t, "compiled", func() func(*ready.Layer) {
		return compiled(t, func(dir string) error {
			for name, text := range map[string]string{"forger": forger, "memory": memory, "disk": disk} {
				if err := os.WriteFile(filepath.Join(dir, name+"_test.go"), []byte(text), 0o644); err != nil {
					return err
				}
			}
			return hello(dir)
		})
	})
}

// released is a world as a platform team has it: nothing is compiled in its image with Go.
func released(t *testing.T) *world {
	t.Helper()
	return install(t, "released", func() func(*ready.Layer) { return nil })
}

func install(t *testing.T, kind string, more func() func(*ready.Layer)) *world {
	t.Helper()
	if installed.kind != kind {
		installed.kind, installed.world = kind, nil
		installed.world = newWorld(t, more())
	}
	if installed.world == nil {
		t.Fatal("the world could not be made")
	}
	return installed.world
}

// compiled puts into an image what Go's standard library and a service are compiled to, as
// the path's steps compile them.
func compiled(t *testing.T, service func(dir string) error) func(*ready.Layer) {
	t.Helper()
	dir := t.TempDir()
	program, cache, source := filepath.Join(dir, "compiled"), filepath.Join(dir, "cache"), filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := service(source); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir  string
		args []string
	}{
		{".", []string{"build", "-ldflags=-s -w", "-o", program, "./testdata/compiled"}},
		{source, []string{"build", "-trimpath", "-o", filepath.Join(dir, "service"), "."}},
		{source, []string{"test", "-trimpath", "-run=^$", "-coverprofile=" + filepath.Join(dir, "cover"), "."}},
	} {
		cmd := exec.Command("go", c.args...)
		cmd.Dir = c.dir
		if c.dir == source {
			cmd.Env = append(os.Environ(), "GOCACHE="+cache, "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", c.args, err, out)
		}
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "go.env"))
	if err != nil {
		t.Fatal(err)
	}
	settings = append(settings, "\nGOCACHEPROG=/usr/local/bin/compiled /usr/local/gocache\n"...)
	return func(l *ready.Layer) {
		l.File("/usr/local/bin/compiled", program)
		l.Tree("usr/local/gocache", cache, nil)
		l.Add(tar.Header{Typeflag: tar.TypeReg, Name: "usr/local/go/go.env", Mode: 0o644}, settings)
	}
}

// newWorld makes a world. What more puts into the image with Go goes before Go's own files.
func newWorld(t *testing.T, more func(*ready.Layer)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-tekton-*") // which outlives the test that comes first
	if err != nil {
		t.Fatal(err)
	}
	w, err := ready.New(".", dir, more)
	if err != nil {
		t.Fatal(err)
	}
	return &world{w}
}

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set\n  fix: make e2e-tekton", name)
	}
	return v
}

// kubectl runs one command with what it reads, and returns what it prints.
func (w *world) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// get reads an object's fields.
func (w *world) get(t *testing.T, to any, args ...string) {
	t.Helper()
	raw := w.kubectl(t, "", append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(raw), to); err != nil {
		t.Fatalf("kubectl get %q: %v\n%s", args, err, raw)
	}
}

// push pushes an image, and returns what pods call it.
func (w *world) push(t *testing.T, l *ready.Layer, repo, command string, env ...string) string {
	t.Helper()
	ref, err := w.Push(nil, l, repo, command, env...)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// repo makes a repository of one commit, and returns its URL and the commit.
func (w *world) repo(t *testing.T, name string, fill func(dir string) error) (url, commit string) {
	t.Helper()
	url, commit, err := w.Repo(name, fill)
	if err != nil {
		t.Fatal(err)
	}
	return url, commit
}

// example is what a part of the README shows.
func example(t *testing.T, part string, swaps [][2]string) string {
	t.Helper()
	text, err := ready.Example(".", part, swaps)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// result is what a command of pathctl printed.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) ok(t *testing.T) string {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func (w *world) pathctl(t *testing.T, args ...string) result {
	t.Helper()
	return ended(t, w.Pathctl(args...))
}

// ended runs a command that may fail.
func ended(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	r := result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if err != nil && r.code < 0 {
		t.Fatal(err)
	}
	return r
}

// hello is a service that builds in seconds.
func hello(dir string) error {
	if err := os.CopyFS(dir, os.DirFS("../pathsdk/cmd/pathctl/testdata/hello")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, "go.mod.txt"), filepath.Join(dir, "go.mod"))
}

// pipelineRun is the README's run of a commit.
func (w *world) pipelineRun(t *testing.T, url, commit, image string) string {
	t.Helper()
	variables := w.Variables(url, commit, "")
	variables["IMAGE"] = image
	text, err := ready.PipelineRun(".", variables)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// start creates a run as the tenant, and returns its name.
func (w *world) start(t *testing.T, text string) string {
	t.Helper()
	return strings.TrimSpace(w.kubectl(t, text, append(tenant(), "create", "-o", "jsonpath={.metadata.name}", "-f", "-")...))
}

// tenant is who the tests are when they do what a tenant does.
func tenant() []string {
	return []string{"--as=" + ready.Somebody, "--as-group=" + ready.Group, "--as-group=system:authenticated"}
}

// run is what tests read of one.
type pipelineRun struct {
	Metadata struct {
		Name        string
		UID         string
		Annotations map[string]string
		Finalizers  []string
	}
	Status struct {
		Conditions []struct{ Type, Status, Reason, Message string }
		Results    []struct{ Name, Value string }
	}
}

func (r pipelineRun) result(name string) string {
	for _, x := range r.Status.Results {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// settled waits until the controller has let a run go.
func (w *world) settled(t *testing.T, name string, limit time.Duration) pipelineRun {
	t.Helper()
	var r pipelineRun
	for end := time.Now().Add(limit); ; time.Sleep(time.Second) {
		r = pipelineRun{}
		w.get(t, &r, "-n", tenantNamespace, "pipelinerun", name)
		// Others may hold it for longer, as Tekton Chains does until it is deleted.
		if r.Metadata.Annotations[controller.SignedAnnotation] != "" && !slices.Contains(r.Metadata.Finalizers, controller.Finalizer) {
			return r
		}
		if time.Now().After(end) {
			w.explain(t, name)
			t.Fatalf("run %s is not settled after %s: %+v", name, limit, r)
		}
	}
}

// explain logs what is known of a run that did not go as it should.
func (w *world) explain(t *testing.T, name string) {
	t.Helper()
	for _, args := range [][]string{
		{"-n", tenantNamespace, "get", "pipelinerun,taskrun,pod", "-o", "wide"},
		{"-n", tenantNamespace, "get", "taskrun", "-l", "tekton.dev/pipelineRun=" + name, "-o", "yaml"},
		{"-n", tenantNamespace, "logs", "-l", "tekton.dev/pipelineRun=" + name, "--all-containers", "--prefix", "--tail=40"},
		{"-n", tenantNamespace, "get", "events"},
		{"-n", "paths-signing", "get", "taskrun,pod,configmap", "-o", "wide"},
		{"-n", "paths-signing", "logs", "-l", "app.kubernetes.io/managed-by=tekton-pipelines", "--all-containers", "--prefix", "--tail=40"},
		{"-n", "paths-system", "logs", "deployment/paths-controller", "--tail=60"},
	} {
		out, _ := w.Kubectl("", args...)
		t.Logf("kubectl %q\n%s", args, out)
	}
}

// otherBundle is a bundle with a Pipeline of the same name that nobody trusts: ours, with
// another image for pathctl.
func (w *world) otherBundle(t *testing.T) string {
	t.Helper()
	l := ready.NewLayer()
	l.File("/usr/local/bin/pathctl", env(t, "PATHS_TOOL"))
	l.File(ready.Certificates, ready.Certificates)
	l.Add(tar.Header{Typeflag: tar.TypeReg, Name: "evil", Mode: 0o644}, []byte("x"))
	bundle, err := w.Generate(w.push(t, l, "evil/pathctl", "", "PATH=/usr/local/bin"), t.TempDir(), "evil/tekton")
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}
