package jinja

import (
	"strconv"
	"strings"
)

// findSequenceFilter returns the filter of a name over sequences and mappings, or nil.
func findSequenceFilter(name string) filterFunc {
	switch name {
	case "batch":
		return filterBatch
	case "count", "length":
		return filterLength
	case "dictsort":
		return filterDictsort
	case "first":
		return filterFirst
	case "groupby":
		return filterGroupby
	case "items":
		return filterItems
	case "join":
		return filterJoin
	case "last":
		return filterLast
	case "list":
		return func(r *run, v value, a args) value {
			a.bind("list", 0)
			return &list{r.collect(v)}
		}
	case "map":
		return filterMap
	case "max", "min":
		return extremeFilter(name)
	case "reject", "rejectattr", "select", "selectattr":
		return selectFilter(name)
	case "reverse":
		return filterReverse
	case "slice":
		return filterSlice
	case "sort":
		return filterSort
	case "sum":
		return filterSum
	case "unique":
		return filterUnique
	}
	return nil
}

func filterLength(r *run, v value, a args) value {
	a.bind("length", 0)
	n, ok := r.size(v)
	if !ok {
		failf("object of type '%s' has no len()", typeName(v))
	}
	return n
}

func filterFirst(r *run, v value, a args) value {
	a.bind("first", 0)
	if item, ok := r.iterate(v).next(r); ok {
		return item
	}
	return undefinedBecause("No first item, sequence was empty.")
}

func filterLast(r *run, v value, a args) value {
	a.bind("last", 0)
	if l, ok := v.(*list); ok && len(l.items) > 0 {
		return l.items[len(l.items)-1]
	}
	g, ok := r.backwards(v)
	if !ok {
		failf("'%s' object is not reversible", typeName(v))
	}
	if item, ok := g.next(r); ok {
		return item
	}
	return undefinedBecause("No last item, sequence was empty.")
}

func filterReverse(r *run, v value, a args) value {
	a.bind("reverse", 0)
	if s, ok := asString(v); ok {
		return like(v, r.sliceText(s, nil, nil, int64(-1)))
	}
	if g, ok := r.backwards(v); ok {
		return g
	}
	items := r.collect(v)
	for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
		items[i], items[j] = items[j], items[i]
	}
	return &list{items}
}

// getter reads an attribute path of each element: names and numbers joined by dots. A nil path reads the element.
type getter struct {
	parts   []value
	lower   bool  // fold strings to lower case
	instead value // absent, or what replaces an undefined part
}

func (r *run) getter(attribute value, fold bool) getter {
	g := getter{lower: fold, instead: absent{}}
	if attribute == nil {
		return g
	}
	s, ok := asString(attribute)
	if !ok {
		g.parts = []value{attribute}
		return g
	}
	for _, part := range strings.Split(s, ".") {
		r.step(1)
		if n, err := strconv.ParseInt(part, 10, 64); err == nil && isInteger(part) && part[0] != '-' {
			g.parts = append(g.parts, n)
		} else {
			g.parts = append(g.parts, part)
		}
	}
	return g
}

func (g getter) get(r *run, item value) value {
	for _, part := range g.parts {
		item = r.item(item, part)
		if _, undef := item.(*undefined); undef && !isAbsent(g.instead) && g.instead != nil {
			item = g.instead
		}
	}
	if g.lower {
		if s, ok := asString(item); ok {
			r.grow(len(s))
			return lower(s)
		}
	}
	return item
}

// getters reads several paths, separated by commas, as one list.
func (r *run) getters(attribute value, fold bool) func(value) value {
	var all []getter
	if s, ok := asString(attribute); ok {
		for _, path := range strings.Split(s, ",") {
			all = append(all, r.getter(path, fold))
		}
	} else {
		all = []getter{r.getter(attribute, fold)}
	}
	return func(item value) value {
		out := &list{make([]value, len(all))}
		for i, g := range all {
			out.items[i] = g.get(r, item)
		}
		return out
	}
}

func filterJoin(r *run, v value, a args) value {
	b := a.bind("join", 0, "d", "attribute")
	g := r.getter(or(b[1], nil), false)
	sep := r.text(or(b[0], ""))
	p := &printer{r: r}
	it := r.iterate(v)
	for i := 0; ; i++ {
		item, ok := it.next(r)
		if !ok {
			return string(p.b)
		}
		if i > 0 {
			p.str(sep)
		}
		p.str(r.text(g.get(r, item)))
	}
}

func filterDictsort(r *run, v value, a args) value {
	b := a.bind("dictsort", 0, "case_sensitive", "by", "reverse")
	by := r.text(or(b[1], "key"))
	if by != "key" && by != "value" {
		failf(`dictsort: you can only sort by either "key" or "value"`)
	}
	d, ok := v.(*dict)
	if !ok {
		r.defined(v)
		failf("'%s' object has no items", typeName(v))
	}
	g := getter{lower: !r.flag(b[0], false), instead: absent{}}
	at := 0
	if by == "value" {
		at = 1
	}
	pairs := (&dictView{d, "items"}).all(r)
	return &list{r.sorted(pairs, func(p value) value { return g.get(r, p.(*tuple).items[at]) }, r.flag(b[2], false))}
}

func filterSort(r *run, v value, a args) value {
	b := a.bind("sort", 0, "reverse", "case_sensitive", "attribute")
	key := r.getters(or(b[2], nil), !r.flag(b[1], false))
	return &list{r.sorted(r.collect(v), key, r.flag(b[0], false))}
}

func filterUnique(r *run, v value, a args) value {
	b := a.bind("unique", 0, "case_sensitive", "attribute")
	g := r.getter(or(b[1], nil), !r.flag(b[0], false))
	seen := newDict(0)
	var it iterator
	return &generator{name: "sync_do_unique", pull: func() (value, bool) {
		if it == nil {
			it = r.iterate(v)
		}
		for {
			item, ok := it.next(r)
			if !ok {
				return nil, false
			}
			key := g.get(r, item)
			if seen.find(r, key) < 0 {
				seen.set(r, key, nil)
				return item, true
			}
		}
	}}
}

func extremeFilter(name string) filterFunc {
	op := map[string]string{"min": "<", "max": ">"}[name]
	return func(r *run, v value, a args) value {
		b := a.bind(name, 0, "case_sensitive", "attribute")
		g := r.getter(or(b[1], nil), !r.flag(b[0], false))
		it := r.iterate(v)
		best, ok := it.next(r)
		if !ok {
			return undefinedBecause("No aggregated item, sequence was empty.")
		}
		bestKey := g.get(r, best)
		for {
			item, ok := it.next(r)
			if !ok {
				return best
			}
			if key := g.get(r, item); r.order(op, key, bestKey) {
				best, bestKey = item, key
			}
		}
	}
}

func filterSum(r *run, v value, a args) value {
	b := a.bind("sum", 0, "attribute", "start")
	g := r.getter(or(b[0], nil), false)
	total := or(b[1], int64(0))
	if _, ok := asString(total); ok {
		failf("sum() can't sum strings")
	}
	it := r.iterate(v)
	for {
		item, ok := it.next(r)
		if !ok {
			return total
		}
		total = r.binary("+", total, g.get(r, item))
	}
}

func filterItems(r *run, v value, a args) value {
	a.bind("items", 0)
	var it iterator
	return &generator{name: "do_items", pull: func() (value, bool) {
		if it == nil {
			switch d := v.(type) {
			case *undefined:
				return nil, false
			case *dict:
				it = &pairIterator{v: &dictView{d, "items"}}
			default:
				failf("Can only get item pairs from a mapping.")
			}
		}
		return it.next(r)
	}}
}

// lazily is a generator over what each makes of the elements of v; it touches v when it is first read, and takes a
// false v for an empty one.
func (r *run) lazily(name string, v value, start func() func(item value) (value, bool)) value {
	var it iterator
	var each func(value) (value, bool)
	return &generator{name: name, pull: func() (value, bool) {
		if it == nil {
			if !r.truth(v) {
				return nil, false
			}
			each = start()
			it = r.iterate(v)
		}
		for {
			item, ok := it.next(r)
			if !ok {
				return nil, false
			}
			if out, keep := each(item); keep {
				return out, true
			}
		}
	}}
}

func filterMap(r *run, v value, a args) value {
	return r.lazily("sync_do_map", v, func() func(value) (value, bool) {
		attribute, ok := a.keyword("attribute")
		if len(a.pos) > 0 || !ok {
			if len(a.pos) == 0 {
				failf("map requires a filter argument")
			}
			f := findFilter(r.text(a.pos[0]))
			if f == nil {
				failf("no filter named '%s'", r.text(a.pos[0]))
			}
			rest := args{pos: a.pos[1:], kw: a.kw}
			return func(item value) (value, bool) { return f(r, item, rest), true }
		}
		g := r.getter(attribute, false)
		for _, k := range a.kw {
			switch k.name {
			case "attribute":
			case "default":
				g.instead = k.val
			default:
				failf("unexpected keyword argument '%s'", k.name)
			}
		}
		return func(item value) (value, bool) { return g.get(r, item), true }
	})
}

func selectFilter(name string) filterFunc {
	keep := strings.HasPrefix(name, "select")
	byAttribute := strings.HasSuffix(name, "attr")
	return func(r *run, v value, a args) value {
		return r.lazily("select_or_reject", v, func() func(value) (value, bool) {
			g, pos := getter{instead: absent{}}, a.pos
			if byAttribute {
				if len(pos) == 0 {
					failf("missing parameter for attribute name")
				}
				g, pos = r.getter(pos[0], false), pos[1:]
			}
			if len(pos) == 0 {
				return func(item value) (value, bool) { return item, r.truth(g.get(r, item)) == keep }
			}
			t := findTest(r.text(pos[0]))
			if t == nil {
				failf("no test named '%s'", r.text(pos[0]))
			}
			rest := args{pos: pos[1:], kw: a.kw}
			return func(item value) (value, bool) { return item, r.truth(t(r, g.get(r, item), rest)) == keep }
		})
	}
}
