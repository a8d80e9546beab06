package token

import "unicode/utf8"

// bpe joins the characters or bytes of a word by ranked merge rules, the lowest rank first.
// (Sennrich, Haddow and Birch, Neural machine translation of rare words with subword units, 2016.)
type bpe struct {
	bytes    *[256]int32       // ids of the single bytes; nil where words are characters
	chars    map[string]int32  // ids of the vocabulary by text; used for characters and, with whole, for words
	merges   map[uint64]uint64 // rank and result by the pair of ids: see pairKey
	fallback *[256]int32       // ids of <0x00> to <0xFF>, for characters that are not in the vocabulary
	unknown  int32             // -1 where there is none: what cannot be spelt is left out
	fuse     bool              // neighbouring unknown characters are one token
	whole    bool              // a word of the vocabulary is not taken apart (ignore_merges)
}

const none = int32(-1)

// symbol is a token in the making, linked to its neighbours by index.
type symbol struct {
	id         int32 // none once it is part of another
	from, to   int32
	prev, next int32
}

// pairKey is the key of a merge rule.
func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// ruleOf packs a merge rule's rank and result, so that the smaller one is merged first.
func ruleOf(rank int, result int32) uint64 { return uint64(rank)<<32 | uint64(uint32(result)) }

func (m *bpe) cut(word string, s *scratch, out []piece) []piece {
	if m.whole {
		if id, ok := m.chars[word]; ok {
			return append(out, piece{id, 0, int32(len(word))})
		}
	}
	s.symbols = m.spell(word, s.symbols[:0])
	if len(s.symbols) <= shortWord {
		s.symbols = m.mergeShort(s)
	} else {
		m.mergeLong(s)
	}
	for _, y := range s.symbols {
		if y.id != none {
			out = append(out, piece{y.id, y.from, y.to})
		}
	}
	return out
}

// spell appends the symbols that a word starts from.
func (m *bpe) spell(word string, out []symbol) []symbol {
	unknownFrom, unknownTo := none, none
	flush := func() {
		if unknownFrom != none {
			out = append(out, symbol{id: m.unknown, from: unknownFrom, to: unknownTo})
			unknownFrom = none
		}
	}
	for i := 0; i < len(word); {
		id, n := m.unit(word[i:])
		from, to := int32(i), int32(i+n)
		i += n
		switch {
		case id != none:
			flush()
			out = append(out, symbol{id: id, from: from, to: to})
		case m.fallback != nil:
			for k := from; k < to; k++ {
				out = append(out, symbol{id: m.fallback[word[k]], from: k, to: k + 1})
			}
		case m.unknown != none && m.fuse && unknownFrom != none:
			unknownTo = to
		case m.unknown != none:
			flush()
			unknownFrom, unknownTo = from, to
		}
	}
	flush()
	return out
}

// unit returns the id and length of the first byte or character.
func (m *bpe) unit(s string) (int32, int) {
	if m.bytes != nil {
		return m.bytes[s[0]], 1
	}
	_, n := utf8.DecodeRuneInString(s)
	if id, ok := m.chars[s[:n]]; ok {
		return id, n
	}
	return none, n
}
