package token

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the words that one call of Encode remembers.
const (
	cachedWords     = 1 << 13 // words
	cachedWordBytes = 64      // bytes of one
	cachedFromBytes = 256     // bytes of a text below which remembering does not pay
)

// sequence is an encoded text before special tokens are put around it.
type sequence struct {
	ids   []int32
	spans []Span
	words []int32
}

// encoder is the state of encoding one text.
type encoder struct {
	t       *Tokenizer
	text    string // the original
	out     sequence
	err     error
	words   int32 // seen so far
	scratch scratch
	pieces  []piece         // of the current word, and of all words in the cache
	cache   map[string]Span // ranges of pieces, by word
}

func newEncoder(t *Tokenizer, text string) *encoder {
	n := len(text)/4 + 4
	e := &encoder{t: t, text: text, out: sequence{ids: make([]int32, 0, n), spans: make([]Span, 0, n), words: make([]int32, 0, n)}}
	if len(text) >= cachedFromBytes {
		e.cache = make(map[string]Span)
	}
	return e
}

// split gives a piece to the splitters from the i-th on, and what they make of it to the model.
func (e *encoder) split(i int, a aligned) {
	switch {
	case a.text == "":
	case i == len(e.t.splitters):
		e.word(a)
	default:
		e.t.splitters[i].split(a, func(b aligned) { e.split(i+1, b) })
	}
}

// word appends the tokens of one word.
func (e *encoder) word(a aligned) {
	e.tokens(a)
	e.words++
}

func (e *encoder) tokens(a aligned) {
	if at, ok := e.cache[a.text]; ok {
		e.emit(a, e.pieces[at.From:at.To])
		return
	}
	mark := len(e.pieces)
	e.pieces = e.t.model.cut(a.text, &e.scratch, e.pieces)
	e.emit(a, e.pieces[mark:])
	if e.cache != nil && len(e.cache) < cachedWords && len(a.text) <= cachedWordBytes {
		e.cache[a.text] = Span{int32(mark), int32(len(e.pieces))}
	} else {
		e.pieces = e.pieces[:mark]
	}
}

func (e *encoder) emit(a aligned, pieces []piece) {
	for _, p := range pieces {
		e.append(p.id, a.text[p.from:p.to], a.origin(int(p.from), int(p.to)), false)
	}
}

// added appends an added token.
func (e *encoder) added(id int32, a aligned) {
	if e.err == nil {
		e.append(id, a.text, a.origin(0, len(a.text)), true)
		e.words++
	}
}

func (e *encoder) append(id int32, text string, at Span, added bool) {
	if e.t.trim.on {
		at = e.t.trim.apply(e.text, text, at, len(e.out.ids) == 0, added)
	}
	e.out.ids = append(e.out.ids, id)
	e.out.spans = append(e.out.spans, at)
	e.out.words = append(e.out.words, e.words)
}

// trimRule takes the spaces at a token's ends out of its offsets.
type trimRule struct {
	on     bool
	prefix bool // a single space before the first token is not the text's own, and has no offset
}

// apply returns what is left of at, the place of a token's text in the original: as many characters less at its ends as
// the token has spaces there. In added tokens all white space counts.
func (r trimRule) apply(original, text string, at Span, first, added bool) Span {
	blank := func(c rune) bool { return c == ' ' || added && unicode.IsSpace(c) }
	lead := utf8.RuneCountInString(text[:len(text)-len(strings.TrimLeftFunc(text, blank))])
	trail := utf8.RuneCountInString(text[len(strings.TrimRightFunc(text, blank)):])
	if !(r.prefix && lead == 1 && (first || at.From == 0)) {
		for ; lead > 0 && at.From < at.To; lead-- {
			_, n := utf8.DecodeRuneInString(original[at.From:])
			at.From += int32(n)
		}
	}
	for ; trail > 0 && at.From < at.To; trail-- {
		_, n := utf8.DecodeLastRuneInString(original[:at.To])
		at.To -= int32(n)
	}
	return at
}
