// Package fieldschema writes the JSON Schema (draft 2020-12) of inputs and
// outputs: each kind of field maps once to it.
package fieldschema

import (
	"encoding/json"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Draft is the dialect of every schema that we write.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// Of returns the schema of one field. Its default must parse.
func Of(f step.Field) (map[string]any, error) {
	s := map[string]any{"description": f.Help}
	values := s
	switch f.Kind {
	case step.KindBool:
		s["type"] = "boolean"
	case step.KindInt:
		s["type"] = "integer"
	case step.KindStrings:
		values = map[string]any{"type": "string"}
		s["type"], s["items"] = "array", values
	case step.KindDuration:
		s["type"], s["pattern"] = "string", `^-?([0-9]+(\.[0-9]*)?(ns|us|µs|μs|ms|s|m|h))+$`
	case step.KindDigest:
		s["type"], s["pattern"] = "string", "^sha256:[0-9a-f]{64}$"
	default:
		s["type"] = "string"
	}
	if f.Required && f.Kind == step.KindStrings {
		s["minItems"] = 1
	} else if f.Required && s["type"] == "string" && s["pattern"] == nil {
		s["minLength"] = 1
	}
	if len(f.Enum) > 0 {
		values["enum"] = f.Enum
	}
	if f.Default != "" {
		raw, err := step.Parse(f, f.Default)
		if err != nil {
			return nil, err
		}
		s["default"] = json.RawMessage(raw)
	}
	if f.Deprecated != "" {
		s["deprecated"] = true
		s["description"] = f.Help + "; deprecated: " + f.Deprecated
	}
	return s, nil
}

// Object returns the schema of an object with exactly these fields.
func Object(fields []step.Field) (map[string]any, error) {
	properties := map[string]any{}
	required := []string{}
	for _, f := range fields {
		p, err := Of(f)
		if err != nil {
			return nil, err
		}
		properties[f.Name] = p
		if f.Required {
			required = append(required, f.Name)
		}
	}
	o := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o, nil
}
