package service

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pavedpaths/paths/pathsdk/step"
)

const head = "apiVersion: pavedpaths.dev/v1\nkind: Service\npath: microservice\n"

const full = head + `version: 0.1.0
inputs:
  name: orders
  platforms: [linux/amd64, linux/arm64]
  tags: netgo
  minCoverage: 60
  testTimeout: 5m
gates:
  maxSeverity: high
  requireKEV: true
waivers:
  - id: CVE-2026-0001
    reason: not reachable
    expires: 2026-12-31
custom:
  - name: vet
    command: [go, vet, "./..."]
    after: [test]
  - name: lint
    command:
      - ./lint
      - --rules=a,b
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := Service{
		APIVersion: APIVersion, Kind: Kind, Path: "microservice", Version: "0.1.0",
		Inputs: map[string]json.RawMessage{
			"name": json.RawMessage(`"orders"`), "platforms": json.RawMessage(`["linux/amd64","linux/arm64"]`),
			"tags": json.RawMessage(`"netgo"`), "minCoverage": json.RawMessage(`60`), "testTimeout": json.RawMessage(`"5m"`),
		},
		Gates:   map[string]any{"maxSeverity": "high", "requireKEV": true},
		Waivers: []Waiver{{"CVE-2026-0001", "not reachable", "2026-12-31"}},
		Custom: []Custom{
			{Name: "vet", Command: []string{"go", "vet", "./..."}, After: []string{"test"}},
			{Name: "lint", Command: []string{"./lint", "--rules=a,b"}},
		},
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Service{})); d != "" {
		t.Error(d)
	}
	if !got.Found() {
		t.Error("a file that was parsed counts as not found")
	}
}

func TestValuesKeepTheirText(t *testing.T) {
	s, err := Parse([]byte(head + "inputs: {a: 1.20, b: 1.5, c: 007, d: 0x1F, e: yes, f: True, g: 2026-01-02, h: 1e3, i: '60', j: -5, k: 12345678901234567890, l: .inf}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": `"1.20"`, "b": `1.5`, "c": `"007"`, "d": `"0x1F"`, "e": `"yes"`, "f": `true`, "g": `"2026-01-02"`,
		"h": `"1e3"`, "i": `"60"`, "j": `-5`, "k": `"12345678901234567890"`, "l": `".inf"`,
	}
	for name, w := range want {
		if got := string(s.Inputs[name]); got != w {
			t.Errorf("%s: got %s, want %s", name, got, w)
		}
	}
}

func TestSectionsMayBeCommentedOut(t *testing.T) {
	s, err := Parse([]byte(head + "inputs:\n# name: x\ngates:\nwaivers:\ncustom: ~\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Inputs)+len(s.Gates)+len(s.Waivers)+len(s.Custom) != 0 {
		t.Errorf("got %+v", s)
	}
}

// bad are files that Parse refuses; the schema refuses those without yaml too.
var bad = map[string]struct {
	file string
	want string
	yaml bool // the mistake is one of YAML or of repetition, which a schema can't see
}{
	"empty":              {"", "is empty", true},
	"only comments":      {"# nothing\n", "is empty", true},
	"null document":      {"---\n", "want fields", false},
	"a list":             {"- a\n", "paths.yaml:1: want fields", false},
	"text":               {"hello\n", "want fields", false},
	"not YAML":           {head + "inputs: {a: [}\n", "paths.yaml: not YAML near line", true},
	"not UTF-8":          {head + "# \xff\n", "UTF-8", true},
	"second document":    {head + "---\n" + head, "second document", true},
	"broken second":      {head + "---\n{", "not YAML", true},
	"no apiVersion":      {"kind: Service\npath: microservice\n", "apiVersion: is missing; write apiVersion: pavedpaths.dev/v1", false},
	"other apiVersion":   {"apiVersion: v2\nkind: Service\npath: microservice\n", `paths.yaml:1: apiVersion: "v2" is not supported`, false},
	"other kind":         {"apiVersion: pavedpaths.dev/v1\nkind: Pod\npath: microservice\n", `paths.yaml:2: kind: "Pod"`, false},
	"no path":            {"apiVersion: pavedpaths.dev/v1\nkind: Service\n", "path: is missing", false},
	"path with slashes":  {"apiVersion: pavedpaths.dev/v1\nkind: Service\npath: ../x\n", "paths.yaml:3: path:", false},
	"version":            {head + "version: latest\n", "paths.yaml:4: version:", false},
	"short version":      {head + "version: '1.2'\n", "version", false},
	"unknown field":      {head + "gate: {}\n", `paths.yaml:4: "gate" is unknown; did you mean "gates"?`, false},
	"repeated field":     {head + "path: microservice\n", "paths.yaml:4: path: is given twice", true},
	"alias":              {head + "inputs: {name: &a x, base: *a}\n", "anchors and aliases", true},
	"anchored map":       {head + "inputs: &a {}\n", "anchors and aliases", true},
	"alias for a map":    {head + "inputs: {}\ngates: *inputs\n", "not YAML", true},
	"merge key":          {head + "inputs: {<<: {a: b}}\n", "no name of a field", false},
	"tag":                {head + "inputs: {name: !!binary aGk=}\n", "tags", true},
	"tagged map":         {head + "inputs: !x {}\n", "tags", true},
	"input without":      {head + "inputs: {name: }\n", "paths.yaml:4: inputs.name: has no value", false},
	"input of maps":      {head + "inputs: {name: {a: b}}\n", "want a single value", false},
	"list of lists":      {head + "inputs: {tags: [[a]]}\n", "inputs.tags[0]: want a single value", false},
	"input name":         {head + "inputs: {custom.vet: x}\n", "no name of a field", false},
	"long value":         {head + "inputs: {name: " + strings.Repeat("x", maxText+1) + "}\n", "longer than", true},
	"NUL":                {head + "inputs: {name: \"a\\0b\"}\n", "NUL", true},
	"waivers as a map":   {head + "waivers: {id: x}\n", "paths.yaml:4: waivers: want a list", false},
	"waiver of text":     {head + "waivers: [CVE-1]\n", "waivers[0]: want fields", false},
	"waiver reason":      {head + "waivers: [{id: CVE-1, expires: 2026-01-01}]\n", "waivers[0].reason: is missing", false},
	"blank reason":       {head + "waivers: [{id: CVE-1, reason: ' ', expires: 2026-01-01}]\n", "waivers[0].reason: is blank", false},
	"waiver expiry":      {head + "waivers:\n  - id: CVE-1\n    reason: x\n    expires: never\n", "paths.yaml:7: waivers[0].expires:", false},
	"30 February":        {head + "waivers: [{id: CVE-1, reason: x, expires: 2026-02-30}]\n", "no day", true},
	"waived twice":       {head + "waivers: [{id: a, reason: x, expires: 2026-01-01}, {id: a, reason: y, expires: 2026-01-01}]\n", "waived twice", true},
	"waiver field":       {head + "waivers: [{id: a, reason: x, expires: 2026-01-01, until: x}]\n", `"until" is unknown`, false},
	"custom without":     {head + "custom: [{name: vet}]\n", "custom[0].command: is missing", false},
	"custom as a shell":  {head + "custom: [{name: vet, command: go vet}]\n", "custom[0].command: want a list", false},
	"custom empty":       {head + "custom: [{name: vet, command: []}]\n", "custom[0].command: is missing", false},
	"custom name":        {head + "custom: [{name: ../x, command: [go]}]\n", "custom[0].name:", false},
	"custom twice":       {head + "custom: [{name: a, command: [b]}, {name: a, command: [b]}]\n", "used twice", true},
	"custom environment": {head + "custom: [{name: a, command: [b], env: {}}]\n", `"env" is unknown`, false},
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tt.file))
			if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant a usage error with %q", err, tt.want)
			}
		})
	}
	big := head + "# " + strings.Repeat("x", MaxSize)
	if _, err := Parse([]byte(big)); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
	many := head + "inputs:\n" + strings.Repeat("  a: b\n", maxEntries+1)
	if _, err := Parse([]byte(many)); !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too many inputs: %v", err)
	}
	deep := head + "inputs: " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "\n"
	if _, err := Parse([]byte(deep)); !errors.Is(err, step.ErrUsage) {
		t.Errorf("a deep file: %v", err)
	}
}

func TestLoad(t *testing.T) {
	write := func(dir, name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("hunter2: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		make  func(dir string)
		want  string // path
		found bool
		err   string
	}{
		"file":          {func(d string) { write(d, File, full) }, "microservice", true, ""},
		"guessed":       {func(d string) { write(d, "go.mod", "module x\n") }, "microservice", false, ""},
		"neither":       {func(string) {}, "", false, "pathctl init"},
		"broken":        {func(d string) { write(d, File, "x") }, "", false, "paths.yaml:1"},
		"go.mod folder": {func(d string) { os.Mkdir(filepath.Join(d, "go.mod"), 0o755) }, "", false, "neither"},
		"folder":        {func(d string) { os.Mkdir(filepath.Join(d, File), 0o755) }, "", false, "not a regular file"},
		"link out":      {func(d string) { os.Symlink(secret, filepath.Join(d, File)) }, "", false, "not a regular file"},
		"link within":   {func(d string) { write(d, "x", full); os.Symlink("x", filepath.Join(d, File)) }, "", false, "not a regular file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(dir)
			s, err := Load(dir)
			if tt.err != "" {
				if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v, want a usage error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			config, err := s.Config()
			if err != nil {
				t.Fatal(err)
			}
			if s.Path != tt.want || s.Found() != tt.found || (config != nil) != tt.found {
				t.Errorf("got %+v, found %t, config %s", s, s.Found(), config)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, step.ErrUsage) {
		t.Errorf("no folder: %v, want a usage error", err)
	}
}

// FuzzParse checks that whatever Parse accepts survives a round through JSON,
// in which the runner records it, and that whatever it refuses is a usage error.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	for _, tt := range bad {
		f.Add([]byte(tt.file))
	}
	f.Add([]byte("{\"apiVersion\": \"pavedpaths.dev/v1\", \"kind\": \"Service\", \"path\": \"microservice\", \"inputs\": {\"name\": 1e400}}"))
	f.Add([]byte(head + "inputs: {a: -0, b: 0.10, c: +1, d: 1_000, e: !!int \"3\", f: \"\\U0001F600\"}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Parse(content)
		if err != nil {
			if !errors.Is(err, step.ErrUsage) {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		config, err := s.Config()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(config) // JSON is YAML
		if err != nil {
			t.Fatalf("%v\n%s", err, config)
		}
		config2, err := again.Config()
		if err != nil {
			t.Fatal(err)
		}
		if string(config) != string(config2) {
			t.Errorf("got %s\nfrom %s", config2, config)
		}
	})
}
