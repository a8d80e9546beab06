package grammar

// run is what the tokens of a vocabulary do in a string whose characters are counted, from a place in one of them on. One is enough for all counts.
type run struct {
	tokens [][]int32  // that stay inside the string, by how many characters they begin or go on with
	masks  [][]uint64 // of those of at most so many; nil: not made yet
	closes []closing
}

// closing is a place whose byte is the quote that ends the string, behind so many characters.
type closing struct {
	at    int32
	chars int
}

// counted is a state within a string whose characters are counted.
type counted struct {
	loop    *node
	frame   *frame // of the characters
	mayStop bool   // the string may end before another character
}

// runOf says whether s is a state within a string whose characters are counted, and nothing else.
func (c *cache) runOf(s *set) *counted {
	r := &counted{}
	for _, st := range s.stacks {
		if st.on == nil || st.on == c.bottom {
			continue
		}
		if n := &c.g.nodes[st.on.ret]; n.op == opLoop && n.sub == c.g.char && c.g.char != end {
			r.loop, r.frame = n, st.on
			break
		}
	}
	if r.frame == nil {
		return nil
	}
	for _, st := range s.stacks {
		switch {
		case st.on == r.frame:
		case st.on == r.frame.below && st.node == r.loop.next:
			r.mayStop = true
		default:
			return nil
		}
	}
	return r
}

// composeRun is mask in such a state; false if it could differ from a walk.
func (c *cache) composeRun(out []uint64, s *set, r *counted) bool {
	local := &set{}
	for _, st := range s.stacks {
		if st.on == r.frame {
			local.stacks = append(local.stacks, stack{st.node, c.bottom})
		}
	}
	local = c.keep(local)
	if local.run == nil {
		local.run = c.lookRun(local)
	}
	done := int(r.frame.count) - 1 // characters that are complete, or more if any number of them may follow
	room := c.v.longest
	if r.loop.max >= 0 {
		room = min(room, int(r.loop.max)-done)
	}
	copy(out, c.most(local.run, room))
	behind := c.step(c.begin(r.loop.next, r.frame.below), '"')
	c.begun()
	c.meet(behind)
	for _, cl := range local.run.closes {
		if cl.chars > room || cl.chars == 0 && !r.mayStop || cl.chars > 0 && done+cl.chars < int(r.loop.min) {
			continue
		}
		p := &c.v.trie[cl.at]
		if p.token >= 0 {
			c.v.admit(out, p.token)
		}
		if !c.walk(marks{c.v, out, false}, behind, cl.at+1, p.over) {
			return false
		}
	}
	return c.widest+2 <= maxStacks
}

// most is the mask of the tokens of a run with at most room characters.
func (c *cache) most(r *run, room int) []uint64 {
	room = min(room, len(r.tokens)-1)
	if r.masks[room] != nil {
		return r.masks[room]
	}
	m := make([]uint64, c.v.words)
	fewer := room - 1
	for fewer >= 0 && r.masks[fewer] == nil {
		fewer--
	}
	if fewer >= 0 {
		copy(m, r.masks[fewer])
	}
	for _, tokens := range r.tokens[fewer+1 : room+1] {
		for _, t := range tokens {
			c.v.admit(m, t)
		}
	}
	r.masks[room] = m
	c.maskBytes += 8 * len(m)
	return m
}

// lookRun is a walk from a place in a character. Characters have one way to be written each byte by byte, so that a state is at the beginning
// of one or inside.
func (c *cache) lookRun(s *set) *run {
	r := &run{tokens: make([][]int32, 1)}
	trie := c.v.trie
	fresh := c.begin(c.g.char, c.bottom)
	chars := make([]int, len(c.path)) // complete, by depth
	c.path[0] = s
	tokens := 0
	for i := int32(0); i < int32(len(trie)); {
		p := &trie[i]
		at, n := c.path[p.depth], chars[p.depth]
		next := at.next[c.g.class[p.label]]
		if next == nil {
			next = c.step(at, p.label)
		}
		if next == c.none {
			if p.label == '"' && at == fresh {
				r.closes = append(r.closes, closing{i, n})
			}
			i = p.over
			continue
		}
		chars[p.depth+1] = n
		if next.exit {
			next = fresh
			chars[p.depth+1]++
		}
		if p.token >= 0 {
			for len(r.tokens) <= n+1 {
				r.tokens = append(r.tokens, nil)
			}
			r.tokens[n+1] = append(r.tokens[n+1], p.token)
			tokens++
		}
		c.path[p.depth+1] = next
		i++
	}
	r.masks = make([][]uint64, len(r.tokens))
	c.maskBytes += 4*tokens + 12*len(r.closes)
	return r
}
