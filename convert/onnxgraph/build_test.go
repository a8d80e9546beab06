package onnxgraph

import (
	"bytes"
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/blob"
)

// pb is a protobuf message under construction, for files that no exporter writes.
type pb []byte

func (m pb) varint(n protowire.Number, v uint64) pb {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m pb) bytes(n protowire.Number, b []byte) pb {
	return protowire.AppendBytes(protowire.AppendTag(m, n, protowire.BytesType), b)
}

func (m pb) text(n protowire.Number, s string) pb { return m.bytes(n, []byte(s)) }

// lie is a field that says it has n bytes.
func (m pb) lie(n protowire.Number, size uint64) pb {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.BytesType), size)
}

// file is a ModelProto of a graph, opset 17.
func file(graph pb) pb {
	return pb{}.varint(1, 8).bytes(7, graph).bytes(8, pb{}.text(1, "").varint(2, 17))
}

// port is a ValueInfoProto of floats; a dimension below 0 is free.
func port(name string, elem uint64, dims ...int64) pb {
	shape := pb{}
	for _, d := range dims {
		dim := pb{}.text(2, "n")
		if d >= 0 {
			dim = pb{}.varint(1, uint64(d))
		}
		shape = shape.bytes(1, dim)
	}
	return pb{}.text(1, name).bytes(2, pb{}.bytes(1, pb{}.varint(1, elem).bytes(2, shape)))
}

// node is a NodeProto; attrs are AttributeProtos.
func node(op string, in, out []string, attrs ...pb) pb {
	n := pb{}
	for _, s := range in {
		n = n.text(1, s)
	}
	for _, s := range out {
		n = n.text(2, s)
	}
	n = n.text(3, op+"_1").text(4, op)
	for _, a := range attrs {
		n = n.bytes(5, a)
	}
	return n
}

// tensorOf is a TensorProto with raw data.
func tensorOf(name string, elem uint64, dims []int64, raw []byte) pb {
	t := pb{}
	for _, d := range dims {
		t = t.varint(1, uint64(d))
	}
	return t.varint(2, elem).text(8, name).bytes(9, raw)
}

// external is a TensorProto with external data.
func external(name string, dims []int64, keys ...string) pb {
	t := pb{}
	for _, d := range dims {
		t = t.varint(1, uint64(d))
	}
	t = t.varint(2, 1).text(8, name)
	for i := 0; i+1 < len(keys); i += 2 {
		t = t.bytes(13, pb{}.text(1, keys[i]).text(2, keys[i+1]))
	}
	return t.varint(14, 1)
}

// graph is x [n, 4] → y [n, 4] by the nodes and initializers given as fields of GraphProto.
func graph(fields ...func(pb) pb) pb {
	g := pb{}.text(2, "g").bytes(11, port("x", 1, -1, 4)).bytes(12, port("y", 1, -1, 4))
	for _, f := range fields {
		g = f(g)
	}
	return g
}

func withNode(n pb) func(pb) pb { return func(g pb) pb { return g.bytes(1, n) } }
func withInit(t pb) func(pb) pb { return func(g pb) pb { return g.bytes(5, t) } }

func source(b []byte) Source {
	return Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}
}

func float32s(v ...float32) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func int64s(v ...int64) []byte {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return b
}

// none is a folder without a second file.
func none(string) (Source, bool) { return Source{}, false }
