package tensor

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/skein-project/skein/model"
)

// prefix is the size in bytes of the length before each element of type Bytes.
const prefix = 4

// MaxEmpty bounds the product of the dimensions other than 0 of a tensor that has no elements: its data bound nothing, and somebody may go
// over its rows.
const MaxEmpty = 1 << 16

// Check says whether name, type, shape and bytes fit together: as many bytes as the elements take and not one more. Errors are of type
// Invalid.
func (t Tensor) Check() error {
	n := t.Elements()
	switch {
	case t.Name == "" || len(t.Name) > model.MaxPortName || !utf8.ValidString(t.Name):
		return Invalid{t.Name, fmt.Sprintf("the name is not UTF-8 of 1 to %d bytes", model.MaxPortName)}
	case len(t.Shape) > model.MaxRank:
		return Invalid{t.Name, fmt.Sprintf("%d dimensions are more than %d", len(t.Shape), model.MaxRank)}
	case n < 0:
		return Invalid{t.Name, fmt.Sprintf("the shape %v is none", t.Shape)}
	case n == 0 && t.hollow() > MaxEmpty:
		return Invalid{t.Name, fmt.Sprintf("the shape %v has no elements, and its other dimensions are more than %d together", t.Shape, MaxEmpty)}
	case t.DType == model.Bytes:
		return t.checkFrames(n)
	}
	size := t.DType.Size()
	switch {
	case size == 0:
		return Invalid{t.Name, fmt.Sprintf("type %.20q is not known", t.DType)}
	case int64(len(t.Data)) != n*size && n <= int64(len(t.Data)): // so that n*size cannot be beyond an int64
		return Invalid{t.Name, fmt.Sprintf("%d bytes do not hold %v of %s, which are %d", len(t.Data), t.Shape, t.DType, n*size)}
	case n > int64(len(t.Data)):
		return Invalid{t.Name, fmt.Sprintf("%d bytes do not hold %v of %s", len(t.Data), t.Shape, t.DType)}
	}
	if t.DType == model.Bool {
		for i, b := range t.Data {
			if b > 1 {
				return Invalid{t.Name, fmt.Sprintf("element %d is %d, want 0 or 1", i, b)}
			}
		}
	}
	return nil
}

// hollow is the product of the dimensions other than 0; what is above MaxEmpty is only that.
func (t Tensor) hollow() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		switch {
		case d == 0:
		case d > MaxEmpty:
			return d
		default:
			if n *= d; n > MaxEmpty {
				return n
			}
		}
	}
	return n
}

// checkFrames says whether the data are n elements of type Bytes.
func (t Tensor) checkFrames(n int64) error {
	rest := t.Data
	for i := range n {
		_, more, ok := cutBytes(rest)
		if !ok {
			return Invalid{t.Name, fmt.Sprintf("element %d of %d ends beyond the %d bytes that there are", i, n, len(t.Data))}
		}
		rest = more
	}
	if len(rest) > 0 {
		return Invalid{t.Name, fmt.Sprintf("%d bytes are left after %d elements", len(rest), n)}
	}
	return nil
}

// cutBytes takes the first element of type Bytes off its encoding.
func cutBytes(data []byte) (element, rest []byte, ok bool) {
	if len(data) < prefix {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-prefix) {
		return nil, nil, false
	}
	end := prefix + int(n)
	return data[prefix:end:end], data[end:], true
}

// Strings are the elements of a tensor of type Bytes that Check accepts; they share its memory.
func (t Tensor) Strings() [][]byte {
	var out [][]byte
	for rest := t.Data; len(rest) > 0; {
		e, more, ok := cutBytes(rest)
		if !ok {
			return out
		}
		out, rest = append(out, e), more
	}
	return out
}

// AppendString adds an element of type Bytes to its encoding. One of 4 GiB or more has none.
func AppendString(data []byte, element string) []byte {
	data = binary.LittleEndian.AppendUint32(data, uint32(len(element)))
	return append(data, element...)
}

// OfStrings makes a tensor [len(elements)] of type Bytes.
func OfStrings(name string, elements ...string) Tensor {
	t := Tensor{Name: name, DType: model.Bytes, Shape: []int64{int64(len(elements))}}
	for _, e := range elements {
		t.Data = AppendString(t.Data, e)
	}
	return t
}
