package oip

import (
	"strconv"

	"github.com/skein-project/skein/tensor"
)

// Answer is what a model answered.
type Answer struct {
	ID      string // of the request; "" = it had none
	Model   string
	Version string
	Outputs []tensor.Tensor // as tensor.Check accepts them
}

// Body is an answer as it is sent: JSON, and behind it the binary data.
type Body struct {
	JSON   []byte
	Binary [][]byte // nil = none of the outputs is binary, and the body is JSON alone
}

// Encode writes an answer. binary says which outputs are sent as binary data. An error is tensor.Invalid: an output has no form in JSON.
func (a *Answer) Encode(binary func(name string) bool) (Body, error) {
	var b Body
	to := append([]byte(nil), `{"model_name":`...)
	to = quote(to, a.Model)
	to = append(to, `,"model_version":`...)
	to = quote(to, a.Version)
	if a.ID != "" {
		to = append(to, `,"id":`...)
		to = quote(to, a.ID)
	}
	to = append(to, `,"outputs":[`...)
	for i, t := range a.Outputs {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(to, `{"name":`...)
		to = quote(to, t.Name)
		to = append(to, `,"datatype":"`...)
		to = append(to, Datatype(t.DType)...)
		to = append(to, `","shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				to = append(to, ',')
			}
			to = strconv.AppendInt(to, d, 10)
		}
		to = append(to, ']')
		if binary(t.Name) {
			to = append(to, `,"parameters":{"binary_data_size":`...)
			to = strconv.AppendInt(to, int64(len(t.Data)), 10)
			to = append(to, `}}`...)
			b.Binary = append(b.Binary, t.Data)
			continue
		}
		to = append(to, `,"data":`...)
		var err error
		if to, err = t.AppendJSON(to); err != nil {
			return Body{}, err
		}
		to = append(to, '}')
	}
	b.JSON = append(to, `]}`...)
	return b, nil
}
