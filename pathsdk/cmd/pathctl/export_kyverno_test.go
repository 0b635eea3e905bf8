//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// kyverno asks Kyverno whether it admits a Pod with these images.
func (w wharf) kyverno(policy string, images ...string) error {
	w.t.Helper()
	type container struct {
		Name  string `json:"name"`
		Image string `json:"image"`
	}
	spec := map[string][]container{"containers": {{"app", images[0]}}}
	for i, image := range images[1:] {
		spec["initContainers"] = append(spec["initContainers"], container{fmt.Sprintf("init-%d", i), image})
	}
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]string{"name": "app", "namespace": "default"}, "spec": spec}
	raw, err := json.Marshal(pod)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	file := filepath.Join(dir, "pod.json")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(os.Getenv("PATHS_VERIFIERS"), "kyverno"), "apply", policy, "--resource", file, "--registry", "--remove-color")
	cmd.Env = append(os.Environ(), "HOME="+dir) // it keeps a TUF repository there
	out, err := cmd.CombinedOutput()
	if err == nil && !strings.Contains(string(out), "pass: 1, fail: 0, warn: 0, error: 0, skip: 0") {
		return fmt.Errorf("exit 0 without a pass\n%s", out)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// TestExportKyvernoKeys: Kyverno admits what the attester's key signed, and nothing
// else.
func TestExportKyvernoKeys(t *testing.T) {
	w := keyWharf(t)
	good := w.digest(w.host + "/team/hello:v1")
	policy := filepath.Join(w.export(w.home, "kyverno", "--images", w.host+"/*", "--one-platform"), "kyverno.yaml")
	index := filepath.Join(w.export(w.home, "kyverno", "--images", w.host+"/*"), "kyverno.yaml")
	const unsigned = "no signature (https://sigstore.dev/cosign/sign/v1) signed by attester"

	w.judged("signed", w.kyverno(policy, good), "")
	w.judged("signed, without what is about platforms", w.kyverno(index, good), "")
	w.judged("unsigned", w.kyverno(policy, w.push(w.host+"/team/unsigned:v1", w.tampered(good))), unsigned)
	w.judged("unsigned in an init container", w.kyverno(policy, good, w.digest(w.host+"/team/unsigned:v1")), unsigned)

	stranger := newHome(t)
	runProcess(t, stranger, "key", "init").says(t, "key init", 0)
	w.ship(stranger, w.host+"/team/stranger:v1")
	w.judged("signed with another key", w.kyverno(policy, w.digest(w.host+"/team/stranger:v1")), unsigned)

	raw, err := os.ReadFile(filepath.Join(w.home, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	two := filepath.Join(w.home, "two.yaml")
	second := fmt.Sprintf("  - {name: second, key: %q, roles: [attester], maxTier: observed, maxBuildLevel: 1}\n", filepath.Join(stranger, "keys", "attester.pub"))
	if err := os.WriteFile(two, append(raw, second...), 0o644); err != nil {
		t.Fatal(err)
	}
	either := filepath.Join(w.export(w.home, "kyverno", "--images", w.host+"/*", "--one-platform", "--trust", two), "kyverno.yaml")
	w.judged("signed by the first of two attesters", w.kyverno(either, good), "")
	w.judged("signed by the second of two attesters", w.kyverno(either, w.digest(w.host+"/team/stranger:v1")), "")

	// The verifier is in the trust root, but is no attester.
	verifier := newHome(t)
	runProcess(t, verifier, "key", "init").says(t, "key init", 0)
	for _, ext := range []string{".key", ".pub"} {
		key, err := os.ReadFile(filepath.Join(w.home, "keys", "verifier"+ext))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(verifier, "keys", "attester"+ext), key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.ship(verifier, w.host+"/team/verifier:v1")
	w.judged("signed with the verifier's key", w.kyverno(policy, w.digest(w.host+"/team/verifier:v1")), unsigned)

	for _, missing := range requiredOfImages {
		w.judged("without "+missing.Name, w.kyverno(policy, w.without(good, "team/without-"+missing.Name, missing)), "no "+missing.Name+" ("+missing.URI+") signed by attester")
	}
	w.judged("without a scan, which nobody asks for", w.kyverno(index, w.digest(w.host+"/team/without-vulns:v1")), "")
	w.judged("with another image's evidence", w.kyverno(policy, w.hung(good, "team/replayed", w.tampered(good))), unsigned)

	// What is about platforms hangs on each of them, and not on their index.
	w.ship(w.home, w.host+"/team/two:v1", "--platforms", bothPlatforms)
	platforms := w.digest(w.host + "/team/two:v1")
	w.judged("two platforms", w.kyverno(index, platforms), "")
	w.judged("two platforms as if they were one", w.kyverno(policy, platforms), "no spdx (https://spdx.dev/Document) signed by attester")

	w.judged("a tag", w.kyverno(policy, w.host+"/team/hello:v1"), "does not have a digest")
	// Kyverno's webhook replaces a tag by its digest, before it verifies that.
	w.push(w.host+"/team/hello:v1", w.tampered(good))
	w.judged("a moved tag", w.kyverno(policy, w.digest(w.host+"/team/hello:v1")), unsigned)
	w.judged("what the tag was", w.kyverno(policy, good), "")

	// A policy with a field that Kyverno does not know is not applied: so it knows all
	// that is exported.
	text, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "kyverno.yaml")
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(text), "insecureIgnoreTlog", "insecureIgnoreTLog", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	w.judged("an unknown field", w.kyverno(wrong, good), "Applying 0 policy rule(s)")
}

// TestExportKyvernoIdentity: Kyverno admits what the identity signed whom the
// trust root names, with the Sigstore that it names.
func TestExportKyvernoIdentity(t *testing.T) {
	w, s := identityWharf(t)
	tuf := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(s.dir, "tuf"))))
	t.Cleanup(tuf.Close)
	flags := []string{"--images", w.host + "/*", "--one-platform", "--tuf-mirror", tuf.URL, "--tuf-root", filepath.Join(s.dir, "tuf", "root.json")}
	policy := filepath.Join(w.export(w.home, "kyverno", flags...), "kyverno.yaml")
	good := w.digest(w.host + "/team/hello:v1")
	const unsigned = "no signature (https://sigstore.dev/cosign/sign/v1) signed by attester"

	w.judged("signed", w.kyverno(policy, good), "")
	w.judged("unsigned", w.kyverno(policy, w.push(w.host+"/team/unsigned:v1", w.tampered(good))), unsigned)
	s.shipAs(t, impostor, w.host+"/team/impostor:v1")
	w.judged("signed by another identity", w.kyverno(policy, w.digest(w.host+"/team/impostor:v1")), unsigned)
	w.judged("without provenance", w.kyverno(policy, w.without(good, "team/without", evidence.Provenance)), "no provenance (https://slsa.dev/provenance/v1) signed by attester")
	w.judged("with another image's evidence", w.kyverno(policy, w.hung(good, "team/replayed", w.tampered(good))), unsigned)
	other := filepath.Join(w.export(s.otherRoot(t), "kyverno", flags...), "kyverno.yaml")
	w.judged("the same name by another Sigstore", w.kyverno(other, good), unsigned)
	w.push(w.host+"/team/hello:v1", w.tampered(good))
	w.judged("a moved tag", w.kyverno(policy, w.digest(w.host+"/team/hello:v1")), unsigned)

	timestamped := s.withoutLog(t)
	w.ship(timestamped, w.host+"/team/timestamped:v1")
	unlogged := filepath.Join(w.export(timestamped, "kyverno", flags...), "kyverno.yaml")
	w.judged("timestamped, where no log is needed", w.kyverno(unlogged, w.digest(w.host+"/team/timestamped:v1")), "")
	w.judged("timestamped, where a log is needed", w.kyverno(policy, w.digest(w.host+"/team/timestamped:v1")), unsigned)

	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("PATHS_SIGNING_CONFIG", "")
	t.Setenv("PATHS_TRUSTED_ROOT", "")
	stranger := newHome(t)
	runProcess(t, stranger, "key", "init").says(t, "key init", 0)
	runProcess(t, stranger, "ship", s.src, "--vuln-db", s.db, "--to", w.host+"/team/key:v1").says(t, "ship", 0)
	w.judged("signed with a key", w.kyverno(policy, w.digest(w.host+"/team/key:v1")), unsigned)
}
