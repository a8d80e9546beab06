package grammar

import "fmt"

// Matcher is the state of one answer. It shares the cache of its grammar: one goroutine uses a grammar and all its matchers at a time.
type Matcher struct {
	c   *cache
	age int // of the cache when at was of it
	at  *set
}

// Start is the state of an answer before its first token.
func (g *Grammar) Start(v *Vocabulary) *Matcher {
	if g.last == nil || g.last.v != v {
		g.last = newCache(g, v)
	}
	c := g.last
	return &Matcher{c: c, age: c.age, at: c.begin(g.start, nil)}
}

// state is the set of the matcher, in the cache.
func (m *Matcher) state() *set {
	if m.c.full() {
		m.c.empty()
	}
	if m.age != m.c.age {
		m.at, m.age = m.c.bring(m.at), m.c.age
	}
	return m.at
}

// Take appends a token to the answer. An error wraps ErrRejected if the token may not follow; the state is unchanged then.
func (m *Matcher) Take(token int32) error {
	text := m.c.v.bytes(token)
	if len(text) == 0 {
		return fmt.Errorf("%w: %d shows no text", ErrRejected, token)
	}
	s := m.state()
	for i, b := range text {
		if s = m.c.step(s, b); s.dead() {
			return fmt.Errorf("%w: %d, %q, at byte %d", ErrRejected, token, text, i)
		}
	}
	m.at = s
	return nil
}

// Complete says that the answer may end here: the caller admits end-of-sequence tokens exactly then.
func (m *Matcher) Complete() bool { return m.at.accept }

// Mask is one bit per token id, in words of 64, lowest id and bit first, of the tokens that may follow; end-of-sequence tokens are not among
// them. It is written to dst if that has room. A mask without a bit that is not Complete is impossible if the vocabulary has each single byte.
func (m *Matcher) Mask(dst []uint64) []uint64 {
	words := m.c.v.words
	if cap(dst) < words {
		dst = make([]uint64, words)
	}
	dst = dst[:words]
	copy(dst, m.mask())
	return dst
}

// Err is ErrStuck if no token may follow and the answer may not end. That is possible only with a vocabulary that lacks a byte.
func (m *Matcher) Err() error {
	if m.Complete() {
		return nil
	}
	for _, word := range m.mask() {
		if word != 0 {
			return nil
		}
	}
	return ErrStuck
}

// mask is the mask of the state, which is the cache's.
func (m *Matcher) mask() []uint64 {
	s := m.state()
	if s.mask == nil {
		s.mask = m.c.mask(s)
	}
	return s.mask
}
