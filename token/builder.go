package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// builder gathers what the files say and makes the tokenizer of it.
type builder struct {
	t     *Tokenizer
	cfg   *config
	file  string // the file being read, for errors
	vocab map[string]int32
	size  int // one more than the largest id
	model modelFile
	added []addedToken
	byID  map[int32]int // index in added
	next  int32         // id of the next added token that is not in the vocabulary
}

// modelFile is the model of tokenizer.json.
type modelFile struct {
	Type         string
	Vocab        json.RawMessage
	Merges       json.RawMessage
	Unknown      *string  `json:"unk_token"`
	Prefix       *string  `json:"continuing_subword_prefix"`
	Suffix       *string  `json:"end_of_word_suffix"`
	MaxChars     *int     `json:"max_input_chars_per_word"`
	Dropout      *float64 `json:"dropout"`
	Fuse         bool     `json:"fuse_unk"`
	ByteFallback bool     `json:"byte_fallback"`
	IgnoreMerges bool     `json:"ignore_merges"`

	merges [][2]string
}

// readModel reads a model and its vocabulary. The model itself is made by finish, when the added tokens are known.
func (b *builder) readModel(raw json.RawMessage) error {
	kind, err := b.component(raw, nil)
	if err != nil {
		return err
	}
	switch kind {
	case "BPE", "WordPiece", "":
	default:
		return Unsupported{"model", kind}
	}
	m := &b.model
	if err := decodeJSON(b.file, raw, m); err != nil {
		return err
	}
	if m.Type == "" { // files of old versions
		m.Type = "WordPiece"
		if !isNull(m.Merges) {
			m.Type = "BPE"
		}
	}
	if isNull(m.Vocab) {
		return Invalid{b.file, "model has no vocabulary"}
	}
	if err := b.readVocab(m.Vocab); err != nil {
		return err
	}
	m.Vocab = nil
	if m.Type == "BPE" {
		return b.readMerges(m.Merges)
	}
	return nil
}

// readMerges reads merge rules in either form: "a b", or ["a", "b"].
func (b *builder) readMerges(raw json.RawMessage) error {
	if isNull(raw) {
		return Invalid{b.file, "BPE model has no merges"}
	}
	b.model.Merges = nil
	n, texts := countElements(raw)
	if n > MaxMerges {
		return Invalid{b.file, fmt.Sprintf("%d merges exceed the limit of %d", n, MaxMerges)}
	}
	if bytes.HasPrefix(bytes.TrimLeft(raw[1:], " \t\r\n"), []byte{'"'}) {
		var lines []string
		if err := decodeJSON(b.file, raw, &lines); err != nil {
			return err
		}
		return b.setMergeLines(lines)
	}
	if texts != 2*n {
		return Invalid{b.file, "a merge does not have 2 parts"}
	}
	return decodeJSON(b.file, raw, &b.model.merges)
}

// setMergeLines reads merge rules of the form "a b".
func (b *builder) setMergeLines(lines []string) error {
	b.model.merges = make([][2]string, 0, len(lines))
	for i, line := range lines {
		if strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return Invalid{b.file, fmt.Sprintf("merge %d is not two parts with one space between", i)}
		}
		b.model.merges = append(b.model.merges, [2]string{left, right})
	}
	return nil
}

// readVocab reads a vocabulary: ids by text.
func (b *builder) readVocab(raw json.RawMessage) error {
	if n, _ := countElements(raw); n > MaxVocabulary {
		return Invalid{b.file, fmt.Sprintf("%d vocabulary entries exceed the limit of %d", n, MaxVocabulary)}
	}
	var vocab map[string]int64
	if err := decodeJSON(b.file, raw, &vocab); err != nil {
		return err
	}
	return b.setVocab(vocab)
}

// setVocab checks a vocabulary and keeps it.
func (b *builder) setVocab(vocab map[string]int64) error {
	b.vocab = make(map[string]int32, len(vocab))
	used := make([]bool, 0, len(vocab))
	for text, id := range vocab {
		if len(text) > MaxTokenBytes {
			return Invalid{b.file, fmt.Sprintf("a token of %d bytes exceeds the limit of %d", len(text), MaxTokenBytes)}
		}
		if !validID(id) {
			return Invalid{b.file, fmt.Sprintf("token id out of range 0 to %d", MaxVocabulary-1)}
		}
		for len(used) <= int(id) {
			used = append(used, false)
		}
		if used[id] {
			return Invalid{b.file, "two tokens have the same id"}
		}
		used[id] = true
		b.vocab[text] = int32(id)
	}
	b.size, b.next = len(used), int32(len(vocab))
	return nil
}

// add adds a token to be found in the text. One that the vocabulary has keeps the vocabulary's id; others are numbered
// on from the vocabulary in the order of the file, as the reference does, and declared must agree.
func (b *builder) add(a addedFile, declared int64) error {
	if a.Content == "" {
		return nil
	}
	if len(a.Content) > MaxAddedBytes {
		return Invalid{b.file, fmt.Sprintf("an added token of %d bytes exceeds the limit of %d", len(a.Content), MaxAddedBytes)}
	}
	id, ok := b.vocab[a.Content]
	if !ok {
		id = b.next
		if int64(id) != declared || !validID(declared) {
			return Invalid{b.file, fmt.Sprintf("added token %q has id %d where %d comes next", a.Content, declared, id)}
		}
		b.vocab[a.Content] = id
		b.next++
		b.size = max(b.size, int(b.next))
	}
	tok := addedToken{
		id: id, content: a.Content, match: a.Content, special: a.Special,
		singleWord: a.SingleWord, lstrip: a.LStrip, rstrip: a.RStrip, normalized: a.Normalized,
	}
	if tok.normalized {
		norm := aligned{text: a.Content}
		var err error
		for _, n := range b.t.normalizers {
			if norm, err = n.apply(norm); err != nil {
				return err
			}
		}
		tok.match = norm.text
	}
	if b.byID == nil {
		b.byID = map[int32]int{}
	}
	if at, ok := b.byID[id]; ok {
		b.added[at] = tok
		return nil
	}
	b.byID[id] = len(b.added)
	b.added = append(b.added, tok)
	return nil
}

// addConfigured adds the tokens that only tokenizer_config.json and its kin name.
func (b *builder) addConfigured() error {
	have := func(text string) bool {
		id, ok := b.vocab[text]
		if ok {
			_, ok = b.byID[id]
		}
		return ok
	}
	for _, a := range b.cfg.added {
		if !have(a.Content) {
			if err := b.add(a, *a.ID); err != nil {
				return err
			}
		}
	}
	texts := b.cfg.extra
	for _, n := range b.cfg.names {
		texts = append(texts, n.text)
	}
	for _, text := range texts {
		if id, ok := b.vocab[text]; ok && !have(text) {
			if err := b.add(addedFile{Content: text, Special: true}, int64(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish makes the tokenizer.
func (b *builder) finish() (*Tokenizer, error) {
	t := b.t
	if b.model.Unknown != nil {
		b.cfg.names.set("unk_token", *b.model.Unknown)
	}
	if err := b.addConfigured(); err != nil {
		return nil, err
	}
	t.ids, t.names = b.vocab, b.cfg.names
	t.template, t.hasTemplate = b.cfg.template, b.cfg.hasTemplate
	t.texts, t.known, t.special = make([]string, b.size), make([]bool, b.size), make([]bool, b.size)
	for text, id := range b.vocab {
		t.texts[id], t.known[id] = text, true
	}
	var raw, norm []addedToken
	for _, a := range b.added {
		t.special[a.id] = a.special
		switch {
		case a.match == "":
		case a.normalized:
			t.texts[a.id] = a.match
			norm = append(norm, a)
		default:
			raw = append(raw, a)
		}
	}
	t.rawAdded, t.normAdded = newMatcher(raw), newMatcher(norm)
	if t.single == nil {
		t.single, t.pair = plainSingle(), plainPair()
	}
	for _, p := range append(t.single[:len(t.single):len(t.single)], t.pair...) {
		for _, id := range p.ids {
			if int(id) >= b.size || !t.known[id] {
				return nil, Invalid{b.file, fmt.Sprintf("template token id %d is not in the vocabulary", id)}
			}
		}
	}
	if t.decoders == nil {
		t.decoders = []func() decodeStage{func() decodeStage { return &spaced{} }}
	}
	var err error
	t.model, err = b.makeModel()
	return t, err
}

// reserved reports whether a vocabulary entry is a special token that the model must not produce from plain text:
// spelt out in what a user sends, it would otherwise be taken for the real one.
func (b *builder) reserved(text string, id int32) bool {
	at, ok := b.byID[id]
	if !ok || !b.added[at].special {
		return false
	}
	return utf8.RuneCountInString(text) > 1
}
