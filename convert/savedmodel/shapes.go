package savedmodel

import (
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// shapeOp gives the lengths of each input's dimensions.
func shapeOp(c *call) {
	for i, v := range c.in {
		name := c.emit("Shape", []string{c.name(i)})
		var shape, known []int64
		if v.ranked {
			shape, known = []int64{int64(len(v.shape))}, unfree(v.shape)
		} else {
			shape = free(1)
		}
		t := c.dtype("out_type", model.I32)
		out := &value{name: name, dtype: t, shape: shape, ranked: true, known: known, wide: name}
		if t != model.I64 && !out.whole() {
			out.name = c.cast(name, t)
		}
		c.give(out)
	}
}

// unfree writes lengths that are not known as elements that are not known.
func unfree(shape []int64) []int64 {
	out := slices.Clone(shape)
	for i, d := range out {
		if d == model.Free {
			out[i] = unknown
		}
	}
	return out
}

// lengths writes elements as lengths.
func lengths(known []int64) []int64 {
	out := slices.Clone(known)
	for i, d := range out {
		if d < 0 {
			out[i] = model.Free
		}
	}
	return out
}

// elements is the number of elements of a shape; false where it is not known.
func elements(shape []int64) (int64, bool) {
	n := model.Elements(shape)
	return n, n >= 0
}

func sizeOp(c *call) {
	out := &value{dtype: c.dtype("out_type", model.I32), shape: []int64{}, ranked: true}
	if n, ok := elements(c.in[0].shape); ok && c.in[0].ranked {
		out.known = []int64{n}
	}
	name := c.emit("Size", []string{c.name(0)})
	out.name, out.wide = name, name
	if out.dtype != model.I64 {
		out.name = c.cast(name, out.dtype)
	}
	c.give(out)
}

func rankOp(c *call) {
	if v, ok := c.ranked(0); ok {
		c.out = append(c.out, c.b.numbers(model.I32, true, []int64{int64(len(v))}))
	}
}

func reshape(c *call) {
	v, to := c.in[0], c.in[1]
	shape := reshaped(v.dims(), to)
	out := &value{dtype: v.dtype, shape: shape, ranked: shape != nil, known: v.known, wide: ""}
	if len(shape) > 1 {
		out.known = nil
	}
	// In ONNX a 0 takes the length from the input, unless allowzero is set, which excludes −1 beside a 0.
	zero := number("allowzero", 1)
	if slices.Contains(to.known, -1) {
		zero = number("allowzero", 0)
	}
	out.name = c.emit("Reshape", []string{c.name(0), c.wide(1)}, zero)
	c.give(out)
}

// reshaped is the shape that a list of lengths asks for, where one may be −1; nil where its rank is unknown.
func reshaped(from []int64, to *value) []int64 {
	if to.known == nil {
		if to.ranked && len(to.shape) == 1 && to.shape[0] >= 0 && to.shape[0] <= model.MaxRank {
			return free(int(to.shape[0]))
		}
		return nil
	}
	out := lengths(to.known)
	n, ok := elements(from)
	open := slices.Index(to.known, -1)
	if from == nil || !ok || open < 0 {
		return out
	}
	out[open] = 1
	if rest, ok := elements(out); ok && rest > 0 && n%rest == 0 {
		out[open] = n / rest
	} else {
		out[open] = model.Free
	}
	return out
}

func transpose(c *call) {
	perm := c.list(1, "permutation")
	sorted := slices.Sorted(slices.Values(perm))
	if c.err == nil && (!slices.Equal(sorted, counted(len(perm))) || c.in[0].ranked && len(c.in[0].shape) != len(perm)) {
		c.refuse("%v is no permutation of its dimensions", perm)
	}
	if c.err != nil {
		return
	}
	if slices.Equal(perm, counted(len(perm))) { // as tf.tensordot writes
		same(c)
		return
	}
	shape := free(len(perm))
	if c.in[0].ranked {
		shape = permuted(c.in[0].shape, perm)
	}
	c.result(c.emit("Transpose", []string{c.name(0)}, numbers("perm", perm)), c.in[0].dtype, shape)
}

func expandDims(c *call) {
	a := c.single(1, "axis")
	v := c.in[0]
	out := &value{dtype: v.dtype, ranked: v.ranked, known: v.known}
	if v.ranked {
		at := c.axis(a, len(v.shape)+1)
		out.shape = slices.Insert(slices.Clone(v.shape), at, 1)
		if len(v.shape) > 0 {
			out.known = nil
		}
	}
	out.name = c.emit("Unsqueeze", []string{c.name(0), c.b.list(a)})
	c.give(out)
}

func squeeze(c *call) {
	v := c.in[0]
	axes := c.n.def.attrs["squeeze_dims"].ints
	if len(axes) == 0 {
		axes = c.n.def.attrs["axis"].ints
	}
	out := &value{dtype: v.dtype, known: v.known}
	in := []string{c.name(0)}
	if len(axes) > 0 {
		in = append(in, c.b.list(axes...))
	}
	switch {
	case v.ranked && len(axes) > 0:
		out.shape, out.ranked = c.reduced(v.shape, axes, false), true
	case v.ranked && !slices.Contains(v.shape, model.Free):
		out.shape, out.ranked = slices.DeleteFunc(slices.Clone(v.shape), func(d int64) bool { return d == 1 }), true
	}
	out.name = c.emit("Squeeze", in)
	c.give(out)
}

func invertPermutation(c *call) {
	perm := c.list(0, "permutation")
	if c.err != nil {
		return
	}
	out := make([]int64, len(perm))
	for i, p := range perm {
		if p < 0 || p >= int64(len(perm)) {
			c.refuse("%v is no permutation", perm)
			return
		}
		out[p] = int64(i)
	}
	c.out = append(c.out, c.b.numbers(c.in[0].dtype, false, out))
}

// pack joins values along a new axis.
func pack(c *call) {
	axis := c.number("axis", 0)
	out := &value{dtype: c.in[0].dtype}
	var in []string
	var wide []string
	scalars := true
	for i, v := range c.in {
		scalars = scalars && v.ranked && len(v.shape) == 0
		if len(v.known) == 1 {
			out.known = append(out.known, v.known[0])
		} else {
			out.known = append(out.known, unknown)
		}
		if v.ranked && len(v.shape) == 0 && v.whole() {
			in = append(in, c.b.name(c.b.numbers(v.dtype, false, v.known)))
			continue
		}
		in = append(in, c.emit("Unsqueeze", []string{c.name(i), c.b.list(axis)}))
	}
	if v := c.in[0]; v.ranked {
		out.shape = slices.Insert(slices.Clone(v.shape), c.axis(axis, len(v.shape)+1), int64(len(c.in)))
		out.ranked = true
	}
	out.name = c.emit("Concat", in, number("axis", axis))
	if !scalars || !isWhole(out.dtype) || len(out.known) > maxFollowed {
		out.known = nil
	} else if !out.whole() {
		for i, v := range c.in {
			if v.whole() {
				wide = append(wide, c.b.list(v.known...))
			} else {
				wide = append(wide, c.emit("Unsqueeze", []string{c.wide(i), c.b.list(0)}))
			}
		}
		out.wide = c.emit("Concat", wide, number("axis", 0))
	}
	c.give(out)
}

// unpackOp takes values along an axis apart.
func unpackOp(c *call) {
	axis, n := c.number("axis", 0), c.number("num", 0)
	if n < 1 || n > MaxEdges {
		c.refuse("%d outputs are not in 1..%d", n, MaxEdges)
		return
	}
	var shape []int64
	if c.in[0].ranked {
		shape = c.reduced(c.in[0].shape, []int64{axis}, false)
	}
	parts := c.emits("Split", int(n), []string{c.name(0), c.b.list(ones(int(n))...)}, number("axis", axis))
	for i, part := range parts {
		v := &value{name: c.emit("Squeeze", []string{part, c.b.list(axis)}), dtype: c.in[0].dtype, shape: shape, ranked: shape != nil}
		if k := c.in[0].known; int64(len(k)) == n && len(shape) == 0 {
			v.known = k[i : i+1]
		}
		c.give(v)
	}
}

// concat joins values along an axis, which is the last input, or in the older operation the first.
func concat(c *call) {
	at, from, to := len(c.in)-1, 0, len(c.in)-1
	if c.n.def.op == "Concat" {
		at, from, to = 0, 1, len(c.in)
	}
	axis := c.single(at, "axis")
	parts := c.in[from:to]
	out := &value{dtype: parts[0].dtype}
	var in []string
	known, list := []int64{}, true
	for i, v := range parts {
		in = append(in, c.name(from+i))
		list = list && v.known != nil && len(v.shape) == 1
		known = append(known, v.known...)
		if !v.ranked || c.err != nil {
			continue
		}
		a := c.axis(axis, len(v.shape))
		switch {
		case c.err != nil:
		case !out.ranked:
			out.shape, out.ranked = slices.Clone(v.shape), true
		case len(out.shape) != len(v.shape):
			c.refuse("joins %d and %d dimensions", len(out.shape), len(v.shape))
		case out.shape[a] == model.Free || v.shape[a] == model.Free:
			out.shape[a] = model.Free
		default:
			out.shape[a] += v.shape[a]
		}
	}
	if out.ranked && slices.ContainsFunc(parts, func(v *value) bool { return !v.ranked }) && c.err == nil {
		out.shape[c.axis(axis, len(out.shape))] = model.Free
	}
	if list && len(known) <= maxFollowed && len(out.shape) == 1 {
		out.known = known
		if !out.whole() && out.dtype != model.I64 {
			var wide []string
			for i := range parts {
				wide = append(wide, c.wide(from+i))
			}
			out.wide = c.emit("Concat", wide, number("axis", 0))
		}
	}
	out.name = c.emit("Concat", in, number("axis", axis))
	c.give(out)
}

func split(c *call) {
	axis, n := c.single(0, "axis"), c.number("num_split", 0)
	if n < 1 || n > MaxEdges {
		c.refuse("%d outputs are not in 1..%d", n, MaxEdges)
		return
	}
	shape := slices.Clone(c.in[1].dims())
	if shape != nil {
		if a := c.axis(axis, len(shape)); c.err == nil && shape[a] != model.Free {
			shape[a] /= n
		}
	}
	for _, name := range c.emits("Split", int(n), []string{c.name(1)}, number("axis", axis), number("num_outputs", n)) {
		c.result(name, c.in[1].dtype, shape)
	}
}

func splitV(c *call) {
	sizes, axis := c.list(1, "list of lengths"), c.single(2, "axis")
	v := c.in[0]
	if len(sizes) < 1 || len(sizes) > MaxEdges {
		c.refuse("%d outputs are not in 1..%d", len(sizes), MaxEdges)
		return
	}
	sizes = slices.Clone(sizes)
	if v.ranked {
		c.axis(axis, len(v.shape))
	}
	if c.err != nil {
		return
	}
	var list string
	others := int64(0)
	open := slices.Index(sizes, -1)
	for i, s := range sizes {
		if i != open {
			others += s
		}
	}
	switch {
	case open < 0:
		list = c.b.list(sizes...)
	case v.ranked && v.shape[c.axis(axis, len(v.shape))] != model.Free:
		sizes[open] = v.shape[c.axis(axis, len(v.shape))] - others
		list = c.b.list(sizes...)
	default:
		whole := c.emit("Gather", []string{c.emit("Shape", []string{c.name(0)}), c.b.list(axis)})
		left := c.emit("Sub", []string{whole, c.b.list(others)})
		var parts []string
		for i := range sizes {
			if i == open {
				parts = append(parts, left)
			} else {
				parts = append(parts, c.b.list(sizes[i]))
			}
		}
		list = c.emit("Concat", parts, number("axis", 0))
	}
	for i, name := range c.emits("Split", len(sizes), []string{c.name(0), list}, number("axis", axis)) {
		shape := slices.Clone(v.dims())
		if shape != nil {
			shape[c.axis(axis, len(shape))] = max(sizes[i], model.Free)
		}
		c.result(name, v.dtype, shape)
	}
}

// slice takes a box out, of which a length of −1 reaches to the end.
func slice(c *call) {
	v, begin, size := c.in[0], c.in[1], c.in[2]
	starts := c.wide(1)
	var ends string
	shape := slices.Clone(v.dims())
	switch {
	case begin.whole() && size.whole() && len(begin.known) == len(size.known):
		list := make([]int64, len(size.known))
		for i, n := range size.known {
			if list[i] = begin.known[i] + n; n == -1 {
				list[i] = math.MaxInt64
			}
		}
		ends = c.b.list(list...)
	default:
		open := c.emit("Equal", []string{c.wide(2), c.b.list(-1)})
		ends = c.emit("Where", []string{open, c.b.list(math.MaxInt64), c.emit("Add", []string{starts, c.wide(2)})})
	}
	if shape == nil && size.known != nil {
		shape = free(len(size.known))
	}
	for i := range shape {
		old := shape[i]
		shape[i] = model.Free
		if i < len(size.known) && size.known[i] >= 0 {
			shape[i] = size.known[i]
		} else if old != model.Free && begin.whole() && i < len(begin.known) && i < len(size.known) && size.known[i] == -1 {
			shape[i] = old - begin.known[i]
		}
	}
	out := &value{name: c.emit("Slice", []string{c.name(0), starts, ends}), dtype: v.dtype, shape: shape, ranked: shape != nil}
	if v.known != nil && len(shape) == 1 && begin.whole() && len(begin.known) == 1 && shape[0] >= 0 {
		if from := begin.known[0]; from >= 0 && from <= int64(len(v.known))-shape[0] {
			out.known = v.known[from : from+shape[0]]
		}
	}
	c.give(out)
}
