package jinja

// resolver gives every name its slot, every inner scope its loads, and refuses what can be refused before a render:
// unknown filters and tests where they would surely be evaluated, and loop controls outside a loop.
type resolver struct {
	src   string
	fn    *function
	sc    *scope
	soft  bool // inside an if or an inline if: an unknown filter is an error only when it is evaluated
	loops int  // loops around, within the function
}

func (rs resolver) template(sc *scope, body []stmt) {
	sc.statements(body)
	rs.sc = sc
	rs.statements(body)
}

func (rs resolver) statements(list []stmt) {
	for _, st := range list {
		rs.statement(st)
	}
}

func (rs resolver) statement(st stmt) {
	switch st := st.(type) {
	case *printStmt:
		rs.expr(st.x)
	case *ifStmt:
		in := rs
		in.soft = true
		for _, b := range st.branches {
			in.expr(b.test)
			in.statements(b.body)
		}
		in.statements(st.other)
	case *forStmt:
		rs.loop(st)
	case *setStmt:
		rs.expr(st.x)
		rs.target(st.target)
	case *setBlock:
		in := rs.inner(rs.fn)
		in.sc.statements(st.body)
		if st.filter != nil {
			in.sc.expr(st.filter)
			in.expr(st.filter)
		}
		in.statements(st.body)
		st.scope = in.sc.finish()
		rs.target(st.target)
	case *macroStmt:
		rs.macro(st.def)
		st.target = &nameExpr{name: st.def.name}
		rs.name(st.target)
	case *callBlock:
		rs.macro(st.def)
		if st.call != nil {
			rs.expr(st.call)
		}
	case *filterBlock:
		in := rs.inner(rs.fn)
		in.sc.statements(st.body)
		in.sc.expr(st.filter)
		in.statements(st.body)
		in.expr(st.filter)
		st.scope = in.sc.finish()
	case *withStmt:
		rs.with(st)
	case *loopControl:
		if rs.loops == 0 {
			failSyntax(rs.src, st.pos, "loop control outside a loop")
		}
	}
}

// inner is the resolver of a scope within this one.
func (rs resolver) inner(fn *function) resolver {
	in := resolver{src: rs.src, fn: fn, sc: newScope(fn, rs.sc), loops: rs.loops}
	if fn != rs.fn {
		in.loops = 0
	}
	return in
}

func (rs resolver) loop(st *forStmt) {
	rs.expr(st.in)

	body := rs.inner(rs.fn)
	body.loops++
	if uses(st.body, "loop") {
		st.loop = body.sc.parameter("loop")
	}
	body.sc.parameters(st.target)
	body.sc.statements(st.body)
	st.loopTarget = clone(st.target)
	body.target(st.loopTarget)
	body.statements(st.body)
	st.bodyScope = body.sc.finish()

	other := rs.inner(rs.fn)
	other.sc.statements(st.other)
	other.statements(st.other)
	st.otherScope = other.sc.finish()

	if st.test != nil {
		test := rs.inner(rs.fn)
		test.sc.parameters(st.target)
		test.sc.expr(st.test)
		st.testTarget = clone(st.target)
		test.target(st.testTarget)
		test.expr(st.test)
		st.testScope = test.sc.finish()
	}
}

func (rs resolver) with(st *withStmt) {
	for _, v := range st.vals {
		rs.expr(v)
	}
	in := rs.inner(rs.fn)
	for _, t := range st.targets {
		in.sc.parameters(t)
	}
	in.sc.statements(st.body)
	for _, t := range st.targets {
		in.target(t)
	}
	in.statements(st.body)
	st.scope = in.sc.finish()
}

func (rs resolver) macro(def *macroDef) {
	in := rs.inner(newFunction(rs.fn))
	explicit := map[string]bool{}
	for _, p := range def.params {
		in.sc.parameter(p.name)
		explicit[p.name] = true
	}
	for _, d := range def.defaults {
		in.sc.expr(d)
	}
	in.sc.statements(def.body)
	for _, p := range def.params {
		in.sc.parameter(p.name)
		in.name(p)
	}
	if uses(def.body, "caller") {
		if explicit["caller"] && !hasDefault(def, "caller") {
			failSyntax(rs.src, def.pos, "the parameter caller needs a default")
		}
		if !explicit["caller"] {
			def.caller = in.sc.parameter("caller")
		}
	}
	if uses(def.body, "kwargs") && !explicit["kwargs"] {
		def.kwargs = in.sc.parameter("kwargs")
	}
	if uses(def.body, "varargs") && !explicit["varargs"] {
		def.varargs = in.sc.parameter("varargs")
	}
	for _, d := range def.defaults {
		in.expr(d)
	}
	in.statements(def.body)
	def.scope = in.sc.finish()
	def.slots = in.fn.slots
}

func hasDefault(def *macroDef, name string) bool {
	for i, p := range def.params {
		if p.name == name {
			return i >= len(def.params)-len(def.defaults)
		}
	}
	return false
}

func (rs resolver) name(n *nameExpr) {
	n.up, n.idx, _ = rs.sc.find(rs.fn, n.name)
}

func (rs resolver) target(t target) {
	if t.name != nil {
		rs.name(t.name)
	}
	for _, it := range t.items {
		rs.target(it)
	}
}

func clone(t target) target {
	c := t
	if t.name != nil {
		c.name = &nameExpr{name: t.name.name}
	}
	c.items = nil
	for _, it := range t.items {
		c.items = append(c.items, clone(it))
	}
	return c
}

func (rs resolver) expr(e expr) {
	switch e := e.(type) {
	case *nameExpr:
		rs.name(e)
		return
	case *condExpr:
		rs.soft = true
	case *filterExpr:
		if e.fn == nil && !rs.soft {
			failSyntax(rs.src, e.pos, "no filter named '"+e.name+"'")
		}
	case *testExpr:
		if e.fn == nil && !rs.soft {
			failSyntax(rs.src, e.pos, "no test named '"+e.name+"'")
		}
	}
	e.children(rs.expr)
}

// usage looks for the first reading of a name that no assignment precedes in the text.
type usage struct {
	name           string
	found, stopped bool
}

// uses says whether statements read name, at any depth, before they assign it.
func uses(list []stmt, name string) bool {
	u := &usage{name: name}
	u.statements(list)
	return u.found
}

func (u *usage) statements(list []stmt) {
	for _, st := range list {
		u.statement(st)
	}
}

func (u *usage) assign(name string) {
	if name == u.name && !u.found {
		u.stopped = true
	}
}

func (u *usage) target(t target) {
	if t.name != nil && t.attr == "" {
		u.assign(t.name.name)
	}
	for _, it := range t.items {
		u.target(it)
	}
}

func (u *usage) expr(e expr) {
	if e == nil || u.stopped || u.found {
		return
	}
	if n, ok := e.(*nameExpr); ok {
		u.found = u.found || n.name == u.name
		return
	}
	e.children(u.expr)
}

func (u *usage) statement(st stmt) {
	switch st := st.(type) {
	case *printStmt:
		u.expr(st.x)
	case *ifStmt:
		for _, b := range st.branches {
			u.expr(b.test)
			u.statements(b.body)
		}
		u.statements(st.other)
	case *forStmt:
		u.target(st.target)
		u.expr(st.in)
		u.statements(st.body)
		u.statements(st.other)
		u.expr(st.test)
	case *setStmt:
		u.target(st.target)
		u.expr(st.x)
	case *setBlock:
		u.target(st.target)
		u.expr(st.filter)
		u.statements(st.body)
	case *macroStmt:
		u.macro(st.def)
	case *callBlock:
		if st.call != nil {
			u.expr(st.call)
		}
		u.macro(st.def)
	case *filterBlock:
		u.statements(st.body)
		u.expr(st.filter)
	case *withStmt:
		for _, t := range st.targets {
			u.target(t)
		}
		for _, v := range st.vals {
			u.expr(v)
		}
		u.statements(st.body)
	}
}

func (u *usage) macro(def *macroDef) {
	for _, p := range def.params {
		u.assign(p.name)
	}
	for _, d := range def.defaults {
		u.expr(d)
	}
	u.statements(def.body)
}
