package jinja

import (
	"fmt"
	"strings"
)

// missing is the undefined value that obj.name or obj[name] yields.
func missing(obj value, name value) value {
	return &undefined{msg: func() string {
		if s, ok := name.(string); ok {
			if strings.HasPrefix(s, "_") || mutates(obj, s) {
				return fmt.Sprintf("access to attribute '%s' of '%s' object is unsafe", s, typeName(obj))
			}
			return fmt.Sprintf("'%s object' has no attribute '%s'", typeName(obj), s)
		}
		return fmt.Sprintf("%s object has no such element", typeName(obj))
	}}
}

func unset(name string) value {
	return &undefined{msg: func() string { return "'" + name + "' is undefined" }}
}

func undefinedBecause(msg string) value {
	return &undefined{msg: func() string { return msg }}
}

// mutates says whether name is a method that would change a list or a mapping.
func mutates(obj value, name string) bool {
	switch obj.(type) {
	case *list:
		switch name {
		case "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove":
			return true
		}
	case *dict:
		switch name {
		case "clear", "pop", "popitem", "setdefault", "update":
			return true
		}
	}
	return false
}

// attribute is obj.name: an attribute or method before an item.
func (r *run) attribute(obj value, name string) value {
	r.defined(obj)
	if v, ok := r.member(obj, name); ok {
		return v
	}
	if mutates(obj, name) {
		return missing(obj, name)
	}
	if d, ok := obj.(*dict); ok {
		if v, ok := d.get(r, name); ok {
			return v
		}
	}
	return missing(obj, name)
}

// member is what Python's getattr finds on obj, as far as a template may see it.
func (r *run) member(obj value, name string) (value, bool) {
	switch o := obj.(type) {
	case *namespace:
		return o.attrs.get(r, name)
	case *loopState:
		return o.attribute(r, name)
	case *macro:
		return o.attribute(name)
	case *tuple:
		for i, n := range o.names {
			if n == name {
				return o.items[i], true
			}
		}
	case *span:
		switch name {
		case "start":
			return o.start, true
		case "stop":
			return o.stop, true
		case "step":
			return o.step, true
		}
	}
	if m := findMethod(obj, name); m != nil {
		return &builtin{name: name, fn: func(r *run, a args) value { return m(r, obj, a) }}, true
	}
	return nil, false
}

// item is obj[key]: an item before an attribute.
func (r *run) item(obj, key value) value {
	r.defined(obj)
	switch o := obj.(type) {
	case *dict:
		if !r.hashable(key) {
			return missing(obj, key)
		}
		if v, ok := o.get(r, key); ok {
			return v
		}
	case *list:
		if v, ok := r.element(o.items, key); ok {
			return v
		}
	case *tuple:
		if v, ok := r.element(o.items, key); ok {
			return v
		}
	case string:
		if v, ok := r.character(o, key); ok {
			return v
		}
	case markup:
		if v, ok := r.character(string(o), key); ok {
			return markup(v.(string))
		}
	case *span:
		if i, ok := asInt(key); ok {
			if i < 0 {
				i += o.n
			}
			if i >= 0 && i < o.n {
				return o.start + i*o.step
			}
		}
	}
	if name, ok := asString(key); ok {
		if v, ok := r.member(obj, name); ok {
			return v
		}
		return missing(obj, name)
	}
	return missing(obj, key)
}

func (r *run) element(items []value, key value) (value, bool) {
	i, ok := asInt(key)
	if !ok {
		return nil, false
	}
	if i < 0 {
		i += int64(len(items))
	}
	if i < 0 || i >= int64(len(items)) {
		return nil, false
	}
	return items[i], true
}

func (r *run) character(s string, key value) (value, bool) {
	i, ok := asInt(key)
	if !ok {
		return nil, false
	}
	n := int64(r.length(s))
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return nil, false
	}
	if n == int64(len(s)) {
		return s[i : i+1], true
	}
	at := offset(s, int(i))
	return s[at : offset(s[at:], 1)+at], true
}

// slice is obj[start:stop:step].
func (r *run) slice(obj, start, stop, step value) value {
	r.defined(obj)
	switch o := obj.(type) {
	case *list:
		return &list{r.sliceItems(o.items, start, stop, step)}
	case *tuple:
		return &tuple{items: r.sliceItems(o.items, start, stop, step)}
	case string:
		return r.sliceText(o, start, stop, step)
	case markup:
		return markup(r.sliceText(string(o), start, stop, step))
	case *span:
		first, st, n := bounds(o.n, start, stop, step)
		s := &span{start: o.start + first*o.step, step: o.step * st, n: n}
		s.stop = s.start + s.step*n
		return s
	}
	if _, ok := obj.(*dict); ok {
		failf("unhashable type: 'slice'")
	}
	failf("'%s' object is not subscriptable by a slice", typeName(obj))
	return nil
}

// bounds resolves a slice of a sequence of n elements: where it starts, its step, and how many elements it takes.
func bounds(n int64, start, stop, step value) (first, st, count int64) {
	index := func(v value, absentValue int64) int64 {
		if v == nil {
			return absentValue
		}
		i, ok := asInt(v)
		if !ok {
			if u, ok := v.(*undefined); ok {
				failf("%s", u.msg())
			}
			failf("slice indices must be integers or None")
		}
		if i < 0 {
			i = max(i+n, -1)
		}
		return i
	}
	st = index(step, 1)
	if k, ok := asInt(step); ok {
		st = k
	}
	if st == 0 {
		failf("slice step cannot be zero")
	}
	st = min(max(st, -n-1), n+1)
	if st > 0 {
		first = min(max(index(start, 0), 0), n)
		last := min(max(index(stop, n), 0), n)
		return first, st, max(0, (last-first+st-1)/st)
	}
	first = min(index(start, n-1), n-1)
	last := min(index(stop, -1), n-1)
	return first, st, max(0, (first-last-st-1)/-st)
}

func (r *run) sliceItems(items []value, start, stop, step value) []value {
	first, st, n := bounds(int64(len(items)), start, stop, step)
	r.items(int(n))
	if st == 1 {
		return items[first : first+n : first+n]
	}
	out := make([]value, n)
	for i := range out {
		out[i] = items[first+int64(i)*st]
	}
	return out
}

func (r *run) sliceText(s string, start, stop, step value) string {
	n := r.length(s)
	first, st, count := bounds(int64(n), start, stop, step)
	if count == 0 {
		return ""
	}
	if st == 1 {
		if n == len(s) {
			return s[first : first+count]
		}
		from := offset(s, int(first))
		return s[from : from+offset(s[from:], int(count))]
	}
	r.grow(len(s))
	r.step(n)
	runes := []rune(s)
	out := make([]rune, count)
	for i := range out {
		out[i] = runes[first+int64(i)*st]
	}
	return string(out)
}
