package model

import (
	"slices"
	"testing"
)

func TestScores(t *testing.T) {
	for _, c := range []struct {
		how      Problem
		in, want []float32
	}{
		{SingleLabel, []float32{0, 0}, []float32{0.5, 0.5}},
		{SingleLabel, []float32{1000, -1000}, []float32{1, 0}},
		{SingleLabel, []float32{3e38, 3e38, -3e38}, []float32{0.5, 0.5, 0}},
		{SingleLabel, nil, nil},
		{MultiLabel, []float32{0, -1000, 1000}, []float32{0.5, 0, 1}},
		{Regression, []float32{-3, 4}, []float32{-3, 4}},
	} {
		in := slices.Clone(c.in)
		if got := c.how.Scores(in); !slices.Equal(got, c.want) || !slices.Equal(in, c.in) {
			t.Errorf("%s of %v: %v, want %v", c.how, c.in, got, c.want)
		}
	}
	// The numbers that a calculator gives.
	for p, want := range map[Problem][]float32{
		SingleLabel: {0.09003057, 0.24472847, 0.66524096},
		MultiLabel:  {0.73105858, 0.88079708, 0.95257413},
	} {
		got := p.Scores([]float32{1, 2, 3})
		if !slices.EqualFunc(got, want, func(x, y float32) bool { return max(x-y, y-x) < 1e-6 }) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
}
