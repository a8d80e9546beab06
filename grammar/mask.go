package grammar

// part is what the tokens of a vocabulary do in a state that is looked at by itself, without what is below its stacks.
type part struct {
	mask  []uint64 // tokens that stay inside, or end it with their last byte
	exits []int32  // places behind whose byte it may end
	ends  int      // exits on the way to one token, at most
	width int      // stacks of the largest set
	deep  int32    // frames of the highest stack
	whole bool     // false: not to be used, because a limit had to do with it
}

// mask computes which tokens may follow s. Tokens that stay inside the part of the grammar where all stacks of s are were found once for every
// stack below; only what is behind the end of that part is walked again. Where a limit might make a difference, everything is.
func (c *cache) mask(s *set) []uint64 {
	out := make([]uint64, c.v.words)
	c.maskBytes += 8 * len(out)
	if r := c.runOf(s); r != nil && c.composeRun(out, s, r) {
		return out
	}
	clear(out)
	if base := common(s.stacks); base != nil && c.compose(out, s, base) {
		return out
	}
	clear(out)
	c.begun()
	m := c.marks(out, s)
	if !c.walk(m, s, 0, int32(len(c.v.trie))) {
		clear(out)
		c.bytesOnly(out, s)
		return out
	}
	m.done()
	return out
}

// bytesOnly admits the tokens of one byte.
func (c *cache) bytesOnly(out []uint64, s *set) {
	for i := int32(0); i < int32(len(c.v.trie)); i = c.v.trie[i].over {
		if p := &c.v.trie[i]; p.token >= 0 && c.step(s, p.label) != c.none {
			c.v.admit(out, p.token)
		}
	}
}

// common is the longest stack on which all stacks stand; nil if that is no frame.
func common(stacks []stack) *frame {
	if len(stacks) == 0 {
		return nil
	}
	base := stacks[0].on
	for _, s := range stacks[1:] {
		on := s.on
		for base.height() > on.height() {
			base = base.below
		}
		for on.height() > base.height() {
			on = on.below
		}
		for on != base {
			on, base = on.below, base.below
		}
	}
	return base
}

// compose is mask by parts; false if that could differ from a walk.
func (c *cache) compose(out []uint64, s *set, base *frame) bool {
	local := &set{}
	for _, st := range s.stacks {
		on := c.onto(st.on, base)
		local.stacks = append(local.stacks, stack{st.node, on})
		local.deepest = max(local.deepest, on.height())
	}
	local = c.keep(local)
	if local.part == nil {
		local.part = c.look(local)
	}
	p := local.part
	if !p.whole || base.depth+p.deep+c.g.deepest > maxDepth {
		return false
	}
	copy(out, p.mask)
	behind := c.resume(base)
	c.begun()
	c.widest = len(behind.stacks)
	for _, at := range p.exits {
		if !c.walk(marks{c.v, out, false}, behind, at+1, c.v.trie[at].over) {
			return false
		}
	}
	return p.width+p.ends*c.widest <= maxStacks
}

// onto is the frames of on above base, on bottom.
func (c *cache) onto(on, base *frame) *frame {
	if on == base {
		return c.bottom
	}
	return c.push(on.ret, on.count, c.onto(on.below, base))
}

// begun begins to count what a walk meets.
func (c *cache) begun() {
	c.walks++
	c.met, c.widest, c.highest = 0, 0, 0
}

// meet counts a set that the walk has not met before; false if they have too many stacks altogether. It does not depend on what is cached.
func (c *cache) meet(s *set) bool {
	s.walk, s.visits, s.plain = c.walks, 0, 0
	c.met += 1 + len(s.stacks)
	c.widest, c.highest = max(c.widest, len(s.stacks)), max(c.highest, s.deepest)
	return c.met <= maxMet
}

// walk admits the tokens that end at places from from to to, of which the first is reached from s; false if it met too much.
func (c *cache) walk(m marks, s *set, from, to int32) bool {
	if from >= to {
		return true
	}
	trie, path, class := c.v.trie, c.path, &c.g.class
	path[trie[from].depth] = s
	for i := from; i < to; {
		p := &trie[i]
		at := path[p.depth]
		next := at.next[class[p.label]]
		if next == nil {
			next = c.step(at, p.label)
		}
		if next == c.none {
			m.refuse(i)
			i = p.over
			continue
		}
		if next.walk != c.walks && !c.meet(next) {
			return false
		}
		m.admit(p)
		if c.skips(p, next) {
			m.admitBelow(i)
			i = p.over
			continue
		}
		c.visit(next)
		path[p.depth+1] = next
		i++
	}
	return true
}

// look is a walk from a state whose stacks stand on bottom.
func (c *cache) look(s *set) *part {
	p := &part{mask: make([]uint64, c.v.words), whole: true}
	trie, path, class := c.v.trie, c.path, &c.g.class
	m := c.marks(p.mask, s)
	c.begun()
	c.meet(s)
	open := make([]int32, 0, c.v.longest) // exits on the way to where it is
	path[0] = s
	for i := int32(0); i < int32(len(trie)); {
		at := &trie[i]
		from := path[at.depth]
		next := from.next[class[at.label]]
		if next == nil {
			next = c.step(from, at.label)
		}
		if next == c.none {
			m.refuse(i)
			i = at.over
			continue
		}
		if next.walk != c.walks && !c.meet(next) || next.cut || len(p.exits) > maxExits {
			p.whole = false
			break
		}
		m.admit(at)
		if next.exit {
			for len(open) > 0 && trie[open[len(open)-1]].over <= i {
				open = open[:len(open)-1]
			}
			open = append(open, i)
			p.ends = max(p.ends, len(open))
			p.exits = append(p.exits, i)
		}
		if !next.exit && c.skips(at, next) {
			m.admitBelow(i)
			i = at.over
			continue
		}
		c.visit(next)
		path[at.depth+1] = next
		i++
	}
	m.done()
	p.width, p.deep = c.widest, c.highest
	c.maskBytes += 8*len(p.mask) + 4*len(p.exits)
	return p
}
