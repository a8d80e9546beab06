package token

import (
	"strings"
	"unicode/utf8"
)

// decodeStage is one step from tokens to text. It gets tokens in order and gives on what it is sure of.
type decodeStage interface {
	push(token string, emit func(string))
	flush(emit func(string)) // at the end of the text
}

// spaced puts a space between tokens.
type spaced struct{ begun bool }

func (d *spaced) push(token string, emit func(string)) {
	if d.begun {
		token = " " + token
	}
	d.begun = true
	emit(token)
}

func (d *spaced) flush(func(string)) {}

// byteText reads tokens as the bytes that their characters stand for.
type byteText struct{ pending []byte }

func (d *byteText) push(token string, emit func(string)) {
	mark := len(d.pending)
	for _, r := range token {
		b, ok := byteOf(r)
		if !ok {
			d.pending = append(d.pending[:mark], token...)
			break
		}
		d.pending = append(d.pending, b)
	}
	var text string
	if text, d.pending = validText(d.pending, false); text != "" {
		emit(text)
	}
}

func (d *byteText) flush(emit func(string)) {
	if text, _ := validText(d.pending, true); text != "" {
		emit(text)
	}
}

// validText returns the text of b with each ill-formed sequence replaced by U+FFFD, and the rest that may yet become
// a character. With final set there is no rest.
func validText(b []byte, final bool) (string, []byte) {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r != utf8.RuneError || n > 1:
			out.Write(b[:n])
		case !final && !utf8.FullRune(b):
			return out.String(), b
		default:
			n = subpart(b)
			out.WriteRune(utf8.RuneError)
		}
		b = b[n:]
	}
	return out.String(), b[:0]
}

// subpart returns the length of the longest start of b that could begin a character, at least 1
// (the "maximal subpart" of Unicode, section 3.9).
func subpart(b []byte) int {
	n := 1
	for n < len(b) && n < utf8.UTFMax && !utf8.FullRune(b[:n]) {
		n++
	}
	if n > 1 && utf8.FullRune(b[:n]) {
		n-- // the last byte is the one that does not fit
	}
	return n
}

// byteFallback reads tokens like <0x41> as bytes, and each run of them as a text. Where a run is not UTF-8, every byte
// of it becomes U+FFFD, so a run is held back until it ends.
type byteFallback struct{ run []byte }

func (d *byteFallback) push(token string, emit func(string)) {
	if b, ok := fallbackByte(token); ok {
		d.run = append(d.run, b)
		return
	}
	d.flush(emit)
	emit(token)
}

func (d *byteFallback) flush(emit func(string)) {
	if len(d.run) == 0 {
		return
	}
	text := string(d.run)
	d.run = d.run[:0]
	if utf8.ValidString(text) {
		emit(text)
		return
	}
	for range len(text) {
		emit(string(utf8.RuneError))
	}
}

// replaced puts a text in the place of another within each token.
type replaced struct{ old, new string }

func (d replaced) push(token string, emit func(string)) {
	emit(strings.ReplaceAll(token, d.old, d.new))
}

func (d replaced) flush(func(string)) {}

// stripStart removes up to count of a character from the start: of each token, or of the whole text.
type stripStart struct {
	char  string
	count int
	whole bool
	left  int
}

func (d *stripStart) push(token string, emit func(string)) {
	if !d.whole {
		d.left = d.count
	}
	for d.left > 0 && token != "" {
		if !strings.HasPrefix(token, d.char) {
			d.left = 0
			break
		}
		token = token[len(d.char):]
		d.left--
	}
	emit(token)
}

func (d *stripStart) flush(func(string)) {}

// metaspaceText turns the visible spaces back into spaces, and drops those of the first token.
type metaspaceText struct {
	mark  string
	keep  bool // no mark was put before the text
	begun bool
}

func (d *metaspaceText) push(token string, emit func(string)) {
	with := " "
	if !d.begun && !d.keep {
		with = ""
	}
	d.begun = true
	emit(strings.ReplaceAll(token, d.mark, with))
}

func (d *metaspaceText) flush(func(string)) {}

// wordPieceText joins word pieces, and takes out the spaces before punctuation where clean is set.
type wordPieceText struct {
	prefix string
	clean  bool
	begun  bool
}

func (d *wordPieceText) push(token string, emit func(string)) {
	if d.begun {
		if rest, ok := strings.CutPrefix(token, d.prefix); ok {
			token = rest
		} else {
			token = " " + token
		}
	}
	d.begun = true
	if d.clean {
		for _, c := range cleanups {
			token = strings.ReplaceAll(token, c[0], c[1])
		}
	}
	emit(token)
}

func (d *wordPieceText) flush(func(string)) {}

// cleanups are what the WordPiece decoder rewrites in each token, in this order.
var cleanups = [...][2]string{
	{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
	{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
}
