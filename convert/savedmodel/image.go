package savedmodel

import (
	"slices"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// channelsFirst is an input [rows, height, width, channels] as [rows, channels, height, width].
func (c *call) channelsFirst(i int) string {
	if c.first() {
		return c.name(i)
	}
	return c.emit("Transpose", []string{c.name(i)}, numbers("perm", []int64{0, 3, 1, 2}))
}

// first says that the operation has channels before height and width.
func (c *call) first() bool { return c.text("data_format", "NHWC") == "NCHW" }

// spatial is the part of a list of four that is about height and width.
func (c *call) spatial(name string) []int64 {
	list := c.n.def.attrs[name].ints
	if len(list) == 0 && name == "dilations" {
		return []int64{1, 1}
	}
	at := 1
	if c.first() {
		at = 2
	}
	if len(list) != 4 || slices.ContainsFunc(list, func(n int64) bool { return n < 1 || n > 1<<20 }) {
		c.refuse("attribute %s is no list of 4 lengths", name)
		return []int64{1, 1}
	}
	if rest := slices.Delete(slices.Clone(list), at, at+2); rest[0] != 1 || rest[1] != 1 {
		c.refuse("attribute %s is about rows or channels", name)
	}
	return list[at : at+2]
}

// image is the shape of input 0 as [rows, channels, height, width].
func (c *call) image() ([]int64, bool) {
	x, ok := c.ranked(0)
	if ok && len(x) != 4 {
		c.refuse("its input has %d dimensions, not 4", len(x))
	}
	if !ok || c.err != nil {
		return nil, false
	}
	if c.first() {
		return x, true
	}
	return []int64{x[0], x[3], x[1], x[2]}, true
}

// padding says how the border is filled, and how long the two dimensions are afterwards.
func (c *call) padding(size, kernel, strides, dilations []int64) (attrs []onnxgraph.Attr, out []int64) {
	before, after := []int64{0, 0}, []int64{0, 0}
	mode := c.text("padding", "")
	exact := true
	switch mode {
	case "VALID":
	case "EXPLICIT":
		list := c.n.def.attrs["explicit_paddings"].ints
		at := 2
		if c.first() {
			at = 4
		}
		if len(list) != 8 {
			c.refuse("explicit_paddings is no list of 8 lengths")
			return nil, free(2)
		}
		before, after = []int64{list[at], list[at+2]}, []int64{list[at+1], list[at+3]}
	case "SAME":
		for i := range 2 {
			reach := (kernel[i]-1)*dilations[i] + 1
			total := reach - strides[i]
			switch {
			case strides[i] == 1:
			case size[i] == model.Free:
				exact = false
			case size[i]%strides[i] != 0:
				total = reach - size[i]%strides[i]
			}
			total = max(0, total)
			before[i], after[i] = total/2, total-total/2
		}
	default:
		c.refuse("padding %.20q is not known", mode)
	}
	out = free(2)
	for i := range 2 {
		if size[i] != model.Free {
			out[i] = max(0, (size[i]+before[i]+after[i]-(kernel[i]-1)*dilations[i]-1)/strides[i]+1)
		}
	}
	if exact {
		return []onnxgraph.Attr{numbers("pads", append(before, after...))}, out
	}
	if dilations[0] != 1 || dilations[1] != 1 {
		c.refuse("strides with dilations on an image of unknown size")
	}
	return []onnxgraph.Attr{text("auto_pad", "SAME_UPPER")}, free(2)
}

// finish gives a result [rows, channels, height, width] as the operation has it.
func (c *call) finish(name string, rows, channels int64, size []int64) {
	if c.first() {
		c.result(name, c.in[0].dtype, []int64{rows, channels, size[0], size[1]})
		return
	}
	c.result(c.emit("Transpose", []string{name}, numbers("perm", []int64{0, 2, 3, 1})), c.in[0].dtype, []int64{rows, size[0], size[1], channels})
}

// conv is a convolution, with filters [height, width, channels in, channels out]; in a depthwise one each channel has filters of its own,
// [height, width, channels, filters of each].
func conv(c *call) {
	x, ok := c.image()
	w, known := c.ranked(1)
	if !ok || !known {
		return
	}
	if len(w) != 4 || slices.Contains(w, model.Free) || slices.Contains(w, 0) || x[1] == model.Free {
		c.refuse("the shape of its filters or its number of channels is not known")
		return
	}
	strides, dilations := c.spatial("strides"), c.spatial("dilations")
	pads, size := c.padding(x[2:], w[:2], strides, dilations)
	var filters string
	groups, channels := x[1]/w[2], w[3]
	if c.n.def.op == "DepthwiseConv2dNative" {
		groups, channels = w[2], w[2]*w[3]
		filters = c.emit("Transpose", []string{c.name(1)}, numbers("perm", []int64{2, 3, 0, 1}))
		filters = c.emit("Reshape", []string{filters, c.b.list(channels, 1, w[0], w[1])})
	} else {
		filters = c.emit("Transpose", []string{c.name(1)}, numbers("perm", []int64{3, 2, 0, 1}))
	}
	if x[1]%w[2] != 0 || groups*w[2] != x[1] && c.n.def.op == "Conv2D" || groups < 1 || channels%groups != 0 {
		c.refuse("filters %v do not fit %d channels", w, x[1])
		return
	}
	attrs := append(pads, numbers("strides", strides), numbers("dilations", dilations), number("group", groups), numbers("kernel_shape", w[:2]))
	c.finish(c.emit("Conv", []string{c.channelsFirst(0), filters}, attrs...), x[0], channels, size)
}

func pool(op string) func(*call) {
	return func(c *call) {
		x, ok := c.image()
		if !ok {
			return
		}
		kernel, strides := c.spatial("ksize"), c.spatial("strides")
		attrs, size := c.padding(x[2:], kernel, strides, []int64{1, 1})
		attrs = append(attrs, numbers("strides", strides), numbers("kernel_shape", kernel))
		c.finish(c.emit(op, []string{c.channelsFirst(0)}, attrs...), x[0], x[1], size)
	}
}

// batchNorm scales each channel by what training measured, a product and a sum; or, as Keras writes its layer norm, by what the batch
// itself has. Of the outputs only the first is mapped: the others are for training.
func batchNorm(c *call) {
	x, ok := c.ranked(0)
	if !ok || len(x) < 2 {
		c.refuse("its input has no channels")
		return
	}
	scale, offset, images := c.name(1), c.name(2), c.name(0)
	t := c.in[1].dtype
	half := c.in[0].dtype != t // images of F16, and what was measured of F32
	if half {
		images = c.cast(images, t)
	}
	give := func(y string) {
		if half {
			y = c.cast(y, c.in[0].dtype)
		}
		c.like(y)
	}
	channel := len(x) - 1
	if c.first() {
		channel = 1
		rest := c.b.list(counted(len(x) - 1)[1:]...) // [channels] → [channels, 1, 1]
		scale, offset = c.emit("Unsqueeze", []string{scale, rest}), c.emit("Unsqueeze", []string{offset, rest})
	}
	eps := c.scalar(t, float64(c.real("epsilon", 1e-4)))
	deviation := func(variance string) string { return c.emit("Sqrt", []string{c.emit("Add", []string{variance, eps})}) }
	if c.number("is_training", 1) != 0 {
		axes := c.b.list(slices.Delete(counted(len(x)), channel, channel+1)...)
		apart := c.emit("Sub", []string{images, c.emit("ReduceMean", []string{images, axes})})
		variance := c.emit("ReduceMean", []string{c.emit("Mul", []string{apart, apart}), axes})
		y := c.emit("Mul", []string{c.emit("Div", []string{apart, deviation(variance)}), scale})
		give(c.emit("Add", []string{y, offset}))
		return
	}
	mean, variance := c.name(3), c.name(4)
	if c.first() {
		rest := c.b.list(counted(len(x) - 1)[1:]...)
		mean, variance = c.emit("Unsqueeze", []string{mean, rest}), c.emit("Unsqueeze", []string{variance, rest})
	}
	scale = c.emit("Div", []string{scale, deviation(variance)})
	shift := c.emit("Sub", []string{offset, c.emit("Mul", []string{mean, scale})})
	give(c.emit("Add", []string{c.emit("Mul", []string{images, scale}), shift}))
}

// blocks moves blocks of pixels to channels, and back.
func blocks(op string) func(*call) {
	return func(c *call) {
		x, ok := c.image()
		n := c.number("block_size", 0)
		if !ok || n < 2 || n > 1<<10 {
			c.refuse("its blocks are of no size that is possible")
			return
		}
		channels, size := x[1], slices.Clone(x[2:])
		for i := range size {
			switch {
			case size[i] == model.Free:
			case op == "SpaceToDepth":
				size[i] /= n
			default:
				size[i] *= n
			}
		}
		switch {
		case channels == model.Free:
		case op == "SpaceToDepth":
			channels *= n * n
		default:
			channels /= n * n
		}
		c.finish(c.emit(op, []string{c.channelsFirst(0)}, number("blocksize", n)), x[0], channels, size)
	}
}

// dimension is the length of one dimension, as a list of one.
func (c *call) dimension(x string, axis int) string {
	return c.emit("Gather", []string{c.emit("Shape", []string{x}), c.b.list(int64(axis))})
}

// dilation reads what SpaceToBatchND and BatchToSpaceND have beside their input: the lengths of a block, and paddings or crops. It gives the
// shape of the input, and the number of dimensions that blocks have.
func (c *call) dilation() (x, block []int64, ok bool) {
	x, ok = c.ranked(0)
	block = c.list(1, "block")
	if !ok || c.err != nil {
		return nil, nil, false
	}
	if len(block) < 1 || len(block) >= len(x) || slices.ContainsFunc(block, func(n int64) bool { return n < 1 || n > 1<<16 }) {
		c.refuse("blocks %v do not fit %d dimensions", block, len(x))
	}
	return x, block, c.err == nil
}

// around gives the numbers before and after of paddings or crops, one for each dimension of a block, as lists.
func (c *call) around(n int) (before, after string) {
	both := c.emit("Transpose", []string{c.wide(2)}, numbers("perm", []int64{1, 0}))
	parts := c.emits("Split", 2, []string{both, c.b.list(1, 1)}, number("axis", 0))
	flat := c.b.list(int64(n))
	return c.emit("Reshape", []string{parts[0], flat}), c.emit("Reshape", []string{parts[1], flat})
}

// spaceToBatch takes every n-th element apart into a row of its own: how dilated convolutions are written.
func spaceToBatch(c *call) {
	x, block, ok := c.dilation()
	if !ok {
		return
	}
	m := len(block)
	before, after := c.around(m)
	first, last := c.b.list(0), c.b.list(make([]int64, len(x)-1-m)...)
	padded := c.emit("Pad", []string{c.name(0), c.emit("Concat", []string{first, before, last, first, after, last}, number("axis", 0))})
	taken := []string{c.dimension(padded, 0)} // [rows, length/block, block, …, rest]
	perm := []int64{}
	for i := range block {
		taken = append(taken, c.emit("Div", []string{c.dimension(padded, i+1), c.b.list(block[i])}), c.b.list(block[i]))
		perm = append(perm, int64(2*i+2))
	}
	perm = append(perm, 0)
	joined := []string{c.b.list(-1)}
	for i := range block {
		perm, joined = append(perm, int64(2*i+1)), append(joined, taken[2*i+1])
	}
	for i := m + 1; i < len(x); i++ {
		d := c.dimension(padded, i)
		perm, taken, joined = append(perm, int64(m+i)), append(taken, d), append(joined, d)
	}
	y := c.emit("Reshape", []string{padded, c.emit("Concat", taken, number("axis", 0))}, number("allowzero", 1))
	y = c.emit("Transpose", []string{y}, numbers("perm", perm))
	shape := slices.Concat(free(m+1), x[m+1:])
	c.result(c.emit("Reshape", []string{y, c.emit("Concat", joined, number("axis", 0))}), c.in[0].dtype, shape)
}

// batchToSpace is the inverse of spaceToBatch.
func batchToSpace(c *call) {
	x, block, ok := c.dilation()
	if !ok {
		return
	}
	m, name := len(block), c.name(0)
	blocks := model.Elements(block)
	rows := c.emit("Div", []string{c.dimension(name, 0), c.b.list(blocks)})
	taken, perm := []string{}, []int64{int64(m)} // [block, …, rows, length, …, rest]
	joined := []string{rows}
	for i := range block {
		taken = append(taken, c.b.list(block[i]))
	}
	taken = append(taken, rows)
	for i := range block {
		d := c.dimension(name, i+1)
		taken, perm = append(taken, d), append(perm, int64(m+1+i), int64(i))
		joined = append(joined, c.emit("Mul", []string{d, c.b.list(block[i])}))
	}
	for i := m + 1; i < len(x); i++ {
		d := c.dimension(name, i)
		taken, perm, joined = append(taken, d), append(perm, int64(m+i)), append(joined, d)
	}
	y := c.emit("Reshape", []string{name, c.emit("Concat", taken, number("axis", 0))}, number("allowzero", 1))
	y = c.emit("Transpose", []string{y}, numbers("perm", perm))
	y = c.emit("Reshape", []string{y, c.emit("Concat", joined, number("axis", 0))}, number("allowzero", 1))
	before, after := c.around(m)
	var ends []string
	for i := range block {
		ends = append(ends, joined[i+1])
	}
	to := c.emit("Sub", []string{c.emit("Concat", ends, number("axis", 0)), after})
	shape := slices.Concat(free(m+1), x[m+1:])
	c.result(c.emit("Slice", []string{y, before, to, c.b.list(counted(m + 1)[1:]...)}), c.in[0].dtype, shape)
}

// resize scales images [rows, height, width, channels] to a size.
func resize(mode string) func(*call) {
	return func(c *call) {
		x, ok := c.ranked(0)
		if !ok || len(x) != 4 {
			c.refuse("its input is no image")
			return
		}
		how := "asymmetric"
		switch {
		case c.flag("half_pixel_centers"):
			how = "half_pixel"
		case c.flag("align_corners"):
			how = "align_corners"
		}
		images := c.channelsFirst(0)
		if mode == "linear" && c.in[0].dtype != model.F32 {
			images = c.cast(images, model.F32)
		}
		rest := c.emit("Slice", []string{c.emit("Shape", []string{images}), c.b.list(0), c.b.list(2)})
		sizes := c.emit("Concat", []string{rest, c.wide(1)}, number("axis", 0))
		attrs := []onnxgraph.Attr{text("mode", mode), text("coordinate_transformation_mode", how)}
		if mode == "nearest" {
			nearest := "floor"
			if how != "asymmetric" { // half pixels are rounded down before the half is taken off
				nearest = "round_prefer_ceil"
			}
			attrs = append(attrs, text("nearest_mode", nearest))
		}
		y := c.emit("Resize", []string{images, "", "", sizes}, attrs...)
		shape := []int64{x[0], model.Free, model.Free, x[3]}
		if k := c.in[1].known; len(k) == 2 {
			shape[1], shape[2] = lengths(k)[0], lengths(k)[1]
		}
		t := c.in[0].dtype
		if mode == "linear" {
			t = model.F32
		}
		c.result(c.emit("Transpose", []string{y}, numbers("perm", []int64{0, 2, 3, 1})), t, shape)
	}
}
