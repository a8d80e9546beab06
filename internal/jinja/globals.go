package jinja

import "math"

// findGlobal returns a global of every template, or nil.
func findGlobal(name string) value {
	var fn func(*run, args) value
	switch name {
	case "range":
		fn = globalRange
	case "dict":
		fn = func(r *run, a args) value { return makeDict(r, "dict", a) }
	case "namespace":
		fn = func(r *run, a args) value {
			ns := &namespace{newDict(0)}
			d := makeDict(r, "namespace", a)
			for i, k := range d.keys {
				s, ok := asString(k)
				if !ok {
					ns.attrs.set(r, k, d.vals[i])
					continue
				}
				ns.set(r, s, d.vals[i])
			}
			return ns
		}
	case "raise_exception":
		fn = func(r *run, a args) value {
			v := a.bind("raise_exception", 1, "message")
			fail(&RaisedError{Msg: r.text(v[0])})
			return nil
		}
	case "strftime_now":
		fn = func(r *run, a args) value {
			v := a.bind("strftime_now", 1, "format")
			if r.lim.Now.IsZero() {
				failf("strftime_now needs a time")
			}
			return r.strftime(r.str(v[0]), r.lim.Now)
		}
	case "cycler", "joiner", "lipsum":
		fn = func(*run, args) value {
			failf("%s is not supported in chat templates", name)
			return nil
		}
	default:
		return nil
	}
	return &builtin{name: name, fn: fn}
}

func globalRange(r *run, a args) value {
	v := a.positional("range", 1, 3)
	s := &span{step: r.integer(v[2], 1)}
	if s.stop = r.integer(v[0], 0); !isAbsent(v[1]) {
		s.start, s.stop = s.stop, r.integer(v[1], 0)
	}
	if s.step == 0 {
		failf("range() arg 3 must not be zero")
	}
	lo, hi, step := s.start, s.stop, uint64(s.step)
	if s.step < 0 {
		lo, hi, step = hi, lo, -step
	}
	if lo < hi {
		n := (uint64(hi)-uint64(lo)-1)/step + 1
		if n > maxItems {
			fail(&LimitError{What: "elements of a range", Limit: maxItems})
		}
		s.n = int64(n)
	}
	if s.n > 0 && (s.step > math.MaxInt64/2/s.n || s.step < math.MinInt64/2/s.n) {
		overflow()
	}
	return s
}

// makeDict is dict(mapping or pairs, **keywords).
func makeDict(r *run, what string, a args) *dict {
	d := newDict(len(a.kw))
	if len(a.pos) > 1 {
		failf("%s expected at most 1 argument, got %d", what, len(a.pos))
	}
	if len(a.pos) == 1 {
		if src, ok := a.pos[0].(*dict); ok {
			for i, k := range src.keys {
				d.set(r, k, src.vals[i])
			}
		} else {
			it := r.iterate(a.pos[0])
			for {
				pair, ok := it.next(r)
				if !ok {
					break
				}
				kv := r.collect(pair)
				if len(kv) != 2 {
					failf("dictionary update sequence element has length %d; 2 is required", len(kv))
				}
				d.set(r, kv[0], kv[1])
			}
		}
	}
	for _, k := range a.kw {
		d.set(r, k.name, k.val)
	}
	return d
}
