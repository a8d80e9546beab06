package grammar

import (
	"slices"
	"strings"
)

// kind is what a variant is about.
type kind uint8

const (
	kNull kind = iota
	kBool
	kNumber
	kText
	kArray
	kObject
	kLiteral // one value
	kinds    = kLiteral
)

// conj is schemas that a value must fit all, sorted by id. None: any value.
type conj []*tree

// and is the schemas of both.
func (c conj) and(d conj) conj {
	out := append(slices.Clone(c), d...)
	slices.SortFunc(out, func(a, b *tree) int { return a.id - b.id })
	return slices.Compact(out)
}

// variant is values of one kind, and what they must fulfil. A schema is some variants: a value fits it if it fits one of them.
type variant struct {
	kind kind
	lit  *tree

	num numbers

	least, most int // characters, items; most < 0: any
	patterns    []pattern
	firsts      []conj // of the first items
	rest        conj   // of the others
	restTold    bool   // the schema says what others are, or that there may be some
	unique      *tree  // the keyword uniqueItems

	props     []prop
	required  []string
	names     conj // of all keys
	other     conj // of members that are not in props
	otherTold bool
	keyed     *keyed
	clash     *tree   // a keyword patternProperties that is not enforced, since others are about the same members
	counts    []*tree // the keywords minProperties and maxProperties
}

// prop is a named property.
type prop struct {
	key   string
	value conj
}

// keyed is what members must fit whose keys have a pattern. If that is told together with names or other members, clash is where.
type keyed struct {
	pattern pattern
	value   conj
}

// plainObject says that nothing is said about members of some keys only.
func (v *variant) plainObject() bool {
	return v.keyed == nil && !v.otherTold && len(v.props) == 0 && len(v.required) == 0
}

// pattern is a regular expression that a text must fit, or find within itself (search).
type pattern struct {
	text   string
	search bool
	at     *tree
}

// anyVariants is any value.
func anyVariants() []variant {
	vs := make([]variant, kinds)
	for k := range vs {
		vs[k] = variant{kind: kind(k), most: -1}
	}
	return vs
}

// value is what a property of the name must fit.
func (v *variant) value(key string) conj {
	for i := range v.props {
		if v.props[i].key == key {
			return v.props[i].value
		}
	}
	return v.other
}

// item is what the i-th item must fit.
func (v *variant) item(i int) conj {
	if i < len(v.firsts) {
		return v.firsts[i]
	}
	return v.rest
}

// fewer is the lower of two upper limits, of which those below zero are none.
func fewer(a, b int) int {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// meet is the values that are in both variants, of which neither is a literal; false if the kinds differ.
func (v variant) meet(w variant, step func(int)) (variant, bool) {
	if v.kind != w.kind {
		return v, false
	}
	switch {
	case v.clash != nil:
	case w.clash != nil:
		v.clash = w.clash
	case v.keyed != nil && !w.plainObject():
		v.clash = v.keyed.pattern.at
	case w.keyed != nil && !v.plainObject():
		v.clash = w.keyed.pattern.at
	case w.keyed != nil:
		v.keyed, v.other, v.otherTold = w.keyed, w.other, w.otherTold
	}
	v.num = v.num.meet(w.num)
	v.least, v.most = max(v.least, w.least), fewer(v.most, w.most)
	v.patterns = append(slices.Clip(v.patterns), w.patterns...)
	if v.unique == nil {
		v.unique = w.unique
	}
	if n := max(len(v.firsts), len(w.firsts)); n > 0 {
		firsts := make([]conj, n)
		for i := range firsts {
			firsts[i] = v.item(i).and(w.item(i))
		}
		v.firsts = firsts
	}
	v.rest, v.restTold = v.rest.and(w.rest), v.restTold || w.restTold
	if len(w.props) > 0 || len(v.props) > 0 {
		var props []prop
		step((len(v.props) + 1) * (len(w.props) + 1))
		for _, p := range v.props {
			props = append(props, prop{p.key, p.value.and(w.value(p.key))})
		}
		for _, p := range w.props {
			if !slices.ContainsFunc(v.props, func(q prop) bool { return q.key == p.key }) {
				props = append(props, prop{p.key, p.value.and(v.other)})
			}
		}
		v.props = props
	}
	v.required = append(slices.Clip(v.required), w.required...)
	step(len(v.required))
	v.names, v.other = v.names.and(w.names), v.other.and(w.other)
	v.otherTold = v.otherTold || w.otherTold
	v.counts = append(slices.Clip(v.counts), w.counts...)
	return v, true
}

// kindOf is the kind of a value.
func kindOf(t *tree) kind {
	switch t.kind {
	case 'n':
		return kNull
	case 't', 'f':
		return kBool
	case '0':
		return kNumber
	case '"':
		return kText
	case '[':
		return kArray
	}
	return kObject
}

// equal says whether two values are the same for JSON Schema: numbers by value, objects without order.
func equal(a, b *tree) bool {
	if a.kind != b.kind || len(a.list) != len(b.list) {
		return false
	}
	switch a.kind {
	case '0':
		x, ok := parseDecimal(a.text)
		y, ok2 := parseDecimal(b.text)
		return ok && ok2 && x == y
	case '"':
		return a.text == b.text
	case '[':
		for i := range a.list {
			if !equal(a.list[i], b.list[i]) {
				return false
			}
		}
	case '{':
		for i, k := range a.keys {
			if other := b.get(k); other == nil || !equal(a.list[i], other) {
				return false
			}
		}
	}
	return true
}

// text is the canonical JSON of a literal.
func (t *tree) json() string {
	var out strings.Builder
	t.write(&out)
	return out.String()
}
