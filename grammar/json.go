package grammar

// How JSON is written. White space is bounded, since models get lost in it: nothing before the value and behind it; one space or none behind
// a colon; behind an opening bracket, behind a comma and before a closing bracket either nothing, one space, or a line feed and up to
// maxIndent spaces or tabs.
const maxIndent = 64

// How numbers are written: bounded as well, so that every reader can hold them.
const (
	maxDigits   = 18 // before the point: an integer fits 64 bits
	maxFraction = 18 // behind the point
)

// ranges is bytes that lead to one node.
func ranges(to int32, pairs string) (edges []edge) {
	for i := 0; i < len(pairs); i += 2 {
		edges = append(edges, edge{pairs[i], pairs[i+1], to})
	}
	return edges
}

// gap takes the white space around what is in brackets.
func (b *builder) gap(next int32) int32 {
	return b.call(b.rule("gap", func() int32 {
		indent := end
		for range maxIndent {
			indent = b.split(b.bytes(ranges(indent, "\t\t  ")...), end)
		}
		return b.split(b.bytes(edge{' ', ' ', end}, edge{'\n', '\n', indent}), end)
	}), next)
}

// colon takes what is between a key and its value.
func (b *builder) colon(next int32) int32 {
	return b.literal(":", b.split(b.literal(" ", next), next))
}

// characters of a JSON string but for what is escaped, each leading to next.
func (b *builder) characters(next int32) []edge {
	more := func(n int) int32 {
		to := next
		for range n {
			to = b.bytes(ranges(to, "\x80\xbf")...)
		}
		return to
	}
	one, two, three := more(1), more(2), more(3)
	edges := ranges(next, "\x20\x21\x23\x5b\x5d\x7f")
	edges = append(edges, ranges(one, "\xc2\xdf")...)
	edges = append(edges, ranges(b.bytes(ranges(one, "\xa0\xbf")...), "\xe0\xe0")...)
	edges = append(edges, ranges(two, "\xe1\xec\xee\xef")...)
	edges = append(edges, ranges(b.bytes(ranges(one, "\x80\x9f")...), "\xed\xed")...)
	edges = append(edges, ranges(b.bytes(ranges(two, "\x90\xbf")...), "\xf0\xf0")...)
	edges = append(edges, ranges(three, "\xf1\xf3")...)
	return append(edges, ranges(b.bytes(ranges(two, "\x80\x8f")...), "\xf4\xf4")...)
}

// escape takes what stands behind the backslash of an escape: one letter, or u and a code point, which two surrogates may write together.
// A surrogate alone is no character.
func (b *builder) escape(next int32) int32 {
	const hex = "09AFaf"
	digits := func(n int, to int32) int32 {
		for range n {
			to = b.bytes(ranges(to, hex)...)
		}
		return to
	}
	low := b.literal(`\u`, b.bytes(ranges(b.bytes(ranges(digits(2, next), "CFcf")...), "DDdd")...))
	two, three := digits(2, next), digits(3, next)
	d := append(ranges(two, "07"), ranges(digits(2, low), "89ABab")...)
	unicode := append(ranges(three, "09ACEFacef"), ranges(b.bytes(d...), "DDdd")...)
	return b.bytes(append(ranges(next, `""//\\bbffnnrrtt`), edge{'u', 'u', b.bytes(unicode...)})...)
}

// anyText is the part of any string.
func (b *builder) anyText() int32 {
	return b.rule("string", func() int32 {
		body := b.add(node{op: opBytes})
		edges := append(b.characters(body), edge{'\\', '\\', b.escape(body)}, edge{'"', '"', end})
		if b.err == nil {
			b.nodes[body].edges = edges
		}
		return b.literal(`"`, body)
	})
}

// anyNumber is the part of any number.
func (b *builder) anyNumber() int32 {
	return b.rule("number", func() int32 {
		digits := func(least, most int, next int32) int32 {
			to := next
			for i := most; i > 0; i-- {
				if to = b.bytes(ranges(to, "09")...); i > least {
					to = b.split(to, next)
				}
			}
			return to
		}
		two := digits(1, 2, end)
		exponent := b.bytes(append(ranges(two, "09"), ranges(two, "++--")...)...)
		if b.err == nil {
			b.nodes[exponent].edges[0].to = b.split(b.bytes(ranges(end, "09")...), end)
		}
		tail := b.split(b.bytes(ranges(exponent, "EEee")...), end)
		fraction := b.split(b.literal(".", digits(1, maxFraction, tail)), tail)
		whole := b.bytes(append(ranges(fraction, "00"), ranges(digits(0, maxDigits-1, fraction), "19")...)...)
		return b.split(b.literal("-", whole), whole)
	})
}

// anyValue is the part of any value.
func (b *builder) anyValue() int32 {
	return b.rule("value", func() int32 {
		word := b.words([]string{"null", "true", "false"}, end)
		return b.split(b.call(b.anyObject(), end), b.call(b.anyArray(), end), b.call(b.anyText(), end), b.call(b.anyNumber(), end), word)
	})
}

// anyArray is the part of any array.
func (b *builder) anyArray() int32 {
	return b.rule("array", func() int32 {
		return b.items(nil, b.anyValue(), 0, -1)
	})
}

// items is an array: of the parts first, as far as it goes, then of rest (never: nothing may follow), between least and most elements
// (most < 0: without bound).
func (b *builder) items(first []int32, rest int32, least, most int) int32 {
	last := b.literal("]", end)
	closing := b.gap(last)
	var more int32 // behind the elements of first
	comma := func(element, next int32) int32 { return b.literal(",", b.gap(b.call(element, next))) }
	n := len(first)
	switch {
	case rest == never:
		more = closing
	case n > 0:
		more = b.loop(comma(rest, end), max(0, least-n), left(most, n), closing)
	default:
		more = b.loop(comma(rest, end), max(0, least-1), left(most, 1), closing)
		more = b.call(rest, more)
	}
	for i := n - 1; i >= 0; i-- {
		if most >= 0 && i >= most {
			more = closing
			continue
		}
		var taken int32
		if i == 0 {
			taken = b.call(first[i], more)
		} else {
			taken = comma(first[i], more)
		}
		if i > 0 && i >= least {
			more = b.split(taken, closing)
		} else {
			more = taken
		}
	}
	none := n == 0 && rest == never || most == 0
	if none {
		return b.literal("[", b.gap(last))
	}
	start := b.gap(more)
	if least == 0 {
		start = b.split(start, b.gap(last))
	}
	return b.literal("[", start)
}

// left is how many more than n are allowed of most.
func left(most, n int) int {
	if most < 0 {
		return most
	}
	return max(0, most-n)
}

// anyObject is the part of any object.
func (b *builder) anyObject() int32 {
	return b.rule("object", func() int32 {
		return b.members(nil, b.anyText(), b.anyValue())
	})
}

// member is a named member of an object.
type member struct {
	key      string // as JSON text
	value    int32  // part
	required bool
}

// members is an object: the named members in their order, those that are not required may be left out; then any number with keys of the part
// other and values of the part rest (never: none).
func (b *builder) members(named []member, other, rest int32) int32 {
	last := b.literal("}", end)
	closing := b.gap(last)
	pair := func(key string, value, next int32) int32 { return b.literal(key, b.colon(b.call(value, next))) }
	// first and more are where to go on if no member was written yet, and if one was.
	first, more := b.gap(last), closing
	if rest != never {
		single := b.call(other, b.colon(b.call(rest, end)))
		more = b.loop(b.literal(",", b.gap(single)), 0, -1, closing)
		first = b.split(b.gap(b.call(single, more)), first)
	}
	for i := len(named) - 1; i >= 0; i-- {
		m := named[i]
		write := pair(m.key, m.value, more)
		next := b.literal(",", b.gap(write))
		begin := b.gap(write)
		if !m.required {
			next, begin = b.split(next, more), b.split(begin, first)
		}
		first, more = begin, next
	}
	return b.literal("{", first)
}
