package savedmodel

import (
	"fmt"
	"slices"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// maxWritten is how many operations may be written, also those that are not needed in the end.
const maxWritten = 4 * MaxNodes

// operation is how an operation of TensorFlow is written in ONNX.
type operation struct {
	least, most int // inputs; most < 0 = any number
	mapped      func(*call)
	lists       bool // inputs may be lists of tensors
}

// call is one node on its way to ONNX. The first refusal stays.
type call struct {
	b   *builder
	n   *flat
	in  []*value
	out []*value
	err error
}

func (c *call) refuse(format string, args ...any) {
	if c.err == nil {
		c.err = Refused{What: c.n.what(), Why: fmt.Sprintf(format, args...)}
	}
}

// emit appends a node with one output and returns the output's name.
func (c *call) emit(op string, in []string, attrs ...onnxgraph.Attr) string {
	return c.emits(op, 1, in, attrs...)[0]
}

// emits appends a node with several outputs.
func (c *call) emits(op string, outs int, in []string, attrs ...onnxgraph.Attr) []string {
	if len(c.b.g.Nodes) >= maxWritten {
		c.refuse("more than %d operations of ONNX are written", maxWritten)
	}
	names := make([]string, outs)
	for i := range names {
		names[i] = c.b.fresh()
	}
	c.b.g.Nodes = append(c.b.g.Nodes, onnxgraph.Node{Name: short(c.n.path), Op: op, Inputs: in, Outputs: names, Attrs: attrs})
	return names
}

// short is the end of a long path.
func short(p string) string {
	const most = 256
	if len(p) <= most {
		return p
	}
	for i := len(p) - most; i < len(p); i++ {
		if p[i] < 0x80 || p[i] >= 0xc0 { // the first byte of a character
			return p[i:]
		}
	}
	return ""
}

// number, float, text and numbers are attributes of nodes of ONNX.
func number[N int | int64](name string, n N) onnxgraph.Attr {
	return onnxgraph.Attr{Name: name, Kind: onnxgraph.Int, Int: int64(n)}
}

func float(name string, x float32) onnxgraph.Attr {
	return onnxgraph.Attr{Name: name, Kind: onnxgraph.Float, Float: x}
}

func text(name, s string) onnxgraph.Attr {
	return onnxgraph.Attr{Name: name, Kind: onnxgraph.Text, Text: s}
}

func numbers(name string, list []int64) onnxgraph.Attr {
	return onnxgraph.Attr{Name: name, Kind: onnxgraph.Ints, Ints: list}
}

// give sets the next output. Numbers that are known are a constant from here on.
func (c *call) give(v *value) {
	if v.ranked && v.whole() && v.name != "" && v.dtype.Size() > 0 && v.c == nil {
		scalar := len(v.shape) == 0
		v = c.b.numbers(v.dtype, scalar, v.known)
	}
	c.out = append(c.out, v)
}

// result gives a value of which type and shape are known, or of unknown rank where shape is nil.
func (c *call) result(name string, t model.DType, shape []int64) {
	c.give(&value{name: name, dtype: t, shape: shape, ranked: shape != nil})
}

// name is the name of an input.
func (c *call) name(i int) string { return c.b.name(c.in[i]) }

// dims is the shape of a value, nil where its rank is unknown.
func (v *value) dims() []int64 {
	if !v.ranked {
		return nil
	}
	return v.shape
}

// ranked refuses an input of unknown rank.
func (c *call) ranked(i int) ([]int64, bool) {
	if !c.in[i].ranked {
		c.refuse("the number of dimensions of input %d is not known; save the model with the shapes of its inputs", i)
	}
	return c.in[i].shape, c.in[i].ranked
}

// wide is the name of an input of whole numbers as I64.
func (c *call) wide(i int) string { return c.wider(c.in[i]) }

func (c *call) wider(v *value) string {
	switch {
	case v.dtype == model.I64:
		return c.b.name(v)
	case v.whole():
		return c.b.name(c.b.numbers(model.I64, len(v.shape) == 0, v.known))
	case v.wide == "":
		v.wide = c.cast(c.b.name(v), model.I64)
	}
	return v.wide
}

func (c *call) cast(name string, to model.DType) string {
	code := onnx.TypeOf(to)
	if code == 0 || to == model.Bytes {
		c.refuse("casts to a type that is not mapped")
	}
	return c.emit("Cast", []string{name}, number("to", int64(code)))
}

// scalar is the name of a constant scalar of a type.
func (c *call) scalar(t model.DType, x float64) string {
	if t == model.F16 {
		return c.cast(c.scalar(model.F32, x), t)
	}
	return c.b.name(c.b.constant(&constant{dtype: t, shape: []int64{}, raw: element(t, x, int64(x))}))
}

// list is an input that must be known: the operation's own numbers, such as axes.
func (c *call) list(i int, what string) []int64 {
	v := c.in[i]
	if v.c != nil && v.known == nil && v.c.raw != nil && !v.c.same {
		v.known, _ = v.c.whole()
	}
	if !v.whole() {
		c.refuse("its %s is no constant", what)
		return nil
	}
	return v.known
}

// single is an input that must be one known number.
func (c *call) single(i int, what string) int64 {
	list := c.list(i, what)
	if c.err == nil && len(list) != 1 {
		c.refuse("its %s is not one number", what)
	}
	if c.err != nil {
		return 0
	}
	return list[0]
}

// axis makes an axis of a rank positive, and refuses one that is outside.
func (c *call) axis(a int64, rank int) int {
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		c.refuse("axis %d is not one of %d dimensions", a, rank)
		return 0
	}
	return int(a)
}

// number is an attribute that is a number, or what it is where it is left out.
func (c *call) number(name string, fallback int64) int64 {
	if a, ok := c.n.def.attrs[name]; ok {
		return a.number
	}
	return fallback
}

func (c *call) flag(name string) bool { return c.number(name, 0) != 0 }

func (c *call) text(name, fallback string) string {
	if a, ok := c.n.def.attrs[name]; ok {
		return a.text
	}
	return fallback
}

func (c *call) real(name string, fallback float32) float32 {
	if a, ok := c.n.def.attrs[name]; ok {
		return a.real
	}
	return fallback
}

// dtype is an attribute that is a type.
func (c *call) dtype(name string, fallback model.DType) model.DType {
	if _, ok := c.n.def.attrs[name]; !ok {
		return fallback
	}
	t := c.n.def.dtype(name)
	if t == "" || t == model.Bytes {
		c.refuse("attribute %s is a type that is not mapped", name)
	}
	return t
}

// merge joins what two shapes of one rank know.
func merge(a, b []int64) []int64 {
	out := slices.Clone(a)
	for i := range out {
		if out[i] == model.Free {
			out[i] = b[i]
		}
	}
	return out
}

// broadcast is the shape of two shapes together; nil where a rank is unknown.
func broadcast(a, b []int64) []int64 {
	if a == nil || b == nil {
		return nil
	}
	out := make([]int64, max(len(a), len(b)))
	for i := range out {
		x, y := int64(1), int64(1)
		if j := i + len(a) - len(out); j >= 0 {
			x = a[j]
		}
		if j := i + len(b) - len(out); j >= 0 {
			y = b[j]
		}
		switch {
		case x == 1:
			out[i] = y
		case y == 1 || y == model.Free:
			out[i] = x
		default:
			out[i] = y
		}
	}
	return out
}

// free is a shape of a rank of which nothing else is known.
func free(rank int) []int64 {
	out := make([]int64, rank)
	for i := range out {
		out[i] = model.Free
	}
	return out
}
