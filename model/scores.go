package model

import (
	"math"
	"slices"
)

// Scores turns a classifier's logits, one per label, into scores: by softmax, by sigmoid, or as they are.
func (p Problem) Scores(logits []float32) []float32 {
	out := slices.Clone(logits)
	switch p {
	case SingleLabel:
		top := math.Inf(-1)
		for _, x := range out {
			top = max(top, float64(x))
		}
		var sum float64
		for _, x := range out {
			sum += math.Exp(float64(x) - top)
		}
		for i, x := range out {
			out[i] = float32(math.Exp(float64(x)-top) / sum)
		}
	case MultiLabel:
		for i, x := range out {
			out[i] = float32(1 / (1 + math.Exp(-float64(x))))
		}
	}
	return out
}
