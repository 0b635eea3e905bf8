package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/evidence"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// minimal is the smallest policy, with what the tests insert.
func minimal(rules string) string {
	return `apiVersion: pavedpaths.dev/v1
kind: Policy
name: tiny
summary: For tests.
params:
  limit: {type: int, default: 3, help: a limit}
require:
  - {predicate: signature, about: image, tier: derived, role: attester, fix: sign it}
  - {predicate: provenance, about: image, tier: observed, role: attester, fix: ship it}
` + rules
}

func rule(expr string) string {
	return minimal("rules:\n  - {id: one, reason: because, fix: mend it, expr: \"" + expr + "\"}\n")
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "apiVersion and kind"},
		{"no YAML", "\t{", "not a policy file"},
		{"other kind", strings.Replace(minimal(""), "kind: Policy", "kind: Verdict", 1), `"Verdict"`},
		{"unknown key", minimal("rulez: []\n"), "rulez"},
		{"key twice", minimal("name: again\n"), "already set"},
		{"nothing required", "apiVersion: pavedpaths.dev/v1\nkind: Policy\nname: x\nsummary: y\n", "passes everything"},
		{"no summary", strings.Replace(minimal(""), "summary: For tests.\n", "", 1), "summary"},
		{"bad name", strings.Replace(minimal(""), "name: tiny", "name: Tiny One", 1), "lower-case"},
		{"unknown predicate", strings.Replace(minimal(""), "predicate: signature", "predicate: horoscope", 1), "signature, provenance"},
		{"predicate twice", strings.Replace(minimal(""), "predicate: signature", "predicate: https://slsa.dev/provenance/v1", 1), "twice"},
		{"unknown about", strings.Replace(minimal(""), "about: image", "about: all", 1), "image, platforms or source"},
		{"unknown tier", strings.Replace(minimal(""), "tier: derived", "tier: gold", 1), "reported, derived"},
		{"tier that can't be", strings.Replace(minimal(""), "tier: derived", "tier: observed", 1), "nothing would ever pass"},
		{"no role", strings.Replace(minimal(""), "tier: derived, role: attester", "tier: derived", 1), "role"},
		{"a platform for more than provenance", strings.Replace(minimal(""), "role: attester", "role: platform", 1), "counts for provenance alone"},
		{"bad maxAge", strings.Replace(minimal(""), "fix: sign it", "fix: x, maxAge: limit", 1), "maxAge"},
		{"no fix", strings.Replace(minimal(""), ", fix: sign it", "", 1), "fix"},
		{"source without provenance", "apiVersion: pavedpaths.dev/v1\nkind: Policy\nname: x\nsummary: y\nrequire: [{predicate: test-result, about: source, tier: reported, role: a, fix: b}]\n", "names the source"},
		{"param of unknown type", strings.Replace(minimal(""), "type: int", "type: number", 1), "param limit"},
		{"param with wrong default", strings.Replace(minimal(""), "default: 3", "default: three", 1), "default"},
		{"param without help", strings.Replace(minimal(""), ", help: a limit", "", 1), "help"},
		{"param in no order", strings.Replace(minimal(""), "type: int, default: 3", "type: string, default: a, stricter: lower", 1), "enum"},
		{"CEL syntax", rule("1 +"), "rule one: expr"},
		{"CEL type", rule("1 + 1"), "want bool"},
		{"unknown variable", rule("nothing == 1"), "undeclared reference"},
		{"unknown field", rule("provenances.all(p, p.bilder == '')"), "undefined field"},
		{"unknown param", rule("params.limits > 1"), "undefined field"},
		{"it without forEach", rule("it == 1"), "undeclared reference"},
		{"object made in CEL", rule("Image{digest: ''}.digest == ''"), "not make them"},
		{"forEach of no list", minimal("rules: [{id: one, forEach: 'now', expr: 'true', reason: a, fix: b}]\n"), "want a list"},
		{"details of wrong type", minimal("rules: [{id: one, expr: 'true', reason: a, fix: b, details: '1'}]\n"), "want list(string)"},
		{"reason with wrong CEL", minimal("rules: [{id: one, expr: 'true', reason: 'x ${params.x}', fix: b}]\n"), "undefined field"},
		{"reason with open brace", minimal("rules: [{id: one, expr: 'true', reason: 'x ${params', fix: b}]\n"), "without }"},
		{"no reason", minimal("rules: [{id: one, expr: 'true', fix: b}]\n"), "reason is missing"},
		{"unknown severity", minimal("rules: [{id: one, severity: fatal, expr: 'true', reason: a, fix: b}]\n"), "error or warning"},
		{"rule twice", minimal("rules: [{id: one, expr: 'true', reason: a, fix: b}, {id: one, expr: 'true', reason: a, fix: b}]\n"), "twice"},
		{"long expression", rule(strings.Repeat("true && ", 1000) + "true"), "expr"},
		{"deep expression", rule(strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500)), "expr"},
		{"large file", minimal(strings.Repeat("# comment\n", MaxFile/8)), "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestRequireReadable: a policy can require what parse reads, and nothing else.
func TestRequireReadable(t *testing.T) {
	const choose = "choose signature, provenance, test-result, spdx, cyclonedx, vulns, scai or one of their URIs"
	refused := map[string]bool{}
	for _, typ := range evidence.Types() {
		_, err := (&judgement{}).parse(&item{Attestation: &Attestation{Predicate: []byte("{")}, typ: typ})
		unread := err != nil && strings.Contains(err.Error(), "policies can't require a "+typ.Name)
		for _, by := range []string{typ.Name, typ.URI} {
			text := "apiVersion: pavedpaths.dev/v1\nkind: Policy\nname: x\nsummary: y\nrequire: [{predicate: '" + by + "', about: image, tier: reported, role: a, fix: b}]\n"
			_, err := Parse([]byte(text))
			if unread {
				refused[typ.Name] = true
				if want := "require \"" + by + "\": policies can't read a " + typ.Name + "; " + choose; err == nil || err.Error() != want {
					t.Errorf("%s: got %v, want %s", by, err, want)
				}
			} else if err != nil {
				t.Errorf("%s: %v", by, err)
			}
		}
	}
	if d := cmp.Diff(map[string]bool{"release": true, "waiver": true, "vsa": true, "svr": true}, refused); d != "" {
		t.Error("refused", d)
	}
	for _, unknown := range []string{"horoscope", evidence.Reference.Name} {
		_, err := Parse([]byte(strings.Replace(minimal(""), "predicate: signature", "predicate: "+unknown, 1)))
		if want := "require \"" + unknown + "\": unknown predicate type; " + choose; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", unknown, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.yaml")
	if err := os.WriteFile(file, []byte(minimal("")), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(file); err != nil || p.Name != "tiny" || p.Digest() != digestOf(minimal("")) {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, tt := range []struct{ name, want string }{
		{"library", "choose microservice"},
		{"../microservice", "no such file"},
		{"microservice_test", "choose microservice"},
		{"microservice.yaml", "no such file"},
		{dir + "/", "directory"},
		{"", "choose microservice"},
	} {
		if _, err := Load(tt.name); err == nil || !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want a usage error with %q", tt.name, err, tt.want)
		}
	}
}

// TestSchema: the JSON Schema accepts what Parse accepts, and refuses what it
// can refuse.
func TestSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text []byte) error {
		raw, err := yaml.YAMLToJSON(text)
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	for _, name := range Names() {
		b, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := validate([]byte(minimal(""))); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		minimal("rulez: []\n"),
		strings.Replace(minimal(""), "about: image", "about: all", 1),
		strings.Replace(minimal(""), "tier: derived", "tier: gold", 1),
		strings.Replace(minimal(""), "default: 3", "default: [3]", 1),
		strings.Replace(minimal(""), "type: int", "type: bool", 1),
		strings.Replace(minimal(""), ", fix: sign it", "", 1),
		minimal("rules: [{id: One, expr: 'true', reason: a, fix: b}]\n"),
		minimal("rules: [{id: one, expr: ' ', reason: a, fix: b}]\n"),
	} {
		if err := validate([]byte(bad)); err == nil {
			t.Errorf("the schema accepts\n%s", bad)
		}
	}
}

// TestRulesFailClosed: whatever goes wrong in an expression fails its rule.
func TestRulesFailClosed(t *testing.T) {
	tests := []struct{ name, rules, want string }{
		{"run-time error", "[{id: one, expr: 'provenances[9].builder == \"\"', reason: a, fix: b}]", "index out of bounds"},
		{"absent key", "[{id: one, expr: 'provenances[0].parameters.nothing == 1', reason: a, fix: b}]", "no such key"},
		{"not a bool at run time", "[{id: one, expr: 'provenances[0].parameters.path', reason: a, fix: b}]", "want bool"},
		{"forEach fails", "[{id: one, forEach: 'provenances[0].parameters.nothing', expr: 'true', reason: a, fix: b}]", ""},
		{"error in one element", "[{id: one, forEach: '[provenances[0]]', expr: 'it.parameters.nothing', reason: a, fix: b}]", "could not be computed"},
		{"too expensive", "[{id: one, expr: '" + strings.Repeat("[1,2,3,4,5,6,7,8,9,10].all(a, ", 9) + "true" + strings.Repeat(")", 9) + "', reason: a, fix: b}]", "cost limit"},
		{"reason fails", "[{id: one, expr: 'false', reason: 'x ${provenances[9].builder}', fix: b}]", ""},
		{"details fail", "[{id: one, expr: 'false', reason: a, fix: b, details: '[provenances[9].builder]'}]", "index out of bounds"},
		{"no such evidence", "[{id: one, forEach: scans, expr: 'true', reason: a, fix: b}]", "no usable vulns"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(minimal("rules: " + tt.rules + "\n")))
			if err != nil {
				if tt.name == "forEach fails" {
					return // a value of unknown type is refused when the policy is loaded
				}
				t.Fatal(err)
			}
			v := judge(t, p, goodInput(t))
			if v.Passed || len(v.Findings) != 1 || v.Findings[0].Rule != "one" {
				t.Fatalf("passed %t, findings %+v", v.Passed, v.Findings)
			}
			text, err := json.Marshal(v.Findings)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), tt.want) {
				t.Errorf("got %s, want %q", text, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	b, err := Source("microservice")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(minimal("")))
	f.Add([]byte(rule("params.limit > 2 && level.build >= 1")))
	f.Add([]byte("a: &a [x]\nb: [*a, *a]\n"))
	in := goodInput(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := Judge(p, in); err != nil {
			t.Errorf("a policy that loads can't judge: %v", err)
		}
	})
}

func FuzzParseCases(f *testing.F) {
	b, err := os.ReadFile("shipped/microservice_test.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4000])
	f.Add([]byte("apiVersion: pavedpaths.dev/v1\nkind: PolicyTest\nimages: [{name: a}]\ncases: [{name: b, changes: [{of: c, path: a.0.b}]}]\n"))
	p, err := Parse([]byte(minimal("")))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCases(b)
		if err != nil {
			return
		}
		for _, one := range c.Cases {
			if r, err := c.run(p, one); err == nil && r.Name != one.Name {
				t.Error("a result of another case")
			}
		}
	})
}

// FuzzJudge replaces one predicate: no content may make Judge fail or panic, and
// none but a valid one may pass.
func FuzzJudge(f *testing.F) {
	in := goodInput(f)
	for i, a := range in.Attestations {
		f.Add(i, []byte(a.Predicate))
	}
	f.Add(10, []byte(`{"scanner":{"uri":"x","db":{"lastUpdate":"2026-03-01T06:00:00Z"},"result":[{"id":"a","severity":[{"method":"m","score":"NaN"}]}]}}`))
	p := load(f)
	f.Fuzz(func(t *testing.T, i int, predicate []byte) {
		if i < 0 || i >= len(in.Attestations) {
			return
		}
		x := in
		x.Attestations = append([]Attestation{}, in.Attestations...)
		x.Attestations[i].Predicate = predicate
		v, err := Judge(p, x)
		if err != nil {
			t.Fatal(err)
		}
		if v.Passed && !json.Valid(predicate) {
			t.Error("passed on a predicate that is no JSON")
		}
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
		if _, err := VSA(v, VSAOptions{}); err != nil {
			t.Error(err)
		}
	})
}
