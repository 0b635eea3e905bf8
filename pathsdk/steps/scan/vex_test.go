package scan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const vexHead = `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex/1","author":"Shop team","timestamp":"2026-02-01T00:00:00Z","version":1,"statements":[`

func vexDoc(statements ...string) string { return vexHead + strings.Join(statements, ",") + "]}" }

func vexStatement(vuln, products, rest string) string {
	return `{"vulnerability":` + vuln + `,"products":` + products + `,` + rest + `}`
}

const (
	crypto      = `{"name":"CVE-2024-45337"}`
	notAffected = `"status":"not_affected","justification":"vulnerable_code_not_in_execute_path"`
)

func TestVEX(t *testing.T) {
	applied := &VEX{Status: "not_affected", Justification: "vulnerable_code_not_in_execute_path", Document: "https://example.com/vex/1", Author: "Shop team"}
	pkg := `[{"@id":"pkg:golang/golang.org/x/crypto"}]`
	in := func(image string) string {
		return `[{"@id":"` + image + `","subcomponents":[{"@id":"pkg:golang/golang.org/x/crypto@v0.30.0"}]}]`
	}
	tests := map[string]struct {
		statements []string
		want       *VEX
	}{
		"package without version": {[]string{vexStatement(crypto, pkg, notAffected)}, applied},
		"package with version":    {[]string{vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto@v0.30.0"}]`, notAffected)}, applied},
		"package by identifier":   {[]string{vexStatement(crypto, `[{"identifiers":{"purl":"pkg:golang/golang.org/x/crypto@v0.30.0"}}]`, notAffected)}, applied},
		"other version":           {[]string{vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto@v0.29.0"}]`, notAffected)}, nil},
		"other package":           {[]string{vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/cryptography"}]`, notAffected)}, nil},
		"by alias":                {[]string{vexStatement(`{"name":"GHSA-v778-237x-gjrc"}`, pkg, notAffected)}, applied},
		"by alias in document":    {[]string{vexStatement(`{"name":"GO-2024-3321","aliases":["CVE-2024-45337"]}`, pkg, notAffected)}, applied},
		"by address":              {[]string{vexStatement(`{"@id":"https://nvd.nist.gov/vuln/detail/CVE-2024-45337"}`, pkg, notAffected)}, applied},
		"other vulnerability":     {[]string{vexStatement(`{"name":"CVE-2024-4533"}`, pkg, notAffected)}, nil},
		"main module":             {[]string{vexStatement(crypto, in("pkg:golang/example.com/shop"), notAffected)}, applied},
		"image by name":           {[]string{vexStatement(crypto, in("pkg:oci/shop"), notAffected)}, applied},
		"image by digest":         {[]string{vexStatement(crypto, in("pkg:oci/anything@IMAGE"), notAffected)}, applied},
		"whole image":             {[]string{vexStatement(crypto, `[{"@id":"pkg:oci/shop"}]`, notAffected)}, applied},
		"image by hash":           {[]string{vexStatement(crypto, `[{"hashes":{"sha-256":"HEX"}}]`, notAffected)}, applied},
		"another image":           {[]string{vexStatement(crypto, in("pkg:oci/bank"), notAffected)}, nil},
		"another image's digest":  {[]string{vexStatement(crypto, in("pkg:oci/shop@sha256:"+strings.Repeat("0", 64)), notAffected)}, nil},
		"another module":          {[]string{vexStatement(crypto, in("pkg:golang/example.com/bank"), notAffected)}, nil},
		"package in another":      {[]string{vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto","subcomponents":[{"@id":"pkg:golang/golang.org/x/text"}]}]`, notAffected)}, nil},
		"newest counts": {[]string{
			vexStatement(crypto, pkg, `"timestamp":"2026-02-20T00:00:00Z","status":"affected","action_statement":"upgrade"`),
			vexStatement(crypto, pkg, `"timestamp":"2026-02-10T00:00:00Z",`+notAffected),
		}, &VEX{Status: "affected", Statement: "upgrade", Document: "https://example.com/vex/1", Author: "Shop team"}},
		"last of a time": {[]string{
			vexStatement(crypto, pkg, `"status":"under_investigation"`), vexStatement(crypto, pkg, `"status":"fixed"`),
		}, &VEX{Status: "fixed", Document: "https://example.com/vex/1", Author: "Shop team"}},
		"impact statement": {[]string{vexStatement(crypto, pkg, `"status":"not_affected","impact_statement":"no SSH here"`)},
			&VEX{Status: "not_affected", Statement: "no SSH here", Document: "https://example.com/vex/1", Author: "Shop team"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, amd64(sbomOf("", goService...)), nil)
			doc := strings.NewReplacer("IMAGE", string(f.in.Image), "HEX", f.in.Image.Hex()).Replace(vexDoc(tt.statements...))
			f.write(t, "security/openvex.json", doc)
			f.in.VEX = []string{"security/openvex.json"}
			out, report, ev := f.ok(t)
			p := report.Platforms[0]
			if p.Findings[0].ID != "CVE-2024-45337" || len(p.Findings) != 7 {
				t.Fatalf("a finding vanished: %+v", p.Findings)
			}
			if diff := cmp.Diff(tt.want, p.Findings[0].VEX); diff != "" {
				t.Error(diff)
			}
			open := 1
			if !p.Findings[0].Open() {
				open = 0
			}
			if out.Critical != open {
				t.Errorf("critical = %d, want %d", out.Critical, open)
			}
			for _, other := range p.Findings[1:] {
				if other.VEX != nil {
					t.Errorf("%s got the statement too", other.ID)
				}
			}
			v, err := evidence.ParseVulns(ev[0].Predicate)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range v.Scanner.Result {
				if got := r.Annotations[0]["vex"]; r.ID == "CVE-2024-45337" && (got != nil) != (tt.want != nil) {
					t.Errorf("predicate says vex %v", got)
				}
			}
		})
	}
}

func TestVEXRefused(t *testing.T) {
	ok := vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto"}]`, notAffected)
	tests := map[string]struct{ doc, want string }{
		"no JSON":         {"not a document", "OpenVEX"},
		"other JSON":      {`{"bomFormat":"CycloneDX"}`, "@context"},
		"other context":   {strings.Replace(vexDoc(ok), "openvex.dev", "example.com", 1), "@context"},
		"no id":           {strings.Replace(vexDoc(ok), `"@id":"https://example.com/vex/1",`, "", 1), "@id"},
		"no timestamp":    {strings.Replace(vexDoc(ok), `"timestamp":"2026-02-01T00:00:00Z",`, "", 1), "timestamp"},
		"status":          {strings.Replace(vexDoc(ok), "not_affected", "fine", 1), "status"},
		"justification":   {strings.Replace(vexDoc(ok), "vulnerable_code_not_in_execute_path", "trust_me", 1), "justification"},
		"unjustified":     {strings.Replace(vexDoc(ok), `,"justification":"vulnerable_code_not_in_execute_path"`, "", 1), "justification"},
		"no product":      {vexDoc(vexStatement(crypto, `[]`, notAffected)), "product"},
		"no vuln":         {vexDoc(vexStatement(`{}`, `[{"@id":"pkg:golang/x"}]`, notAffected)), "vulnerability"},
		"larger than all": {vexDoc(ok) + strings.Repeat(" ", maxVEX), "limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, amd64(sbomOf("", goService...)), nil)
			f.write(t, "vex.json", tt.doc)
			f.in.VEX = []string{"vex.json"}
			if _, _, _, err := f.run(t); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "vex.json") {
				t.Errorf("err = %v, want usage error with %q", err, tt.want)
			}
		})
	}
}

func TestVEXStaysInSource(t *testing.T) {
	f := newFixture(t, amd64(sbomOf("", goService...)), nil)
	outside := filepath.Join(t.TempDir(), "vex.json")
	if err := os.WriteFile(outside, []byte(vexDoc()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(string(f.in.Source), "link.json")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{outside, "link.json", "../vex.json", "missing.json", "."} {
		f.in.VEX = []string{p}
		if _, _, _, err := f.run(t); !errors.Is(err, step.ErrUsage) {
			t.Errorf("%s: err = %v, want a usage error", p, err)
		}
	}
}

func FuzzParseVEX(f *testing.F) {
	f.Add(vexDoc(vexStatement(crypto, `[{"@id":"pkg:golang/golang.org/x/crypto"}]`, notAffected)))
	f.Add(vexHead + `{"vulnerability":{"name":"x"},"products":[{"hashes":{"sha-256":""}}],"status":"fixed"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		doc, err := parseVEX([]byte(s))
		if err != nil {
			return
		}
		v := vexDocs{doc}.statement(Finding{ID: "CVE-2024-45337", PURL: "pkg:golang/golang.org/x/crypto@v0.30.0"}, product{module: "example.com/shop"})
		if v != nil && (v.Document == "" || v.Status == "") {
			t.Errorf("incomplete %+v", v)
		}
	})
}
