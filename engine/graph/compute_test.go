package graph

import (
	"bytes"
	"errors"
	"testing"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// TestCompute: float32 is what a graph computes in where nothing is said; weights of the arithmetic's own type are used as they are stored,
// others are cast; no graph computes in a type that is not meant for it.
func TestCompute(t *testing.T) {
	for arch, c := range shapes {
		whole := shard.Span{To: c.Layers}
		build := func(weights, compute model.DType) []byte {
			o := options(c)
			o.Compute = compute
			g, err := Build(manifest(c, weights, true), whole, o)
			if err != nil {
				t.Fatalf("%s: %s weights in %s: %v", arch, weights, compute, err)
			}
			return g.Model
		}
		if !bytes.Equal(build(model.BF16, ""), build(model.BF16, model.F32)) {
			t.Errorf("%s: nothing said is not float32", arch)
		}
		types := []model.DType{model.F32, model.F16, model.BF16}
		for _, weights := range types {
			for _, compute := range types {
				if cast := bytes.Contains(build(weights, compute), []byte(".weight.stored")); cast != (weights != compute) {
					t.Errorf("%s: %s weights in %s: cast %v", arch, weights, compute, cast)
				}
			}
		}
		o := options(c)
		o.Compute = "I64"
		if _, err := Build(manifest(c, model.F32, true), whole, o); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: arithmetic in integers: %v", arch, err)
		}
	}
}
