package token

import (
	"bytes"
	"strconv"
	"strings"
)

// Bytes returns what a token adds to a text that has begun: the bytes of all tokens of an answer, joined, are the answer's text, but for
// what DropsSpace says of the first one. ok is false for a token that adds no text of its own: a special one, one that is not in the
// vocabulary, and one whose text depends on where it is. The bytes need not be UTF-8.
func (t *Tokenizer) Bytes(id int32) (text []byte, ok bool) {
	if id < 0 || int(id) >= len(t.texts) || !t.known[id] || t.special[id] {
		return nil, false
	}
	text = []byte(t.texts[id])
	for _, stage := range t.decoders {
		r, is := stage().(rawStage)
		if !is {
			return nil, false
		}
		if text, ok = r.raw(text); !ok {
			return nil, false
		}
	}
	return text, true
}

// DropsSpace says that a space is left out where a text begins: its first token shows without it.
func (t *Tokenizer) DropsSpace() bool {
	for _, stage := range t.decoders {
		if r, is := stage().(rawStage); is && r.drops() {
			return true
		}
	}
	return false
}

// rawStage is a stage that can say what becomes of one token in a text that has begun, bytes that are no characters included.
type rawStage interface {
	raw(token []byte) (text []byte, ok bool)
	drops() bool // a space at the start of the whole text
}

func (d *spaced) raw(token []byte) ([]byte, bool) { return append([]byte{' '}, token...), true }
func (d *spaced) drops() bool                     { return true }

func (d *byteText) raw(token []byte) ([]byte, bool) {
	if raw, ok := bytesOf(string(token)); ok {
		return []byte(raw), true
	}
	return token, true
}
func (d *byteText) drops() bool { return false }

func (d *byteFallback) raw(token []byte) ([]byte, bool) {
	if b, ok := fallbackByte(string(token)); ok {
		return []byte{b}, true
	}
	return token, true
}
func (d *byteFallback) drops() bool { return false }

// fallbackByte reads a token like <0x41>.
func fallbackByte(token string) (byte, bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(b), err == nil
}

func (d replaced) raw(token []byte) ([]byte, bool) {
	return bytes.ReplaceAll(token, []byte(d.old), []byte(d.new)), true
}
func (d replaced) drops() bool { return false }

// raw of a strip from the whole text: only one space is known to Bytes.
func (d *stripStart) raw(token []byte) ([]byte, bool) {
	if d.whole {
		return token, d.count == 0 || d.count == 1 && d.char == " "
	}
	for range d.count {
		token = bytes.TrimPrefix(token, []byte(d.char))
	}
	return token, true
}
func (d *stripStart) drops() bool { return d.whole && d.count > 0 }

// raw leaves out tokens that have a mark elsewhere than at their start: as the first token they show without that too.
func (d *metaspaceText) raw(token []byte) ([]byte, bool) {
	if !d.keep && bytes.LastIndex(token, []byte(d.mark)) > 0 {
		return nil, false
	}
	return bytes.ReplaceAll(token, []byte(d.mark), []byte{' '}), true
}
func (d *metaspaceText) drops() bool { return !d.keep }

func (d *wordPieceText) raw(token []byte) ([]byte, bool) {
	text := string(token)
	if rest, ok := strings.CutPrefix(text, d.prefix); ok {
		text = rest
	} else {
		text = " " + text
	}
	if d.clean {
		for _, c := range cleanups {
			text = strings.ReplaceAll(text, c[0], c[1])
		}
	}
	return []byte(text), true
}
func (d *wordPieceText) drops() bool { return true }

// Texts are the bytes of the tokens of a model with so many ids: nil where a token adds no text of its own. Of special tokens those that
// marks spell are text.
func (t *Tokenizer) Texts(vocab int, marks []string) [][]byte {
	out := make([][]byte, vocab)
	for id := range out {
		out[id], _ = t.Bytes(int32(id))
	}
	for _, mark := range marks {
		if id, ok := t.ID(mark); ok && int(id) < vocab && t.IsSpecial(id) {
			out[id] = []byte(mark)
		}
	}
	return out
}
