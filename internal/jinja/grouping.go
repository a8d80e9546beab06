package jinja

func filterBatch(r *run, v value, a args) value {
	b := a.bind("batch", 1, "linecount", "fill_with")
	n, isInt := asInt(b[0])
	fill := or(b[1], nil)
	var it iterator
	var held []value
	return &generator{name: "do_batch", pull: func() (value, bool) {
		if it == nil {
			it = r.iterate(v)
		}
		row := held
		held = nil
		for {
			item, ok := it.next(r)
			if !ok {
				break
			}
			if isInt && int64(len(row)) == n {
				held = []value{item}
				return &list{row}, true
			}
			row = append(row, item)
		}
		if len(row) == 0 {
			return nil, false
		}
		if fill != nil && int64(len(row)) < r.integer(b[0], 0) {
			more, _ := r.repeat(&list{[]value{fill}}, n-int64(len(row)))
			row = r.concat(row, more.(*list).items)
		}
		return &list{row}, true
	}}
}

func filterSlice(r *run, v value, a args) value {
	b := a.bind("slice", 1, "slices", "fill_with")
	fill := or(b[1], nil)
	var items []value
	var each, extra, at, from int64
	n := int64(-1)
	return &generator{name: "sync_do_slice", pull: func() (value, bool) {
		if n < 0 {
			items = r.collect(v)
			n = r.integer(b[0], 0)
			if n == 0 {
				failf("integer division or modulo by zero")
			}
			n = max(n, 0)
			if n > 0 {
				each, extra = int64(len(items))/n, int64(len(items))%n
			}
		}
		if at >= n {
			return nil, false
		}
		to := from + each
		if at < extra {
			to++
		}
		r.items(int(to - from))
		row := append([]value(nil), items[from:to]...)
		if fill != nil && at >= extra {
			row = append(row, fill)
		}
		at, from = at+1, to
		return &list{row}, true
	}}
}

func filterGroupby(r *run, v value, a args) value {
	b := a.bind("groupby", 1, "attribute", "default", "case_sensitive")
	exactCase := r.flag(b[2], false)
	g, plain := r.getter(b[0], !exactCase), r.getter(b[0], false)
	g.instead, plain.instead = b[1], b[1]
	key := func(item value) value { return g.get(r, item) }
	out := &list{}
	var group *list
	var last value
	for _, item := range r.sorted(r.collect(v), key, false) {
		k := key(item)
		if group == nil || !r.equal(last, k) {
			group, last = &list{}, k
			name := k
			if !exactCase {
				name = plain.get(r, item)
			}
			out.items = append(out.items, &tuple{items: []value{name, group}, names: []string{"grouper", "list"}})
		}
		group.items = append(group.items, item)
	}
	return out
}
