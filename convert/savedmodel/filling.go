package savedmodel

import (
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// pad adds elements around; paddings are [dimensions, 2] in TensorFlow, and all that come before, then all behind, in ONNX.
func pad(c *call) {
	v := c.in[0]
	in := []string{c.name(0)}
	shape := slices.Clone(v.dims())
	pads := c.in[1]
	var list []int64
	if pads.c != nil && pads.c.raw != nil && !pads.c.same {
		list, _ = pads.c.whole()
	}
	if len(list) == 2*len(shape) && shape != nil {
		var before, after []int64
		for i := range shape {
			before, after = append(before, list[2*i]), append(after, list[2*i+1])
			if shape[i] != model.Free {
				shape[i] += list[2*i] + list[2*i+1]
			}
		}
		in = append(in, c.b.list(append(before, after...)...))
	} else {
		for i := range shape {
			shape[i] = model.Free
		}
		in = append(in, c.emit("Reshape", []string{c.emit("Transpose", []string{c.wide(1)}, numbers("perm", []int64{1, 0})), c.b.list(-1)}))
	}
	mode := text("mode", "constant")
	if len(c.in) > 2 {
		in = append(in, c.name(2))
	}
	if c.n.def.op == "MirrorPad" {
		if m := c.text("mode", ""); m != "REFLECT" {
			c.refuse("mode %.20q is not supported", m)
		}
		mode = text("mode", "reflect")
	}
	c.result(c.emit("Pad", in, mode), v.dtype, shape)
}

func reverse(c *call) {
	axes := c.list(1, "axes")
	n := len(axes)
	if n == 0 || c.err != nil {
		c.out = append(c.out, c.in[0])
		return
	}
	starts, ends, steps := make([]int64, n), make([]int64, n), make([]int64, n)
	for i := range axes {
		starts[i], ends[i], steps[i] = -1, math.MinInt64, -1
	}
	c.like(c.emit("Slice", []string{c.name(0), c.b.list(starts...), c.b.list(ends...), c.b.list(axes...), c.b.list(steps...)}))
}

func tile(c *call) {
	v, m := c.in[0], c.in[1]
	shape := slices.Clone(v.dims())
	for i := range shape {
		if shape[i] == model.Free || i >= len(m.known) || m.known[i] < 0 || shape[i] > 0 && m.known[i] > math.MaxInt32 {
			shape[i] = model.Free
		} else {
			shape[i] *= m.known[i]
		}
	}
	c.result(c.emit("Tile", []string{c.name(0), c.wide(1)}), v.dtype, shape)
}

func fillOp(c *call) {
	shape := reshaped(nil, c.in[0])
	out := &value{name: c.emit("Expand", []string{c.name(1), c.wide(0)}), dtype: c.in[1].dtype, shape: shape, ranked: shape != nil}
	if k := c.in[1].known; len(k) == 1 && len(shape) == 1 && shape[0] >= 0 && shape[0] <= maxFollowed {
		out.known = slices.Repeat(k, int(shape[0]))
	}
	c.give(out)
}

func broadcastTo(c *call) {
	shape := reshaped(nil, c.in[1])
	c.result(c.emit("Expand", []string{c.name(0), c.wide(1)}), c.in[0].dtype, shape)
}

// broadcastArgs gives the shape that two shapes broadcast to.
func broadcastArgs(c *call) {
	a, b := c.in[0], c.in[1]
	if len(a.shape) != 1 || len(b.shape) != 1 || a.shape[0] < 0 || b.shape[0] < 0 {
		c.refuse("the lengths of its inputs are not known")
		return
	}
	n := max(a.shape[0], b.shape[0])
	x, y := c.lead(0, n), c.lead(1, n)
	one := c.emit("Equal", []string{x, c.b.list(1)})
	name := c.emit("Where", []string{one, y, x})
	v := &value{name: name, dtype: a.dtype, shape: []int64{n}, ranked: true, wide: name}
	if a.dtype != model.I64 {
		v.name = c.cast(name, a.dtype)
	}
	if a.whole() && b.whole() {
		v.known = broadcast(a.known, b.known)
	}
	c.give(v)
}

// lead puts ones before a list of lengths.
func (c *call) lead(i int, n int64) string {
	missing := n - c.in[i].shape[0]
	if missing == 0 {
		return c.wide(i)
	}
	return c.emit("Concat", []string{c.b.list(ones(int(missing))...), c.wide(i)}, number("axis", 0))
}

// rangeOp counts from, to below, by.
func rangeOp(c *call) {
	v := c.in[0]
	out := &value{name: c.emit("Range", []string{c.name(0), c.name(1), c.name(2)}), dtype: v.dtype, shape: free(1), ranked: true}
	if len(v.known) == 1 && len(c.in[1].known) == 1 && len(c.in[2].known) == 1 && v.whole() && c.in[1].whole() && c.in[2].whole() {
		from, to, by := v.known[0], c.in[1].known[0], c.in[2].known[0]
		if small(from) && small(to) && small(by) && by != 0 {
			out.shape[0] = max(0, (to-from+by-sign(by))/by)
			if out.shape[0] <= maxFollowed {
				out.known = []int64{}
				for i := range out.shape[0] {
					out.known = append(out.known, from+i*by)
				}
			}
		}
	}
	c.give(out)
}

func small(n int64) bool { return n > -1<<31 && n < 1<<31 }

func sign(n int64) int64 {
	if n < 0 {
		return -1
	}
	return 1
}
