// Package token turns text into token ids and back, exactly as the Hugging Face tokenizers library does.
//
// It knows byte-level BPE (GPT-2, Llama 3, Qwen2 and their relatives), SentencePiece-like BPE with byte fallback
// (Llama 2, Mistral) and WordPiece (BERT). What it does not know it refuses by name: a tokenizer that is almost right
// gives a model text it was never trained on.
package token

import "unicode/utf8"

// Tokenizer is a loaded tokenizer. It is immutable, and safe for concurrent use.
type Tokenizer struct {
	normalizers []normalizer
	splitters   []splitter
	model       model
	rawAdded    matcher // matched in the text as given
	normAdded   matcher // matched in the normalized text
	single      []templatePart
	pair        []templatePart
	trim        trimRule
	byteLevel   bool // words are raw bytes rather than characters
	decoders    []func() decodeStage
	texts       []string // by id; the form that decoders take
	known       []bool   // by id
	special     []bool   // by id
	ids         map[string]int32
	names       specialNames
	template    string
	hasTemplate bool
}

// Span is a range of bytes [From, To) of the text that was encoded.
type Span struct {
	From, To int32
}

// EncodeOptions says what Encode adds and what it reads in the text.
type EncodeOptions struct {
	// AddSpecial adds the special tokens of the model's template, such as BOS, or [CLS] and [SEP].
	AddSpecial bool
	// ParseSpecial turns special tokens that are spelt out in the text into their ids. Leave it off for text from users.
	ParseSpecial bool
	// Literal are ranges of the text, sorted and not overlapping, in which special tokens are never read even with
	// ParseSpecial: the parts of a rendered chat prompt that came from users.
	Literal []Span
}

// Encoding is an encoded text. The slices have the same length, one element for each token.
type Encoding struct {
	IDs     []int32
	TypeIDs []int32 // 0 for the first text and 1 for the second, as the model's template says
	Offsets []Span  // where in its text a token came from; {0, 0} for tokens that AddSpecial put in
	Words   []int32 // which word of its text a token is of, as the tokenizer cuts texts into words; −1 for tokens that AddSpecial put in
	Texts   []int8  // 0 for tokens of the first text, 1 for those of the second; −1 for tokens that AddSpecial put in
}

// Encode returns the tokens of a text.
// It fails with InvalidText where the text is not UTF-8, and with TooLong where it exceeds MaxTextBytes.
func (t *Tokenizer) Encode(text string, opts EncodeOptions) (Encoding, error) {
	one, err := t.encodeText(text, opts)
	if err != nil {
		return Encoding{}, err
	}
	return assemble(t.single, opts.AddSpecial, one), nil
}

// EncodePair returns the tokens of two texts joined by the model's template for pairs. opts.Literal is not used.
func (t *Tokenizer) EncodePair(a, b string, opts EncodeOptions) (Encoding, error) {
	opts.Literal = nil
	first, err := t.encodeText(a, opts)
	if err != nil {
		return Encoding{}, err
	}
	second, err := t.encodeText(b, opts)
	if err != nil {
		return Encoding{}, err
	}
	return assemble(t.pair, opts.AddSpecial, first, second), nil
}

// Around puts the special tokens of the model's template around a text that was encoded without them, or around a part of one.
func (t *Tokenizer) Around(a Encoding) Encoding {
	return assemble(t.single, true, sequence{a.IDs, a.Offsets, a.Words})
}

// Pair joins two texts that were encoded without special tokens, or parts of them, as EncodePair does.
func (t *Tokenizer) Pair(a, b Encoding) Encoding {
	return assemble(t.pair, true, sequence{a.IDs, a.Offsets, a.Words}, sequence{b.IDs, b.Offsets, b.Words})
}

// Part is the tokens [from, to) of an encoding.
func (e Encoding) Part(from, to int) Encoding {
	return Encoding{IDs: e.IDs[from:to], TypeIDs: e.TypeIDs[from:to], Offsets: e.Offsets[from:to], Words: e.Words[from:to], Texts: e.Texts[from:to]}
}

// encodeText runs added tokens, normalization, splitting and the model over one text, in that order.
func (t *Tokenizer) encodeText(text string, opts EncodeOptions) (sequence, error) {
	if len(text) > MaxTextBytes {
		return sequence{}, TooLong{What: "text", Bytes: len(text), Limit: MaxTextBytes}
	}
	if !utf8.ValidString(text) {
		return sequence{}, InvalidText{Offset: firstInvalid(text)}
	}
	e := newEncoder(t, text)
	whole := aligned{text: text}
	t.rawAdded.cut(whole, opts, e.added, func(a aligned) {
		if e.err != nil {
			return
		}
		for _, n := range t.normalizers {
			if a, e.err = n.apply(a); e.err != nil {
				return
			}
		}
		t.normAdded.cut(a, opts, e.added, func(rest aligned) { e.split(0, rest) })
	})
	return e.out, e.err
}

// firstInvalid returns the offset of the first byte that is not UTF-8.
func firstInvalid(s string) int {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(s)
}

// VocabSize returns the number of ids: one more than the largest.
func (t *Tokenizer) VocabSize() int { return len(t.texts) }

// ID returns the id of a token by its exact spelling in the tokenizer's files.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// IsSpecial reports whether an id is a special token, which Decode can leave out.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// BOS returns the id of the token that begins a text.
func (t *Tokenizer) BOS() (int32, bool) { return t.named("bos_token") }

// EOS returns the id of the token that ends a text.
func (t *Tokenizer) EOS() (int32, bool) { return t.named("eos_token") }

// PAD returns the id of the padding token.
func (t *Tokenizer) PAD() (int32, bool) { return t.named("pad_token") }

// UNK returns the id of the token for what the vocabulary cannot spell.
func (t *Tokenizer) UNK() (int32, bool) { return t.named("unk_token") }

// CLS returns the id of the token whose vector stands for the whole text.
func (t *Tokenizer) CLS() (int32, bool) { return t.named("cls_token") }

// SEP returns the id of the token between two texts.
func (t *Tokenizer) SEP() (int32, bool) { return t.named("sep_token") }

// MASK returns the id of the token that a masked model fills in.
func (t *Tokenizer) MASK() (int32, bool) { return t.named("mask_token") }

func (t *Tokenizer) named(role string) (int32, bool) {
	text, ok := t.names.get(role)
	if !ok {
		return 0, false
	}
	return t.ID(text)
}

// ChatTemplate returns the Jinja source of the chat template, if the files have one.
func (t *Tokenizer) ChatTemplate() (string, bool) { return t.template, t.hasTemplate }

// TemplateTokens returns the special tokens' spellings under the names that chat templates use
// ("bos_token", "eos_token", "pad_token", ...). The map is the caller's.
func (t *Tokenizer) TemplateTokens() map[string]string {
	m := make(map[string]string, len(t.names))
	for _, n := range t.names {
		m[n.role] = n.text
	}
	return m
}
