package grammar

// op is what a node of the automaton does.
type op uint8

const (
	opEnd   op = iota // the part that was called is complete: go on where its frame says
	opBytes           // take a byte, by edges
	opSplit           // go on at each of to
	opCall            // go on at sub, and when that is complete, at next
	opLoop            // sub, between min and max times (max < 0: without bound), then next; sub is never empty
)

// end is the one node that ends parts.
const end int32 = 0

// never is the need of a node from which no text leads to the end.
const never int32 = 1 << 30

// edge leads on a byte from lo to hi to a node.
type edge struct {
	lo, hi byte
	to     int32
}

// node is a state of the automaton inside of one part.
type node struct {
	op        op
	edges     []edge
	to        []int32
	sub, next int32
	min, max  int32
}

// builder makes nodes. Parts are written back to front: every function is given where to go on and gives where to begin.
// After the first error it makes nothing more and finish gives the error.
type builder struct {
	nodes []node
	steps int
	err   error
	rules map[string]int32 // parts that are made once, by name
	char  int32            // the part of one character of a string, if there is one
}

func newBuilder() *builder {
	return &builder{nodes: []node{{op: opEnd}}, rules: map[string]int32{}}
}

// step counts work.
func (b *builder) step(n int) {
	if b.steps += n; b.steps > maxSteps && b.err == nil {
		b.err = &TooLarge{"steps of compiling", maxSteps}
	}
}

// fail keeps the first error.
func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) add(n node) int32 {
	b.step(1 + len(n.edges) + len(n.to))
	if len(b.nodes) >= maxNodes && b.err == nil {
		b.err = &TooLarge{"nodes of the automaton", maxNodes}
	}
	if b.err != nil {
		return end
	}
	b.nodes = append(b.nodes, n)
	return int32(len(b.nodes) - 1)
}

// bytes takes a byte by edges.
func (b *builder) bytes(edges ...edge) int32 { return b.add(node{op: opBytes, edges: edges}) }

// split goes on at each of to.
func (b *builder) split(to ...int32) int32 {
	if len(to) == 1 {
		return to[0]
	}
	return b.add(node{op: opSplit, to: to})
}

// call goes through the part that begins at sub, then to next. What ends with a part needs no frame for it.
func (b *builder) call(sub, next int32) int32 {
	if next == end {
		return sub
	}
	return b.add(node{op: opCall, sub: sub, next: next})
}

// literal takes the bytes of s.
func (b *builder) literal(s string, next int32) int32 {
	for i := len(s) - 1; i >= 0; i-- {
		next = b.bytes(edge{s[i], s[i], next})
	}
	return next
}

// rule is the part of a name, made by make at its first use. It may call itself.
func (b *builder) rule(name string, make func() int32) int32 {
	if at, ok := b.rules[name]; ok {
		return at
	}
	at := b.add(node{op: opSplit})
	b.rules[name] = at
	if start := make(); b.err == nil {
		b.nodes[at].to = []int32{start}
	}
	return at
}

// loop goes through the part that begins at sub, which is never empty, between least and most times (most < 0: without bound), then to next.
func (b *builder) loop(sub int32, least, most int, next int32) int32 {
	if least > maxCount || most > maxCount {
		b.fail(&TooLarge{"repetitions", maxCount})
	}
	switch {
	case most == 0:
		return next
	case least == 0 && most < 0:
		at := b.add(node{op: opSplit})
		again := b.call(sub, at)
		if b.err == nil {
			b.nodes[at].to = []int32{again, next}
		}
		return at
	case least == 1 && most == 1:
		return b.call(sub, next)
	}
	return b.add(node{op: opLoop, sub: sub, next: next, min: int32(least), max: int32(most)})
}
