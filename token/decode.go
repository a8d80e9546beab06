package token

import "strings"

// Decode returns the text of tokens. Ids that are not in the vocabulary are left out, and special tokens too where
// skipSpecial is set; bytes that do not make up UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	d := t.NewDecoder(skipSpecial)
	for _, id := range ids {
		d.feed(id)
	}
	return d.Flush()
}

// Decoder turns tokens into text one by one. What its calls return, joined, is what Decode returns for all tokens.
// It is not safe for concurrent use.
type Decoder struct {
	t           *Tokenizer
	skipSpecial bool
	stages      []decodeStage
	emits       []func(string) // emits[i] gives a text to stage i, and the last one to out
	out         strings.Builder
}

// NewDecoder returns a decoder at the start of a text.
func (t *Tokenizer) NewDecoder(skipSpecial bool) *Decoder {
	d := &Decoder{t: t, skipSpecial: skipSpecial}
	d.begin()
	return d
}

// begin puts the decoder at the start of a text.
func (d *Decoder) begin() {
	d.stages, d.emits = nil, nil
	for _, stage := range d.t.decoders {
		d.stages = append(d.stages, stage())
	}
	for i, s := range d.stages {
		d.emits = append(d.emits, func(text string) { s.push(text, d.emits[i+1]) })
	}
	d.emits = append(d.emits, func(text string) { d.out.WriteString(text) })
}

// Push adds a token and returns the text that is certain now: it may be empty while a character is incomplete.
func (d *Decoder) Push(id int32) string {
	d.feed(id)
	return d.take()
}

// Flush returns the text that was held back. The decoder is then at the start of a new text.
func (d *Decoder) Flush() string {
	for i, s := range d.stages {
		s.flush(d.emits[i+1])
	}
	text := d.take()
	d.begin()
	return text
}

func (d *Decoder) feed(id int32) {
	if id < 0 || int(id) >= len(d.t.texts) || !d.t.known[id] || d.skipSpecial && d.t.special[id] {
		return
	}
	d.emits[0](d.t.texts[id])
}

func (d *Decoder) take() string {
	text := d.out.String()
	d.out.Reset()
	return text
}
