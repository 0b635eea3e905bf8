package step

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Define makes a Step from a function over plain structs. The fields of I and O
// become the inputs and outputs of its Spec; they are described by the tags
// json (name), help, default, enum (values joined by commas), key ("-" for a
// keyless field), since and deprecated. An input without default that is not
// tagged `json:",omitempty"` is required.
//
// Spec panics if I or O has a field of a kind outside the closed set, or one
// without help: that is a mistake in the program, which every test meets.
func Define[I any, O Output](m Meta, f func(context.Context, Env, I) (O, []Evidence, error)) Step {
	return &defined[I, O]{
		spec: sync.OnceValue(func() Spec {
			return Spec{
				Meta:    m,
				Inputs:  fields(m.Name, reflect.TypeFor[I](), true),
				Outputs: fields(m.Name, reflect.TypeFor[O](), false),
			}
		}),
		run: f,
	}
}

type defined[I any, O Output] struct {
	spec func() Spec
	run  func(context.Context, Env, I) (O, []Evidence, error)
}

func (d *defined[I, O]) Spec() Spec { return d.spec() }

func (d *defined[I, O]) Run(ctx context.Context, env Env, in json.RawMessage) (Result, error) {
	full, err := Complete(d.spec(), in)
	if err != nil {
		return Result{}, err
	}
	var i I
	if err := json.Unmarshal(full, &i); err != nil {
		return Result{}, Usagef("inputs: %w", err)
	}
	o, ev, err := d.run(ctx, env, i)
	if err != nil {
		// A gate that fails may still have something to show.
		return Result{Evidence: ev}, err
	}
	out, err := json.Marshal(o)
	if err != nil {
		return Result{}, fmt.Errorf("encode output: %w", err)
	}
	return Result{Subject: o.Subject(), Output: out, Evidence: ev}, nil
}

// Complete checks a JSON object of inputs against the spec, fills in defaults,
// and returns it in canonical form: keys sorted, every input that has a value
// present. Unknown, missing and malformed inputs are ErrUsage.
func Complete(spec Spec, in json.RawMessage) (json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(in)) > 0 {
		if err := json.Unmarshal(in, &given); err != nil {
			return nil, Usagef("inputs are not a JSON object: %w", err)
		}
	}
	for name := range given {
		if _, ok := spec.Input(name); !ok {
			return nil, Usagef("input %q is unknown; %s takes %s", name, spec.Name, names(spec.Inputs))
		}
	}
	full := map[string]json.RawMessage{}
	for _, f := range spec.Inputs {
		v, ok := given[f.Name]
		if ok && !empty(v) {
			if err := check(f, v); err != nil {
				return nil, err
			}
			full[f.Name] = v
			continue
		}
		if f.Default != "" {
			v, err := Parse(f, f.Default)
			if err != nil {
				return nil, err
			}
			full[f.Name] = v
			continue
		}
		if f.Required {
			return nil, Usagef("input %q is missing: give %s", f.Name, f.Help)
		}
	}
	return json.Marshal(full)
}

// Parse turns the text form of a value (a flag, a default, a Tekton param) into
// its JSON.
func Parse(f Field, text string) (json.RawMessage, error) {
	var v any = text
	var err error
	switch f.Kind {
	case KindBool:
		v, err = strconv.ParseBool(text)
	case KindInt:
		v, err = strconv.Atoi(text)
	case KindStrings:
		v = slices.DeleteFunc(strings.Split(text, ","), func(s string) bool { return s == "" })
	}
	if err != nil {
		return nil, Usagef("input %q: %q is not a %s", f.Name, text, f.Kind)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return raw, check(f, raw)
}

func check(f Field, v json.RawMessage) error {
	var target any
	switch f.Kind {
	case KindBool:
		target = new(bool)
	case KindInt:
		target = new(int)
	case KindStrings:
		target = new([]string)
	case KindDuration:
		target = new(Duration)
	default:
		target = new(string)
	}
	if err := json.Unmarshal(v, target); err != nil {
		return Usagef("input %q: want a %s, got %.60s", f.Name, f.Kind, v)
	}
	if f.Kind == KindDigest {
		if _, err := ParseDigest(*target.(*string)); err != nil {
			return Usagef("input %q: %w", f.Name, err)
		}
	}
	if len(f.Enum) == 0 {
		return nil
	}
	var values []string
	switch t := target.(type) {
	case *string:
		values = []string{*t}
	case *[]string:
		values = *t
	}
	for _, s := range values {
		if !slices.Contains(f.Enum, s) {
			return Usagef("input %q: %q is not one of %s", f.Name, s, strings.Join(f.Enum, ", "))
		}
	}
	return nil
}

func empty(v json.RawMessage) bool {
	switch string(bytes.TrimSpace(v)) {
	case "", "null", `""`, "[]":
		return true
	}
	return false
}

func names(fields []Field) string {
	var s []string
	for _, f := range fields {
		s = append(s, f.Name)
	}
	slices.Sort(s)
	return strings.Join(s, ", ")
}

func fields(step string, t reflect.Type, input bool) []Field {
	var fs []Field
	for i := range t.NumField() {
		sf := t.Field(i)
		if !sf.IsExported() {
			continue // a note of the step's own, such as a name for Subject
		}
		name, opts, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			panic(fmt.Sprintf("step %s: field %s has no json name", step, sf.Name))
		}
		f := Field{
			Name:       name,
			Kind:       kindOf(step, sf),
			Help:       sf.Tag.Get("help"),
			Default:    sf.Tag.Get("default"),
			Keyless:    sf.Tag.Get("key") == "-",
			Since:      sf.Tag.Get("since"),
			Deprecated: sf.Tag.Get("deprecated"),
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.Enum = strings.Split(e, ",")
		}
		if f.Help == "" {
			panic(fmt.Sprintf("step %s: field %s has no help", step, name))
		}
		f.Required = input && f.Default == "" && f.Kind != KindBool && !strings.Contains(opts, "omitempty")
		fs = append(fs, f)
	}
	return fs
}

func kindOf(step string, sf reflect.StructField) Kind {
	switch sf.Type {
	case reflect.TypeFor[string]():
		return KindString
	case reflect.TypeFor[bool]():
		return KindBool
	case reflect.TypeFor[int]():
		return KindInt
	case reflect.TypeFor[Duration]():
		return KindDuration
	case reflect.TypeFor[[]string]():
		return KindStrings
	case reflect.TypeFor[Digest]():
		return KindDigest
	case reflect.TypeFor[File]():
		return KindFile
	case reflect.TypeFor[Dir]():
		return KindDir
	case reflect.TypeFor[Secret]():
		return KindSecret
	}
	panic(fmt.Sprintf("step %s: field %s has type %s, which is no kind of field", step, sf.Name, sf.Type))
}

// Time is a point in time given as text in RFC 3339; steps take it as a string
// input, since a host resolves it once.
func Time(name, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, Usagef("input %q: %q is not a time such as 2026-01-31T12:00:00Z", name, text)
	}
	return t.UTC(), nil
}
