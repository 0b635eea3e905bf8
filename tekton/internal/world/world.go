// Package world makes a cluster for tests what a platform team would make its own: with our
// images, bundle, Tasks and controller on it, a trust root that names its ServiceAccounts by
// the Sigstore that runs beside it, and a git server with repositories to build.
//
// It drives kubectl, the generator and pathctl as the README of package tekton does, and
// takes where they are from the environment that scripts/tekton.sh exports.
package world

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"
)

const (
	// Tenant is the example tenant's name, and Namespace where it builds.
	Tenant    = "example"
	Namespace = "paths-build-" + Tenant
	// Local is what pathctl calls the registry, wherever it runs: plain HTTP is spoken to
	// no other name.
	Local = "localhost:5000"
	// Apps is the repository below which the controller lets a tenant's images go.
	Apps = "apps"
)

// World is such a cluster.
type World struct {
	Registry, RegistryHost string // as pods name it, and as this machine does
	Node                   string // where pods reach what they are offered
	Fulcio                 string // its port there
	Bundle                 string // REPOSITORY@DIGEST of our Pipeline
	Go                     string // image with pathctl, Go and git
	Git                    string // URL of the repositories' folder, for pods
	Repos                  string
	Home                   string // of a verifier on this machine, without an identity
	Kubeconfig             string // of somebody in the example tenant
	Dir                    string // for all that is written

	source string // the folder of package tekton, absolute
	env    map[string]string
}

// The programs and places that the environment names.
var needed = []string{
	"PATHS_KUBECTL", "PATHS_KUBECONFIG", "PATHS_TOOL", "PATHS_CONTROLLER", "PATHS_SIGSTORE", "PATHS_CLUSTER_TOOL",
	"PATHS_CLUSTER_REGISTRY", "PATHS_CLUSTER_REGISTRY_HOST", "PATHS_CLUSTER_NODE", "PATHS_CLUSTER_ISSUER", "PATHS_CLUSTER_GOPROXY", "PATHS_CLUSTER_SHELL",
}

// New makes the world. Source is the folder of package tekton, and dir an empty one. More,
// unless nil, puts into the image with Go what goes before Go's own files.
func New(source, dir string, more func(*Layer)) (*World, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return nil, err
	}
	w := &World{Dir: dir, Home: filepath.Join(dir, "home"), Repos: filepath.Join(dir, "repos"), Kubeconfig: filepath.Join(dir, "tenant.kubeconfig"), source: source, env: map[string]string{}}
	for _, name := range needed {
		v := os.Getenv(name)
		if v == "" {
			return nil, fmt.Errorf("%s is not set\n  fix: make tekton, or make e2e-tekton", name)
		}
		w.env[name] = v
	}
	w.Registry, w.RegistryHost, w.Node = w.env["PATHS_CLUSTER_REGISTRY"], w.env["PATHS_CLUSTER_REGISTRY_HOST"], w.env["PATHS_CLUSTER_NODE"]
	for _, dir := range []string{w.Home, w.Repos} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := w.tenant(); err != nil {
		return nil, err
	}
	tool, err := w.images(more)
	if err != nil {
		return nil, err
	}
	if err := w.serveGit(); err != nil {
		return nil, err
	}
	// The bundle is pushed by this machine's name of the registry, and named by the pods'.
	bundle, err := w.Generate(tool, filepath.Join(dir, "tekton"), "paths/tekton", "--vuln-db", Local+"/paths/trivy-db:2")
	if err != nil {
		return nil, err
	}
	w.Bundle = bundle
	if _, err := w.Kubectl("", "apply", "-k", filepath.Join(dir, "tekton")); err != nil {
		return nil, err
	}
	if err := w.allow(Namespace, port(w.Git), port(w.Registry), port(w.env["PATHS_CLUSTER_GOPROXY"])); err != nil {
		return nil, err
	}
	if err := w.trust(); err != nil {
		return nil, err
	}
	return w, w.install()
}

// Generate writes what the catalog says for this cluster and an image with pathctl, pushes
// the bundle, and returns what pods call it.
func (w *World) Generate(tool, out, repo string, flags ...string) (string, error) {
	args := append([]string{"run", "./gen", "--tool", tool, "--go", w.Go, "--plain-git", "--connect", Local + "=" + w.Registry, "--out", out, "--push", w.RegistryHost + "/" + repo}, flags...)
	cmd := exec.Command("go", args...)
	cmd.Dir = w.source
	bundle, err := output(cmd)
	return strings.Replace(strings.TrimSpace(bundle), w.RegistryHost, w.Registry, 1), err
}

// Kubectl runs one command of kubectl with what it reads, and returns what it prints: where
// it fails, its complaint as well.
func (w *World) Kubectl(stdin string, args ...string) (string, error) {
	cmd := exec.Command(w.env["PATHS_KUBECTL"], append([]string{"--kubeconfig", w.env["PATHS_KUBECONFIG"]}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return output(cmd)
}

// offer lets pods reach a port of this machine's loopback.
func (w *World) offer(port string) error {
	_, err := output(exec.Command(w.env["PATHS_CLUSTER_TOOL"], "offer", port+":"+port))
	return err
}

// Pathctl is a command of the verifier on this machine.
func (w *World) Pathctl(args ...string) *exec.Cmd {
	cmd := exec.Command(w.env["PATHS_TOOL"], args...)
	cmd.Env = append(os.Environ(), "PATHS_HOME="+w.Home, "PATHS_CONNECT="+Local+"="+w.RegistryHost)
	return cmd
}

// Somebody is who tests are when they do what somebody of the example tenant does.
const Somebody, Group = "dana", "paths:tenant:" + Tenant

// tenant writes a kubeconfig by which kubectl is that person, for a shell.
func (w *World) tenant() error {
	raw, err := os.ReadFile(w.env["PATHS_KUBECONFIG"])
	if err != nil {
		return err
	}
	config := map[string]any{}
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("%s: %w", w.env["PATHS_KUBECONFIG"], err)
	}
	users, _ := config["users"].([]any)
	if len(users) == 0 {
		return fmt.Errorf("%s has no users", w.env["PATHS_KUBECONFIG"])
	}
	for _, u := range users {
		named, _ := u.(map[string]any)
		user, ok := named["user"].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: a user is not what it should be", w.env["PATHS_KUBECONFIG"])
		}
		user["as"], user["as-groups"] = Somebody, []string{Group, "system:authenticated"}
	}
	if raw, err = yaml.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(w.Kubeconfig, raw, 0o600)
}

// allow is the README's policy for services of one's own network: they are at the node,
// and the shipped policies let pods out to the internet alone.
func (w *World) allow(namespace string, ports ...string) error {
	policy, err := Example(w.source, "## Install", [][2]string{
		{"paths-build-example", namespace},
		{"10.20.30.40", w.Node},
		{"{port: 5000}", "{port: " + strings.Join(ports, "}, {port: ") + "}"},
	})
	if err == nil {
		_, err = w.Kubectl(policy, "apply", "-f", "-")
	}
	return err
}

// trust is what the platform team says: who may build, who signs, and where.
func (w *World) trust() error {
	written := map[string]string{}
	for _, name := range []string{"ports.json", "trusted_root.json", "signing_config.json"} {
		raw, err := os.ReadFile(filepath.Join(w.env["PATHS_SIGSTORE"], name))
		if err != nil {
			return fmt.Errorf("what the Sigstore wrote: %w", err)
		}
		written[name] = string(raw)
	}
	var ports map[string]int
	if err := json.Unmarshal([]byte(written["ports.json"]), &ports); err != nil {
		return fmt.Errorf("%s/ports.json: %w", w.env["PATHS_SIGSTORE"], err)
	}
	reached := []string{port(w.Registry)}
	for _, service := range []string{"fulcio", "rekor", "tsa"} {
		if err := w.offer(fmt.Sprint(ports[service])); err != nil {
			return err
		}
		reached = append(reached, fmt.Sprint(ports[service]))
	}
	if err := w.allow("paths-signing", reached...); err != nil {
		return err
	}
	w.Fulcio = fmt.Sprint(ports["fulcio"])
	issuer := w.env["PATHS_CLUSTER_ISSUER"]
	signer := func(name, role, tier string, level int, rest string) string {
		return fmt.Sprintf("- {name: %s, roles: [%s], maxTier: %s, maxBuildLevel: %d, identity: {trustedRoot: trusted_root.json, issuer: %q, subject: %q}%s}\n",
			name, role, tier, level, issuer, "https://kubernetes.io/namespaces/paths-signing/serviceaccounts/"+name, rest)
	}
	files := map[string]string{
		"pipelines": w.Bundle + "\n",
		"trust.yaml": "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n" +
			signer("attester", "attester", "observed", 3, fmt.Sprintf(", runIssuers: [%q]", issuer)) +
			signer("verifier", "verifier", "derived", 0, "") + signer("promoter", "verifier", "derived", 0, ""),
		"trusted_root.json":   written["trusted_root.json"],
		"signing_config.json": strings.ReplaceAll(written["signing_config.json"], "127.0.0.1", w.Node),
	}
	create := []string{"-n", "paths-signing", "create", "configmap", "trust", "--dry-run=client", "-o", "yaml"}
	for name, text := range files {
		file := filepath.Join(w.Dir, "trust", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
		create = append(create, "--from-file="+file)
	}
	object, err := w.Kubectl("", create...)
	if err != nil {
		return err
	}
	if _, err := w.Kubectl(object, "apply", "-f", "-"); err != nil {
		return err
	}
	// The verifier outside has the same trust root, and no identity.
	for _, name := range []string{"trust.yaml", "trusted_root.json"} {
		if err := os.WriteFile(filepath.Join(w.Home, name), []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	return w.database()
}

// database puts the vulnerability database for tests where the attester finds it.
func (w *World) database() error {
	db := filepath.Join(w.Dir, "db")
	if _, err := output(w.Pathctl("vulndb", "make", filepath.Join(w.source, "..", "examples", "vulndb"), "--out", db)); err != nil {
		return err
	}
	packed, err := output(exec.Command("tar", "--sort=name", "--owner=0", "--group=0", "--mtime=@0", "-czf", "-", "-C", db, "."))
	if err != nil {
		return err
	}
	to, err := name.NewTag(w.RegistryHost + "/paths/trivy-db:2")
	if err != nil {
		return err
	}
	return pushDatabase(to, []byte(packed))
}

// install starts the controller.
func (w *World) install() error {
	l := NewLayer()
	l.File("/paths-controller", w.env["PATHS_CONTROLLER"])
	image, err := w.Push(nil, l, "paths/controller", "/paths-controller")
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(w.source, "controller", "deploy.yaml"))
	if err != nil {
		return err
	}
	text := strings.Replace(string(raw), "ko://github.com/pavedpaths/paths/tekton/controller/cmd/paths-controller", image, 1)
	text = regexp.MustCompile(`--destination=\S+`).ReplaceAllString(text, "--destination="+Local+"/"+Apps+"/{tenant}\n            - --retry-max=30s")
	if _, err := w.Kubectl(text, "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = w.Kubectl("", "-n", "paths-system", "rollout", "status", "deployment/paths-controller", "--timeout=120s")
	return err
}

// port is an address's.
func port(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// output runs a command and returns what it prints: where it fails, its complaint as well,
// in the error too.
func output(cmd *exec.Cmd) (string, error) {
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String() + stderr.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), stderr.String())
	}
	return out.String(), nil
}
