package jinja

// frame holds the variables of one call of a function.
type frame struct {
	slots []value
	outer *frame // of the function around, as it was when this function was defined
}

func (r *run) at(up int) *frame {
	f := r.frame
	for ; up > 0; up-- {
		f = f.outer
	}
	return f
}

// eval evaluates e within the limits.
func (r *run) eval(e expr) value {
	r.enter()
	r.step(1)
	v := e.eval(r)
	r.depth--
	return v
}

func (r *run) evalAll(list []expr) []value {
	r.items(len(list))
	out := make([]value, len(list))
	for i, e := range list {
		out[i] = r.eval(e)
	}
	return out
}

func (e constExpr) eval(*run) value { return e.v }

func (e *nameExpr) eval(r *run) value {
	v := r.at(e.up).slots[e.idx]
	if isAbsent(v) {
		return unset(e.name)
	}
	return v
}

func isAbsent(v value) bool {
	_, ok := v.(absent)
	return ok
}

// lookup finds a variable that no scope of the template owns.
func (r *run) lookup(name string) value {
	if v, ok := r.vars[name]; ok {
		return v
	}
	if g := findGlobal(name); g != nil {
		return g
	}
	return absent{}
}

func (e *tupleExpr) eval(r *run) value { return &tuple{items: r.evalAll(e.items)} }

func (e *listExpr) eval(r *run) value { return &list{r.evalAll(e.items)} }

func (e *dictExpr) eval(r *run) value {
	d := newDict(len(e.keys))
	for i := range e.keys {
		k := r.eval(e.keys[i])
		d.set(r, k, r.eval(e.vals[i]))
	}
	return d
}

func (e *attrExpr) eval(r *run) value { return r.attribute(r.eval(e.obj), e.name) }

func (e *itemExpr) eval(r *run) value {
	obj := r.eval(e.obj)
	return r.item(obj, r.eval(e.key))
}

func (e *sliceExpr) eval(r *run) value {
	if e.obj == nil {
		failf("a slice cannot be one of several subscripts")
	}
	obj := r.eval(e.obj)
	part := func(e expr) value {
		if e == nil {
			return nil
		}
		return r.eval(e)
	}
	start, stop := part(e.start), part(e.stop)
	return r.slice(obj, start, stop, part(e.step))
}

func (e *notExpr) eval(r *run) value { return !r.truth(r.eval(e.x)) }

func (e *unaryExpr) eval(r *run) value { return r.unary(e.op, r.eval(e.x)) }

func (e *binaryExpr) eval(r *run) value {
	l := r.eval(e.l)
	return r.binary(e.op, l, r.eval(e.r))
}

func (e *andExpr) eval(r *run) value {
	if l := r.eval(e.l); !r.truth(l) {
		return l
	}
	return r.eval(e.r)
}

func (e *orExpr) eval(r *run) value {
	if l := r.eval(e.l); r.truth(l) {
		return l
	}
	return r.eval(e.r)
}

func (e *concatExpr) eval(r *run) value {
	p := &printer{r: r}
	for _, part := range e.parts {
		p.str(r.text(r.eval(part)))
	}
	return string(p.b)
}

func (e *compareExpr) eval(r *run) value {
	l := r.eval(e.first)
	for _, c := range e.ops {
		right := r.eval(c.x)
		if !r.compare(c.op, l, right) {
			return false
		}
		l = right
	}
	return true
}

func (r *run) compare(op string, a, b value) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	return r.order(op, a, b)
}

func (e *condExpr) eval(r *run) value {
	if r.truth(r.eval(e.test)) {
		return r.eval(e.then)
	}
	if e.other == nil {
		return undefinedBecause("the inline if was false and has no else")
	}
	return r.eval(e.other)
}

func (e *filterExpr) eval(r *run) value {
	if e.fn == nil {
		failf("no filter named '%s' found", e.name)
	}
	in := r.eval(e.in)
	return e.fn(r, in, r.args(&e.args))
}

func (e *testExpr) eval(r *run) value {
	if e.fn == nil {
		failf("no test named '%s' found", e.name)
	}
	in := r.eval(e.in)
	return e.fn(r, in, r.args(&e.args))
}

func (e *callExpr) eval(r *run) value { return r.callExpr(e, nil) }

// callExpr evaluates a call; caller, where not nil, is passed as the keyword argument of that name.
func (r *run) callExpr(e *callExpr, caller value) value {
	if a, ok := e.fn.(*attrExpr); ok {
		obj := r.eval(a.obj)
		if _, special := obj.(*tuple); !special {
			if m := findMethod(obj, a.name); m != nil {
				return m(r, obj, r.callArgs(e, caller))
			}
		}
		return r.call(r.attribute(obj, a.name), r.callArgs(e, caller))
	}
	fn := r.eval(e.fn)
	return r.call(fn, r.callArgs(e, caller))
}

func (r *run) callArgs(e *callExpr, caller value) args {
	a := r.args(&e.args)
	if caller != nil {
		a.kw = append(a.kw, kwarg{"caller", caller})
	}
	return a
}

// call calls a value.
func (r *run) call(fn value, a args) value {
	switch fn := fn.(type) {
	case *builtin:
		return fn.fn(r, a)
	case *macro:
		return r.callMacro(fn, a)
	case *undefined:
		failf("%s", fn.msg())
	case *loopState:
		failf("the loop is not recursive")
	}
	failf("'%s' object is not callable", typeName(fn))
	return nil
}
