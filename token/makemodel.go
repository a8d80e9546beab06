package token

import "fmt"

// makeModel makes the model of the vocabulary and, for BPE, the merges.
func (b *builder) makeModel() (model, error) {
	if b.model.Type == "WordPiece" {
		return b.makeWordPiece()
	}
	return b.makeBPE()
}

func (b *builder) makeWordPiece() (model, error) {
	m := b.model
	unknown, prefix, maxChars := "[UNK]", "##", 100
	if m.Unknown != nil {
		unknown = *m.Unknown
	}
	if m.Prefix != nil {
		prefix = *m.Prefix
	}
	if m.MaxChars != nil {
		maxChars = *m.MaxChars
	}
	if maxChars < 1 || maxChars > MaxWordChars {
		return nil, Invalid{b.file, fmt.Sprintf("max_input_chars_per_word %d is not in 1 to %d", maxChars, MaxWordChars)}
	}
	id, ok := b.vocab[unknown]
	if !ok {
		return nil, Invalid{b.file, fmt.Sprintf("unknown token %.40q is not in the vocabulary", unknown)}
	}
	if b.t.byteLevel {
		return nil, Unsupported{"model after ByteLevel", m.Type}
	}
	return newWordPiece(b.vocab, prefix, id, maxChars, b.reserved), nil
}

func (b *builder) makeBPE() (model, error) {
	m := b.model
	switch {
	case m.Prefix != nil && *m.Prefix != "":
		return nil, Unsupported{"continuing_subword_prefix of BPE", *m.Prefix}
	case m.Suffix != nil && *m.Suffix != "":
		return nil, Unsupported{"end_of_word_suffix of BPE", *m.Suffix}
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, Unsupported{"BPE option", "dropout"}
	}
	p := &bpe{unknown: none, fuse: m.Fuse, whole: m.IgnoreMerges}
	if m.Unknown != nil {
		id, ok := b.vocab[*m.Unknown]
		if !ok {
			return nil, Invalid{b.file, fmt.Sprintf("unknown token %.40q is not in the vocabulary", *m.Unknown)}
		}
		p.unknown = id
	}
	var err error
	if p.merges, err = b.mergeRules(); err != nil {
		return nil, err
	}
	if b.t.byteLevel {
		return p, b.byteUnits(p)
	}
	p.chars = make(map[string]int32, len(b.vocab))
	for text, id := range b.vocab {
		if !b.reserved(text, id) && text != "" {
			p.chars[text] = id
		}
	}
	if m.ByteFallback {
		p.fallback, err = b.fallbackUnits()
	}
	return p, err
}

// byteUnits fills in what a BPE over bytes starts from.
func (b *builder) byteUnits(p *bpe) error {
	p.bytes = new([256]int32)
	missing := 0
	for c, r := range byteRunes {
		id, ok := b.vocab[string(r)]
		if !ok {
			id = none
			missing++
		}
		p.bytes[c] = id
	}
	if missing > 0 && b.model.ByteFallback {
		return Unsupported{"BPE option", "byte_fallback with ByteLevel"}
	}
	if !p.whole {
		return nil
	}
	p.chars = make(map[string]int32, len(b.vocab))
	for text, id := range b.vocab {
		if raw, ok := bytesOf(text); ok && !b.reserved(text, id) {
			p.chars[raw] = id
		}
	}
	return nil
}

// fallbackUnits returns the ids of the byte tokens. A vocabulary that has none of them has no fallback.
func (b *builder) fallbackUnits() (*[256]int32, error) {
	units, found := new([256]int32), 0
	for c := range units {
		id, ok := b.vocab[fmt.Sprintf("<0x%02X>", c)]
		if ok {
			units[c] = id
			found++
		}
	}
	switch found {
	case 0:
		return nil, nil
	case len(units):
		return units, nil
	}
	return nil, Unsupported{"BPE option", "byte_fallback with a part of the bytes"}
}

// mergeRules returns the merge rules by pair. The last of equal pairs counts.
func (b *builder) mergeRules() (map[uint64]uint64, error) {
	rules := make(map[uint64]uint64, len(b.model.merges))
	for rank, m := range b.model.merges {
		left, ok1 := b.vocab[m[0]]
		right, ok2 := b.vocab[m[1]]
		result, ok3 := b.vocab[m[0]+m[1]]
		if !ok1 || !ok2 || !ok3 {
			return nil, Invalid{b.file, fmt.Sprintf("merge %d, %.40q + %.40q, is not in the vocabulary", rank, m[0], m[1])}
		}
		if !b.reserved(m[0]+m[1], result) {
			rules[pairKey(left, right)] = ruleOf(rank, result)
		}
	}
	b.model.merges = nil
	return rules, nil
}
