// Package modules holds this repository's Dagger modules to the rules that the
// engine does not check. It needs no engine.
package modules

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pavedpaths/paths/pathsdk/gen"
)

// roots are the folders with a dagger.json, and where their code is.
func roots(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("*/dagger.json")
	if err != nil || len(found) < 2 {
		t.Fatalf("modules: %v, %v", found, err)
	}
	all := map[string]string{"..": "../ci"}
	for _, f := range found {
		all[filepath.Dir(f)] = filepath.Dir(f)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// One place says the version of Dagger; bindings are committed.
func TestModules(t *testing.T) {
	want, err := gen.DaggerVersion("..")
	if err != nil {
		t.Fatal(err)
	}
	for root, code := range roots(t) {
		var m struct {
			EngineVersion string
			Codegen       struct{ AutomaticGitignore *bool }
		}
		if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "dagger.json"))), &m); err != nil {
			t.Fatal(err)
		}
		if m.EngineVersion != want {
			t.Errorf("%s/dagger.json: engineVersion %s, but ci/engine/go.mod says %s", root, m.EngineVersion, want)
		}
		if m.Codegen.AutomaticGitignore == nil || *m.Codegen.AutomaticGitignore {
			t.Errorf("%s/dagger.json: codegen.automaticGitignore must be false: bindings are committed", root)
		}
		for _, name := range []string{"dagger.gen.go", "internal/dagger/dagger.gen.go"} {
			if _, err := os.Stat(filepath.Join(code, name)); err != nil {
				t.Errorf("%s: no committed bindings: %v", root, err)
			}
		}
		if !strings.Contains(read(t, filepath.Join(code, ".gitattributes")), "/internal/dagger/** linguist-generated") {
			t.Errorf("%s/.gitattributes does not mark bindings as generated", code)
		}
		if mod := read(t, filepath.Join(code, "go.mod")); strings.Contains(mod, "github.com/pavedpaths/paths") {
			t.Errorf("%s/go.mod requires this repository: every user would compile it", code)
		} else if v := regexp.MustCompile(`(?m)^go 1\.26(\.[0-9]+)?$`).FindString(mod); v == "" || strings.Contains(mod, "\ntoolchain ") {
			t.Errorf("%s/go.mod: want go 1.26 and no toolchain: the engine's own Go is 1.26", code)
		}
		if root == ".." {
			continue
		}
		for _, name := range []string{"README.md", "CHANGELOG.md"} {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s has no %s", root, name)
			}
		}
	}
}

// Every action in a workflow is pinned by commit.
func TestActionsArePinned(t *testing.T) {
	flows, err := filepath.Glob("../examples/*/.github/workflows/*.yaml")
	if err != nil || len(flows) == 0 {
		t.Fatalf("workflows: %v, %v", flows, err)
	}
	pinned := regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$`)
	uses := regexp.MustCompile(`(?m)uses: (.*)$`)
	for _, f := range flows {
		found := uses.FindAllStringSubmatch(read(t, f), -1)
		if len(found) == 0 {
			t.Errorf("%s uses no action", f)
		}
		for _, m := range found {
			if !pinned.MatchString(m[1]) {
				t.Errorf("%s: %s is not pinned by commit", f, m[1])
			}
		}
	}
}

// A function with a side effect that an engine may take from its cache signs or
// publishes nothing, and says that it did.
func TestSideEffectsAreNeverCached(t *testing.T) {
	var checked []string
	for _, code := range roots(t) {
		files, err := filepath.Glob(filepath.Join(code, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		var parsed []*ast.File
		for _, name := range files {
			if filepath.Base(name) != "dagger.gen.go" {
				parsed = append(parsed, parse(t, name, nil))
			}
		}
		effects, bad := cached(parsed)
		checked = append(checked, effects...)
		for _, name := range unforced(parsed) {
			t.Errorf("%s: %s runs something with a secret, and never by always", code, name)
		}
		for _, name := range bad {
			t.Errorf("%s: %s has a side effect and no +cache=\"never\"", code, name)
		}
	}
	slices.Sort(checked)
	if diff := cmp.Diff(effects, checked); diff != "" {
		t.Errorf("functions with side effects (-want +got): does this test still know them?\n%s", diff)
	}
}

// effects are all functions of the modules that sign, publish or judge.
var effects = []string{"Attest", "Judge", "Ship", "Ship", "Verify", "Vulndb"}

// The rule finds what it is meant to find.
func TestCachedFinds(t *testing.T) {
	file := parse(t, "x.go", `package main
// Publish pushes.
func (m *M) Publish() { c := always(m.c); c.Exec() }
// Indirect pushes by a helper.
func (m *M) Indirect() { m.helper() }
func (m *M) helper() { m.Step.Attest() }
// Fine says so.
//
// +cache="never"
func (m *M) Fine() { always(m.c) }
// Pure has none.
func (m *M) Pure() { m.c.Exec() }
// Checked is a check.
//
// +check
func (m *M) Checked() { m.Step.Attest() }
`)
	effects, bad := cached([]*ast.File{file})
	if want := []string{"Indirect", "Publish"}; !slices.Equal(bad, want) {
		t.Errorf("found %v, want %v", bad, want)
	}
	if want := []string{"Fine", "Indirect", "Publish"}; !slices.Equal(effects, want) {
		t.Errorf("effects of %v, want %v", effects, want)
	}
	// Attest as it would be without always.
	if bad := unforced([]*ast.File{parse(t, "x.go", "package x\nfunc Attest() { c.WithMountedSecret(k).WithExec(a) }\nfunc Judge() { always(reg.in(c)).WithExec(a) }\n")}); !slices.Equal(bad, []string{"Attest"}) {
		t.Errorf("run with a secret, and not by always: %q", bad)
	}
}

func parse(t *testing.T, name string, src any) *ast.File {
	t.Helper()
	if s, ok := src.(string); ok {
		src = s
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// effectful are the calls that sign, publish or judge: always marks an exec that
// must run, the others are functions of our own modules and of Dagger.
var effectful = []string{"always", "WithMountedSecret", "WithSecretVariable", "Publish", "Attest", "Judge", "Ship", "Verify"}

// unforced lists the functions that run something with a secret, or with a way to a
// registry, and never ask for it to be run always: the engine's layer cache may answer
// in its place.
func unforced(files []*ast.File) []string {
	var bad []string
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			calls := map[string]bool{}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if x, ok := n.(*ast.CallExpr); ok {
					switch c := x.Fun.(type) {
					case *ast.Ident:
						calls[c.Name] = true
					case *ast.SelectorExpr:
						calls[c.Sel.Name] = true
					}
				}
				return true
			})
			secret := calls["WithMountedSecret"] || calls["WithSecretVariable"] || calls["in"] // access.in
			if secret && calls["WithExec"] && !calls["always"] {
				bad = append(bad, fn.Name.Name)
			}
		}
	}
	return bad
}

// cached lists the exported methods with side effects, by themselves or through
// helpers, and those of them that an engine may cache. Checks publish nowhere, and
// are left out.
func cached(files []*ast.File) (effects, bad []string) {
	calls, never, check := map[string][]string{}, map[string]bool{}, map[string]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := fn.Name.Name
			never[name] = strings.Contains(fn.Doc.Text()+comments(fn.Doc), `+cache="never"`)
			check[name] = strings.Contains(comments(fn.Doc), "+check")
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.CallExpr:
					switch c := x.Fun.(type) {
					case *ast.Ident:
						calls[name] = append(calls[name], c.Name)
					case *ast.SelectorExpr:
						calls[name] = append(calls[name], c.Sel.Name)
					}
				case *ast.AssignStmt: // c.always = true
					for _, l := range x.Lhs {
						if s, ok := l.(*ast.SelectorExpr); ok && s.Sel.Name == "always" {
							calls[name] = append(calls[name], "always")
						}
					}
				}
				return true
			})
		}
	}
	var has func(name string, seen map[string]bool) bool
	has = func(name string, seen map[string]bool) bool {
		if seen[name] {
			return false
		}
		seen[name] = true
		return slices.ContainsFunc(calls[name], func(c string) bool {
			if slices.Contains(effectful, c) {
				return true
			}
			// run calls always only where its caller asks for it.
			return c != "run" && !ast.IsExported(c) && has(c, seen)
		})
	}
	for name := range calls {
		if !ast.IsExported(name) || check[name] || !has(name, map[string]bool{}) {
			continue
		}
		effects = append(effects, name)
		if !never[name] {
			bad = append(bad, name)
		}
	}
	slices.Sort(effects)
	slices.Sort(bad)
	return effects, bad
}

// comments is the raw text of a doc comment: Text drops lines like directives.
func comments(g *ast.CommentGroup) string {
	var b strings.Builder
	if g != nil {
		for _, c := range g.List {
			b.WriteString(c.Text + "\n")
		}
	}
	return b.String()
}
