package onnxgraph

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// folded is a small tensor of numbers that constants decide, in the order in which they are stored. They are exactly what the runtime computes: what would be rounded by
// more than its type does, wrapped or saturated is not followed.
type folded struct {
	t    model.DType
	list []float64
}

// ranges are the least and greatest whole numbers that are followed, of each type; floats hold whole numbers up to 2^53 exactly.
var ranges = map[model.DType][2]float64{
	model.I64: {-1 << 53, 1 << 53}, model.I32: {math.MinInt32, math.MaxInt32}, model.I16: {math.MinInt16, math.MaxInt16}, model.I8: {math.MinInt8, math.MaxInt8},
	model.U64: {0, 1 << 53}, model.U32: {0, math.MaxUint32}, model.U16: {0, math.MaxUint16}, model.U8: {0, math.MaxUint8}, model.Bool: {0, 1},
}

// of makes numbers of a type of what was computed without one; ok is false where the type does not hold them.
func of(t model.DType, list []float64) (v folded, ok bool) {
	if len(list) > maxKnown {
		return v, false
	}
	v = folded{t, make([]float64, len(list))}
	r, whole := ranges[t]
	for i, x := range list {
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			return v, false
		case whole && (x != math.Trunc(x) || x < r[0] || x > r[1]):
			return v, false
		case t == model.F32:
			x = float64(float32(x))
		case !whole && t != model.F64:
			return v, false
		}
		v.list[i] = x
	}
	return v, true
}

// fold computes the node's output where it is a scalar or a list of numbers that constants decide.
func (d *demand) fold(n *Node) {
	if n.Op == "Split" {
		d.split(n)
		return
	}
	if len(n.Outputs) != 1 || n.Outputs[0] == "" || n.Domain != "" {
		return
	}
	v, ok := d.measured(n)
	if !ok {
		var args []folded
		for i, name := range n.Inputs {
			a, known := d.numbers[name]
			switch {
			case !known && (i == 0 || n.Op != "Unsqueeze" && n.Op != "Squeeze" && n.Op != "Reshape"):
				return
			case known && !d.flat(name) && transposes(n) && len(d.shapes[name]) == 2:
				a = turned(a, d.shapes[name])
			case known && !d.flat(name) && !anyRank[n.Op] && !stacks(n):
				return
			}
			args = append(args, a)
		}
		if len(args) == 0 {
			return
		}
		v, ok = compute(n, args)
	}
	if from, known := d.shapes[in(n, 0)]; ok && n.Op == "Slice" && known && len(from) == 1 {
		d.shapes[n.Outputs[0]] = []int64{int64(len(v.list))}
	}
	if _, known := d.shapes[n.Outputs[0]]; ok && (known || len(v.list) == 1) {
		d.numbers[n.Outputs[0]] = v
	}
}

// split computes the parts of a tensor that is cut along its first dimension.
func (d *demand) split(n *Node) {
	x, ok := d.numbers[in(n, 0)]
	shape, known := d.shapes[in(n, 0)]
	if axis, _ := n.Attr("axis"); !ok || !known || len(shape) == 0 || shape[0] == 0 || axis.Int != 0 && axis.Int != -int64(len(shape)) {
		return
	}
	outs := int64(len(n.Outputs))
	parts := slices.Repeat([]float64{float64((shape[0] + outs - 1) / outs)}, int(outs))
	if a, there := n.Attr("split"); there {
		parts = reals(a.Ints)
	} else if in(n, 1) != "" {
		parts = d.numbers[in(n, 1)].list
	}
	row := len(x.list) / int(shape[0])
	for i, name := range n.Outputs {
		if i >= len(parts) || parts[i] < 0 || parts[i]*float64(row) > float64(len(x.list)) {
			return
		}
		size := int(parts[i]) * row
		d.shapes[name] = append([]int64{int64(parts[i])}, shape[1:]...)
		d.numbers[name] = folded{x.t, x.list[:size]}
		x.list = x.list[size:]
	}
}

// flat says that a value has one dimension at most, or one element.
func (d *demand) flat(name string) bool {
	shape, ok := d.shapes[name]
	return len(d.numbers[name].list) == 1 || ok && len(shape) <= 1
}

// anyRank lists operators that are followed for matrices too: only the order of the elements counts.
var anyRank = set("Identity", "Unsqueeze", "Squeeze", "Reshape", "Cast", "Neg", "Abs", "Floor", "Ceil", "Not")

// measured is the shape, or size, of a value whose shape is known.
func (d *demand) measured(n *Node) (folded, bool) {
	s, ok := d.shapes[in(n, 0)]
	if !ok || len(n.Attrs) > 0 {
		return folded{}, false
	}
	switch n.Op {
	case "Shape":
		return of(model.I64, reals(s))
	case "Size":
		return of(model.I64, reals([]int64{model.Elements(s)}))
	}
	return folded{}, false
}

func reals(list []int64) []float64 {
	out := make([]float64, len(list))
	for i, x := range list {
		out[i] = float64(x)
	}
	return out
}

// compute is the value of an operator of numbers.
func compute(n *Node, args []folded) (folded, bool) {
	x := args[0]
	switch n.Op {
	case "Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose":
		return x, true
	case "Cast":
		a, _ := n.Attr("to")
		return cast(x, onnx.DType(a.Int))
	case "Neg", "Abs", "Floor", "Ceil", "Not":
		return each(n.Op, x)
	case "Concat":
		var list []float64
		for _, a := range args {
			list = append(list, a.list...)
		}
		return of(x.t, list)
	case "Gather":
		return pick(args)
	case "Slice":
		return slice(n, args)
	case "ConstantOfShape":
		return filled(n, x)
	case "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin":
		return reduce(n, x)
	case "Where":
		return where(args)
	case "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Equal", "Less", "Greater":
		if len(args) == 2 {
			return pairwise(n.Op, args[0], args[1])
		}
	}
	return folded{}, false
}

// transposes says that a node swaps the dimensions of a matrix.
func transposes(n *Node) bool {
	perm, ok := n.Attr("perm")
	return n.Op == "Transpose" && (!ok || slices.Equal(perm.Ints, []int64{1, 0}))
}

// stacks says that a node joins tensors along their first dimension.
func stacks(n *Node) bool {
	axis, ok := n.Attr("axis")
	return n.Op == "Concat" && ok && axis.Int == 0
}

// turned is a matrix with its rows as columns.
func turned(x folded, shape []int64) folded {
	out := folded{x.t, make([]float64, 0, len(x.list))}
	for column := range int(shape[1]) {
		for row := range int(shape[0]) {
			out.list = append(out.list, x.list[row*int(shape[1])+column])
		}
	}
	return out
}

// cast is exact, or cuts the fraction off; what wraps is not followed.
func cast(x folded, to model.DType) (folded, bool) {
	list := slices.Clone(x.list)
	for i, v := range list {
		if _, whole := ranges[to]; whole {
			list[i] = math.Trunc(v)
		}
		if to == model.Bool && v != 0 {
			list[i] = 1
		}
	}
	return of(to, list)
}

func each(op string, x folded) (folded, bool) {
	list := slices.Clone(x.list)
	for i, v := range list {
		switch op {
		case "Neg":
			list[i] = 0 - v
		case "Abs":
			list[i] = math.Abs(v)
		case "Floor":
			list[i] = math.Floor(v)
		case "Ceil":
			list[i] = math.Ceil(v)
		default:
			list[i] = 1 - v
		}
	}
	return of(x.t, list)
}

func pick(args []folded) (folded, bool) {
	if len(args) != 2 {
		return folded{}, false
	}
	from, at := args[0], args[1]
	out := make([]float64, len(at.list))
	for i, j := range at.list {
		if j < 0 {
			j += float64(len(from.list))
		}
		if j < 0 || j >= float64(len(from.list)) {
			return folded{}, false
		}
		out[i] = from.list[int(j)]
	}
	return of(from.t, out)
}

// slice is Slice of a list: its start, end and step are inputs, or attributes before opset 10.
func slice(n *Node, args []folded) (folded, bool) {
	size := float64(len(args[0].list))
	limits := [3]float64{0, size, 1}
	for i, name := range []string{"starts", "ends"} {
		if a, there := n.Attr(name); there && len(a.Ints) == 1 {
			limits[i] = float64(a.Ints[0])
		}
	}
	for i, place := range []int{1, 2, 4} {
		if place >= len(args) {
			continue
		}
		if len(args[place].list) != 1 {
			return folded{}, false
		}
		limits[i] = args[place].list[0]
	}
	from, to, step := limits[0], limits[1], limits[2]
	if step < 1 {
		return folded{}, false
	}
	for _, p := range []*float64{&from, &to} {
		if *p < 0 {
			*p += size
		}
		*p = min(max(*p, 0), size)
	}
	var list []float64
	for at := from; at < to; at += step {
		list = append(list, args[0].list[int(at)])
	}
	return of(args[0].t, list)
}

func filled(n *Node, shape folded) (folded, bool) {
	t, v := model.F32, 0.0
	if a, ok := n.Attr("value"); ok {
		x, ok := numbersOf(a.Tensor)
		if !ok || len(x.list) != 1 {
			return folded{}, false
		}
		t, v = x.t, x.list[0]
	}
	many := 1.0
	for _, l := range shape.list {
		many *= l
	}
	if many < 0 || many > maxKnown {
		return folded{}, false
	}
	return of(t, slices.Repeat([]float64{v}, int(many)))
}

// reduce makes one number of a list.
func reduce(n *Node, x folded) (folded, bool) {
	if _, there := n.Attr("noop_with_empty_axes"); there || len(x.list) == 0 {
		return folded{}, false
	}
	out := x.list[0]
	for _, v := range x.list[1:] {
		switch n.Op {
		case "ReduceProd":
			out *= v
		case "ReduceSum":
			out += v
		case "ReduceMax":
			out = max(out, v)
		default:
			out = min(out, v)
		}
		if _, ok := of(x.t, []float64{out}); !ok || x.t == model.F32 {
			return folded{}, false // on the way, too, and whatever the order
		}
	}
	return of(x.t, []float64{out})
}

func where(args []folded) (folded, bool) {
	if len(args) != 3 {
		return folded{}, false
	}
	size := max(len(args[0].list), len(args[1].list), len(args[2].list))
	list := make([]float64, size)
	for _, a := range args {
		if len(a.list) != size && len(a.list) != 1 {
			return folded{}, false
		}
	}
	at := func(a folded, i int) float64 { return a.list[i%len(a.list)] }
	for i := range list {
		if list[i] = at(args[2], i); at(args[0], i) != 0 {
			list[i] = at(args[1], i)
		}
	}
	return of(args[1].t, list)
}

func pairwise(op string, a, b folded) (folded, bool) {
	if len(a.list) != len(b.list) && len(a.list) != 1 && len(b.list) != 1 || len(a.list) == 0 || len(b.list) == 0 || a.t != b.t && op != "Pow" {
		return folded{}, false
	}
	t := a.t
	out := make([]float64, max(len(a.list), len(b.list)))
	_, whole := ranges[t]
	for i := range out {
		x, y := a.list[i%len(a.list)], b.list[i%len(b.list)]
		truth := false
		switch op {
		case "Add":
			out[i] = x + y
		case "Sub":
			out[i] = x - y
		case "Mul":
			out[i] = x * y
		case "Max":
			out[i] = max(x, y)
		case "Min":
			out[i] = min(x, y)
		case "Pow":
			if out[i] = math.Pow(x, y); !whole || y < 0 || y != math.Trunc(y) {
				return folded{}, false
			}
		case "Div":
			if out[i] = x / y; whole {
				out[i] = math.Trunc(out[i])
			}
		case "Equal":
			truth = x == y
		case "Less":
			truth = x < y
		default:
			truth = x > y
		}
		if op == "Equal" || op == "Less" || op == "Greater" {
			t = model.Bool
			if truth {
				out[i] = 1
			}
		}
	}
	return of(t, out)
}

// numbersOf reads a small tensor of numbers.
func numbersOf(t *Initializer) (folded, bool) {
	size := int(t.DType.Size())
	if size == 0 || len(t.Raw)/size > maxKnown || len(t.Raw)%size != 0 {
		return folded{}, false
	}
	list := make([]float64, 0, len(t.Raw)/size)
	for at := 0; at < len(t.Raw); at += size {
		b := t.Raw[at:]
		var v float64
		switch t.DType {
		case model.I64:
			v = float64(int64(binary.LittleEndian.Uint64(b)))
		case model.U64:
			v = float64(binary.LittleEndian.Uint64(b))
		case model.I32:
			v = float64(int32(binary.LittleEndian.Uint32(b)))
		case model.U32:
			v = float64(binary.LittleEndian.Uint32(b))
		case model.Bool, model.U8:
			v = float64(b[0])
		case model.F32:
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case model.F64:
			v = math.Float64frombits(binary.LittleEndian.Uint64(b))
		default:
			return folded{}, false
		}
		list = append(list, v)
	}
	return of(t.DType, list)
}
