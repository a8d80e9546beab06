package token

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// shortSegment is the number of bytes up to which a segment is given to the norm package whole: few enough that it
// cannot contain the 31 marks at which that package, but not the reference, puts in a joiner (Stream-Safe Text Format).
const shortSegment = 32

// form is a Unicode normalization form (UAX #15).
type form struct{ norm.Form }

func (f form) apply(a aligned) (aligned, error) {
	clean := f.QuickSpanString(a.text)
	if clean == len(a.text) {
		return a, nil
	}
	w := rewrite(a)
	for clean > 0 && (clean == len(a.text) || !utf8.RuneStart(a.text[clean]) || !f.boundary(a.text[clean:])) {
		clean--
	}
	w.keep(0, clean)
	for i := clean; i < len(a.text); {
		r, n := utf8.DecodeRuneInString(a.text[i:])
		j := i + n
		if opaque(r) {
			w.keep(i, j)
			i = j
		}
		for j < len(a.text) && !f.boundary(a.text[j:]) {
			_, n := utf8.DecodeRuneInString(a.text[j:])
			j += n
		}
		normal := f.String
		if j-i > shortSegment {
			normal = f.long
		}
		out := normal(a.text[i:j])
		if out == a.text[i:j] {
			w.keep(i, j)
		} else {
			w.put(out, i, j)
		}
		i = j
	}
	return w.done()
}

// boundary reports whether what comes before a text cannot change its first character.
func (f form) boundary(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return opaque(r) || f.PropertiesString(s).BoundaryBefore()
}

// opaque reports whether the reference's normalization does not know a character.
func opaque(r rune) bool {
	return r >= 0x7fd && (r == 0x11930 || r == 0x11938 || unicode.Is(unorderedMarks, r))
}

// long normalizes a segment of any length, in n log n time.
func (f form) long(seg string) string {
	var runes []rune
	for _, r := range seg {
		if f.Form == norm.NFKC || f.Form == norm.NFKD {
			runes = append(runes, []rune(norm.NFKD.String(string(r)))...)
		} else {
			runes = append(runes, []rune(norm.NFD.String(string(r)))...)
		}
	}
	order(runes)
	if f.Form == norm.NFC || f.Form == norm.NFKC {
		runes = compose(runes)
	}
	return string(runes)
}

// order puts each run of marks in the order of their combining classes.
func order(runes []rune) {
	for i := 0; i < len(runes); {
		if class(runes[i]) == 0 {
			i++
			continue
		}
		j := i
		for j < len(runes) && class(runes[j]) != 0 {
			j++
		}
		slices.SortStableFunc(runes[i:j], func(x, y rune) int { return int(class(x)) - int(class(y)) })
		i = j
	}
}

// compose joins each starter with the marks that combine with it and are not blocked, in place.
func compose(runes []rune) []rune {
	out := runes[:0]
	starter, last := -1, uint8(0)
	for _, r := range runes {
		c := class(r)
		if starter >= 0 && (len(out) == starter+1 || last < c) {
			if p, ok := pairOf(out[starter], r); ok {
				out[starter] = p
				continue
			}
		}
		out = append(out, r)
		if last = c; c == 0 {
			starter = len(out) - 1
		}
	}
	return out
}

func class(r rune) uint8 {
	return norm.NFD.PropertiesString(string(r)).CCC()
}

// pairOf returns the one character that two canonically compose to.
func pairOf(a, b rune) (rune, bool) {
	s := norm.NFC.String(string(a) + string(b))
	r, n := utf8.DecodeRuneInString(s)
	return r, n == len(s)
}
