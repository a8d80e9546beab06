package jinja

// exec runs a statement within the limits.
func (r *run) exec(s stmt) signal {
	r.enter()
	r.step(1)
	sig := s.exec(r)
	r.depth--
	return sig
}

func (r *run) execAll(list []stmt) signal {
	for _, s := range list {
		if sig := r.exec(s); sig != sigNext {
			return sig
		}
	}
	return sigNext
}

func (r *run) enterScope(s *scope) {
	for i := range s.plan {
		l := &s.plan[i]
		switch l.kind {
		case loadVariable:
			r.frame.slots[l.slot] = r.lookup(l.name)
		case loadOuter:
			r.frame.slots[l.slot] = r.at(l.up).slots[l.idx]
		case loadNothing:
			r.frame.slots[l.slot] = absent{}
		}
	}
}

// leaveScope forgets the variables of a scope.
func (r *run) leaveScope(s *scope) {
	for i := range s.plan {
		r.frame.slots[s.plan[i].slot] = absent{}
	}
}

func (s *textStmt) exec(r *run) signal {
	r.write(s.text)
	return sigNext
}

func (s *printStmt) exec(r *run) signal {
	r.line = s.line
	r.write(r.text(r.eval(s.x)))
	return sigNext
}

func (s *ifStmt) exec(r *run) signal {
	for i := range s.branches {
		b := &s.branches[i]
		r.line = b.line
		if r.truth(r.eval(b.test)) {
			return r.execAll(b.body)
		}
	}
	return r.execAll(s.other)
}

func (s *setStmt) exec(r *run) signal {
	r.line = s.line
	r.checkNamespaces(s.target)
	r.assign(s.target, r.eval(s.x))
	return sigNext
}

// checkNamespaces fails early, before the value is evaluated, where a target is an attribute of anything else.
func (r *run) checkNamespaces(t target) {
	if t.attr != "" {
		if _, ok := r.at(t.name.up).slots[t.name.idx].(*namespace); !ok {
			failf("cannot assign attribute on non-namespace object")
		}
	}
	for _, it := range t.items {
		r.checkNamespaces(it)
	}
}

func (r *run) assign(t target, v value) {
	switch {
	case t.tuple:
		it := r.iterate(v)
		for i := range t.items {
			item, ok := it.next(r)
			if !ok {
				failf("not enough values to unpack (expected %d, got %d)", len(t.items), i)
			}
			r.assign(t.items[i], item)
		}
		if _, more := it.next(r); more {
			failf("too many values to unpack (expected %d)", len(t.items))
		}
	case t.attr != "":
		ns := r.at(t.name.up).slots[t.name.idx].(*namespace)
		ns.set(r, t.attr, v)
	default:
		r.at(t.name.up).slots[t.name.idx] = v
	}
}

func (ns *namespace) set(r *run, name string, v value) {
	if name != "" && name[0] == '_' {
		failf("a namespace cannot hold the attribute '%s': names that start with an underscore are unsafe", name)
	}
	ns.attrs.set(r, name, v)
}

// captured runs body in scope and gives what it wrote to use, unless a loop control left it.
func (r *run) captured(sc *scope, body []stmt, use func(text string)) signal {
	r.enterScope(sc)
	s, sig := r.capture(func() signal { return r.execAll(body) })
	if sig == sigNext {
		use(s)
	}
	r.leaveScope(sc)
	return sig
}

// filtered applies the filters of a block, innermost first, to its text.
func (r *run) filtered(e expr, text string) value {
	f := e.(*filterExpr)
	var in value = text
	if f.in != nil {
		in = r.filtered(f.in, text)
	}
	if f.fn == nil {
		failf("no filter named '%s' found", f.name)
	}
	return f.fn(r, in, r.args(&f.args))
}

func (s *setBlock) exec(r *run) signal {
	r.line = s.line
	return r.captured(s.scope, s.body, func(text string) {
		var v value = text
		if s.filter != nil {
			v = r.filtered(s.filter, text)
		}
		r.checkNamespaces(s.target)
		r.assign(s.target, v)
	})
}

func (s *filterBlock) exec(r *run) signal {
	r.line = s.line
	return r.captured(s.scope, s.body, func(text string) { r.write(r.text(r.filtered(s.filter, text))) })
}

func (s *withStmt) exec(r *run) signal {
	r.line = s.line
	r.enterScope(s.scope)
	for i, t := range s.targets {
		r.assign(t, r.eval(s.vals[i]))
	}
	sig := r.execAll(s.body)
	r.leaveScope(s.scope)
	return sig
}

func (s *loopControl) exec(*run) signal { return s.sig }

func (s *macroStmt) exec(r *run) signal {
	r.at(s.target.up).slots[s.target.idx] = &macro{def: s.def, env: r.frame}
	return sigNext
}

func (s *callBlock) exec(r *run) signal {
	r.line = s.line
	caller := &macro{def: s.def, env: r.frame}
	if s.call == nil {
		r.write(r.text(r.callMacro(caller, args{})))
		return sigNext
	}
	r.write(r.text(r.callExpr(s.call, caller)))
	return sigNext
}

func (m *macro) attribute(name string) (value, bool) {
	switch name {
	case "name":
		if m.def.name == "" {
			return nil, true
		}
		return m.def.name, true
	case "arguments":
		t := &tuple{}
		for _, p := range m.def.params {
			t.items = append(t.items, p.name)
		}
		return t, true
	case "catch_kwargs":
		return m.def.kwargs != nil, true
	case "catch_varargs":
		return m.def.varargs != nil, true
	case "caller":
		return m.def.caller != nil, true
	}
	return nil, false
}

// callMacro binds the arguments as jinja2's Macro does and returns what the body writes.
func (r *run) callMacro(m *macro, a args) value {
	r.enter()
	def := m.def
	f := &frame{slots: make([]value, def.slots), outer: m.env}
	outer, line := r.frame, r.line
	r.frame = f
	r.enterScope(def.scope)
	for i, p := range def.params {
		f.slots[p.idx] = absent{}
		if i < len(a.pos) {
			f.slots[p.idx] = a.pos[i]
		} else if v, ok := a.take(p.name); ok {
			f.slots[p.idx] = v
		}
	}
	r.bindRest(m, f, a)
	for i, p := range def.params {
		if !isAbsent(f.slots[p.idx]) {
			continue
		}
		if d := i - (len(def.params) - len(def.defaults)); d >= 0 {
			f.slots[p.idx] = r.eval(def.defaults[d])
		} else {
			f.slots[p.idx] = undefinedBecause("parameter '" + p.name + "' was not provided")
		}
	}
	s, _ := r.capture(func() signal { return r.execAll(def.body) })
	r.frame, r.line = outer, line
	r.leave()
	return s
}

// take removes a keyword argument.
func (a *args) take(name string) (value, bool) {
	for i, k := range a.kw {
		if k.name == name {
			a.kw = append(append([]kwarg(nil), a.kw[:i]...), a.kw[i+1:]...)
			return k.val, true
		}
	}
	return nil, false
}

// bindRest binds caller, kwargs and varargs, and refuses arguments nobody takes.
func (r *run) bindRest(m *macro, f *frame, a args) {
	def := m.def
	if def.caller != nil {
		v, ok := a.take("caller")
		if !ok || v == nil {
			v = undefinedBecause("No caller defined")
		}
		f.slots[def.caller.idx] = v
	}
	if def.kwargs != nil {
		d := newDict(len(a.kw))
		for _, k := range a.kw {
			d.set(r, k.name, k.val)
		}
		f.slots[def.kwargs.idx] = d
	} else if len(a.kw) > 0 {
		failf("macro '%s' takes no keyword argument '%s'", def.name, a.kw[0].name)
	}
	rest := a.pos[min(len(a.pos), len(def.params)):]
	if def.varargs != nil {
		f.slots[def.varargs.idx] = &tuple{items: rest}
	} else if len(rest) > 0 {
		failf("macro '%s' takes not more than %d argument(s)", def.name, len(def.params))
	}
}
