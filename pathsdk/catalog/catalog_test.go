package catalog_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
	"github.com/pavedpaths/paths/pathsdk/step/steptest"
)

func TestEveryStepIsListed(t *testing.T) {
	specs := catalog.Specs(catalog.Steps())
	if len(specs) != len(catalog.Steps()) {
		t.Errorf("%d steps have %d names", len(catalog.Steps()), len(specs))
	}
	folders, err := filepath.Glob("../steps/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		name := filepath.Base(filepath.Dir(f))
		code, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := specs[name]; !ok && strings.Contains(string(code), "\nfunc New() step.Step") {
			t.Errorf("step %s is not in the catalog; add a line to Steps", name)
		}
	}
	for name, spec := range specs {
		for _, problem := range steptest.CheckSpec(spec) {
			t.Errorf("step %s: %s", name, problem)
		}
	}
}

func TestEveryPathIsSound(t *testing.T) {
	specs := catalog.Specs(catalog.Steps())
	used := map[string]bool{"custom": true}
	for _, p := range catalog.Paths() {
		for _, problem := range catalog.Check(p, specs) {
			t.Errorf("path %s: %s", p.Name, problem)
		}
		for _, n := range p.Nodes {
			used[n.Step] = true
		}
		// The escape hatch must lead somewhere from every path.
		svc, err := service.Parse([]byte("apiVersion: pavedpaths.dev/v1\nkind: Service\npath: " + p.Name +
			"\ncustom:\n- {name: vet, command: [go, vet, ./...]}\n- {name: lint, command: [lint], after: [vet, test]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		g, err := service.Graph(p, svc)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range catalog.Check(g, specs) {
			t.Errorf("path %s with custom steps: %s", p.Name, problem)
		}
		if _, err := service.Resolve(g, svc, nil); err != nil {
			t.Errorf("path %s with custom steps: %v", p.Name, err)
		}
	}
	for name := range specs {
		if !used[name] {
			t.Errorf("step %s is in no path", name)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, s := range catalog.Steps() {
		got, err := catalog.Step(s.Spec().Name)
		if err != nil || got.Spec().Name != s.Spec().Name {
			t.Errorf("step %s: got %v, %v", s.Spec().Name, got, err)
		}
	}
	for _, p := range catalog.Paths() {
		got, err := catalog.Path(p.Name)
		if err != nil || got.Name != p.Name {
			t.Errorf("path %s: got %v, %v", p.Name, got.Name, err)
		}
	}
	if _, err := catalog.Step("biuld"); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), `did you mean "build"?`) || !strings.Contains(err.Error(), "scan") {
		t.Errorf("step biuld: %v", err)
	}
	if _, err := catalog.Path("microsrevice"); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), `did you mean "microservice"?`) {
		t.Errorf("path microsrevice: %v", err)
	}
	if _, err := catalog.Path("deploy"); !errors.Is(err, step.ErrUsage) || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("path deploy: %v", err)
	}
}

// specs of a little world: a and b produce, pub hands over, sign attests.
func world() map[string]step.Spec {
	f := func(name string, kind step.Kind) step.Field { return step.Field{Name: name, Kind: kind, Help: "x"} }
	need := func(name string, kind step.Kind) step.Field {
		return step.Field{Name: name, Kind: kind, Help: "x", Required: true}
	}
	keyless := func(f step.Field) step.Field { f.Keyless = true; return f }
	list := []step.Spec{
		{Meta: step.Meta{Name: "a", Zone: step.ZoneFetch}, Inputs: []step.Field{need("source", step.KindDir), f("base", step.KindString)},
			Outputs: []step.Field{f("dir", step.KindDir), f("digest", step.KindDigest), keyless(f("cache", step.KindDir)), f("text", step.KindString)}},
		{Meta: step.Meta{Name: "b", Zone: step.ZoneBuild, Needs: step.Needs{UserCode: true}},
			Inputs:  []step.Field{need("dir", step.KindDir), f("digest", step.KindDigest), keyless(f("cache", step.KindDir)), f("text", step.KindString), f("jobs", step.KindInt)},
			Outputs: []step.Field{f("file", step.KindFile)}},
		{Meta: step.Meta{Name: "pub", Zone: step.ZonePublish}, Inputs: []step.Field{need("file", step.KindFile), f("reports", step.KindDir)},
			Outputs: []step.Field{f("staging", step.KindDir)}},
		{Meta: step.Meta{Name: "sign", Zone: step.ZoneAttest}, Inputs: []step.Field{need("staging", step.KindDir), f("file", step.KindFile), f("run", step.KindFile), f("reports", step.KindDir)},
			Outputs: []step.Field{f("text", step.KindString)}},
		{Meta: step.Meta{Name: "net", Zone: step.ZoneBuild, Needs: step.Needs{Network: true}}},
		{Meta: step.Meta{Name: "user", Zone: step.ZoneAttest, Needs: step.Needs{UserCode: true}}},
		{Meta: step.Meta{Name: "moon", Zone: "moon"}},
	}
	m := map[string]step.Spec{}
	for _, s := range list {
		m[s.Name] = s
	}
	return m
}

func little() paths.Path {
	w := func(kv ...any) map[string]paths.Wire {
		m := map[string]paths.Wire{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1].(paths.Wire)
		}
		return m
	}
	return paths.Path{
		Name:   "little",
		Inputs: []step.Field{{Name: "base", Kind: step.KindString, Help: "x"}},
		Nodes: []paths.Node{
			{ID: "a", Step: "a", With: w("source", paths.Input("source"), "base", paths.Input("base"))},
			{ID: "b", Step: "b", With: w("dir", paths.From("a", "dir"), "digest", paths.From("a", "digest"), "cache", paths.From("a", "cache"), "text", paths.From("a", "digest"), "jobs", paths.Value("4"))},
			{ID: "pub", Step: "pub", With: w("file", paths.From("b", "file"), "reports", paths.Reports())},
			{ID: "sign", Step: "sign", After: []string{"b"}, With: w("staging", paths.From("pub", "staging"), "run", paths.Input("run"))},
		},
	}
}

func TestCheck(t *testing.T) {
	if found := catalog.Check(little(), world()); found != nil {
		t.Fatalf("a sound path: %q", found)
	}
	wire := func(node int, input string, w paths.Wire) func(*paths.Path) {
		return func(p *paths.Path) { p.Nodes[node].With[input] = w }
	}
	for want, change := range map[string]func(*paths.Path){
		`node a: no step is called "aa"; did you mean "a"?`:               func(p *paths.Path) { p.Nodes[0].Step = "aa" },
		`node "b": its id is empty or not unique`:                         func(p *paths.Path) { p.Nodes[2].ID = "b" },
		`node b: step b has no input "drr"; did you mean "dir"?`:          wire(1, "drr", paths.Value("x")),
		`node b: input dir: step a has no output "drr"`:                   wire(1, "dir", paths.From("a", "drr")),
		`node b: input dir: comes from node "z"`:                          wire(1, "dir", paths.From("z", "dir")),
		`node b: input dir: is a dir, and output text of node a is a str`: wire(1, "dir", paths.From("a", "text")),
		`node b: input digest: is a digest, and output text of node a`:    wire(1, "digest", paths.From("a", "text")),
		`node b: input cache: keyless is true, and false for output dir`:  wire(1, "cache", paths.From("a", "dir")),
		`node b: input dir: keyless is false, and true for output cache`:  wire(1, "dir", paths.From("a", "cache")),
		`node b: input jobs: input "jobs": "many" is not a int`:           wire(1, "jobs", paths.Value("many")),
		`node b: input jobs: is a int, and path input base is a string`:   wire(1, "jobs", paths.Input("base")),
		`node b: input text: path little has no input "bsae"; did you`:    wire(1, "text", paths.Input("bsae")),
		`node b: input text: its wire has 2 sources`:                      wire(1, "text", paths.Wire{Input: "base", Value: "x"}),
		`node b: input text: its wire has 0 sources`:                      wire(1, "text", paths.Wire{}),
		`node b: input text: is a string, and reports are a dir`:          wire(1, "text", paths.Reports()),
		`node b: input dir of step b is required`:                         func(p *paths.Path) { delete(p.Nodes[1].With, "dir") },
		`node a: input source: is a dir, and path input base`:             wire(0, "source", paths.Input("base")),
		`node sign: input reports takes the producer's reports`:           wire(3, "reports", paths.Reports()),
		`node sign: zone attest takes outputs of b in zone build`:         wire(3, "file", paths.From("b", "file")),
		`node a: zone fetch waits for b in zone build`:                    func(p *paths.Path) { p.Nodes[0].After = []string{"b"} },
		`nodes a, b, pub, sign: wait for each other`:                      func(p *paths.Path) { p.Nodes[0].After = []string{"b"} },
		`nodes sign: wait for each other in a cycle, or for one`:          func(p *paths.Path) { p.Nodes[3].After = []string{"sign"} },
		`node b: stands before a`:                                         func(p *paths.Path) { p.Nodes[0], p.Nodes[1] = p.Nodes[1], p.Nodes[0] },
		`node pub: runs after "z", which there is not`:                    func(p *paths.Path) { p.Nodes[2].After = []string{"z"} },
		`input base: declared twice`:                                      func(p *paths.Path) { p.Inputs = append(p.Inputs, p.Inputs[0]) },
		`input source: declared twice`:                                    func(p *paths.Path) { p.Inputs[0].Name = "source" },
		`input base: no help`:                                             func(p *paths.Path) { p.Inputs[0].Help = "" },
		`input base: no node uses it`:                                     func(p *paths.Path) { delete(p.Nodes[0].With, "base") },
		`input base: default: input "base": "x" is not a int`:             func(p *paths.Path) { p.Inputs[0].Kind, p.Inputs[0].Default = step.KindInt, "x" },
		`node n: step net needs a network, and zone build has none`:       func(p *paths.Path) { p.Nodes = append(p.Nodes, paths.Node{ID: "n", Step: "net"}) },
		`node u: step user runs user code outside of zone build`:          func(p *paths.Path) { p.Nodes = append(p.Nodes, paths.Node{ID: "u", Step: "user"}) },
		`node m: zone "moon" of step moon is none of`:                     func(p *paths.Path) { p.Nodes = append(p.Nodes, paths.Node{ID: "m", Step: "moon"}) },
	} {
		p := little()
		change(&p)
		found := catalog.Check(p, world())
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, want) }) {
			t.Errorf("want %q, got:\n%s", want, strings.Join(found, "\n"))
		}
	}
	// A required input that nothing is sure to fill.
	p, specs := little(), world()
	b := specs["a"]
	b.Inputs = slices.Clone(b.Inputs)
	b.Inputs[1].Required = true
	specs = maps.Clone(specs)
	specs["a"] = b
	if found := strings.Join(catalog.Check(p, specs), "\n"); !strings.Contains(found, "node a: input base: is required, and path input base may be empty") {
		t.Errorf("a required input from an optional one: %q", found)
	}
}
