package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

// Limits, so that no policy and no evidence can make a verifier hang.
const (
	// maxExprBytes and maxCost bound one expression; one that looks at ten
	// thousand findings costs about a hundred thousand.
	maxExprBytes = 4 << 10
	maxCost      = 1_000_000
	// maxTime bounds all expressions of one Judge together.
	maxTime = 20 * time.Second
)

// compiledRule is a Rule ready to run.
type compiledRule struct {
	*Rule
	forEach, expr, details *expr
	reason, fix            template
	needs                  []string // short names of the predicate types it reads
}

// expr is one compiled expression.
type expr struct {
	text  string
	prog  cel.Program
	out   *cel.Type
	names []string // variables that it reads
}

// template is text with expressions in it; parts alternate, text first.
type template struct {
	text  []string
	exprs []*expr
}

// environment makes the CEL environment of a policy, without `it`.
func environment(params map[string]Param) (*cel.Env, error) {
	base, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	objs := objects()
	fields := map[string]*cel.Type{}
	for name, p := range params {
		fields[name] = p.celType()
	}
	objs["Params"] = fields
	opts := []cel.EnvOption{
		cel.CustomTypeProvider(provider{base.CELTypeProvider(), objs}),
		cel.ParserExpressionSizeLimit(maxExprBytes),
		cel.ParserRecursionLimit(60),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		ext.Strings(ext.StringsVersion(3)),
		ext.Sets(),
		cel.Variable("params", object("Params")),
		cel.Function("rank",
			cel.Overload("rank_string", []*cel.Type{cel.StringType}, cel.IntType,
				cel.UnaryBinding(func(v ref.Val) ref.Val {
					s, _ := v.Value().(string)
					r, ok := severityRank(s)
					if !ok {
						return types.NewErr("%q is no severity", s)
					}
					return types.Int(r)
				}))),
	}
	for name, t := range variables() {
		opts = append(opts, cel.Variable(name, t))
	}
	return base.Extend(opts...)
}

// compile checks and plans every rule.
func (p *Policy) compile() error {
	env, err := environment(p.Params)
	if err != nil {
		return fmt.Errorf("CEL environment: %w", err)
	}
	for i := range p.Rules {
		c, err := compileRule(env, &p.Rules[i])
		if err != nil {
			return fmt.Errorf("rule %s: %w", p.Rules[i].ID, err)
		}
		p.compiled = append(p.compiled, c)
	}
	return nil
}

func compileRule(env *cel.Env, r *Rule) (compiledRule, error) {
	c := compiledRule{Rule: r}
	var err error
	inner := env
	detail := cel.ListType(cel.StringType)
	if r.ForEach != "" {
		if c.forEach, err = compileExpr(env, "forEach", r.ForEach, nil); err != nil {
			return c, err
		}
		if c.forEach.out.Kind() != types.ListKind {
			return c, fmt.Errorf("forEach is a %s, want a list", c.forEach.out)
		}
		if inner, err = env.Extend(cel.Variable("it", c.forEach.out.Parameters()[0])); err != nil {
			return c, err
		}
		detail = cel.StringType
	}
	if c.expr, err = compileExpr(inner, "expr", r.Expr, cel.BoolType); err != nil {
		return c, err
	}
	if r.Details != "" {
		if c.details, err = compileExpr(inner, "details", r.Details, detail); err != nil {
			return c, err
		}
	}
	if c.reason, err = compileTemplate(env, "reason", r.Reason); err != nil {
		return c, err
	}
	if c.fix, err = compileTemplate(env, "fix", r.Fix); err != nil {
		return c, err
	}
	seen := map[string]bool{}
	for _, e := range []*expr{c.forEach, c.expr} {
		if e == nil {
			continue
		}
		for _, name := range e.names {
			for _, n := range needs(name) {
				if !seen[n] {
					seen[n] = true
					c.needs = append(c.needs, n)
				}
			}
		}
	}
	return c, nil
}

// compileExpr compiles one expression; want nil allows any type.
func compileExpr(env *cel.Env, field, text string, want *cel.Type) (*expr, error) {
	ast, iss := env.Compile(text)
	if err := iss.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if want != nil && !want.IsAssignableType(ast.OutputType()) && ast.OutputType() != cel.DynType {
		return nil, fmt.Errorf("%s: gives %s, want %s", field, ast.OutputType(), want)
	}
	made := false
	celast.PostOrderVisit(ast.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		made = made || e.Kind() == celast.StructKind
	}))
	if made {
		return nil, fmt.Errorf("%s: a policy can only read objects, not make them", field)
	}
	prog, err := env.Program(ast,
		cel.EvalOptions(cel.OptOptimize),
		cel.CostLimit(maxCost),
		// At 1 a nested loop notices as well; a check costs less than a step.
		cel.InterruptCheckFrequency(1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	e := &expr{text: text, prog: prog, out: ast.OutputType()}
	for _, r := range ast.NativeRep().ReferenceMap() {
		if r.Name != "" && !slices.Contains(e.names, r.Name) {
			e.names = append(e.names, r.Name)
		}
	}
	slices.Sort(e.names)
	return e, nil
}

// compileTemplate splits text at ${...}; braces inside an expression balance.
func compileTemplate(env *cel.Env, field, text string) (template, error) {
	var t template
	for {
		before, rest, ok := strings.Cut(text, "${")
		t.text = append(t.text, before)
		if !ok {
			return t, nil
		}
		depth, end := 1, -1
		for i, c := range rest {
			switch c {
			case '{':
				depth++
			case '}':
				depth--
			}
			if depth == 0 {
				end = i
				break
			}
		}
		if end < 0 {
			return t, fmt.Errorf("%s: ${ without }", field)
		}
		e, err := compileExpr(env, field, rest[:end], nil)
		if err != nil {
			return t, err
		}
		t.exprs = append(t.exprs, e)
		text = rest[end+1:]
	}
}

// eval runs an expression over what s sees.
func (e *expr) eval(s *scope) (v ref.Val, err error) {
	// cel-go recovers from panics of its own; this covers conversions.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("evaluate %q: %v", e.text, r)
		}
	}()
	// A simple expression has no loop in which it would notice the end.
	if s.ctx.Err() == nil {
		v, _, err = e.prog.ContextEval(s.ctx, s)
	}
	switch {
	case s.ctx.Err() != nil:
		return nil, fmt.Errorf("evaluate %q: all rules together took longer than %s", e.text, maxTime)
	case err != nil:
		return nil, fmt.Errorf("evaluate %q: %w", e.text, err)
	}
	return v, nil
}

// holds evaluates a condition; anything but true or false is an error.
func (e *expr) holds(s *scope) (bool, error) {
	v, err := e.eval(s)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("evaluate %q: gives %s, want bool", e.text, v.Type().TypeName())
	}
	return bool(b), nil
}

// render fills in a template. An expression that fails is shown as such: the
// reason of a failed rule must not hide that it failed.
func (t template) render(s *scope) string {
	if len(t.exprs) == 0 {
		return t.text[0]
	}
	var b strings.Builder
	for i, part := range t.text {
		b.WriteString(part)
		if i == len(t.exprs) {
			break
		}
		v, err := t.exprs[i].eval(s)
		if err != nil {
			b.WriteString("(?)")
			continue
		}
		b.WriteString(text(v))
	}
	return b.String()
}

// text is a CEL value for people.
func text(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return string(v)
	case types.Duration:
		return v.Duration.Round(time.Second).String()
	case types.Timestamp:
		return v.Time.UTC().Format(time.RFC3339)
	}
	if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
		return string(s)
	}
	return fmt.Sprint(v.Value())
}
