package graph

import (
	"fmt"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// Names in the graph of Fill.
const (
	FillFrom   = "from"   // in: [N] float32
	FillLength = "length" // in: [1] int64, a number M
	Filled     = "filled" // out: [M] in the type of the arithmetic
)

// Fill makes a graph that writes memory of a device, which Go cannot touch: the values given (N = M), or one value M times (N = 1).
func Fill(compute model.DType) (Graph, error) {
	t := stored(compute)
	g := onnx.New("fill", Opset)
	g.Input(FillFrom, onnx.Float, onnx.Free("N"))
	g.Input(FillLength, onnx.Int64, onnx.Fixed(1))
	g.Node(onnx.Op{Name: "Expand"}, []string{g.Op(cast, []string{FillFrom}, onnx.Int("to", int(t))), FillLength}, []string{Filled})
	g.Output(Filled, t, onnx.Free("M"))
	made := Graph{Inputs: []string{FillFrom, FillLength}, Outputs: []string{Filled}}
	var err error
	if made.Model, err = g.Bytes(); err != nil {
		return made, fmt.Errorf("graph: fill: %w", err)
	}
	return made, nil
}
