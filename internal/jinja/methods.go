package jinja

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method is a method of a built-in type; self is the value it was looked up on.
type method func(r *run, self value, a args) value

// findMethod returns the method of that name that a template may call on v, or nil.
func findMethod(v value, name string) method {
	switch v.(type) {
	case string:
		return findTextMethod(name)
	case markup:
		if m := findTextMethod(name); m != nil {
			return markupMethod(name, m)
		}
	case *dict:
		return findDictMethod(name)
	case *list, *tuple, *span:
		return findSequenceMethod(v, name)
	case float64:
		if name == "is_integer" {
			return func(_ *run, self value, a args) value {
				a.positional(name, 0, 0)
				f := self.(float64)
				return f == math.Trunc(f) && !math.IsInf(f, 0)
			}
		}
	}
	return nil
}

// markupMethod keeps the result of a method of markup marked safe, and escapes what format takes in.
func markupMethod(name string, m method) method {
	return func(r *run, self value, a args) value {
		switch name {
		case "format", "join", "replace":
			for i, p := range a.pos {
				if s, ok := p.(string); ok {
					a.pos[i] = r.htmlEscape(s)
				}
			}
		}
		return marked(m(r, string(self.(markup)), a))
	}
}

func marked(v value) value {
	switch v := v.(type) {
	case string:
		return markup(v)
	case *list:
		out := &list{make([]value, len(v.items))}
		for i, it := range v.items {
			out.items[i] = marked(it)
		}
		return out
	}
	return v
}

func findDictMethod(name string) method {
	switch name {
	case "items", "keys", "values":
		return func(_ *run, self value, a args) value {
			a.positional(name, 0, 0)
			return &dictView{self.(*dict), name}
		}
	case "get":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 1, 2)
			if v, ok := self.(*dict).get(r, b[0]); ok {
				return v
			}
			return or(b[1], nil)
		}
	case "copy":
		return func(r *run, self value, a args) value {
			a.positional(name, 0, 0)
			d := self.(*dict)
			out := newDict(len(d.keys))
			for i, k := range d.keys {
				out.set(r, k, d.vals[i])
			}
			return out
		}
	}
	return nil
}

func findSequenceMethod(v value, name string) method {
	switch name {
	case "copy":
		if _, ok := v.(*list); ok {
			return func(r *run, self value, a args) value {
				a.positional(name, 0, 0)
				return &list{r.collect(self)}
			}
		}
	case "count":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 1, 1)
			n, it := int64(0), r.iterate(self)
			for {
				v, ok := it.next(r)
				if !ok {
					return n
				}
				if r.identicalOrEqual(v, b[0]) {
					n++
				}
			}
		}
	case "index":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 1, 3)
			n, _ := r.size(self)
			start, _, count := bounds(n, or(b[1], nil), or(b[2], nil), nil)
			it := r.iterate(self)
			for i := int64(0); i < start+count; i++ {
				v, _ := it.next(r)
				if i >= start && r.identicalOrEqual(v, b[0]) {
					return i
				}
			}
			failf("the value is not in the %s", typeName(self))
			return nil
		}
	}
	return nil
}

// findTextMethod returns the methods of strings that look, cut and join; the others are in findCaseMethod.
func findTextMethod(name string) method {
	switch name {
	case "strip", "lstrip", "rstrip":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 0, 1)
			return r.strip(self.(string), or(b[0], nil), name != "rstrip", name != "lstrip")
		}
	case "split", "rsplit":
		return func(r *run, self value, a args) value {
			b := a.bind(name, 0, "sep", "maxsplit")
			return r.split(self.(string), or(b[0], nil), r.integer(b[1], -1), name == "rsplit")
		}
	case "splitlines":
		return func(r *run, self value, a args) value {
			b := a.bind(name, 0, "keepends")
			lines := splitLines(self.(string), r.flag(b[0], false))
			r.items(len(lines))
			return texts(lines)
		}
	case "startswith", "endswith":
		return func(r *run, self value, a args) value { return r.affix(name, self.(string), a) }
	case "removeprefix":
		return func(r *run, self value, a args) value {
			return strings.TrimPrefix(self.(string), r.str(a.positional(name, 1, 1)[0]))
		}
	case "removesuffix":
		return func(r *run, self value, a args) value {
			return strings.TrimSuffix(self.(string), r.str(a.positional(name, 1, 1)[0]))
		}
	case "replace":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 2, 3)
			return r.replace(self.(string), r.str(b[0]), r.str(b[1]), r.integer(b[2], -1))
		}
	case "join":
		return textJoin
	case "find", "rfind", "index", "rindex", "count":
		return func(r *run, self value, a args) value { return r.search(name, self.(string), a) }
	case "partition", "rpartition":
		return func(r *run, self value, a args) value {
			return r.partition(name, self.(string), r.str(a.positional(name, 1, 1)[0]))
		}
	case "format":
		return func(r *run, self value, a args) value { return r.format(self.(string), a) }
	case "format_map":
		return func(r *run, self value, a args) value {
			d, ok := a.positional(name, 1, 1)[0].(*dict)
			if !ok {
				failf("format_map() needs a mapping")
			}
			return r.format(self.(string), r.args(&callArgs{dstar: constExpr{d}}))
		}
	case "encode":
		return func(*run, value, args) value {
			failf("bytes are not supported in chat templates")
			return nil
		}
	}
	return findCaseMethod(name)
}

func findCaseMethod(name string) method {
	change := map[string]func(string) string{
		"upper": upper, "lower": lower, "title": titleText, "capitalize": capitalize, "swapcase": swapCase,
		"casefold": casefold,
	}[name]
	if change != nil {
		return func(r *run, self value, a args) value {
			a.positional(name, 0, 0)
			r.grow(len(self.(string)))
			return change(self.(string))
		}
	}
	is := map[string]func(string) bool{
		"isupper": isUpper, "islower": isLower, "istitle": isTitle, "isascii": isASCII, "isidentifier": isIdentifier,
		"isspace":   func(s string) bool { return everyRune(s, isSpace) },
		"isalpha":   func(s string) bool { return everyRune(s, unicode.IsLetter) },
		"isalnum":   func(s string) bool { return everyRune(s, isAlnum) },
		"isdecimal": func(s string) bool { return everyRune(s, isDecimalRune) },
		"isdigit":   func(s string) bool { return everyRune(s, isDigitRune) },
		"isnumeric": func(s string) bool { return everyRune(s, isNumericRune) },
		"isprintable": func(s string) bool {
			return s == "" || everyRune(s, isPrintable)
		},
	}[name]
	if is != nil {
		return func(r *run, self value, a args) value {
			a.positional(name, 0, 0)
			r.scan(len(self.(string)))
			return is(self.(string))
		}
	}
	switch name {
	case "center", "ljust", "rjust":
		return func(r *run, self value, a args) value {
			b := a.positional(name, 1, 2)
			return r.justify(name, self.(string), r.integer(b[0], 0), r.str(or(b[1], " ")))
		}
	case "zfill":
		return func(r *run, self value, a args) value {
			s := self.(string)
			sign := ""
			n := r.integer(a.positional(name, 1, 1)[0], 0)
			if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
				sign, s = s[:1], s[1:]
				n--
			}
			return sign + r.justify("rjust", s, n, "0")
		}
	}
	return nil
}

func texts(parts []string) *list {
	out := &list{make([]value, len(parts))}
	for i, s := range parts {
		out.items[i] = s
	}
	return out
}

func textJoin(r *run, self value, a args) value {
	it := r.iterate(a.positional("join", 1, 1)[0])
	p := &printer{r: r}
	for i := 0; ; i++ {
		item, ok := it.next(r)
		if !ok {
			return string(p.b)
		}
		s, ok := asString(item)
		if !ok {
			failf("sequence item %d: expected str instance, %s found", i, typeName(item))
		}
		if i > 0 {
			p.str(self.(string))
		}
		p.str(s)
	}
}

// window resolves the optional start and end of a search to byte offsets; ok is false where the window is empty
// beyond the end.
func (r *run) window(s string, start, end value) (from, to int, ok bool) {
	if isAbsent(start) && isAbsent(end) {
		return 0, len(s), true
	}
	n := r.length(s)
	index := func(v value, otherwise int64) int64 {
		if isAbsent(v) || v == nil {
			return otherwise
		}
		i := r.integer(v, 0)
		if i < 0 {
			i = max(i+int64(n), 0)
		}
		return i
	}
	first := index(start, 0)
	last := min(index(end, int64(n)), int64(n))
	if first > last {
		return 0, 0, false
	}
	return offset(s, int(first)), offset(s, int(last)), true
}

func (r *run) affix(name, s string, a args) value {
	b := a.positional(name, 1, 3)
	r.defined(b[0])
	options := []value{b[0]}
	if t, ok := b[0].(*tuple); ok {
		options = t.items
	}
	from, to, ok := r.window(s, b[1], b[2])
	for _, o := range options {
		want, isStr := asString(o)
		if !isStr {
			failf("%s first arg must be str or a tuple of str, not %s", name, typeName(o))
		}
		if ok && (name == "startswith" && strings.HasPrefix(s[from:to], want) ||
			name == "endswith" && strings.HasSuffix(s[from:to], want)) {
			return true
		}
	}
	return false
}

func (r *run) search(name, s string, a args) value {
	b := a.positional(name, 1, 3)
	want := r.str(b[0])
	from, to, ok := r.window(s, b[1], b[2])
	r.scan(len(s))
	if name == "count" {
		if !ok {
			return int64(0)
		}
		return int64(strings.Count(s[from:to], want))
	}
	at := -1
	if ok && strings.HasPrefix(name, "r") {
		at = strings.LastIndex(s[from:to], want)
	} else if ok {
		at = strings.Index(s[from:to], want)
	}
	if at < 0 {
		if strings.HasSuffix(name, "index") {
			failf("substring not found")
		}
		return int64(-1)
	}
	return int64(utf8.RuneCountInString(s[:from+at]))
}

func (r *run) partition(name, s, sep string) value {
	if sep == "" {
		failf("empty separator")
	}
	r.scan(len(s))
	at, none := strings.Index(s, sep), []value{s, "", ""}
	if name == "rpartition" {
		at, none = strings.LastIndex(s, sep), []value{"", "", s}
	}
	if at < 0 {
		return &tuple{items: none}
	}
	return &tuple{items: []value{s[:at], sep, s[at+len(sep):]}}
}
