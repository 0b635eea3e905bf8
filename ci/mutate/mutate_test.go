package main

import (
	"go/ast"
	gobuild "go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// judged is code of a verifier's kind, and the test of one that forgets a limit, a key
// and whatever is only said.
const judged = `package judged

import "errors"

const most = 3

func Judge(names []string, known map[string]bool, sure bool) error {
	if len(names) > most {
		return errors.New("too many")
	}
	n := 0
	for _, name := range names {
		switch name {
		case "":
			continue
		}
		if !known[name] && !sure {
			return errors.New("nobody knows " + name)
		}
		n += 1
	}
	if n == 0 || known["nobody"] {
		return errors.New("nothing")
	}
	return nil
}
`

const tests = `package judged

import "testing"

func TestJudge(t *testing.T) {
	known := map[string]bool{"a": true}
	for _, c := range []struct {
		names []string
		sure, ok bool
	}{{[]string{"a"}, false, true}, {[]string{"b"}, false, false}, {[]string{"b"}, true, true}, {[]string{"", "a"}, false, true}, {nil, true, false}, {[]string{"a","a","a","a","a","a","a","a"}, false, false}} {
		if err := Judge(c.names, known, c.sure); (err == nil) != c.ok {
			t.Error(c.names, c.sure, err)
		}
	}
}
`

// TestMutants runs the whole of it on a small module: what the tests there see is
// killed, and what they don't see survives.
func TestMutants(t *testing.T) {
	root, work := t.TempDir(), t.TempDir()
	file := filepath.Join(root, "judged.go")
	for name, text := range map[string]string{"go.mod": "module judged\n\ngo 1.26\n", "judged.go": judged, "judged_test.go": tests} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, judged, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	// A test that was built with -trimpath does not know where the library is.
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	gobuild.Default.GOROOT = strings.TrimSpace(string(goroot))
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}, Implicits: map[ast.Node]types.Object{}}
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("judged", fset, []*ast.File{f}, info)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	all, text := find([]byte(judged), fset, f, pkg, info, "judged.go", &next)
	over, err := overlay(work, map[string][]byte{file: text, filepath.Join(root, "mutant_switches.go"): switchesFor("judged", controlFile(work))})
	if err != nil {
		t.Fatal(err)
	}
	s, err := build(root, work, over, ".")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := s.look("."); err != nil {
		t.Fatal(err)
	}
	got := map[string]fate{}
	for _, m := range all {
		if got[m.what], err = try([]func() (*suite, error){func() (*suite, error) { return s, nil }}, m); err != nil {
			t.Fatal(err)
		}
	}
	for what, want := range map[string]fate{
		"`len(names) > most` → `>=`":                                      survived,
		"`len(names) > most` → `<=`":                                      dead,
		"the number `most` in `len(names) > most` is another":             survived,
		"`return errors.New(\"too many\")` without its error":             dead,
		"`continue` dropped":                                              dead,
		"`case` `\"\"` never holds":                                       dead,
		"`!known[name] && !sure` → `||`":                                  dead,
		"`known[name]` negated":                                           dead,
		"`sure` negated":                                                  dead,
		"`n += 1` dropped":                                                dead,
		"the number `1` in `n += 1` is another":                           survived,
		"`n == 0` → `!=`":                                                 dead,
		"`n == 0 || known[\"nobody\"]` → `&&`":                            dead,
		"`known[\"nobody\"]` negated":                                     dead,
		"the key of `known[\"nobody\"]` is another":                       survived,
		"`return errors.New(\"nobody knows \" + name)` without its error": dead,
	} {
		if got[what] != want {
			t.Errorf("%s: %d, want %d", what, got[what], want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != judged {
		t.Errorf("the file in the tree was changed (%v)", err)
	}
	if len(got) != len(all) {
		t.Errorf("%d names for %d mutants", len(got), len(all))
	}
	// A program that can't be started has killed nothing.
	if err := os.Remove(s.binary); err != nil {
		t.Fatal(err)
	}
	if killed, _, err := s.kills(all[0].id); killed || err == nil {
		t.Errorf("killed %t without tests: %v", killed, err)
	}
	// The tree without mutants still passes.
	cmd := exec.Command("go", "test", ".")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPlaces gives the same change twice in a function two names.
func TestPlaces(t *testing.T) {
	d := &finder{next: new(int), fn: "f", file: "x.go"}
	for range 3 {
		d.add("`i++` dropped")
	}
	if d.found[0].what != "`i++` dropped" || d.found[2].what != "`i++` dropped, place 3" {
		t.Errorf("%v", d.found)
	}
}

func TestList(t *testing.T) {
	all := []mutant{{1, "a.go", "f", "`a || b` → `&&`"}, {2, "a.go", "f", "`x` negated"}, {3, "a.go", "g", "`y` dropped"}, {4, "a.go", "g", "`z` dropped"}}
	why := map[string]string{all[0].String(): "b is a | c", all[1].String(): "not any more", all[3].String(): "did not run"}
	list := write(all, map[int]fate{1: survived, 2: dead, 3: unreached}, why)
	got, err := reasons(list)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[all[0].String()] != "b is a | c" || got[all[3].String()] != "did not run" {
		t.Errorf("%q", got)
	}
	if reason, ok := got[all[2].String()]; !ok || reason != "" {
		t.Errorf("a survivor without a reason must wait for one: %q", got)
	}
	if !strings.Contains(list, "Of 4 mutants, 3 ran: 1 were killed, and 2 survived.") {
		t.Errorf("%s", list)
	}
	if err := summary(all, map[int]fate{1: survived, 2: dead}, why); err != nil {
		t.Errorf("all are explained: %v", err)
	}
	if err := summary(all, map[int]fate{1: survived, 3: unreached}, why); err != errUnexplained {
		t.Errorf("one is not explained: %v", err)
	}
	for _, bad := range []string{"# text\n", list + "| a | b |\n", list + list[strings.LastIndex(list, "| a.go"):]} {
		if _, err := reasons(bad); err == nil {
			t.Errorf("read:\n%s", bad)
		}
	}
}

// TestListIsOfThisCode: each line of docs/mutation.md names a mutant of the code as it
// is, and says why it may survive.
func TestListIsOfThisCode(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "docs", "mutation.md"))
	if err != nil {
		t.Fatal(err)
	}
	why, err := reasons(string(b))
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := load(root, "unused")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if reason, ok := why[m.String()]; ok {
			if reason == "" {
				t.Errorf("docs/mutation.md doesn't say why this may survive: %s", m)
			}
			delete(why, m.String())
		}
	}
	for name := range why {
		t.Errorf("docs/mutation.md names what is no mutant of this code: %s\n  fix: make mutate", name)
	}
}
