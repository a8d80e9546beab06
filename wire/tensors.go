package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// Limits of the messages of RunTensors in bytes.
const (
	MaxTensors    = 64 << 20
	maxTensorHead = 1 << 20 // of which what is not the tensors' elements
)

// TensorsRequest asks the head of a replica of family model.Graph to run once. Replica and Epoch fence, as in GenerateRequest.
type TensorsRequest struct {
	Replica cluster.ReplicaID
	Epoch   cluster.Epoch
	Inputs  []tensor.Tensor
	Outputs []string // in the order of the answer; none = all
}

// TensorsResponse holds the outputs.
type TensorsResponse struct {
	Outputs []tensor.Tensor
	Device  int64 // microseconds that the device spent on it
}

// tensorHead is what goes before the elements: a length of 4 bytes (little-endian), and this as JSON.
type tensorHead struct {
	Replica cluster.ReplicaID `json:"replica,omitzero"`
	Epoch   cluster.Epoch     `json:"epoch,omitempty"`
	Outputs []string          `json:"outputs,omitempty"`
	Device  int64             `json:"device,omitempty"`
	Tensors []tensorForm      `json:"tensors,omitempty"`
}

// tensorForm is a tensor without its elements, of which there are Len bytes.
type tensorForm struct {
	Name  string      `json:"name"`
	DType model.DType `json:"dtype"`
	Shape []int64     `json:"shape"`
	Len   int64       `json:"len"`
}

var errTensors = errors.New("wire: malformed message of tensors")

// tensorCodec carries tensors as they are, behind a head in JSON.
type tensorCodec struct{}

func (tensorCodec) Name() string { return "tensors" }

func (c tensorCodec) Marshal(v any) ([]byte, error) { return c.MarshalAppend(nil, v) }

func (tensorCodec) MarshalAppend(dst []byte, v any) ([]byte, error) {
	var h tensorHead
	var list []tensor.Tensor
	switch m := v.(type) {
	case *TensorsRequest:
		h, list = tensorHead{Replica: m.Replica, Epoch: m.Epoch, Outputs: m.Outputs}, m.Inputs
	case *TensorsResponse:
		h, list = tensorHead{Device: m.Device}, m.Outputs
	default:
		return nil, fmt.Errorf("%w: %T", errTensors, v)
	}
	for _, t := range list {
		h.Tensors = append(h.Tensors, tensorForm{t.Name, t.DType, t.Shape, int64(len(t.Data))})
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(head)))
	dst = append(dst, head...)
	for _, t := range list {
		dst = append(dst, t.Data...)
	}
	return dst, nil
}

// Unmarshal copies the elements once: connect uses the bytes again.
func (tensorCodec) Unmarshal(b []byte, v any) error {
	h, list, err := decodeTensors(b)
	if err != nil {
		return err
	}
	switch m := v.(type) {
	case *TensorsRequest:
		*m = TensorsRequest{Replica: h.Replica, Epoch: h.Epoch, Inputs: list, Outputs: h.Outputs}
	case *TensorsResponse:
		*m = TensorsResponse{Outputs: list, Device: h.Device}
	default:
		return fmt.Errorf("%w: %T", errTensors, v)
	}
	return nil
}

func decodeTensors(b []byte) (h tensorHead, list []tensor.Tensor, err error) {
	if len(b) < 4 {
		return h, nil, errTensors
	}
	n := binary.LittleEndian.Uint32(b)
	if b = b[4:]; n > maxTensorHead || int64(n) > int64(len(b)) {
		return h, nil, fmt.Errorf("%w: a head of %d bytes", errTensors, n)
	}
	if err := json.Unmarshal(b[:n], &h); err != nil {
		return h, nil, fmt.Errorf("%w: %w", errTensors, err)
	}
	if len(h.Tensors) > model.MaxPorts || len(h.Outputs) > model.MaxPorts {
		return h, nil, fmt.Errorf("%w: %d tensors and %d outputs, at most %d", errTensors, len(h.Tensors), len(h.Outputs), model.MaxPorts)
	}
	rest := append([]byte(nil), b[n:]...)
	for _, f := range h.Tensors {
		if f.Len < 0 || f.Len > int64(len(rest)) {
			return h, nil, fmt.Errorf("%w: %d bytes for %.80q, %d are left", errTensors, f.Len, f.Name, len(rest))
		}
		t := tensor.Tensor{Name: f.Name, DType: f.DType, Shape: f.Shape, Data: rest[:f.Len:f.Len]}
		if err := t.Check(); err != nil {
			return h, nil, fmt.Errorf("%w: %w", errTensors, err)
		}
		list, rest = append(list, t), rest[f.Len:]
	}
	if len(rest) > 0 {
		return h, nil, fmt.Errorf("%w: %d bytes are left", errTensors, len(rest))
	}
	return h, list, nil
}

// HandleTensors answers RunTensors.
func HandleTensors(m *Mux, f func(context.Context, *TensorsRequest) (*TensorsResponse, error)) {
	h := connect.NewUnaryHandler(string(RunTensors), func(ctx context.Context, r *connect.Request[TensorsRequest]) (*connect.Response[TensorsResponse], error) {
		res, err := f(ctx, r.Msg)
		if err != nil {
			return nil, toConnect(err)
		}
		return connect.NewResponse(res), nil
	}, connect.WithCodec(tensorCodec{}), connect.WithReadMaxBytes(MaxTensors), connect.WithSendMaxBytes(MaxTensors), connect.WithCompression("gzip", nil, nil))
	m.handle(RunTensors, http.Handler(h))
}

// CallTensors makes a call of RunTensors to the worker at addr.
func CallTensors(ctx context.Context, d *Dialer, addr string, req *TensorsRequest) (*TensorsResponse, error) {
	r := connect.NewRequest(req)
	carryTrace(ctx, r.Header())
	c := connect.NewClient[TensorsRequest, TensorsResponse](d.http[cluster.RoleNode], "https://"+addr+string(RunTensors), connect.WithCodec(tensorCodec{}),
		connect.WithReadMaxBytes(MaxTensors), connect.WithSendMaxBytes(MaxTensors), connect.WithAcceptCompression("gzip", nil, nil))
	res, err := c.CallUnary(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("call %s at %s: %w", RunTensors, addr, FromPeer(err))
	}
	return res.Msg, nil
}
