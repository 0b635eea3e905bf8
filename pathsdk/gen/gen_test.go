package gen

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/catalog"
	"github.com/pavedpaths/paths/pathsdk/internal/golden"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/service"
	"github.com/pavedpaths/paths/pathsdk/step"
)

const repoRoot = "../.."

// TestUpToDate fails when what is committed is not what the catalog says. The
// command line's reference is checked where the command line is.
func TestUpToDate(t *testing.T) {
	files, err := Files(nil, repoRoot)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range Check(repoRoot, files) {
		t.Errorf("%s; run: make gen", problem)
	}
}

func TestFilesAreDeterministic(t *testing.T) {
	a, err := Files(tree(), repoRoot)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Files(tree(), repoRoot)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	for name, content := range a {
		if bytes.Contains(content, []byte(" \n")) && name != "README.md" {
			t.Errorf("%s has space at the end of a line", name)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(content) {
			t.Errorf("%s is not JSON", name)
		}
	}
}

// TestSchemas checks that every schema compiles, and that the schema of a step
// and step.Complete agree on its defaults.
func TestSchemas(t *testing.T) {
	files, err := Files(nil, repoRoot)
	if err != nil {
		t.Fatal(err)
	}
	if len(catalog.Steps()) == 0 {
		t.Fatal("the catalog is empty")
	}
	for _, s := range catalog.Steps() {
		schema := compile(t, files["schema/steps/"+s.Spec().Name+".schema.json"])
		in := map[string]any{}
		for _, f := range s.Spec().Inputs {
			if f.Required {
				in[f.Name] = sample(f)
			}
		}
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		full, err := step.Complete(s.Spec(), raw)
		if err != nil {
			t.Errorf("step %s: %v", s.Spec().Name, err)
			continue
		}
		if err := schema.Validate(instance(t, full)); err != nil {
			t.Errorf("step %s: %s: %v", s.Spec().Name, full, err)
		}
		if schema.Validate(instance(t, []byte(`{"thereIsNoSuchInput":1}`))) == nil {
			t.Errorf("step %s: its schema takes an unknown input", s.Spec().Name)
		}
	}
}

func sample(f step.Field) any {
	switch {
	case len(f.Enum) > 0 && f.Kind == step.KindStrings:
		return f.Enum[:1]
	case len(f.Enum) > 0:
		return f.Enum[0]
	}
	switch f.Kind {
	case step.KindInt:
		return 1
	case step.KindStrings:
		return []string{"x"}
	case step.KindDigest:
		return "sha256:" + strings.Repeat("0", 64)
	case step.KindDuration:
		return "1m"
	}
	return "x"
}

// TestExamples checks the paths.yaml of every example: it must load, resolve,
// and be valid for the schema that its editor uses.
func TestExamples(t *testing.T) {
	files, err := Files(nil, repoRoot)
	if err != nil {
		t.Fatal(err)
	}
	schema := compile(t, files["schema/paths.schema.json"])
	found, err := filepath.Glob(filepath.Join(repoRoot, "examples", "*", service.File))
	if err != nil || len(found) == 0 {
		t.Fatalf("examples: %q, %v", found, err)
	}
	for _, file := range found {
		s, err := service.Load(filepath.Dir(file))
		if err != nil {
			t.Error(err)
			continue
		}
		p, err := catalog.Path(s.Path)
		if err != nil {
			t.Error(err)
			continue
		}
		gates, err := Gates(p.Policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckGates(p, gates); err != nil {
			t.Error(err)
		}
		graph, err := service.Graph(p, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range catalog.Check(graph, catalog.Specs(catalog.Steps())) {
			t.Errorf("%s: %s", file, problem)
		}
		if _, err := service.Resolve(graph, s, nil); err != nil {
			t.Error(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(content, []byte("# yaml-language-server: $schema="+service.SchemaURL+"\n")) {
			t.Errorf("%s: its first line does not name the schema", file)
		}
		asJSON, err := yaml.YAMLToJSON(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(instance(t, asJSON)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestInit checks what pathctl init writes against the real policy.
func TestInit(t *testing.T) {
	for _, p := range catalog.Paths() {
		gates, err := Gates(p.Policy)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(gates, func(f step.Field) bool { return f.Name == "maxSeverity" }) {
			t.Errorf("policy %s: gates %v without maxSeverity", p.Policy, gates)
		}
		for _, g := range gates {
			if _, err := step.Parse(g, g.Default); err != nil {
				t.Errorf("policy %s: default of %s: %v", p.Policy, g.Name, err)
			}
		}
		if _, err := service.Parse(service.Init(p, gates)); err != nil {
			t.Error(err)
		}
	}
}

func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", instance(t, schema)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instance(t *testing.T, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tree() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "Does things", Long: "Tool does things."}
	root.PersistentFlags().StringP("output", "o", "text", "text or json")
	run := func(*cobra.Command, []string) {}
	ship := &cobra.Command{Use: "ship SOURCE", Short: "Ship a service", Example: "  tool ship .\n  tool ship a|b", Run: run}
	ship.Flags().Int("jobs", 2, "how many steps | at once")
	ship.Flags().StringSlice("tags", nil, "build tags")
	ship.Flags().Bool("secret", false, "hidden")
	_ = ship.Flags().MarkHidden("secret")
	key := &cobra.Command{Use: "key", Short: "Keys"}
	key.AddCommand(&cobra.Command{Use: "init", Short: "Make keys", Run: run})
	root.AddCommand(ship, key, &cobra.Command{Use: "internal", Hidden: true, Run: run})
	return root
}

func TestCLI(t *testing.T) {
	golden.Equal(t, ".md", cliPage(tree()))
}

func TestPages(t *testing.T) {
	spec := step.Spec{
		Meta: step.Meta{Name: "copy", Version: "1.0.0", Summary: "Copies a|b.", Proves: "That it was copied.", Zone: step.ZoneFetch,
			Needs: step.Needs{Network: true, Fresh: true}, Evidence: []string{"https://spdx.dev/Document"}},
		Inputs: []step.Field{
			{Name: "from", Kind: step.KindDir, Required: true, Help: "where from"},
			{Name: "how", Kind: step.KindString, Default: "fast", Enum: []string{"fast", "slow"}, Help: "how to copy"},
			{Name: "deep", Kind: step.KindBool, Help: "with all below", Since: "1.0.0", Deprecated: "it always is"},
		},
		Outputs: []step.Field{{Name: "to", Kind: step.KindDir, Help: "the copy", Keyless: true}},
	}
	path := paths.Path{Name: "copies", Version: "0.1.0", Summary: "Copies.", Policy: "copies", Inputs: spec.Inputs[1:2], Nodes: []paths.Node{
		{ID: "a", Step: "copy"}, {ID: "b", Step: "copy", With: map[string]paths.Wire{"from": paths.From("a", "to")}},
	}}
	t.Run("steps", func(t *testing.T) { golden.Equal(t, ".md", stepsPage([]step.Spec{spec})) })
	t.Run("paths", func(t *testing.T) {
		golden.Equal(t, ".md", pathsPage([]paths.Path{path}, map[string]step.Spec{"copy": spec}))
	})
	t.Run("schema", func(t *testing.T) {
		b, err := stepSchema(spec)
		if err != nil {
			t.Fatal(err)
		}
		golden.Equal(t, ".json", b)
	})
}

func TestFill(t *testing.T) {
	tables := map[string]string{"steps": "| a |\n", "paths": "| b |\n"}
	for doc, want := range map[string]string{
		"no markers\n": "no markers\n",
		"x\n<!-- gen:steps -->\nold\n<!-- /gen -->\ny\n<!-- gen:paths --><!-- /gen -->\n": "x\n<!-- gen:steps -->\n| a |\n<!-- /gen -->\ny\n<!-- gen:paths -->\n| b |\n<!-- /gen -->\n",
		"<!-- gen:verbs -->\nkept\n<!-- /gen -->":                                         "<!-- gen:verbs -->\nkept\n<!-- /gen -->",
		"<!-- gen:nothing --><!-- /gen -->":                                               "error: there is no table gen:nothing; there are: paths, steps",
		"<!-- gen:steps -->":                                                              "error: marker gen:steps has no <!-- /gen -->",
		"<!-- gen:steps --><!-- gen:paths --><!-- /gen -->":                               "error: marker gen:steps has no <!-- /gen -->",
		"<!-- gen:steps": "error: a marker <!-- gen: is not closed by -->",
	} {
		got, err := fill([]byte(doc), tables)
		text := string(got)
		if err != nil {
			text = "error: " + err.Error()
		}
		if text != want {
			t.Errorf("%q:\n got %q\nwant %q", doc, text, want)
		}
		if err == nil {
			if again, err := fill(got, tables); err != nil || !bytes.Equal(again, got) {
				t.Errorf("%q: filled twice: %q, %v", doc, again, err)
			}
		}
	}
}

func TestWriteAndCheck(t *testing.T) {
	root := t.TempDir()
	files := map[string][]byte{"docs/reference/steps.gen.md": []byte("a\nb\n"), "schema/steps/x.schema.json": []byte("{}\n")}
	if got := Check(root, files); len(got) != 2 || !strings.HasSuffix(got[0], "is missing") {
		t.Errorf("empty folder: %q", got)
	}
	written, err := Write(root, files)
	if err != nil || len(written) != 2 {
		t.Fatalf("wrote %q, %v", written, err)
	}
	if got := Check(root, files); len(got) != 0 {
		t.Errorf("just written: %q", got)
	}
	for name, content := range map[string]string{
		"docs/reference/steps.gen.md": "a\nc\n", "schema/steps/old.schema.json": "{}",
		"docs/reference/cli.gen.md": "kept", "docs/reference/guide.md": "kept",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"docs/reference/steps.gen.md is stale from line 2 on", "schema/steps/old.schema.json is generated no more"}
	if d := cmp.Diff(want, Check(root, files)); d != "" {
		t.Error(d)
	}
	written, err = Write(root, files)
	if d := cmp.Diff([]string{"docs/reference/steps.gen.md", "schema/steps/old.schema.json"}, written); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if got := Check(root, files); len(got) != 0 {
		t.Errorf("written again: %q", got)
	}
	for _, name := range []string{"docs/reference/cli.gen.md", "docs/reference/guide.md"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
	}
}
