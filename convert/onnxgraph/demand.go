package onnxgraph

import (
	"fmt"
	"math"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// maxKnown is the number of elements up to which numbers are followed through the graph.
const maxKnown = 64

// maxTogether is the number of elements of all tensors that constants alone demand, beside four times those that were uploaded: weights may be
// transposed, or unpacked to another type, when the graph is loaded.
const maxTogether = 2 * MaxElements

// sizes lists operators that make a large tensor of a small one, and which inputs say how large.
var sizes = map[string][]int{
	"ConstantOfShape": {0}, "Expand": {1}, "OneHot": {1}, "Range": {0, 1, 2}, "Tile": {1}, "Pad": {1}, "Resize": {2, 3}, "Upsample": {1},
	"CenterCropPad": {1}, "AffineGrid": {1}, "Col2Im": {1},
}

// keeps lists operators none of whose outputs has more elements than the first input, microsoft's too.
var keeps = set(
	"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "BitwiseNot", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress", "Cos",
	"Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Det", "Dropout", "DynamicQuantizeLinear", "Elu", "Erf", "Exp", "ExpandDims", "EyeLike", "FastGelu", "Flatten",
	"Floor", "Gelu", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
	"InstanceNormalization", "Inverse", "IsInf", "IsNaN", "LRN", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization",
	"MeanVarianceNormalization", "Mish", "Neg", "Not", "QuantizeLinear", "QuickGelu", "RMSNormalization", "Reciprocal", "Relu", "Reshape", "ReverseSequence",
	"RotaryEmbedding", "Round", "Scatter", "ScatterElements", "ScatterND", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Slice", "Softmax", "Softplus",
	"Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Swish", "Tan", "Tanh", "TensorScatter", "ThresholdedRelu", "TopK", "Transpose", "Trilu", "Unique",
	"Unsqueeze",
	"ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)

// multiplies lists operators whose output has at most the product of the elements of their inputs.
var multiplies = set(
	"Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Einsum", "Equal", "FusedMatMul", "Gather", "GatherElements", "GatherND", "Gemm", "Greater",
	"GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "MatMulInteger", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "TransposeMatMul", "Where", "Xor",
)

// demand follows what constants alone decide: small tensors of numbers, and the shapes that come of them. The runtime computes such
// nodes when it loads the graph, before any request, so an Expand to 65537² would take the worker's memory at once.
type demand struct {
	numbers  map[string]folded // scalars and lists
	shapes   map[string][]int64
	inputs   map[string]bool   // values that depend on inputs of the graph
	most     map[string]int64  // of the others: no more elements than these
	largest  int64             // elements of a tensor
	together int64             // elements that may still be made of constants
	ranges   map[blob.Ref]bool // bytes of initializers that were counted
}

// checkDemand refuses tensors of more elements than MaxElements and than the largest weight that constants demand, those of which nobody
// knows how large they are, and what would train.
func checkDemand(g *Graph) error {
	d := demand{numbers: map[string]folded{}, shapes: map[string][]int64{}, inputs: map[string]bool{}, most: map[string]int64{}, ranges: map[blob.Ref]bool{}, largest: MaxElements, together: maxTogether}
	for i := range g.Initializers {
		d.initializer(&g.Initializers[i])
	}
	for _, p := range g.Inputs {
		d.inputs[p.Name] = true
		if !slices.Contains(p.Shape, model.Free) {
			d.shapes[p.Name] = p.Shape
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if n.Op == "Dropout" && in(n, 2) != "" && !slices.Equal(d.numbers[in(n, 2)].list, []float64{0}) {
			return Refused{n.what(i), "its training mode is not a constant false: training is not supported"}
		}
		if why := d.node(n); why != "" {
			return Refused{n.what(i), why}
		}
	}
	return nil
}

func (d *demand) initializer(t *Initializer) {
	d.shapes[t.Name] = t.Shape
	d.most[t.Name] = volume(t.Shape)
	n := max(model.Elements(t.Shape), 0)
	d.largest = max(d.largest, n)
	if t.Raw != nil || !d.ranges[t.Ref] { // tensors may share bytes, which were uploaded once
		d.together = min(d.together+4*min(n, far), far)
	}
	d.ranges[t.Ref] = true
	if t.Raw != nil && n <= maxKnown {
		if v, ok := numbersOf(t); ok {
			d.numbers[t.Name] = v
		}
	}
}

// node follows one node, and says why it may not be, "" if it may.
func (d *demand) node(n *Node) string {
	constant := !slices.ContainsFunc(n.Inputs, func(name string) bool { return d.inputs[name] }) // the runtime computes it, and keeps what comes out
	shape, exact, ok := d.shape(n)
	if ok && volume(shape) > d.largest {
		return fmt.Sprintf("constants demand a tensor of shape %.100s, more than %d elements", fmt.Sprint(shape), d.largest)
	}
	most := volume(shape)
	if exact = exact && ok && len(shape) <= maxKnown; !exact {
		bound, bounded := d.bound(n)
		if most = bound; constant && !bounded || !constant && d.hidden(n) {
			return "constants demand a tensor of which nobody knows how large it is; compute its shape before the export"
		}
	}
	if constant && most > d.largest {
		return fmt.Sprintf("constants demand a tensor that may have more than %d elements", d.largest)
	}
	if constant {
		if d.together -= most; d.together < 0 {
			return fmt.Sprintf("constants demand too much together: more than %d elements, and four times those that are in the files", maxTogether)
		}
	}
	for i, name := range n.Outputs {
		if exact && i == 0 {
			d.shapes[name] = shape
		}
		d.most[name] = most
	}
	d.fold(n)
	for _, name := range n.Outputs {
		_, known := d.numbers[name]
		d.inputs[name] = !constant && !known
	}
	return ""
}

// hidden says that constants say how large a tensor a node makes, but by numbers that are not followed.
func (d *demand) hidden(n *Node) bool {
	places := sizes[n.Op]
	if n.Op == "Resize" && len(n.Inputs) == 2 { // before opset 11
		places = []int{1}
	}
	hidden := false
	for _, i := range places {
		name := in(n, i)
		if _, ok := d.numbers[name]; name == "" || ok {
			continue
		}
		if d.inputs[name] {
			return false
		}
		hidden = true
	}
	return hidden
}

// bound is how many elements an output of a node has at most, by how many its inputs have at most.
func (d *demand) bound(n *Node) (most int64, ok bool) {
	switch {
	case n.Op == "Constant" && n.Domain == "":
		return MaxList, true
	case n.Op == "Shape" || n.Op == "Size":
		return model.MaxRank, n.Domain == ""
	case n.Op == "NonZero":
		return product(model.MaxRank, d.most[in(n, 0)]), n.Domain == ""
	case keeps[n.Op] && (n.Domain == "" || n.Domain == onnx.Microsoft):
		return d.most[in(n, 0)], true
	case n.Op == "Concat":
		for _, name := range n.Inputs {
			most = sum(most, d.most[name])
		}
		return most, true
	case multiplies[n.Op]:
		most = 1
		for _, name := range n.Inputs {
			if name != "" {
				most = product(most, max(d.most[name], 1))
			}
		}
		return most, true
	}
	return far, false
}

// volume is the number of elements of a shape, where a length of 0 counts as 1: another operator may make elements of the other lengths.
func volume(shape []int64) int64 {
	n := int64(1)
	for _, l := range shape {
		if l < 0 {
			return far
		}
		n = product(n, max(l, 1))
	}
	return n
}

// in is the name of an input, "" where it is left out.
func in(n *Node, i int) string {
	if i >= len(n.Inputs) {
		return ""
	}
	return n.Inputs[i]
}

// far is where lengths saturate: far above every limit of a shape.
const far = math.MaxInt64 / 4

func sum(a, b int64) int64 { return min(max(min(max(a, -far), far)+min(max(b, -far), far), -far), far) }

func product(a, b int64) int64 {
	if p := float64(a) * float64(b); math.Abs(p) >= far {
		return int64(math.Copysign(far, p))
	}
	return a * b
}
