package tensor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/skein-project/skein/model"
)

// OfFloats makes a tensor of type F32.
func OfFloats(name string, shape []int64, values []float32) Tensor {
	t := Tensor{Name: name, DType: model.F32, Shape: shape, Data: make([]byte, 4*len(values))}
	for i, v := range values {
		binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(v))
	}
	return t
}

// OfInts makes a tensor of type I64.
func OfInts(name string, shape []int64, values []int64) Tensor {
	t := Tensor{Name: name, DType: model.I64, Shape: shape, Data: make([]byte, 8*len(values))}
	for i, v := range values {
		binary.LittleEndian.PutUint64(t.Data[8*i:], uint64(v))
	}
	return t
}

// Ints are the elements of a tensor of whole numbers that Check accepts. Errors are of type Invalid: another type, or an element of type
// U64 that is beyond an int64.
func (t Tensor) Ints() ([]int64, error) {
	size := int(t.DType.Size())
	out := make([]int64, 0, t.Elements())
	for at := 0; size > 0 && at+size <= len(t.Data); at += size {
		e := t.Data[at:]
		var v int64
		switch t.DType {
		case model.I64:
			v = int64(binary.LittleEndian.Uint64(e))
		case model.I32:
			v = int64(int32(binary.LittleEndian.Uint32(e)))
		case model.I16:
			v = int64(int16(binary.LittleEndian.Uint16(e)))
		case model.I8:
			v = int64(int8(e[0]))
		case model.U64:
			u := binary.LittleEndian.Uint64(e)
			if u > math.MaxInt64 {
				return nil, Invalid{t.Name, fmt.Sprintf("%d is too large a number here", u)}
			}
			v = int64(u)
		case model.U32:
			v = int64(binary.LittleEndian.Uint32(e))
		case model.U16:
			v = int64(binary.LittleEndian.Uint16(e))
		case model.U8:
			v = int64(e[0])
		default:
			return nil, Invalid{t.Name, fmt.Sprintf("%s are no whole numbers", t.DType)}
		}
		out = append(out, v)
	}
	if size == 0 {
		return nil, Invalid{t.Name, fmt.Sprintf("%.20q are no whole numbers", t.DType)}
	}
	return out, nil
}

// Floats are the elements of a tensor of type F32 or F64 that Check accepts. Errors are of type Invalid.
func (t Tensor) Floats() ([]float64, error) {
	out := make([]float64, 0, max(0, t.Elements()))
	switch t.DType {
	case model.F32:
		for at := 0; at+4 <= len(t.Data); at += 4 {
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data[at:]))))
		}
	case model.F64:
		for at := 0; at+8 <= len(t.Data); at += 8 {
			out = append(out, math.Float64frombits(binary.LittleEndian.Uint64(t.Data[at:])))
		}
	default:
		return nil, Invalid{t.Name, fmt.Sprintf("%.20q are neither F32 nor F64", t.DType)}
	}
	return out, nil
}
