package jinja

// expr is an expression; eval is called through run.eval, which counts it.
type expr interface {
	eval(r *run) value
	// children visits the expressions directly below, in evaluation order.
	children(visit func(expr))
}

// stmt is a statement; exec is called through run.exec, which counts it.
type stmt interface {
	exec(r *run) signal
}

// signal says how a statement ended.
type signal uint8

const (
	sigNext signal = iota
	sigBreak
	sigContinue
)

type (
	constExpr struct{ v value }

	// nameExpr is a variable, found by the resolver: up functions out, in slot idx.
	nameExpr struct {
		name    string
		up, idx int
	}

	tupleExpr struct{ items []expr }
	listExpr  struct{ items []expr }
	dictExpr  struct{ keys, vals []expr }

	attrExpr struct {
		obj  expr
		name string
	}
	itemExpr  struct{ obj, key expr }
	sliceExpr struct{ obj, start, stop, step expr } // obj is nil where a slice stands inside a tuple of subscripts

	// callArgs are the arguments of a call, a filter or a test.
	callArgs struct {
		pos         []expr
		kwNames     []string
		kwVals      []expr
		star, dstar expr
	}
	callExpr struct {
		fn   expr
		args callArgs
	}
	filterExpr struct {
		in   expr // nil: the captured block
		name string
		fn   filterFunc // nil: unknown, which fails when evaluated
		args callArgs
		pos  int
	}
	testExpr struct {
		in   expr
		name string
		fn   testFunc // nil: unknown
		args callArgs
		pos  int
	}

	notExpr   struct{ x expr }
	unaryExpr struct {
		op string
		x  expr
	}
	binaryExpr struct {
		op   string
		l, r expr
	}
	andExpr     struct{ l, r expr }
	orExpr      struct{ l, r expr }
	concatExpr  struct{ parts []expr }
	compareExpr struct {
		first expr
		ops   []comparison
	}
	comparison struct {
		op string
		x  expr
	}
	condExpr struct{ test, then, other expr } // other may be nil
)

type (
	textStmt  struct{ text string }
	printStmt struct {
		x    expr
		line int
	}
	ifStmt struct {
		branches []branch
		other    []stmt
	}
	branch struct {
		test expr
		body []stmt
		line int
	}
	forStmt struct {
		target      target
		in, test    expr // test may be nil
		body, other []stmt
		line        int

		loop                   *nameExpr // the loop variable, where the body uses it
		bodyScope, otherScope  *scope
		testScope              *scope
		testTarget, loopTarget target // the same target in the scopes of the test and of the body
	}
	setStmt struct {
		target target
		x      expr
		line   int
	}
	setBlock struct {
		target target
		filter expr // nil, or the outermost filter of the captured block
		body   []stmt
		scope  *scope
		line   int
	}
	macroDef struct {
		name     string
		params   []*nameExpr
		defaults []expr // of the last parameters
		body     []stmt
		pos      int

		scope   *scope
		slots   int
		caller  *nameExpr // the implicit parameters, where the body uses them
		kwargs  *nameExpr
		varargs *nameExpr
	}
	macroStmt struct {
		def    *macroDef
		target *nameExpr
	}
	callBlock struct {
		def  *macroDef
		call *callExpr // nil: the body alone, as {% generation %} writes it
		line int
	}
	filterBlock struct {
		filter expr
		body   []stmt
		scope  *scope
		line   int
	}
	withStmt struct {
		targets []target
		vals    []expr
		body    []stmt
		scope   *scope
		line    int
	}
	loopControl struct {
		sig signal
		pos int
	}
)

// target is what an assignment writes to: a variable, an attribute of a namespace, or several targets.
type target struct {
	name  *nameExpr
	attr  string // not empty: the attribute of the namespace called name
	items []target
	tuple bool
}

func (constExpr) children(func(expr)) {}
func (*nameExpr) children(func(expr)) {}

func visitAll(list []expr, visit func(expr)) {
	for _, e := range list {
		visit(e)
	}
}

func visitSome(visit func(expr), list ...expr) {
	for _, e := range list {
		if e != nil {
			visit(e)
		}
	}
}

func (e *tupleExpr) children(visit func(expr)) { visitAll(e.items, visit) }
func (e *listExpr) children(visit func(expr))  { visitAll(e.items, visit) }
func (e *dictExpr) children(visit func(expr)) {
	for i := range e.keys {
		visit(e.keys[i])
		visit(e.vals[i])
	}
}
func (e *attrExpr) children(visit func(expr))  { visit(e.obj) }
func (e *itemExpr) children(visit func(expr))  { visitSome(visit, e.obj, e.key) }
func (e *sliceExpr) children(visit func(expr)) { visitSome(visit, e.obj, e.start, e.stop, e.step) }
func (a *callArgs) children(visit func(expr)) {
	visitAll(a.pos, visit)
	visitAll(a.kwVals, visit)
	visitSome(visit, a.star, a.dstar)
}
func (e *callExpr) children(visit func(expr)) {
	visit(e.fn)
	e.args.children(visit)
}
func (e *filterExpr) children(visit func(expr)) {
	visitSome(visit, e.in)
	e.args.children(visit)
}
func (e *testExpr) children(visit func(expr)) {
	visit(e.in)
	e.args.children(visit)
}
func (e *notExpr) children(visit func(expr))    { visit(e.x) }
func (e *unaryExpr) children(visit func(expr))  { visit(e.x) }
func (e *binaryExpr) children(visit func(expr)) { visitSome(visit, e.l, e.r) }
func (e *andExpr) children(visit func(expr))    { visitSome(visit, e.l, e.r) }
func (e *orExpr) children(visit func(expr))     { visitSome(visit, e.l, e.r) }
func (e *concatExpr) children(visit func(expr)) { visitAll(e.parts, visit) }
func (e *compareExpr) children(visit func(expr)) {
	visit(e.first)
	for _, c := range e.ops {
		visit(c.x)
	}
}
func (e *condExpr) children(visit func(expr)) { visitSome(visit, e.test, e.then, e.other) }
