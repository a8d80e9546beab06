package savedmodel

import (
	"math"
	"slices"
	"strings"

	"github.com/skein-project/skein/model"
)

// matMul multiplies matrices, with attributes that say which are given transposed.
func matMul(first, second string) func(*call) {
	return func(c *call) {
		a, as := c.matrix(0, first)
		b, bs := c.matrix(1, second)
		if t := c.dtype("Tout", c.in[0].dtype); t != c.in[0].dtype || c.in[1].dtype != t {
			c.refuse("multiplies %s by %s to %s, which is not mapped", c.in[0].dtype, c.in[1].dtype, t)
		}
		if c.err != nil {
			return
		}
		var shape []int64
		if as != nil && bs != nil && len(as) >= 2 && len(bs) >= 2 {
			shape = append(broadcast(as[:len(as)-2], bs[:len(bs)-2]), as[len(as)-2], bs[len(bs)-1])
		}
		c.result(c.emit("MatMul", []string{a, b}), c.in[0].dtype, shape)
	}
}

// matrix is an input with its last two dimensions exchanged where the attribute says so.
func (c *call) matrix(i int, transposed string) (string, []int64) {
	if !c.flag(transposed) {
		return c.name(i), c.in[i].dims()
	}
	shape, ok := c.ranked(i)
	if !ok || len(shape) < 2 {
		c.refuse("input %d is no matrix", i)
		return "", nil
	}
	perm := counted(len(shape))
	n := len(perm)
	perm[n-2], perm[n-1] = perm[n-1], perm[n-2]
	return c.emit("Transpose", []string{c.name(i)}, numbers("perm", perm)), permuted(shape, perm)
}

// counted is 0, 1, … n−1.
func counted(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func permuted(shape, perm []int64) []int64 {
	out := make([]int64, len(perm))
	for i, p := range perm {
		out[i] = shape[p]
	}
	return out
}

func einsum(c *call) {
	equation := strings.ReplaceAll(c.text("equation", ""), " ", "")
	in := make([]string, len(c.in))
	for i := range in {
		in[i] = c.name(i)
	}
	c.result(c.emit("Einsum", in, text("equation", equation)), c.in[0].dtype, c.summed(equation))
}

// summed is the shape that an equation of Einstein's sums gives; nil where it is not known.
func (c *call) summed(equation string) []int64 {
	left, right, ok := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	if !ok || len(terms) != len(c.in) {
		c.refuse("equation %.80q does not fit %d inputs", equation, len(c.in))
		return nil
	}
	sizes := map[rune]int64{}
	var batch []int64 // what ... stands for
	for i, term := range terms {
		shape := c.in[i].dims()
		if shape == nil {
			return nil
		}
		before, after, dots := strings.Cut(term, "...")
		named := len(before) + len(after)
		if len(shape) < named || !dots && len(shape) != named {
			c.refuse("equation %.80q does not fit the dimensions of input %d", equation, i)
			return nil
		}
		for j, r := range before + after {
			at := j
			if j >= len(before) {
				at = len(shape) - named + j
			}
			if d := shape[at]; d != model.Free || sizes[r] == 0 {
				sizes[r] = d
			}
		}
		if dots {
			batch = broadcast(batch, shape[len(before):len(shape)-len(after)])
			if batch == nil {
				batch = slices.Clone(shape[len(before) : len(shape)-len(after)])
			}
		}
	}
	out := []int64{}
	before, after, dots := strings.Cut(right, "...")
	for _, r := range before {
		out = append(out, sizes[r])
	}
	if dots {
		out = append(out, batch...)
	}
	for _, r := range after {
		out = append(out, sizes[r])
	}
	return out
}

func biasAdd(c *call) {
	bias := c.name(1)
	if c.text("data_format", "NHWC") == "NCHW" {
		x, ok := c.ranked(0)
		if !ok || len(x) < 2 {
			c.refuse("its input has no channels")
			return
		}
		if len(x) > 2 {
			bias = c.emit("Unsqueeze", []string{bias, c.b.list(counted(len(x) - 1)[1:]...)})
		}
	}
	c.like(c.emit("Add", []string{c.name(0), bias}))
}

// matrixBandPart keeps a band around the diagonal; a negative width keeps all of that side.
func matrixBandPart(c *call) {
	lower, upper := c.single(1, "lower width"), c.single(2, "upper width")
	x, t := c.name(0), c.in[0].dtype
	narrow := t != model.F32 && t != model.F64 && t != model.I64 && t != model.Bool
	if narrow { // the runtime has no kernel for others
		wide := model.F32
		if isWhole(t) {
			wide = model.I64
		}
		x = c.cast(x, wide)
	}
	if lower >= 0 {
		x = c.emit("Trilu", []string{x, c.b.name(c.b.numbers(model.I64, true, []int64{-lower}))}, number("upper", 1))
	}
	if upper >= 0 {
		x = c.emit("Trilu", []string{x, c.b.name(c.b.numbers(model.I64, true, []int64{upper}))}, number("upper", 0))
	}
	if narrow {
		x = c.cast(x, t)
	}
	c.like(x)
}

// reduce folds over axes.
func reduce(op string) func(*call) {
	return func(c *call) {
		x, t := c.name(0), c.in[0].dtype
		keep := c.number("keep_dims", 0)
		if t == model.Bool {
			x = c.cast(x, model.I32)
		}
		var shape []int64
		axes := c.in[1]
		if axes.whole() && len(axes.known) == 0 {
			c.out = append(c.out, c.in[0])
			return
		}
		if axes.whole() && c.in[0].ranked {
			shape = c.reduced(c.in[0].shape, axes.known, keep != 0)
		}
		var list string
		if axes.whole() {
			list = c.b.list(axes.known...)
		} else {
			list = c.emit("Reshape", []string{c.wide(1), c.b.list(-1)})
		}
		y := c.emit(op, []string{x, list}, number("keepdims", keep), number("noop_with_empty_axes", 1))
		if t == model.Bool {
			y = c.cast(y, t)
		}
		v := &value{name: y, dtype: t, shape: shape, ranked: shape != nil}
		if op == "ReduceProd" && isWhole(t) && shape != nil && len(shape) == 0 {
			v.known = product(c.in[0].known)
		}
		c.give(v)
	}
}

// mean of nothing is no number, where the runtime's is 0.
func mean(c *call) {
	reduce("ReduceMean")(c)
	axes, x, t := c.in[1], c.in[0], c.in[0].dtype
	if c.err != nil || isWhole(t) || !axes.whole() || !x.ranked {
		return
	}
	var open []int64
	for _, a := range axes.known {
		if d := x.shape[c.axis(a, len(x.shape))]; d == model.Free || d == 0 {
			open = append(open, a)
		}
	}
	if len(open) == 0 {
		return
	}
	length := c.emit("Gather", []string{c.emit("Shape", []string{c.name(0)}), c.b.list(open...)}, number("axis", 0))
	empty := c.emit("Equal", []string{c.emit("ReduceMin", []string{length}, number("keepdims", 0)), c.scalar(model.I64, 0)})
	y := c.out[0]
	c.out = nil
	c.result(c.emit("Where", []string{empty, c.scalar(t, math.NaN()), c.b.name(y)}), t, y.dims())
}

// product is the product of numbers that are known, as a list of one.
func product(list []int64) []int64 {
	if list == nil {
		return nil
	}
	n := int64(1)
	for _, x := range list {
		if x == unknown || x < 0 || x > 1<<31 || n*x > 1<<31-1 {
			return nil
		}
		n *= x
	}
	return []int64{n}
}

func (c *call) reduced(shape, axes []int64, keep bool) []int64 {
	gone := map[int]bool{}
	for _, a := range axes {
		gone[c.axis(a, len(shape))] = true
	}
	out := []int64{}
	for i, d := range shape {
		switch {
		case !gone[i]:
			out = append(out, d)
		case keep:
			out = append(out, 1)
		}
	}
	return out
}

func argOp(op string) func(*call) {
	return func(c *call) {
		a := c.single(1, "dimension")
		t := c.dtype("output_type", model.I64)
		var shape []int64
		if c.in[0].ranked {
			shape = c.reduced(c.in[0].shape, []int64{a}, false)
		}
		x := c.name(0)
		if c.in[0].dtype == model.Bool {
			x = c.cast(x, model.I32)
		}
		y := c.emit(op, []string{x}, number("axis", a), number("keepdims", 0))
		c.indices(y, t, shape)
	}
}

// indices gives I64 numbers as the type that the operation gives.
func (c *call) indices(name string, t model.DType, shape []int64) {
	v := &value{name: name, dtype: t, shape: shape, ranked: shape != nil, wide: name}
	if t != model.I64 {
		v.name = c.cast(name, t)
	}
	c.give(v)
}

func cumsum(c *call) {
	c.like(c.emit("CumSum", []string{c.name(0), c.wide(1)}, number("exclusive", c.number("exclusive", 0)), number("reverse", c.number("reverse", 0))))
}

func topK(c *call) {
	shape := slices.Clone(c.in[0].dims())
	if n := len(shape); n > 0 {
		shape[n-1] = model.Free
		if k := c.in[1]; k.whole() && len(k.known) == 1 {
			shape[n-1] = k.known[0]
		}
	}
	y := c.emits("TopK", 2, []string{c.name(0), c.emit("Reshape", []string{c.wide(1), c.b.list(1)})}, number("axis", -1))
	c.result(y[0], c.in[0].dtype, shape)
	c.indices(y[1], c.dtype("index_type", model.I32), shape)
}
