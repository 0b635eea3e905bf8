package policy

import (
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkJudge is one image with seven attestations, as a path for one
// platform makes them; its SBOMs have 100 packages.
func BenchmarkJudge(b *testing.B) {
	p, in := load(b), realistic(b, 100, 5)
	b.ReportAllocs()
	for b.Loop() {
		if v := judge(b, p, in); !v.Passed {
			b.Fatal(v.Findings)
		}
	}
}

func BenchmarkJudge1000Findings(b *testing.B) {
	p, in := load(b), realistic(b, 500, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if v := judge(b, p, in); !v.Passed {
			b.Fatal(v.Findings)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		load(b)
	}
}

// realistic is the single image with larger SBOMs and scans.
func realistic(t testing.TB, packages, findings int) Input {
	t.Helper()
	in := single(goodInput(t))
	grow := func(i int, path string, n int, item func(int) any) {
		var list []any
		for k := range n {
			list = append(list, item(k))
		}
		raw, err := edit(in.Attestations[i].Predicate, path, list)
		if err != nil {
			t.Fatal(err)
		}
		in.Attestations[i].Predicate = raw
	}
	for i, a := range in.Attestations {
		switch a.Type {
		case "https://spdx.dev/Document":
			grow(i, "packages", packages, func(k int) any {
				purl := fmt.Sprintf("pkg:golang/example.com/module%d@v1.2.3", k)
				return map[string]any{
					"SPDXID": fmt.Sprintf("SPDXRef-Package-%d", k), "name": fmt.Sprintf("example.com/module%d", k), "versionInfo": "v1.2.3",
					"downloadLocation": "NOASSERTION", "licenseDeclared": "NOASSERTION", "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
					"sourceInfo": "acquired package info from go module information: /ko-app/service", "supplier": "NOASSERTION",
					"checksums":    []any{map[string]any{"algorithm": "SHA256", "checksumValue": digestOf(purl).Hex()}},
					"externalRefs": []any{map[string]any{"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:example:module:v1.2.3:*:*:*:*:*:*:*"}, map[string]any{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}},
				}
			})
		case "https://cyclonedx.org/bom":
			grow(i, "components", packages, func(k int) any {
				purl := fmt.Sprintf("pkg:golang/example.com/module%d@v1.2.3", k)
				return map[string]any{
					"bom-ref": purl, "type": "library", "name": fmt.Sprintf("example.com/module%d", k), "version": "v1.2.3", "purl": purl,
					"cpe":        "cpe:2.3:a:example:module:v1.2.3:*:*:*:*:*:*:*",
					"properties": []any{map[string]any{"name": "syft:package:type", "value": "go-module"}, map[string]any{"name": "syft:location:0:path", "value": "/ko-app/service"}},
				}
			})
		case "https://in-toto.io/attestation/vulns/v0.2":
			grow(i, "scanner.result", findings, func(k int) any {
				return map[string]any{
					"id": fmt.Sprintf("CVE-2026-1%04d", k), "severity": []any{map[string]any{"method": "ghsa", "score": "low"}},
					"annotations": []any{map[string]any{"package": "example.com/module", "version": "v1.2.3", "purl": "pkg:golang/example.com/module@v1.2.3", "severity": "low"}},
				}
			})
		}
		if !json.Valid(in.Attestations[i].Predicate) {
			t.Fatal("not JSON")
		}
	}
	return in
}
