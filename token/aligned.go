package token

import "unicode/utf8"

// aligned is a piece of text that remembers where each of its bytes came from.
//
// While from is nil the text is a slice of the original that starts at byte base. Otherwise byte i of the text came
// from the original's bytes [from[i], to[i]).
type aligned struct {
	text     string
	from, to []int32
	base     int32
}

// slice returns the bytes [i, j).
func (a aligned) slice(i, j int) aligned {
	s := aligned{text: a.text[i:j], base: a.base + int32(i)}
	if a.from != nil {
		s.from, s.to = a.from[i:j], a.to[i:j]
	}
	return s
}

// origin returns where the bytes [i, j) came from, widened to whole characters of the original.
func (a aligned) origin(i, j int) Span {
	if a.from != nil {
		if i == j {
			if i < len(a.from) {
				return Span{a.from[i], a.from[i]}
			}
			return Span{}
		}
		return Span{a.from[i], a.to[j-1]}
	}
	for i > 0 && i < len(a.text) && !utf8.RuneStart(a.text[i]) {
		i--
	}
	for j < len(a.text) && !utf8.RuneStart(a.text[j]) {
		j++
	}
	return Span{a.base + int32(i), a.base + int32(j)}
}

// rewriter builds the result of a normalizer out of pieces of its input and of new text.
type rewriter struct {
	src      aligned
	buf      []byte
	from, to []int32
	limit    int // bytes
	over     bool
}

func rewrite(src aligned) *rewriter {
	n := len(src.text) + len(src.text)/8 + 16
	return &rewriter{
		src: src, buf: make([]byte, 0, n), from: make([]int32, 0, n), to: make([]int32, 0, n),
		limit: min(len(src.text)*MaxExpansion+maxExpansionFloor, 2*MaxTextBytes),
	}
}

// put appends new text that stands for the bytes [i, j) of the input.
func (w *rewriter) put(text string, i, j int) {
	if len(w.buf)+len(text) > w.limit {
		w.over = true
		return
	}
	at := w.src.origin(i, j)
	w.buf = append(w.buf, text...)
	for range len(text) {
		w.from, w.to = append(w.from, at.From), append(w.to, at.To)
	}
}

// keep appends the bytes [i, j) of the input as they are.
func (w *rewriter) keep(i, j int) {
	for k := i; k < j; {
		_, n := utf8.DecodeRuneInString(w.src.text[k:j])
		w.put(w.src.text[k:k+n], k, k+n)
		k += n
	}
}

// done returns the result, or TooLong where it is out of proportion to the input.
func (w *rewriter) done() (aligned, error) {
	if w.over {
		return aligned{}, TooLong{What: "normalized text", Bytes: w.limit + 1, Limit: w.limit}
	}
	return aligned{text: string(w.buf), from: w.from, to: w.to, base: w.src.base}, nil
}
