package alert

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/skein-project/skein/series"
)

// Function is a function that expressions may call. Arguments are literals: the name of a family, a window ("5m"), and if wanted a map of
// labels to a value or a list of values, {"outcome": "failed"}.
type Function struct {
	Name  string
	Kinds []series.Kind // of families that it takes
	Help  string
}

// Functions lists the functions.
var Functions = []Function{
	{"rate", []series.Kind{series.Counter, series.Durations}, "events per second in a window, of all series of the subject"},
	{"increase", []series.Kind{series.Counter, series.Durations}, "events in a window, of all series of the subject"},
	{"p", []series.Kind{series.Durations}, `quantile in seconds of a window: p("gen_ai_server_time_to_first_token_seconds", 0.95, "5m")`},
	{"avg", []series.Kind{series.Gauge}, "mean over a window and the series of the subject"},
	{"max", []series.Kind{series.Gauge}, "highest value in a window"},
	{"min", []series.Kind{series.Gauge}, "lowest value in a window"},
	{"last", []series.Kind{series.Gauge}, "highest of the newest values of the series of the subject, in a window"},
	{"sum", []series.Kind{series.Gauge}, "means over a window of the series of the subject, added up"},
	{"absent", []series.Kind{series.Gauge, series.Counter, series.Durations}, "true if there were values within a day, and none in a window"},
	{"baseline", []series.Kind{series.Counter, series.Gauge}, `mean of the hours around this time of the last days: baseline("skein_gateway_requests_total", "7d")`},
}

func functionOf(name string) (Function, bool) {
	i := slices.IndexFunc(Functions, func(f Function) bool { return f.Name == name })
	if i < 0 {
		return Function{}, false
	}
	return Functions[i], true
}

// Compiler turns expressions into programs, and keeps those in use.
type Compiler struct {
	env      *cel.Env
	programs map[compiled]*Program
	queries  map[string]*query // by their PromQL-like text: equal ones are one
}

type compiled struct {
	expr string
	over Scope
}

// NewCompiler makes a compiler. It fails only if cel-go does not take what Functions declare.
func NewCompiler() (*Compiler, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(), // no comprehensions
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(2 * MaxDepth),
		cel.ParserErrorRecoveryLimit(4),
		cel.ParserExpressionSizeLimit(MaxExpr),
	}
	for _, f := range Functions {
		args := []*cel.Type{cel.StringType, cel.StringType}
		if f.Name == "p" {
			args = []*cel.Type{cel.StringType, cel.DoubleType, cel.StringType}
		}
		result := cel.DoubleType
		if f.Name == "absent" {
			result = cel.BoolType
		}
		options = append(options, cel.Function(f.Name,
			cel.Overload(f.Name+"_window", args, result),
			cel.Overload(f.Name+"_window_labels", append(slices.Clone(args), cel.MapType(cel.StringType, cel.DynType)), result)))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("alert: CEL environment: %w", err)
	}
	return &Compiler{env: env, programs: map[compiled]*Program{}, queries: map[string]*query{}}, nil
}

// Compile makes the program of an expression. It fails with *Invalid, which wraps ErrCost if the expression is too large.
func (c *Compiler) Compile(expr string, over Scope) (*Program, error) {
	key := compiled{expr, over}
	if p := c.programs[key]; p != nil {
		return p, nil
	}
	by, ok := over.Labels()
	if !ok {
		return nil, refuse("no scope %.32q", over)
	}
	if len(expr) > MaxExpr {
		return nil, costly("it has more than %d characters", MaxExpr)
	}
	if deep(expr) {
		return nil, costly("it nests deeper than %d", MaxDepth)
	}
	checked, issues := c.env.Compile(expr)
	if issues.Err() != nil {
		if said := issues.Err().Error(); strings.Contains(said, "max recursion depth exceeded") || strings.Contains(said, "recursion limit exceeded") {
			return nil, costly("it nests too deep")
		}
		return nil, refuse("%s", hint(issues.Err().Error()))
	}
	b := &builder{compiler: c, by: by, program: &Program{expr: expr, over: over, by: by}}
	root, err := b.condition(checked.NativeRep().Expr(), 1)
	if err != nil {
		return nil, err
	}
	b.program.root = root
	if len(b.program.queries) == 0 {
		return nil, refuse("it asks for no series, so it is always true or always false")
	}
	b.program.families = string(over)
	for _, q := range b.program.queries {
		if !strings.Contains(b.program.families, " "+q.family.Name+" ") {
			b.program.families += " " + q.family.Name + " "
		}
	}
	c.programs[key] = b.program
	return b.program, nil
}

// deep says that brackets nest too deep for the parser, which recurses.
func deep(expr string) bool {
	depth := 0
	for _, r := range expr {
		switch r {
		case '(', '[', '{', '-', '!', '?':
			if depth++; depth > 4*MaxDepth {
				return true
			}
		case ')', ']', '}':
			depth--
		}
	}
	return false
}

// hint adds to CEL's words what people run into.
func hint(why string) string {
	if strings.Contains(why, "(int, double)") || strings.Contains(why, "(double, int)") {
		why += "\nin arithmetic a number has a point: 3.0"
	}
	if len(why) > MaxText {
		why = strings.ToValidUTF8(why[:MaxText], "")
	}
	return why
}

// builder turns a checked expression into a program.
type builder struct {
	compiler *Compiler
	by       []string
	program  *Program
	nodes    int
}

func refuse(format string, args ...any) error {
	return &Invalid{What: "expression", Why: fmt.Sprintf(format, args...)}
}

func costly(format string, args ...any) error {
	return &Invalid{What: "expression", Why: fmt.Sprintf(format, args...), Err: ErrCost}
}

// count bounds the size of what is built.
func (b *builder) count(depth int) error {
	if b.nodes++; b.nodes > MaxNodes || depth > MaxDepth {
		return costly("it has more than %d parts, or nests deeper than %d", MaxNodes, MaxDepth)
	}
	return nil
}

var comparisons = map[string]op{
	operators.Greater: opGreater, operators.GreaterEquals: opGreaterEqual, operators.Less: opLess, operators.LessEquals: opLessEqual,
	operators.Equals: opEqual, operators.NotEquals: opNotEqual,
}

var arithmetic = map[string]op{operators.Add: opAdd, operators.Subtract: opSub, operators.Multiply: opMul, operators.Divide: opDiv}

// condition builds what is true or false.
func (b *builder) condition(e ast.Expr, depth int) (*part, error) {
	if err := b.count(depth); err != nil {
		return nil, err
	}
	if e.Kind() != ast.CallKind {
		return nil, refuse("want a condition, such as rate(…) > 1.0, not %s", kindName(e))
	}
	call := e.AsCall()
	name := call.FunctionName()
	if name == "absent" {
		return b.query(call)
	}
	operation, compares := comparisons[name]
	build := b.number
	switch {
	case name == operators.LogicalAnd:
		operation, build = opAnd, b.condition
	case name == operators.LogicalOr:
		operation, build = opOr, b.condition
	case !compares:
		return nil, refuse("a condition is a comparison, absent(…), or some joined by && and ||: %s is not PromQL", printable(name))
	}
	left, err := build(call.Args()[0], depth+1)
	if err != nil {
		return nil, err
	}
	right, err := build(call.Args()[1], depth+1)
	if err != nil {
		return nil, err
	}
	if compares && left.constant() && right.constant() {
		return nil, refuse("a comparison of two numbers is always true or always false")
	}
	return &part{op: operation, left: left, right: right}, nil
}

// number builds what is a number.
func (b *builder) number(e ast.Expr, depth int) (*part, error) {
	if err := b.count(depth); err != nil {
		return nil, err
	}
	switch e.Kind() {
	case ast.LiteralKind:
		switch v := e.AsLiteral().(type) {
		case types.Double:
			return &part{op: opNumber, value: float64(v)}, nil
		case types.Int:
			return &part{op: opNumber, value: float64(v), whole: true}, nil
		case types.Uint:
			return &part{op: opNumber, value: float64(v), whole: true}, nil
		}
	case ast.CallKind:
		call := e.AsCall()
		name := call.FunctionName()
		if _, ok := functionOf(name); ok && name != "absent" {
			return b.query(call)
		}
		if operation, ok := arithmetic[name]; ok {
			left, err := b.number(call.Args()[0], depth+1)
			if err != nil {
				return nil, err
			}
			right, err := b.number(call.Args()[1], depth+1)
			if err != nil {
				return nil, err
			}
			if left.whole || right.whole {
				return nil, refuse("in arithmetic a number has a point: 3.0")
			}
			return &part{op: operation, left: left, right: right}, nil
		}
		if name == operators.Negate {
			of, err := b.number(call.Args()[0], depth+1)
			if err != nil {
				return nil, err
			}
			return &part{op: opMul, left: &part{op: opNumber, value: -1}, right: of, whole: of.whole}, nil // 0 - x would be 0 for 0, and not -0
		}
		return nil, refuse("%s is not PromQL", printable(name))
	}
	return nil, refuse("want a number, not %s", kindName(e))
}

func kindName(e ast.Expr) string {
	switch e.Kind() {
	case ast.ComprehensionKind:
		return "a loop"
	case ast.ListKind:
		return "a list"
	case ast.MapKind, ast.StructKind:
		return "a map"
	case ast.IdentKind, ast.SelectKind:
		return "a name"
	case ast.LiteralKind:
		return "a literal"
	}
	return "that"
}

// printable writes an operator as people do.
func printable(name string) string {
	if s, ok := operators.FindReverse(name); ok && s != "" {
		return "'" + s + "'"
	}
	return fmt.Sprintf("%.32s", name)
}
