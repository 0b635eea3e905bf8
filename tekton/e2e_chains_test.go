//go:build e2e

package tekton_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"sigs.k8s.io/yaml"

	ready "github.com/pavedpaths/paths/tekton/internal/world"
)

const chainsNamespace = "tekton-chains"

// chainsFiles are its module's manifests.
var chainsFiles = []string{"100-rolebinding.yaml", "config-*.yaml", "100-deployment.yaml"}

// chains installs Tekton Chains with a key of its own until the test ends, and returns
// the PEM public key. It signs every run that ends meanwhile.
func (w *world) chains(t *testing.T) []byte {
	t.Helper()
	private, public := keyPair(t)
	image := w.chainsImage(t)
	object := func(kind, name string, data map[string]string) map[string]any {
		o := map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]string{"name": name, "namespace": chainsNamespace}}
		if kind == "Secret" {
			o["stringData"] = data
		} else {
			o["data"] = data
		}
		return o
	}
	objects := []map[string]any{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]string{"name": chainsNamespace}},
		object("Secret", "signing-secrets", map[string]string{"x509.pem": string(private)}),
		object("ConfigMap", "chains-config", chainsConfig(t)),
	}
	for _, pattern := range chainsFiles {
		files, err := filepath.Glob(filepath.Join(env(t, "PATHS_CHAINS_MODULE"), "config", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("Tekton Chains has no config/%s: has it moved? %v", pattern, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			objects = append(objects, w.chainsObjects(t, raw, image)...)
		}
	}
	var all bytes.Buffer
	for _, o := range objects {
		raw, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "---\n%s", raw)
	}
	t.Cleanup(func() {
		if out, err := w.Kubectl(all.String(), "delete", "--ignore-not-found", "--timeout=120s", "-f", "-"); err != nil {
			t.Errorf("remove Tekton Chains: %v\n%s", err, out)
		}
		w.chainsRelease(t)
	})
	w.kubectl(t, all.String(), "apply", "-f", "-")
	if out, err := w.Kubectl("", "-n", chainsNamespace, "rollout", "status", "deployment/tekton-chains-controller", "--timeout=180s"); err != nil {
		w.explainChains(t)
		t.Fatalf("Tekton Chains does not start: %v\n%s", err, out)
	}
	return public
}

// chainsRelease takes Chains' finalizers off all runs. Chains holds each until it is
// deleted, and when Chains is gone nobody else lets go.
func (w *world) chainsRelease(t *testing.T) {
	t.Helper()
	var all struct {
		Items []struct {
			Kind     string
			Metadata struct {
				Name, Namespace string
				Finalizers      []string
			}
		}
	}
	w.get(t, &all, "--all-namespaces", "pipelinerun,taskrun")
	for _, o := range all.Items {
		rest := slices.DeleteFunc(slices.Clone(o.Metadata.Finalizers), func(f string) bool { return strings.HasPrefix(f, "chains.tekton.dev/") })
		if len(rest) == len(o.Metadata.Finalizers) {
			continue
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": rest}})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := w.Kubectl("", "-n", o.Metadata.Namespace, "patch", o.Kind, o.Metadata.Name, "--type=merge", "-p", string(patch)); err != nil && !strings.Contains(out, "NotFound") {
			t.Errorf("release %s %s: %v\n%s", o.Kind, o.Metadata.Name, err, out)
		}
	}
}

// chainsObjects are those of one manifest that no object of ours stands for. The registry
// has a name on this cluster that means another host in a pod, so the pod is told.
func (w *world) chainsObjects(t *testing.T, raw []byte, image string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, text := range strings.Split(string(raw), "\n---") {
		text = strings.ReplaceAll(text, "ko://github.com/tektoncd/chains/cmd/controller", image)
		var o map[string]any
		if err := yaml.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		meta, _ := o["metadata"].(map[string]any)
		switch called, _ := meta["name"].(string); {
		case o == nil, o["kind"] == "Namespace", called == "signing-secrets", called == "chains-config":
			continue
		case o["kind"] == "Deployment":
			if !strings.Contains(text, image) {
				t.Fatal("the deployment of Tekton Chains has no image to put ours in the place of")
			}
			spec, _ := o["spec"].(map[string]any)
			template, _ := spec["template"].(map[string]any)
			pod, ok := template["spec"].(map[string]any)
			if !ok {
				t.Fatalf("the deployment of Tekton Chains has no pod: %v", o)
			}
			host, _, _ := strings.Cut(local, ":")
			address, _, _ := strings.Cut(w.Registry, ":")
			pod["hostAliases"] = []any{map[string]any{"ip": address, "hostnames": []string{host}}}
		}
		out = append(out, o)
	}
	return out
}

func (w *world) chainsImage(t *testing.T) string {
	t.Helper()
	l := ready.NewLayer()
	l.File("/ko-app/controller", env(t, "PATHS_CHAINS"))
	l.File(ready.Certificates, ready.Certificates)
	return w.push(t, l, "tekton/chains", "/ko-app/controller")
}

// signedByChains waits until Tekton Chains has signed a run, and returns when it said so.
func (w *world) signedByChains(t *testing.T, run string, limit time.Duration) time.Time {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(time.Second) {
		raw := w.kubectl(t, "", "get", "-o", "json", "--show-managed-fields", "-n", tenantNamespace, "pipelinerun", run)
		at, ok, err := chainsSigned([]byte(raw))
		switch {
		case err != nil:
			t.Fatal(err)
		case ok:
			return at
		case time.Now().After(end):
			w.explainChains(t)
			t.Fatalf("Tekton Chains has not signed run %s in %s", run, limit)
		}
	}
}

func (w *world) explainChains(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{{"get", "pod", "-o", "wide"}, {"get", "events"}, {"logs", "deployment/tekton-chains-controller", "--tail=60"}} {
		out, _ := w.Kubectl("", append([]string{"-n", chainsNamespace}, args...)...)
		t.Logf("kubectl %q\n%s", args, out)
	}
}

// chainsTrust is the trust root with Tekton Chains in it.
func (w *world) chainsTrust(t *testing.T, public []byte) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.Home, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.ReadFile(filepath.Join(w.Home, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, documented(t, "roles: [platform]")...)
	for name, content := range map[string][]byte{"trust.yaml": raw, "trusted_root.json": root, "chains.pub": public} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "trust.yaml")
}

// chainsVerdict is what the test reads of a verdict.
type chainsVerdict struct {
	Passed bool
	Level  struct {
		Build   int
		Reasons []struct {
			Need  string
			Holds bool
		}
	}
	Findings []struct{ Rule, Reason string }
	Rules    []struct {
		Rule string
		Held bool
	}
	Evidence []struct{ Digest, Type, Signer, Tier, Status, Why string }
}

func (w *world) chainsJudge(t *testing.T, code int, args ...string) chainsVerdict {
	t.Helper()
	r := w.pathctl(t, append([]string{"verify", "-o", "json"}, args...)...)
	var v chainsVerdict
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != code {
		t.Fatalf("pathctl verify %q: exit %d, want %d: %v\n%s%s", args, r.code, code, err, r.stdout, r.stderr)
	}
	return v
}

// TestTektonChains is one run that both sign: our attester and Tekton Chains. Neither
// changes what the other one's evidence is worth.
func TestTektonChains(t *testing.T) {
	w := cluster(t)
	public := w.chains(t)
	url, commit := w.repo(t, "chained", hello)
	run := w.start(t, w.pipelineRun(t, url, commit, image("chained")))
	r := w.settled(t, run, 10*time.Minute)
	if r.Metadata.Annotations["pavedpaths.dev/signed"] != "true" {
		w.explain(t, run)
		t.Fatalf("signed: %q", r.Metadata.Annotations["pavedpaths.dev/signed"])
	}
	t.Logf("Tekton Chains signed at %s", w.signedByChains(t, run, 3*time.Minute))
	digest := r.result("IMAGE_DIGEST")
	ref := image("chained") + "@" + digest
	trust := w.chainsTrust(t, public)

	t.Run("ours stays what it is", func(t *testing.T) {
		before, after := w.chainsJudge(t, 0, ref), w.chainsJudge(t, 0, ref, "--trust", trust)
		if before.Level.Build != 2 || after.Level.Build != 2 || !slices.Equal(before.Rules, after.Rules) || !slices.Equal(before.Findings, after.Findings) {
			t.Errorf("without Chains %+v\nwith it %+v", before, after)
		}
		more := slices.DeleteFunc(slices.Clone(after.Evidence), func(e struct{ Digest, Type, Signer, Tier, Status, Why string }) bool {
			return slices.Contains(before.Evidence, e)
		})
		if len(after.Evidence) != len(before.Evidence)+1 || len(more) != 1 || more[0].Signer != "chains" || more[0].Status != "unused" {
			t.Errorf("there is more evidence than Chains' alone: %+v", more)
		}
	})

	_, bundle, _ := strings.Cut(w.Bundle, "@")
	alone := func(trust string, more ...string) []string {
		return append([]string{ref, "--trust", trust, "--policy", "chains/policy.yaml", "--param", "pipelines=" + bundle}, more...)
	}
	t.Run("Chains alone is L2", func(t *testing.T) {
		v := w.chainsJudge(t, 0, alone(trust)...)
		t.Log(w.pathctl(t, append([]string{"verify"}, alone(trust)...)...).ok(t))
		if !v.Passed || v.Level.Build != 2 {
			t.Errorf("passed %t, level %d", v.Passed, v.Level.Build)
		}
		for _, e := range v.Evidence {
			if (e.Status == "used") != (e.Signer == "chains") || e.Signer == "chains" && e.Tier != "observed" {
				t.Errorf("%s by %s is %s: %s", e.Type, e.Signer, e.Status, e.Why)
			}
		}
		if v := w.chainsJudge(t, 3, alone(trust, "--param", "minLevel=3")...); v.Level.Build != 2 {
			t.Errorf("asked for L3 it is L%d", v.Level.Build)
		}
		w.chainsJudge(t, 3, ref, "--trust", trust, "--policy", "chains/policy.yaml", "--param", "pipelines=sha256:"+strings.Repeat("9", 64))
	})

	t.Run("another key", func(t *testing.T) {
		_, other := keyPair(t)
		v := w.chainsJudge(t, 3, alone(w.chainsTrust(t, other))...)
		w.refuses(t, v)
		w.refuses(t, w.chainsJudge(t, 3, alone(filepath.Join(w.Home, "trust.yaml"))...))
	})

	// What Chains stored is put back, so that the order of these does not matter.
	tag, err := name.NewTag(strings.Replace(image("chained"), local, w.RegistryHost, 1) + ":" + strings.Replace(digest, ":", "-", 1) + ".att")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := remote.Image(tag)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := stored.Manifest()
	if err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("Chains stored %+v, %v", manifest, err)
	}
	layer, err := stored.LayerByDigest(manifest.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	content, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(content); err != nil {
		t.Fatal(err)
	}
	content.Close()
	put := func(t *testing.T, envelope []byte) {
		t.Helper()
		img, err := mutate.Append(mutate.MediaType(empty.Image, manifest.MediaType), mutate.Addendum{
			Layer: static.NewLayer(envelope, manifest.Layers[0].MediaType), Annotations: manifest.Layers[0].Annotations, MediaType: manifest.Layers[0].MediaType,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("one byte changed", func(t *testing.T) {
		put(t, raw.Bytes())
		w.chainsJudge(t, 0, alone(trust)...) // as it was, but for the manifest around it
		var env struct {
			PayloadType string              `json:"payloadType"`
			Payload     []byte              `json:"payload"`
			Signatures  []map[string]string `json:"signatures"`
		}
		if err := json.Unmarshal(raw.Bytes(), &env); err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(env.Payload, []byte(commit)); i < 0 {
			t.Fatalf("Chains does not say which revision it was:\n%s", env.Payload)
		} else {
			env.Payload[i] ^= 1
		}
		changed, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		put(t, changed)
		defer put(t, raw.Bytes())
		w.refuses(t, w.chainsJudge(t, 3, alone(trust)...))
	})
}

// refuses checks that a verdict rests on nothing, and says that nobody known signed it.
func (w *world) refuses(t *testing.T, v chainsVerdict) {
	t.Helper()
	if v.Passed || v.Level.Build != 0 || len(v.Findings) == 0 || v.Findings[0].Rule != "require/provenance" {
		t.Errorf("passed %t at level %d: %+v", v.Passed, v.Level.Build, v.Findings)
	}
	for _, e := range v.Evidence {
		if e.Status == "used" {
			t.Errorf("it rests on %+v", e)
		}
	}
}
