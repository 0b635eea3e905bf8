package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wellCluster is what kubectl says of a cluster that is set up as it should be, by what it
// is asked for.
func wellCluster(t *testing.T) map[string]any {
	t.Helper()
	type m = map[string]any
	data := func(kv ...string) m {
		d := m{}
		for i := 0; i < len(kv); i += 2 {
			d[kv[i]] = kv[i+1]
		}
		return m{"data": d}
	}
	namespace := func(name, zone string) m {
		return m{"metadata": m{"name": name, "labels": m{"pavedpaths.dev/zone": zone, "pod-security.kubernetes.io/enforce": "restricted"}}}
	}
	var policies, bindings []any
	for _, name := range []string{"paths-build-runs", "paths-signing-runs", "paths-signing-claims", "paths-controller-taskruns", "paths-controller-runs", "paths-controller-claims"} {
		policies = append(policies, m{"metadata": m{"name": name}, "spec": m{"validations": []any{m{"expression": "true"}}}})
		bindings = append(bindings, m{"metadata": m{"name": name}, "spec": m{"policyName": name, "validationActions": []any{"Deny"}}})
	}
	task := m{"spec": m{"steps": []any{m{"image": "registry.example.com/paths/pathctl@sha256:" + strings.Repeat("a", 64)}}}}
	available := m{"status": m{"availableReplicas": 1}}
	return map[string]any{
		"configmap pipelines-info -n tekton-pipelines":  data("version", "v1.12.0"),
		"configmap feature-flags -n tekton-pipelines":   data("set-security-context", "true", "set-security-context-read-only-root-filesystem", "true", "disable-creds-init", "true"),
		"configmap config-defaults -n tekton-pipelines": data("default-pod-template", "runtimeClassName: gvisor\n"),
		"configmap trust -n paths-signing": data(
			"pipelines", "# ours\nregistry.example.com/paths/tekton@sha256:"+strings.Repeat("b", 64)+"\n", "runtime-class", "gvisor",
			"trust.yaml", "apiVersion: pavedpaths.dev/v1\nkind: TrustRoot\nsigners:\n- {name: attester, roles: [attester], maxTier: observed, maxBuildLevel: 2, key: attester.pub}\n",
			"attester.pub", publicKey(t), "trusted_root.json", "{}", "signing_config.json", "{}"),
		"deployment tekton-pipelines-controller -n tekton-pipelines": m{
			"spec":   m{"template": m{"spec": m{"containers": []any{m{"resources": m{"requests": m{"cpu": "50m"}}}}}}},
			"status": m{"availableReplicas": 1},
		},
		"deployment tekton-pipelines-webhook -n tekton-pipelines":                    available,
		"deployment tekton-pipelines-remote-resolvers -n tekton-pipelines-resolvers": available,
		"runtimeclass gvisor":                      m{},
		"namespaces -l pavedpaths.dev/zone":        m{"items": []any{namespace("paths-signing", "signing"), namespace("paths-build-a", "build")}},
		"namespace paths-system":                   m{"metadata": m{"name": "paths-system"}},
		"priorityclass paths-signing":              m{},
		"validatingadmissionpolicies":              m{"items": policies},
		"validatingadmissionpolicybindings":        m{"items": bindings},
		"tasks.tekton.dev attest -n paths-signing": task, "tasks.tekton.dev verify -n paths-signing": task,
		"deployment paths-controller -n paths-system": m{
			"spec":   m{"template": m{"spec": m{"containers": []any{m{"args": []any{"--destination=registry.example.com/apps/{tenant}"}}}}}},
			"status": m{"availableReplicas": 1},
		},
	}
}

// examineCluster lets the doctor look at a cluster after one change to what it says, as
// text. With to empty, the object is not there; with "forbidden", it may not be read; with
// "away", there is no answer.
func examineCluster(t *testing.T, object, from, to string) map[string]check {
	t.Helper()
	objects := wellCluster(t)
	var used atomic.Bool
	d := clusterDoctor{func(_ context.Context, args ...string) ([]byte, error) {
		asked := strings.Join(args, " ")
		o, ok := objects[asked]
		if !ok {
			t.Errorf("the doctor asks for %s", asked)
		}
		raw, err := json.Marshal(o)
		if err != nil || asked != object {
			return raw, err
		}
		used.Store(true)
		switch to {
		case "":
			return nil, errNotThere
		case "forbidden":
			return nil, &deniedError{`Error from server (Forbidden): x is forbidden: User "dana" cannot list resource "things" in API group "example.com" in the namespace "here"`}
		case "away":
			return nil, errors.New("connection refused")
		}
		if !strings.Contains(string(raw), from) {
			t.Errorf("%s does not say %s: %s", object, from, raw)
		}
		return []byte(strings.ReplaceAll(string(raw), from, to)), nil
	}}
	by := map[string]check{}
	for _, c := range d.checks(t.Context()) {
		by[c.Name] = c
	}
	if object != "" && !used.Load() {
		t.Fatalf("nobody asked for %s", object)
	}
	return by
}

func TestDoctorCluster(t *testing.T) {
	for name, c := range examineCluster(t, "", "", "") {
		if c.State != "ok" || c.Fix != "" {
			t.Errorf("of a cluster that is well, %s: %+v", name, c)
		}
	}
	const (
		flags, trust = "configmap feature-flags -n tekton-pipelines", "configmap trust -n paths-signing"
		spaces       = "namespaces -l pavedpaths.dev/zone"
		attest       = "tasks.tekton.dev attest -n paths-signing"
	)
	for name, tt := range map[string]struct{ object, from, to, check, state, want string }{
		"no Tekton":                       {"configmap pipelines-info -n tekton-pipelines", "", "", "tekton", "problem", "is not there"},
		"another Tekton":                  {"configmap pipelines-info -n tekton-pipelines", "v1.12.0", "v0.70.0", "tekton", "warning", "v0.70.0"},
		"no resolver":                     {"deployment tekton-pipelines-remote-resolvers -n tekton-pipelines-resolvers", "", "", "tekton", "problem", "is not there"},
		"a webhook that is down":          {"deployment tekton-pipelines-webhook -n tekton-pipelines", `:1`, `:0`, "tekton", "problem", "no pod"},
		"a controller without a share":    {"deployment tekton-pipelines-controller -n tekton-pipelines", `"cpu":"50m"`, `"memory":"1Gi"`, "tekton", "warning", "starve"},
		"no RuntimeClass":                 {"runtimeclass gvisor", "", "", "sandbox", "problem", "is not there"},
		"a zone with a slip":              {spaces, `"build"`, `"biuld"`, "namespaces", "problem", "biuld"},
		"a policy that says nothing":      {"validatingadmissionpolicies", `"validations"`, `"x"`, "admission", "problem", "empty"},
		"a policy that may fail":          {"validatingadmissionpolicies", `"validations"`, `"failurePolicy":"Ignore","validations"`, "admission", "problem", "paths-build-runs"},
		"a binding for some":              {"validatingadmissionpolicybindings", `"policyName":"paths-build-runs"`, `"matchResources":{"a":1},"policyName":"paths-build-runs"`, "admission", "problem", "paths-build-runs"},
		"no flags":                        {flags, "", "", "flags", "problem", "is not there"},
		"no security context":             {flags, `"set-security-context":"true"`, `"x":""`, "flags", "problem", "don't start"},
		"root folders can be written":     {flags, `root-filesystem":"true"`, `root-filesystem":"false"`, "flags", "problem", "write"},
		"credentials for all":             {flags, `"disable-creds-init":"true"`, `"disable-creds-init":"false"`, "flags", "problem", "credentials"},
		"namespaces can't be listed":      {spaces, "", "forbidden", "namespaces", "problem", "cannot list"},
		"no signing namespace":            {spaces, `"signing"`, `"build"`, "namespaces", "problem", "paths-signing with label"},
		"no tenant":                       {spaces, `"build"`, `"other"`, "namespaces", "problem", "no tenant"},
		"a namespace for all pods":        {spaces, `"restricted"`, `"baseline"`, "namespaces", "problem", "baseline"},
		"no namespace of the controller":  {"namespace paths-system", "", "", "namespaces", "problem", "paths-system is not there"},
		"no place for signers in a queue": {"priorityclass paths-signing", "", "", "namespaces", "problem", "priorityclass paths-signing is not there"},
		"Kubernetes without policies":     {"validatingadmissionpolicies", "", "", "admission", "problem", "is not there"},
		"no policies":                     {"validatingadmissionpolicies", "paths-signing-claims", "other", "admission", "problem", "paths-signing-claims"},
		"a policy without a binding":      {"validatingadmissionpolicybindings", `"policyName":"paths-build-runs"`, `"policyName":"x"`, "admission", "problem", "paths-build-runs"},
		"a policy that warns":             {"validatingadmissionpolicybindings", "Deny", "Warn", "admission", "problem", "bound to deny"},
		"policies can't be listed":        {"validatingadmissionpolicies", "", "forbidden", "admission", "problem", "cannot list"},
		"no Task":                         {attest, "", "", "tasks", "problem", "is not there"},
		"an image by tag":                 {attest, "@sha256:" + strings.Repeat("a", 64), ":latest", "tasks", "problem", ":latest"},
		"an image that nobody can have":   {attest, "registry.example.com", "tool.pavedpaths.invalid", "tasks", "problem", ".invalid"},
		"an image of a port of nobody":    {attest, "registry.example.com/", "tool.pavedpaths.invalid:5000/", "tasks", "problem", ".invalid"},
		"no steps":                        {attest, `"steps"`, `"x"`, "tasks", "problem", "no step"},
		"no controller":                   {"deployment paths-controller -n paths-system", "", "", "controller", "problem", "is not there"},
		"no controller's pod":             {"deployment paths-controller -n paths-system", `"availableReplicas":1`, `"replicas":1`, "controller", "problem", "nothing is signed"},
		"a controller as it comes":        {"deployment paths-controller -n paths-system", "registry.example.com/", "registry.example/", "controller", "problem", "the example's"},
		"no trust":                        {trust, "", "", "trust", "problem", "is not there"},
		"no trust, so no sandbox":         {trust, "", "", "sandbox", "problem", "is not there"},
		"no bundle":                       {trust, "registry.example.com", "# registry.example.com", "trust", "problem", "names no bundle"},
		"a bundle by tag":                 {trust, "@sha256:" + strings.Repeat("b", 64), ":v1", "trust", "problem", "no REPOSITORY@DIGEST"},
		"no signing configuration":        {trust, `"signing_config.json":"{}"`, `"x":""`, "trust", "problem", "has no signing_config.json"},
		"a broken trusted root":           {trust, `"trusted_root.json":"{}"`, `"trusted_root.json":"{"`, "trust", "problem", "trusted_root.json is no JSON"},
		"no trusted root":                 {trust, `"trusted_root.json":"{}"`, `"x":""`, "trust", "problem", "has no trusted_root.json"},
		"a trust root of another version": {trust, "kind: TrustRoot", "kind: Other", "trust", "problem", "TrustRoot"},
		"no list of bundles":              {trust, `"pipelines"`, `"x"`, "trust", "problem", "has no pipelines"},
		"a broken signing configuration":  {trust, `"signing_config.json":"{}"`, `"signing_config.json":"{"`, "trust", "problem", "no JSON"},
		"no key":                          {trust, `"attester.pub":`, `"other.pub":`, "trust", "problem", "has no attester.pub"},
		"a signer with another role":      {trust, "[attester]", "[root]", "trust", "problem", "role"},
		"a sandbox that nobody named":     {trust, `"gvisor"`, `""`, "sandbox", "problem", "no run is let in"},
		"another sandbox":                 {trust, `"gvisor"`, `"kata"`, "sandbox", "problem", "kata"},
		"a sandbox with a line's end":     {trust, `"gvisor"`, `"gvisor\n"`, "sandbox", "problem", "let no run in"},
		"Tekton without defaults":         {"configmap config-defaults -n tekton-pipelines", "", "", "sandbox", "problem", "is not there"},
		"a template with more":            {"configmap config-defaults -n tekton-pipelines", `gvisor\n`, `gvisor\nhostNetwork: true\n`, "sandbox", "problem", "hostNetwork"},
		"a template with a list":          {"configmap config-defaults -n tekton-pipelines", `gvisor`, `[gvisor]`, "sandbox", "problem", "runtime-class gvisor"},
		"a template that can't be parsed": {"configmap config-defaults -n tekton-pipelines", `runtimeClassName: gvisor`, `{`, "sandbox", "problem", "default-pod-template"},
	} {
		t.Run(name, func(t *testing.T) {
			got := examineCluster(t, tt.object, tt.from, tt.to)[tt.check]
			if got.State != tt.state || !strings.Contains(got.Detail, tt.want) || got.Fix == "" {
				t.Errorf("%+v, want %s with %q and a fix", got, tt.state, tt.want)
			}
		})
	}
}

// TestDoctorNoSandbox: a cluster without one works, at L2.
func TestDoctorNoSandbox(t *testing.T) {
	c := clusterDoctor{func(context.Context, ...string) ([]byte, error) { return []byte(`{"data":{}}`), nil }}
	if got := c.template(t.Context(), configMap{}, nil); got.State != "warning" || !strings.Contains(got.Detail, "L2 at most") {
		t.Errorf("%+v", got)
	}
}

// TestDoctorDenied: whatever may not be read is a problem, which names the right.
func TestDoctorDenied(t *testing.T) {
	for object := range wellCluster(t) {
		found := 0
		for _, c := range examineCluster(t, object, "", "forbidden") {
			if c.State == "ok" {
				continue
			}
			found++
			if c.State != "problem" || !strings.Contains(c.Detail, "(Forbidden)") || !strings.HasSuffix(c.Fix, "the right to list things.example.com in namespace here") {
				t.Errorf("%s: %+v", object, c)
			}
		}
		if found == 0 {
			t.Errorf("%s may not be read, and all is well", object)
		}
	}
}

// TestDoctorAway: a cluster that does not answer is one problem, and not one per check; nor
// is an answer that is missing in between taken as what is not there.
func TestDoctorAway(t *testing.T) {
	for object := range wellCluster(t) {
		all, found := examineCluster(t, object, "", "away"), 0
		for _, c := range all {
			if c.State == "ok" {
				continue
			}
			found++
			if c.State != "problem" || !strings.Contains(c.Detail, "connection refused") || !strings.Contains(c.Fix, "that kubectl reaches") {
				t.Errorf("%s: %+v", object, c)
			}
		}
		if found != 1 {
			t.Errorf("%s: %d problems, want one: %+v", object, found, all)
		}
		if _, cluster := all["cluster"]; cluster && len(all) != 1 {
			t.Errorf("%s: %+v", object, all)
		}
	}
}

func TestMissingRight(t *testing.T) {
	for said, want := range map[string]string{
		`Error from server (Forbidden): configmaps "trust" is forbidden: User "dana" cannot get resource "configmaps" in API group "" in the namespace "paths-signing"`:                      "get configmaps in namespace paths-signing",
		`Error from server (Forbidden): tasks.tekton.dev "attest" is forbidden: User "dana" cannot get resource "tasks" in API group "tekton.dev" in the namespace "paths-signing": ask Kim`: "get tasks.tekton.dev in namespace paths-signing",
		`Error from server (Forbidden): namespaces is forbidden: User "dana" cannot list resource "namespaces" in API group "" at the cluster scope`:                                         "list namespaces in the cluster",
		`Error from server (Forbidden): it is Sunday`: "read it",
	} {
		if got := (&deniedError{said}).right(); got != want {
			t.Errorf("%s: %s, want %s", said, got, want)
		}
	}
}

// TestKubectl runs a command of that name, which says what the real one does.
func TestKubectl(t *testing.T) {
	for name, tt := range map[string]struct {
		line, config, want, fails string
		answered                  bool
	}{
		"an object":       {`echo "$@"`, "", "get --request-timeout=10s -o json configmap x", "", false},
		"another cluster": {`echo "$@"`, "a file", "--kubeconfig a file get --request-timeout=10s -o json configmap x", "", false},
		"a warning":       {`echo 'Warning: old' >&2; echo '{}'`, "", "{}", "", false},
		"no object":       {`echo 'Error from server (NotFound): configmaps "x" not found' >&2; exit 1`, "", "", "is not there", true},
		"no kind":         {`echo "error: the server doesn't have a resource type \"x\"" >&2; exit 1`, "", "", "is not there: error: the server", true},
		"denied":          {`echo 'Error from server (Forbidden): it is Sunday' >&2; exit 1`, "", "", "Error from server (Forbidden): it is Sunday", true},
		"not logged in":   {`echo 'error: You must be logged in to the server (Unauthorized)' >&2; exit 1`, "", "", "error: You must be logged in to the server (Unauthorized)", false},
		"no server":       {`printf 'E1 try one\nE1 try two\nThe connection was refused\n' >&2; exit 1`, "", "", "The connection was refused", false},
		"no word":         {"exit 9", "", "", "kubectl: exit status 9", false},
		"too much":        {"exec head -c 40000000 /dev/zero", "", "", errTooMuch.Error(), false},
	} {
		t.Run(name, func(t *testing.T) {
			fakeKubectl(t, tt.line)
			raw, err := kubectl{tt.config}.get(t.Context(), "configmap", "x")
			if tt.fails == "" {
				if err != nil || strings.TrimSpace(string(raw)) != tt.want {
					t.Fatalf("%s, %v", raw, err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.fails) || answered(err) != tt.answered {
				t.Errorf("%v, want %s, and answered: %v", err, tt.fails, tt.answered)
			}
		})
	}
}

// TestKubectlStops: nobody waits for one that hangs, nor for what it started.
func TestKubectlStops(t *testing.T) {
	fakeKubectl(t, "sleep 60 & sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := (kubectl{}).get(ctx, "configmap", "x"); !errors.Is(err, context.DeadlineExceeded) || answered(err) {
		t.Errorf("%v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestNoKubectl(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got := checkCluster(t.Context(), ""); len(got) != 1 || got[0].State != "problem" || got[0].Fix == "" {
		t.Errorf("%+v", got)
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// fakeKubectl is a command called kubectl that does what a line of shell says.
func fakeKubectl(t *testing.T, line string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\n"+line+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
