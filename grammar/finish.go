package grammar

import "fmt"

// finish checks what was built and makes the grammar that begins at start.
func (b *builder) finish(start int32) (*Grammar, error) {
	if b.err != nil {
		return nil, b.err
	}
	g := &Grammar{nodes: b.nodes, start: start, char: b.char}
	if g.need = b.needs(); b.err != nil {
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

// needs is, by node, how many frames more than it has a stack must be allowed so that the end can be reached.
func (b *builder) needs() []int32 {
	need := make([]int32, len(b.nodes))
	for i := range need {
		need[i] = never
	}
	// Nodes go on at earlier ones but for cycles and parts that were promised, so few passes are needed.
	for changed := true; changed && b.err == nil; b.step(len(b.nodes) / 64) {
		changed = false
		for i := range b.nodes {
			if least := b.nodes[i].need(need); least < need[i] {
				need[i], changed = least, true
			}
		}
	}
	return need
}

// need is the need of a node, given the needs of those behind it.
func (n *node) need(need []int32) int32 {
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
	return least
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
