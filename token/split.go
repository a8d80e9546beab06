package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts a piece of text into smaller ones, in order, and gives each to emit. Pieces are never empty.
type splitter interface {
	split(a aligned, emit func(aligned))
}

// scanned splits by one of the known patterns.
type scanned struct{ next scanner }

func (p scanned) split(a aligned, emit func(aligned)) {
	for i := 0; i < len(a.text); {
		n := p.next(a.text[i:])
		emit(a.slice(i, i+n))
		i += n
	}
}

// spacePrefix puts a space before a text that does not start with one.
type spacePrefix struct{}

func (spacePrefix) split(a aligned, emit func(aligned)) {
	if a.text == "" || a.text[0] == ' ' {
		emit(a)
		return
	}
	emit(before(" ", a))
}

// before puts a text before another; it stands for the first character.
func before(text string, a aligned) aligned {
	_, n := utf8.DecodeRuneInString(a.text)
	w := rewrite(a)
	w.put(text, 0, n)
	w.keep(0, len(a.text))
	b, err := w.done()
	if err != nil {
		return a // cannot be: one character is below every limit
	}
	return b
}

// bertWords splits at white space, which it drops, and around punctuation.
type bertWords struct{}

func (bertWords) split(a aligned, emit func(aligned)) {
	start := 0
	for i := 0; i < len(a.text); {
		r, n := utf8.DecodeRuneInString(a.text[i:])
		blank, mark := unicode.IsSpace(r), isBertPunctuation(r)
		if blank || mark {
			if start < i {
				emit(a.slice(start, i))
			}
			if mark {
				emit(a.slice(i, i+n))
			}
			start = i + n
		}
		i += n
	}
	if start < len(a.text) {
		emit(a.slice(start, len(a.text)))
	}
}

// metaspace writes spaces as a visible character and splits before each of them (SentencePiece).
type metaspace struct {
	mark   string
	prefix string // "always", "first" or "never": where the mark is put before the text
	cut    bool
}

func (p metaspace) split(a aligned, emit func(aligned)) {
	first := a.origin(0, len(a.text)).From == 0
	if b, err := (replace{old: " ", new: p.mark}).apply(a); err == nil {
		a = b
	}
	if !strings.HasPrefix(a.text, p.mark) && (p.prefix == "always" || p.prefix == "first" && first) {
		a = before(p.mark, a)
	}
	if !p.cut {
		emit(a)
		return
	}
	literalSplit{text: p.mark, behavior: mergedWithNext}.split(a, emit)
}

// behavior says what becomes of the matches that a text is split at.
type behavior string

const (
	removed            behavior = "Removed"
	isolated           behavior = "Isolated"
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
	contiguous         behavior = "Contiguous"
)

func (b behavior) known() bool {
	switch b {
	case removed, isolated, mergedWithPrevious, mergedWithNext, contiguous:
		return true
	}
	return false
}

// literalSplit splits at every occurrence of a text.
type literalSplit struct {
	text     string
	behavior behavior
	invert   bool
}

func (p literalSplit) split(a aligned, emit func(aligned)) {
	var ms []match
	for i := 0; i < len(a.text); {
		at := strings.Index(a.text[i:], p.text)
		if at < 0 {
			ms = append(ms, match{i, len(a.text), p.invert})
			break
		}
		if at > 0 {
			ms = append(ms, match{i, i + at, p.invert})
		}
		ms = append(ms, match{i + at, i + at + len(p.text), !p.invert})
		i += at + len(p.text)
	}
	splitAt(a, ms, p.behavior, emit)
}

// classSplit splits at every character of a class.
type classSplit struct {
	in       func(r rune) bool
	behavior behavior
}

func (p classSplit) split(a aligned, emit func(aligned)) {
	var ms []match
	start := 0
	for i := 0; i < len(a.text); {
		r, n := utf8.DecodeRuneInString(a.text[i:])
		if p.in(r) {
			if start < i {
				ms = append(ms, match{start, i, false})
			}
			ms = append(ms, match{i, i + n, true})
			start = i + n
		}
		i += n
	}
	if start < len(a.text) {
		ms = append(ms, match{start, len(a.text), false})
	}
	splitAt(a, ms, p.behavior, emit)
}

// match is a range of bytes that a pattern matched, or that lies between matches.
type match struct {
	from, to int
	is       bool
}

// splitAt emits the pieces that a behaviour makes of matches that cover the text.
func splitAt(a aligned, ms []match, b behavior, emit func(aligned)) {
	for i := 0; i < len(ms); {
		j := i + 1
		switch b {
		case removed:
			if ms[i].is {
				i = j
				continue
			}
		case contiguous:
			for j < len(ms) && ms[j].is == ms[i].is {
				j++
			}
		case mergedWithPrevious:
			if !ms[i].is && j < len(ms) && ms[j].is {
				j++
			}
		case mergedWithNext:
			if ms[i].is && j < len(ms) && !ms[j].is {
				j++
			}
		}
		emit(a.slice(ms[i].from, ms[j-1].to))
		i = j
	}
}
