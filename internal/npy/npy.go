// Package npy reads and writes arrays in the format of NumPy's .npy files (NumPy Enhancement Proposal 1, versions 1 to 3).
package npy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

const (
	magic     = "\x93NUMPY"
	maxHeader = 64 << 10 // bytes
	align     = 64       // bytes: where the elements begin
)

// Invalid says why bytes are no array that is read here.
type Invalid struct{ Why string }

// Error implements error.
func (e Invalid) Error() string { return "npy: " + e.Why }

func invalid(format string, args ...any) error { return Invalid{fmt.Sprintf(format, args...)} }

// kinds maps element types to NumPy's, without the order of bytes.
var kinds = map[model.DType]string{
	model.F64: "f8", model.F32: "f4", model.F16: "f2", model.I64: "i8", model.I32: "i4", model.I16: "i2", model.I8: "i1",
	model.U64: "u8", model.U32: "u4", model.U16: "u2", model.U8: "u1", model.Bool: "b1",
}

// Read takes an array out of a file's bytes and gives it a name. Arrays in Fortran's order, of objects and of texts are refused. Errors are of
// type Invalid.
func Read(name string, b []byte) (tensor.Tensor, error) {
	t := tensor.Tensor{Name: name}
	header, data, err := cut(b)
	if err != nil {
		return t, err
	}
	h, err := parse(header)
	if err != nil {
		return t, err
	}
	if h.fortran && len(h.shape) > 1 {
		return t, invalid("the array is in Fortran's order: save numpy.ascontiguousarray of it")
	}
	order, kind := "|", h.descr
	if len(kind) > 0 && strings.Contains("<>|=", kind[:1]) {
		order, kind = kind[:1], kind[1:]
	}
	for d, k := range kinds {
		if k == kind {
			t.DType = d
		}
	}
	size := int(t.DType.Size())
	if size == 0 || order == "=" || order == "|" && size > 1 {
		return t, invalid("elements of type %.20q are not read: want numbers or truth values", h.descr)
	}
	t.Shape = h.shape
	if n := t.Elements(); n < 0 || n > int64(len(data))/int64(size) || int(n)*size != len(data) {
		return t, invalid("%d bytes do not hold an array of %v of %s", len(data), t.Shape, t.DType)
	}
	t.Data = slices.Clone(data)
	if order == ">" {
		for at := 0; at < len(t.Data); at += size {
			slices.Reverse(t.Data[at : at+size])
		}
	}
	if err := t.Check(); err != nil {
		return t, invalid("%s", err.Error())
	}
	return t, nil
}

// cut finds the header and the elements.
func cut(b []byte) (header string, data []byte, err error) {
	const fixed = len(magic) + 2 // and the version
	if len(b) < fixed+2 || string(b[:len(magic)]) != magic {
		return "", nil, invalid("the bytes do not begin as a file of NumPy does")
	}
	var n int
	from := fixed + 2
	switch version := b[len(magic)]; {
	case version == 1:
		n = int(binary.LittleEndian.Uint16(b[fixed:]))
	case (version == 2 || version == 3) && len(b) >= fixed+4:
		n, from = int(binary.LittleEndian.Uint32(b[fixed:])), fixed+4
	default:
		return "", nil, invalid("version %d is not known, or cut off", version)
	}
	if n < 0 || n > maxHeader || n > len(b)-from {
		return "", nil, invalid("a header of %d bytes in a file of %d", n, len(b))
	}
	return string(b[from : from+n]), b[from+n:], nil
}

// Append appends the file of an array in version 1 of the format. Errors are of type Invalid: BF16 and texts have no form in it.
func Append(to []byte, t tensor.Tensor) ([]byte, error) {
	kind, ok := kinds[t.DType]
	if !ok {
		return to, invalid("%.20q is no type of NumPy's", t.DType)
	}
	order := "<"
	if t.DType.Size() == 1 {
		order = "|"
	}
	var dims []string
	for _, d := range t.Shape {
		dims = append(dims, strconv.FormatInt(d, 10))
	}
	shape := strings.Join(dims, ", ")
	if len(dims) == 1 {
		shape += ","
	}
	header := fmt.Sprintf("{'descr': '%s%s', 'fortran_order': False, 'shape': (%s), }", order, kind, shape)
	const fixed = len(magic) + 4
	pad := align - (fixed+len(header)+1)%align
	if pad == align {
		pad = 0
	}
	header += strings.Repeat(" ", pad) + "\n"
	to = append(append(to, magic...), 1, 0)
	to = binary.LittleEndian.AppendUint16(to, uint16(len(header)))
	return append(append(to, header...), t.Data...), nil
}
