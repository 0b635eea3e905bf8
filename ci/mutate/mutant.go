package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"sort"
	"strings"
)

// mutant is one change of one place in the code.
type mutant struct {
	id   int
	file string // from the root
	fn   string
	// what names the change, and is unique in its function: with file and function it
	// is the mutant's name in the list, which no line number makes stale.
	what string
}

func (m mutant) String() string { return m.file + " " + m.fn + ": " + m.what }

// edit replaces the bytes from start to end.
type edit struct {
	start, end int
	text       string
}

// finder finds the mutants of one file. All of them are built into one program: each
// stands beside the code that it changes, and a call asks which one is on.
type finder struct {
	src   []byte
	base  token.Pos
	info  *types.Info
	pkg   *types.Package
	names map[string]string // by which the file knows packages, by their paths
	file  string
	next  *int

	fn      string
	results *types.Tuple
	found   []mutant
	edits   []edit
	stack   []ast.Node
}

// find returns the mutants of a file and the file with all of them in it. next is the
// number of the next mutant.
func find(src []byte, fset *token.FileSet, f *ast.File, pkg *types.Package, info *types.Info, name string, next *int) ([]mutant, []byte) {
	d := &finder{src: src, base: fset.File(f.Pos()).Pos(0), info: info, pkg: pkg, names: map[string]string{}, file: name, next: next}
	for _, i := range f.Imports {
		if n := info.PkgNameOf(i); n != nil {
			d.names[n.Imported().Path()] = n.Name()
		}
	}
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			d.function(fn)
		}
	}
	return d.found, d.apply()
}

func (d *finder) function(fn *ast.FuncDecl) {
	d.fn = fn.Name.Name
	if fn.Recv != nil {
		d.fn = strings.TrimPrefix(types.ExprString(fn.Recv.List[0].Type), "*") + "." + d.fn
	}
	outer := d.info.Defs[fn.Name].Type().(*types.Signature).Results()
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if n == nil {
			d.stack = d.stack[:len(d.stack)-1]
			return true
		}
		d.results = outer
		for _, up := range d.stack {
			if lit, ok := up.(*ast.FuncLit); ok {
				d.results = d.info.TypeOf(lit).(*types.Signature).Results()
			}
		}
		if !d.node(n) {
			return false
		}
		d.stack = append(d.stack, n)
		return true
	})
}

// add notes a mutant, and returns its number.
func (d *finder) add(format string, args ...any) int {
	what := fmt.Sprintf(format, args...)
	same := 1
	for _, m := range d.found {
		if m.fn == d.fn && (m.what == what || strings.HasPrefix(m.what, what+", place ")) {
			same++
		}
	}
	if same > 1 {
		what = fmt.Sprintf("%s, place %d", what, same)
	}
	*d.next++
	d.found = append(d.found, mutant{*d.next, d.file, d.fn, what})
	return *d.next
}

func (d *finder) at(p token.Pos) int { return int(p - d.base) }

// text is the source of a node on one line, cut where it is long.
func (d *finder) text(n ast.Node) string {
	s := strings.Join(strings.Fields(string(d.src[d.at(n.Pos()):d.at(n.End())])), " ")
	if len(s) > 90 {
		s = strings.ToValidUTF8(s[:60], "") + " … " + strings.ToValidUTF8(s[len(s)-25:], "")
	}
	return "`" + s + "`"
}

// wrap puts text around a node. The inner node's comes later before it and earlier
// behind it, since the outer one is visited first.
func (d *finder) wrap(n ast.Node, before, behind string) {
	d.edits = append(d.edits, edit{d.at(n.Pos()), d.at(n.Pos()), before}, edit{d.at(n.End()), d.at(n.End()), behind})
}

// node finds the mutants of one node, and says whether to look inside.
func (d *finder) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok == token.VAR // constants must stay constant
	case *ast.ArrayType:
		return false
	case *ast.BlockStmt:
		d.statements(n.List)
	case *ast.CaseClause:
		d.cases(n)
		d.statements(n.Body)
	case *ast.CommClause:
		d.statements(n.Body)
	case *ast.BinaryExpr:
		if d.number(n) {
			return false
		}
		d.binary(n)
	case *ast.IndexExpr:
		if tv := d.info.Types[n.Index]; tv.Value != nil && d.isString(n.Index) {
			d.wrap(n.Index, fmt.Sprintf("mutantString(%d, ", d.add("the key of %s is another", d.text(n))), ")")
		}
		d.truth(n)
	case ast.Expr:
		if d.number(n) {
			return false
		}
		d.truth(n)
	}
	return true
}

// statements drops each statement that nothing needs to compile, and errors.
func (d *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "panic" {
				continue // it may be what ends the function
			}
			d.drop(s)
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				d.drop(s)
			}
		case *ast.IncDecStmt, *ast.BranchStmt:
			if b, ok := s.(*ast.BranchStmt); ok && b.Tok == token.FALLTHROUGH {
				continue
			}
			d.drop(s)
		case *ast.ReturnStmt:
			d.swallow(s)
		}
	}
}

func (d *finder) drop(s ast.Stmt) {
	d.wrap(s, fmt.Sprintf("if !mutant(%d) { ", d.add("%s dropped", d.text(s))), " }")
}

// swallow returns no error in the place of one.
func (d *finder) swallow(s *ast.ReturnStmt) {
	n := len(s.Results)
	if n == 0 || n != d.results.Len() || d.results.At(n-1).Type().String() != "error" || d.info.Types[s.Results[n-1]].IsNil() {
		return
	}
	values := string(d.src[d.at(s.Results[0].Pos()):d.at(s.Results[n-1].Pos())]) + "nil"
	at := d.at(s.Pos())
	d.edits = append(d.edits, edit{at, at, fmt.Sprintf("if mutant(%d) { return %s }; ", d.add("%s without its error", d.text(s)), values)})
}

// cases makes a case of a switch over strings match nothing.
func (d *finder) cases(c *ast.CaseClause) {
	sw, ok := d.stack[len(d.stack)-2].(*ast.SwitchStmt)
	if !ok || sw.Tag == nil {
		return
	}
	for _, e := range c.List {
		if d.isString(e) {
			d.wrap(e, fmt.Sprintf("mutantString(%d, ", d.add("`case` %s never holds", d.text(e))), ")")
		}
	}
}

func (d *finder) isString(e ast.Expr) bool {
	b, ok := d.info.TypeOf(e).Underlying().(*types.Basic)
	return ok && b.Kind() == types.String
}

// binary swaps comparisons and logic, and moves limits by one.
func (d *finder) binary(e *ast.BinaryExpr) {
	op := func(to token.Token) int {
		x, y := d.text(e.X), d.text(e.Y)
		return d.add("`%s %s %s` → `%s`", strings.Trim(x, "`"), e.Op, strings.Trim(y, "`"), to)
	}
	call := func(fn, between, behind string) {
		d.edits = append(d.edits, edit{d.at(e.Pos()), d.at(e.Pos()), fn},
			edit{d.at(e.OpPos), d.at(e.OpPos) + len(e.Op.String()), between}, edit{d.at(e.End()), d.at(e.End()), behind})
	}
	switch e.Op {
	case token.LAND:
		call(fmt.Sprintf("mutantAnd(%d, ", op(token.LOR)), ", func() bool { return (", ") })")
	case token.LOR:
		call(fmt.Sprintf("mutantOr(%d, ", op(token.LAND)), ", func() bool { return (", ") })")
	case token.EQL:
		d.wrap(e, fmt.Sprintf("(mutant(%d) != (", op(token.NEQ)), "))")
	case token.NEQ:
		d.wrap(e, fmt.Sprintf("(mutant(%d) != (", op(token.EQL)), "))")
	case token.LSS:
		call(fmt.Sprintf("mutantLess(%d, %d, ", op(token.LEQ), op(token.GEQ)), ", ", ")")
	case token.LEQ:
		call(fmt.Sprintf("mutantAtMost(%d, %d, ", op(token.LSS), op(token.GTR)), ", ", ")")
	case token.GTR:
		call(fmt.Sprintf("mutantMore(%d, %d, ", op(token.GEQ), op(token.LEQ)), ", ", ")")
	case token.GEQ:
		call(fmt.Sprintf("mutantAtLeast(%d, %d, ", op(token.GTR), op(token.LSS)), ", ", ")")
	}
}

// truth negates what is true or false and no operator has made.
func (d *finder) truth(e ast.Expr) {
	tv := d.info.Types[e]
	b, ok := tv.Type.(*types.Basic)
	if !ok || !tv.IsValue() || b.Info()&types.IsBoolean == 0 {
		return
	}
	switch e.(type) {
	case *ast.Ident, *ast.CallExpr, *ast.SelectorExpr, *ast.IndexExpr:
	default:
		return
	}
	read := false
	switch up := d.stack[len(d.stack)-1].(type) {
	case *ast.IfStmt, *ast.CaseClause, *ast.BinaryExpr, *ast.UnaryExpr, *ast.ReturnStmt:
		read = true
	case *ast.CallExpr:
		read = slices.Contains(up.Args, e)
	case *ast.KeyValueExpr:
		read = up.Value == e
	case *ast.CompositeLit:
		read = true
	case *ast.AssignStmt:
		read = slices.Contains(up.Rhs, e) && len(up.Lhs) == len(up.Rhs)
	}
	if u, ok := d.stack[len(d.stack)-1].(*ast.UnaryExpr); ok && u.Op != token.NOT {
		read = false
	}
	if read {
		d.wrap(e, fmt.Sprintf("(mutant(%d) != ", d.add("%s negated", d.text(e))), ")")
	}
}

// number changes a constant number: 0 to 1, 1 to 3, any other to about its double.
func (d *finder) number(e ast.Expr) bool {
	tv := d.info.Types[e]
	if tv.Value == nil || tv.Value.Kind() != constant.Int || tv.Type == nil {
		return false
	}
	b, ok := tv.Type.Underlying().(*types.Basic)
	if !ok || b.Info()&types.IsInteger == 0 || b.Info()&types.IsUntyped != 0 {
		return false
	}
	if call, ok := d.stack[len(d.stack)-1].(*ast.CallExpr); ok && slices.Contains([]string{"make", "fmt.Errorf", "step.Usagef"}, types.ExprString(call.Fun)) {
		return true // no more than a hint, or said to people
	}
	known := true
	typ := types.TypeString(tv.Type, func(p *types.Package) string {
		if p == d.pkg {
			return ""
		}
		known = known && d.names[p.Path()] != ""
		return d.names[p.Path()]
	})
	if known {
		d.wrap(e, fmt.Sprintf("mutantNumber[%s](%d, ", typ, d.add("the number %s is another", d.context(e))), ")")
	}
	return true
}

// context is a number with what stands around it.
func (d *finder) context(e ast.Expr) string {
	for _, up := range slices.Backward(d.stack) {
		switch up.(type) {
		case *ast.BinaryExpr, *ast.CallExpr, *ast.IndexExpr, *ast.KeyValueExpr, *ast.AssignStmt, *ast.ReturnStmt, *ast.SliceExpr:
			return d.text(e) + " in " + d.text(up)
		case *ast.CompositeLit:
			return d.text(e) + " in " + d.text(up)
		}
	}
	return d.text(e)
}

// apply makes all edits. Of those at one place the closing ones come first, the inner
// before the outer one; then the opening ones, the outer first.
func (d *finder) apply() []byte {
	type placed struct {
		edit
		order int
	}
	var list []placed
	for i, e := range d.edits {
		order := i
		if strings.HasPrefix(e.text, ")") || strings.HasPrefix(e.text, " }") {
			order = -i - 1
		}
		list = append(list, placed{e, order})
	}
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].start != list[j].start {
			return list[i].start < list[j].start
		}
		return list[i].order < list[j].order
	})
	var out bytes.Buffer
	last := 0
	for _, e := range list {
		out.Write(d.src[last:e.start])
		out.WriteString(e.text)
		last = e.end
	}
	out.Write(d.src[last:])
	return out.Bytes()
}
