package grammar

// annotations are the keywords that say nothing about which values fit, and those that hold schemas that others refer to. discriminator is
// what OpenAPI adds to oneOf and anyOf to find the one that fits; it allows and forbids nothing.
var annotations = map[string]bool{
	"$schema": true, "$id": true, "$comment": true, "$defs": true, "definitions": true, "title": true, "description": true, "default": true,
	"examples": true, "deprecated": true, "readOnly": true, "writeOnly": true, "discriminator": true,
}

// kindKeyword puts what a keyword says about values of one kind to the variants, which are one of each kind. Keywords about schemas as wholes
// are left to others, annotations to nobody; all others are refused.
func (s *schemas) kindKeyword(vs []variant, t *tree, keyword string, v *tree) {
	switch keyword {
	case "type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf":
	case "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf":
		s.numberKeyword(&vs[kNumber], t, keyword, v)
	case "format":
		s.format(vs, t, v)
	case "minLength", "maxLength", "pattern":
		s.textKeyword(&vs[kText], t, keyword, v)
	case "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems":
		s.arrayKeyword(&vs[kArray], t, keyword, v)
	case "properties", "required", "additionalProperties", "propertyNames", "patternProperties", "minProperties", "maxProperties":
		s.objectKeyword(&vs[kObject], t, keyword, v)
	default:
		if !annotations[keyword] {
			s.fail(keyword, t)
		}
	}
}

func (s *schemas) numberKeyword(n *variant, t *tree, keyword string, v *tree) {
	if keyword == "multipleOf" {
		if r := s.multiple(t, v); r != nil {
			n.num = n.num.meet(numbers{multiple: r})
		}
		return
	}
	limit := &bound{decimal: s.decimal(t, keyword, v)}
	limit.open = keyword == "exclusiveMinimum" || keyword == "exclusiveMaximum"
	if keyword == "minimum" || keyword == "exclusiveMinimum" {
		n.num.lo = tighter(n.num.lo, limit, false)
	} else {
		n.num.hi = tighter(n.num.hi, limit, true)
	}
}

func (s *schemas) textKeyword(x *variant, t *tree, keyword string, v *tree) {
	switch keyword {
	case "minLength":
		x.least = s.least(t, keyword, v)
	case "maxLength":
		x.most = min(s.count(t, keyword, v), maxCount)
	case "pattern":
		if v.kind != '"' {
			s.malformed(v, "is no regular expression")
		}
		x.patterns = append(x.patterns, pattern{v.text, true, t})
	}
}

// format puts what a format says to the variants of texts, or of numbers. A format that is not known is refused, although JSON Schema would
// have it pass: who names it wants it kept.
func (s *schemas) format(vs []variant, t, v *tree) {
	text, ok := formats[v.text]
	ends, okNumber := numberFormats[v.text]
	switch {
	case v.kind != '"':
		s.malformed(v, "is no format")
	case ok && text == "":
	case ok:
		vs[kText].patterns = append(vs[kText].patterns, pattern{text, false, t})
	case okNumber:
		for i, end := range ends {
			if d, ok := parseDecimal(end); ok && end != "" {
				b := &bound{decimal: d}
				vs[kNumber].num = vs[kNumber].num.meet([]numbers{{lo: b}, {hi: b}}[i])
			}
		}
	case t.get("pattern") == nil: // what the pattern says is enforced, and then it does not matter how it is called
		s.fail("format "+v.text, t)
	}
}

func (s *schemas) arrayKeyword(a *variant, t *tree, keyword string, v *tree) {
	switch {
	case keyword == "minItems":
		a.least = s.least(t, keyword, v)
	case keyword == "maxItems":
		a.most = min(s.count(t, keyword, v), maxCount)
	case keyword == "uniqueItems":
		if v.kind == 't' {
			a.unique = t
		} else if v.kind != 'f' {
			s.malformed(v, "is neither true nor false")
		}
	case keyword == "prefixItems", keyword == "items" && v.kind == '[': // the latter until 2019-09
		if v.kind != '[' {
			s.malformed(v, "is no list of schemas")
		}
		if keyword == "items" && t.get("prefixItems") != nil {
			s.malformed(v, "is no schema")
		}
		for _, sub := range v.list {
			a.firsts = append(a.firsts, conj{sub})
		}
	case keyword == "items":
		a.rest, a.restTold = conj{v}, true
	case keyword == "additionalItems":
		if items := t.get("items"); items != nil && items.kind == '[' { // without it the keyword says nothing
			a.rest, a.restTold = conj{v}, true
		}
	}
}

func (s *schemas) objectKeyword(o *variant, t *tree, keyword string, v *tree) {
	switch keyword {
	case "properties":
		if v.kind != '{' {
			s.malformed(v, "is no object of schemas")
		}
		for i, k := range v.keys {
			o.props = append(o.props, prop{k, conj{v.list[i]}})
		}
	case "required":
		if v.kind != '[' {
			s.malformed(v, "is no list of names")
		}
		for _, name := range v.list {
			if name.kind != '"' {
				s.malformed(name, "is no name")
			}
			o.required = append(o.required, name.text)
		}
	case "additionalProperties":
		o.other, o.otherTold = conj{v}, true
	case "propertyNames":
		o.names = conj{v}
	case "patternProperties":
		if v.kind != '{' {
			s.malformed(v, "is no object of schemas")
		}
		for i, k := range v.keys {
			if o.keyed != nil || t.get("properties") != nil || t.get("required") != nil {
				s.fail(keyword, t)
			}
			o.keyed = &keyed{pattern{k, true, t}, conj{v.list[i]}}
		}
	case "minProperties", "maxProperties":
		s.count(t, keyword, v)
		o.counts = append(o.counts, v)
	}
}
