package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizer changes a text before it is split. Where nothing changes it returns its argument.
type normalizer interface {
	apply(a aligned) (aligned, error)
}

// prepend puts a text before any text that is not empty.
type prepend struct{ text string }

func (p prepend) apply(a aligned) (aligned, error) {
	if a.text == "" || p.text == "" {
		return a, nil
	}
	_, n := utf8.DecodeRuneInString(a.text)
	w := rewrite(a)
	w.put(p.text, 0, n)
	w.keep(0, len(a.text))
	return w.done()
}

// replace puts a text in the place of every occurrence of another.
type replace struct{ old, new string }

func (p replace) apply(a aligned) (aligned, error) {
	at := strings.Index(a.text, p.old)
	if at < 0 {
		return a, nil
	}
	w := rewrite(a)
	done := 0
	for at >= 0 {
		at += done
		w.keep(done, at)
		w.put(p.new, at, at+len(p.old))
		done = at + len(p.old)
		at = strings.Index(a.text[done:], p.old)
	}
	w.keep(done, len(a.text))
	return w.done()
}

// strip removes white space at the ends of a text.
type strip struct{ left, right bool }

func (p strip) apply(a aligned) (aligned, error) {
	i, j := 0, len(a.text)
	if p.left {
		i = j - len(strings.TrimLeftFunc(a.text, unicode.IsSpace))
	}
	if p.right {
		j = max(i, len(strings.TrimRightFunc(a.text, unicode.IsSpace)))
	}
	return a.slice(i, j), nil
}

// mapping changes each character on its own.
type mapping struct {
	// to returns what stands in the place of a character, or same == true where it stays.
	to func(r rune) (text string, same bool)
}

func (p mapping) apply(a aligned) (aligned, error) {
	var w *rewriter
	for i := 0; i < len(a.text); {
		r, n := utf8.DecodeRuneInString(a.text[i:])
		text, same := p.to(r)
		if !same && w == nil {
			w = rewrite(a)
			w.keep(0, i)
		}
		switch {
		case w == nil:
		case same:
			w.put(a.text[i:i+n], i, i+n)
		default:
			w.put(text, i, i+n)
		}
		i += n
	}
	if w == nil {
		return a, nil
	}
	return w.done()
}

// lowercase maps each character to lower case, without regard to its neighbours.
var lowercase = mapping{to: func(r rune) (string, bool) {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			return string(r + 'a' - 'A'), false
		}
		return "", true
	}
	if r == 'İ' {
		return "i̇", false
	}
	l := lower(r)
	return string(l), l == r
}}

// cleanText removes control characters and turns all white space into spaces (BERT).
var cleanText = mapping{to: func(r rune) (string, bool) {
	switch {
	case r == ' ' || r > ' ' && r < 0x7f:
		return "", true
	case r == '\t' || r == '\n' || r == '\r':
		return " ", false
	case r == 0 || r == utf8.RuneError || isBertControl(r):
		return "", false
	case unicode.IsSpace(r):
		return " ", false
	}
	return "", true
}}

// spaceIdeographs puts spaces around each CJK ideograph (BERT).
var spaceIdeographs = mapping{to: func(r rune) (string, bool) {
	if r >= 0x3400 && isIdeograph(r) {
		return " " + string(r) + " ", false
	}
	return "", true
}}

// dropMarks removes nonspacing marks (BERT).
var dropMarks = mapping{to: func(r rune) (string, bool) {
	return "", r < 0x300 || !isBertMark(r)
}}
