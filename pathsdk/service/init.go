package service

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Init returns the first paths.yaml of a service: every input of the path with
// its default, commented out, and gates with the policy's parameters likewise.
// Editors check it against the schema that its first line names.
func Init(path paths.Path, gates []step.Field) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# yaml-language-server: $schema=%s\n", SchemaURL)
	fmt.Fprintf(&b, "# %s\n# What is commented out has its default. See: pathctl explain %s\n", path.Summary, path.Name)
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\npath: %s\nversion: %s\n", APIVersion, Kind, path.Name, path.Version)
	b.WriteString("\ninputs:\n")
	comments(&b, path.Inputs)
	b.WriteString("\n# The service's own limits; they can only be stricter than the policy's.\ngates:\n")
	comments(&b, gates)
	b.WriteString(`
# Findings that are accepted until a day, with the reason in every verdict.
waivers:
#  - id: CVE-2026-0001
#    reason: the vulnerable function is not called
#    expires: 2026-12-31

# The service's own steps: they run fenced, without network, beside the tests.
custom:
#  - name: vet
#    command: [go, vet, ./...]
#    after: [test]
`)
	return b.Bytes()
}

func comments(b *bytes.Buffer, fields []step.Field) {
	for _, f := range fields {
		fmt.Fprintf(b, "#  %s: %s  # %s\n", f.Name, example(f), f.Help)
	}
}

// example is a value in YAML: the default, or one that shows the kind.
func example(f step.Field) string {
	var v any = f.Default
	switch {
	case f.Default == "" && f.Kind == step.KindStrings:
		return "[]"
	case f.Default == "" && f.Kind == step.KindBool:
		return "false"
	case f.Default == "" && f.Kind == step.KindInt:
		return "0"
	case f.Default == "" && f.Kind == step.KindDuration:
		return "0s"
	case f.Kind == step.KindStrings:
		v = strings.Split(f.Default, ",")
	case f.Default != "" && (f.Kind == step.KindInt || f.Kind == step.KindBool):
		return f.Default
	}
	node := yaml.Node{}
	if err := node.Encode(v); err != nil {
		return `""` // texts and lists of texts always encode
	}
	node.Style = yaml.FlowStyle
	out, err := yaml.Marshal(&node)
	if err != nil {
		return `""`
	}
	return strings.TrimSpace(string(out))
}
