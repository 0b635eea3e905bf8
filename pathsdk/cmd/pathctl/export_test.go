//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"slices"
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
	ship func(home, to string, flags ...string)
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

func newWharf(t *testing.T, home string, ship func(home, to string, flags ...string)) wharf {
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
	w := newWharf(t, home, func(home, to string, more ...string) {
		mustShip(t, home, src, slices.Concat([]string{"--vuln-db", db, "--to", to}, flags, more)...)
	})
	w.ship(home, w.host+"/team/hello:v1")
	return w
}

// identityWharf signs in the name of an identity.
func identityWharf(t *testing.T) (wharf, sigstoreWorld) {
	t.Helper()
	s := newSigstoreWorld(t)
	w := newWharf(t, s.home, func(home, to string, more ...string) {
		s.token(t)
		mustShip(t, home, s.src, append([]string{"--vuln-db", s.db, "--to", to}, more...)...)
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
