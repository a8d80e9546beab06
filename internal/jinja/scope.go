package jinja

import "slices"

// function is a body with its own variables: the template, a macro, or a call block.
type function struct {
	outer *function
	slots int
}

func newFunction(outer *function) *function { return &function{outer: outer} }

// scope is a region of a function with its own names. What a name means there is decided as jinja2's compiler
// does: a scope that assigns a name anywhere owns it throughout, starting from the value the enclosing scope has
// when it is entered; a name that no scope around owns comes from the variables given to Render.
type scope struct {
	fn     *function
	outer  *scope
	ids    map[string]int // slots handed out, shared by the copies of a scope
	refs   map[string]int // names known here, to their slot
	loads  map[int]load
	stores map[string]bool
	plan   []load // the loads, by slot
}

type loadKind uint8

const (
	loadParameter loadKind = iota // set by whoever enters the scope
	loadVariable                  // from the variables of the render
	loadOuter                     // from a slot of an enclosing scope
	loadNothing                   // undefined until assigned
)

// load says how a slot starts when its scope is entered.
type load struct {
	kind    loadKind
	slot    int
	name    string
	up, idx int
}

func newScope(fn *function, outer *scope) *scope {
	return &scope{fn: fn, outer: outer, ids: map[string]int{}, refs: map[string]int{}, loads: map[int]load{},
		stores: map[string]bool{}}
}

func (s *scope) copy() *scope {
	c := newScope(s.fn, s.outer)
	c.ids = s.ids
	c.merge(s)
	return c
}

func (s *scope) merge(b *scope) {
	for n, id := range b.refs {
		s.refs[n] = id
	}
	for id, l := range b.loads {
		s.loads[id] = l
	}
	for n := range b.stores {
		s.stores[n] = true
	}
}

// find returns where name lives, seen from function fn.
func (s *scope) find(fn *function, name string) (up, idx int, ok bool) {
	for ; s != nil; s = s.outer {
		if id, ok := s.refs[name]; ok {
			for f := fn; f != s.fn; f = f.outer {
				up++
			}
			return up, id, true
		}
	}
	return 0, 0, false
}

func (s *scope) define(name string, l load) int {
	id, ok := s.ids[name]
	if !ok {
		id = s.fn.slots
		s.fn.slots++
		s.ids[name] = id
	}
	l.slot, l.name = id, name
	s.refs[name] = id
	s.loads[id] = l
	return id
}

func (s *scope) parameter(name string) *nameExpr {
	s.stores[name] = true
	return &nameExpr{name: name, idx: s.define(name, load{kind: loadParameter})}
}

// outside is how a name that this scope assigns starts.
func (s *scope) outside(name string, otherwise loadKind) load {
	if s.outer != nil {
		if up, idx, ok := s.outer.find(s.fn, name); ok {
			return load{kind: loadOuter, up: up, idx: idx}
		}
	}
	return load{kind: otherwise}
}

func (s *scope) store(name string) {
	s.stores[name] = true
	if _, ok := s.refs[name]; !ok {
		s.define(name, s.outside(name, loadNothing))
	}
}

func (s *scope) load(name string) {
	if _, _, ok := s.find(s.fn, name); !ok {
		s.define(name, load{kind: loadVariable})
	}
}

// join takes in what the branches of an if found; a name only branches assign starts as it is outside.
func (s *scope) join(branches ...*scope) {
	var fresh []string
	for _, b := range branches {
		for n := range b.stores {
			if !s.stores[n] {
				fresh = append(fresh, n)
			}
		}
	}
	for _, b := range branches {
		s.merge(b)
	}
	for _, n := range fresh {
		s.define(n, s.outside(n, loadVariable))
	}
}

// finish fixes the order of the loads.
func (s *scope) finish() *scope {
	for _, l := range s.loads {
		s.plan = append(s.plan, l)
	}
	slices.SortFunc(s.plan, func(a, b load) int { return a.slot - b.slot })
	return s
}

func (s *scope) statements(list []stmt) {
	for _, st := range list {
		s.statement(st)
	}
}

// statement collects the names of a statement, not of the scopes within it.
func (s *scope) statement(st stmt) {
	switch st := st.(type) {
	case *printStmt:
		s.expr(st.x)
	case *ifStmt:
		s.branches(st)
	case *forStmt:
		s.expr(st.in)
	case *setStmt:
		s.expr(st.x)
		s.target(st.target)
	case *setBlock:
		s.target(st.target)
	case *macroStmt:
		s.store(st.def.name)
	case *callBlock:
		if st.call != nil {
			s.expr(st.call)
		}
	case *filterBlock:
		s.expr(st.filter)
	case *withStmt:
		for _, v := range st.vals {
			s.expr(v)
		}
	}
}

func (s *scope) branches(st *ifStmt) {
	s.expr(st.branches[0].test)
	body, elifs, other := s.copy(), s.copy(), s.copy()
	body.statements(st.branches[0].body)
	for _, b := range st.branches[1:] {
		elifs.branches(&ifStmt{branches: []branch{b}})
	}
	other.statements(st.other)
	s.join(body, elifs, other)
}

func (s *scope) expr(e expr) {
	if n, ok := e.(*nameExpr); ok {
		s.load(n.name)
		return
	}
	e.children(s.expr)
}

func (s *scope) target(t target) {
	switch {
	case t.tuple:
		for _, it := range t.items {
			s.target(it)
		}
	case t.attr != "":
		s.load(t.name.name)
	default:
		s.store(t.name.name)
	}
}

// parameters declares the names of a target as set by whoever enters the scope.
func (s *scope) parameters(t target) {
	if !t.tuple {
		s.parameter(t.name.name)
		return
	}
	for _, it := range t.items {
		s.parameters(it)
	}
}
