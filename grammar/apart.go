package grammar

import (
	"slices"
	"unicode/utf8"
)

// maxLooks bounds how deep schemas are compared to find that no value fits both.
const maxLooks = 4

// holds says whether a value fits a variant that is no literal.
func (s *schemas) holds(t *tree, v *variant) bool {
	if s.b.step(1 + len(t.list)); s.b.err != nil || kindOf(t) != v.kind {
		return false
	}
	switch v.kind {
	case kNumber:
		d, ok := parseDecimal(t.text)
		return ok && v.num.has(d)
	case kText:
		n := utf8.RuneCountInString(t.text)
		if n < v.least || v.most >= 0 && n > v.most {
			return false
		}
		for _, p := range v.patterns {
			if d := s.dfa(p); len(d) == 0 || !d.takes(t.text) {
				return false
			}
		}
	case kArray:
		if v.unique != nil && len(t.list) > 1 {
			s.fail("uniqueItems", v.unique)
		}
		if len(t.list) < v.least || v.most >= 0 && len(t.list) > v.most {
			return false
		}
		for i, item := range t.list {
			if !s.fits(item, v.item(i)) {
				return false
			}
		}
	case kObject:
		return s.holdsObject(t, v)
	}
	return true
}

func (s *schemas) holdsObject(t *tree, v *variant) bool {
	s.b.step(len(t.list) * (1 + len(v.props) + len(v.required)))
	for _, key := range v.required {
		if t.get(key) == nil {
			return false
		}
	}
	for i, key := range t.keys {
		name := &tree{kind: '"', text: key}
		value := v.value(key)
		if v.keyed != nil {
			if d := s.dfa(v.keyed.pattern); len(d) > 0 && d.takes(key) {
				value = v.keyed.value
			}
		}
		if !s.fits(t.list[i], value) || !s.fits(name, v.names) {
			return false
		}
	}
	for _, c := range v.counts {
		if n := s.count(c.up, c.name, c); c.name == "minProperties" && len(t.list) < n || c.name == "maxProperties" && len(t.list) > n {
			return false
		}
	}
	return true
}

// fits says whether a value fits all schemas.
func (s *schemas) fits(t *tree, c conj) bool {
	for _, v := range s.all(c) {
		if v.kind == kLiteral && equal(t, v.lit) || v.kind != kLiteral && s.holds(t, &v) {
			return true
		}
	}
	return false
}

// apart says whether it is certain that no value fits a variant of each list.
func (s *schemas) apart(vs, ws []variant, looks int) bool {
	s.b.step(len(vs) * len(ws))
	for i := range vs {
		for j := range ws {
			if s.b.err != nil || !s.apartVariants(&vs[i], &ws[j], looks) {
				return false
			}
		}
	}
	return true
}

func (s *schemas) apartVariants(v, w *variant, looks int) bool {
	switch {
	case v.kind == kLiteral && w.kind == kLiteral:
		return !equal(v.lit, w.lit)
	case v.kind == kLiteral:
		return !s.holds(v.lit, w)
	case w.kind == kLiteral:
		return !s.holds(w.lit, v)
	case v.kind != w.kind:
		return true
	case v.kind == kNumber:
		both := v.num.meet(w.num)
		if both.lo == nil || both.hi == nil {
			return false
		}
		c := both.lo.compare(both.hi.decimal)
		return c > 0 || c == 0 && (both.lo.open || both.hi.open)
	case v.kind == kText, v.kind == kArray:
		if most := fewer(v.most, w.most); most >= 0 && max(v.least, w.least) > most {
			return true
		}
		return v.kind == kArray && looks < maxLooks && s.apartItems(v, w, looks)
	case v.kind == kObject && v.keyed == nil && w.keyed == nil && looks < maxLooks:
		return s.apartMembers(v, w, looks)
	}
	return false
}

// apartItems says whether arrays of both have an item that cannot fit both.
func (s *schemas) apartItems(v, w *variant, looks int) bool {
	for i := range max(v.least, w.least) {
		if i > max(len(v.firsts), len(w.firsts)) {
			break
		}
		if s.apart(s.all(v.item(i)), s.all(w.item(i)), looks+1) {
			return true
		}
	}
	return false
}

// apartMembers says whether one requires a member that the other has not, or has otherwise.
func (s *schemas) apartMembers(v, w *variant, looks int) bool {
	for _, sides := range [][2]*variant{{v, w}, {w, v}} {
		for _, key := range sides[0].required {
			s.b.step(1 + len(v.props) + len(w.props))
			if s.apart(s.all(v.value(key)), s.all(w.value(key)), looks+1) {
				return true
			}
		}
	}
	return false
}

// dfa is the dfa of a pattern.
func (s *schemas) dfa(p pattern) dfa {
	key := pattern{text: p.text, search: p.search}
	if d, ok := s.dfas[key]; ok || s.b.err != nil {
		return d
	}
	d, err := s.b.pattern(p.text, p.search)
	if err != nil {
		if u, ok := err.(*Unsupported); ok { //nolint:errorlint // it is made here and wrapped nowhere
			err = &Unsupported{"pattern with " + u.Keyword, p.at.path()}
		}
		s.b.fail(err)
		return nil
	}
	s.dfas[key] = d
	return d
}

// text is the dfa of the texts of a variant; of every text if it says nothing.
func (s *schemas) text(v *variant) dfa {
	d := dfa{{accept: true, arcs: []arc{{all, 0}}}}
	for i, p := range v.patterns {
		e := s.dfa(p)
		if s.b.err != nil {
			return nil
		}
		if d = d.both(s.b, e); i == 0 {
			d = e
		}
	}
	if s.b.err != nil {
		return nil
	}
	// Lengths are counted only if the patterns do not keep them anyhow.
	least, most := d.span()
	if least < v.least || v.most >= 0 && (most < 0 || most > v.most) {
		limit := v.most
		if counted := maxPattern/len(d) - 1; limit > counted && counted > v.least {
			limit = counted // fewer characters than the schema allows, rather than none
		}
		d = d.both(s.b, lengths(s.b, v.least, limit))
	}
	return d
}

// unless takes every text that is none of the words.
func unless(b *builder, words []string) dfa {
	words = slices.Compact(slices.Sorted(slices.Values(words)))
	out := dfa{{accept: true}, {accept: true, arcs: []arc{{all, 1}}}} // the first state, and that of texts which no word begins with
	for _, w := range words {
		at := 0
		for _, r := range w {
			if b.step(1); len(out) >= maxPattern {
				b.fail(&TooLarge{"characters of names that further members must not have", maxPattern})
				return out
			}
			// The words are sorted, so only the last arc can be one that they share.
			arcs := out[at].arcs
			if n := len(arcs); n > 0 && arcs[n-1].ranges[0] == r {
				at = arcs[n-1].to
				continue
			}
			out = append(out, dfaState{accept: true})
			out[at].arcs = append(arcs, arc{[]rune{r, r}, len(out) - 1})
			at = len(out) - 1
		}
		out[at].accept = false
	}
	for i := range out {
		if i == 1 {
			continue
		}
		var known []rune
		for _, a := range out[i].arcs {
			known = append(known, a.ranges...)
		}
		out[i].arcs = append(out[i].arcs, arc{invert(tidy(known)), 1})
	}
	return out
}
