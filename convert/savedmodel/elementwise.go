package savedmodel

import (
	"slices"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// like gives a value of the type and shape of input 0.
func (c *call) like(name string) {
	v := c.in[0]
	c.result(name, v.dtype, v.dims())
}

func same(c *call) { c.out = append(c.out, c.in[0]) }

func constOp(c *call) {
	k, err := readConst(c.n)
	switch {
	case err != nil:
		c.err = err
	case k.dtype == model.Bytes:
		c.refuse("is a text: %s", byText)
	default:
		c.out = append(c.out, c.b.constant(&k))
	}
}

func ensureShape(c *call) {
	v := *c.in[0]
	if s := c.n.def.attrs["shape"].shape; s.known {
		if !v.ranked || len(v.shape) != len(s.dims) {
			v.shape, v.ranked = s.dims, true
		} else {
			v.shape = merge(v.shape, s.dims)
		}
	}
	c.out = append(c.out, &v)
}

func castOp(c *call) {
	v := c.in[0]
	to := c.dtype("DstT", "")
	if c.err != nil {
		return
	}
	if to == v.dtype {
		c.out = append(c.out, v)
		return
	}
	out := &value{dtype: to, shape: v.shape, ranked: v.ranked}
	if isWhole(v.dtype) && (to == model.I32 || to == model.I64) && v.known != nil {
		out.known = wrapped(to, v.known)
		if v.wide != "" || v.dtype == model.I64 {
			out.wide = c.wider(v) // lengths that are counted in the graph stay far below 2^31; other numbers may wrap
		}
	}
	if !out.whole() {
		out.name = c.cast(c.name(0), to)
	} else {
		out = c.b.numbers(to, len(v.shape) == 0, out.known)
	}
	c.give(out)
}

// wrapped are numbers as a type holds them.
func wrapped(t model.DType, list []int64) []int64 {
	if t == model.I64 {
		return list
	}
	out := slices.Clone(list)
	for i, x := range out {
		if x != unknown {
			out[i] = int64(int32(x))
		}
	}
	return out
}

func isWhole(t model.DType) bool {
	return t.Size() > 0 && t != model.F64 && t != model.F32 && t != model.F16 && t != model.BF16 && t != model.Bool
}

func unary(op string) func(*call) { return func(c *call) { c.like(c.emit(op, []string{c.name(0)})) } }

func lastAxis(op string) func(*call) {
	return func(c *call) { c.like(c.emit(op, []string{c.name(0)}, number("axis", -1))) }
}

func rsqrt(c *call)  { c.like(c.emit("Reciprocal", []string{c.emit("Sqrt", []string{c.name(0)})})) }
func square(c *call) { c.like(c.emit("Mul", []string{c.name(0), c.name(0)})) }

// single computes in float32 what the runtime has no kernel of other types for: F64 as well as F16.
func single(op string) func(*call) {
	return func(c *call) { c.like(c.back(c.emit(op, []string{c.floats(0)}))) }
}

// floats is the name of input i as F32.
func (c *call) floats(i int) string {
	if c.in[i].dtype == model.F32 {
		return c.name(i)
	}
	return c.cast(c.name(i), model.F32)
}

// back is a value of F32 as the type of input 0.
func (c *call) back(name string) string {
	if t := c.in[0].dtype; t != model.F32 {
		return c.cast(name, t)
	}
	return name
}

// round rounds halves to even. Of whole numbers TensorFlow's kernel makes zeros; its own tf.round never asks it.
func round(c *call) {
	if isWhole(c.in[0].dtype) {
		c.refuse("rounds whole numbers, which is not mapped; leave it out")
		return
	}
	unary("Round")(c)
}

// log1p is ln(1+x), exact near 0 too (W. Kahan): what adding 1 rounded off is brought back by a factor.
func log1p(c *call) {
	x, one := c.name(0), c.scalar(c.in[0].dtype, 1)
	sum := c.emit("Add", []string{x, one})
	apart := c.emit("Sub", []string{sum, one})
	factor := c.emit("Where", []string{c.emit("Equal", []string{apart, x}), one, c.emit("Div", []string{x, apart})}) // also where both are infinite
	y := c.emit("Mul", []string{c.emit("Log", []string{sum}), factor})
	c.like(c.emit("Where", []string{c.emit("Equal", []string{sum, one}), x, y}))
}

// expm1 is exp(x)-1 = tanh(x/2)·(exp(x)+1), which nothing cancels in.
func expm1(c *call) {
	t := c.in[0].dtype
	half := c.emit("Tanh", []string{c.emit("Mul", []string{c.name(0), c.scalar(t, 0.5)})})
	c.like(c.emit("Mul", []string{half, c.emit("Add", []string{c.emit("Exp", []string{c.name(0)}), c.scalar(t, 1)})}))
}

// chebyshev are the coefficients, the last first, with which erfc(x) = t·exp(−x²+p(t)), t = 1/(1+x/2), has a relative error below 1.2e-7 for
// every x ≥ 0 (Press et al., Numerical Recipes, section 6.2).
var chebyshev = []float64{0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223}

// erfc is 1−erf(x), of which float32 would have nothing left for x > 4.
func erfc(c *call) {
	number := func(x float64) string { return c.scalar(model.F32, x) }
	x := c.floats(0)
	z := c.emit("Abs", []string{x})
	t := c.emit("Reciprocal", []string{c.emit("Add", []string{number(1), c.emit("Mul", []string{z, number(0.5)})})})
	sum := number(chebyshev[0])
	for _, k := range chebyshev[1:] {
		sum = c.emit("Add", []string{c.emit("Mul", []string{sum, t}), number(k)})
	}
	y := c.emit("Mul", []string{t, c.emit("Exp", []string{c.emit("Sub", []string{sum, c.emit("Mul", []string{z, z})})})})
	negative := c.emit("Less", []string{x, number(0)})
	c.like(c.back(c.emit("Where", []string{negative, c.emit("Sub", []string{number(2), y}), y})))
}

func relu6(c *call) {
	t := c.in[0].dtype
	c.like(c.emit("Clip", []string{c.name(0), c.scalar(t, 0), c.scalar(t, 6)}))
}

func leakyRelu(c *call) {
	c.like(c.emit("LeakyRelu", []string{c.name(0)}, float("alpha", c.real("alpha", 0.2))))
}

// test is a question about each element.
func test(op string) func(*call) {
	return func(c *call) { c.result(c.emit(op, []string{c.name(0)}), model.Bool, c.in[0].dims()) }
}

func isFinite(c *call) {
	x := c.name(0)
	c.result(c.emit("Not", []string{c.emit("Or", []string{c.emit("IsNaN", []string{x}), c.emit("IsInf", []string{x})})}), model.Bool, c.in[0].dims())
}

// both is the shape that inputs 0 and 1 broadcast to.
func (c *call) both() []int64 { return broadcast(c.in[0].dims(), c.in[1].dims()) }

// pairwise computes from two inputs; whole numbers that are known are followed.
func pairwise(op string) func(*call) {
	return func(c *call) {
		a, b := c.in[0], c.in[1]
		if a.dtype != b.dtype {
			c.refuse("its inputs are %s and %s", a.dtype, b.dtype)
			return
		}
		c.give(&value{name: c.emit(op, []string{c.name(0), c.name(1)}), dtype: a.dtype, shape: c.both(), ranked: a.ranked && b.ranked, known: arithmetic(op, a, b)})
	}
}

// arithmetic computes what is known of small lists of whole numbers.
func arithmetic(op string, a, b *value) []int64 {
	if a.known == nil || b.known == nil || !isWhole(a.dtype) || len(a.known) != len(b.known) && len(a.known) != 1 && len(b.known) != 1 {
		return nil
	}
	out := make([]int64, max(len(a.known), len(b.known)))
	if len(a.known) == 0 || len(b.known) == 0 {
		out = out[:0]
	}
	for i := range out {
		x, y := a.known[i%len(a.known)], b.known[i%len(b.known)]
		out[i] = unknown
		if x == unknown || y == unknown || x > 1<<31 || y > 1<<31 || x < -1<<31 || y < -1<<31 {
			continue
		}
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
		}
		if a.dtype != model.I64 && (out[i] > 1<<31-1 || out[i] < -1<<31) { // it wraps when it runs
			out[i] = unknown
		}
	}
	return out
}

func compare(op string) func(*call) {
	return func(c *call) {
		a, b := c.in[0], c.in[1]
		c.give(&value{name: c.emit(op, []string{c.name(0), c.name(1)}), dtype: model.Bool, shape: c.both(), ranked: a.ranked && b.ranked, known: compared(op, a, b)})
	}
}

// compared answers a question about two numbers that are known, for the conditions of loops.
func compared(op string, a, b *value) []int64 {
	if len(a.known) != 1 || len(b.known) != 1 || !a.whole() || !b.whole() {
		return nil
	}
	x, y := a.known[0], b.known[0]
	yes := map[string]bool{"Less": x < y, "LessOrEqual": x <= y, "Greater": x > y, "GreaterOrEqual": x >= y, "Equal": x == y, "And": x != 0 && y != 0, "Or": x != 0 || y != 0}[op]
	return truth(yes)
}

func truth(yes bool) []int64 {
	if yes {
		return []int64{1}
	}
	return []int64{0}
}

func not(c *call) {
	v := c.in[0]
	out := &value{name: c.emit("Not", []string{c.name(0)}), dtype: model.Bool, shape: v.shape, ranked: v.ranked}
	if len(v.known) == 1 && v.whole() {
		out.known = truth(v.known[0] == 0)
	}
	c.give(out)
}

func notEqual(c *call) {
	a, b := c.in[0], c.in[1]
	out := &value{name: c.emit("Not", []string{c.emit("Equal", []string{c.name(0), c.name(1)})}), dtype: model.Bool, shape: c.both(), ranked: a.ranked && b.ranked}
	if same := compared("Equal", a, b); same != nil {
		out.known = truth(same[0] == 0)
	}
	c.give(out)
}

func squaredDifference(c *call) {
	d := c.emit("Sub", []string{c.name(0), c.name(1)})
	c.result(c.emit("Mul", []string{d, d}), c.in[0].dtype, c.both())
}

func floorDiv(c *call) {
	x, y := c.name(0), c.name(1)
	if isWhole(c.in[0].dtype) {
		x = c.emit("Sub", []string{x, c.emit("Mod", []string{x, y})}) // Mod has the sign of the divisor
		c.result(c.emit("Div", []string{x, y}), c.in[0].dtype, c.both())
		return
	}
	c.result(c.emit("Floor", []string{c.emit("Div", []string{x, y})}), c.in[0].dtype, c.both())
}

func floorMod(c *call) {
	x, y := c.name(0), c.name(1)
	if isWhole(c.in[0].dtype) {
		c.result(c.emit("Mod", []string{x, y}), c.in[0].dtype, c.both())
		return
	}
	t := c.in[0].dtype
	rest, zero := c.emit("Mod", []string{x, y}, number("fmod", 1)), c.scalar(t, 0) // exact, with the sign of the dividend
	opposite := c.emit("Xor", []string{c.emit("Less", []string{rest, zero}), c.emit("Less", []string{y, zero})})
	opposite = c.emit("And", []string{opposite, c.emit("Not", []string{c.emit("Equal", []string{rest, zero})})})
	c.result(c.emit("Where", []string{opposite, c.emit("Add", []string{rest, y}), rest}), t, c.both())
}

// truncateDiv cuts the fraction off.
func truncateDiv(c *call) {
	if isWhole(c.in[0].dtype) {
		pairwise("Div")(c)
		return
	}
	y := c.emit("Div", []string{c.name(0), c.name(1)})
	c.result(c.emit("Mul", []string{c.emit("Sign", []string{y}), c.emit("Floor", []string{c.emit("Abs", []string{y})})}), c.in[0].dtype, c.both())
}

func truncateMod(c *call) {
	c.result(c.emit("Mod", []string{c.name(0), c.name(1)}, number("fmod", 1)), c.in[0].dtype, c.both())
}

// zeroWhere gives 0 where a condition holds, else x.
func (c *call) zeroWhere(condition, x string) {
	t := c.in[0].dtype
	c.result(c.emit("Where", []string{condition, c.scalar(t, 0), x}), t, c.both())
}

func divNoNan(c *call) {
	zero := c.emit("Equal", []string{c.name(1), c.scalar(c.in[0].dtype, 0)})
	c.zeroWhere(zero, c.emit("Div", []string{c.name(0), c.name(1)}))
}

func mulNoNan(c *call) {
	zero := c.emit("Equal", []string{c.name(1), c.scalar(c.in[0].dtype, 0)})
	c.zeroWhere(zero, c.emit("Mul", []string{c.name(0), c.name(1)}))
}

func xlogy(c *call) {
	zero := c.emit("Equal", []string{c.name(0), c.scalar(c.in[0].dtype, 0)})
	c.zeroWhere(zero, c.emit("Mul", []string{c.name(0), c.emit("Log", []string{c.name(1)})}))
}

func addN(c *call) {
	sum, shape := c.name(0), c.in[0].dims()
	for i := 1; i < len(c.in); i++ {
		sum, shape = c.emit("Add", []string{sum, c.name(i)}), broadcast(shape, c.in[i].dims())
	}
	c.result(sum, c.in[0].dtype, shape)
}

func clip(c *call) {
	c.like(c.emit("Min", []string{c.emit("Max", []string{c.name(0), c.name(1)}), c.name(2)}))
}

// selectOp chooses elements. The older Select takes a list of conditions, one for each row.
func selectOp(c *call) {
	condition, cs := c.name(0), c.in[0].dims()
	if c.n.def.op == "Select" {
		_, known := c.ranked(0)
		x, ok := c.ranked(1)
		if !known || !ok {
			return
		}
		if len(cs) == 1 && len(x) > 1 {
			axes := make([]int64, len(x)-1)
			for i := range axes {
				axes[i] = int64(i + 1)
			}
			condition = c.emit("Unsqueeze", []string{condition, c.b.list(axes...)})
			cs = append([]int64{cs[0]}, ones(len(axes))...)
		}
	}
	t := c.in[1].dtype
	shape := broadcast(cs, broadcast(c.in[1].dims(), c.in[2].dims()))
	if t != model.Bool {
		c.result(c.where(condition, c.name(1), c.name(2), t), t, shape)
		return
	}
	yes := c.emit("And", []string{condition, c.name(1)})
	no := c.emit("And", []string{c.emit("Not", []string{condition}), c.name(2)})
	c.result(c.emit("Or", []string{yes, no}), t, shape)
}

// where chooses numbers of a type; the runtime has no kernel for some whole numbers, which another type holds exactly.
func (c *call) where(condition, yes, no string, t model.DType) string {
	wide := t
	switch t {
	case model.I8, model.I16, model.U16:
		wide = model.I32
	case model.U32:
		wide = model.I64
	case model.U64:
		c.refuse("chooses of U64, which is not mapped")
	}
	if wide == t {
		return c.emit("Where", []string{condition, yes, no})
	}
	return c.cast(c.emit("Where", []string{condition, c.cast(yes, wide), c.cast(no, wide)}), t)
}

func ones(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// fillLike fills the shape of the input with one number.
func fillLike(x float64) func(*call) {
	return func(c *call) {
		v := c.in[0]
		c.like(c.filled(c.emit("Shape", []string{c.name(0)}), v.dtype, x))
	}
}

// filled is a tensor of a shape that is known when it runs, with one number in it.
func (c *call) filled(shape string, t model.DType, x float64) string {
	if t == model.F16 {
		return c.cast(c.filled(shape, model.F32, x), t)
	}
	one := &onnxgraph.Initializer{DType: t, Shape: []int64{1}, Raw: element(t, x, int64(x))}
	return c.emit("ConstantOfShape", []string{shape}, onnxgraph.Attr{Name: "value", Kind: onnxgraph.Tensor, Tensor: one})
}
