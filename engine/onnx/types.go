package onnx

import "github.com/skein-project/skein/model"

// types maps element types to their numbers in onnx.proto (TensorProto.DataType).
var types = map[model.DType]Type{
	model.F32: Float, model.U8: 2, model.I8: 3, model.U16: 4, model.I16: 5, model.I32: Int32, model.I64: Int64, model.Bytes: 8, model.Bool: 9,
	model.F16: Float16, model.F64: 11, model.U32: 12, model.U64: 13, model.BF16: BFloat16,
}

// TypeOf is the number of an element type, 0 where ONNX has none.
func TypeOf(d model.DType) Type { return types[d] }

// DType is the element type with a number of onnx.proto, "" where it is not one that can be served.
func DType(number int64) model.DType {
	for d, t := range types {
		if int64(t) == number {
			return d
		}
	}
	return ""
}
