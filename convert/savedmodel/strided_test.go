package savedmodel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The rules of ranges give what walking along the list gives.
func TestSpan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 6).Draw(t, "length")
		ends := rapid.Int64Range(-9, 9)
		from, to := ends.Draw(t, "from"), ends.Draw(t, "to")
		step := rapid.SampledFrom([]int64{-3, -2, -1, 1, 2, 3}).Draw(t, "step")
		openFrom, openTo := rapid.Bool().Draw(t, "from is open"), rapid.Bool().Draw(t, "to is open")
		list := func(x int64) *value { return &value{known: []int64{x}} }
		mask := func(set bool) attr {
			if set {
				return attr{number: 1}
			}
			return attr{}
		}
		c := &call{n: &flat{def: &node{attrs: map[string]attr{"begin_mask": mask(openFrom), "end_mask": mask(openTo)}}}, in: []*value{nil, list(from), list(to)}}
		s := &strided{call: c, steps: list(step)}
		first, count, ok := s.span(0, n)
		if !ok {
			t.Fatal("not known")
		}
		var got []int64
		for i := range count {
			got = append(got, first+i*step)
		}
		if want := walked(n, from, to, step, openFrom, openTo); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// walked is the same, slowly: negative ends count from behind, and of what a walk with the step meets only what there is counts.
func walked(n, from, to, step int64, openFrom, openTo bool) (out []int64) {
	if from < 0 {
		from += n
	}
	if to < 0 {
		to += n
	}
	if step > 0 {
		if from = max(from, 0); openFrom {
			from = 0
		}
		for i := from; i < n && (openTo || i < to); i += step {
			out = append(out, i)
		}
		return out
	}
	if from = min(from, n-1); openFrom {
		from = n - 1
	}
	for i := from; i >= 0 && (openTo || i > to); i += step {
		out = append(out, i)
	}
	return out
}
