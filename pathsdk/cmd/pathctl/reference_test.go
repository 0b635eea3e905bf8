package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// grown is an SBOM with so many packages more that no statement holds it.
func grown(t testing.TB, spdx []byte) []byte {
	t.Helper()
	doc := decoded(t, spdx).(object)
	packages := doc["packages"].([]any)
	for size := len(spdx); size <= evidence.MaxInline; size += 100 {
		n := len(packages)
		packages = append(packages, object{"SPDXID": fmt.Sprintf("SPDXRef-Package-%d", n), "name": fmt.Sprintf("example.com/module-%d", n), "versionInfo": "v1.0.0", "downloadLocation": "NOASSERTION"})
	}
	doc["packages"] = packages
	return encoded(t, doc)
}

// TestByReference publishes an SBOM of many megabytes on a shipped image, by the code
// behind attest, and reads it with every verb that reads evidence.
func TestByReference(t *testing.T) {
	home, store := shipOnce(t)
	f := forge(t, store)
	old := f.of(f.image, evidence.SPDX)
	was, err := evidence.ParseStatement(old.statement)
	if err != nil {
		t.Fatal(err)
	}
	predicate := grown(t, was.Predicate)
	signer, err := attest.LoadSigner(t.Context(), filepath.Join(home, filepath.FromSlash(attest.AttesterKey)), nil)
	if err != nil {
		t.Fatal(err)
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
	if err := s.state(predicate, was.Subject); err != nil {
		t.Fatal(err)
	}
	f.remove(old.digest)
	if r := pathctl(t, home, "verify", "oci:"+store); r.code != 3 {
		t.Fatalf("without an SBOM: exit %d", r.code)
	}
	a := &app{}
	a.host.Home = t.TempDir()
	p := publication{To: "oci:" + store, Tag: "large", Image: f.image, Created: time.Unix(0, 0).UTC(), Evidence: []statement{s}}
	if _, n, err := a.publish(t.Context(), signer, p, nil); err != nil || n != 1 {
		t.Fatalf("publish: %d signatures, %v", n, err)
	}

	if v, r := verdictOf(t, home, "oci:"+store); r.code != 0 || !v.Passed {
		t.Errorf("verify: exit %d\n%s", r.code, r.stderr)
	}
	r := pathctl(t, home, "evidence", "get", "oci:"+store, "spdx")
	if sbom, err := evidence.ParseSPDX(json.RawMessage(r.stdout)); err != nil || len(sbom.Packages) < 1000 {
		t.Errorf("get: %d packages, %v\n%s", len(sbom.Packages), err, r.stderr)
	}
	for _, verb := range []string{"ls", "tree"} {
		r := pathctl(t, home, "evidence", verb, "oci:"+store)
		if r.code != 0 || strings.Count(r.stdout, "attester, by reference") != 1 || strings.Contains(r.stdout, "spdx+json") {
			t.Errorf("evidence %s:\n%s%s", verb, r.stdout, r.stderr)
		}
	}
	// Whoever takes the predicate away, or puts another one in its place, is found out.
	undo := snapshot(t, store)
	digest := oci.DigestOf(predicate)
	for name, do := range map[string]func(){
		"taken away": func() { f.rm(digest) },
		"one bit":    func() { f.flipByte(digest) },
		"cut":        func() { f.truncate(digest, int64(len(predicate)-1)) },
		"no file":    func() { f.fifo(digest) },
		"the old one": func() {
			f.write(f.path(digest), was.Predicate)
		},
	} {
		do()
		v, r := verdictOf(t, home, "oci:"+store)
		code := ""
		for _, e := range v.Evidence {
			if e.Type == evidence.SPDX.URI {
				code = e.Code
			}
		}
		if r.code != 3 || code != string(attest.RefusedLost) {
			t.Errorf("%s: exit %d, code %q", name, r.code, code)
		}
		undo()
	}
}

// TestState puts inside what fits, and refers to what does not.
func TestState(t *testing.T) {
	about := step.Subject{Name: "image", Digest: step.Digest("sha256:" + strings.Repeat("5", 64))}
	head := `{"attributes":[{"attribute":"X","conditions":{"text":"`
	tail := `"}}]}`
	for _, tt := range []struct {
		size  int
		apart bool
	}{{1 << 10, false}, {evidence.MaxInline, false}, {evidence.MaxInline + 1, true}, {evidence.MaxPredicate, true}} {
		predicate := head + strings.Repeat("x", tt.size-len(head)-len(tail)) + tail
		s := statement{Type: evidence.SCAI, Tier: evidence.Derived}
		if err := s.state(json.RawMessage(predicate), about); err != nil {
			t.Fatal(err)
		}
		st, err := evidence.ParseStatement(s.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if (s.Apart != nil) != tt.apart || st.PredicateType != s.signed().URI || tt.apart != (st.PredicateType == evidence.Reference.URI) {
			t.Errorf("%d bytes: apart %t, a statement of type %s", tt.size, s.Apart != nil, st.PredicateType)
		}
		if tt.apart && len(s.Bytes) > 4<<10 {
			t.Errorf("the statement that refers to them has %d bytes", len(s.Bytes))
		}
	}
	s := statement{Type: evidence.SCAI, Tier: evidence.Derived}
	if err := s.state(json.RawMessage(head+strings.Repeat("x", evidence.MaxPredicate)+tail), about); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("more than the limit: %v", err)
	}
}
