package token

import "unicode/utf8"

// wordPiece cuts a word into the longest vocabulary entries from left to right; a word that does not come out whole
// is unknown. (Schuster and Nakajima, Japanese and Korean voice search, 2012.)
type wordPiece struct {
	heads    map[string]int32 // entries that start a word
	tails    map[string]int32 // entries that continue one, without their prefix
	unknown  int32
	maxChars int // characters of a longer word are not looked at
	maxBytes int // of the longest entry
}

func newWordPiece(vocab map[string]int32, prefix string, unknown int32, maxChars int, skip func(string, int32) bool) *wordPiece {
	m := &wordPiece{
		heads:    make(map[string]int32, len(vocab)),
		tails:    make(map[string]int32, len(vocab)),
		unknown:  unknown,
		maxChars: maxChars,
	}
	for text, id := range vocab {
		if skip(text, id) {
			continue
		}
		m.maxBytes = max(m.maxBytes, len(text))
		m.heads[text] = id
		if len(text) > len(prefix) && text[:len(prefix)] == prefix {
			m.tails[text[len(prefix):]] = id
		}
	}
	return m
}

func (m *wordPiece) cut(word string, _ *scratch, out []piece) []piece {
	unknown := piece{m.unknown, 0, int32(len(word))}
	if len(word) > m.maxChars && utf8.RuneCountInString(word) > m.maxChars {
		return append(out, unknown)
	}
	mark := len(out)
	entries := m.heads
	for start := 0; start < len(word); {
		end := min(len(word), start+m.maxBytes)
		id, found := int32(0), false
		for ; end > start; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			if id, found = entries[word[start:end]]; found {
				break
			}
		}
		if !found {
			return append(out[:mark], unknown)
		}
		out = append(out, piece{id, int32(start), int32(end)})
		start, entries = end, m.tails
	}
	return out
}
