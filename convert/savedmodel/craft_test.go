package savedmodel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// proto is a message under construction.
type proto []byte

func (p proto) num(field protowire.Number, v uint64) proto {
	return protowire.AppendVarint(protowire.AppendTag(p, field, protowire.VarintType), v)
}

func (p proto) msg(field protowire.Number, b []byte) proto {
	return protowire.AppendBytes(protowire.AppendTag(p, field, protowire.BytesType), b)
}

func (p proto) text(field protowire.Number, s string) proto { return p.msg(field, []byte(s)) }

// with adds an attribute to a node, or in any message that has attributes in field 5.
func (p proto) with(name string, value proto) proto {
	return p.msg(5, proto(nil).text(1, name).msg(2, value))
}

func nodeDef(name, op string, inputs ...string) proto {
	n := proto(nil).text(1, name).text(2, op)
	for _, in := range inputs {
		n = n.text(3, in)
	}
	return n
}

func shapeOf(dims ...int64) proto {
	p := proto{}
	for _, d := range dims {
		p = p.msg(2, proto(nil).num(1, uint64(d)))
	}
	return p
}

// float is the attribute of a type F32.
var floatType = proto(nil).num(6, 1)

func placeholder(name string) proto { return nodeDef(name, "Placeholder").with("dtype", floatType) }

func callOf(name, function string, inputs ...string) proto {
	return nodeDef(name, "PartitionedCall", inputs...).with("f", proto(nil).msg(10, proto(nil).text(1, function)))
}

// constant is a Const of F32 numbers.
func constantOf(name string, dims []int64, content []float32) proto {
	t := proto(nil).num(1, 1).msg(2, shapeOf(dims...))
	raw := []byte{}
	for _, x := range content {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return nodeDef(name, "Const").with("dtype", floatType).with("value", proto(nil).msg(8, t.msg(4, raw)))
}

// textConst is a Const of one text.
func textConst(name, content string) proto {
	t := proto(nil).num(1, 7).msg(2, shapeOf(1)).text(8, content)
	return nodeDef(name, "Const").with("dtype", proto(nil).num(6, 7)).with("value", proto(nil).msg(8, t))
}

// functionDef is a function of one argument x and one output y, which is the given tensor of its body.
func functionDef(name, returned string, nodes ...proto) proto {
	arg := func(s string) proto { return proto(nil).text(1, s).num(3, 1) }
	f := proto(nil).msg(1, proto(nil).text(1, name).msg(2, arg("x")).msg(3, arg("y")))
	for _, n := range nodes {
		f = f.msg(3, n)
	}
	return f.msg(4, proto(nil).text(1, "y").text(2, returned))
}

// crafted is a SavedModel: x of F32 [free] goes in, a tensor comes out as y.
type crafted struct {
	nodes     []proto
	functions []proto
	output    string
	assets    []string
	restore   string
	inner     int64 // 0, or another dimension of x and y
}

func (c crafted) bytes() []byte {
	graph := proto{}
	for _, n := range append([]proto{placeholder("x")}, c.nodes...) {
		graph = graph.msg(1, n)
	}
	library := proto{}
	for _, f := range c.functions {
		library = library.msg(1, f)
	}
	if len(library) > 0 {
		graph = graph.msg(2, library)
	}
	port := func(tensor string) proto {
		shape := shapeOf(-1)
		if c.inner > 0 {
			shape = shapeOf(-1, c.inner)
		}
		return proto(nil).text(1, tensor).num(2, 1).msg(3, shape)
	}
	entry := func(key string, value proto) proto { return proto(nil).text(1, key).msg(2, value) }
	sig := proto(nil).msg(1, entry("x", port("x:0"))).msg(2, entry("y", port(c.output)))
	meta := proto(nil).msg(1, proto(nil).text(4, "serve")).msg(2, graph)
	if c.restore != "" {
		meta = meta.msg(3, proto(nil).text(3, c.restore))
	}
	meta = meta.msg(5, entry("serving_default", sig))
	for _, a := range c.assets {
		meta = meta.msg(6, proto(nil).text(2, a))
	}
	return proto(nil).num(1, 1).msg(2, meta)
}

func (c crafted) files() map[string][]byte { return map[string][]byte{File: c.bytes()} }

// variable is an entry of a crafted bundle.
type variableEntry struct {
	dims         []int64
	offset, size int64
	crc          uint32
	more         proto
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func masked(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// bundleIndex writes the index of a bundle of F32 tensors, as one block without compression.
func bundleIndex(shards uint64, entries map[string]variableEntry) []byte {
	values := map[string][]byte{"": proto(nil).num(1, shards)}
	for name, e := range entries {
		p := proto(nil).num(1, 1).msg(2, shapeOf(e.dims...)).num(4, uint64(e.offset)).num(5, uint64(e.size))
		values[name] = append(protowire.AppendFixed32(protowire.AppendTag(p, 6, protowire.Fixed32Type), e.crc), e.more...)
	}
	var out bytes.Buffer
	write := func(keys []string, value func(string) []byte) (handle []byte) {
		var b []byte
		for _, k := range keys {
			b = binary.AppendUvarint(b, 0)
			b = binary.AppendUvarint(b, uint64(len(k)))
			b = binary.AppendUvarint(b, uint64(len(value(k))))
			b = append(append(b, k...), value(k)...)
		}
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, 1)
		handle = binary.AppendUvarint(binary.AppendUvarint(nil, uint64(out.Len())), uint64(len(b)))
		b = append(b, 0)
		out.Write(binary.LittleEndian.AppendUint32(b, masked(b)))
		return handle
	}
	keys := slices.Sorted(maps.Keys(values))
	data := write(keys, func(k string) []byte { return values[k] })
	index := write([]string{"~"}, func(string) []byte { return data })
	footer := append(binary.AppendUvarint(binary.AppendUvarint(nil, 0), 0), index...)
	footer = append(footer, make([]byte, 40-len(footer))...)
	out.Write(binary.LittleEndian.AppendUint64(footer, 0xdb4775248b80fb57))
	return out.Bytes()
}

// summing adds n variables w0 … of F32 [2] to x.
func summing(n int) crafted {
	c := crafted{output: fmt.Sprintf("add%d:0", n-1)}
	last := "x"
	for i := range n {
		w := fmt.Sprintf("w%d", i)
		c.nodes = append(c.nodes, nodeDef(w, "VarHandleOp").with("dtype", floatType).with("shape", proto(nil).msg(7, shapeOf(2))).with("shared_name", proto(nil).text(2, w)),
			nodeDef("read"+w, "ReadVariableOp", w), nodeDef(fmt.Sprintf("add%d", i), "AddV2", last, "read"+w))
		last = fmt.Sprintf("add%d", i)
	}
	return c
}

// repeated is a text of n letters.
func repeated(n int) string { return strings.Repeat("a", n) }
