package steptest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pavedpaths/paths/pathsdk/internal/depcheck"
)

const module = "github.com/pavedpaths/paths/pathsdk/"

// forbidden names, by import path, what a step may not use, and what it uses
// instead.
func forbidden() map[string]map[string]string {
	print := "a step prints nothing: use Env.Log"
	environ := "a step reads no environment: make it an input"
	request := "requests go through Env.HTTP"
	return map[string]map[string]string{
		"os": {
			"Getenv": environ, "LookupEnv": environ, "Environ": environ, "ExpandEnv": environ, "Setenv": environ, "Unsetenv": environ,
			"UserHomeDir": environ, "UserCacheDir": environ, "UserConfigDir": environ, "TempDir": "temporary files belong below Env.Work",
			"Hostname": "results don't depend on the machine",
			"Stdout":   print, "Stderr": print, "Stdin": "a step reads only its inputs",
			"Exit": "a step returns its error", "Chdir": "the current folder belongs to the process: use absolute paths",
		},
		"fmt":      {"Print": print, "Printf": print, "Println": print},
		"os/exec":  {"Command": "children run through Env.Exec", "CommandContext": "children run through Env.Exec"},
		"log/slog": {"Default": "the logger is Env.Log", "Info": "the logger is Env.Log", "Warn": "the logger is Env.Log", "Error": "the logger is Env.Log", "Debug": "the logger is Env.Log"},
		"net/http": {"DefaultClient": request, "Get": request, "Post": request, "Head": request, "PostForm": request},
	}
}

// CheckSource reports what the source of the step's package in dir does that no
// step may: print, read the environment, run children past
// Env.Exec, or import another step. Tests may do as they like.
func CheckSource(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return []string{err.Error()}
	}
	self := module + "steps/" + filepath.Base(abs)
	var found []string
	files := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files++
		if depcheck.Exempt("steps/"+filepath.Base(abs)+"/"+e.Name()) != "" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return append(found, err.Error())
		}
		found = append(found, checkFile(fset, f, self)...)
	}
	if files == 0 {
		found = append(found, "there is no Go file in "+dir+": call steptest.Run in a test of the step's own package")
	}
	return found
}

func checkFile(fset *token.FileSet, f *ast.File, self string) []string {
	var found []string
	add := func(pos token.Pos, format string, args ...any) {
		p := fset.Position(pos)
		found = append(found, fmt.Sprintf("%s:%d: %s", filepath.Base(p.Filename), p.Line, fmt.Sprintf(format, args...)))
	}
	rules := forbidden()
	names := map[string]map[string]string{} // of imports in this file
	for _, imp := range f.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			add(imp.Pos(), "%v", err)
			continue
		}
		name := path.Base(p)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		if r, ok := rules[p]; ok {
			if name == "." {
				add(imp.Pos(), "imports %s with a dot, which hides what it uses", p)
			}
			names[name] = r
		}
		rest, ours := strings.CutPrefix(p, module)
		switch top, _, _ := strings.Cut(rest, "/"); {
		case p == "log":
			add(imp.Pos(), "imports log: use Env.Log")
		case ours && strings.HasPrefix(p, module+"steps/") && p != self && !strings.HasPrefix(p, self+"/"):
			add(imp.Pos(), "imports the step %s; steps never import each other", p)
		case ours && slices.Contains([]string{"run", "attest", "policy", "cmd", "catalog", "paths", "gen", "service"}, top):
			add(imp.Pos(), "imports %s; a step knows nothing of what runs, signs or judges it", p)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if why, ok := names[x.Name][n.Sel.Name]; ok {
					add(n.Pos(), "uses %s.%s; %s", x.Name, n.Sel.Name, why)
				}
			}
		case *ast.CallExpr:
			if x, ok := n.Fun.(*ast.Ident); ok && (x.Name == "print" || x.Name == "println") {
				add(n.Pos(), "calls %s; a step prints nothing: use Env.Log", x.Name)
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				add(n.Pos(), "has an init function; a step starts when it is run")
			}
		}
		return true
	})
	return found
}
