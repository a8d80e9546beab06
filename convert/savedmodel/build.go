package savedmodel

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// opset is the version of ONNX's standard operators that is written.
const opset = 18

// maxFollowed is the number of elements up to which whole numbers are followed through the graph.
const maxFollowed = 256

// unknown stands for an element that is not known until the graph runs.
const unknown = math.MinInt64

// value is a tensor of the graph that is built, and what is known of it.
type value struct {
	name   string // in ONNX; "" = a constant that nothing has needed yet
	dtype  model.DType
	shape  []int64 // model.Free = unknown
	ranked bool    // else shape says nothing
	known  []int64 // elements of a scalar or a list of whole numbers; unknown = not known. nil: nothing is known
	wide   string  // "" or the name of the same numbers as I64
	c      *constant
	list   *list // not nil: no tensor but a list of them, and all else is empty
}

// whole says that all elements are known.
func (v *value) whole() bool { return v.known != nil && !slices.Contains(v.known, unknown) }

// builder makes the ONNX graph.
type builder struct {
	g          *onnxgraph.Graph
	f          *flattener
	vars       *variables
	ports      map[string]bool // names that are taken
	count      int             // names
	turns      int             // of all loops
	listed     int             // places in all lists of tensors
	values     map[*flat][]*value
	operations map[string]operation
	lists      map[string]string // constants that the builder made → name
}

// build maps the signature's part of the graph.
func build(s *scanner, meta *metaGraph, sig signature, vars *variables) (*onnxgraph.Graph, error) {
	b := &builder{g: &onnxgraph.Graph{Opset: opset}, vars: vars, operations: operations, ports: map[string]bool{}, values: map[*flat][]*value{}, lists: map[string]string{}}
	f := newFlattener(meta.graph, func(op string) bool {
		_, ok := operations[op]
		return ok || isVariable(op)
	})
	b.f = f
	if err := b.inputs(f, sig); err != nil {
		return nil, err
	}
	keys := slices.Sorted(maps.Keys(sig.outputs))
	ends := make([]edge, len(keys))
	for i, key := range keys {
		p := sig.outputs[key]
		if err := p.check("output", key); err != nil {
			return nil, err
		}
		if b.ports[key] {
			return nil, Refused{What: fmt.Sprintf("output %.80q", key), Why: "has the name of an input; save the signature with other names"}
		}
		b.ports[key] = true
		var err error
		if ends[i], err = f.value(f.main, p.tensor); err != nil {
			return nil, err
		}
	}
	if err := f.effects(); err != nil {
		return nil, err
	}
	for _, n := range f.order {
		if err := b.node(n); err != nil {
			return nil, err
		}
	}
	if err := f.effects(); err != nil { // of the bodies of loops and branches
		return nil, err
	}
	for i, key := range keys {
		if err := b.output(key, sig.outputs[key], ends[i]); err != nil {
			return nil, err
		}
	}
	if s.wrong != nil {
		return nil, s.wrong
	}
	b.prune()
	return b.g, nil
}

// check refuses a port that a graph of numbers cannot have.
func (p *port) check(direction, key string) error {
	what := fmt.Sprintf("%s %.80q", direction, key)
	switch {
	case key == "":
		return Refused{What: what, Why: "has no name"}
	case p.why != "":
		return Refused{What: what, Why: p.why + ": not mapped"}
	case p.dtype == model.Bytes:
		return Refused{What: what, Why: "carries text: " + byText}
	case p.dtype == "":
		return Refused{What: what, Why: fmt.Sprintf("is of type %d of TensorFlow, which is not mapped", p.code)}
	case p.dtype == model.BF16:
		return Refused{What: what, Why: "is of bfloat16; export the model in float32"}
	}
	return nil
}

// inputs declares the signature's inputs in the order of their names.
func (b *builder) inputs(f *flattener, sig signature) error {
	for _, key := range slices.Sorted(maps.Keys(sig.inputs)) {
		p := sig.inputs[key]
		if err := p.check("input", key); err != nil {
			return err
		}
		id, _, out, ok := endpoint(p.tensor)
		i, there := f.graph.byName[id]
		if !ok || !there {
			return Refused{What: fmt.Sprintf("input %.80q", key), Why: fmt.Sprintf("is carried by tensor %.80q, which is not there", p.tensor)}
		}
		if def := f.graph.nodes[i]; !p.shape.known && def.attrs["shape"].shape.known {
			p.shape = def.attrs["shape"].shape
		}
		if !p.shape.known {
			return Refused{What: fmt.Sprintf("input %.80q", key), Why: "has no number of dimensions; save the signature with a shape such as [None, None]"}
		}
		n := &flat{path: id, def: &f.graph.nodes[i]}
		f.fed[id+":"+strconv.Itoa(out)] = n
		b.ports[key] = true
		b.g.Inputs = append(b.g.Inputs, model.Port{Name: key, DType: p.dtype, Shape: p.shape.dims})
		b.values[n] = []*value{{name: key, dtype: p.dtype, shape: p.shape.dims, ranked: true}}
	}
	return nil
}

// output declares an output.
func (b *builder) output(key string, p port, e edge) error {
	what := fmt.Sprintf("output %.80q", key)
	vs := b.values[e.node]
	if e.out >= len(vs) || vs[e.out] == nil {
		return Refused{What: what, Why: fmt.Sprintf("is output %d of %s, which has none", e.out, e.node.what())}
	}
	v := vs[e.out]
	if v.list != nil || v.dtype != p.dtype {
		return Refused{What: what, Why: fmt.Sprintf("is said to be %s and is %s", p.dtype, v.dtype)}
	}
	shape, ok := p.shape.dims, p.shape.known
	if v.ranked && (!ok || len(shape) != len(v.shape)) {
		shape, ok = v.shape, true
	} else if v.ranked {
		shape = merge(shape, v.shape)
	}
	if !ok {
		return Refused{What: what, Why: "has no number of dimensions; save the signature with a shape such as [None, None]"}
	}
	b.g.Nodes = append(b.g.Nodes, onnxgraph.Node{Name: "output " + key, Op: "Identity", Inputs: []string{b.name(v)}, Outputs: []string{key}})
	b.g.Outputs = append(b.g.Outputs, model.Port{Name: key, DType: v.dtype, Shape: shape})
	return nil
}

// node maps one node.
func (b *builder) node(n *flat) error {
	if isVariable(n.def.op) {
		v, err := b.variable(n)
		b.values[n] = []*value{v}
		return err
	}
	c := &call{b: b, n: n}
	for _, e := range n.in {
		vs := b.values[e.node]
		if e.out >= len(vs) || vs[e.out] == nil {
			return Refused{What: n.what(), Why: fmt.Sprintf("takes output %d of %s, which has none that is mapped", e.out, e.node.what())}
		}
		c.in = append(c.in, vs[e.out])
	}
	op := b.operations[n.def.op]
	if slices.ContainsFunc(c.in, func(v *value) bool { return v.list != nil }) && !op.lists {
		return Refused{What: n.what(), Why: "takes a list of tensors, which is not mapped"}
	}
	if len(c.in) < op.least || op.most >= 0 && len(c.in) > op.most {
		return Refused{What: n.what(), Why: fmt.Sprintf("has %d inputs, which is not how many the operation has", len(c.in))}
	}
	op.mapped(c)
	for _, v := range c.out {
		switch {
		case c.err != nil || v == nil:
		case v.dtype == model.BF16:
			c.refuse("computes in bfloat16; export the model in float32")
		case len(v.shape) > model.MaxRank:
			c.refuse("gives %d dimensions, more than %d", len(v.shape), model.MaxRank)
		}
	}
	b.values[n] = c.out
	return c.err
}

// variable makes the value of a variable: a range of a data file, or its bytes where they are few.
func (b *builder) variable(n *flat) (*value, error) {
	key, err := b.vars.key(n)
	if err != nil {
		return nil, err
	}
	e, ok := b.vars.bundle.Entry(key)
	switch {
	case !ok:
		return nil, Refused{What: n.what(), Why: fmt.Sprintf("is restored from %.80q, which the bundle does not have", key)}
	case e.Sliced:
		return nil, Refused{What: n.what(), Why: "is stored in parts; save the model without a partitioner"}
	case e.DType.Size() == 0:
		return nil, Refused{What: n.what(), Why: "is of a type that is not mapped"}
	case e.DType != n.def.dtype("dtype"):
		return nil, Refused{What: n.what(), Why: fmt.Sprintf("is of type %s, and its value of %s", n.def.dtype("dtype"), e.DType)}
	}
	if s := n.def.attrs["shape"].shape; s.known && (len(s.dims) != len(e.Shape) || !fits(s.dims, e.Shape)) {
		return nil, Refused{What: n.what(), Why: fmt.Sprintf("is of shape %v, and its value of %v", s.dims, e.Shape)}
	}
	if v, ok := b.vars.made[key]; ok {
		return v, nil
	}
	c := &constant{dtype: e.DType, shape: e.Shape, ref: e.Ref}
	if e.Ref.Len < maxInline {
		c.raw, err = b.vars.bundle.Bytes(key, maxInline)
	} else {
		err = b.vars.bundle.Verify(key)
	}
	b.vars.made[key] = b.constant(c)
	return b.vars.made[key], err
}

// fits says that lengths are what a shape leaves open or asks for.
func fits(shape, lengths []int64) bool {
	for i, d := range shape {
		if d != model.Free && d != lengths[i] {
			return false
		}
	}
	return true
}

// constant makes the value of a constant; it is written when something needs it.
func (b *builder) constant(c *constant) *value {
	v := &value{dtype: c.dtype, shape: c.shape, ranked: true, c: c}
	if len(c.shape) <= 1 {
		if list, ok := c.whole(); ok {
			v.known = list
		}
	}
	return v
}

// numbers makes the value of a constant list, or of a scalar, of whole numbers.
func (b *builder) numbers(t model.DType, scalar bool, list []int64) *value {
	c := &constant{dtype: t, shape: []int64{int64(len(list))}, raw: []byte{}}
	if scalar {
		c.shape = []int64{}
	}
	for _, n := range list {
		c.raw = append(c.raw, element(t, float64(n), n)...)
	}
	return b.constant(c)
}

// element is a number as the bytes of a type.
func element(t model.DType, real float64, whole int64) []byte {
	switch t {
	case model.F32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(real)))
	case model.F64:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(real))
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(whole))[:t.Size()]
}

// name is the name of a value in ONNX; a constant is written the first time.
func (b *builder) name(v *value) string {
	if v.name != "" {
		return v.name
	}
	v.name = b.write(v.c)
	return v.name
}

// write adds a constant to the graph, once where its bytes are at hand and few.
func (b *builder) write(c *constant) string {
	key := ""
	if c.raw != nil && len(c.raw) < maxInline {
		key = fmt.Sprintf("%s%v%s", c.dtype, c.shape, c.raw)
		if name, ok := b.lists[key]; ok {
			return name
		}
	}
	name := b.fresh()
	if key != "" {
		b.lists[key] = name
	}
	if c.same {
		one := &onnxgraph.Initializer{DType: c.dtype, Shape: []int64{1}, Raw: c.raw}
		b.g.Nodes = append(b.g.Nodes, onnxgraph.Node{Op: "ConstantOfShape", Inputs: []string{b.list(c.shape...)}, Outputs: []string{name},
			Attrs: []onnxgraph.Attr{{Name: "value", Kind: onnxgraph.Tensor, Tensor: one}}})
		return name
	}
	b.g.Initializers = append(b.g.Initializers, onnxgraph.Initializer{Name: name, DType: c.dtype, Shape: c.shape, Raw: c.raw, Ref: c.ref})
	return name
}

// list is the name of a constant list of I64.
func (b *builder) list(n ...int64) string { return b.name(b.numbers(model.I64, false, n)) }

// fresh is a name that no value has.
func (b *builder) fresh() string {
	for {
		b.count++
		if name := "t" + strconv.Itoa(b.count); !b.ports[name] {
			return name
		}
	}
}

// prune removes nodes and constants that no output needs, such as what only computed a number that was known.
func (b *builder) prune() {
	needed := map[string]bool{}
	for _, p := range b.g.Outputs {
		needed[p.Name] = true
	}
	var kept []onnxgraph.Node
	for _, n := range slices.Backward(b.g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool { return needed[o] }) {
			continue
		}
		for _, in := range n.Inputs {
			needed[in] = true
		}
		kept = append(kept, n)
	}
	slices.Reverse(kept)
	b.g.Nodes = kept
	b.g.Initializers = slices.DeleteFunc(b.g.Initializers, func(t onnxgraph.Initializer) bool { return !needed[t.Name] })
}
