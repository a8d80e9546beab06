package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// maxKnown is the number of elements up to which whole numbers are followed through the graph.
const maxKnown = 256

// maxTogether is the number of elements of all tensors that generators make of constants.
const maxTogether = 2 * MaxElements

// generators make a large tensor of a small one.
var generators = []string{"ConstantOfShape", "EyeLike", "Expand", "OneHot", "Range", "Tile"}

// demand follows what constants alone decide: small tensors of whole numbers, and the shapes that come of them. The runtime computes such
// nodes when it loads the graph, before any request, so an Expand to 65537² would take the worker's memory at once.
type demand struct {
	numbers map[string][]int64 // of one dimension, or a scalar
	shapes  map[string][]int64
	inputs  map[string]bool // values that depend on inputs of the graph
}

// checkDemand refuses tensors of more than MaxElements that constants demand, and what would train.
func checkDemand(g *Graph) error {
	d := demand{numbers: map[string][]int64{}, shapes: map[string][]int64{}, inputs: map[string]bool{}}
	for i := range g.Initializers {
		t := &g.Initializers[i]
		d.shapes[t.Name] = t.Shape
		if n := model.Elements(t.Shape); t.Raw != nil && n <= maxKnown {
			if v, ok := whole(t); ok {
				d.numbers[t.Name] = v
			}
		}
	}
	for _, p := range g.Inputs {
		d.inputs[p.Name] = true
		if !slices.Contains(p.Shape, model.Free) {
			d.shapes[p.Name] = p.Shape
		}
	}
	var sum int64
	for i := range g.Nodes {
		n := &g.Nodes[i]
		for _, name := range n.Outputs {
			d.inputs[name] = !d.folds(n)
		}
		if n.Op == "Dropout" && len(n.Inputs) > 2 && n.Inputs[2] != "" && !slices.Equal(d.numbers[n.Inputs[2]], []int64{0}) {
			return Refused{n.what(i), "its training mode is not a constant false: training is not supported"}
		}
		shape, ok := d.shape(n)
		if !ok {
			d.fold(n)
			continue
		}
		e := model.Elements(shape)
		if e < 0 || e > MaxElements {
			return Refused{n.what(i), fmt.Sprintf("constants demand a tensor of shape %.100s, more than %d elements", fmt.Sprint(shape), MaxElements)}
		}
		if d.folds(n) && slices.Contains(generators, n.Op) {
			if sum += e; sum > maxTogether {
				return Refused{n.what(i), fmt.Sprintf("constants demand more than %d elements together", maxTogether)}
			}
		}
		if len(n.Outputs) > 0 {
			d.shapes[n.Outputs[0]] = shape
		}
		d.fold(n)
	}
	return nil
}

// folds says whether a node depends on constants only: the runtime computes it when it loads the graph, and keeps what comes out.
func (d *demand) folds(n *Node) bool {
	return !slices.ContainsFunc(n.Inputs, func(name string) bool { return d.inputs[name] })
}

// in is the name of an input, "" where it is left out.
func in(n *Node, i int) string {
	if i >= len(n.Inputs) {
		return ""
	}
	return n.Inputs[i]
}

// shape is the shape of the node's output where constants decide it.
func (d *demand) shape(n *Node) ([]int64, bool) {
	first, known := d.shapes[in(n, 0)]
	second, ok := d.numbers[in(n, 1)]
	switch n.Op {
	case "ConstantOfShape":
		v, ok := d.numbers[in(n, 0)]
		return v, ok
	case "EyeLike":
		return first, known
	case "Expand":
		if !ok {
			return nil, false
		}
		return broadcast(first, second), true // an unknown first input can only make more
	case "Tile":
		if !ok || !known || len(second) != len(first) {
			return nil, false
		}
		out := make([]int64, len(first))
		for i := range out {
			out[i] = product(first[i], second[i])
		}
		return out, true
	case "Range":
		from, a := d.numbers[in(n, 0)]
		to, b := d.numbers[in(n, 1)]
		step, c := d.numbers[in(n, 2)]
		if !a || !b || !c || len(from) != 1 || len(to) != 1 || len(step) != 1 || step[0] == 0 {
			return nil, false
		}
		return []int64{int64(max(0, math.Ceil((float64(to[0])-float64(from[0]))/float64(step[0]))))}, true
	case "OneHot":
		depth, ok := d.numbers[in(n, 1)]
		if !ok || !known || len(depth) != 1 {
			return nil, false
		}
		return append(slices.Clone(first), depth[0]), true
	case "Pad", "Resize", "Upsample":
		return d.grown(n, first, known)
	case "Add", "Sub", "Mul", "Div", "Where", "Equal", "Less", "Greater", "And", "Or", "Pow", "Max", "Min", "MatMul":
		return d.spread(n)
	case "Cast", "Identity", "Neg", "Sqrt", "Exp", "Relu", "Not", "Trilu", "Erf", "Tanh":
		return first, known
	}
	return nil, false
}

// spread is the shape that several inputs broadcast to; a matrix product has the rows of one and the columns of the other.
func (d *demand) spread(n *Node) ([]int64, bool) {
	var out []int64
	for i := range n.Inputs {
		s, ok := d.shapes[n.Inputs[i]]
		if !ok {
			return nil, false
		}
		if n.Op == "MatMul" {
			if len(s) < 2 {
				return nil, false
			}
			if s = slices.Clone(s); i == 0 {
				s[len(s)-1] = 1
			} else {
				s[len(s)-2] = 1
			}
		}
		out = broadcast(out, s)
	}
	return out, true
}

// grown is the shape after padding or resizing to constant sizes.
func (d *demand) grown(n *Node, first []int64, known bool) ([]int64, bool) {
	if n.Op == "Pad" {
		pads, ok := d.numbers[in(n, 1)]
		if a, attr := n.Attr("pads"); attr {
			pads, ok = a.Ints, true
		}
		if !ok || !known || len(pads) != 2*len(first) {
			return nil, false
		}
		out := make([]int64, len(first))
		for i := range out {
			out[i] = sum(first[i], sum(pads[i], pads[i+len(first)]))
		}
		return out, true
	}
	v, ok := d.numbers[in(n, 3)] // Resize: sizes
	return v, ok
}

// broadcast is the shape of two shapes together (ONNX, Broadcasting).
func broadcast(a, b []int64) []int64 {
	out := make([]int64, max(len(a), len(b)))
	at := func(s []int64, i int) int64 {
		if i += len(s) - len(out); i >= 0 {
			return s[i]
		}
		return 1
	}
	for i := range out {
		out[i] = max(at(a, i), at(b, i))
	}
	return out
}

// fold computes the node's output where it is a small tensor of whole numbers that constants decide.
func (d *demand) fold(n *Node) {
	if len(n.Outputs) != 1 || n.Outputs[0] == "" {
		return
	}
	if n.Op == "Shape" {
		if s, ok := d.shapes[in(n, 0)]; ok && len(n.Attrs) == 0 {
			d.numbers[n.Outputs[0]] = s
		}
		return
	}
	var args [][]int64
	for i, name := range n.Inputs {
		v, ok := d.numbers[name]
		if !ok && (i == 0 || n.Op != "Unsqueeze" && n.Op != "Squeeze" && n.Op != "Reshape") {
			return
		}
		args = append(args, v)
	}
	if v, ok := compute(n, args); ok && len(v) <= maxKnown {
		d.numbers[n.Outputs[0]] = v
	}
}

// compute is the value of an operator of whole numbers.
func compute(n *Node, args [][]int64) ([]int64, bool) {
	if len(args) == 0 {
		return nil, false
	}
	switch n.Op {
	case "Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape":
		return args[0], true
	case "Concat":
		return slices.Concat(args...), true
	case "Gather":
		return gather(args)
	case "ConstantOfShape":
		var v int64
		if a, ok := n.Attr("value"); ok {
			if x, ok := whole(a.Tensor); ok && len(x) == 1 {
				v = x[0]
			}
		}
		if e := model.Elements(args[0]); e >= 0 && e <= maxKnown {
			return slices.Repeat([]int64{v}, int(e)), true
		}
	case "Add", "Sub", "Mul", "Div":
		if len(args) == 2 {
			return pairwise(n.Op, args[0], args[1])
		}
	}
	return nil, false
}

func gather(args [][]int64) ([]int64, bool) {
	if len(args) != 2 {
		return nil, false
	}
	out := make([]int64, len(args[1]))
	for i, at := range args[1] {
		if at < 0 {
			at += int64(len(args[0]))
		}
		if at < 0 || at >= int64(len(args[0])) {
			return nil, false
		}
		out[i] = args[0][at]
	}
	return out, true
}

func pairwise(op string, a, b []int64) ([]int64, bool) {
	if len(a) != len(b) && len(a) != 1 && len(b) != 1 || len(a) == 0 || len(b) == 0 {
		return nil, false
	}
	out := make([]int64, max(len(a), len(b)))
	for i := range out {
		x, y := a[i%len(a)], b[i%len(b)]
		switch {
		case op == "Add":
			out[i] = sum(x, y)
		case op == "Sub":
			out[i] = sum(x, -y)
		case op == "Mul":
			out[i] = product(x, y)
		case y == 0:
			return nil, false
		default:
			out[i] = x / y
		}
	}
	return out, true
}

// far is where followed numbers saturate: far above every limit of a shape.
const far = math.MaxInt64 / 4

func sum(a, b int64) int64 { return min(max(min(max(a, -far), far)+min(max(b, -far), far), -far), far) }

func product(a, b int64) int64 {
	if p := float64(a) * float64(b); math.Abs(p) >= far {
		return int64(math.Copysign(far, p))
	}
	return a * b
}

// whole reads a small tensor of whole numbers, or of floats that are whole.
func whole(t *Initializer) ([]int64, bool) {
	size := int(t.DType.Size())
	if size == 0 || len(t.Raw)/size > maxKnown || len(t.Raw)%size != 0 {
		return nil, false
	}
	out := make([]int64, 0, len(t.Raw)/size)
	for at := 0; at < len(t.Raw); at += size {
		b := t.Raw[at:]
		var v int64
		switch t.DType {
		case model.I64, model.U64:
			v = int64(binary.LittleEndian.Uint64(b))
		case model.I32, model.U32:
			v = int64(int32(binary.LittleEndian.Uint32(b)))
		case model.Bool, model.U8:
			v = int64(b[0])
		case model.F32:
			f := float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
			if math.IsNaN(f) || math.Abs(f) >= far {
				return nil, false
			}
			v = int64(math.Ceil(math.Abs(f)))
			if f < 0 {
				v = int64(math.Floor(f))
			}
		default:
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}
