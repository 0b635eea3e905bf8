package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// scope is what is mutated: the files, by their package, that decide whether an image
// is accepted.
var scope = []struct {
	dir   string
	files []string
}{
	{"pathsdk/evidence", []string{"decode.go", "statement.go"}},
	{"pathsdk/provenance", []string{"chains.go", "facts.go", "github.go", "level.go", "merge.go"}},
	{"pathsdk/attest", []string{"collect.go", "identity.go", "platform.go", "refusal.go", "trust.go", "verify.go"}},
	{"pathsdk/policy", []string{"admit.go", "judge.go", "level.go", "parse.go", "reproduce.go", "separation.go", "svr.go", "vsa.go", "waive.go", "waivers.go"}},
}

// suites are the packages whose tests may kill a mutant, and which of their tests: none
// imports a later one, so that only those from a mutant's own on can reach it. The last
// takes longest: it is asked only about mutants that survive all others, and that the
// list doesn't explain.
var suites = []struct{ dir, tests string }{
	{"pathsdk/evidence", "."},
	{"pathsdk/provenance", "."},
	{"pathsdk/attest", "."},
	{"pathsdk/policy", "."},
	{"pathsdk/cmd/pathctl", "Tamper|Forge|Verify|Trust"},
}

// switches is the file that each package with mutants gets.
//
//go:embed switches.go.txt
var switches string

// load finds all mutants below root, and the files that have them: by their path. In
// those, the file control says which mutant is on.
func load(root, control string) ([]mutant, map[string][]byte, error) {
	exports, err := exported(root)
	if err != nil {
		return nil, nil, err
	}
	var all []mutant
	next := 0
	files := map[string][]byte{}
	for _, s := range scope {
		fset := token.NewFileSet()
		imp := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
			if exports[path] == "" {
				return nil, fmt.Errorf("nothing is known of package %s", path)
			}
			return os.Open(exports[path])
		})
		dir := filepath.Join(root, s.dir)
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, nil, err
		}
		var parsed []*ast.File
		source := map[string][]byte{}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return nil, nil, err
			}
			f, err := parser.ParseFile(fset, name, b, parser.SkipObjectResolution)
			if err != nil {
				return nil, nil, err
			}
			parsed = append(parsed, f)
			source[filepath.Base(name)] = b
		}
		info := &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
			Implicits: map[ast.Node]types.Object{},
		}
		pkg, err := (&types.Config{Importer: imp}).Check(s.dir, fset, parsed, info)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range parsed {
			name := filepath.Base(fset.Position(f.Pos()).Filename)
			if !slices.Contains(s.files, name) {
				continue
			}
			found, text := find(source[name], fset, f, pkg, info, s.dir+"/"+name, &next)
			all = append(all, found...)
			files[filepath.Join(dir, name)] = text
			delete(source, name)
		}
		for _, name := range s.files {
			if source[name] != nil || files[filepath.Join(dir, name)] == nil {
				return nil, nil, fmt.Errorf("there is no %s/%s to mutate: correct scope in ci/mutate/load.go", s.dir, name)
			}
		}
		files[filepath.Join(dir, "mutant_switches.go")] = switchesFor(pkg.Name(), control)
	}
	return all, files, nil
}

func switchesFor(pkg, control string) []byte {
	return []byte(strings.NewReplacer("PACKAGE", pkg, "CONTROL", strconv.Quote(control)).Replace(switches))
}

// exported compiles what the packages import, and says where the compiler has put what
// each of those exports.
func exported(root string) (map[string]string, error) {
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Export"}
	for _, s := range scope {
		args = append(args, "./"+s.dir)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w\n%s", err, stderr.Bytes())
	}
	exports := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return exports, nil
		case err != nil:
			return nil, err
		}
		exports[p.ImportPath] = p.Export
	}
}

// overlay writes the files with mutants to dir, and the list by which go build takes
// them in the place of those in the tree, which stays as it is.
func overlay(dir string, files map[string][]byte) (string, error) {
	replace := map[string]string{}
	for path, text := range files {
		to := filepath.Join(dir, strconv.Itoa(len(replace))+"_"+filepath.Base(path))
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return "", err
		}
		replace[path] = to
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o644)
}
