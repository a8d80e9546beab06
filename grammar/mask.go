package grammar

// part is what the tokens of a vocabulary do in a part of a grammar that is looked at by itself, without what is below it.
type part struct {
	mask  []uint64 // tokens that stay inside
	exits []int32  // places behind whose byte the part may end
	width int      // stacks of the largest set
	ends  int      // exits on the way to one token, at most
	deep  int32    // frames of the highest stack
	whole bool     // false: not to be used, because limits or too many exits
}

// mask computes which tokens may follow s.
func (c *cache) mask(s *set) []uint64 {
	out := make([]uint64, c.v.words)
	c.maskBytes += 8 * len(out)
	c.walk(out, s, 0, int32(len(c.v.trie)))
	return out
}

// walk admits the tokens that end between two places, of which the first is below where s stands.
func (c *cache) walk(out []uint64, s *set, from, to int32) {
	if from >= to {
		return
	}
	trie := c.v.trie
	c.path[trie[from].depth] = s
	for i := from; i < to; {
		p := &trie[i]
		at := c.path[p.depth]
		next := at.next[c.g.class[p.label]]
		if next == nil {
			next = c.step(at, p.label)
		}
		if next == c.none {
			i = p.over
			continue
		}
		if p.token >= 0 {
			c.v.admit(out, p.token)
		}
		c.path[p.depth+1] = next
		i++
	}
}
