package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// The module's manifests, in the order in which they are applied.
var tektonFiles = []string{
	"100-namespace/*.yaml", "300-crds/*.yaml", "200-*.yaml", "201-*.yaml", "500-webhooks.yaml", "clusterrole-*.yaml", "config-*.yaml",
	"controller.yaml", "webhook.yaml", "events.yaml", "resolvers/*.yaml",
}

// How our Tekton differs from the one that its project releases.
var tektonFlags = map[string]string{
	// What Tekton adds to a pod must pass where only the restricted profile does.
	"set-security-context":                           "true",
	"set-security-context-read-only-root-filesystem": "true",
	// No step finds credentials that are not its own.
	"disable-creds-init": "true",
	// There is one node, which every pod of a run is on.
	"coschedule": "disabled",
}

// Anyone may read the issuer's discovery document and keys, as who checks its tokens must.
const issuerDiscovery = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: paths-issuer-discovery}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:service-account-issuer-discovery}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: "system:unauthenticated"}]
`

var (
	programImage = regexp.MustCompile(`ko://` + regexp.QuoteMeta(tekton) + `/cmd/([a-z]+)`)
	busyboxImage = regexp.MustCompile(`cgr\.dev/chainguard/busybox@sha256:[0-9a-f]{64}`)
)

// tektonManifests are those of Tekton's module with our images and settings.
func tektonManifests(m moduleVersions) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintln(&out, strings.TrimSpace(issuerDiscovery))
	set := false
	for _, pattern := range tektonFiles {
		files, err := filepath.Glob(filepath.Join(m.tektonDir, "config", filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s %s has no config/%s: has it moved?", tekton, m.tekton, pattern)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			raw = programImage.ReplaceAll(raw, []byte(tektonImage("$1", m.tekton)))
			raw = busyboxImage.ReplaceAllLiteral(raw, []byte(shellImage))
			raw = bytes.ReplaceAll(raw, []byte(`"devel"`), []byte(`"`+m.tekton+`"`))
			if pattern == "controller.yaml" {
				if raw, err = withRequests(raw); err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
			}
			if filepath.Base(file) == "config-feature-flags.yaml" && filepath.Base(filepath.Dir(file)) == "config" {
				if raw, err = withFlags(raw); err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				set = true
			}
			fmt.Fprintf(&out, "---\n%s\n", raw)
		}
	}
	if !set {
		return nil, errors.New("found no feature flags of Tekton to set")
	}
	return out.Bytes(), nil
}

// withRequests gives Tekton's controller a share of the processors. As it is released it asks
// for none: builds on the same node leave it so little that it misses its health checks and
// is killed, and who comes after it waits for the lease.
func withRequests(raw []byte) ([]byte, error) {
	const container = "      - name: tekton-pipelines-controller\n"
	if bytes.Count(raw, []byte(container)) != 1 || bytes.Contains(raw, []byte("resources:")) {
		return nil, errors.New("its container is not the one that asks for no resources: has it changed?")
	}
	return bytes.Replace(raw, []byte(container), []byte(container+"        resources: {requests: {cpu: 50m, memory: 100Mi}}\n"), 1), nil
}

// withFlags sets the flags, all of which must be there: Tekton ignores those that it
// does not know.
func withFlags(raw []byte) ([]byte, error) {
	var config map[string]any
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return nil, err
	}
	data, _ := config["data"].(map[string]any)
	for name, value := range tektonFlags {
		if _, ok := data[name]; !ok {
			return nil, fmt.Errorf("no flag is called %s", name)
		}
		data[name] = value
	}
	return yaml.Marshal(config)
}
