package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/run/host"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestLargeEvidence publishes an SBOM that is too large to be signed as a whole. It
// counts as any other, and nothing counts in its place.
func TestLargeEvidence(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	old := f.of(f.image, evidence.SPDX)
	var st struct{ Predicate map[string]any }
	if err := json.Unmarshal(old.statement, &st); err != nil {
		t.Fatal(err)
	}
	st.Predicate["comment"] = strings.Repeat("large ", evidence.MaxPredicate/6)
	large, err := json.Marshal(st.Predicate)
	if err != nil {
		t.Fatal(err)
	}
	f.remove(old.digest)
	if v, _ := verdictOf(t, home, "oci:"+store); v.Passed {
		t.Fatal("an SBOM is missing, and nobody misses it")
	}

	layout, err := oci.OpenLayout(store)
	if err != nil {
		t.Fatal(err)
	}
	images, err := oci.Images(t.Context(), layout, f.image)
	if err != nil {
		t.Fatal(err)
	}
	s := statement{Type: evidence.SPDX, Tier: evidence.Derived, On: []v1.Descriptor{images[0].Descriptor}}
	if err := s.encode(large, step.Subject{Name: "hello", Digest: f.image}); err != nil {
		t.Fatal(err)
	}
	if len(s.Bytes) > 4096 || s.Document == nil {
		t.Fatalf("a statement of %d bytes", len(s.Bytes))
	}
	signer, err := attest.LoadSigner(t.Context(), filepath.Join(home, "keys", "attester.key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{host: host.Host{Home: home}, stdout: io.Discard, stderr: io.Discard}
	if _, _, err := a.publish(t.Context(), signer, publication{To: "oci:" + store, Image: f.image, Created: time.Unix(0, 0), Evidence: []statement{s}}, nil); err != nil {
		t.Fatal(err)
	}
	v, r := verdictOf(t, home, "oci:"+store)
	if !v.Passed {
		t.Errorf("exit %d: %+v", r.code, v.Findings)
	}
	if r := pathctl(t, home, "evidence", "tree", "oci:"+store); !strings.Contains(r.stdout, "signed by attester, by reference") {
		t.Errorf("the tree does not say it:\n%s%s", r.stdout, r.stderr)
	}
	if r := pathctl(t, home, "evidence", "get", "oci:"+store, "spdx"); r.code != 0 || len(r.stdout) < evidence.MaxPredicate {
		t.Errorf("get: exit %d, %d bytes\n%s", r.code, len(r.stdout), r.stderr)
	}

	// Somebody changes one byte of it.
	for _, ref := range f.referrers(f.image) {
		m := f.object(ref.digest)
		layers := m["layers"].([]any)
		if len(layers) != 2 {
			continue
		}
		name := filepath.Join(store, "blobs", "sha256", strings.TrimPrefix(layers[1].(object)["digest"].(string), "sha256:"))
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		if err := os.WriteFile(name, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v, _ = verdictOf(t, home, "oci:"+store)
	code := ""
	for _, e := range v.Evidence {
		if e.Type == evidence.SPDX.URI {
			code = e.Code
		}
	}
	if v.Passed || code != string(attest.RefusedReference) {
		t.Errorf("a changed document: passed %t, code %q", v.Passed, code)
	}
}
