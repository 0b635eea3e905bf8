package attest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/attest"
	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/oci"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// TestReference verifies a predicate that a statement refers to, and refuses what stands
// in its place.
func TestReference(t *testing.T) {
	attester, _, trust := home(t)
	document := bytes.Repeat([]byte(" "), evidence.MaxPredicate+1)
	copy(document, `{"attributes":[{"attribute":"X"}]`)
	document[len(document)-1] = '}'
	digestOf := func(b []byte) step.Digest {
		sum := sha256.Sum256(b)
		return step.Digest("sha256:" + hex.EncodeToString(sum[:]))
	}
	to := func(change func(*evidence.ReferenceV01)) json.RawMessage {
		ref := evidence.ReferTo(evidence.SCAI, digestOf(document))
		if change != nil {
			change(&ref)
		}
		raw, err := ref.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	beside := func(b []byte) *oci.Document { return &oci.Document{MediaType: evidence.SCAI.MediaType(), Bytes: b} }
	for name, c := range map[string]struct {
		predicate json.RawMessage
		document  *oci.Document
		want      string // in the error; none if it is good
	}{
		"as it is":         {to(nil), beside(document), ""},
		"nothing there":    {to(nil), nil, "is not beside it"},
		"another document": {to(nil), beside([]byte(`{"attributes":[{"attribute":"Y"}]}`)), "is not beside it"},
		"of no known type": {to(func(r *evidence.ReferenceV01) { r.References[0].Annotations = nil }), beside(document), "unknown type"},
		"of a short name":  {to(func(r *evidence.ReferenceV01) { r.References[0].Annotations["pavedpaths.dev/predicateType"] = "scai" }), beside(document), "unknown type"},
		"a reference to a reference": {to(func(r *evidence.ReferenceV01) {
			r.References[0].Annotations["pavedpaths.dev/predicateType"] = evidence.Reference.URI
		}), beside(document), "refers to a reference"},
		"two of them": {to(func(r *evidence.ReferenceV01) { r.References = append(r.References, r.References[0]) }), beside(document), "2 references"},
	} {
		p := newPlace(t, "layout")
		st, err := evidence.New(evidence.Reference, c.predicate, step.Subject{Name: "app", Digest: p.image.Digest}, evidence.Derived)
		if err != nil {
			t.Fatal(err)
		}
		d, err := attest.Attach(t.Context(), p.store, p.image.Descriptor, signed(t, attester, st), evidence.Reference.URI, created, c.document)
		if err != nil {
			t.Fatal(err)
		}
		found, err := attest.Collect(t.Context(), p.store, []oci.Image{p.image}, trust)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %d found, %v", name, len(found), err)
		}
		f := found[0]
		if c.want == "" {
			if f.Err != nil || f.PredicateType != evidence.SCAI.URI || !f.Verified.ByReference || f.Verified.Statement.PredicateType != evidence.SCAI.URI ||
				!bytes.Equal(f.Verified.Statement.Predicate, document) || f.Verified.Tier != evidence.Derived {
				t.Errorf("%s: %v, type %s", name, f.Err, f.PredicateType)
			}
			if err := attester.Confirm(t.Context(), p.store, p.image.Digest, d, st); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if f.Verified != nil || f.Err == nil || !strings.Contains(f.Err.Error(), c.want) || attest.CodeOf(f.Err) != attest.RefusedReference {
			t.Errorf("%s: %v with code %s, want %q", name, f.Err, attest.CodeOf(f.Err), c.want)
		}
	}

	// A document beside a statement that does not refer to it is nobody's.
	p := newPlace(t, "layout")
	st := statement(t, evidence.SCAI, p.image.Digest, evidence.Derived)
	if _, err := attest.Attach(t.Context(), p.store, p.image.Descriptor, signed(t, attester, st), evidence.SCAI.URI, created, beside(document)); err != nil {
		t.Fatal(err)
	}
	found, err := attest.Collect(t.Context(), p.store, []oci.Image{p.image}, trust)
	if err != nil || len(found) != 1 || found[0].Verified != nil || attest.CodeOf(found[0].Err) != attest.RefusedMalformed {
		t.Errorf("%+v, %v", found, err)
	}
}
