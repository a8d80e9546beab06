package gateway

import (
	"encoding/binary"
	"fmt"
	"math"

	oipv2 "github.com/skein-project/skein/api/inference"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// requestOf checks a request over gRPC and makes of it what one over HTTP becomes. raw says that it has raw contents.
func requestOf(r *oipv2.ModelInferRequest) (out *oip.Request, raw bool, err error) {
	wrong := func(what, format string, args ...any) error {
		return oip.Invalid{What: what, Why: fmt.Sprintf(format, args...)}
	}
	out, raw = &oip.Request{ID: r.Id, Binary: true}, len(r.RawInputContents) > 0
	switch {
	case len(r.Id) > oip.MaxID:
		return nil, raw, wrong("id", "%d bytes are more than %d", len(r.Id), oip.MaxID)
	case len(r.Inputs) == 0 || len(r.Inputs) > oip.MaxTensors || len(r.Outputs) > oip.MaxTensors:
		return nil, raw, wrong("inputs", "%d inputs and %d outputs, want 1 to %d", len(r.Inputs), len(r.Outputs), oip.MaxTensors)
	case raw && len(r.RawInputContents) != len(r.Inputs):
		return nil, raw, wrong("raw_input_contents", "%d for %d inputs", len(r.RawInputContents), len(r.Inputs))
	}
	if out.Parameters, err = parametersOf(r.Parameters); err != nil {
		return nil, raw, err
	}
	seen := map[string]bool{}
	for i, in := range r.Inputs {
		d, known := oip.DType(in.Datatype)
		x := tensor.Tensor{Name: in.Name, DType: d, Shape: in.Shape}
		switch {
		case !known:
			return nil, raw, wrong("datatype", "%.40q is not known", in.Datatype)
		case seen[in.Name]:
			return nil, raw, wrong("inputs", "the input %.80q is there twice", in.Name)
		case raw && in.Contents != nil:
			return nil, raw, wrong("inputs", "the input %.80q has both contents and raw contents", in.Name)
		case raw:
			x.Data = r.RawInputContents[i]
		default:
			if x.Data, err = dataOf(x, in.Contents); err != nil {
				return nil, raw, err
			}
		}
		if _, err := ownParameters(in.Parameters); err != nil {
			return nil, raw, err
		}
		if err := x.Check(); err != nil {
			return nil, raw, err
		}
		seen[in.Name], out.Inputs = true, append(out.Inputs, x)
	}
	clear(seen)
	for _, o := range r.Outputs {
		if o.Name == "" || len(o.Name) > model.MaxPortName || seen[o.Name] {
			return nil, raw, wrong("outputs", "the output %.80q has no name of 1 to %d bytes, or is there twice", o.Name, model.MaxPortName)
		}
		if _, err := ownParameters(o.Parameters); err != nil {
			return nil, raw, err
		}
		seen[o.Name], out.Outputs = true, append(out.Outputs, oip.Output{Name: o.Name, Binary: true})
	}
	return out, raw, nil
}

// ownParameters reads the parameters of a tensor.
func ownParameters(in map[string]*oipv2.InferParameter) (oip.Parameters, error) {
	p, err := parametersOf(in)
	if err != nil {
		return nil, err
	}
	return p, p.OfTensor()
}

func parametersOf(in map[string]*oipv2.InferParameter) (oip.Parameters, error) {
	if len(in) > oip.MaxParameters {
		return nil, oip.Invalid{What: "parameters", Why: fmt.Sprintf("%d are more than %d", len(in), oip.MaxParameters)}
	}
	out := oip.Parameters{}
	for name, p := range in {
		switch v := p.GetParameterChoice().(type) {
		case *oipv2.InferParameter_BoolParam:
			out[name] = v.BoolParam
		case *oipv2.InferParameter_Int64Param:
			out[name] = v.Int64Param
		case *oipv2.InferParameter_StringParam:
			out[name] = v.StringParam
		case *oipv2.InferParameter_DoubleParam:
			out[name] = v.DoubleParam
		case *oipv2.InferParameter_Uint64Param:
			if v.Uint64Param > math.MaxInt64 {
				return nil, oip.Invalid{What: name, Why: fmt.Sprintf("%d is too large a number", v.Uint64Param)}
			}
			out[name] = int64(v.Uint64Param)
		}
	}
	return out, nil
}

// hasContents says whether a type has a field in InferTensorContents.
func hasContents(d model.DType) bool { return d != model.F16 && d != model.BF16 }

// dataOf is the data of a tensor whose elements are in typed fields: in the one that fits its type, and in no other.
func dataOf(x tensor.Tensor, c *oipv2.InferTensorContents) ([]byte, error) {
	if !hasContents(x.DType) {
		return nil, tensor.Invalid{Name: x.Name, Why: fmt.Sprintf("%s has no contents: send it as raw contents", oip.Datatype(x.DType))}
	}
	size := int(x.DType.Size())
	data := make([]byte, 0, size*countOf(c, x.DType))
	switch x.DType {
	case model.Bool:
		for _, v := range c.GetBoolContents() {
			data = append(data, 0)
			if v {
				data[len(data)-1] = 1
			}
		}
	case model.I8, model.I16, model.I32:
		for _, v := range c.GetIntContents() {
			if bits := 8*size - 1; v>>bits != 0 && v>>bits != -1 {
				return nil, tensor.Invalid{Name: x.Name, Why: fmt.Sprintf("%d is no %s", v, oip.Datatype(x.DType))}
			}
			data = appendLow(data, uint64(v), size)
		}
	case model.U8, model.U16, model.U32:
		for _, v := range c.GetUintContents() {
			if uint64(v)>>(8*size) != 0 {
				return nil, tensor.Invalid{Name: x.Name, Why: fmt.Sprintf("%d is no %s", v, oip.Datatype(x.DType))}
			}
			data = appendLow(data, uint64(v), size)
		}
	case model.I64:
		for _, v := range c.GetInt64Contents() {
			data = appendLow(data, uint64(v), size)
		}
	case model.U64:
		for _, v := range c.GetUint64Contents() {
			data = appendLow(data, v, size)
		}
	case model.F32:
		for _, v := range c.GetFp32Contents() {
			data = appendLow(data, uint64(math.Float32bits(v)), size)
		}
	case model.F64:
		for _, v := range c.GetFp64Contents() {
			data = appendLow(data, math.Float64bits(v), size)
		}
	case model.Bytes:
		for _, v := range c.GetBytesContents() {
			data = tensor.AppendString(data, string(v))
		}
	}
	if others := countOf(c, ""); others != countOf(c, x.DType) {
		return nil, tensor.Invalid{Name: x.Name, Why: fmt.Sprintf("there are contents that are not of type %s", oip.Datatype(x.DType))}
	}
	return data, nil
}

func appendLow(to []byte, v uint64, size int) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return append(to, b[:size]...)
}

// countOf is the number of elements in the field of a type; "" = in all fields.
func countOf(c *oipv2.InferTensorContents, d model.DType) int {
	n := 0
	for _, f := range []struct {
		of   []model.DType
		size int
	}{
		{[]model.DType{model.Bool}, len(c.GetBoolContents())},
		{[]model.DType{model.I8, model.I16, model.I32}, len(c.GetIntContents())},
		{[]model.DType{model.I64}, len(c.GetInt64Contents())},
		{[]model.DType{model.U8, model.U16, model.U32}, len(c.GetUintContents())},
		{[]model.DType{model.U64}, len(c.GetUint64Contents())},
		{[]model.DType{model.F32}, len(c.GetFp32Contents())},
		{[]model.DType{model.F64}, len(c.GetFp64Contents())},
		{[]model.DType{model.Bytes}, len(c.GetBytesContents())},
	} {
		for _, of := range f.of {
			if d == of || d == "" && of == f.of[0] {
				n += f.size
			}
		}
	}
	return n
}

// contentsOf puts the elements of a tensor that tensor.Check accepts into the field of its type.
func contentsOf(x tensor.Tensor) *oipv2.InferTensorContents {
	c := &oipv2.InferTensorContents{}
	if x.DType == model.Bytes {
		c.BytesContents = x.Strings()
		return c
	}
	size := int(x.DType.Size())
	for at := 0; at+size <= len(x.Data); at += size {
		var b [8]byte
		copy(b[:], x.Data[at:at+size])
		u := binary.LittleEndian.Uint64(b[:])
		shift := 64 - 8*size
		signed := int64(u<<shift) >> shift
		switch x.DType {
		case model.Bool:
			c.BoolContents = append(c.BoolContents, u != 0)
		case model.I8, model.I16, model.I32:
			c.IntContents = append(c.IntContents, int32(signed))
		case model.I64:
			c.Int64Contents = append(c.Int64Contents, signed)
		case model.U8, model.U16, model.U32:
			c.UintContents = append(c.UintContents, uint32(u))
		case model.U64:
			c.Uint64Contents = append(c.Uint64Contents, u)
		case model.F32:
			c.Fp32Contents = append(c.Fp32Contents, math.Float32frombits(uint32(u)))
		case model.F64:
			c.Fp64Contents = append(c.Fp64Contents, math.Float64frombits(u))
		}
	}
	return c
}
