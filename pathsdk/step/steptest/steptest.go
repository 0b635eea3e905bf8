// Package steptest is the conformance test that every step passes: its Spec is
// complete, it refuses unusable inputs, its results have digests, and it
// touches nothing but what its Env gives it.
package steptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/step"
)

// Case is one set of inputs with which a step must run.
type Case struct {
	// Name of the subtest; "run" when empty.
	Name string
	// In holds the inputs by name: strings, bools, ints, lists of strings.
	In map[string]any
	// Env may change the Env of every run, such as its HTTP client; it may be
	// called more than once. Work, Out and Cache are set already, empty.
	Env func(*testing.T, *step.Env)
	// Gate is true if the step's gate must refuse these inputs.
	Gate bool
	// Once leaves out the second run. Without it, a second run with the same
	// inputs must give the same output, files and evidence, but for the outputs
	// in Volatile.
	Once     bool
	Volatile []string
	// Check looks at the result of the first run, with the Env of that run.
	Check func(*testing.T, step.Result, step.Env)
}

// Run checks that s conforms. It must be called in a test of the step's own
// package, whose source it reads from the current folder, and not in parallel:
// it points HOME and TMPDIR to folders that must stay empty.
func Run(t *testing.T, s step.Step, cases ...Case) {
	t.Helper()
	if len(cases) == 0 {
		t.Fatal("steptest.Run needs a Case: nobody knows whether a step runs that never ran")
	}
	t.Run("spec", func(t *testing.T) { report(t, CheckSpec(s.Spec())); constant(t, s) })
	t.Run("source", func(t *testing.T) { report(t, CheckSource(".")) })
	t.Run("refuses", func(t *testing.T) { refuses(t, s, cases[0]) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, s, cases[0]) })
	for _, c := range cases {
		name := c.Name
		if name == "" {
			name = "run"
		}
		t.Run(name, func(t *testing.T) { runs(t, s, c) })
	}
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func constant(t *testing.T, s step.Step) {
	t.Helper()
	if d := cmp.Diff(s.Spec(), s.Spec()); d != "" {
		t.Errorf("Spec differs from call to call: %s", d)
	}
}

// refuses checks that unusable inputs are usage errors which name the input.
func refuses(t *testing.T, s step.Step, c Case) {
	type try struct {
		what, input string
		in          json.RawMessage
	}
	with := func(name string, v any) json.RawMessage {
		in := maps.Clone(c.In)
		if in == nil {
			in = map[string]any{}
		}
		if v == nil {
			delete(in, name)
		} else {
			in[name] = v
		}
		return encode(t, in)
	}
	tries := []try{
		{"an unknown input", "thereIsNoSuchInput", with("thereIsNoSuchInput", "x")},
		{"no JSON object", "", json.RawMessage(`[1]`)},
	}
	for _, f := range s.Spec().Inputs {
		if f.Required {
			tries = append(tries, try{"without required input " + f.Name, f.Name, with(f.Name, nil)})
		}
		tries = append(tries, try{"an object for input " + f.Name, f.Name, with(f.Name, map[string]any{"a": 1})})
		if f.Kind == step.KindDigest {
			tries = append(tries, try{"no digest for input " + f.Name, f.Name, with(f.Name, "sha256:abc")})
		}
		if len(f.Enum) > 0 {
			tries = append(tries, try{"another value for input " + f.Name, f.Name, with(f.Name, "noneOfThem")})
		}
	}
	for _, x := range tries {
		_, err := s.Run(t.Context(), newEnv(t, c), x.in)
		if !errors.Is(err, step.ErrUsage) || !strings.Contains(err.Error(), x.input) {
			t.Errorf("%s: got error %v, want one that wraps step.ErrUsage and names %q", x.what, err, x.input)
		}
	}
}

// cancelled checks that a step with a context that is done returns at once.
func cancelled(t *testing.T, s step.Step, c Case) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env, done := newEnv(t, c), make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, env, encode(t, c.In))
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a step whose context was cancelled before it ran returned no error; check ctx.Err()")
		}
	case <-time.After(10 * time.Second):
		t.Error("a step whose context was cancelled before it ran is still running after 10 s")
	}
}

// runs checks one case: its result, and that nothing else was touched.
func runs(t *testing.T, s step.Step, c Case) {
	watch := watched(t, c.In)
	before := watch.state(t)
	env := newEnv(t, c)
	res := once(t, s, c, env)
	for _, d := range watch.differences(before, watch.state(t)) {
		t.Errorf("the step touched %s; it may write below Env.Work, Env.Out and Env.Cache alone", d)
	}
	report(t, CheckResult(s.Spec(), env, res))
	report(t, checkClock(encode(t, c.In), res))
	if c.Check != nil {
		c.Check(t, res, env)
	}
	if c.Once || t.Failed() {
		return
	}
	env2 := newEnv(t, c)
	res2 := once(t, s, c, env2)
	a, b := normal(t, s.Spec(), env, res, c.Volatile), normal(t, s.Spec(), env2, res2, c.Volatile)
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("the same inputs gave another result; mend it, or list the outputs in Volatile (-first +second):\n%s", d)
	}
}

func once(t *testing.T, s step.Step, c Case, env step.Env) step.Result {
	t.Helper()
	res, err := s.Run(t.Context(), env, encode(t, c.In))
	var gate *step.GateError
	if c.Gate && !errors.As(err, &gate) {
		t.Fatalf("got error %v, want a *step.GateError", err)
	}
	if c.Gate && (gate.Gate == "" || len(gate.Findings) == 0 || gate.Fix == "") {
		t.Errorf("the gate's error is incomplete: %+v", gate)
	}
	if !c.Gate && err != nil {
		t.Fatal(err)
	}
	return res
}

func encode(t *testing.T, in map[string]any) json.RawMessage {
	t.Helper()
	if in == nil {
		return json.RawMessage("{}")
	}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// result is what two runs with the same inputs have in common.
type result struct {
	Subject  step.Subject
	Output   map[string]string
	Files    map[string]string
	Evidence []evidenceText
}

type evidenceText struct {
	Type, Predicate string
	Subject         *step.Subject
}

func normal(t *testing.T, spec step.Spec, env step.Env, res step.Result, volatile []string) result {
	t.Helper()
	out := result{Subject: res.Subject, Output: map[string]string{}, Files: map[string]string{}}
	var fields map[string]json.RawMessage
	if len(res.Output) > 0 {
		if err := json.Unmarshal(res.Output, &fields); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range spec.Outputs {
		raw, ok := fields[f.Name]
		if !ok || slices.Contains(volatile, f.Name) {
			continue
		}
		text := strings.NewReplacer(env.Out, "OUT", env.Cache, "CACHE").Replace(string(raw))
		out.Output[f.Name] = text
		var path string
		if (f.Kind == step.KindFile || f.Kind == step.KindDir) && !f.Keyless && json.Unmarshal(raw, &path) == nil && path != "" {
			for name, state := range tree(t, path, true) {
				out.Files[f.Name+"/"+name] = state
			}
		}
	}
	for _, e := range res.Evidence {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Predicate); err != nil {
			t.Fatal(err)
		}
		out.Evidence = append(out.Evidence, evidenceText{e.Type, b.String(), e.Subject})
	}
	return out
}

// exists reports whether a path given as an input is there to be watched.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
