package grammar

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// all is every character, as ranges: pairs of first and last.
var all = []rune{0, 0xd7ff, 0xe000, utf8.MaxRune}

// chars takes a character of the ranges and goes to to: the edges for characters that are one byte, and the parts for others. Within a JSON
// string (quoted) quote, backslash and control characters are written as escapes; others as they are.
func (b *builder) chars(ranges []rune, to int32, quoted bool) (edges []edge, parts []int32) {
	var wide, control []rune
	direct := func(lo, hi rune) {
		if lo <= hi {
			edges = append(edges, edge{byte(lo), byte(hi), to})
		}
	}
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		if hi >= utf8.RuneSelf {
			wide = append(wide, max(lo, utf8.RuneSelf), hi)
		}
		hi = min(hi, utf8.RuneSelf-1)
		if !quoted {
			direct(lo, hi)
			continue
		}
		direct(max(lo, ' '), min(hi, '"'-1))
		direct(max(lo, '"'+1), min(hi, '\\'-1))
		direct(max(lo, '\\'+1), hi)
		for r := lo; r <= hi; r++ {
			if r < ' ' || r == '"' || r == '\\' {
				control = append(control, r)
			}
		}
	}
	if len(control) > 0 {
		edges = append(edges, edge{'\\', '\\', b.call(b.escapes(control), to)})
	}
	if len(wide) > 0 {
		parts = append(parts, b.call(b.wide(wide), to))
	}
	return edges, parts
}

// escapes is the part behind the backslash that writes one of the characters.
func (b *builder) escapes(chars []rune) int32 {
	return b.rule("escapes "+strconv.Quote(string(chars)), func() int32 {
		var texts []string
		for _, r := range chars {
			for _, short := range []string{"\"\"", "\\\\", "\bb", "\ff", "\nn", "\rr", "\tt"} {
				if rune(short[0]) == r {
					texts = append(texts, short[1:])
				}
			}
			if r < ' ' {
				texts = append(texts, "u00"+string("01"[r>>4])+string("0123456789abcdef"[r&15]))
			}
		}
		return b.words(texts, end)
	})
}

// wide is the part that takes one character of the ranges, which are all of more than one byte.
func (b *builder) wide(ranges []rune) int32 {
	return b.rule("wide "+strconv.Quote(string(ranges)), func() int32 {
		u := &utf8Part{b: b, known: map[[3]int32]int32{}}
		for i := 0; i < len(ranges); i += 2 {
			u.add(ranges[i], ranges[i+1])
		}
		return b.bytes(u.edges...)
	})
}

// utf8Part collects the byte sequences of ranges of characters.
type utf8Part struct {
	b     *builder
	edges []edge
	known map[[3]int32]int32
}

// add takes the characters from lo to hi, cut so that each piece is a product of ranges of bytes.
func (u *utf8Part) add(lo, hi rune) {
	if lo > hi {
		return
	}
	for _, last := range []rune{0x7ff, 0xd7ff, 0xffff} {
		if lo <= last && hi > last {
			u.add(lo, last)
			u.add(max(last+1, lo), hi)
			return
		}
	}
	if lo <= 0xdfff && hi >= 0xd800 {
		u.add(0xe000, hi) // surrogates are no characters; lo is behind 0xd7ff
		return
	}
	for i := 1; i < utf8.RuneLen(lo); i++ {
		tail := rune(1)<<(6*i) - 1
		if lo&^tail == hi&^tail {
			continue
		}
		if lo&tail != 0 {
			u.add(lo, lo|tail)
			u.add((lo|tail)+1, hi)
			return
		}
		if hi&tail != tail {
			u.add(lo, hi&^tail-1)
			u.add(hi&^tail, hi)
			return
		}
	}
	first, last := utf8.AppendRune(nil, lo), utf8.AppendRune(nil, hi)
	to := end
	for i := len(first) - 1; i > 0; i-- {
		key := [3]int32{int32(first[i]), int32(last[i]), to}
		at, ok := u.known[key]
		if !ok {
			at = u.b.bytes(edge{first[i], last[i], to})
			u.known[key] = at
		}
		to = at
	}
	u.edges = append(u.edges, edge{first[0], last[0], to})
}

// invert is the characters outside of the ranges, which are sorted and apart.
func invert(ranges []rune) []rune {
	var out []rune
	next := rune(0)
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i] > next {
			out = append(out, next, ranges[i]-1)
		}
		next = ranges[i+1] + 1
	}
	if next <= utf8.MaxRune {
		out = append(out, next, utf8.MaxRune)
	}
	return out
}

// tidy sorts ranges and joins those that touch.
func tidy(ranges []rune) []rune {
	pairs := make([][2]rune, 0, len(ranges)/2)
	for i := 0; i < len(ranges); i += 2 {
		pairs = append(pairs, [2]rune{ranges[i], ranges[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	var out []rune
	for _, p := range pairs {
		if n := len(out); n > 0 && p[0] <= out[n-1]+1 {
			out[n-1] = max(out[n-1], p[1])
			continue
		}
		out = append(out, p[0], p[1])
	}
	return out
}
