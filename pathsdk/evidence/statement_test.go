package evidence_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	intoto "github.com/in-toto/attestation/go/v1"
	golang "github.com/in-toto/in-toto-golang/in_toto"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var subject = step.Subject{Name: "microservice-go", Digest: "sha256:" + hexA}

func mustNew(t testing.TB, p evidence.Predicate) []byte {
	t.Helper()
	b, err := evidence.New(p.Type(), mustEncode(t, p), subject, evidence.Derived)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStatementRoundTrip(t *testing.T) {
	for _, p := range samples() {
		t.Run(p.Type().Name, func(t *testing.T) {
			b := mustNew(t, p)
			if !bytes.Equal(b, mustNew(t, p)) {
				t.Error("the same arguments gave other bytes")
			}
			got, err := evidence.ParseStatement(b)
			if err != nil {
				t.Fatal(err)
			}
			want := evidence.Statement{PredicateType: p.Type().URI, Subject: subject, Tier: evidence.Derived, Predicate: mustEncode(t, p)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}

			// The specification's protos and in-toto-golang read the same.
			var pb intoto.Statement
			if err := protojson.Unmarshal(b, &pb); err != nil {
				t.Fatal(err)
			}
			if err := pb.Validate(); err != nil {
				t.Errorf("in-toto/attestation: %v", err)
			}
			var old golang.StatementHeader //nolint:staticcheck // an independent parser
			if err := json.Unmarshal(b, &old); err != nil {
				t.Fatal(err)
			}
			if old.PredicateType != p.Type().URI || len(old.Subject) != 1 || old.Subject[0].Digest["sha256"] != hexA {
				t.Errorf("in-toto-golang read %+v", old)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	ok := json.RawMessage("{}")
	tests := []struct {
		name      string
		typ       evidence.Type
		predicate json.RawMessage
		subject   step.Subject
		tier      evidence.Tier
		want      string
	}{
		{"no digest", evidence.Signature, ok, step.Subject{Name: "x"}, evidence.Derived, "digest"},
		{"sha512", evidence.Signature, ok, step.Subject{Digest: "sha512:" + hexA}, evidence.Derived, "digest"},
		{"no tier", evidence.Signature, ok, subject, "", "tier"},
		{"odd tier", evidence.Signature, ok, subject, "certain", "tier"},
		{"unknown type", evidence.Type{URI: "https://example.com/x"}, ok, subject, evidence.Derived, "unknown"},
		{"malformed predicate", evidence.Vulns, ok, subject, evidence.Derived, "scanner.uri is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := evidence.New(tt.typ, tt.predicate, tt.subject, tt.tier)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestParseStatementRefuses(t *testing.T) {
	const sub = `{"name":"x","digest":{"sha256":"` + hexA + `"}}`
	make := func(typ, subjects, predicateType, predicate string) string {
		return `{"_type":"` + typ + `","subject":` + subjects + `,"predicateType":"` + predicateType + `","predicate":` + predicate + `}`
	}
	v1 := evidence.StatementType
	if _, err := evidence.ParseStatement([]byte(make(v1, "["+sub+"]", "p", "{}"))); err != nil {
		t.Fatalf("the plain one is refused: %v", err)
	}
	// A missing predicate is an empty one.
	st, err := evidence.ParseStatement([]byte(`{"_type":"` + v1 + `","subject":[` + sub + `],"predicateType":"p"}`))
	if err != nil || string(st.Predicate) != "{}" || st.Tier != "" {
		t.Errorf("without a predicate: %+v, %v", st, err)
	}
	tests := []struct{ name, in, want string }{
		{"old version", make("https://in-toto.io/Statement/v0.1", "["+sub+"]", "p", "{}"), "_type"},
		{"no type", `{"subject":[` + sub + `],"predicateType":"p"}`, "_type"},
		{"type in another case", `{"_TYPE":"` + v1 + `","subject":[` + sub + `],"predicateType":"p"}`, "_type"},
		{"two types", `{"_type":"` + v1 + `","_type":"` + v1 + `","subject":[` + sub + `],"predicateType":"p"}`, "duplicate"},
		{"two subjects fields", `{"_type":"` + v1 + `","subject":[],"subject":[` + sub + `],"predicateType":"p"}`, "duplicate"},
		{"two digests of one name", make(v1, `[{"digest":{"sha256":"`+hexB+`","sha256":"`+hexA+`"}}]`, "p", "{}"), "duplicate"},
		{"no subject", make(v1, "[]", "p", "{}"), "0 subjects"},
		{"two subjects", make(v1, "["+sub+","+sub+"]", "p", "{}"), "2 subjects"},
		{"null subject", make(v1, "[null]", "p", "{}"), "digest"},
		{"sha512 only", make(v1, `[{"digest":{"sha512":"`+hexA+hexA+`"}}]`, "p", "{}"), "digest"},
		{"short digest", make(v1, `[{"digest":{"sha256":"abcd"}}]`, "p", "{}"), "digest"},
		{"upper-case digest", make(v1, `[{"digest":{"sha256":"`+strings.ToUpper(hexA)+`"}}]`, "p", "{}"), "digest"},
		{"no predicate type", make(v1, "["+sub+"]", "", "{}"), "predicateType"},
		{"list as predicate", make(v1, "["+sub+"]", "p", "[]"), "not an object"},
		{"unknown tier", make(v1, `[{"digest":{"sha256":"`+hexA+`"},"annotations":{"pavedpaths.dev/tier":"best"}}]`, "p", "{}"), "tier"},
		{"tier that is no text", make(v1, `[{"digest":{"sha256":"`+hexA+`"},"annotations":{"pavedpaths.dev/tier":3}}]`, "p", "{}"), "tier"},
		{"trailing data", make(v1, "["+sub+"]", "p", "{}") + "{}", "JSON"},
		{"not UTF-8", make(v1, "["+sub+"]", "p\xff", "{}"), "UTF-8"},
		{"deep", `{"_type":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "JSON"},
		{"huge", strings.Repeat(" ", evidence.MaxStatement+1), "limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := evidence.ParseStatement([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestLimits: the last byte that may be read or written, and one more.
func TestLimits(t *testing.T) {
	pad := func(b []byte, size int) []byte {
		return append(bytes.Clone(b), bytes.Repeat([]byte(" "), size-len(b))...)
	}
	limited := func(what string, err error, want bool) {
		t.Helper()
		if (err != nil) != want || want && !strings.Contains(err.Error(), "limit") {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := evidence.TestResultV01{Result: evidence.TestsPassed, Configuration: []evidence.ResourceDescriptor{{Name: "go test", URI: "x"}}, PassedTests: []string{""}}
	plain := mustEncode(t, p)
	for over, want := range []bool{false, true} {
		_, err := evidence.ParseStatement(pad(mustNew(t, p), evidence.MaxStatement+over))
		limited("read a statement", err, want)
		_, err = evidence.ParseTestResult(pad(plain, evidence.MaxPredicate+over))
		limited("read a predicate", err, want)
		p.PassedTests[0] = strings.Repeat("x", evidence.MaxPredicate+over-len(plain))
		_, err = p.Encode()
		limited("write a predicate", err, want)
		p.PassedTests[0] = strings.Repeat("x", evidence.MaxInline+over-len(plain))
		_, err = evidence.New(evidence.TestResult, mustEncode(t, p), step.Subject{Digest: step.Digest("sha256:" + strings.Repeat("a", 64))}, evidence.Reported)
		limited("sign a predicate", err, want)
		p.PassedTests[0] = ""
	}
}

// TestEncodeRefuses what JSON can't say.
func TestEncodeRefuses(t *testing.T) {
	p := evidence.TestResultV01{Result: evidence.TestsPassed, Configuration: []evidence.ResourceDescriptor{{Name: "go test", URI: "x", Annotations: map[string]any{"coverage": math.NaN()}}}}
	if raw, err := p.Encode(); err == nil || !strings.Contains(err.Error(), "unsupported value") {
		t.Errorf("encoded as %q, %v", raw, err)
	}
}

func TestTypes(t *testing.T) {
	uris := map[string]string{
		"signature":   "https://sigstore.dev/cosign/sign/v1",
		"provenance":  "https://slsa.dev/provenance/v1",
		"test-result": "https://in-toto.io/attestation/test-result/v0.1",
		"spdx":        "https://spdx.dev/Document",
		"cyclonedx":   "https://cyclonedx.org/bom",
		"vulns":       "https://in-toto.io/attestation/vulns/v0.2",
		"scai":        "https://in-toto.io/attestation/scai/v0.3",
		"svr":         "https://in-toto.io/attestation/svr/v0.2",
		"release":     "https://in-toto.io/attestation/release/v0.2",
		"vsa":         "https://slsa.dev/verification_summary/v1",
		"waiver":      "https://github.com/pavedpaths/paths/attestations/waiver/v1",
	}
	got := map[string]string{}
	for _, ty := range evidence.Types() {
		got[ty.Name] = ty.URI
		if byURI, ok := evidence.Lookup(ty.URI); !ok || byURI != ty {
			t.Errorf("Lookup(%s) = %v, %v", ty.URI, byURI, ok)
		}
	}
	if diff := cmp.Diff(uris, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, p := range samples() {
		f.Add(mustNew(f, p))
	}
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := evidence.ParseStatement(b)
		if err != nil {
			return
		}
		if _, err := step.ParseDigest(string(s.Subject.Digest)); err != nil {
			t.Errorf("accepted a subject without digest: %v", err)
		}
		if !json.Valid(s.Predicate) || s.PredicateType == "" {
			t.Errorf("accepted %q with predicate %q", s.PredicateType, s.Predicate)
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, p := range samples() {
		f.Add(p.Type().Name, []byte(mustEncode(f, p)))
	}
	f.Add("spdx", []byte(`{"spdxVersion":"SPDX-2.3","packages":[{}]}`))
	f.Add("cyclonedx", []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[null]}`))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		typ, ok := evidence.Lookup(name)
		if !ok || evidence.Check(typ, b) != nil {
			return
		}
		// What a parser accepts can be put into a statement and read back.
		st, err := evidence.New(typ, b, subject, evidence.Reported)
		if err != nil {
			t.Fatal(err)
		}
		back, err := evidence.ParseStatement(st)
		if err != nil {
			t.Fatal(err)
		}
		if err := evidence.Check(typ, back.Predicate); err != nil {
			t.Fatal(err)
		}
	})
}
