package service

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

var gates = []step.Field{
	{Name: "maxSeverity", Kind: step.KindString, Default: "high", Enum: []string{"low", "medium", "high"}, Help: "highest severity that passes"},
	{Name: "requireKEV", Kind: step.KindBool, Help: "the KEV list must have been checked"},
	{Name: "signers", Kind: step.KindStrings, Default: "a: b,c", Help: "who may sign"},
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := Schema([]paths.Path{paths.Microservice()}, map[string][]step.Field{"microservice": gates})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(SchemaURL, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaURL)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, file string) error {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

func TestSchemaAgreesWithParse(t *testing.T) {
	s := compile(t)
	for name, file := range map[string]string{
		"full": full, "head": head, "init": string(Init(paths.Microservice(), gates)),
		"commented out": head + "inputs:\ngates:\nwaivers:\ncustom:\n",
		"lists":         head + "inputs: {platforms: linux/amd64, tags: [a, b]}\n",
	} {
		if _, err := Parse([]byte(file)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := validate(t, s, file); err != nil {
			t.Errorf("%s: Parse takes it, the schema does not: %v", name, err)
		}
	}
	for name, tt := range bad {
		if !tt.yaml && validate(t, s, tt.file) == nil {
			t.Errorf("%s: Parse refuses it, the schema does not", name)
		}
	}
	for name, file := range map[string]string{
		"unknown input": head + "inputs: {naem: x}\n",
		"unknown gate":  head + "gates: {maxSeverty: low}\n",
		"wrong kind":    head + "inputs: {minCoverage: much}\n",
		"not in enum":   head + "gates: {maxSeverity: huge}\n",
		"unknown path":  strings.Replace(head, "microservice", "macroservice", 1),
	} {
		if validate(t, s, file) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

// TestInitUncommented takes every comment sign away: what init suggests must be
// valid, and resolve to the defaults.
func TestInitUncommented(t *testing.T) {
	path := paths.Microservice()
	file := string(Init(path, gates))
	if !strings.HasPrefix(file, "# yaml-language-server: $schema=https://") {
		t.Errorf("starts with %.60q", file)
	}
	var lines []string
	for _, l := range strings.Split(file, "\n") {
		if strings.HasPrefix(l, "#  ") {
			l = l[1:]
		}
		lines = append(lines, l)
	}
	open := strings.Join(lines, "\n")
	s, err := Parse([]byte(open))
	if err != nil {
		t.Fatalf("%v\n%s", err, open)
	}
	if err := validate(t, compile(t), open); err != nil {
		t.Error(err)
	}
	if len(s.Inputs) != len(path.Inputs) || len(s.Gates) != len(gates) || len(s.Waivers) != 1 || len(s.Custom) != 1 {
		t.Errorf("got %+v", s)
	}
	if err := s.CheckGates(path, gates); err != nil {
		t.Error(err)
	}
	got, err := Resolve(path, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Resolve(path, parse(t, head), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range got {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: init suggests %s, and the default is %s", name, got[name], want[name])
		}
	}
	var schema map[string]any
	b, err := Schema([]paths.Path{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &schema); err != nil || schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("schema %v, %v", schema["$schema"], err)
	}
}
