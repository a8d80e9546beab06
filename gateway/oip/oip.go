// Package oip reads and writes the messages of the Open Inference Protocol v2 over HTTP, with its extension for binary tensor data.
package oip

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// HeaderLength is the HTTP header that says how many bytes of a body are JSON; the tensors' bytes follow.
const HeaderLength = "Inference-Header-Content-Length"

// Limits of a message.
const (
	MaxTensors    = model.MaxPorts // inputs, and outputs
	MaxID         = 1024           // bytes of a request's id
	MaxParameters = 64             // of a request, and of each tensor
	maxDepth      = model.MaxRank + 16
)

// Invalid says what is wrong with a message.
type Invalid struct {
	What string // field or tensor
	Why  string
}

// Error implements error.
func (e Invalid) Error() string {
	if e.What == "" {
		return e.Why
	}
	return e.What + ": " + e.Why
}

func wrong(what, format string, args ...any) error {
	return Invalid{what, fmt.Sprintf(format, args...)}
}

// ErrUnsupported is wrapped by errors about what the protocol's extensions know and Skein does not do.
var ErrUnsupported = errors.New("unsupported")

func unsupported(what string) error { return fmt.Errorf("%w: %s", ErrUnsupported, what) }

// Request asks a model for an inference.
type Request struct {
	ID         string // comes back with the answer
	Parameters Parameters
	Inputs     []tensor.Tensor // each fits its shape; they share the memory of the body
	Outputs    []Output        // none = all that the model has
	Binary     bool            // outputs that are not named are sent as binary data
}

// Output is an output that a request names.
type Output struct {
	Name   string
	Binary bool // it is sent as binary data
}

// Names lists the outputs that are named.
func (r *Request) Names() []string {
	var out []string
	for _, o := range r.Outputs {
		out = append(out, o.Name)
	}
	return out
}

// IsBinary says whether an output is sent as binary data.
func (r *Request) IsBinary(name string) bool {
	if i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Name == name }); i >= 0 {
		return r.Outputs[i].Binary
	}
	return r.Binary
}

// Parameters are values by name: string, bool, int64 or float64.
type Parameters map[string]any

// datatypes are the protocol's names of element types.
var datatypes = map[model.DType]string{
	model.F64: "FP64", model.F32: "FP32", model.F16: "FP16", model.BF16: "BF16",
	model.I64: "INT64", model.I32: "INT32", model.I16: "INT16", model.I8: "INT8",
	model.U64: "UINT64", model.U32: "UINT32", model.U16: "UINT16", model.U8: "UINT8",
	model.Bool: "BOOL", model.Bytes: "BYTES",
}

var dtypes = func() map[string]model.DType {
	out := map[string]model.DType{}
	for d, name := range datatypes {
		out[name] = d
	}
	return out
}()

// Datatype is the protocol's name of an element type; "" = it has none.
func Datatype(d model.DType) string { return datatypes[d] }

// DType is the element type that the protocol calls by a name. Names are told apart by case.
func DType(name string) (model.DType, bool) {
	d, ok := dtypes[name]
	return d, ok
}
