package grammar

import (
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"unicode/utf8"
)

// schemas makes parts of the schemas of one document.
type schemas struct {
	b       *builder
	root    *tree
	open    []*tree // schemas whose variants are being found
	queue   []conj  // whose parts are promised and not made yet
	known   map[string]int32
	dfas    map[pattern]dfa
	already map[*tree][]variant
}

// schema is the part of the values that fit a JSON Schema, written in one of the ways that docs of Compile tell.
func (b *builder) schema(text []byte, next int32) (int32, error) {
	root, err := parse(text)
	if err != nil {
		return end, err
	}
	s := &schemas{b: b, root: root, known: map[string]int32{}, dfas: map[pattern]dfa{}, already: map[*tree][]variant{}}
	start := s.part(conj{root})
	for len(s.queue) > 0 && b.err == nil {
		c := s.queue[0]
		s.queue = s.queue[1:]
		made := s.make(c)
		if b.err == nil {
			b.nodes[s.known[c.key()]].to = []int32{made}
		}
	}
	return b.call(start, next), b.err
}

// key identifies what a value must fit.
func (c conj) key() string {
	k := make([]byte, 0, 4*len(c))
	for _, t := range c {
		k = append(strconv.AppendInt(k, int64(t.id), 36), ' ')
	}
	return string(k)
}

// part is the part of values that fit c. It is made later, so that schemas may contain themselves.
func (s *schemas) part(c conj) int32 {
	key := c.key()
	at, ok := s.known[key]
	if !ok {
		at = s.b.add(node{op: opSplit})
		s.known[key] = at
		s.queue = append(s.queue, c)
	}
	return at
}

// fail refuses a use of a keyword, at the schema that has it.
func (s *schemas) fail(keyword string, at *tree) { s.b.fail(&Unsupported{keyword, at.path()}) }

// malformed refuses what is no schema.
func (s *schemas) malformed(at *tree, what string) {
	s.b.fail(fmt.Errorf("%w: %q %s", ErrMalformed, "#"+at.path(), what))
}

// all is the variants of the values that fit every schema of c.
func (s *schemas) all(c conj) []variant {
	vs := anyVariants()
	for _, t := range c {
		vs = s.cross(vs, s.variants(t))
	}
	return vs
}

// cross is the variants of the values that fit a variant of each list.
func (s *schemas) cross(vs, ws []variant) (out []variant) {
	s.b.step(len(vs) * len(ws))
	for i := range vs {
		for j := range ws {
			if s.b.err != nil {
				return nil
			}
			v, w := vs[i], ws[j]
			var ok bool
			switch {
			case v.kind == kLiteral && w.kind == kLiteral:
				ok = equal(v.lit, w.lit)
			case v.kind == kLiteral:
				ok = s.holds(v.lit, &w)
			case w.kind == kLiteral:
				v, ok = w, s.holds(w.lit, &v)
			default:
				v, ok = v.meet(w, s.b.step)
			}
			if !ok {
				continue
			}
			if out = append(out, v); len(out) > maxVariants {
				s.b.fail(&TooLarge{"alternatives of a schema", maxVariants})
			}
		}
	}
	return out
}

// variants is the variants of one schema.
func (s *schemas) variants(t *tree) []variant {
	if vs, ok := s.already[t]; ok || s.b.err != nil {
		return vs
	}
	if s.b.step(1); slices.Contains(s.open, t) || len(s.open) > maxSchemaDepth {
		s.malformed(t, "refers to itself without end")
		return nil
	}
	s.open = append(s.open, t)
	defer func() { s.open = s.open[:len(s.open)-1] }()
	var vs []variant
	switch t.kind {
	case 't':
		vs = anyVariants()
	case 'f':
	case '{':
		vs = s.keywords(t)
	default:
		s.malformed(t, "is no schema")
	}
	s.already[t] = vs
	return vs
}

// keywords is the variants of a schema that is an object.
func (s *schemas) keywords(t *tree) []variant {
	vs := anyVariants()
	for i, k := range t.keys {
		s.kindKeyword(vs, t, k, t.list[i])
	}
	for i, k := range t.keys {
		if s.b.err != nil {
			return nil
		}
		switch v := t.list[i]; k {
		case "type":
			vs = s.types(vs, v)
		case "enum", "const":
			vs = s.cross(vs, s.literals(t, k, v))
		case "$ref":
			if to := s.resolve(t, v); to != nil {
				vs = s.cross(vs, s.variants(to))
			}
		case "allOf":
			for _, sub := range s.list(v) {
				vs = s.cross(vs, s.variants(sub))
			}
		case "anyOf":
			var any []variant
			for _, sub := range s.list(v) {
				any = append(any, s.variants(sub)...)
			}
			vs = s.cross(vs, any)
		}
	}
	if v := t.get("oneOf"); v != nil && s.b.err == nil {
		vs = s.oneOf(t, vs, v)
	}
	return vs
}

// list is the schemas of a keyword that has some.
func (s *schemas) list(v *tree) []*tree {
	if v.kind != '[' || len(v.list) == 0 {
		s.malformed(v, "is no list of schemas")
		return nil
	}
	return v.list
}

// oneOf is what fits exactly one of the schemas: the same as any, if no two can both be fitted, and refused else.
func (s *schemas) oneOf(t *tree, vs []variant, v *tree) []variant {
	var out []variant
	var sides [][]variant
	for _, sub := range s.list(v) {
		side := s.cross(vs, s.variants(sub))
		for _, before := range sides {
			if !s.apart(before, side, 0) {
				s.fail("oneOf whose schemas a value could fit more than one of", t)
				return nil
			}
		}
		sides, out = append(sides, side), append(out, side...)
	}
	return out
}

// types keeps the variants of the types that are named.
func (s *schemas) types(vs []variant, v *tree) (out []variant) {
	names := []*tree{v}
	if v.kind == '[' {
		names = v.list
	}
	allowed := [kinds]bool{}
	integer, number := false, false
	for _, n := range names {
		switch at := slices.Index([]string{"null", "boolean", "number", "string", "array", "object", "integer"}, n.text); {
		case n.kind != '"' || at < 0:
			s.malformed(n, "is no type")
		case n.text == "integer":
			allowed[kNumber], integer = true, true
		default:
			allowed[at] = true
			number = number || n.text == "number"
		}
	}
	for _, v := range vs {
		switch {
		case v.kind == kLiteral:
			k := kindOf(v.lit)
			if !allowed[k] {
				continue
			}
			if d, ok := parseDecimal(v.lit.text); k == kNumber && integer && !number && (!ok || d.part != "") {
				continue
			}
		case !allowed[v.kind]:
			continue
		case v.kind == kNumber && integer && !number:
			v.num.integer = true
		}
		out = append(out, v)
	}
	return out
}

// literals is the values of enum and const.
func (s *schemas) literals(t *tree, keyword string, v *tree) (out []variant) {
	values := []*tree{v}
	if keyword == "enum" {
		if v.kind != '[' {
			s.malformed(v, "is no list of values")
		}
		values = v.list
	}
	for _, value := range values {
		if value.kind == '0' {
			if _, ok := parseDecimal(value.text); !ok {
				s.fail(keyword+" with a number of that size", t)
			}
		}
		out = append(out, variant{kind: kLiteral, lit: value, most: -1})
	}
	s.b.step(len(out))
	return out
}

// resolve is the schema that a reference names.
func (s *schemas) resolve(t, v *tree) *tree {
	if v.kind != '"' || v.text == "" || v.text[0] != '#' {
		s.fail("$ref to another document", t)
		return nil
	}
	pointer, err := url.PathUnescape(v.text[1:])
	if err != nil || !utf8.ValidString(pointer) || pointer != "" && pointer[0] != '/' {
		s.fail("$ref to a name", t)
		return nil
	}
	s.b.step(len(pointer) + len(s.root.list))
	to := s.root.find(pointer)
	if to == nil {
		s.malformed(v, "refers to nothing")
	}
	return to
}

// decimal is the number of a keyword.
func (s *schemas) decimal(t *tree, keyword string, v *tree) decimal {
	if v.kind != '0' {
		s.malformed(v, "is no number")
		return decimal{}
	}
	d, ok := parseDecimal(v.text)
	if !ok {
		s.fail(keyword+" of that size", t)
	}
	return d
}

// least is the number of a keyword that says how many there must be.
func (s *schemas) least(t *tree, keyword string, v *tree) int {
	n := s.count(t, keyword, v)
	if n > maxCount {
		s.b.fail(&TooLarge{"repetitions", maxCount})
	}
	return n
}

// count is the number of a keyword that counts; if it is more than maxCount, one more than that.
func (s *schemas) count(t *tree, keyword string, v *tree) int {
	d := s.decimal(t, keyword, v)
	if d.minus || d.part != "" {
		s.malformed(v, "is no count")
	}
	n, err := strconv.Atoi(d.whole)
	if err != nil || n > maxCount {
		n = maxCount + 1
	}
	return n
}

// multiple adds a multiple to numbers.
func (s *schemas) multiple(t *tree, v *tree) *big.Rat {
	d := s.decimal(t, "multipleOf", v)
	if d.minus || d.whole == "" || d.whole == "0" && d.part == "" {
		s.malformed(v, "is no positive number")
		return nil
	}
	return d.rat()
}
