package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/cel"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Param is one parameter of a policy.
type Param struct {
	// Type is string, bool, int, duration or strings.
	Type string `json:"type"`
	// Default is the value that holds unless it is overridden.
	Default any `json:"default"`
	// Help is one sentence that starts in lower case and has no full stop.
	Help string `json:"help"`
	// Enum lists the allowed values of a string.
	Enum []string `json:"enum,omitempty"`
	// Stricter says which values a service may set in the gates of its own
	// paths.yaml: lower or higher ones, true, or (empty) none. Strings are
	// ordered as in Enum.
	Stricter string `json:"stricter,omitempty"`
}

func (p Param) celType() *cel.Type {
	switch p.Type {
	case "bool":
		return cel.BoolType
	case "int":
		return cel.IntType
	case "duration":
		return cel.DurationType
	case "strings":
		return cel.ListType(cel.StringType)
	}
	return cel.StringType
}

// convert turns a value from YAML, JSON, Go or a flag into the parameter's own
// Go type: string, bool, int64, time.Duration or []string.
func (p Param) convert(v any) (any, error) {
	switch p.Type {
	case "string":
		s, ok := v.(string)
		if !ok {
			break
		}
		if len(p.Enum) > 0 && !slices.Contains(p.Enum, s) {
			return nil, fmt.Errorf("%q is not one of %s", s, strings.Join(p.Enum, ", "))
		}
		return s, nil
	case "bool":
		switch v := v.(type) {
		case bool:
			return v, nil
		case string:
			if b, err := strconv.ParseBool(v); err == nil {
				return b, nil
			}
		}
	case "int":
		switch v := v.(type) {
		case int:
			return int64(v), nil
		case int64:
			return v, nil
		case float64:
			if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
				return int64(v), nil
			}
		case json.Number:
			if n, err := v.Int64(); err == nil {
				return n, nil
			}
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, nil
			}
		}
	case "duration":
		switch v := v.(type) {
		case time.Duration:
			return v, nil
		case step.Duration:
			return time.Duration(v), nil
		case string:
			if d, err := time.ParseDuration(v); err == nil && d >= 0 {
				return d, nil
			}
		}
	case "strings":
		switch v := v.(type) {
		case []string:
			return v, nil
		case string:
			return slices.DeleteFunc(strings.Split(v, ","), func(s string) bool { return s == "" }), nil
		case []any:
			out := []string{}
			for _, e := range v {
				s, ok := e.(string)
				if !ok {
					return nil, fmt.Errorf("%v is not a list of texts", v)
				}
				out = append(out, s)
			}
			return out, nil
		}
	}
	return nil, fmt.Errorf("%v is not a %s", v, p.Type)
}

// stricter reports whether a service may replace old by new.
func (p Param) stricter(old, new any) bool {
	var c int
	switch p.Type {
	case "int":
		c = compare(new.(int64), old.(int64))
	case "duration":
		c = compare(int64(new.(time.Duration)), int64(old.(time.Duration)))
	case "string":
		c = slices.Index(p.Enum, new.(string)) - slices.Index(p.Enum, old.(string))
	case "bool":
		return p.Stricter == "true" && new.(bool) && !old.(bool)
	}
	return p.Stricter == "lower" && c < 0 || p.Stricter == "higher" && c > 0
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// check checks the declaration itself.
func (p Param) check() error {
	if !slices.Contains([]string{"string", "bool", "int", "duration", "strings"}, p.Type) {
		return fmt.Errorf("type %q is none of string, bool, int, duration, strings", p.Type)
	}
	allowed := map[string][]string{"string": {"", "lower", "higher"}, "int": {"", "lower", "higher"}, "duration": {"", "lower", "higher"}, "bool": {"", "true"}, "strings": {""}}[p.Type]
	if !slices.Contains(allowed, p.Stricter) {
		return fmt.Errorf("stricter is %q, want one of %q for a %s", p.Stricter, allowed, p.Type)
	}
	if p.Type == "string" && p.Stricter != "" && len(p.Enum) == 0 {
		return fmt.Errorf("stricter needs an enum, which orders the values")
	}
	if p.Help == "" {
		return fmt.Errorf("help is missing")
	}
	if _, err := p.convert(p.Default); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// values are the parameters with which a policy judges.
type values struct {
	val  map[string]any
	from map[string]string
}

// resolve applies the caller's overrides to the defaults.
func (p *Policy) resolve(overrides map[string]any) (values, error) {
	v := values{map[string]any{}, map[string]string{}}
	for name, param := range p.Params {
		d, err := param.convert(param.Default)
		if err != nil {
			return v, fmt.Errorf("param %s: default: %w", name, err)
		}
		v.val[name], v.from[name] = d, "policy"
	}
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		param, ok := p.Params[name]
		if !ok {
			return v, step.Usagef("param %q is unknown; policy %s takes %s", name, p.Name, strings.Join(slices.Sorted(maps.Keys(p.Params)), ", "))
		}
		x, err := param.convert(overrides[name])
		if err != nil {
			return v, step.Usagef("param %q: %w", name, err)
		}
		v.val[name], v.from[name] = x, "local"
	}
	return v, nil
}

// tighten applies the gates of a service's paths.yaml where they are stricter.
// What they can't set is ignored: gates also hold settings of the path.
func (p *Policy) tighten(v values, gates map[string]any) {
	for name, raw := range gates {
		param, ok := p.Params[name]
		if !ok {
			continue
		}
		if x, err := param.convert(raw); err == nil && param.stricter(v.val[name], x) {
			v.val[name], v.from[name] = x, "paths.yaml"
		}
	}
}

// list is the sorted form for a verdict.
func (v values) list() []ParamValue {
	out := []ParamValue{}
	for _, name := range slices.Sorted(maps.Keys(v.val)) {
		x := v.val[name]
		if d, ok := x.(time.Duration); ok {
			x = d.String()
		}
		out = append(out, ParamValue{Name: name, Value: x, From: v.from[name]})
	}
	return out
}
