package gateway

import (
	"context"

	"connectrpc.com/connect"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// largeTensors lets requests of tensors be larger than those of text.
func (s *Server) largeTensors(spec connect.Spec) []connect.HandlerOption {
	if spec.Procedure == inferencev1connect.InferenceServiceInferProcedure {
		return []connect.HandlerOption{connect.WithReadMaxBytes(int(s.cfg.MaxTensors))}
	}
	return nil
}

// Infer implements skein.inference.v1.
func (i inference) Infer(ctx context.Context, r *connect.Request[inferencev1.InferRequest]) (*connect.Response[inferencev1.InferResponse], error) {
	t, err := i.s.text(ctx, r.Msg.Model, "")
	if err != nil {
		return nil, err
	}
	if len(r.Msg.Inputs) > model.MaxPorts || len(r.Msg.Outputs) > model.MaxPorts {
		return nil, invalid("inputs", "%d inputs and %d outputs, at most %d", len(r.Msg.Inputs), len(r.Msg.Outputs), model.MaxPorts)
	}
	in := make([]tensor.Tensor, len(r.Msg.Inputs))
	for j, x := range r.Msg.Inputs {
		in[j] = tensor.Tensor{Name: x.GetName(), DType: model.DType(x.GetDtype()), Shape: x.GetShape(), Data: x.GetData()}
	}
	out, err := i.s.infer(ctx, t, in, r.Msg.Outputs)
	if err != nil {
		return nil, err
	}
	res := &inferencev1.InferResponse{ModelVersion: t.version.String()}
	for _, x := range out {
		res.Outputs = append(res.Outputs, &inferencev1.Tensor{Name: x.Name, Dtype: string(x.DType), Shape: x.Shape, Data: x.Data})
	}
	return connect.NewResponse(res), nil
}
