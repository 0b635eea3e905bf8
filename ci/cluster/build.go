package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const tekton = "github.com/tektoncd/pipeline"

// The names that the program kube is called by.
var kubeCommands = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kube-network-policies", "kubelet", "kubectl"}

// What programs and images are made of, besides the toolchain. The registry is that of
// ci/trust.
var madeOf = []string{
	"go.mod", "go.sum", "build.go", "image.go", "packages.go", "tekton.go", "kube/main.go", "kube/policies.go", "pause/main.go",
	"../trust/go.mod", "../trust/go.sum", "../trust/registry/main.go",
}

// build makes programs, images and manifests, unless those that are there were made of
// the same. It works beside and renames: a killed build leaves nothing that looks whole.
// The working folder is this module's.
func build(ctx context.Context, c *config) error {
	want, err := stamp()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(c.made("stamp")); err == nil && string(have) == want {
		return nil
	}
	if err := down(c); err != nil { // its programs are about to go
		return err
	}
	m, err := versions()
	if err != nil {
		return err
	}
	say("building Kubernetes %s and Tekton %s from their Go modules, once: some minutes", m.kubernetes, m.tekton)
	dir := c.path("made.new")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := unpack(ctx, filepath.Join(dir, "debian")); err != nil {
		return err
	}
	to := bin + string(filepath.Separator)
	for _, b := range []struct {
		dir, flags string
		packages   []string
	}{
		{".", "-s -w" + m.flags(), []string{"./kube", "./pause"}},
		{".", "-s -w", []string{"tool"}},
		{"../trust", "-s -w", []string{"./registry"}},
	} {
		if err := goBuild(ctx, b.dir, append([]string{"-ldflags", b.flags, "-o", to}, b.packages...)...); err != nil {
			return err
		}
	}
	for _, name := range kubeCommands {
		if err := os.Symlink("kube", filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	say("making images")
	if err := images(dir, m.tekton); err != nil {
		return err
	}
	manifests, err := tektonManifests(m)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"tekton.yaml": string(manifests), "stamp": want} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(c.made()); err != nil {
		return err
	}
	return os.Rename(dir, c.made())
}

func goBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-mod=readonly"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false -gcflags=all=-dwarf=false", "GOWORK=off", "GOTOOLCHAIN=local")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w\n%s\n  fix: have a Go module proxy in reach; go env GOPROXY names it", err, tail(out.String(), 20))
	}
	return nil
}

// stamp is the digest of all that programs and images are made of.
func stamp() (string, error) {
	h := sha256.New()
	goEnv, err := output("go", "env", "GOVERSION", "GOARCH")
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, goEnv, debianPackages)
	for _, name := range madeOf {
		raw, err := os.ReadFile(filepath.FromSlash(name))
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%w\n  fix: run this in ci/cluster, as make cluster does", err)
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(raw), raw)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// moduleVersions are those in go.mod, which says them for the whole repository.
type moduleVersions struct{ kubernetes, tekton, tektonDir string }

func versions() (moduleVersions, error) {
	var m moduleVersions
	for path, at := range map[string]*string{"k8s.io/kubernetes": &m.kubernetes, tekton: &m.tekton} {
		raw, err := output("go", "mod", "download", "-json", path)
		if err != nil {
			return m, err
		}
		var module struct{ Version, Dir string }
		if err := json.Unmarshal([]byte(raw), &module); err != nil {
			return m, fmt.Errorf("go mod download %s: %w", path, err)
		}
		*at = module.Version
		if path == tekton {
			m.tektonDir = module.Dir
		}
	}
	return m, nil
}

// flags let Kubernetes' programs say their version, as its own build does: clients and
// the node's status ask for it.
func (m moduleVersions) flags() string {
	f := regexp.MustCompile(`^v([0-9]+)\.([0-9]+)\.`).FindStringSubmatch(m.kubernetes)
	if f == nil {
		return ""
	}
	var b strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{
			"gitVersion=" + m.kubernetes, "gitMajor=" + f[1], "gitMinor=" + f[2], "gitTreeState=clean", "gitCommit=unknown",
			"buildDate=1970-01-01T00:00:00Z",
		} {
			fmt.Fprintf(&b, " -X %s.%s", pkg, set)
		}
	}
	return b.String()
}
