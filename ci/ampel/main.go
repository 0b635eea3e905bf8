// Ampel checks what pathctl policy export writes for AMPEL with its own Go types: it
// is read as AMPEL's parser reads it, as HJSON and without a field that they don't
// know, and their own validation has nothing to say. Its keys are parsed, and its tenets
// are compiled by the library that AMPEL compiles them with.
//
// AMPEL's parser needs a module that the checksum database does not know, and AMPEL
// itself can't be had from the module proxy: neither is run. Three modules stand in
// go.mod in a version close to the one asked for, for the same reason.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	api "github.com/carabiner-dev/policy/api/v1"
	"github.com/google/cel-go/cel"
	"github.com/hjson/hjson-go/v4"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: ampel FILE...")
		os.Exit(2)
	}
	policies := 0
	for _, file := range os.Args[1:] {
		n, err := check(file)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
		policies += n
	}
	fmt.Printf("%d of kind PolicySet, with %d policies\n", len(os.Args)-1, policies)
}

// check gives the number of policies in a file.
func check(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var v any
	if err := hjson.Unmarshal(text, &v); err != nil {
		return 0, err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	set := &api.PolicySet{}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(raw, set); err != nil {
		return 0, err
	}
	if err := set.Validate(); err != nil {
		return 0, err
	}
	if set.GetId() == "" || len(set.GetPolicies()) == 0 {
		return 0, errors.New("want an id and policies")
	}
	for _, p := range set.GetPolicies() {
		if err := checkPolicy(p); err != nil {
			return 0, fmt.Errorf("policy %q: %w", p.GetId(), err)
		}
	}
	return len(set.GetPolicies()), nil
}

// checkPolicy is for what would let anybody or anything pass.
func checkPolicy(p *api.Policy) error {
	if p.GetId() == "" || len(p.GetIdentities()) == 0 || len(p.GetTenets()) == 0 {
		return errors.New("want an id, identities and tenets")
	}
	if m := p.GetMeta(); m.GetAssertMode() != "AND" || m.GetEnforce() != "ON" {
		return fmt.Errorf("want all tenets, and enforced: %v", m)
	}
	for _, i := range p.GetIdentities() {
		switch s, k := i.GetSigstore(), i.GetKey(); {
		case k != nil:
			if err := k.Normalize(); err != nil {
				return err
			}
			if k.GetId() == "" || k.GetType() == "" {
				return fmt.Errorf("identity %q: the key has no id", i.GetId())
			}
		case s.GetMode() == api.SigstoreModeRegexp:
			for _, pattern := range []string{s.GetIssuer(), s.GetIdentity()} {
				if _, err := regexp.Compile(pattern); err != nil {
					return err
				}
			}
		case s.GetMode() != api.SigstoreModeExact:
			return fmt.Errorf("identity %q: mode %q", i.GetId(), s.GetMode())
		}
	}
	for _, t := range p.GetTenets() {
		if t.GetId() == "" || len(t.GetPredicates().GetTypes()) == 0 {
			return errors.New("want a tenet with an id and types")
		}
		if err := checkCode(t.GetCode()); err != nil {
			return fmt.Errorf("tenet %q: %w", t.GetId(), err)
		}
	}
	return nil
}

// checkCode wants no of no predicates, and yes of one. AMPEL declares a map, and gives
// a list.
func checkCode(code string) error {
	for _, declared := range []*cel.Type{cel.MapType(cel.IntType, cel.AnyType), cel.ListType(cel.AnyType)} {
		env, err := cel.NewEnv(cel.Variable("predicates", declared))
		if err != nil {
			return err
		}
		ast, issues := env.Compile(code)
		if issues.Err() != nil {
			return issues.Err()
		}
		program, err := env.Program(ast)
		if err != nil {
			return err
		}
		for n := range 2 {
			got, _, err := program.Eval(map[string]any{"predicates": make([]any, n)})
			if err != nil {
				return err
			}
			if got.Value() != (n == 1) {
				return fmt.Errorf("%q is %v of %d predicates", code, got.Value(), n)
			}
		}
	}
	return nil
}
