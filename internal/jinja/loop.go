package jinja

// loopState is the variable loop: jinja2's LoopContext, which reads its iterable one element ahead at most, except
// to learn a length.
type loopState struct {
	it      iterator
	size    int64 // -1: not known yet
	index0  int64
	ahead   value // absent: not read yet
	ended   bool  // ahead was tried and there is none
	current value
	before  value
	changed *tuple
}

func newLoopState(r *run, in value, it iterator) *loopState {
	l := &loopState{it: it, size: -1, index0: -1, ahead: absent{}}
	if n, ok := r.size(in); ok {
		l.size = n
	}
	return l
}

func (l *loopState) next(r *run) (value, bool) {
	v, ok := l.peek(r)
	if !ok {
		return nil, false
	}
	l.ahead = absent{}
	l.index0++
	l.before, l.current = l.current, v
	return v, true
}

func (l *loopState) peek(r *run) (value, bool) {
	if isAbsent(l.ahead) && !l.ended {
		v, ok := l.it.next(r)
		if !ok {
			l.ended = true
			return nil, false
		}
		l.ahead = v
	}
	return l.ahead, !l.ended
}

// length reads the rest of an iterable that has no length.
func (l *loopState) length(r *run) int64 {
	if l.size >= 0 {
		return l.size
	}
	var rest []value
	for {
		v, ok := l.it.next(r)
		if !ok {
			break
		}
		if len(rest) >= maxItems {
			r.items(maxItems + 1)
		}
		rest = append(rest, v)
	}
	l.it = &itemIterator{items: rest}
	l.size = int64(len(rest)) + l.index0 + 1
	if !isAbsent(l.ahead) {
		l.size++
	}
	return l.size
}

func (l *loopState) attribute(r *run, name string) (value, bool) {
	switch name {
	case "index":
		return l.index0 + 1, true
	case "index0":
		return l.index0, true
	case "first":
		return l.index0 == 0, true
	case "last":
		_, more := l.peek(r)
		return !more, true
	case "length":
		return l.length(r), true
	case "revindex":
		return l.length(r) - l.index0, true
	case "revindex0":
		return l.length(r) - l.index0 - 1, true
	case "depth":
		return int64(1), true
	case "depth0":
		return int64(0), true
	case "previtem":
		if l.index0 == 0 {
			return undefinedBecause("there is no previous item"), true
		}
		return l.before, true
	case "nextitem":
		if v, ok := l.peek(r); ok {
			return v, true
		}
		return undefinedBecause("there is no next item"), true
	case "cycle":
		return &builtin{name: name, fn: l.cycle}, true
	case "changed":
		return &builtin{name: name, fn: l.hasChanged}, true
	}
	return nil, false
}

func (l *loopState) cycle(_ *run, a args) value {
	if len(a.pos) == 0 || len(a.kw) > 0 {
		failf("no items for cycling given")
	}
	return a.pos[int(l.index0)%len(a.pos)]
}

func (l *loopState) hasChanged(r *run, a args) value {
	now := &tuple{items: a.pos}
	if l.changed != nil && r.equal(l.changed, now) {
		return false
	}
	l.changed = now
	return true
}

// loopItems iterates over a loop variable: jinja2 yields pairs of the element and the loop.
type loopItems struct{ l *loopState }

func (it loopItems) next(r *run) (value, bool) {
	v, ok := it.l.next(r)
	if !ok {
		return nil, false
	}
	return &tuple{items: []value{v, it.l}}, true
}

// filteredLoop yields the elements that pass the test of a loop.
type filteredLoop struct {
	s       *forStmt
	it      iterator
	started bool
}

func (f *filteredLoop) next(r *run) (value, bool) {
	if !f.started {
		f.started = true
		r.enterScope(f.s.testScope)
	}
	for {
		v, ok := f.it.next(r)
		if !ok {
			return nil, false
		}
		r.assign(f.s.testTarget, v)
		if r.truth(r.eval(f.s.test)) {
			return f.repack(r, f.s.testTarget, v), true
		}
	}
}

// repack is the element as unpacked for the test, since an iterator can be unpacked only once.
func (f *filteredLoop) repack(r *run, t target, v value) value {
	if !t.tuple {
		return v
	}
	out := &tuple{}
	for _, it := range t.items {
		if it.tuple {
			out.items = append(out.items, f.repack(r, it, nil))
		} else {
			out.items = append(out.items, r.at(it.name.up).slots[it.name.idx])
		}
	}
	return out
}

func (s *forStmt) exec(r *run) signal {
	r.line = s.line
	in := r.eval(s.in)
	it := r.iterate(in)
	if s.test != nil {
		it = &filteredLoop{s: s, it: it}
		in = nil
	}
	if s.loop != nil {
		l := newLoopState(r, in, it)
		it = l
		r.frame.slots[s.loop.idx] = l
	}
	finished := false // one round ran to its end: the else part is for loops of which this cannot be said
	for {
		v, ok := it.next(r)
		if !ok {
			break
		}
		r.assign(s.loopTarget, v)
		r.enterScope(s.bodyScope)
		switch r.execAll(s.body) {
		case sigBreak:
			ok = false
		case sigNext:
			finished = true
		}
		if !ok {
			break
		}
	}
	r.leaveScope(s.bodyScope)
	if finished || len(s.other) == 0 {
		return sigNext
	}
	r.enterScope(s.otherScope)
	sig := r.execAll(s.other)
	r.leaveScope(s.otherScope)
	return sig
}
