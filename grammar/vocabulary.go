package grammar

import (
	"bytes"
	"slices"
)

// Vocabulary is the bytes of each token, as a trie. It does not change, and may be shared.
type Vocabulary struct {
	tokens  [][]byte
	trie    []place
	twin    map[int32][]int32 // tokens of the same bytes as the key, which is in the trie
	twins   []uint64          // the keys of twin, as a mask
	all     []uint64          // every token that can be admitted
	order   []int32           // the tokens of the trie, in its order
	longest int               // bytes
	words   int               // of a mask
}

// place is a node of the trie. They stand in preorder, so that a walk reads them one after the other.
type place struct {
	over  int32 // the place behind everything below this one
	token int32 // that ends here, or -1
	rank  int32 // tokens that end at earlier places
	depth uint16
	label byte   // the byte that leads here
	chars uint8  // at most, of the tokens below, behind this byte
	below groups // of these
}

// NewVocabulary takes the bytes of each token id. A token of no bytes (nil: special tokens that do not show) is never admitted, nor is one
// longer than 4096 bytes. The slices are kept.
func NewVocabulary(tokens [][]byte) *Vocabulary {
	v := &Vocabulary{tokens: tokens, twin: map[int32][]int32{}, words: (len(tokens) + 63) / 64}
	v.all, v.twins = make([]uint64, v.words), make([]uint64, v.words)
	order := make([]int32, 0, len(tokens))
	for id, t := range tokens {
		if len(t) > 0 && len(t) <= maxToken {
			order = append(order, int32(id))
			v.all[id>>6] |= 1 << (id & 63)
			v.longest = max(v.longest, len(t))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := bytes.Compare(tokens[a], tokens[b]); c != 0 {
			return c
		}
		return int(a - b)
	})
	v.plant(order)
	return v
}

// plant makes the trie of tokens in the order of their bytes.
func (v *Vocabulary) plant(order []int32) {
	var open []int32 // places of the bytes of the token before
	var ends []suffix
	var before []byte
	closeTo := func(depth int) {
		for len(open) > depth {
			v.trie[open[len(open)-1]].over = int32(len(v.trie))
			open = open[:len(open)-1]
		}
	}
	for _, id := range order {
		t := v.tokens[id]
		shared := 0
		for shared < len(before) && shared < len(t) && before[shared] == t[shared] {
			shared++
		}
		before = t
		closeTo(shared)
		if shared == len(t) { // only of a token of the same bytes, since shorter ones come first
			first := v.trie[open[shared-1]].token
			v.twin[first] = append(v.twin[first], id)
			v.twins[first>>6] |= 1 << (first & 63)
			continue
		}
		for d := shared; d < len(t); d++ {
			open = append(open, int32(len(v.trie)))
			v.trie = append(v.trie, place{token: -1, rank: int32(len(v.order)), depth: uint16(d), label: t[d]})
		}
		v.trie[len(v.trie)-1].token = id
		v.order = append(v.order, id)
		ends = suffixes(ends, t)
		for d, at := range open[:len(open)-1] {
			p := &v.trie[at]
			both := suffix{p.below, p.chars}.most(ends[d+1])
			p.below, p.chars = both.groups, both.chars
		}
	}
	closeTo(0)
}

// bytes of a token that can be admitted; nil for others.
func (v *Vocabulary) bytes(token int32) []byte {
	if token < 0 || int(token) >= len(v.tokens) || len(v.tokens[token]) > maxToken {
		return nil
	}
	return v.tokens[token]
}

// admit sets the bits of the tokens that end at a place.
func (v *Vocabulary) admit(dst []uint64, token int32) {
	dst[token>>6] |= 1 << (token & 63)
	if v.twins[token>>6]>>(token&63)&1 == 1 {
		for _, t := range v.twin[token] {
			dst[t>>6] |= 1 << (t & 63)
		}
	}
}

// below is the range in order of the tokens below a place.
func (v *Vocabulary) below(at int32) (from, to int32) {
	p := &v.trie[at]
	from, to = p.rank, int32(len(v.order))
	if p.token >= 0 {
		from++
	}
	if int(p.over) < len(v.trie) {
		to = v.trie[p.over].rank
	}
	return from, to
}

// admitBelow sets the bits of the tokens that end below a place.
func (v *Vocabulary) admitBelow(dst []uint64, at int32) {
	from, to := v.below(at)
	for _, t := range v.order[from:to] {
		v.admit(dst, t)
	}
}
