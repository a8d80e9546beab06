package grammar

// marks collects the tokens of a walk: those that are admitted, or, where most are, those that are refused, which are fewer.
type marks struct {
	v       *Vocabulary
	bits    []uint64
	refused bool
}

// marks collects tokens of a walk from s in out, which is zero.
func (c *cache) marks(out []uint64, s *set) marks {
	alive := int32(0)
	for i := int32(0); i < int32(len(c.v.trie)); i = c.v.trie[i].over {
		if c.step(s, c.v.trie[i].label) != c.none {
			from, to := c.v.below(i)
			alive += to - from
		}
	}
	return marks{c.v, out, int(alive) > len(c.v.order)/2}
}

// admit is about the token of a place.
func (m marks) admit(p *place) {
	if p.token >= 0 && !m.refused {
		m.v.admit(m.bits, p.token)
	}
}

// admitBelow is about the tokens below a place.
func (m marks) admitBelow(at int32) {
	if !m.refused {
		m.v.admitBelow(m.bits, at)
	}
}

// refuse is about the tokens of a place and below.
func (m marks) refuse(at int32) {
	if m.refused {
		if t := m.v.trie[at].token; t >= 0 {
			m.v.admit(m.bits, t)
		}
		m.v.admitBelow(m.bits, at)
	}
}

// done makes the bits those of the tokens that are admitted.
func (m marks) done() {
	if m.refused {
		for i, all := range m.v.all {
			m.bits[i] = all &^ m.bits[i]
		}
	}
}
