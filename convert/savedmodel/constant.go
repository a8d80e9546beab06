package savedmodel

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/tfbundle"
	"github.com/skein-project/skein/model"
)

// constant is TensorProto: bytes that were read, or a range of the file.
type constant struct {
	dtype model.DType
	shape []int64
	raw   []byte // little-endian elements; nil: ref, or texts
	same  bool   // raw is one element, which all elements are
	ref   blob.Ref
	texts []string
}

// lists are the fields of TensorProto in which elements of a type are.
var lists = map[model.DType]protowire.Number{
	model.F32: 5, model.F64: 6, model.I32: 7, model.I16: 7, model.I8: 7, model.U8: 7, model.U16: 7, model.I64: 10, model.Bool: 11,
	model.F16: 13, model.BF16: 13, model.U32: 16, model.U64: 17,
}

// readConst reads the tensor of a Const.
func readConst(f *flat) (constant, error) {
	a := f.def.attrs["value"]
	if f.def.op != "Const" || a.tensor.s == nil {
		return constant{}, Refused{What: f.what(), Why: "is no constant"}
	}
	c, err := readTensor(f.what(), a.tensor)
	if err == nil && a.tensor.s.wrong != nil {
		err = a.tensor.s.wrong
	}
	return c, err
}

// readTensor reads TensorProto. Elements are in tensor_content, or in the list of the type; then the last one stands for all that follow.
func readTensor(what string, m message) (constant, error) {
	var c constant
	var values []uint64
	var from protowire.Number // field of values
	content := message{}
	size := int64(0)
	sh := shape{known: true}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			c.dtype = tfbundle.DType(f.number())
			size = c.dtype.Size()
		case 2:
			sh = readShape(f.sub())
		case 4:
			content = f.sub()
		case 8:
			c.texts = append(c.texts, string(subBytes(&f, maxUnpacked)))
		case 5, 6, 7, 10, 11, 13, 16, 17:
			if from != 0 && from != f.num {
				m.s.fail(what, "has elements in two lists")
			}
			if from = f.num; f.typ == protowire.BytesType {
				values = unpack(values, f.num, f.body)
			} else {
				values = append(values, f.value)
			}
			if len(values) > maxUnpacked {
				m.s.fail(what, "has more than %d elements in a list", maxUnpacked)
			}
		}
	}
	if m.s.wrong != nil {
		return c, m.s.wrong
	}
	n := model.Elements(sh.dims)
	if !sh.known || n < 0 || c.dtype == "" {
		return c, Refused{What: what, Why: fmt.Sprintf("a constant of shape %.80s has a type or shape that is not known", fmt.Sprint(sh.dims))}
	}
	c.shape = sh.dims
	if c.shape == nil {
		c.shape = []int64{}
	}
	switch {
	case c.dtype == model.Bytes:
		if int64(len(c.texts)) != n && (len(c.texts) != 1 || n > maxList) {
			return c, Refused{What: what, Why: fmt.Sprintf("%d texts do not fill shape %.80s", len(c.texts), fmt.Sprint(c.shape))}
		}
		for int64(len(c.texts)) < n {
			c.texts = append(c.texts, c.texts[0])
		}
		return c, nil
	case content.len() > 0:
		if n > blob.MaxSize/size || content.len() != n*size {
			return c, Refused{What: what, Why: fmt.Sprintf("%d bytes do not hold %.80s of %s", content.len(), fmt.Sprint(c.shape), c.dtype)}
		}
		if content.len() < maxInline {
			c.raw = content.bytes(what, maxInline)
			return c, m.s.wrong
		}
		c.ref = blob.Ref{Digest: m.s.src.Digest, Off: content.pos, Len: content.len()}
		return c, nil
	case int64(len(values)) > n || from != 0 && from != lists[c.dtype]:
		return c, Refused{What: what, Why: fmt.Sprintf("%d elements in list %d do not fill shape %.80s of %s", len(values), from, fmt.Sprint(c.shape), c.dtype)}
	case len(values) <= 1 && n > (maxInline-1)/size:
		c.raw, c.same = fill(c.dtype, values, 1), true
		return c, nil
	case n > maxUnpacked/size:
		return c, Refused{What: what, Why: fmt.Sprintf("shape %.80s is too large for elements in a list", fmt.Sprint(c.shape))}
	}
	if m.s.kept += n * size; m.s.kept > maxKept {
		m.s.fail(what, "names, texts and small tensors have more than %d bytes", maxKept)
		return c, m.s.wrong
	}
	c.raw = fill(c.dtype, values, int(n))
	return c, nil
}

// unpack appends the elements of a packed list.
func unpack(to []uint64, num protowire.Number, m message) []uint64 {
	for m.s.wrong == nil && m.pos < m.end && len(to) <= maxUnpacked {
		switch num {
		case 5: // float_val
			if b := m.fixed(4); b != nil {
				to = append(to, uint64(binary.LittleEndian.Uint32(b)))
			}
		case 6: // double_val
			if b := m.fixed(8); b != nil {
				to = append(to, binary.LittleEndian.Uint64(b))
			}
		default:
			to = append(to, m.varint())
		}
	}
	return to
}

// fill writes n elements, of which the last that is given stands for those that are not, and zero where none is.
func fill(t model.DType, values []uint64, n int) []byte {
	size := int(t.Size())
	out := make([]byte, 0, n*size)
	var last uint64
	for i := range n {
		if i < len(values) {
			last = values[i]
		}
		switch size {
		case 1:
			out = append(out, byte(last))
		case 2:
			out = binary.LittleEndian.AppendUint16(out, uint16(last))
		case 4:
			out = binary.LittleEndian.AppendUint32(out, uint32(last))
		case 8:
			out = binary.LittleEndian.AppendUint64(out, last)
		}
	}
	return out
}

// whole gives the elements of a small constant of whole numbers or booleans.
func (c *constant) whole() ([]int64, bool) {
	size := c.dtype.Size()
	if c.raw == nil || c.same || size == 0 || int64(len(c.raw)) > maxFollowed*size {
		return nil, false
	}
	out := []int64{}
	for b := c.raw; len(b) > 0; b = b[size:] {
		switch c.dtype {
		case model.I64, model.U64:
			out = append(out, int64(binary.LittleEndian.Uint64(b)))
		case model.I32:
			out = append(out, int64(int32(binary.LittleEndian.Uint32(b))))
		case model.U32:
			out = append(out, int64(binary.LittleEndian.Uint32(b)))
		case model.I16:
			out = append(out, int64(int16(binary.LittleEndian.Uint16(b))))
		case model.U16:
			out = append(out, int64(binary.LittleEndian.Uint16(b)))
		case model.I8:
			out = append(out, int64(int8(b[0])))
		case model.U8, model.Bool:
			out = append(out, int64(b[0]))
		default:
			return nil, false
		}
	}
	return out, true
}
