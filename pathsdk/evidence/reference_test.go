package evidence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	referencepb "github.com/in-toto/attestation/go/predicates/reference/v0"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// largeSPDX is an SBOM of more than size bytes.
func largeSPDX(size int) json.RawMessage {
	var b bytes.Buffer
	b.WriteString(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"x","documentNamespace":"https://example.com/x",` +
		`"creationInfo":{"created":"2026-01-31T12:00:00Z","creators":["Tool: x"]},"packages":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"SPDXID":"SPDXRef-%d","name":"example.com/module-%d","versionInfo":"v1.0.%d","licenseDeclared":"MIT"}`, i, i, i)
	}
	b.WriteString("]}")
	return b.Bytes()
}

// referenceExample is the specification's, with what Referenced asks for besides.
const referenceExample = `{"attester":{"id":"https://my-builder.com/v1"},
	"references":[{"downloadLocation":"https://cloud.com/my-sboms/sbom.spdx.json",
		"digest":{"sha256":"3b0d19b348f1e46a571c6e9df32897637c20dd9803261c2fc9cbe38b0c8422c4"},"mediaType":"application/spdx+json",
		"annotations":{"pavedpaths.dev/predicateType":"https://spdx.dev/Document","pavedpaths.dev/size":7}}]}`

// TestReference reads what Refer writes with our parser and the specification's proto.
func TestReference(t *testing.T) {
	predicate := largeSPDX(evidence.MaxInline)
	digest := step.Digest("sha256:" + hexA)
	p, err := evidence.Refer(evidence.SPDX, predicate, digest, step.Subject{Name: "team/orders", Digest: "sha256:" + hexB})
	if err != nil {
		t.Fatal(err)
	}
	raw := mustEncode(t, p)
	back, err := evidence.ParseReference(raw)
	if err != nil {
		t.Fatal(err)
	}
	got, err := back.Referenced()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(evidence.Referenced{Type: evidence.SPDX, Digest: digest, Size: int64(len(predicate))}, got); diff != "" {
		t.Error(diff)
	}
	d := back.References[0]
	if d.MediaType != "application/spdx+json" || d.DownloadLocation != "pkg:oci/team%2Forders@sha256:"+hexA {
		t.Errorf("got %s", raw)
	}
	var m referencepb.Reference
	if err := protojson.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	again, err := protojson.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, raw), tree(t, again)); diff != "" {
		t.Errorf("the proto read something else (-ours +proto):\n%s", diff)
	}
	// Such a predicate is referred to, and not put inside.
	if _, err := evidence.New(evidence.SPDX, predicate, subject, evidence.Derived); err == nil || !strings.Contains(err.Error(), "referred to") {
		t.Errorf("inside: %v", err)
	}
	if _, err := evidence.New(evidence.Reference, raw, subject, evidence.Derived); err != nil {
		t.Errorf("referred to: %v", err)
	}
	if _, err := evidence.Refer(evidence.SPDX, json.RawMessage(`{}`), digest, subject); err == nil {
		t.Error("refers to what is no SBOM")
	}
}

// TestReferenceFields removes or replaces one field at a time of what the specification
// demands.
func TestReferenceFields(t *testing.T) {
	if err := evidence.Check(evidence.Reference, json.RawMessage(referenceExample)); err != nil {
		t.Fatal(err)
	}
	const absent = ""
	for _, tt := range []struct{ path, value, want string }{
		{"attester", absent, "attester.id is missing"},
		{"attester.id", absent, "attester.id is missing"},
		{"references", absent, "references is missing"},
		{"references", `[]`, "references is missing"},
		{"references.0.downloadLocation", absent, "references[0]: downloadLocation is missing"},
		{"references.0.mediaType", absent, "references[0]: mediaType is missing"},
		{"references.0.digest", absent, "references[0]: one of uri, digest and content"},
		{"references.0.digest.sha256", `"beef"`, "lower-case hexadecimal"},
		{"references.0", `"x"`, "not the expected JSON"},
	} {
		t.Run(tt.path+"="+tt.value, func(t *testing.T) {
			var v json.RawMessage
			if tt.value != absent {
				v = json.RawMessage(tt.value)
			}
			err := evidence.Check(evidence.Reference, edit(t, json.RawMessage(referenceExample), tt.path, v))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestReferenced edits good references into such as we don't follow.
func TestReferenced(t *testing.T) {
	const note = "references.0.annotations"
	notes := func(typ, size string) string {
		return `{"pavedpaths.dev/predicateType":` + typ + `,"pavedpaths.dev/size":` + size + `}`
	}
	second := strings.Replace(referenceExample, `"references":[`, `"references":[{"uri":"https://example.com/x","downloadLocation":"https://example.com/x","mediaType":"text/plain"},`, 1)
	for _, tt := range []struct{ name, whole, path, value, want string }{
		{"two", second, "attester.id", `"x"`, "refers to 2 documents"},
		{"another reference", referenceExample, note, notes(`"https://in-toto.io/attestation/reference/v0.1"`, "7"), "another reference"},
		{"no type", referenceExample, note, `{"pavedpaths.dev/size":7}`, "no predicate type known"},
		{"no annotations", referenceExample, note, "null", "no predicate type known"},
		{"an unknown type", referenceExample, note, notes(`"https://example.com/v1"`, "7"), "no predicate type known"},
		{"a type by its short name", referenceExample, note, notes(`"spdx"`, "7"), "no predicate type known"},
		{"a type that is no text", referenceExample, note, notes(`["https://spdx.dev/Document"]`, "7"), "no predicate type known"},
		{"no size", referenceExample, note, `{"pavedpaths.dev/predicateType":"https://spdx.dev/Document"}`, "want 1 to"},
		{"size 0", referenceExample, note, notes(`"https://spdx.dev/Document"`, "0"), "want 1 to"},
		{"a negative size", referenceExample, note, notes(`"https://spdx.dev/Document"`, "-1"), "want 1 to"},
		{"a broken size", referenceExample, note, notes(`"https://spdx.dev/Document"`, "7.5"), "want 1 to"},
		{"a size in words", referenceExample, note, notes(`"https://spdx.dev/Document"`, `"7"`), "want 1 to"},
		{"too large", referenceExample, note, notes(`"https://spdx.dev/Document"`, fmt.Sprint(evidence.MaxPredicate+1)), "want 1 to"},
		{"larger than numbers are", referenceExample, note, notes(`"https://spdx.dev/Document"`, "99999999999999999999"), "want 1 to"},
		{"another digest", referenceExample, "references.0.digest", `{"sha512":"` + hexA + hexA + `"}`, "without a digest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := evidence.ParseReference(edit(t, json.RawMessage(tt.whole), tt.path, json.RawMessage(tt.value)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Referenced(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	p, err := evidence.ParseReference(json.RawMessage(referenceExample))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Referenced(); err != nil {
		t.Errorf("what was edited is refused itself: %v", err)
	}
}

func FuzzReferenced(f *testing.F) {
	f.Add([]byte(referenceExample))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := evidence.ParseReference(b)
		if err != nil {
			return
		}
		r, err := p.Referenced()
		if err != nil {
			return
		}
		if _, err := step.ParseDigest(string(r.Digest)); err != nil || r.Size <= 0 || r.Size > evidence.MaxPredicate || r.Type == evidence.Reference || r.Type.URI == "" {
			t.Errorf("accepted %+v", r)
		}
	})
}
