package oip

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// maxFields is how many fields an object of the protocol may have; what is not known is ignored.
const maxFields = 64

// JSONSize reads the header that says how many bytes of a body are JSON; −1 = all, since there is none. An error is Invalid.
func JSONSize(values []string, body int) (int, error) {
	if len(values) == 0 {
		return -1, nil
	}
	n, err := strconv.ParseUint(values[0], 10, 31)
	switch {
	case err != nil || len(values) > 1:
		return 0, wrong(HeaderLength, "want one number of bytes")
	case int(n) > body:
		return 0, wrong(HeaderLength, "%d bytes are more than the body's %d", n, body)
	}
	return int(n), nil
}

// ReadRequest reads a request of which so many bytes are JSON (−1 = all), the rest binary data of the inputs in their order. Errors are
// Invalid, tensor.Invalid or wrap ErrUnsupported. The request shares the body's memory.
func ReadRequest(body []byte, jsonSize int) (*Request, error) {
	p := parser{binary: []byte{}}
	if jsonSize >= 0 {
		body, p.binary = body[:jsonSize:jsonSize], body[jsonSize:]
	}
	if err := check(body); err != nil {
		return nil, err
	}
	body = body[skipSpace(body, 0):]
	if err := object("request", body, maxFields, p.field); err != nil {
		return nil, err
	}
	if len(p.Inputs) == 0 {
		return nil, wrong("inputs", "there are none")
	}
	if len(p.binary) > 0 {
		return nil, wrong("inputs", "%d bytes of binary data are no input's", len(p.binary))
	}
	for i, o := range p.Outputs { // which parameter comes first does not matter
		if o.Binary = p.Binary; p.binaries[i] != nil {
			o.Binary = *p.binaries[i]
		}
		p.Outputs[i] = o
	}
	return &p.Request, nil
}

// parser is a request as far as it was read.
type parser struct {
	Request
	binary   []byte  // that is no input's yet
	binaries []*bool // what each output says about itself; nil = nothing
}

func (p *parser) field(key string, value []byte) (err error) {
	if kind(value) == 'n' {
		return nil // null is as if it were not there
	}
	switch key {
	case "id":
		if p.ID, err = text(key, value); err == nil && len(p.ID) > MaxID {
			return wrong(key, "%d bytes are more than %d", len(p.ID), MaxID)
		}
		return err
	case "parameters":
		if p.Parameters, err = parameters(value); err != nil {
			return err
		}
		p.Binary, err = flag(p.Parameters, "binary_data_output")
		return err
	case "inputs":
		return list(key, value, p.input)
	case "outputs":
		return list(key, value, p.output)
	}
	return nil
}

// parameters reads values by name. What is neither a text, a number nor a boolean is not known, and ignored.
func parameters(value []byte) (Parameters, error) {
	out := Parameters{}
	return out, object("parameters", value, MaxParameters, func(key string, value []byte) error {
		switch kind(value) {
		case '"':
			s, err := text(key, value)
			out[key] = s
			return err
		case 't', 'f':
			out[key] = kind(value) == 't'
		case '{', '[', 'n':
		default:
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
				out[key] = n
				return nil
			}
			f, err := strconv.ParseFloat(string(value), 64)
			if err != nil {
				return wrong(key, "%.40q is too large a number", value)
			}
			out[key] = f
		}
		return nil
	})
}

// flag reads a parameter that is true or false; false if it is not there.
func flag(p Parameters, name string) (bool, error) {
	v, ok := p[name]
	b, fits := v.(bool)
	if ok && !fits {
		return false, wrong(name, "want true or false")
	}
	return b, nil
}

// OfTensor refuses the parameters of a tensor that mean what Skein does not do: shared memory, and classification in place of numbers.
func (p Parameters) OfTensor() error {
	for _, name := range []string{"shared_memory_region", "shared_memory_byte_size", "shared_memory_offset", "classification"} {
		if _, ok := p[name]; ok {
			return unsupported(name)
		}
	}
	return nil
}

func (p *parser) input(value []byte) (err error) {
	if len(p.Inputs) >= MaxTensors {
		return wrong("inputs", "there are more than %d", MaxTensors)
	}
	var t tensor.Tensor
	var data []byte
	var params Parameters
	var typed, shaped bool
	err = object("inputs", value, maxFields, func(key string, value []byte) (err error) {
		switch key {
		case "name":
			t.Name, err = text(key, value)
		case "datatype":
			t.DType, err = datatype(value)
			typed = true
		case "shape":
			t.Shape, err = shape(value)
			shaped = true
		case "parameters":
			params, err = parameters(value)
		case "data":
			data = value
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case t.Name == "" || !typed || !shaped:
		return wrong("inputs", "an input needs a name, a datatype and a shape")
	case slices.ContainsFunc(p.Inputs, func(o tensor.Tensor) bool { return o.Name == t.Name }):
		return wrong("inputs", "the input %.80q is there twice", t.Name)
	}
	if err := params.OfTensor(); err != nil {
		return err
	}
	size, binary := params["binary_data_size"]
	switch {
	case binary && data != nil:
		return wrong("inputs", "the input %.80q has both data and binary data", t.Name)
	case !binary && data == nil:
		return wrong("inputs", "the input %.80q has no data", t.Name)
	case binary:
		n, ok := size.(int64)
		if !ok || n < 0 || n > int64(len(p.binary)) {
			return wrong("inputs", "binary_data_size %v of %.80q is not the size of something within the %d bytes that are left", size, t.Name, len(p.binary))
		}
		t.Data, p.binary = p.binary[:n:n], p.binary[n:]
	default:
		if err := t.ReadJSON(data); err != nil {
			return err
		}
	}
	if err := t.Check(); err != nil {
		return err
	}
	p.Inputs = append(p.Inputs, t)
	return nil
}

func (p *parser) output(value []byte) error {
	if len(p.Outputs) >= MaxTensors {
		return wrong("outputs", "there are more than %d", MaxTensors)
	}
	var o Output
	var params Parameters
	err := object("outputs", value, maxFields, func(key string, value []byte) (err error) {
		switch key {
		case "name":
			o.Name, err = text(key, value)
		case "parameters":
			params, err = parameters(value)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case o.Name == "" || len(o.Name) > model.MaxPortName:
		return wrong("outputs", "an output needs a name of 1 to %d bytes", model.MaxPortName)
	case slices.ContainsFunc(p.Outputs, func(other Output) bool { return other.Name == o.Name }):
		return wrong("outputs", "the output %.80q is there twice", o.Name)
	}
	if err := params.OfTensor(); err != nil {
		return err
	}
	var own *bool
	if _, ok := params["binary_data"]; ok {
		b, err := flag(params, "binary_data")
		if err != nil {
			return err
		}
		own = &b
	}
	p.Outputs, p.binaries = append(p.Outputs, o), append(p.binaries, own)
	return nil
}

func datatype(value []byte) (model.DType, error) {
	name, err := text("datatype", value)
	if err != nil {
		return "", err
	}
	d, ok := DType(name)
	if !ok {
		return "", wrong("datatype", "%.40q is not known", name)
	}
	return d, nil
}

var errShape = errors.New("oip: no dimension")

func shape(value []byte) ([]int64, error) {
	out := []int64{}
	err := list("shape", value, func(item []byte) error {
		n, err := strconv.ParseInt(string(item), 10, 64)
		if err != nil || n < 0 || len(out) >= model.MaxRank {
			return errShape
		}
		out = append(out, n)
		return nil
	})
	if errors.Is(err, errShape) {
		return nil, wrong("shape", "%.80q is no list of at most %d lengths", value, model.MaxRank)
	}
	return out, err
}

// quote is a text as JSON.
func quote(to []byte, s string) []byte {
	b, _ := json.Marshal(s) // a text has a form
	return append(to, b...)
}
