package depcheck

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Exempt says why a file, relative to the SDK, may do what CheckSource refuses;
// empty for all others. The list is short, and each entry was decided.
func Exempt(file string) string {
	return map[string]string{
		"steps/build/ko.go": "ko takes the environment of its children from its own process, and logs by package log: for the time of the call both are the step's",
	}[file]
}

// CheckSource reports what the files of a package do that only some may: print,
// log by the standard logger, read the environment, or start before main does.
func CheckSource(p Package) ([]string, error) {
	rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, SDK), "/")
	if forTests(rel) {
		return nil, nil
	}
	var found []string
	for _, name := range p.GoFiles {
		if Exempt(rel+"/"+name) != "" {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		found = append(found, checkFile(fset, f, rel)...)
	}
	return found, nil
}

func checkFile(fset *token.FileSet, f *ast.File, rel string) []string {
	var found []string
	cmd := below(rel, "cmd")
	add := func(pos token.Pos, format string, args ...any) {
		p := fset.Position(pos)
		found = append(found, fmt.Sprintf("%s/%s:%d: %s", rel, filepath.Base(p.Filename), p.Line, fmt.Sprintf(format, args...)))
	}
	names := map[string]string{} // import path by its name in this file
	for _, imp := range f.Imports {
		p, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue // the compiler says it better
		}
		name := path.Base(p)
		if imp.Name != nil {
			name = imp.Name.Name
		}
		names[name] = p
		if p == "log" && !cmd {
			add(imp.Pos(), "imports log; the logger comes in as a *slog.Logger")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				add(n.Pos(), "has an init function; register by a line in the catalog, and start when called")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			switch p, sel := names[x.Name], n.Sel.Name; {
			case p == "fmt" && slices.Contains([]string{"Print", "Printf", "Println"}, sel):
				add(n.Pos(), "uses fmt.%s; write to the io.Writer that you are given", sel)
			case p == "os" && (sel == "Stdout" || sel == "Stderr") && !cmd && !below(rel, "run"):
				add(n.Pos(), "uses os.%s; only cmd and the runner's children print", sel)
			case p == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, sel) && !below(rel, "run/host") && !below(rel, "run/fence"):
				add(n.Pos(), "uses os.%s; only run/host reads the environment (and run/fence that which it made itself)", sel)
			}
		}
		return true
	})
	return found
}
