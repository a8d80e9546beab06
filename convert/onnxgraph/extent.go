package onnxgraph

import (
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// shape is the shape of the node's first output where constants decide it. Where it is not exact, the output has that shape at least: the
// operator makes more of an input whose shape is not known.
func (d *demand) shape(n *Node) (shape []int64, exact, ok bool) {
	first, known := d.shapes[in(n, 0)]
	if n.Domain != "" && n.Op != "Pad" {
		return nil, false, false
	}
	switch n.Op {
	case "ConstantOfShape", "HannWindow", "HammingWindow", "BlackmanWindow":
		shape, ok = d.lengths(in(n, 0))
		return shape, true, ok
	case "EyeLike", "Cast", "Identity", "Neg", "Abs", "Floor", "Ceil", "Sqrt", "Exp", "Relu", "Not", "Trilu", "Erf", "Tanh", "Clip":
		return first, true, known
	case "Expand":
		second, ok := d.lengths(in(n, 1))
		return widest(first, second), known, ok
	case "Tile":
		second, ok := d.lengths(in(n, 1))
		if known = known && len(second) == len(first); ok && known {
			for i := range second {
				second[i] = product(first[i], second[i])
			}
		}
		return second, known, ok
	case "Range":
		shape, ok = d.steps(n)
		return shape, true, ok
	case "OneHot":
		depth, ok := d.lengths(in(n, 1))
		return append(slices.Clone(first), depth...), known && len(depth) == 1, ok
	case "MelWeightMatrix":
		bins, a := d.lengths(in(n, 0))
		length, b := d.lengths(in(n, 1))
		return append(length, bins...), true, a && b
	case "CenterCropPad", "AffineGrid", "Col2Im":
		shape, ok = d.lengths(in(n, 1))
		return shape, false, ok
	case "RoiAlign", "ConvTranspose", "Conv", "MaxPool", "AveragePool", "LpPool":
		shape = bordered(n)
		return shape, false, shape != nil
	case "Pad":
		return d.padded(n, first, known)
	case "Resize", "Upsample":
		return d.resized(n, first, known)
	case "Add", "Sub", "Mul", "Div", "Where", "Equal", "Less", "Greater", "And", "Or", "Pow", "Max", "Min", "MatMul":
		shape, ok = d.spread(n)
		return shape, true, ok
	case "Shape":
		return []int64{int64(len(first))}, true, known && len(n.Attrs) == 0
	case "Size":
		return []int64{}, true, true
	}
	shape, ok = d.moved(n, first, known)
	return shape, true, ok
}

// lengths is a followed list as lengths; what is no length is refused as if it were one beyond every limit.
func (d *demand) lengths(name string) ([]int64, bool) {
	v, ok := d.numbers[name]
	out := make([]int64, len(v.list))
	for i, x := range v.list {
		if out[i] = int64(x); x != math.Trunc(x) || x < 0 {
			out[i] = -1
		}
	}
	return out, ok
}

// moved is the shape of operators that put elements elsewhere.
func (d *demand) moved(n *Node, first []int64, known bool) ([]int64, bool) {
	if !known {
		return nil, false
	}
	second, ok := d.numbers[in(n, 1)]
	axis := int64(0)
	if a, there := n.Attr("axis"); there {
		axis = a.Int
	}
	if axis < 0 {
		axis += int64(len(first))
	}
	switch n.Op {
	case "Transpose":
		perm := make([]int64, 0, len(first))
		if a, there := n.Attr("perm"); there {
			perm = a.Ints
		} else {
			for i := range first {
				perm = append(perm, int64(len(first)-1-i))
			}
		}
		return gathered(first, perm)
	case "Concat":
		return d.joined(n, axis)
	case "Gather":
		at, there := d.shapes[in(n, 1)]
		if !there || axis < 0 || axis >= int64(len(first)) {
			return nil, false
		}
		return slices.Concat(first[:axis], at, first[axis+1:]), true
	case "Reshape":
		if !ok {
			return nil, false
		}
		return reshaped(first, second.list)
	case "Unsqueeze", "Squeeze":
		axes := second.list
		if a, there := n.Attr("axes"); there {
			for axes, ok = nil, true; len(axes) < len(a.Ints); {
				axes = append(axes, float64(a.Ints[len(axes)]))
			}
		}
		if !ok && n.Op == "Squeeze" && in(n, 1) == "" {
			for i, l := range first {
				if l == 1 {
					axes, ok = append(axes, float64(i)), true
				}
			}
		}
		if !ok {
			return nil, false
		}
		return squeezed(n.Op, first, axes)
	}
	return nil, false
}

// gathered are the lengths at places.
func gathered(of, at []int64) ([]int64, bool) {
	out := make([]int64, len(at))
	for i, j := range at {
		if j < 0 || j >= int64(len(of)) {
			return nil, false
		}
		out[i] = of[j]
	}
	return out, true
}

func (d *demand) joined(n *Node, axis int64) ([]int64, bool) {
	var out []int64
	for _, name := range n.Inputs {
		s, ok := d.shapes[name]
		if !ok || axis < 0 || axis >= int64(len(s)) || out != nil && len(out) != len(s) {
			return nil, false
		}
		if out == nil {
			out = slices.Clone(s)
			continue
		}
		out[axis] = sum(out[axis], s[axis])
	}
	return out, true
}

// reshaped is a shape as a list asks for it (ONNX, Reshape; allowzero is not followed).
func reshaped(from []int64, to []float64) ([]int64, bool) {
	out, rest, open := make([]int64, len(to)), int64(1), -1
	for i, l := range to {
		switch {
		case l == -1 && open < 0:
			open = i
			continue
		case l < 0, l == 0 && i >= len(from):
			return nil, false
		case l == 0:
			out[i] = from[i]
		default:
			out[i] = int64(l)
		}
		rest = product(rest, out[i])
	}
	if open >= 0 {
		n := model.Elements(from)
		if rest == 0 || n < 0 || n%rest != 0 {
			return nil, false
		}
		out[open] = n / rest
	}
	return out, true
}

// squeezed puts lengths of 1 at axes, or takes them away there.
func squeezed(op string, from []int64, axes []float64) ([]int64, bool) {
	rank := len(from)
	if op == "Unsqueeze" {
		rank += len(axes)
	}
	at := map[int]bool{}
	for _, a := range axes {
		if a < 0 {
			a += float64(rank)
		}
		if a < 0 || a >= float64(rank) || at[int(a)] {
			return nil, false
		}
		at[int(a)] = true
	}
	out := []int64{}
	for i := range rank {
		switch {
		case op == "Unsqueeze" && at[i]:
			out = append(out, 1)
		case op == "Unsqueeze":
			out, from = append(out, from[0]), from[1:]
		case !at[i]:
			out = append(out, from[i])
		}
	}
	return out, true
}

// steps is the length of a Range.
func (d *demand) steps(n *Node) ([]int64, bool) {
	from, a := d.numbers[in(n, 0)]
	to, b := d.numbers[in(n, 1)]
	step, c := d.numbers[in(n, 2)]
	if !a || !b || !c || len(from.list) != 1 || len(to.list) != 1 || len(step.list) != 1 || step.list[0] == 0 {
		return nil, false
	}
	return []int64{int64(min(max(0, math.Ceil((to.list[0]-from.list[0])/step.list[0])), far))}, true
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
		out = widest(out, s)
	}
	return out, true
}

// resized is the shape after resizing to constant sizes, or by constant factors.
func (d *demand) resized(n *Node, first []int64, known bool) (shape []int64, exact, ok bool) {
	if v, ok := d.lengths(in(n, 3)); ok && n.Op == "Resize" {
		return v, true, true // sizes
	}
	place := 2
	if n.Op == "Upsample" || len(n.Inputs) == 2 { // before opset 11
		place = 1
	}
	scales := d.numbers[in(n, place)].list
	if a, there := n.Attr("scales"); there {
		for scales = nil; len(scales) < len(a.Floats); {
			scales = append(scales, float64(a.Floats[len(scales)]))
		}
	}
	known = known && len(first) == len(scales)
	out := make([]int64, len(scales))
	for i, x := range scales {
		if known {
			x *= float64(first[i])
		}
		if out[i] = int64(min(x, far)); !(x >= 0) {
			out[i] = -1
		}
	}
	return out, known, len(scales) > 0
}

// padded is the shape after Pad.
func (d *demand) padded(n *Node, first []int64, known bool) (shape []int64, exact, ok bool) {
	pads, ok := d.numbers[in(n, 1)]
	if a, attr := n.Attr("pads"); attr {
		pads, ok = folded{list: reals(a.Ints)}, true
	}
	known = known && in(n, 3) == "" && len(pads.list) == 2*len(first)
	out := margins(pads.list)
	for i := range out {
		if known {
			out[i] = sum(out[i], first[i])
		}
		out[i] = max(out[i], 0)
	}
	return out, known, ok
}

// margins is how much longer each dimension gets, by what is put before and behind it.
func margins(pads []float64) []int64 {
	out := make([]int64, len(pads)/2)
	for i := range out {
		out[i] = int64(min(max(pads[i]+pads[i+len(out)], -far), far))
	}
	return out
}

// bordered is what attributes alone add to the shape of a window's results.
func bordered(n *Node) []int64 {
	switch n.Op {
	case "RoiAlign":
		height, _ := n.Attr("output_height")
		width, _ := n.Attr("output_width")
		return []int64{max(height.Int, 1), max(width.Int, 1)}
	case "ConvTranspose":
		a, _ := n.Attr("output_shape")
		return a.Ints
	}
	a, ok := n.Attr("pads")
	if !ok {
		return nil
	}
	return margins(reals(a.Ints))
}

// widest is the shape that two shapes broadcast to at most: where lengths do not fit each other, or one is 0, the longer counts.
func widest(a, b []int64) []int64 {
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
