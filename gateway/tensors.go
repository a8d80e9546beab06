package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/tensor"
	"github.com/skein-project/skein/wire"
)

// maxTensorBytes bounds the elements that go to a replica in one call; the rest of a message is names and shapes.
const maxTensorBytes = wire.MaxTensors - 1<<20

// inferGraph runs a model that is one graph. The tensors fit its ports already.
func (s *Server) inferGraph(ctx context.Context, t *text, in []tensor.Tensor, outputs []string) ([]tensor.Tensor, error) {
	size := 0
	for _, p := range t.manifest.Graph.Inputs {
		i := slices.IndexFunc(in, func(x tensor.Tensor) bool { return x.Name == p.Name })
		if i < 0 {
			return nil, invalid("inputs", "the input %.80q is missing", p.Name)
		}
		if in[i].DType != p.DType {
			return nil, invalid("inputs", "the input %.80q is of type %.20q, want %s", p.Name, in[i].DType, p.DType)
		}
		size += len(in[i].Data)
	}
	if size > maxTensorBytes {
		return nil, &Error{Fault: FaultTooLarge, Param: "inputs", Why: fmt.Sprintf("the inputs have %d bytes, at most %d are taken in one request", size, maxTensorBytes)}
	}
	tokens := s.weigh(t, in)
	if err := s.admit(ctx, t, tokens, 0); err != nil {
		return nil, err
	}
	var out []tensor.Tensor
	err := s.onReplica(ctx, t.version, tokens, func(ctx context.Context, r router.Route) error {
		res, err := wire.CallTensors(ctx, s.dialer, r.Head(), &wire.TensorsRequest{Replica: r.Replica, Epoch: r.Epoch, Inputs: in, Outputs: outputs})
		if err != nil {
			return err
		}
		if len(res.Outputs) != len(outputs) {
			return fmt.Errorf("gateway: %d outputs for %d", len(res.Outputs), len(outputs))
		}
		callOf(ctx).cost(time.Duration(res.Device) * time.Microsecond)
		out = res.Outputs
		return nil
	}, func() bool { return out != nil }, func() int { return 0 })
	return out, err
}

// weigh is what a request counts as against limits of tokens: the token ids that a graph of texts gets, else the rows of its first input.
func (s *Server) weigh(t *text, in []tensor.Tensor) int {
	first := t.manifest.Graph.Inputs[0].Name
	if t.manifest.Graph.Text != nil {
		first = t.manifest.Graph.Text.IDs
	}
	for _, x := range in {
		switch {
		case x.Name != first:
		case t.manifest.Graph.Text != nil:
			return int(max(x.Elements(), 1))
		case len(x.Shape) > 0:
			return int(max(min(x.Shape[0], model.MaxPositions), 1))
		}
	}
	return 1
}
