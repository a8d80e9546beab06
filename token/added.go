package token

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is found in the text before the model sees it.
type addedToken struct {
	id         int32
	content    string
	match      string // what is looked for: the content, or its normalized form
	singleWord bool   // not within a word
	lstrip     bool   // takes the white space before it
	rstrip     bool   // takes the white space behind it
	normalized bool   // looked for in the normalized text
	special    bool
}

// matcher finds added tokens: the leftmost, and the longest of those.
//
// The tokens are sorted, and a search narrows the range of those that agree with the text byte by byte; so it needs
// no memory beyond the tokens, and at most MaxAddedBytes steps at each byte of the text.
type matcher struct {
	tokens []addedToken
	first  [257]int32 // tokens[first[b]:first[b+1]] begin with byte b
}

func newMatcher(tokens []addedToken) matcher {
	slices.SortFunc(tokens, func(x, y addedToken) int {
		return cmp.Or(strings.Compare(x.match, y.match), cmp.Compare(x.id, y.id))
	})
	tokens = slices.CompactFunc(tokens, func(x, y addedToken) bool { return x.match == y.match })
	m := matcher{tokens: tokens}
	for b := range 256 {
		m.first[b+1] = m.first[b]
		for int(m.first[b+1]) < len(tokens) && tokens[m.first[b+1]].match[0] == byte(b) {
			m.first[b+1]++
		}
	}
	return m
}

// longest returns the longest token that s starts with, or nil.
func (m *matcher) longest(s string) *addedToken {
	lo, hi := int(m.first[s[0]]), int(m.first[int(s[0])+1])
	var best *addedToken
	for depth := 1; lo < hi; depth++ {
		if len(m.tokens[lo].match) == depth {
			best = &m.tokens[lo]
			lo++
		}
		if depth == len(s) {
			break
		}
		c, part := s[depth], m.tokens[lo:hi]
		hi = lo + sort.Search(len(part), func(i int) bool { return part[i].match[depth] > c })
		lo += sort.Search(len(part), func(i int) bool { return part[i].match[depth] >= c })
	}
	return best
}

// cut gives the added tokens of a text to hit and what lies between them to rest, in order.
func (m *matcher) cut(a aligned, opts EncodeOptions, hit func(int32, aligned), rest func(aligned)) {
	if len(m.tokens) == 0 {
		rest(a)
		return
	}
	s, done := a.text, 0
	for i := 0; i < len(s); {
		var tok *addedToken
		if m.first[s[i]] != m.first[int(s[i])+1] {
			tok = m.longest(s[i:])
		}
		if tok == nil {
			i++
			continue
		}
		from, to := i, i+len(tok.match)
		if tok.special && opts.literal(a.origin(from, to)) {
			i++
			continue
		}
		i = to
		if tok.special && !opts.ParseSpecial || tok.singleWord && (wordBefore(s[:from]) || wordAfter(s[to:])) {
			continue
		}
		if tok.lstrip {
			from = max(done, len(strings.TrimRightFunc(s[:from], unicode.IsSpace)))
		}
		if tok.rstrip {
			to = len(s) - len(strings.TrimLeftFunc(s[to:], unicode.IsSpace))
		}
		if done < from {
			rest(a.slice(done, from))
		}
		hit(tok.id, a.slice(from, to))
		done = to
	}
	if done < len(s) {
		rest(a.slice(done, len(s)))
	}
}

// literal reports whether a range of the text touches one in which special tokens are not read.
func (o EncodeOptions) literal(at Span) bool {
	i := sort.Search(len(o.Literal), func(i int) bool { return o.Literal[i].To > at.From })
	return i < len(o.Literal) && o.Literal[i].From < at.To
}

func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWordChar(r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWordChar(r)
}
