package jinja

import (
	"slices"
	"strings"
)

// filterFunc applies a filter to v.
type filterFunc func(r *run, v value, a args) value

// findFilter returns the filter of a name, or nil. What jinja2 has and this does not: random, pprint, urlize,
// urlencode, xmlattr, striptags, wordwrap and filesizeformat.
func findFilter(name string) filterFunc {
	if f := findSequenceFilter(name); f != nil {
		return f
	}
	switch name {
	case "abs":
		return filterAbs
	case "attr":
		return filterAttr
	case "capitalize", "lower", "title", "upper":
		return caseFilter(name)
	case "center":
		return filterCenter
	case "d", "default":
		return filterDefault
	case "e", "escape":
		return filterEscape
	case "forceescape":
		return func(r *run, v value, a args) value {
			a.bind("forceescape", 0)
			return markup(r.htmlEscape(r.text(v)))
		}
	case "float":
		return filterFloat
	case "format":
		return filterFormat
	case "indent":
		return filterIndent
	case "int":
		return filterInt
	case "replace":
		return filterReplace
	case "round":
		return filterRound
	case "safe":
		return func(r *run, v value, a args) value {
			a.bind("safe", 0)
			return markup(r.text(v))
		}
	case "string":
		return func(r *run, v value, a args) value {
			a.bind("string", 0)
			return r.soft(v)
		}
	case "tojson":
		return filterJSON
	case "trim":
		return filterTrim
	case "truncate":
		return filterTruncate
	case "wordcount":
		return filterWordcount
	}
	return nil
}

// soft is v where it is a string, else str(v).
func (r *run) soft(v value) value {
	if _, ok := asString(v); ok {
		return v
	}
	return r.text(v)
}

// like is s with the type of v: markup stays markup.
func like(v value, s string) value {
	if _, ok := v.(markup); ok {
		return markup(s)
	}
	return s
}

func filterAbs(r *run, v value, a args) value {
	a.bind("abs", 0)
	r.defined(v)
	if f, ok := v.(float64); ok {
		if f < 0 {
			return -f
		}
		return f + 0
	}
	n, ok := asInt(v)
	if !ok {
		failf("bad operand type for abs(): '%s'", typeName(v))
	}
	if n < 0 {
		return r.unary("-", n)
	}
	return n
}

// filterAttr is getattr(v, name) without the fall back to v[name].
func filterAttr(r *run, v value, a args) value {
	b := a.bind("attr", 1, "name")
	r.defined(v)
	name := r.str(b[0])
	if m, ok := r.member(v, name); ok {
		return m
	}
	return missing(v, name)
}

func caseFilter(name string) filterFunc {
	return func(r *run, v value, a args) value {
		a.bind(name, 0)
		s := r.text(v)
		r.grow(len(s))
		switch name {
		case "capitalize":
			return like(v, capitalize(s))
		case "lower":
			return like(v, lower(s))
		case "upper":
			return like(v, upper(s))
		}
		return titleWords(s)
	}
}

// titleWords raises the first letter of each word and lowers the rest, where words are parted by white space, "-"
// and opening brackets.
func titleWords(s string) string {
	parts := func(c rune) bool { return isSpace(c) || strings.ContainsRune("-({[<", c) }
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, parts)
		if n < 0 {
			n = len(s)
		}
		if n > 0 {
			first := offset(s, 1)
			b.WriteString(upper(s[:first]))
			b.WriteString(lower(s[first:n]))
		}
		s = s[n:]
		k := len(s) - len(strings.TrimLeftFunc(s, parts))
		b.WriteString(s[:k])
		s = s[k:]
	}
	return b.String()
}

func filterCenter(r *run, v value, a args) value {
	b := a.bind("center", 0, "width")
	return like(v, r.center(r.text(v), r.integer(b[0], 80), " "))
}

func filterDefault(r *run, v value, a args) value {
	b := a.bind("default", 0, "default_value", "boolean")
	_, undef := v.(*undefined)
	if undef || (r.flag(b[1], false) && !r.truth(v)) {
		return or(b[0], "")
	}
	return v
}

func filterEscape(r *run, v value, a args) value {
	a.bind("escape", 0)
	if m, ok := v.(markup); ok {
		return m
	}
	return markup(r.htmlEscape(r.text(v)))
}

func filterFormat(r *run, v value, a args) value {
	if len(a.pos) > 0 && len(a.kw) > 0 {
		failf("can't handle positional and keyword arguments at the same time")
	}
	var operand value = &tuple{items: a.pos}
	if len(a.kw) > 0 {
		d := newDict(len(a.kw))
		for _, k := range a.kw {
			d.set(r, k.name, k.val)
		}
		operand = d
	}
	return r.binary("%", r.soft(v), operand)
}

func filterIndent(r *run, v value, a args) value {
	b := a.bind("indent", 0, "width", "first", "blank")
	r.defined(v)
	s, ok := asString(v)
	if !ok {
		failf("indent needs a string, not '%s'", typeName(v))
	}
	pad, ok := asString(or(b[0], int64(4)))
	if !ok {
		p, _ := r.repeat(" ", r.integer(b[0], 4))
		pad = p.(string)
	}
	lines := splitLines(s+"\n", false)
	r.items(len(lines))
	blank := r.flag(b[2], false)
	p := &printer{r: r}
	for i, line := range lines {
		if i > 0 {
			p.str("\n")
		}
		if (i == 0 && r.flag(b[1], false)) || (i > 0 && (blank || line != "")) {
			p.str(pad)
		}
		p.str(line)
	}
	return like(v, string(p.b))
}

func filterReplace(r *run, v value, a args) value {
	b := a.bind("replace", 2, "old", "new", "count")
	n := int64(-1)
	if b[2] != nil {
		n = r.integer(b[2], -1)
	}
	return r.replace(r.text(v), r.text(b[0]), r.text(b[1]), n)
}

func filterTrim(r *run, v value, a args) value {
	b := a.bind("trim", 0, "chars")
	return like(v, r.strip(r.text(v), or(b[0], nil), true, true))
}

func filterTruncate(r *run, v value, a args) value {
	b := a.bind("truncate", 0, "length", "killwords", "end", "leeway")
	length, end, leeway := r.integer(b[0], 255), "...", int64(5)
	if !isAbsent(b[2]) {
		end = r.str(b[2])
	}
	if b[3] != nil {
		leeway = r.integer(b[3], leeway)
	}
	cut := length - int64(r.length(end))
	if cut < 0 || leeway < 0 {
		failf("truncate: the length must hold the end, and the leeway must not be negative")
	}
	if n, ok := r.size(v); ok && n <= length+leeway {
		return v
	}
	s := r.str(v)
	head := s[:offset(s, int(cut))]
	if !r.flag(b[1], false) {
		if i := strings.LastIndexByte(head, ' '); i >= 0 {
			head = head[:i]
		}
	}
	r.grow(len(head) + len(end))
	return like(v, head+end)
}

func filterWordcount(r *run, v value, a args) value {
	a.bind("wordcount", 0)
	s := r.text(v)
	r.step(len(s) / 4)
	n, in := int64(0), false
	for _, c := range s {
		w := c == '_' || isAlnum(c)
		if w && !in {
			n++
		}
		in = w
	}
	return n
}

// keyed is an element to be sorted and its key.
type keyed struct{ key, val value }

// sorted is sorted(items, key=key, reverse=reverse).
func (r *run) sorted(items []value, key func(value) value, reverse bool) []value {
	r.items(len(items))
	ks := make([]keyed, len(items))
	for i, it := range items {
		ks[i] = keyed{key(it), it}
	}
	slices.SortStableFunc(ks, func(a, b keyed) int {
		if reverse {
			a, b = b, a
		}
		switch {
		case r.order("<", a.key, b.key):
			return -1
		case r.order("<", b.key, a.key):
			return 1
		}
		return 0
	})
	out := make([]value, len(items))
	for i := range ks {
		out[i] = ks[i].val
	}
	return out
}
