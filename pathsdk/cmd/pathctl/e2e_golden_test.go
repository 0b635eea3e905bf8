//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/internal/golden"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// wanted is what examples/microservice-go/want/evidence.json holds: what hangs
// on the example's image, and the facts in it that stay the same from one
// toolchain and one database to the next.
type wanted struct {
	Revision string           `json:"revision"`
	Created  string           `json:"created"`
	Passed   bool             `json:"passed"`
	Level    int              `json:"level"`
	Warnings []string         `json:"warnings"`
	Evidence []wantedEvidence `json:"evidence"`
}

type wantedEvidence struct {
	PredicateType string `json:"predicateType"`
	// On says what the referrer hangs on, Subject what the statement is about.
	On      string   `json:"on"`
	Subject string   `json:"subject"`
	Tier    string   `json:"tier"`
	Roles   []string `json:"signerRoles"`
	Facts   any      `json:"facts,omitempty"`
}

// TestE2EExample ships the example from a repository with a fixed commit, and
// compares its evidence with the golden file.
func TestE2EExample(t *testing.T) {
	const example = "../../../examples/microservice-go"
	src := filepath.Join(t.TempDir(), "microservice-go")
	if err := os.CopyFS(src, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	// What the example should give is no part of it, nor is what it gave.
	for _, name := range []string{"want", ".paths"} {
		if err := os.RemoveAll(filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	revision := commit(t, src)
	home := newHome(t)
	image := mustShip(t, home, src, "--vuln-db", smallDB(t))

	store := filepath.Join(src, ".paths", "store")
	j := newTestJudge(t, home, verifyFlags{})
	e, err := j.examine(t.Context(), "oci:"+store)
	if err != nil {
		t.Fatal(err)
	}
	v, r := verdictOf(t, home, "oci:"+store, "--deep")
	if r.code != 0 || v.Digest != image {
		t.Fatalf("verify: exit %d, digest %s\n%s", r.code, v.Digest, r.stderr)
	}
	got := wanted{Revision: "REVISION", Passed: v.Passed, Level: v.Level.Build, Warnings: []string{}}
	for _, f := range v.Findings {
		got.Warnings = append(got.Warnings, f.Rule)
	}
	platforms := map[step.Digest]string{}
	for _, im := range e.images {
		platforms[im.Digest] = "image " + im.Platform
	}
	for _, f := range e.found {
		if f.Err != nil {
			t.Fatalf("%s: %v", f.Digest, f.Err)
		}
		w := wantedEvidence{
			PredicateType: f.PredicateType, On: platforms[f.Image], Subject: platforms[f.Verified.Statement.Subject.Digest],
			Tier: string(f.Verified.Tier), Roles: f.Verified.Signer.Roles,
		}
		if w.Subject == "" {
			w.Subject = f.Verified.Statement.Subject.Name
		}
		w.Facts = stableFacts(t, f.PredicateType, f.Verified.Statement.Predicate, revision, &got)
		got.Evidence = append(got.Evidence, w)
	}
	sort.Slice(got.Evidence, func(i, j int) bool {
		a, b := got.Evidence[i], got.Evidence[j]
		return a.PredicateType+a.On < b.PredicateType+b.On
	})
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	golden.EqualFile(t, filepath.Join(example, "want", "evidence.json"), b.Bytes())
}

// stableFacts are the facts of a predicate that hang on neither toolchain,
// database nor day.
func stableFacts(t *testing.T, typ string, raw json.RawMessage, revision string, all *wanted) any {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
	}
	switch typ {
	case evidence.Provenance.URI:
		p, err := evidence.ParseProvenance(raw)
		must(err)
		inputs := decoded(t, p.BuildDefinition.ExternalParameters["inputs"]).(object)
		if inputs["revision"] != revision {
			t.Errorf("the provenance names revision %v, want %s", inputs["revision"], revision)
		}
		all.Created, _ = inputs["created"].(string)
		deps := []string{}
		for _, d := range p.BuildDefinition.ResolvedDependencies {
			name := d.Name
			if name == "" {
				name = d.URI
			}
			// A toolchain's version is in its name; so is a module's, and stays.
			if strings.HasPrefix(name, "go1") {
				name = "TOOLCHAIN"
			}
			deps = append(deps, name)
		}
		slices.Sort(deps)
		names := []string{}
		for k := range inputs {
			names = append(names, k)
		}
		slices.Sort(names)
		var nodes []struct{ ID, Step, Zone string }
		must(json.Unmarshal(p.BuildDefinition.InternalParameters["nodes"], &nodes))
		ran := []string{}
		for _, n := range nodes {
			ran = append(ran, n.ID)
		}
		slices.Sort(ran)
		return object{"builder": p.RunDetails.Builder.ID, "buildType": p.BuildDefinition.BuildType, "path": decoded(t, p.BuildDefinition.ExternalParameters["path"]),
			"inputs": names, "nodes": ran, "repository": inputs["repository"], "dirty": inputs["dirty"], "resolvedDependencies": deps}
	case evidence.TestResult.URI:
		p, err := evidence.ParseTestResult(raw)
		must(err)
		return object{"result": p.Result, "passed": p.PassedTests, "failed": len(p.FailedTests)}
	case evidence.CycloneDX.URI:
		var doc struct {
			SpecVersion string
			Components  []struct{ PURL string }
		}
		must(json.Unmarshal(raw, &doc))
		purls := []string{}
		for _, c := range doc.Components {
			purl := c.PURL
			if i := strings.Index(purl, "golang/stdlib@"); i >= 0 {
				purl = purl[:i] + "golang/stdlib@TOOLCHAIN"
			}
			if purl != "" {
				purls = append(purls, purl)
			}
		}
		slices.Sort(purls)
		return object{"specVersion": doc.SpecVersion, "purls": slices.Compact(purls)}
	case evidence.SPDX.URI:
		var doc struct {
			SPDXVersion string
			Packages    []json.RawMessage
		}
		must(json.Unmarshal(raw, &doc))
		return object{"spdxVersion": doc.SPDXVersion, "packages": len(doc.Packages)}
	case evidence.Vulns.URI:
		p, err := evidence.ParseVulns(raw)
		must(err)
		ids := []string{}
		for _, v := range p.Scanner.Result {
			ids = append(ids, v.ID)
		}
		slices.Sort(ids)
		return object{"scanner": p.Scanner.URI, "findings": slices.Compact(ids)}
	case evidence.SCAI.URI:
		p, err := evidence.ParseSCAI(raw)
		must(err)
		return object{"attribute": p.Attributes[0].Attribute, "findings": p.Attributes[0].Conditions["findings"]}
	case evidence.VSA.URI:
		p, err := evidence.ParseVSA(raw)
		must(err)
		return object{"verifier": p.Verifier.ID, "result": p.VerificationResult, "levels": p.VerifiedLevels}
	}
	return nil
}
