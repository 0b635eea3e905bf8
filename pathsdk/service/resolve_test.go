package service

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

func parse(t *testing.T, content string) Service {
	t.Helper()
	s, err := Parse([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// little is a path with one input of each kind that matters here.
func little() paths.Path {
	return paths.Path{
		Name: "microservice", Version: "0.1.2", Policy: "strict",
		Inputs: []step.Field{
			{Name: "name", Kind: step.KindString, Help: "x"},
			{Name: "tags", Kind: step.KindStrings, Default: "a,b", Help: "x"},
			{Name: "minCoverage", Kind: step.KindInt, Default: "0", Help: "x"},
			{Name: "timeout", Kind: step.KindDuration, Default: "10m", Help: "x"},
			{Name: "fast", Kind: step.KindBool, Help: "x"},
			{Name: "arch", Kind: step.KindStrings, Enum: []string{"amd64", "arm64"}, Default: "amd64", Help: "x"},
		},
		Nodes: []paths.Node{
			{ID: "fetch", Step: "fetch"},
			{ID: "test", Step: "test", With: map[string]paths.Wire{"source": paths.From("fetch", "source"), "tags": paths.Input("tags")}},
			{ID: "build", Step: "build", With: map[string]paths.Wire{"source": paths.From("fetch", "source")}},
			{ID: "publish", Step: "publish", After: []string{"test"}, With: map[string]paths.Wire{"layout": paths.From("build", "layout"), "reports": paths.Reports()}},
			{ID: "receive", Step: "receive", With: map[string]paths.Wire{"staging": paths.From("publish", "staging")}},
		},
	}
}

func TestResolve(t *testing.T) {
	defaults := map[string]string{"tags": `["a","b"]`, "minCoverage": `0`, "timeout": `"10m"`, "arch": `["amd64"]`}
	tests := map[string]struct {
		file  string
		flags map[string]string
		want  map[string]string // what differs from the defaults; "" for absent
		err   string
	}{
		"defaults":              {"", nil, nil, ""},
		"file":                  {"inputs: {name: orders, minCoverage: 60, fast: true}\n", nil, map[string]string{"name": `"orders"`, "minCoverage": "60", "fast": "true"}, ""},
		"flag over file":        {"inputs: {name: orders, minCoverage: 60}\n", map[string]string{"minCoverage": "70"}, map[string]string{"name": `"orders"`, "minCoverage": "70"}, ""},
		"empty flag":            {"inputs: {minCoverage: 60, name: x}\n", map[string]string{"minCoverage": "", "name": ""}, nil, ""},
		"flag over gate":        {"gates: {minCoverage: 60}\n", map[string]string{"minCoverage": "70"}, map[string]string{"minCoverage": "70"}, ""},
		"gate":                  {"gates: {minCoverage: 60, maxSeverity: high}\n", nil, map[string]string{"minCoverage": "60"}, ""},
		"gate and input agree":  {"gates: {minCoverage: 60}\ninputs: {minCoverage: 60}\n", nil, map[string]string{"minCoverage": "60"}, ""},
		"gate and input differ": {"gates: {minCoverage: 60}\ninputs: {minCoverage: 50}\n", nil, nil, "paths.yaml:4: gates.minCoverage: is 60, and under inputs it is 50"},
		"number for a text":     {"inputs: {name: 1.20}\n", nil, map[string]string{"name": `"1.20"`}, ""},
		"bool for a text":       {"inputs: {name: true}\n", nil, map[string]string{"name": `"true"`}, ""},
		"text for a number":     {"inputs: {minCoverage: '60'}\n", nil, map[string]string{"minCoverage": "60"}, ""},
		"one for a list":        {"inputs: {tags: c}\n", nil, map[string]string{"tags": `["c"]`}, ""},
		"list with commas":      {"inputs: {tags: ['c,d', e]}\n", nil, map[string]string{"tags": `["c,d","e"]`}, ""},
		"numbers in a list":     {"inputs: {tags: [1, 2.0]}\n", nil, map[string]string{"tags": `["1","2.0"]`}, ""},
		"empty list":            {"inputs: {tags: []}\n", nil, nil, ""},
		"list for a text":       {"inputs: {name: [a]}\n", nil, nil, "paths.yaml:4: inputs.name: want a single string, not a list"},
		"fraction":              {"inputs: {minCoverage: 60.5}\n", nil, nil, "paths.yaml:4: inputs.minCoverage:"},
		"no duration":           {"inputs:\n  timeout: 10\n", nil, nil, "paths.yaml:5: inputs.timeout:"},
		"enum":                  {"inputs: {arch: [arm64]}\n", nil, map[string]string{"arch": `["arm64"]`}, ""},
		"not in the enum":       {"inputs: {arch: [arm64, mips]}\n", nil, nil, `"mips" is not one of amd64, arm64`},
		"unknown input":         {"inputs: {naem: x}\n", nil, nil, `paths.yaml:4: inputs.naem: path microservice has no such input; did you mean "name"?`},
		"unknown flag":          {"", map[string]string{"naem": "x"}, nil, `did you mean "name"?`},
		"bad flag":              {"", map[string]string{"minCoverage": "much"}, nil, `"much" is not a int`},
		"command by flag":       {"custom: [{name: vet, command: [go]}]\n", map[string]string{"custom.vet": "evil"}, nil, "has no input"},
		"older version":         {"version: 0.1.0\n", nil, nil, ""},
		"same version":          {"version: 0.1.2\n", nil, nil, ""},
		"newer version":         {"version: 0.1.3\n", nil, nil, "paths.yaml:4: version: is 0.1.3, and this pathctl has version 0.1.2"},
		"next minor":            {"version: 0.2.0\n", nil, nil, "version"},
		"other major":           {"version: 1.1.0\n", nil, nil, "version"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Resolve(little(), parse(t, head+tt.file), tt.flags)
			if tt.err != "" {
				if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v\nwant a usage error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(defaults)
			maps.Copy(want, tt.want)
			text := map[string]string{}
			for k, v := range got {
				text[k] = string(v)
			}
			if d := cmp.Diff(want, text); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := Resolve(paths.Path{Name: "library"}, parse(t, head), nil); !errors.Is(err, step.ErrUsage) {
		t.Errorf("another path: %v, want a usage error", err)
	}
}

func TestCheckGates(t *testing.T) {
	known := []step.Field{
		{Name: "maxSeverity", Kind: step.KindString, Enum: []string{"low", "medium", "high"}},
		{Name: "maxAge", Kind: step.KindDuration},
	}
	for file, want := range map[string]string{
		"": "",
		"gates: {maxSeverity: low, maxAge: 24h, minCoverage: 60}\n":     "",
		"gates: {maxSeverty: low}\n":                                    `paths.yaml:4: gates.maxSeverty: policy strict has no such parameter; did you mean "maxSeverity"?`,
		"gates:\n  maxSeverity: huge\n":                                 "paths.yaml:5: gates.maxSeverity:",
		"gates: {maxAge: 24}\n":                                         "gates.maxAge",
		"gates: {minCoverage: high}\n":                                  "gates.minCoverage",
		"gates: {maxSeverity: [low]}\n":                                 "single string",
		"gates: {custom.vet: x}\ncustom: [{name: vet, command: [x]}]\n": "no name",
	} {
		s, err := Parse([]byte(head + file))
		if err == nil {
			err = s.CheckGates(little(), known)
		}
		if want == "" && err != nil || want != "" && (!errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v\nwant %q", file, err, want)
		}
	}
}

func TestGraph(t *testing.T) {
	before := little()
	s := parse(t, head+"custom:\n- {name: licences, command: [go, 'run,this'], after: [vet]}\n- {name: vet, command: [go, vet], after: [test]}\n")
	got, err := Graph(before, s)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, n := range got.Nodes {
		ids = append(ids, n.ID)
	}
	if d := cmp.Diff([]string{"fetch", "test", "build", "vet", "licences", "publish", "receive"}, ids); d != "" {
		t.Error(d)
	}
	want := paths.Node{ID: "licences", Step: "custom", After: []string{"vet"}, With: map[string]paths.Wire{
		"source": paths.From("fetch", "source"), "name": paths.Value("licences"), "command": paths.Input("custom.licences"),
	}}
	if d := cmp.Diff(want, got.Nodes[4]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"test", "vet", "licences"}, got.Nodes[5].After); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(little(), before); d != "" {
		t.Errorf("the path that was given changed: %s", d)
	}
	values, err := Resolve(got, s, map[string]string{"name": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(values["custom.licences"]), `["go","run,this"]`; got != want {
		t.Errorf("command %s, want %s", got, want)
	}
	// A file is no way around: its inputs can't name a command.
	s.Inputs = map[string]json.RawMessage{"custom.vet": json.RawMessage(`"evil"`)}
	if _, err := Resolve(got, s, nil); !errors.Is(err, step.ErrUsage) {
		t.Errorf("a command among the inputs: %v, want a usage error", err)
	}
	plain, err := Graph(before, parse(t, head))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(little(), plain); d != "" {
		t.Error(d)
	}
}

func TestGraphRefuses(t *testing.T) {
	for file, want := range map[string]string{
		"custom: [{name: build, command: [x]}]\n":                                              `paths.yaml:4: custom[0].name: path microservice has a node called "build"`,
		"custom: [{name: source, command: [x]}]\n":                                             `"source" names a part of every test result`,
		"custom:\n- name: a\n  command: [x]\n  after: [receive]\n":                             `paths.yaml:7: custom[0].after: a custom step can't run after "receive"; there are: build, fetch, test`,
		"custom: [{name: a, command: [x], after: [publish]}]\n":                                "can't run after",
		"custom: [{name: a, command: [x], after: [tset]}]\n":                                   `did you mean "test"?`,
		"custom: [{name: a, command: [x], after: [a]}]\n":                                      "can't run after",
		"custom: [{name: a, command: [x], after: [b]}, {name: b, command: [x], after: [a]}]\n": "a, b wait for each other",
		"version: 0.2.0\ncustom: [{name: a, command: [x]}]\n":                                  "version",
	} {
		_, err := Graph(little(), parse(t, head+file))
		if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v\nwant a usage error with %q", file, err, want)
		}
	}
	bare := little()
	bare.Nodes = slices.DeleteFunc(bare.Nodes, func(n paths.Node) bool { return n.ID == "test" })
	if _, err := Graph(bare, parse(t, head+"custom: [{name: a, command: [x]}]\n")); !errors.Is(err, step.ErrUsage) {
		t.Errorf("a path without tests: %v, want a usage error", err)
	}
}
