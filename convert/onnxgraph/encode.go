package onnxgraph

import (
	"fmt"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// Encode writes the graph as model.GraphFile: a ModelProto with the nodes, the ports and the initializers that are inline. Those of
// Weights are left out; whoever loads the graph adds them (onnx.Attach). The graph must have passed Check.
func Encode(g *Graph) ([]byte, error) {
	w := onnx.New("graph", int(g.Opset))
	for _, p := range g.Inputs {
		w.Input(p.Name, onnx.TypeOf(p.DType), dims(p.Shape)...)
	}
	for _, t := range g.Initializers {
		if t.Raw != nil {
			w.Inline(t.Name, onnx.TypeOf(t.DType), t.Shape, t.Raw)
		} else {
			w.Declare(t.Name)
		}
	}
	for _, n := range g.Nodes {
		attrs := make([]onnx.Attr, 0, len(n.Attrs))
		for _, a := range n.Attrs {
			attrs = append(attrs, attr(a))
		}
		w.Node(onnx.Op{Domain: n.Domain, Name: n.Op}, n.Inputs, n.Outputs, attrs...)
	}
	for _, p := range g.Outputs {
		w.Output(p.Name, onnx.TypeOf(p.DType), dims(p.Shape)...)
	}
	b, err := w.Bytes()
	if err != nil {
		return nil, Refused{"", err.Error()}
	}
	if len(b) > model.MaxFileLen {
		return nil, Refused{"", fmt.Sprintf("the graph without weights has %d bytes, more than %d", len(b), model.MaxFileLen)}
	}
	return b, nil
}

func dims(shape []int64) []onnx.Dim {
	out := make([]onnx.Dim, len(shape))
	for i, d := range shape {
		out[i] = onnx.Dim{Size: d} // model.Free is onnx.Dim's own mark of any length
	}
	return out
}

func attr(a Attr) onnx.Attr {
	switch a.Kind {
	case Float:
		return onnx.Real(a.Name, float64(a.Float))
	case Int:
		return onnx.Whole(a.Name, a.Int)
	case Text:
		return onnx.Text(a.Name, a.Text)
	case Tensor:
		return onnx.Value(a.Name, onnx.TypeOf(a.Tensor.DType), a.Tensor.Shape, a.Tensor.Raw)
	case Floats:
		return onnx.Reals(a.Name, a.Floats)
	case Ints:
		return onnx.Wholes(a.Name, a.Ints)
	}
	return onnx.Texts(a.Name, a.Texts)
}
