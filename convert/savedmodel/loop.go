package savedmodel

import (
	"fmt"
	"slices"

	"github.com/skein-project/skein/model"
)

// Limits of loops.
const (
	maxTurns    = 1 << 12 // of one loop, and tensors of a list
	maxAllTurns = 1 << 14 // of all loops
	maxListed   = 1 << 24 // places in all lists
)

// byLength is what the owner of a model can do where it is not known how a loop runs.
const byLength = "loops and branches are mapped only where the graph itself says how they run, such as a recurrent layer over texts of one length: " +
	`choose that length in skein.json, {"shapes": {"INPUT": [-1, 128]}}, save the signature with it in place of None, or convert the model to ONNX with ` +
	"tf2onnx and give that"

// body finds the function that an attribute names.
func (c *call) body(name string) *function {
	a := c.n.def.attrs[name]
	fn := c.b.f.graph.functions[a.text]
	switch {
	case a.kind != callAttr || fn == nil:
		c.refuse("calls function %.80q, which is not there", a.text)
	case fn.lists:
		c.refuse("calls a function with lists of tensors as arguments")
	case c.n.depth >= MaxDepth:
		c.refuse("is a call within more than %d others", MaxDepth)
	}
	return fn
}

// apply puts the body of a function in place, with these arguments, and gives its outputs.
func (c *call) apply(fn *function, turn int, args []*value) []*value {
	b := c.b
	if len(args) != len(fn.args) {
		c.refuse("gives %d arguments to a function of %d", len(args), len(fn.args))
	}
	if c.err != nil {
		return nil
	}
	s := b.f.open(fn, fmt.Sprintf("%s[%d]/", short(c.n.path), turn), c.n.depth+1)
	s.bound = make([]edge, len(args))
	for i, v := range args {
		arg := &flat{path: s.path + fn.args[i], def: &node{name: fn.args[i], op: "argument"}}
		b.values[arg] = []*value{v}
		s.bound[i] = edge{arg, 0}
	}
	from := len(b.f.order)
	ends := make([]edge, len(fn.result))
	for i, name := range fn.result {
		if ends[i], c.err = b.f.value(s, fn.returns[name]); c.err != nil {
			return nil
		}
	}
	for _, n := range slices.Clone(b.f.order[from:]) {
		if c.err = b.node(n); c.err != nil {
			return nil
		}
	}
	out := make([]*value, len(ends))
	for i, e := range ends {
		vs := b.values[e.node]
		if e.out >= len(vs) || vs[e.out] == nil {
			c.refuse("output %d of function %.80q is not mapped", i, fn.name)
			return nil
		}
		out[i] = vs[e.out]
	}
	return out
}

// decided is whether a condition holds, which must be known.
func (c *call) decided(v *value) bool {
	if len(v.known) != 1 || !v.whole() {
		c.refuse("operation %q is not supported here: %s", c.n.def.op, byLength)
		return false
	}
	return v.known[0] != 0
}

// whileOp writes the turns of a loop one behind the other.
func whileOp(c *call) {
	condition, body := c.body("cond"), c.body("body")
	vars := c.in
	for turn := 0; c.err == nil; turn++ {
		goes := c.apply(condition, turn, vars)
		if c.err == nil && len(goes) != 1 {
			c.refuse("its condition is not one truth value")
		}
		if c.err != nil || !c.decided(goes[0]) {
			break
		}
		if c.b.turns++; turn >= maxTurns || c.b.turns > maxAllTurns {
			c.refuse("runs more than %d times, or all loops more than %d times", maxTurns, maxAllTurns)
			break
		}
		if vars = c.apply(body, turn, vars); c.err == nil && len(vars) != len(c.in) {
			c.refuse("its body gives %d values for %d", len(vars), len(c.in))
		}
	}
	c.out = vars
}

// ifOp puts the branch in place that runs.
func ifOp(c *call) {
	name := "else_branch"
	if c.decided(c.in[0]) {
		name = "then_branch"
	}
	if c.err != nil {
		return
	}
	if fn := c.body(name); c.err == nil {
		c.out = c.apply(fn, 0, c.in[1:])
	}
}

// list is a list of tensors of one type, as loops keep them; it exists only while the graph is read.
type list struct {
	dtype    model.DType
	elements []*value // nil: not set
}

func (c *call) giveList(l *list) {
	if c.b.listed += len(l.elements); c.b.listed > maxListed {
		c.refuse("the lists of tensors have more than %d places", maxListed)
	}
	c.out = append(c.out, &value{list: l})
}

// givenList is the list that is the first input.
func (c *call) givenList() *list {
	if c.in[0].list == nil {
		c.refuse("its input is no list of tensors")
		return &list{}
	}
	return c.in[0].list
}

func listReserve(c *call) {
	if v := c.in[1]; v.list == nil && !v.whole() {
		c.refuse("operation %q is not supported here: %s", c.n.def.op, byLength)
		return
	}
	n := c.single(1, "number of elements")
	if n < 0 || n > maxTurns {
		c.refuse("a list of %d tensors is not in 0..%d", n, maxTurns)
		return
	}
	c.giveList(&list{c.dtype("element_dtype", ""), make([]*value, n)})
}

func listEmpty(c *call) { c.giveList(&list{c.dtype("element_dtype", ""), nil}) }

// listFromTensor takes a tensor apart along its first dimension.
func listFromTensor(c *call) {
	v := c.in[0]
	if !v.ranked || len(v.shape) == 0 || v.shape[0] == model.Free {
		c.refuse("operation %q is not supported here: %s", c.n.def.op, byLength)
		return
	}
	if v.shape[0] > maxTurns {
		c.refuse("a list of %d tensors is not in 0..%d", v.shape[0], maxTurns)
		return
	}
	l := &list{v.dtype, make([]*value, v.shape[0])}
	for i := range l.elements {
		name := c.emit("Gather", []string{c.name(0), c.b.name(c.b.numbers(model.I64, true, []int64{int64(i)}))}, number("axis", 0))
		l.elements[i] = &value{name: name, dtype: v.dtype, shape: v.shape[1:], ranked: true}
	}
	c.giveList(l)
}

// place is an index into a list.
func (c *call) place(l *list) int {
	i := c.single(1, "index")
	if c.err == nil && (i < 0 || i >= int64(len(l.elements))) {
		c.refuse("index %d is not within a list of %d", i, len(l.elements))
	}
	if c.err != nil {
		return -1
	}
	return int(i)
}

func listGet(c *call) {
	l := c.givenList()
	switch i := c.place(l); {
	case c.err != nil:
	case l.elements[i] == nil:
		c.refuse("reads element %d of a list, which nothing has set", i)
	default:
		c.out = append(c.out, l.elements[i])
	}
}

func listSet(c *call) {
	l := c.givenList()
	i := c.place(l)
	if c.err != nil || c.in[2].list != nil {
		c.refuse("its element is a list")
		return
	}
	elements := slices.Clone(l.elements)
	elements[i] = c.in[2]
	c.giveList(&list{l.dtype, elements})
}

func listPush(c *call) {
	l := c.givenList()
	if len(l.elements) >= maxTurns || c.in[1].list != nil {
		c.refuse("a list of more than %d tensors, or of lists", maxTurns)
		return
	}
	c.giveList(&list{l.dtype, append(slices.Clone(l.elements), c.in[1])})
}

func listLength(c *call) {
	c.out = append(c.out, c.b.numbers(model.I32, true, []int64{int64(len(c.givenList().elements))}))
}

// listStack joins the tensors of a list along a new first dimension.
func listStack(c *call) {
	l := c.givenList()
	if len(l.elements) == 0 || slices.Contains(l.elements, nil) {
		c.refuse("joins a list of which not all elements are set")
		return
	}
	shape := l.elements[0].dims()
	var parts []string
	for _, v := range l.elements {
		if shape != nil && v.ranked && len(v.shape) == len(shape) {
			shape = merge(shape, v.shape)
		}
		parts = append(parts, c.emit("Unsqueeze", []string{c.b.name(v), c.b.list(0)}))
	}
	for len(parts) > 1 {
		var joined []string
		for part := range slices.Chunk(parts, MaxEdges) {
			joined = append(joined, c.emit("Concat", part, number("axis", 0)))
		}
		parts = joined
	}
	if shape != nil {
		shape = append([]int64{int64(len(l.elements))}, shape...)
	}
	c.result(parts[0], l.elements[0].dtype, shape)
}
