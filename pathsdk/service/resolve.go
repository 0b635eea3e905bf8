package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/mod/semver"

	"github.com/pavedpaths/paths/pathsdk/internal/nearest"
	"github.com/pavedpaths/paths/pathsdk/paths"
	"github.com/pavedpaths/paths/pathsdk/step"
)

// Resolve gives the path's inputs their values: a flag wins over the service's
// file, and that over the default. A gate that is also an input of the path,
// such as minCoverage, counts as that input. An input that nothing sets is
// absent. flags are texts by input name; an empty one brings the default back.
//
// A path that Graph made has the commands of custom steps as inputs, too; only
// the file can set them.
func Resolve(path paths.Path, svc Service, flags map[string]string) (map[string]json.RawMessage, error) {
	if err := svc.supports(path); err != nil {
		return nil, err
	}
	given, err := svc.values(path)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		f, ok := path.Input(name)
		if !ok {
			return nil, step.Usagef("path %s has no input %q; %s", path.Name, name, nearest.Hint(name, inputNames(path)))
		}
		delete(given, name)
		if flags[name] == "" {
			continue
		}
		if given[name], err = step.Parse(f, flags[name]); err != nil {
			return nil, err
		}
	}
	for _, c := range svc.Custom {
		if _, ok := path.Input(commandInput(c.Name)); ok {
			raw, err := json.Marshal(c.Command)
			if err != nil {
				return nil, err
			}
			given[commandInput(c.Name)] = raw
		}
	}
	raw, err := json.Marshal(given)
	if err != nil {
		return nil, err
	}
	full, err := step.Complete(step.Spec{Meta: step.Meta{Name: "path " + path.Name}, Inputs: path.Inputs}, raw)
	if err != nil {
		return nil, err
	}
	values := map[string]json.RawMessage{}
	return values, json.Unmarshal(full, &values)
}

// values are the inputs and gates of the file, in the kinds of the path.
func (s Service) values(path paths.Path) (map[string]json.RawMessage, error) {
	known := slices.DeleteFunc(inputNames(path), isCommandInput)
	out := map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
		f, ok := path.Input(name)
		if !ok || isCommandInput(name) {
			return nil, step.Usagef("%s: path %s has no such input; %s", s.at("inputs."+name), path.Name, nearest.Hint(name, known))
		}
		v, err := convert(f, s.Inputs[name])
		if err != nil {
			return nil, step.Usagef("%s: %w", s.at("inputs."+name), err)
		}
		out[name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(s.Gates)) {
		f, ok := path.Input(name)
		if !ok || isCommandInput(name) {
			continue // a parameter of the policy alone
		}
		raw, err := json.Marshal(s.Gates[name])
		if err != nil {
			return nil, err
		}
		v, err := convert(f, raw)
		if err != nil {
			return nil, step.Usagef("%s: %w", s.at("gates."+name), err)
		}
		if old, ok := out[name]; ok && !bytes.Equal(old, v) {
			return nil, step.Usagef("%s: is %s, and under inputs it is %s; keep one", s.at("gates."+name), v, old)
		}
		out[name] = v
	}
	return out, nil
}

// CheckGates reports gates that are neither a parameter in known, as the policy
// of the path declares them, nor an input of the path.
func (s Service) CheckGates(path paths.Path, known []step.Field) error {
	var names []string
	for _, f := range known {
		names = append(names, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Gates)) {
		f, ok := path.Input(name)
		if i := slices.Index(names, name); i >= 0 {
			f, ok = known[i], true
		}
		if !ok {
			return step.Usagef("%s: policy %s has no such parameter; %s", s.at("gates."+name), path.Policy, nearest.Hint(name, names))
		}
		raw, err := json.Marshal(s.Gates[name])
		if err != nil {
			return err
		}
		if _, err := convert(f, raw); err != nil {
			return step.Usagef("%s: %w", s.at("gates."+name), err)
		}
	}
	return nil
}

// convert gives a value of the file the kind of a field. Single values go
// through their text form, as flags do.
func convert(f step.Field, raw json.RawMessage) (json.RawMessage, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	list, ok := v.([]any)
	if !ok {
		return step.Parse(f, fmt.Sprint(v))
	}
	if f.Kind != step.KindStrings {
		return nil, fmt.Errorf("want a single %s, not a list", f.Kind)
	}
	texts := []string{}
	for _, e := range list {
		texts = append(texts, fmt.Sprint(e))
	}
	raw, err := json.Marshal(map[string]any{f.Name: texts})
	if err != nil {
		return nil, err
	}
	// Complete checks the elements; the field's default is none of its business.
	spec := step.Spec{Inputs: []step.Field{{Name: f.Name, Kind: f.Kind, Enum: f.Enum}}}
	full, err := step.Complete(spec, raw)
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	if err := json.Unmarshal(full, &out); err != nil {
		return nil, err
	}
	return out[f.Name], nil // nil for an empty list, which counts as absent
}

// supports reports whether the path in this binary serves a file that was
// written for the version in it: the same or a later one, without a breaking
// change between.
func (s Service) supports(path paths.Path) error {
	if s.Path != path.Name {
		return step.Usagef("%s: is %q, and the path is %q", s.at("path"), s.Path, path.Name)
	}
	if s.Version == "" {
		return nil
	}
	want, have := "v"+s.Version, "v"+path.Version
	line := semver.Major
	if semver.Major(want) == "v0" {
		line = semver.MajorMinor
	}
	if line(want) != line(have) || semver.Compare(want, have) > 0 {
		return step.Usagef("%s: is %s, and this pathctl has version %s of path %s; use a pathctl that has yours, or read the path's changelog and write version: %s",
			s.at("version"), s.Version, path.Version, path.Name, path.Version)
	}
	return nil
}

func inputNames(path paths.Path) []string {
	var names []string
	for _, f := range path.Inputs {
		names = append(names, f.Name)
	}
	return names
}
