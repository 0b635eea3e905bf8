package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pavedpaths/paths/pathsdk/evidence"
)

// restsOnNothing lists the fields of evidence on which no rule rests, with the
// reason. Everything else, changed or removed, must fail the verdict. Indexes of
// lists are written as *. (Signatures cover these fields too; this test asks what
// a validly signed statement with another content would do.)
var restsOnNothing = map[string]string{
	// Provenance: descriptions for people. Which revision, module or tool it
	// was is shown, not judged; the digest of the source is what binds.
	"provenance buildDefinition.externalParameters.inputs.platforms":         "an input that no rule limits",
	"provenance buildDefinition.externalParameters.inputs.platforms.*":       "an input that no rule limits",
	"provenance buildDefinition.externalParameters.inputs.revision":          "an input that no rule limits",
	"provenance buildDefinition.externalParameters.config.apiVersion":        "the service's own file, as it was read",
	"provenance buildDefinition.externalParameters.config.kind":              "the service's own file, as it was read",
	"provenance buildDefinition.externalParameters.config.path":              "the service's own file, as it was read",
	"provenance buildDefinition.externalParameters.config.version":           "the service's own file, as it was read",
	"provenance buildDefinition.externalParameters.config.gates":             "gates only make the policy stricter; without them its own values hold",
	"provenance buildDefinition.externalParameters.config.gates.maxSeverity": "as above: what is not stricter is ignored",
	"provenance buildDefinition.externalParameters.config.gates.minCoverage": "as above",
	"provenance buildDefinition.internalParameters":                          "facts support levels above L1 only; TestLevelsRestOnFacts",
	"provenance buildDefinition.internalParameters.facts":                    "as above",
	"provenance buildDefinition.internalParameters.facts.*":                  "as above",
	"provenance buildDefinition.internalParameters.facts.*.name":             "as above",
	"provenance buildDefinition.internalParameters.facts.*.value":            "as above",
	"provenance buildDefinition.internalParameters.facts.*.how":              "as above",
	"provenance buildDefinition.internalParameters.nodes":                    "what ran, for people",
	"provenance buildDefinition.internalParameters.nodes.*":                  "what ran, for people",
	"provenance buildDefinition.internalParameters.nodes.*.id":               "what ran, for people",
	"provenance buildDefinition.internalParameters.nodes.*.step":             "what ran, for people",
	"provenance buildDefinition.internalParameters.nodes.*.version":          "what ran, for people",
	"provenance buildDefinition.internalParameters.nodes.*.zone":             "what ran, for people",
	"provenance buildDefinition.resolvedDependencies.*":                      "a dependency other than the source is shown, not judged",
	"provenance buildDefinition.resolvedDependencies.*.name":                 "as above",
	"provenance buildDefinition.resolvedDependencies.*.uri":                  "as above",
	"provenance buildDefinition.resolvedDependencies.*.mediaType":            "the digest binds",
	"provenance buildDefinition.resolvedDependencies.*.digest.gitCommit":     "shown; the source's sha256 binds",
	"provenance runDetails.builder.version":                                  "shown; builder.id is judged",
	"provenance runDetails.builder.version.pathctl":                          "shown; builder.id is judged",
	"provenance runDetails.byproducts":                                       "logs and reports of the run",
	"provenance runDetails.byproducts.*":                                     "logs and reports of the run",
	"provenance runDetails.byproducts.*.name":                                "logs and reports of the run",
	"provenance runDetails.byproducts.*.digest.sha256":                       "logs and reports of the run",
	"provenance buildDefinition.resolvedDependencies.*.digest.dirHash":       "of a module: shown, not judged",
	"provenance runDetails.metadata.invocationId":                            "any text will do for a single image; platforms must agree",
	"provenance buildDefinition.externalParameters.version":                  "of the path: shown; platforms must agree",
	"provenance buildDefinition.externalParameters.config.waivers.*.expires": "a day earlier is not over either",
	// A waiver's reason is for people, but there must be one.
	"provenance buildDefinition.externalParameters.config.waivers.*.reason": "any text will do; an absent one fails",

	"test-result configuration.*.name":                 "the name of the suite, for people",
	"test-result configuration.*.digest.sha256":        "what configured the run; the statement's subject is the source",
	"test-result configuration.*.annotations.coverage": "83.0 instead of 83.1 is above the gate as well",
	"test-result passedTests.*":                        "names of tests; that there is one is judged",

	// SBOMs: judged are format, version and that packages are named. What is in
	// them is checked against the binary when they are made.
	"spdx creationInfo.created":                        "the commit's time, an input of the build",
	"cyclonedx metadata.timestamp":                     "the commit's time, an input of the build",
	"spdx dataLicense":                                 "any text will do; an absent one fails",
	"spdx name":                                        "any text will do; an absent one fails",
	"spdx documentNamespace":                           "any text will do; an absent one fails",
	"spdx creationInfo.creators.*":                     "any text will do; an absent one fails",
	"spdx packages.*.SPDXID":                           "any text will do; an absent one fails",
	"spdx packages.*.name":                             "any text will do; an absent one fails",
	"spdx packages.*.versionInfo":                      "any text will do; an absent one fails",
	"spdx packages.*.downloadLocation":                 "not read",
	"spdx packages.*.licenseDeclared":                  "licences are no part of this policy",
	"spdx packages.*.externalRefs.*.referenceCategory": "not read",
	"spdx packages.*.externalRefs.*.referenceLocator":  "any text will do; an absent one fails",
	"cyclonedx version":                                "the document's own version",
	"cyclonedx components.*.type":                      "any text will do; an absent one fails",
	"cyclonedx components.*.name":                      "any text will do; an absent one fails",
	"cyclonedx components.*.version":                   "any text will do; an absent one fails",
	"cyclonedx components.*.purl":                      "any text will do; an absent one fails",

	// Scans: findings below the threshold are shown.
	"vulns scanner.uri":                                      "the version in it; another scanner fails",
	"vulns scanner.version":                                  "shown; any will do, an absent one fails",
	"vulns scanner.db.uri":                                   "where the database came from is shown; its age is judged",
	"vulns scanner.db.version":                               "the database's digest is shown; its age is judged",
	"vulns scanner.result":                                   "nothing found is what passes",
	"vulns scanner.result.*":                                 "a finding less",
	"vulns scanner.result.*.id":                              "of findings that no waiver covers; TestWaivedIDs",
	"vulns scanner.result.*.severity.*.method":               "any text will do; an absent one fails",
	"vulns scanner.result.*.annotations":                     "of findings without VEX",
	"vulns scanner.result.*.annotations.*":                   "of findings without VEX",
	"vulns scanner.result.*.annotations.*.package":           "for people",
	"vulns scanner.result.*.annotations.*.version":           "for people",
	"vulns scanner.result.*.annotations.*.purl":              "for people",
	"vulns scanner.result.*.annotations.*.fixedVersion":      "for people",
	"vulns scanner.result.*.annotations.*.aliases":           "other names; TestKEV cases use them",
	"vulns scanner.result.*.annotations.*.aliases.*":         "other names; TestKEV cases use them",
	"vulns scanner.result.*.annotations.*.vex.justification": "shown; the status is judged",
	"vulns scanner.result.*.annotations.*.vex.document":      "shown; the status is judged",

	"scai attributes.*.conditions.rules":          "shown",
	"scai attributes.*.conditions.image.bytes":    "shown; files are judged",
	"scai attributes.*.conditions.image.skipped":  "shown",
	"scai attributes.*.conditions.image.files":    "more than none is judged, of image and source together",
	"scai attributes.*.conditions.source.files":   "more than none is judged, of image and source together",
	"scai attributes.*.conditions.source.bytes":   "shown; files are judged",
	"scai attributes.*.conditions.source.skipped": "shown",
	"scai producer":      "who scanned; the signer is judged",
	"scai producer.name": "who scanned; the signer is judged",
	"scai producer.uri":  "who scanned; the signer is judged",
}

// place is one value inside a predicate.
type place struct {
	path  string
	value any
}

// places lists every value of a document, leaves and containers.
func places(prefix string, doc any) []place {
	var out []place
	add := func(key string, v any) {
		path := strings.TrimPrefix(prefix+"."+key, ".")
		out = append(out, place{path, v})
		out = append(out, places(path, v)...)
	}
	switch d := doc.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(d)) {
			add(k, d[k])
		}
	case []any:
		for i, v := range d {
			add(fmt.Sprint(i), v)
		}
	}
	return out
}

// flips are the other values that a place gets; nil removes it.
func flips(v any) map[string]any {
	out := map[string]any{"removed": nil}
	switch v := v.(type) {
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			out["later"] = at.AddDate(10, 0, 0).Format(time.RFC3339)
			out["text"] = "soon"
			break
		}
		out["text"] = v + "-flipped"
		out["empty"] = ""
		if n := len(v); n > 0 {
			last := "0"
			if v[n-1] == '0' {
				last = "1"
			}
			out["last"] = v[:n-1] + last
		}
	case float64:
		out["less"], out["more"], out["text"] = v-1, v+1, "some"
	case bool:
		out["other"] = !v
	case map[string]any:
		out["list"], out["empty"] = []any{}, map[string]any{}
	case []any:
		out["object"], out["empty"] = map[string]any{}, []any{}
	}
	return out
}

var index = regexp.MustCompile(`\.\d+(\.|$)`)

func general(path string) string {
	for index.MatchString(path) {
		path = index.ReplaceAllString(path, ".*$1")
	}
	return path
}

// TestEveryFlipFails changes and removes every value of every predicate, one at
// a time, of an image with two platforms and of a single one.
func TestEveryFlipFails(t *testing.T) {
	p := load(t)
	held := map[string]bool{} // listed fields with a flip that passes
	for name, base := range map[string]Input{"index": goodInput(t), "single": single(goodInput(t))} {
		if v := judge(t, p, base); !v.Passed {
			t.Fatalf("%s: the unchanged input does not pass: %+v", name, v.Findings)
		}
		flipped, failed := 0, 0
		for i, a := range base.Attestations {
			typ, _ := evidence.Lookup(a.Type)
			var doc any
			if err := json.Unmarshal(a.Predicate, &doc); err != nil {
				t.Fatal(err)
			}
			for _, pl := range places("", doc) {
				for how, to := range flips(pl.value) {
					if reflect.DeepEqual(to, pl.value) {
						continue
					}
					raw, err := edit(a.Predicate, pl.path, to)
					if err != nil {
						t.Fatal(err)
					}
					in := base
					in.Attestations = slices.Clone(base.Attestations)
					in.Attestations[i].Predicate = raw
					flipped++
					if v := judge(t, p, in); !v.Passed {
						failed++
						continue
					}
					field := typ.Name + " " + general(pl.path)
					held[field] = true
					if restsOnNothing[field] == "" {
						t.Errorf("%s: %s (%s) on %s, %s: the verdict still passes", name, field, pl.path, a.Image.Short(), how)
					}
				}
			}
		}
		t.Logf("%s: %d flips in %d predicates, %d fail the verdict, %d are of fields that no rule rests on", name, flipped, len(base.Attestations), failed, flipped-failed)
		if failed < 200 {
			t.Errorf("%s: only %d flips failed: has the fixture shrunk?", name, failed)
		}
	}
	for field := range restsOnNothing {
		if !held[field] {
			t.Errorf("%s is listed as a field that nothing rests on, but every change of it fails: unlist it", field)
		}
	}
	t.Logf("%d fields are listed", len(restsOnNothing))
}

// single is the input for the image of one platform alone.
func single(in Input) Input {
	in.Images = in.Images[1:2:2]
	in.Digest = in.Images[0].Digest
	in.Attestations = slices.DeleteFunc(slices.Clone(in.Attestations), func(a Attestation) bool { return a.Image != in.Digest })
	return in
}

// TestEveryStatementFieldFails flips what stands around the predicate.
func TestEveryStatementFieldFails(t *testing.T) {
	p, base := load(t), goodInput(t)
	other := digestOf("another")
	tests := map[string]func(*Attestation){
		"type":        func(a *Attestation) { a.Type += "x" },
		"no type":     func(a *Attestation) { a.Type = "" },
		"subject":     func(a *Attestation) { a.Subject = other },
		"no subject":  func(a *Attestation) { a.Subject = "" },
		"image":       func(a *Attestation) { a.Image = other },
		"no tier":     func(a *Attestation) { a.Tier = "" },
		"wrong tier":  func(a *Attestation) { a.Tier += "x" },
		"signature":   func(a *Attestation) { a.Err = errors.New("wrong") },
		"foreign":     func(a *Attestation) { a.Foreign = true },
		"roles":       func(a *Attestation) { a.Roles = []string{"verifier"} },
		"signer tier": func(a *Attestation) { a.MaxTier = "" },
		"predicate":   func(a *Attestation) { a.Predicate = nil },
		"array":       func(a *Attestation) { a.Predicate = json.RawMessage("[]") },
	}
	n := 0
	for i, a := range base.Attestations {
		for name, flip := range tests {
			in := base
			in.Attestations = slices.Clone(base.Attestations)
			flip(&in.Attestations[i])
			n++
			if v := judge(t, p, in); v.Passed {
				t.Errorf("%s on %s, %s: the verdict still passes", a.Type, a.Image.Short(), name)
			}
		}
		in := base
		in.Attestations = slices.Delete(slices.Clone(base.Attestations), i, i+1)
		if v := judge(t, p, in); v.Passed {
			t.Errorf("%s on %s removed: the verdict still passes", a.Type, a.Image.Short())
		}
	}
	t.Logf("%d flips of %d statements fail the verdict", n, len(base.Attestations))
}

// TestWaivedIDs: a waiver covers the finding that it names, and no other.
func TestWaivedIDs(t *testing.T) {
	p, in := load(t), goodInput(t)
	for i, a := range in.Attestations {
		if a.Type == evidence.Vulns.URI {
			in.Attestations[i].Predicate = json.RawMessage(strings.ReplaceAll(string(a.Predicate), "CVE-2026-0001", "CVE-2026-0009"))
		}
	}
	if judge(t, p, in).Passed {
		t.Error("a waiver of another id covers a finding")
	}
}

// TestSeparation reads who may sign for themselves.
func TestSeparation(t *testing.T) {
	src, err := Source("microservice")
	if err != nil {
		t.Fatal(err)
	}
	const producer = "https://kubernetes.io/namespaces/build/serviceaccounts/builder"
	one := func(c Cases) Case {
		i := slices.IndexFunc(c.Cases, func(c Case) bool { return c.Name == "whoever builds and signs is not L2" })
		return c.Cases[i]
	}
	for name, c := range map[string]struct {
		separation string
		level      int
	}{
		"none":                     {"", 1},
		"the producer":             {"separation: {exceptions: [{name: one-job, producer: '" + producer + "', reason: small team}]}", 2},
		"a part of its name":       {"separation: {exceptions: [{name: one-job, producer: builder, reason: small team}]}", 1},
		"an end of its own":        {"separation: {exceptions: [{name: one-job, producer: '.*builder|x', reason: small team}]}", 2},
		"somebody else":            {"separation: {exceptions: [{name: one-job, producer: '.*/other', reason: small team}]}", 1},
		"asked for later":          {"separation: {from: 3}", 2},
		"asked for from the start": {"separation: {from: 1}", 0},
	} {
		p, err := Parse([]byte(string(src) + "\n" + c.separation + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		cases := shippedCases(t)
		r, err := cases.run(p, one(*cases))
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict.Level.Build != c.level {
			t.Errorf("%s: level %d, want %d", name, r.Verdict.Level.Build, c.level)
		}
		if said := fmt.Sprint(r.Verdict.Level.Reasons); c.level == 2 && strings.Contains(c.separation, "one-job") && !strings.Contains(said, "one-job (small team)") {
			t.Errorf("%s: no reason names the exception: %s", name, said)
		}
	}
	for text, want := range map[string]string{
		"{from: 4}":  "separation.from",
		"{from: -1}": "separation.from",
		"{exceptions: [{name: One, producer: x, reason: y}]}":                                      "lower-case",
		"{exceptions: [{name: one, producer: x, reason: ' '}]}":                                    "reason is missing",
		"{exceptions: [{name: one, producer: '', reason: y}]}":                                     "producer is missing",
		"{exceptions: [{name: one, producer: 'a)|(b', reason: y}]}":                                "producer",
		"{exceptions: [{name: one, producer: a, reason: y}, {name: one, producer: b, reason: y}]}": "twice",
	} {
		if _, err := Parse([]byte(string(src) + "\nseparation: " + text + "\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestLevelsRestOnFacts: above L1 every fact counts.
func TestLevelsRestOnFacts(t *testing.T) {
	p, c := load(t), shippedCases(t)
	facts := []any{
		map[string]any{"name": "host", "value": "tekton", "how": "read from the Kubernetes API"},
		map[string]any{"name": "provenance.source", "value": "control-plane", "how": "read from the Kubernetes API"},
		map[string]any{"name": "producer.issuer", "value": "https://kubernetes.example.com", "how": "read from the Kubernetes API"},
		map[string]any{"name": "producer.identity", "value": "https://kubernetes.io/namespaces/build/serviceaccounts/builder", "how": "read from the Kubernetes API"},
	}
	hosted := []Change{{Of: "provenance", Signer: "platform"}, {Of: "provenance", Path: "buildDefinition.internalParameters.facts", Value: facts}}
	run := func(more ...Change) Verdict {
		r, err := c.run(p, Case{Changes: append(slices.Clone(hosted), more...), Params: map[string]any{"minLevel": 2}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Verdict
	}
	if v := run(); !v.Passed || v.Level.Build != 2 {
		t.Fatalf("passed %t, level %d: %+v", v.Passed, v.Level.Build, v.Findings)
	}
	for i := range facts {
		for _, field := range []string{"name", "value", "how"} {
			path := fmt.Sprintf("buildDefinition.internalParameters.facts.%d.%s", i, field)
			for how, to := range flips(facts[i].(map[string]any)[field]) {
				// How a fact is known may be said in any words, and any other name than the
				// signer's is somebody else's.
				free := field == "how" || field == "value" && i == len(facts)-1
				if v := run(Change{Of: "provenance@arm64", Path: path, Value: to}); v.Passed && (!free || to == nil || to == "") {
					t.Errorf("%s %s: the verdict still passes at L%d", path, how, v.Level.Build)
				}
			}
		}
	}
}
