// Package depcheck holds the rules of which package may import what. Its test
// runs them on every package of the SDK.
package depcheck

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// SDK is the import path below which the rules hold.
const SDK = "github.com/pavedpaths/paths/pathsdk"

// Package is what the rules need to know of a package, as go list prints it.
type Package struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// rule says what packages of ours one part of the SDK may import, or what it
// may not; paths are relative to SDK, and "x/..." is x with all below it.
type rule struct {
	who   []string
	allow []string // nothing else of ours, if not nil
	deny  []string
	why   string
}

func rules() []rule {
	judges := []string{"run/...", "attest/...", "policy/...", "cmd/...", "gen/...", "catalog/...", "service/...", "steps/..."}
	return []rule{
		{who: []string{"step"}, allow: []string{}, why: "whoever can compile the contract can write a step: it imports the standard library only"},
		{who: []string{"paths/..."}, allow: []string{"step"}, why: "a path is data over steps it does not know"},
		{who: []string{"steps/provenance/..."}, allow: []string{"step", "evidence", "oci", "claims", "provenance", "internal/...", "steps/provenance/..."},
			why: "the provenance step turns facts into a predicate, and knows nothing of what runs, signs or judges it"},
		{who: []string{"steps/..."}, allow: []string{"step", "evidence", "oci", "claims", "internal/..."},
			why: "a step knows nothing of other steps, nor of what runs, signs or judges it"},
		{who: []string{"catalog/..."}, allow: []string{"steps/...", "paths", "step", "internal/..."}, why: "the catalog is two lists"},
		{who: []string{"service/..."}, allow: []string{"paths", "step", "internal/..."}, why: "reading paths.yaml must not cost what the steps cost"},
		{who: []string{"evidence/..."}, allow: []string{"step", "internal/..."}, why: "imports point one way: evidence <- attest <- cmd"},
		{who: []string{"oci/...", "claims/..."}, allow: []string{"step", "evidence", "oci", "claims", "internal/..."}, why: "storage knows nothing of what is stored, who signs it or who runs"},
		{who: []string{"provenance/..."}, deny: []string{"attest/...", "policy/...", "cmd/...", "gen/...", "catalog/...", "service/...", "steps/..."}, why: "provenance computes from facts, and asks nobody"},
		{who: []string{"attest/..."}, deny: []string{"run/...", "policy/...", "cmd/...", "gen/...", "catalog/...", "service/...", "steps/..."}, why: "the attester runs no step and judges nothing: evidence <- attest <- cmd"},
		{who: []string{"policy/..."}, deny: []string{"run/...", "attest/...", "cmd/...", "gen/...", "catalog/...", "service/...", "steps/..."}, why: "a policy judges statements that were verified before, and can't reach a key"},
		{who: []string{"report/..."}, allow: []string{"policy", "evidence", "paths", "step", "report/...", "internal/..."}, why: "a report is a view of a verdict"},
		{who: []string{"run/...", "telemetry/...", "gen/..."}, deny: []string{"attest/...", "cmd/...", "steps/..."}, why: "the runner and gen know steps from the catalog alone, and no key"},
		{who: []string{"internal/..."}, deny: judges, why: "an internal package serves those above it"},
	}
}

// heavy are the libraries that only one part of the SDK may import, and what
// that part is.
func heavy() []struct{ library, owners string } {
	return []struct{ library, owners string }{
		{"github.com/anchore/syft", "steps/sbom/..."},
		{"github.com/aquasecurity/trivy", "steps/scan/... steps/vulndb/... internal/trivydb/..."},
		{"github.com/aquasecurity/trivy-db", "steps/scan/... steps/vulndb/... internal/trivydb/..."},
		{"github.com/sigstore/cosign/v2", "attest/..."},
		{"github.com/sigstore/sigstore-go", "attest/..."},
		{"github.com/sigstore/sigstore/pkg/signature/kms", "attest/..."},
		{"github.com/hashicorp/vault", "attest/..."},
		{"github.com/coreos/go-oidc", "attest/..."},
		{"github.com/slsa-framework/slsa-verifier/v2", "attest/legacy/..."},
		{"github.com/google/ko", "steps/build/..."},
		{"github.com/landlock-lsm/go-landlock", "run/fence/..."},
		{"github.com/google/cel-go", "policy/..."},
		{"github.com/charmbracelet/bubbletea", "cmd/pathctl/..."},
		{"github.com/spf13/cobra", "cmd/pathctl/... gen/..."},
		{"github.com/tektoncd/pipeline", "tekton/..."},
		{"github.com/go-git/go-git/v5", "gitops/..."},
	}
}

// Check reports every import that breaks a rule, and every package whose name
// says nothing.
func Check(pkgs []Package) []string {
	var found []string
	for _, p := range pkgs {
		rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, SDK), "/")
		found = append(found, checkName(p, rel)...)
		// The first rule for a package is the one that holds: the special before
		// the general. Packages for tests may look anywhere.
		if forTests(rel) {
			continue
		}
		for _, r := range rules() {
			if matches(rel, r.who) {
				found = append(found, r.check(p, rel)...)
				break
			}
		}
		for _, h := range heavy() {
			owners := strings.Fields(h.owners)
			for _, imp := range p.Imports {
				if below(imp, h.library) && !matches(rel, owners) {
					found = append(found, fmt.Sprintf("%s imports %s: one importer for each heavy library, and this one's is %s; use what that exports", rel, imp, h.owners))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func (r rule) check(p Package, rel string) []string {
	var found []string
	for _, imp := range p.Imports {
		ours := below(imp, SDK)
		of := strings.TrimPrefix(strings.TrimPrefix(imp, SDK), "/")
		bad := ours && r.allow != nil && !matches(of, r.allow) || ours && matches(of, r.deny)
		// An empty list of ours allows no library either.
		bad = bad || !ours && r.allow != nil && len(r.allow) == 0 && strings.Contains(strings.Split(imp, "/")[0], ".")
		if ours && (of == rel || strings.HasPrefix(of, rel+"/")) {
			bad = false // parts of itself
		}
		if bad {
			found = append(found, fmt.Sprintf("%s imports %s: %s", rel, imp, r.why))
		}
	}
	return found
}

func checkName(p Package, rel string) []string {
	for _, name := range append(strings.Split(rel, "/"), p.Name) {
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager", "misc", "shared"}, name) {
			return []string{fmt.Sprintf("%s: a package is named for what it does, and %q says nothing", rel, name)}
		}
	}
	return nil
}

// forTests reports whether a package serves tests only, by its name: steptest,
// sigtest, regtest, golden, depcheck.
func forTests(rel string) bool {
	name := path.Base(rel)
	return strings.HasSuffix(name, "test") && name != "test" && name != "attest" || name == "golden" || name == "depcheck"
}

// matches reports whether a path is in a list of paths and "x/..." patterns.
func matches(rel string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if tree, ok := strings.CutSuffix(p, "/..."); ok {
			return below(rel, tree)
		}
		return rel == p
	})
}

// below reports whether a path is another or below it.
func below(p, tree string) bool { return p == tree || strings.HasPrefix(p, tree+"/") }
