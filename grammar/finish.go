package grammar

import "fmt"

// finish checks what was built and makes the grammar that begins at start.
func (b *builder) finish(start int32) (*Grammar, error) {
	if b.err != nil {
		return nil, b.err
	}
	g := &Grammar{nodes: b.nodes, start: start, char: b.char}
	empty := b.empties()
	if b.err == nil {
		b.checkProgress(empty)
	}
	if b.err == nil {
		g.need = b.needs()
	}
	if b.err != nil {
		return nil, b.err
	}
	for _, n := range g.need {
		if n != never {
			g.deepest = max(g.deepest, n)
		}
	}
	if g.need[start] == never {
		return nil, fmt.Errorf("%w: no text fits it", ErrMalformed)
	}
	if g.need[start] > maxDepth {
		return nil, &TooLarge{"frames of the shortest text", maxDepth}
	}
	g.classify()
	return g, nil
}

// until repeats pass over all nodes until it changes nothing. Nodes go on at earlier ones but for cycles, so few passes are needed.
func (b *builder) until(pass func(i int, n *node) bool) {
	for changed := true; changed && b.err == nil; {
		changed = false
		for i := range b.nodes {
			if pass(i, &b.nodes[i]) {
				changed = true
			}
		}
		b.step(len(b.nodes) / 64)
	}
}

// empties says of each node whether the end of its part can be reached without a byte.
func (b *builder) empties() []bool {
	empty := make([]bool, len(b.nodes))
	b.until(func(i int, n *node) bool {
		if empty[i] {
			return false
		}
		switch n.op {
		case opEnd:
			empty[i] = true
		case opSplit:
			for _, to := range n.to {
				empty[i] = empty[i] || empty[to]
			}
		case opCall:
			empty[i] = empty[n.sub] && empty[n.next]
		case opLoop:
			empty[i] = (n.min == 0 || empty[n.sub]) && empty[n.next]
		}
		return empty[i]
	})
	return empty
}

// checkProgress refuses a part that can call itself before it took a byte, and a loop over what can be empty: neither would ever end.
func (b *builder) checkProgress(empty []bool) {
	const open, done = 1, 2
	mark := make([]uint8, len(b.nodes))
	// A call that comes back to a node that is open has made no progress. Splits alone may form cycles; they are harmless, so only
	// nodes that push a frame are marked open, and what splits reach is collected first.
	var visit func(at int32)
	var targets func(at int32, seen map[int32]bool, out []int32) []int32
	targets = func(at int32, seen map[int32]bool, out []int32) []int32 {
		stack := []int32{at}
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if seen[at] {
				continue
			}
			seen[at] = true
			b.step(1)
			switch n := &b.nodes[at]; n.op {
			case opSplit:
				stack = append(stack, n.to...)
			case opCall, opLoop:
				out = append(out, at)
				if n.op == opLoop && n.min == 0 || empty[n.sub] {
					stack = append(stack, n.next)
				}
			}
		}
		return out
	}
	depth := 0
	visit = func(at int32) {
		if mark[at] == done || b.err != nil {
			return
		}
		if mark[at] == open || depth > maxDepth {
			b.fail(fmt.Errorf("%w: a part begins with itself", ErrMalformed))
			return
		}
		mark[at] = open
		depth++
		n := &b.nodes[at]
		if n.op == opLoop && empty[n.sub] {
			b.fail(fmt.Errorf("%w: repeats what may be empty", ErrMalformed))
		}
		for _, to := range targets(n.sub, map[int32]bool{}, nil) {
			visit(to)
		}
		depth--
		mark[at] = done
	}
	for i := range b.nodes {
		if o := b.nodes[i].op; o == opCall || o == opLoop {
			visit(int32(i))
		}
	}
}

// needs is, by node, how many frames more than it has a stack must be allowed so that the end can be reached.
func (b *builder) needs() []int32 {
	need := make([]int32, len(b.nodes))
	for i := range need {
		need[i] = never
	}
	b.until(func(i int, n *node) bool {
		least := never
		switch n.op {
		case opEnd:
			least = 0
		case opBytes:
			for _, e := range n.edges {
				least = min(least, need[e.to])
			}
		case opSplit:
			for _, to := range n.to {
				least = min(least, need[to])
			}
		case opCall:
			least = max(min(need[n.sub]+1, never), need[n.next])
		case opLoop:
			if least = need[n.next]; n.min > 0 {
				least = max(min(need[n.sub]+1, never), least)
			}
		}
		if least >= need[i] {
			return false
		}
		need[i] = least
		return true
	})
	return need
}

// classify puts bytes that no edge tells apart into one class.
func (g *Grammar) classify() {
	var cut [257]bool
	for i := range g.nodes {
		for _, e := range g.nodes[i].edges {
			cut[e.lo], cut[int(e.hi)+1] = true, true
		}
	}
	class := 0
	for i := range g.class {
		if i > 0 && cut[i] {
			class++
		}
		g.class[i] = uint8(class)
	}
	g.classes = class + 1
}
