package tfbundle

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/model"
)

// types are the element types of types.proto that have a fixed size, and texts.
var types = map[int64]model.DType{
	1: model.F32, 2: model.F64, 3: model.I32, 4: model.U8, 5: model.I16, 6: model.I8, 7: model.Bytes, 9: model.I64, 10: model.Bool,
	14: model.BF16, 17: model.U16, 19: model.F16, 22: model.U32, 23: model.U64,
}

// DType is the element type with a number of TensorFlow's types.proto, also of a reference to one; "" where this project has none.
func DType(code int64) model.DType {
	const reference = 100
	if code > reference {
		code -= reference
	}
	return types[code]
}

// field is one field of a message: a number, or bytes.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	value int64
	body  []byte
}

// fields calls f for each field of a message, in order. Groups are refused.
func fields(what string, b []byte, f func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Invalid{what, "is no protobuf message"}
		}
		b = b[n:]
		x := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			x.value = int64(v)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			x.value = int64(v)
		case protowire.Fixed64Type:
			var v uint64
			v, n = protowire.ConsumeFixed64(b)
			x.value = int64(v)
		case protowire.BytesType:
			x.body, n = protowire.ConsumeBytes(b)
		default:
			n = -1
		}
		if n < 0 {
			return Invalid{what, "is no protobuf message"}
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// header is BundleHeaderProto.
type header struct {
	shards    int64
	bigEndian bool
}

func readHeader(what string, b []byte) (h header, err error) {
	err = fields(what, b, func(f field) error {
		switch {
		case f.num == 1 && f.typ == protowire.VarintType:
			h.shards = f.value
		case f.num == 2 && f.typ == protowire.VarintType:
			h.bigEndian = f.value != 0
		}
		return nil
	})
	return h, err
}

// entry is BundleEntryProto.
type entry struct {
	dtype, shard, offset, size int64
	shape                      []int64
	crc                        uint32
	sliced                     bool
}

func readEntry(what string, b []byte) (e entry, err error) {
	e.shape = []int64{}
	err = fields(what, b, func(f field) error {
		switch {
		case f.num == 1 && f.typ == protowire.VarintType:
			e.dtype = f.value
		case f.num == 2 && f.typ == protowire.BytesType:
			return readShape(what, f.body, &e.shape)
		case f.num == 3 && f.typ == protowire.VarintType:
			e.shard = f.value
		case f.num == 4 && f.typ == protowire.VarintType:
			e.offset = f.value
		case f.num == 5 && f.typ == protowire.VarintType:
			e.size = f.value
		case f.num == 6 && f.typ == protowire.Fixed32Type:
			e.crc = uint32(f.value)
		case f.num == 7 && f.typ == protowire.BytesType:
			e.sliced = true
		}
		return nil
	})
	return e, err
}

// readShape reads TensorShapeProto.
func readShape(what string, b []byte, to *[]int64) error {
	return fields(what, b, func(f field) error {
		if f.num == 3 && f.value != 0 {
			return Invalid{what, "has a shape of unknown rank"}
		}
		if f.num != 2 || f.typ != protowire.BytesType {
			return nil
		}
		if len(*to) >= model.MaxRank {
			return Invalid{what, fmt.Sprintf("has more than %d dimensions", model.MaxRank)}
		}
		size := int64(0)
		err := fields(what, f.body, func(f field) error {
			if f.num == 1 && f.typ == protowire.VarintType {
				size = f.value
			}
			return nil
		})
		*to = append(*to, size)
		return err
	})
}

// readObjects calls found for each attribute of each node of a TrackableObjectGraph.
func readObjects(what string, b []byte, found func(full, key string)) error {
	return fields(what, b, func(node field) error {
		if node.num != 1 || node.typ != protowire.BytesType {
			return nil
		}
		return fields(what, node.body, func(attr field) error {
			if attr.num != 2 || attr.typ != protowire.BytesType {
				return nil
			}
			var full, key string
			err := fields(what, attr.body, func(f field) error {
				switch {
				case f.num == 2 && f.typ == protowire.BytesType:
					full = string(f.body)
				case f.num == 3 && f.typ == protowire.BytesType:
					key = string(f.body)
				}
				return nil
			})
			found(full, key)
			return err
		})
	})
}
