package savedmodel

import (
	"slices"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// gather takes rows by their numbers, along an axis, maybe for each of the leading dimensions by numbers of its own.
func gather(c *call) {
	v, at := c.in[0], c.in[1]
	axis, batch := int64(0), c.number("batch_dims", 0)
	if len(c.in) == 3 {
		axis = c.single(2, "axis")
	}
	if c.err != nil {
		return
	}
	if batch != 0 {
		c.gatherBatch(axis, batch)
		return
	}
	out := &value{dtype: v.dtype}
	if v.ranked && at.ranked {
		a := c.axis(axis, len(v.shape))
		out.shape, out.ranked = slices.Concat(v.shape[:a], at.shape, v.shape[min(a+1, len(v.shape)):]), true
	}
	if len(at.known) == 1 && len(at.shape) == 0 && at.known[0] >= 0 && at.known[0] < int64(len(v.known)) {
		out.known = v.known[at.known[0] : at.known[0]+1]
	}
	index := c.name(1)
	if at.dtype != model.I32 && at.dtype != model.I64 {
		index = c.cast(index, model.I64)
	}
	out.name = c.emit("Gather", []string{c.name(0), index}, number("axis", axis))
	c.give(out)
}

// gatherBatch puts the axis behind the leading dimensions, which GatherND has too, and what comes of it back in place.
func (c *call) gatherBatch(axis, batch int64) {
	v, ok := c.ranked(0)
	at, also := c.ranked(1)
	if !ok || !also {
		return
	}
	a := c.axis(axis, len(v))
	if c.err != nil {
		return
	}
	if batch < 0 {
		batch += int64(len(at))
	}
	b := int(batch)
	if b < 1 || b > a || b > len(at) {
		c.refuse("%d leading dimensions do not fit axis %d", batch, a)
		return
	}
	x := c.name(0)
	if a != b {
		perm := slices.Insert(slices.Delete(counted(len(v)), a, a+1), b, int64(a))
		x = c.emit("Transpose", []string{x}, numbers("perm", perm))
	}
	index := c.emit("Unsqueeze", []string{c.wide(1), c.b.list(-1)})
	y := c.emit("GatherND", []string{x, index}, number("batch_dims", b))
	if own := len(at) - b; a != b { // [leading, own, between, behind] → [leading, between, own, behind]
		perm := counted(len(v) - 1 + own)
		between := slices.Clone(perm[b+own : a+own])
		perm = slices.Insert(slices.Delete(perm, b+own, a+own), b, between...)
		y = c.emit("Transpose", []string{y}, numbers("perm", perm))
	}
	c.result(y, c.in[0].dtype, slices.Concat(v[:a], at[b:], v[a+1:]))
}

func gatherND(c *call) {
	v, at := c.in[0], c.in[1]
	var shape []int64
	if n := len(at.shape); v.ranked && at.ranked && n > 0 && at.shape[n-1] >= 0 && at.shape[n-1] <= int64(len(v.shape)) {
		shape = slices.Concat(at.shape[:n-1], v.shape[at.shape[n-1]:])
	}
	if c.number("batch_dims", 0) != 0 {
		c.refuse("leading dimensions are not mapped")
	}
	c.strict()
	c.result(c.emit("GatherND", []string{c.name(0), c.wide(1)}), v.dtype, shape)
}

// strict refuses an operation that passes over places that are not there: the runtime fails at them, as TensorFlow does if nothing is said.
func (c *call) strict() {
	if policy := c.text("bad_indices_policy", ""); policy != "" && policy != "DEFAULT" && policy != "ERROR" {
		c.refuse("passes over places that are not there (%.20s), which is not mapped", policy)
	}
}

// oneHot compares each number with all from 0 to the depth; ONNX's own OneHot takes negative numbers from the end, TensorFlow's none.
func oneHot(c *call) {
	at, ok := c.ranked(0)
	axis := c.number("axis", -1)
	if !ok {
		return
	}
	a := c.axis(axis, len(at)+1)
	if c.err != nil {
		return
	}
	zero, one := c.b.name(c.b.numbers(model.I64, true, []int64{0})), c.b.name(c.b.numbers(model.I64, true, []int64{1}))
	depth := c.emit("Reshape", []string{c.wide(1), c.b.list()})
	all := c.emit("Range", []string{zero, depth, one})
	lengths := ones(len(at) + 1)
	lengths[a] = -1
	all = c.emit("Reshape", []string{all, c.b.list(lengths...)})
	hit := c.emit("Equal", []string{c.emit("Unsqueeze", []string{c.wide(0), c.b.list(int64(a))}), all})
	t := c.in[2].dtype
	var y string
	if t == model.Bool {
		yes := c.emit("And", []string{hit, c.name(2)})
		y = c.emit("Or", []string{yes, c.emit("And", []string{c.emit("Not", []string{hit}), c.name(3)})})
	} else {
		y = c.emit("Where", []string{hit, c.name(2), c.name(3)})
	}
	n := int64(model.Free)
	if k := c.in[1].known; len(k) == 1 && k[0] >= 0 {
		n = k[0]
	}
	c.result(y, t, slices.Insert(slices.Clone(at), a, n))
}

// diagonal puts numbers on the diagonals of matrices; only the diagonal from the first corner of square matrices is mapped.
func diagonal(c *call) {
	x, ok := c.ranked(0)
	if !ok || len(x) == 0 {
		c.refuse("its input is no list")
		return
	}
	for i, what := range []string{"diagonal", "number of rows", "number of columns"} {
		if want := []int64{0, -1, -1}[i]; len(c.in) > 1 && c.single(i+1, what) != want && c.err == nil {
			c.refuse("its %s is not %d", what, want)
		}
	}
	t := c.in[0].dtype
	rest := c.scalar(t, 0)
	if len(c.in) > 4 {
		rest = c.name(4)
	}
	zero, one := c.b.name(c.b.numbers(model.I64, true, []int64{0})), c.b.name(c.b.numbers(model.I64, true, []int64{1}))
	length := c.emit("Squeeze", []string{c.dimension(c.name(0), len(x)-1)})
	all := c.emit("Range", []string{zero, length, one})
	on := c.emit("Equal", []string{all, c.emit("Unsqueeze", []string{all, c.b.list(1)})})
	if t == model.Bool {
		c.refuse("puts truth values on a diagonal, which is not mapped")
	}
	y := c.emit("Where", []string{on, c.emit("Unsqueeze", []string{c.name(0), c.b.list(-1)}), rest})
	c.result(y, t, append(slices.Clone(x), x[len(x)-1]))
}

// bucketize counts for each number how many boundaries are not above it; nothing is above what is no number. TensorFlow compares whole numbers
// as float32 too.
func bucketize(c *call) {
	v, t := c.in[0], model.F32
	if v.dtype == model.F64 {
		t = v.dtype
	}
	boundaries := c.n.def.attrs["boundaries"].reals
	k := &constant{dtype: t, shape: []int64{int64(len(boundaries))}, raw: []byte{}}
	for _, x := range boundaries {
		k.raw = append(k.raw, element(t, float64(x), 0)...)
	}
	x := c.name(0)
	if v.dtype != t {
		x = c.cast(x, t)
	}
	above := c.emit("Less", []string{c.emit("Unsqueeze", []string{x, c.b.list(-1)}), c.b.name(c.b.constant(k))})
	sum := c.emit("ReduceSum", []string{c.cast(c.emit("Not", []string{above}), model.I32), c.b.list(-1)}, number("keepdims", 0))
	c.result(sum, model.I32, v.dims())
}

// scatterND writes rows at places of a tensor, or adds them there; ScatterNd begins with zeros.
func scatterND(c *call) {
	c.strict()
	places, rows, into := 0, 1, 2
	if c.n.def.op != "ScatterNd" {
		into, places, rows = 0, 1, 2
	}
	var x string
	var shape []int64
	t := c.in[rows].dtype
	var attrs []onnxgraph.Attr
	switch c.n.def.op {
	case "ScatterNd":
		x, shape = c.filled(c.wide(into), t, 0), reshaped(nil, c.in[into])
		attrs = append(attrs, text("reduction", "add"))
	case "TensorScatterAdd":
		attrs = append(attrs, text("reduction", "add"))
		fallthrough
	default:
		x, shape = c.name(into), c.in[into].dims()
	}
	c.result(c.emit("ScatterND", []string{x, c.wide(places), c.name(rows)}, attrs...), t, shape)
}

// where gives the places of what is not zero, one a row.
func where(c *call) {
	rank := int64(model.Free)
	if c.in[0].ranked {
		rank = int64(len(c.in[0].shape))
	}
	y := c.emit("Transpose", []string{c.emit("NonZero", []string{c.name(0)})}, numbers("perm", []int64{1, 0}))
	c.result(y, model.I64, []int64{model.Free, rank})
}
