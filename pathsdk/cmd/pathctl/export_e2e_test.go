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

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/regtest"
)

// wharf is a registry with images, and what is exported of one home's trust root.
type wharf struct {
	t    *testing.T
	host string
	home string
	ship func(home, to string) // ships the service, whatever the verdict
}

// digest is what a tag means now.
func (w wharf) digest(ref string) string {
	w.t.Helper()
	r := w.ref(ref)
	d, err := remote.Head(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Context().Digest(d.Digest.String()).String()
}

func (w wharf) ref(ref string) name.Reference {
	w.t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w wharf) image(ref string) v1.Image {
	w.t.Helper()
	i, err := remote.Image(w.ref(ref))
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

func (w wharf) push(ref string, i v1.Image) string {
	w.t.Helper()
	if err := remote.Write(w.ref(ref), i); err != nil {
		w.t.Fatal(err)
	}
	return w.digest(ref)
}

// tampered is an image with one more layer.
func (w wharf) tampered(ref string) v1.Image {
	w.t.Helper()
	layer, err := random.Layer(100, types.OCILayer)
	if err != nil {
		w.t.Fatal(err)
	}
	i, err := mutate.AppendLayers(w.image(ref), layer)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// requiredOfImages is what the shipped policy requires of an image, and of its platforms.
var requiredOfImages = []evidence.Type{evidence.Signature, evidence.Provenance, evidence.SPDX, evidence.CycloneDX, evidence.Vulns, evidence.SCAI}

// bundles are the referrers of an image, by the type of what they say.
func (w wharf) bundles(ref string) map[string]v1.Image {
	w.t.Helper()
	index, err := remote.Referrers(w.ref(ref).(name.Digest))
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]v1.Image{}
	for _, d := range m.Manifests {
		b := w.image(w.ref(ref).Context().Digest(d.Digest.String()).String())
		bm, err := b.Manifest()
		if err != nil {
			w.t.Fatal(err)
		}
		found[bm.Annotations["dev.sigstore.bundle.predicateType"]] = b
	}
	for _, needed := range requiredOfImages {
		if found[needed.URI] == nil {
			w.t.Fatalf("%s has no %s: without it, no test here would mean anything", ref, needed.Name)
		}
	}
	return found
}

// without is the same image in a repository of its own, with all bundles but one.
func (w wharf) without(ref, repo string, missing evidence.Type) string {
	w.t.Helper()
	to := w.push(w.host+"/"+repo+":v1", w.image(ref))
	for predicate, b := range w.bundles(ref) {
		if predicate == missing.URI {
			continue
		}
		d, err := b.Digest()
		if err != nil {
			w.t.Fatal(err)
		}
		w.push(w.host+"/"+repo+"@"+d.String(), b)
	}
	return to
}

// hung is an image on which the bundles of another hang.
func (w wharf) hung(ref, repo string, i v1.Image) string {
	w.t.Helper()
	to := w.push(w.host+"/"+repo+":v1", i)
	subject, err := remote.Head(w.ref(to))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range w.bundles(ref) {
		moved, ok := mutate.Subject(b, *subject).(v1.Image)
		if !ok {
			w.t.Fatal("a referrer is no image")
		}
		d, err := moved.Digest()
		if err != nil {
			w.t.Fatal(err)
		}
		w.push(w.host+"/"+repo+"@"+d.String(), moved)
	}
	return to
}

// export writes a verifier's configuration into a folder.
func (w wharf) export(home, format string, more ...string) string {
	w.t.Helper()
	out := w.t.TempDir()
	runProcess(w.t, home, append([]string{"policy", "export", "--format", format, "--out", out}, more...)...).says(w.t, "export", 0)
	return out
}

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

// judged fails the test unless a verifier passes an image, or refuses it with some
// words.
func (w wharf) judged(what string, err error, want string) {
	w.t.Helper()
	switch {
	case want == "" && err != nil:
		w.t.Errorf("%s: refused: %v", what, err)
	case want != "" && err == nil:
		w.t.Errorf("%s: passed", what)
	case want != "" && !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), want):
		w.t.Errorf("%s: refused, but not for %q: %v", what, want, err)
	default:
		w.t.Logf("%s: as wanted (%s)", what, map[bool]string{true: "passed", false: "refused: " + want}[want == ""])
	}
}

func newWharf(t *testing.T, home string, ship func(home, to string)) wharf {
	if os.Getenv("PATHS_VERIFIERS") == "" {
		t.Fatal("there are no other verifiers\n  fix: make e2e-kyverno")
	}
	return wharf{t: t, host: regtest.New(t).Host, home: home, ship: ship}
}

// keyWharf signs with keys.
func keyWharf(t *testing.T, flags ...string) wharf {
	t.Helper()
	src, db, home := hello(t), smallDB(t), newHome(t)
	runProcess(t, home, "key", "init").says(t, "key init", 0)
	w := newWharf(t, home, func(home, to string) {
		mustShip(t, home, src, append([]string{"--vuln-db", db, "--to", to}, flags...)...)
	})
	w.ship(home, w.host+"/team/hello:v1")
	return w
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

// identityWharf signs in the name of an identity.
func identityWharf(t *testing.T) (wharf, sigstoreWorld) {
	t.Helper()
	s := newSigstoreWorld(t)
	w := newWharf(t, s.home, func(home, to string) {
		s.token(t)
		if r := runProcess(t, home, "ship", s.src, "--vuln-db", s.db, "--to", to); r.code != 0 {
			t.Fatalf("ship: exit %d\n%s", r.code, r.stderr)
		}
	})
	w.ship(s.home, w.host+"/team/hello:v1")
	return w, s
}

// shipAs ships in the name of somebody whom nobody trusts.
func (s sigstoreWorld) shipAs(t *testing.T, workflow, to string) {
	t.Helper()
	home := newHome(t)
	runProcess(t, home, "key", "init").says(t, "key init", 0)
	s.token(t, "-workflow", workflow)
	runProcess(t, home, "ship", s.src, "--vuln-db", s.db, "--to", to).says(t, "ship as "+workflow, 3, "no usable signature")
}

// otherRoot is a home whose trust root has the same identity by another Sigstore.
func (s sigstoreWorld) otherRoot(t *testing.T) string {
	t.Helper()
	home := newHome(t)
	runProcess(t, home, "key", "init").says(t, "key init", 0)
	s.trust(t, home, s.issuer, trustSubject)
	file := filepath.Join(home, "trust.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := filepath.Abs("../../policy/export/testdata/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), filepath.Join(s.dir, "trusted_root.json"), other, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	return home
}

const impostor = "acme/orders/.github/workflows/attest.yaml@refs/heads/mai"

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

	t.Setenv("PATHS_IDENTITY_TOKEN_FILE", "")
	t.Setenv("PATHS_SIGNING_CONFIG", "")
	stranger := newHome(t)
	runProcess(t, stranger, "key", "init").says(t, "key init", 0)
	runProcess(t, stranger, "ship", s.src, "--vuln-db", s.db, "--to", w.host+"/team/key:v1").says(t, "ship", 0)
	w.judged("signed with a key", w.kyverno(policy, w.digest(w.host+"/team/key:v1")), unsigned)
}

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
	w := keyWharf(t, "--legacy-signature")
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
		if strings.Contains(g, "kyverno") {
			continue // whose command line refuses what it does not know
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
