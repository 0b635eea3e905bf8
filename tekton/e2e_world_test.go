//go:build e2e

package tekton_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/tekton/controller"
)

// world is a cluster with our Pipeline, Tasks and controller in it, a Sigstore that
// knows its ServiceAccounts, and a git server. Its tenant is called example.
type world struct {
	registry, registryHost string // as pods name it, and as this machine does
	node                   string // where pods reach what they are offered
	fulcio                 string // its port there
	bundle                 string // REPOSITORY@DIGEST of our Pipeline
	git                    string // URL of the repositories' folder, for pods
	repos                  string
	golang                 string // image with Go and git
	home                   string // of a verifier on this machine
	dir                    string
}

const (
	tenantNamespace = "paths-build-example"
	// local is what pathctl calls the registry, wherever it runs: plain HTTP is spoken to
	// no other name.
	local = "localhost:5000"
	// apps is the repository below which the controller lets a tenant's images go.
	apps = "apps"
)

var (
	once  sync.Once
	built *world
)

// cluster makes the world, once for all tests.
func cluster(t *testing.T) *world {
	t.Helper()
	once.Do(func() { built = newWorld(t, func(*layer) {}) })
	if built == nil {
		t.Fatal("the world could not be made")
	}
	return built
}

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set\n  fix: make e2e-tekton", name)
	}
	return v
}

// newWorld makes a world. What more puts into the image with Go goes before Go's own files.
func newWorld(t *testing.T, more func(*layer)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-tekton-*")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{registry: env(t, "PATHS_CLUSTER_REGISTRY"), registryHost: env(t, "PATHS_CLUSTER_REGISTRY_HOST"), node: env(t, "PATHS_CLUSTER_NODE"), dir: dir, home: filepath.Join(dir, "home"), repos: filepath.Join(dir, "repos")}
	tool, golang := w.images(t, more)
	w.golang = golang
	controller := w.controllerImage(t)
	w.serveGit(t)

	// The bundle is pushed by this machine's name of the registry, and named by the pods'.
	gen := exec.Command("go", "run", "./gen", "--tool", tool, "--go", golang, "--plain-git", "--vuln-db", local+"/paths/trivy-db:2", "--connect", local+"="+w.registry, "--out", filepath.Join(dir, "tekton"), "--push", w.registryHost+"/paths/tekton")
	var stderr bytes.Buffer
	gen.Stderr = &stderr
	out, err := gen.Output()
	if err != nil {
		t.Fatalf("generate: %v\n%s", err, stderr.String())
	}
	w.bundle = strings.Replace(strings.TrimSpace(string(out)), w.registryHost, w.registry, 1)

	w.kubectl(t, "", "apply", "-k", filepath.Join(dir, "tekton"))
	w.allow(t, tenantNamespace, port(w.git), port(w.registry), port(env(t, "PATHS_CLUSTER_GOPROXY")))
	w.trust(t)
	w.install(t, controller)
	return w
}

// kubectl runs one command with what it reads, and returns what it prints.
func (w *world) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := w.try(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %q: %v\n%s", args, err, out)
	}
	return out
}

func (w *world) try(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(env(t, "PATHS_KUBECTL"), append([]string{"--kubeconfig", env(t, "PATHS_KUBECONFIG")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		return out.String() + stderr.String(), err
	}
	return out.String(), nil
}

// get reads an object's fields.
func (w *world) get(t *testing.T, to any, args ...string) {
	t.Helper()
	raw := w.kubectl(t, "", append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(raw), to); err != nil {
		t.Fatalf("kubectl get %q: %v\n%s", args, err, raw)
	}
}

// offer lets pods reach a port of this machine's loopback.
func (w *world) offer(t *testing.T, port string) {
	t.Helper()
	if out, err := exec.Command(env(t, "PATHS_CLUSTER_TOOL"), "offer", port+":"+port).CombinedOutput(); err != nil {
		t.Fatalf("offer %s: %v\n%s", port, err, out)
	}
}

// port is an address's.
func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// allow is the README's policy for services of one's own network: they are at the node,
// and the shipped policies let pods out to the internet alone.
func (w *world) allow(t *testing.T, namespace string, ports ...string) {
	t.Helper()
	w.kubectl(t, readme(t, "## Install", [][2]string{
		{"paths-build-example", namespace},
		{"10.20.30.40", w.node},
		{"{port: 5000}", "{port: " + strings.Join(ports, "}, {port: ") + "}"},
	}), "apply", "-f", "-")
}

// trust is what the platform team says: who may build, who signs, and where.
func (w *world) trust(t *testing.T) {
	t.Helper()
	sigstore := env(t, "PATHS_SIGSTORE")
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(sigstore, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	var ports map[string]int
	if err := json.Unmarshal([]byte(read("ports.json")), &ports); err != nil {
		t.Fatal(err)
	}
	reached := []string{port(w.registry)}
	for _, service := range []string{"fulcio", "rekor", "tsa"} {
		w.offer(t, fmt.Sprint(ports[service]))
		reached = append(reached, fmt.Sprint(ports[service]))
	}
	w.allow(t, "paths-signing", reached...)
	w.fulcio = fmt.Sprint(ports["fulcio"])
	issuer := env(t, "PATHS_CLUSTER_ISSUER")
	signer := func(name, role, tier string, level int, rest string) string {
		return fmt.Sprintf("- {name: %s, roles: [%s], maxTier: %s, maxBuildLevel: %d, identity: {trustedRoot: trusted_root.json, issuer: %q, subject: %q}%s}\n",
			name, role, tier, level, issuer, "https://kubernetes.io/namespaces/paths-signing/serviceaccounts/"+name, rest)
	}
	files := map[string]string{
		"pipelines": w.bundle + "\n",
		"trust.yaml": "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n" +
			signer("attester", "attester", "observed", 3, fmt.Sprintf(", runIssuers: [%q]", issuer)) +
			signer("verifier", "verifier", "derived", 0, "") + signer("promoter", "verifier", "derived", 0, ""),
		"trusted_root.json":   read("trusted_root.json"),
		"signing_config.json": strings.ReplaceAll(read("signing_config.json"), "127.0.0.1", w.node),
	}
	create := []string{"-n", "paths-signing", "create", "configmap", "trust", "--dry-run=client", "-o", "yaml"}
	for name, text := range files {
		file := filepath.Join(w.dir, "trust", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		create = append(create, "--from-file="+file)
	}
	w.kubectl(t, w.kubectl(t, "", create...), "apply", "-f", "-")
	// The verifier outside has the same trust root, and no identity.
	if err := os.MkdirAll(w.home, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"trust.yaml", "trusted_root.json"} {
		if err := os.WriteFile(filepath.Join(w.home, name), []byte(files[name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The vulnerability database for the tests, where the attester finds it.
	db := filepath.Join(w.dir, "db")
	w.pathctl(t, "vulndb", "make", "../examples/vulndb", "--out", db).ok(t)
	w.pushDatabase(t, db)
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
	cmd := exec.Command(env(t, "PATHS_TOOL"), args...)
	cmd.Env = append(os.Environ(), "PATHS_HOME="+w.home, "PATHS_CONNECT="+local+"="+w.registryHost)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	r := result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if err != nil && r.code < 0 {
		t.Fatal(err)
	}
	return r
}

// install starts the controller.
func (w *world) install(t *testing.T, image string) {
	t.Helper()
	raw, err := os.ReadFile("controller/deploy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "ko://github.com/pavedpaths/paths/tekton/controller/cmd/paths-controller", image, 1)
	text = regexp.MustCompile(`--destination=\S+`).ReplaceAllString(text, "--destination="+local+"/"+apps+"/{tenant}\n            - --retry-max=30s")
	w.kubectl(t, text, "apply", "-f", "-")
	w.kubectl(t, "", "-n", "paths-system", "rollout", "status", "deployment/paths-controller", "--timeout=120s")
}

// layer collects an image's files.
type layer struct {
	t    *testing.T
	buf  bytes.Buffer
	w    *tar.Writer
	seen map[string]bool
}

func newLayer(t *testing.T) *layer {
	l := &layer{t: t, seen: map[string]bool{}}
	l.w = tar.NewWriter(&l.buf)
	return l
}

func (l *layer) add(h tar.Header, data []byte) {
	l.t.Helper()
	if l.seen[h.Name] {
		return
	}
	l.seen[h.Name] = true
	h.Size = int64(len(data))
	if err := l.w.WriteHeader(&h); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.w.Write(data); err != nil {
		l.t.Fatal(err)
	}
}

func (l *layer) file(name, from string) {
	l.t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := os.ReadFile(from)
	if err != nil {
		l.t.Fatal(err)
	}
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: int64(info.Mode().Perm())}, raw)
}

// program takes a program of this machine with the libraries that it loads.
func (l *layer) program(names ...string) {
	l.t.Helper()
	for _, name := range names {
		l.file(name, name)
		out, _ := exec.Command("ldd", name).Output() // a static one has none
		for _, lib := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
			l.file(lib[1], lib[1])
		}
	}
}

func (l *layer) tree(name, from string, skip func(string) bool) {
	l.t.Helper()
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if skip(rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() {
			l.file(path.Join(name, rel), p)
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// push appends the layer to an image, and returns what pods call the result.
func (w *world) push(t *testing.T, base v1.Image, l *layer, repo string, config func(*v1.Config)) string {
	t.Helper()
	if err := l.w.Close(); err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(base, static.NewLayer(l.buf.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	config(&file.Config)
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewRepository(w.registryHost + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref.Digest(d.String()), img); err != nil {
		t.Fatal(err)
	}
	return w.registry + "/" + repo + "@" + d.String()
}

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// images are those that the Pipeline's steps run in: pathctl alone, and with Go and git.
func (w *world) images(t *testing.T, more func(*layer)) (tool, golang string) {
	t.Helper()
	config := func(env ...string) func(*v1.Config) {
		return func(c *v1.Config) { c.User, c.Env, c.Entrypoint, c.Cmd = "65532:65532", env, nil, nil }
	}
	l := newLayer(t)
	l.file("/usr/local/bin/pathctl", env(t, "PATHS_TOOL"))
	l.file(certificates, certificates)
	tool = w.push(t, empty.Image, l, "paths/pathctl", config("PATH=/usr/local/bin"))

	shell, err := name.ParseReference(strings.Replace(env(t, "PATHS_CLUSTER_SHELL"), w.registry, w.registryHost, 1))
	if err != nil {
		t.Fatal(err)
	}
	base, err := remote.Image(shell)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	l = newLayer(t)
	l.file("/usr/local/bin/pathctl", env(t, "PATHS_TOOL"))
	more(l)
	l.tree("usr/local/go", strings.TrimSpace(string(out)), func(rel string) bool {
		return rel == "test" || rel == "doc" || rel == "api" || filepath.Base(rel) == "testdata"
	})
	l.program("/usr/bin/git", "/usr/lib/git-core/git-remote-http")
	return tool, w.push(t, base, l, "paths/pathctl-go", config(
		"PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin", "GIT_EXEC_PATH=/usr/lib/git-core",
		"GOTOOLCHAIN=local", "GOPROXY="+env(t, "PATHS_CLUSTER_GOPROXY"), "CGO_ENABLED=0"))
}

func (w *world) controllerImage(t *testing.T) string {
	t.Helper()
	l := newLayer(t)
	l.file("/paths-controller", env(t, "PATHS_CONTROLLER"))
	return w.push(t, empty.Image, l, "paths/controller", func(c *v1.Config) { c.User, c.Entrypoint = "65532:65532", []string{"/paths-controller"} })
}

// pushDatabase puts the small database where an attester's default would be: it is
// named by the TaskRun's parameter.
func (w *world) pushDatabase(t *testing.T, dir string) {
	t.Helper()
	ref, err := name.NewTag(w.registryHost + "/paths/trivy-db:2")
	if err != nil {
		t.Fatal(err)
	}
	packed := packDatabase(t, dir)
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, "application/vnd.aquasec.trivy.config.v1+json")
	if img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(packed, "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip")}); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
}

func packDatabase(t *testing.T, dir string) []byte {
	t.Helper()
	cmd := exec.Command("tar", "--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-czf", "-", "-C", dir, ".")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// serveGit serves repositories over http, as git's own server does.
func (w *world) serveGit(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = http.Serve(l, &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{"GIT_PROJECT_ROOT=" + w.repos, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard})
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.offer(t, port)
	w.git = "http://" + w.node + ":" + port
}

// repo makes a repository of one commit, and returns its URL and the commit.
func (w *world) repo(t *testing.T, name string, fill func(dir string)) (url, commit string) {
	t.Helper()
	work := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	fill(work)
	git := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=2026-01-31T12:00:00Z", "GIT_COMMITTER_DATE=2026-01-31T12:00:00Z")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git(work, "init", "-q", "-b", "main")
	git(work, "add", "-A")
	git(work, "commit", "-q", "-m", "x")
	if err := os.MkdirAll(w.repos, 0o755); err != nil {
		t.Fatal(err)
	}
	git(w.repos, "clone", "-q", "--bare", work, name+".git")
	return w.git + "/" + name + ".git", git(work, "rev-parse", "HEAD")
}

// example is the service of examples/microservice-go.
func example(t *testing.T) func(string) {
	return func(dir string) {
		if err := os.CopyFS(dir, os.DirFS("../examples/microservice-go")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, ".paths")); err != nil {
			t.Fatal(err)
		}
	}
}

// hello is a service that builds in seconds.
func hello(t *testing.T) func(string) {
	return func(dir string) {
		if err := os.CopyFS(dir, os.DirFS("../pathsdk/cmd/pathctl/testdata/hello")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "go.mod.txt"), filepath.Join(dir, "go.mod")); err != nil {
			t.Fatal(err)
		}
	}
}

// pipelineRun is the README's run, with the names that are this cluster's.
func (w *world) pipelineRun(t *testing.T, url, commit, image string) string {
	t.Helper()
	return readme(t, "## Run", [][2]string{
		{"registry.example.com/paths/tekton@sha256:…", w.bundle},
		{"https://git.example.com/acme/orders.git", url},
		{"0123456789abcdef0123456789abcdef01234567", commit},
		{"registry.example.com/acme/orders", image},
		{"registry.example.com/staging/acme", local + "/staging/example"},
	})
}

// readme is the first object of a part of the README, with other names in it.
func readme(t *testing.T, part string, swaps [][2]string) string {
	t.Helper()
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(raw), part+"\n")
	_, text, _ = strings.Cut(text, "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	for _, swap := range swaps {
		if strings.Count(text, swap[0]) != 1 {
			t.Fatalf("README, %s, does not say %q once:\n%s", part, swap[0], text)
		}
		text = strings.Replace(text, swap[0], swap[1], 1)
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
	return []string{"--as=dana", "--as-group=paths:tenant:example", "--as-group=system:authenticated"}
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
		out, _ := w.try(t, "", args...)
		t.Logf("kubectl %q\n%s", args, out)
	}
}

// otherBundle is a bundle with a Pipeline of the same name that nobody trusts: ours, with
// another image for pathctl.
func (w *world) otherBundle(t *testing.T) string {
	t.Helper()
	l := newLayer(t)
	l.file("/usr/local/bin/pathctl", env(t, "PATHS_TOOL"))
	l.file(certificates, certificates)
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: "evil", Mode: 0o644}, []byte("x"))
	tool := w.push(t, empty.Image, l, "evil/pathctl", func(c *v1.Config) {
		c.User, c.Env = "65532:65532", []string{"PATH=/usr/local/bin"}
	})
	gen := exec.Command("go", "run", "./gen", "--tool", tool, "--go", w.golang, "--plain-git", "--connect", local+"="+w.registry, "--out", t.TempDir(), "--push", w.registryHost+"/evil/tekton")
	out, err := gen.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(strings.TrimSpace(string(out)), w.registryHost, w.registry, 1)
}
