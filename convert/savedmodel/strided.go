package savedmodel

import (
	"math"
	"slices"

	"github.com/skein-project/skein/model"
)

// stridedSlice takes apart what a[1:, ..., None, -1, ::2] says: a list of begins, ends and steps, with bits for what each entry means
// (tensorflow/core/ops/array_ops.cc, StridedSlice). Ranges become one Slice; single numbers, which also remove their dimension, become
// Gathers; new dimensions an Unsqueeze.
func stridedSlice(c *call) {
	v := c.in[0]
	count, ok := c.entries()
	if !ok {
		return
	}
	s := strided{call: c, steps: c.in[3]}
	if !s.steps.whole() || len(s.steps.known) != count || slices.Contains(s.steps.known, 0) {
		c.refuse("its steps are no %d constants other than 0", count)
		return
	}
	s.layout(count, v)
	if c.err != nil {
		return
	}
	name := s.ranges(c.name(0))
	for _, p := range slices.Backward(s.picks) {
		name = c.emit("Gather", []string{name, s.scalar(c.in[1], p.entry)}, number("axis", p.axis))
	}
	if len(s.fresh) > 0 {
		name = c.emit("Unsqueeze", []string{name, c.b.list(s.fresh...)})
	}
	out := &value{name: name, dtype: v.dtype, shape: s.shape, ranked: s.shape != nil, known: s.follow(v)}
	if out.known != nil && !out.whole() && v.wide != "" && len(s.picks) == 1 { // a length that is picked out of a shape
		out.wide = c.emit("Gather", []string{v.wide, s.scalar(c.in[1], 0)}, number("axis", 0))
	}
	c.give(out)
}

// entries is how many entries the lists have.
func (c *call) entries() (int, bool) {
	for _, v := range c.in[1:4] {
		if v.ranked && len(v.shape) == 1 && v.shape[0] >= 0 && v.shape[0] <= 32 {
			return int(v.shape[0]), true
		}
	}
	c.refuse("how many dimensions it slices is not known")
	return 0, false
}

// pick is a dimension of which one number is taken.
type pick struct {
	axis  int
	entry int
}

// strided is a slice on its way to ONNX.
type strided struct {
	*call
	steps *value
	cuts  []pick  // dimensions that are cut to a range
	picks []pick  // dimensions of which one number is taken
	fresh []int64 // new dimensions, by their place in the result
	shape []int64 // of the result, nil where its rank is unknown
}

func (s *strided) bit(mask string, entry int) bool { return s.number(mask, 0)>>entry&1 != 0 }

// layout finds which dimension each entry is about.
func (s *strided) layout(count int, v *value) {
	used := 0 // entries that stand for one dimension each
	ellipsis := -1
	for i := range count {
		switch {
		case s.bit("ellipsis_mask", i):
			if ellipsis >= 0 {
				s.refuse("has two ellipses")
			}
			ellipsis = i
		case !s.bit("new_axis_mask", i):
			used++
		}
	}
	if s.err != nil {
		return
	}
	if ellipsis >= 0 && !v.ranked {
		s.refuse("how many dimensions its ellipsis stands for is not known")
		return
	}
	if v.ranked && used > len(v.shape) {
		s.refuse("slices %d dimensions of %d", used, len(v.shape))
		return
	}
	out := []int64{}
	axis := 0
	dim := func() int64 {
		axis++
		if !v.ranked {
			return model.Free
		}
		return v.shape[axis-1]
	}
	for i := range count {
		switch {
		case i == ellipsis:
			for range len(v.shape) - used {
				out = append(out, dim())
			}
		case s.bit("new_axis_mask", i):
			s.fresh = append(s.fresh, int64(len(out)))
			out = append(out, 1)
		case s.bit("shrink_axis_mask", i):
			s.picks = append(s.picks, pick{axis, i})
			dim()
		default:
			if s.bit("begin_mask", i) && s.bit("end_mask", i) && s.steps.known[i] == 1 {
				out = append(out, dim())
				continue
			}
			s.cuts = append(s.cuts, pick{axis, i})
			out = append(out, s.length(i, dim()))
		}
	}
	for v.ranked && axis < len(v.shape) {
		out = append(out, dim())
	}
	if v.ranked {
		s.shape = out
	}
}

// edgeOf is where a range begins or ends: a number, known or not; open where the mask leaves it to the end that the step comes from or goes to.
func (s *strided) edgeOf(in int, mask string, i int) (n int64, open, known bool) {
	if s.bit(mask, i) {
		return 0, true, true
	}
	if k := s.in[in].known; i < len(k) && k[i] != unknown {
		return k[i], false, true
	}
	return 0, false, false
}

// span lists which elements of n an entry's range takes: the first and how many. ok is false where that is not known.
func (s *strided) span(i int, n int64) (from, count int64, ok bool) {
	from, open, a := s.edgeOf(1, "begin_mask", i)
	to, last, b := s.edgeOf(2, "end_mask", i)
	step := s.steps.known[i]
	if n < 0 || !a || !b || !small(step) {
		return 0, 0, false
	}
	low, high := int64(0), n
	if step < 0 {
		low, high = -1, n-1
	}
	clamp := func(x int64) int64 {
		if x < 0 {
			x += n
		}
		return min(max(x, low), high)
	}
	from, to = clamp(from), clamp(to)
	if back := step < 0; open && back {
		from = high
	} else if open {
		from = low
	}
	if back := step < 0; last && back {
		to = low
	} else if last {
		to = high
	}
	return from, max(0, (to-from+step-sign(step))/step), true
}

// length is how many elements the range of an entry has, of a dimension of n.
func (s *strided) length(i int, n int64) int64 {
	if _, count, ok := s.span(i, n); ok {
		return count
	}
	return model.Free
}

// ranges appends the Slice of all ranges.
func (s *strided) ranges(name string) string {
	if len(s.cuts) == 0 {
		return name
	}
	var axes, steps []int64
	for _, p := range s.cuts {
		axes, steps = append(axes, int64(p.axis)), append(steps, s.steps.known[p.entry])
	}
	return s.emit("Slice", []string{name, s.edges(1, "begin_mask"), s.edges(2, "end_mask"), s.b.list(axes...), s.b.list(steps...)})
}

// edges is the list of where the ranges begin or end.
func (s *strided) edges(in int, mask string) string {
	var list []int64
	var parts []string
	all := true
	for _, p := range s.cuts {
		n, open, known := s.edgeOf(in, mask, p.entry)
		switch back := s.steps.known[p.entry] < 0; {
		case open && in == 2 && back:
			n = math.MinInt64 // before the first, which no other number says
		case open && (in == 2 || back):
			n = math.MaxInt64
		}
		if list = append(list, n); known {
			parts = append(parts, s.b.list(n))
			continue
		}
		all = false
		parts = append(parts, s.emit("Gather", []string{s.wide(in), s.b.list(int64(p.entry))}, number("axis", 0)))
	}
	if all {
		return s.b.list(list...)
	}
	return s.emit("Concat", parts, number("axis", 0))
}

// scalar is one number of a list, as a scalar of I64.
func (s *strided) scalar(v *value, entry int) string {
	if entry < len(v.known) && v.known[entry] != unknown {
		return s.b.name(s.b.numbers(model.I64, true, v.known[entry:entry+1]))
	}
	return s.emit("Gather", []string{s.wider(v), s.b.name(s.b.numbers(model.I64, true, []int64{int64(entry)}))}, number("axis", 0))
}

// follow gives what is known of the elements of the result.
func (s *strided) follow(v *value) []int64 {
	if v.known == nil || len(v.shape) != 1 || len(s.fresh) > 0 || len(s.picks)+len(s.cuts) > 1 {
		return nil
	}
	n := int64(len(v.known))
	switch {
	case len(s.picks) == 1:
		k := s.in[1].known
		if len(k) != 1 || k[0] == unknown || k[0] < -n || k[0] >= n {
			return nil
		}
		return []int64{v.known[(k[0]+n)%n]}
	case len(s.cuts) == 0:
		return v.known
	}
	entry := s.cuts[0].entry
	from, count, ok := s.span(entry, n)
	if !ok {
		return nil
	}
	out := []int64{}
	for i := range count {
		out = append(out, v.known[from+i*s.steps.known[entry]])
	}
	return out
}
