package jinja

import "unicode/utf8"

// iterator yields the elements of a value one by one.
type iterator interface {
	next(r *run) (value, bool)
}

type (
	itemIterator struct {
		items []value
		at    int
	}
	runeIterator struct{ rest string }
	spanIterator struct{ at, step, n int64 }
	pairIterator struct {
		v  *dictView
		at int
	}
)

func (it *itemIterator) next(r *run) (value, bool) {
	if it.at >= len(it.items) {
		return nil, false
	}
	r.step(1)
	it.at++
	return it.items[it.at-1], true
}

func (it *runeIterator) next(r *run) (value, bool) {
	if it.rest == "" {
		return nil, false
	}
	r.step(1)
	_, n := utf8.DecodeRuneInString(it.rest)
	c := it.rest[:n]
	it.rest = it.rest[n:]
	return c, true
}

func (it *spanIterator) next(r *run) (value, bool) {
	if it.n == 0 {
		return nil, false
	}
	r.step(1)
	v := it.at
	it.at += it.step
	it.n--
	return v, true
}

func (it *pairIterator) next(r *run) (value, bool) {
	if it.at >= len(it.v.d.keys) {
		return nil, false
	}
	r.step(1)
	it.at++
	return it.v.item(it.at - 1), true
}

func (v *dictView) item(i int) value {
	switch v.part {
	case "keys":
		return v.d.keys[i]
	case "values":
		return v.d.vals[i]
	}
	return &tuple{items: []value{v.d.keys[i], v.d.vals[i]}}
}

func (v *dictView) all(r *run) []value {
	r.items(len(v.d.keys))
	out := make([]value, len(v.d.keys))
	for i := range out {
		out[i] = v.item(i)
	}
	return out
}

func (g *generator) next(r *run) (value, bool) {
	r.step(1)
	r.enter()
	v, ok := g.pull()
	r.leave()
	if !ok {
		g.pull = func() (value, bool) { return nil, false }
	}
	return v, ok
}

// tryIterate returns an iterator over v, or false where v is not iterable.
func tryIterate(v value) (iterator, bool) {
	switch v := v.(type) {
	case *list:
		return &itemIterator{items: v.items}, true
	case *tuple:
		return &itemIterator{items: v.items}, true
	case *dict:
		return &itemIterator{items: v.keys}, true
	case string:
		return &runeIterator{v}, true
	case markup:
		return &runeIterator{string(v)}, true
	case *span:
		return &spanIterator{v.start, v.step, v.n}, true
	case *dictView:
		return &pairIterator{v: v}, true
	case *generator:
		return v, true
	case *undefined:
		return &itemIterator{}, true
	case *loopState:
		return loopItems{v}, true
	}
	return nil, false
}

func (r *run) iterate(v value) iterator {
	it, ok := tryIterate(v)
	if !ok {
		failf("'%s' object is not iterable", typeName(v))
	}
	return it
}

// collect is list(v).
func (r *run) collect(v value) []value {
	switch v := v.(type) {
	case *list:
		r.items(len(v.items))
		return append([]value(nil), v.items...)
	case *tuple:
		r.items(len(v.items))
		return append([]value(nil), v.items...)
	}
	it := r.iterate(v)
	var out []value
	for {
		item, ok := it.next(r)
		if !ok {
			return out
		}
		if len(out) >= maxItems {
			r.items(maxItems + 1)
		}
		out = append(out, item)
	}
}

// size is len(v), or false where v has none.
func (r *run) size(v value) (int64, bool) {
	switch v := v.(type) {
	case string:
		return int64(r.length(v)), true
	case markup:
		return int64(r.length(string(v))), true
	case *list:
		return int64(len(v.items)), true
	case *tuple:
		return int64(len(v.items)), true
	case *dict:
		return int64(len(v.keys)), true
	case *dictView:
		return int64(len(v.d.keys)), true
	case *span:
		return v.n, true
	case *undefined:
		return 0, true
	case *loopState:
		return v.length(r), true
	}
	return 0, false
}

// backwards is reversed(v), or false where v has no order to reverse.
func (r *run) backwards(v value) (*generator, bool) {
	var items []value
	switch v.(type) {
	case string, markup, *span, *list, *tuple, *dict, *dictView, *undefined:
		items = r.collect(v)
	default:
		return nil, false
	}
	at := len(items)
	return &generator{name: "reversed", pull: func() (value, bool) {
		if at == 0 {
			return nil, false
		}
		at--
		return items[at], true
	}}, true
}
