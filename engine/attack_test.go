package engine_test

import (
	"fmt"
	"math"
	"testing"
)

// A row that others used to the last token gives a new sequence the logits that it has in fresh memory, bit for bit, and so does a row
// where there is anything at all: nothing of the keys and values that somebody else left can be read, also not the least bit of them through
// what is computed (attack case 33). Rows beside it, full of others' tokens, tell nothing either.
func TestNothingIsLeft(t *testing.T) {
	eachDecoder(t, func(t *testing.T, f fixture) {
		fresh := f.cut(t, serving)
		want := f.solo(t, fresh, 1, 0)
		used := f.cut(t, serving)
		secret := make([]int32, serving.Context)
		for i := range secret {
			secret[i] = int32((7*i + 3) % f.manifest.Config.Vocab)
		}
		check := func(what string) {
			t.Helper()
			for i, got := range f.solo(t, used, 1, 0) {
				if !same(got, want[i]) {
					t.Fatalf("%s: token %d: logits differ by %g", what, i, far(got, want[i]))
				}
			}
		}
		for row := range 3 {
			used.prefill(t, row, secret, 16)
		}
		check("after another sequence")
		for _, x := range []float32{1e30, float32(math.Inf(1)), float32(math.NaN())} {
			for _, s := range used {
				s.Fill(x)
			}
			check(fmt.Sprint("after ", x))
		}
	})
}
