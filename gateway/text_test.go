package gateway

import (
	"math"
	"slices"
	"testing"

	"github.com/skein-project/skein/model"
)

func TestProject(t *testing.T) {
	near := func(a, b []float32) bool {
		return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x-y)) < 1e-6 })
	}
	logits := []float32{1, 2, 3}
	for p, want := range map[model.Problem][]float32{
		model.SingleLabel: {0.09003057, 0.24472847, 0.66524096},
		model.MultiLabel:  {0.73105858, 0.88079708, 0.95257413},
		model.Regression:  {1, 2, 3},
	} {
		if got := project(logits, p); !near(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	if got := project([]float32{1000, 0}, model.SingleLabel); !near(got, []float32{1, 0}) {
		t.Errorf("large logits: %v", got)
	}
	if logits[0] != 1 {
		t.Error("the logits were changed")
	}
}
