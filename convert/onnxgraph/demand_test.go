package onnxgraph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
)

// Weights may be unpacked when a graph is loaded, as much of them as was uploaded: bytes that many tensors share count once.
func TestTogether(t *testing.T) {
	const n = 1 << 27
	file := blob.Of([]byte("weights")).Digest()
	made := func(tensors int, apart bool) *Graph {
		g := &Graph{Opset: 17, Inputs: []model.Port{{Name: "x", DType: model.F32, Shape: []int64{1}}}, Outputs: []model.Port{{Name: "y", DType: model.F32, Shape: []int64{1}}}}
		for i := range tensors {
			ref := blob.Ref{Digest: file, Len: n}
			if apart {
				ref.Off = int64(i) * n
			}
			g.Initializers = append(g.Initializers, Initializer{Name: fmt.Sprint("w", i), DType: model.I8, Shape: []int64{n}, Ref: ref})
			g.Nodes = append(g.Nodes, Node{Op: "Cast", Inputs: []string{fmt.Sprint("w", i)}, Outputs: []string{fmt.Sprint("f", i)}, Attrs: []Attr{{Name: "to", Kind: Int, Int: 1}}})
		}
		g.Nodes = append(g.Nodes, Node{Op: "Identity", Inputs: []string{"x"}, Outputs: []string{"y"}})
		return g
	}
	if err := Check(made(12, true)); err != nil {
		t.Error(err)
	}
	if err := Check(made(12, false)); err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("12 tensors of the same bytes: %v", err)
	}
}
