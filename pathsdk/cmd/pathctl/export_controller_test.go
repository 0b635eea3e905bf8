//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// controller asks policy-controller whether it admits an image.
func (w wharf) controller(dir, image string) error {
	args := []string{"-policy", filepath.Join(dir, "clusterimagepolicy.yaml"), "-image", image, "-log-level", "error"}
	roots, err := filepath.Glob(filepath.Join(dir, "trustroot-*.yaml"))
	if err != nil {
		return err
	}
	for _, r := range roots {
		args = append(args, "-trustroot", r)
	}
	out, err := exec.Command(filepath.Join(os.Getenv("PATHS_VERIFIERS"), "policy-tester"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// TestExportPolicyControllerKeys: policy-controller finds a key's signature in a tag.
func TestExportPolicyControllerKeys(t *testing.T) {
	w := keyWharf(t, "--layout", "both")
	good := w.digest(w.host + "/team/hello:v1")
	dir := w.export(w.home, "policy-controller", "--images", w.host+"/**")
	w.judged("signed", w.controller(dir, good), "")
	w.judged("unsigned", w.controller(dir, w.push(w.host+"/team/unsigned:v1", w.tampered(good))), "no signatures found")
	stranger := newHome(t)
	runProcess(t, stranger, "key", "init").says(t, "key init", 0)
	w.ship(stranger, w.host+"/team/stranger:v1")
	w.judged("signed with another key", w.controller(dir, w.digest(w.host+"/team/stranger:v1")), "no matching signatures")
	w.push(w.host+"/team/hello:v1", w.tampered(good))
	w.judged("a moved tag", w.controller(dir, w.host+"/team/hello:v1"), "no signatures found")
	w.judged("what the tag was", w.controller(dir, good), "")
}

// TestExportPolicyControllerIdentity: policy-controller verifies every predicate that an
// identity signed with a timestamp. What has an entry of Rekor v2 it can't read.
func TestExportPolicyControllerIdentity(t *testing.T) {
	w, s := identityWharf(t)
	logged := w.digest(w.host + "/team/hello:v1")
	w.judged("with an entry of Rekor v2", w.controller(w.export(w.home, "policy-controller", "--images", w.host+"/**"), logged), "no matching attestations")

	s.home = s.withoutLog(t)
	w.home = s.home
	w.ship(s.home, w.host+"/team/timestamped:v1")
	good := w.digest(w.host + "/team/timestamped:v1")
	dir := w.export(w.home, "policy-controller", "--images", w.host+"/**", "--one-platform")
	w.judged("signed", w.controller(dir, good), "")
	w.judged("unsigned", w.controller(dir, w.push(w.host+"/team/unsigned:v1", w.tampered(good))), "no valid bundles exist in registry")
	s.shipAs(t, impostor, w.host+"/team/impostor:v1")
	w.judged("signed by another identity", w.controller(dir, w.digest(w.host+"/team/impostor:v1")), "failed to verify certificate identity")
	for _, missing := range requiredOfImages {
		w.judged("without "+missing.Name, w.controller(dir, w.without(good, "team/without-"+missing.Name, missing)), "no matching attestations with type "+missing.URI)
	}
	w.judged("with another image's evidence", w.controller(dir, w.hung(good, "team/replayed", w.tampered(good))), "no matching attestations")
}

// withoutLog is a home that asks no log of the identity, whose signatures are sent to
// none from now on.
func (s sigstoreWorld) withoutLog(t *testing.T) string {
	t.Helper()
	home := newHome(t)
	runProcess(t, home, "key", "init").says(t, "key init", 0)
	s.trust(t, home, s.issuer, trustSubject)
	trust := filepath.Join(home, "trust.yaml")
	text, err := os.ReadFile(trust)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(trust, []byte(strings.Replace(string(text), "identity: {", "identity: {log: none, ", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, "signing_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "rekorTlogUrls")
	delete(config, "rekorTlogConfig")
	if raw, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "signing_config.json")
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATHS_SIGNING_CONFIG", file)
	return home
}

// TestExportTypes: the other verifiers' own types and schemas know all that is
// exported, and no more.
func TestExportTypes(t *testing.T) {
	check := filepath.Join(os.Getenv("PATHS_VERIFIERS"), "check")
	golden, err := filepath.Glob("../../policy/export/testdata/TestWrite_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files []string
	for _, g := range golden {
		if strings.Contains(g, "kyverno") || strings.Contains(g, "ampel") {
			continue // they are tested apart
		}
		raw, err := os.ReadFile(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(raw), "==> ")[1:] {
			name, text, _ := strings.Cut(part, "\n")
			file := filepath.Join(dir, fmt.Sprintf("%d-%s", len(files), name))
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	out, err := exec.Command(check, files...).CombinedOutput()
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files: %v\n%s", len(files), err, out)
	}
	t.Logf("%s", out)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, "unknown: 1\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(check, file).CombinedOutput(); err == nil {
			t.Errorf("%s has an unknown field, and that is not refused, so the check means nothing\n%s", file, out)
		}
	}
}
