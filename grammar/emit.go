package grammar

import "slices"

// make is the part of the values that fit c.
func (s *schemas) make(c conj) int32 {
	if len(c) == 0 {
		return s.b.anyValue()
	}
	var ways []int32
	var words []string
	for _, v := range s.all(c) {
		switch v.kind {
		case kLiteral:
			words = append(words, v.lit.json())
		case kNull:
			words = append(words, "null")
		case kBool:
			words = append(words, "false", "true")
		case kNumber:
			at, ok := s.b.number(v.num)
			if !ok {
				s.fail("multipleOf of that size", c[0])
			}
			ways = append(ways, at)
		case kText:
			ways = append(ways, s.string(&v))
		case kArray:
			ways = append(ways, s.array(&v))
		case kObject:
			ways = append(ways, s.object(&v))
		}
	}
	if len(words) > 0 {
		ways = append(ways, s.b.words(words, end))
	}
	if len(ways) == 0 {
		return s.b.nothing()
	}
	return s.b.split(ways...)
}

// string is the part of the strings of a variant.
func (s *schemas) string(v *variant) int32 {
	if len(v.patterns) == 0 {
		return s.b.textOf(v.least, v.most)
	}
	return s.b.literal(`"`, s.b.emit(s.text(v), true, s.b.literal(`"`, end)))
}

// textOf is the part of strings of least to most characters.
func (b *builder) textOf(least, most int) int32 {
	if least == 0 && most < 0 {
		return b.anyText()
	}
	if most >= 0 && least > most {
		return b.nothing()
	}
	b.rule("character", func() int32 {
		b.char = b.bytes(append(b.characters(end), edge{'\\', '\\', b.escape(end)})...)
		return b.char
	})
	return b.literal(`"`, b.loop(b.char, least, most, b.literal(`"`, end)))
}

// array is the part of the arrays of a variant.
func (s *schemas) array(v *variant) int32 {
	least, most := v.least, v.most
	if most >= 0 && least > most {
		return s.b.nothing()
	}
	if v.unique != nil && (most < 0 || most > 1) {
		s.fail("uniqueItems", v.unique)
		return end
	}
	var firsts []int32
	for i, c := range v.firsts {
		if most >= 0 && i >= most {
			break
		}
		firsts = append(firsts, s.part(c))
	}
	rest := never
	// What a schema with first items does not say about others is not written, unless more items are demanded.
	if v.restTold || len(v.firsts) == 0 || least > len(firsts) {
		rest = s.part(v.rest)
	}
	return s.b.items(firsts, rest, least, most)
}

// object is the part of the objects of a variant.
func (s *schemas) object(v *variant) int32 {
	if len(v.props) > maxMembers || len(v.required) > maxMembers {
		s.b.fail(&TooLarge{"properties of an object", maxMembers})
		return end
	}
	if v.clash != nil {
		s.fail("patternProperties", v.clash)
		return end
	}
	s.b.step(len(v.required) * (1 + len(v.props)))
	var named []member
	var names []string
	add := func(key string, value conj) {
		names = append(names, key)
		if len(v.names) > 0 && !s.fits(&tree{kind: '"', text: key}, v.names) {
			value = conj{&tree{kind: 'f'}}
		}
		required := slices.Contains(v.required, key)
		if len(value) == 1 && value[0].kind == 'f' && !required {
			return
		}
		named = append(named, member{quote(key), s.part(value), required})
	}
	for _, p := range v.props {
		add(p.key, p.value)
	}
	for i, key := range v.required {
		if !slices.ContainsFunc(v.props, func(p prop) bool { return p.key == key }) && !slices.Contains(v.required[:i], key) {
			add(key, v.other)
		}
	}
	// What a schema that names properties, or a pattern for them, does not say about others is not written.
	rest := never
	if v.keyed != nil {
		if c := v.other; v.otherTold && (len(c) != 1 || c[0].kind != 'f') {
			s.fail("patternProperties", v.keyed.pattern.at)
			return end
		}
		rest = s.part(v.keyed.value)
	} else if v.otherTold || len(names) == 0 {
		if c := v.other; len(c) != 1 || c[0].kind != 'f' {
			rest = s.part(c)
		}
	}
	s.checkCounts(v, named, rest)
	if s.b.err != nil {
		return end
	}
	return s.b.members(named, s.keys(v, names, rest), rest)
}

// checkCounts refuses counts of members that named properties do not fulfil by themselves.
func (s *schemas) checkCounts(v *variant, named []member, rest int32) {
	always := 0
	for _, m := range named {
		if m.required {
			always++
		}
	}
	for _, c := range v.counts {
		n := s.count(c.up, c.name, c)
		if c.name == "minProperties" && n > always || c.name == "maxProperties" && (n < len(named) || rest != never) {
			s.fail(c.name, c.up)
		}
	}
}

// keys is the part of the keys of members that are not named.
func (s *schemas) keys(v *variant, names []string, rest int32) int32 {
	if rest == never {
		return end
	}
	var ways []int32
	var words []string
	taken := map[string]bool{}
	for _, n := range names {
		taken[n] = true
	}
	for _, k := range s.all(v.names) {
		if v.keyed != nil && k.kind == kText {
			k.patterns = append(slices.Clip(k.patterns), v.keyed.pattern)
		} else if v.keyed != nil && k.kind == kLiteral {
			if d := s.dfa(v.keyed.pattern); len(d) == 0 || !d.takes(k.lit.text) {
				continue
			}
		}
		switch {
		case k.kind == kLiteral && k.lit.kind == '"' && !taken[k.lit.text]:
			words = append(words, quote(k.lit.text))
		case k.kind == kText && len(names) == 0 && len(k.patterns) == 0:
			ways = append(ways, s.b.textOf(k.least, k.most))
		case k.kind == kText:
			d := s.text(&k)
			if len(names) > 0 {
				d = d.both(s.b, unless(s.b, names))
			}
			ways = append(ways, s.b.literal(`"`, s.b.emit(d, true, s.b.literal(`"`, end))))
		}
	}
	if len(words) > 0 {
		ways = append(ways, s.b.words(words, end))
	}
	if len(ways) == 0 {
		return s.b.nothing()
	}
	return s.b.split(ways...)
}
