// Package onnx writes ONNX models: the bytes of a ModelProto, node by node.
//
// Only writing is needed, so the wire format is written directly (field numbers of onnx.proto, IR version 10); no generated code.
// The package does no I/O. Errors of use (a name defined twice) are reported once, by Bytes.
package onnx

import (
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Type is an element type, TensorProto.DataType of onnx.proto.
type Type int32

// Element types that graphs of this project use.
const (
	Float    Type = 1
	Int32    Type = 6
	Int64    Type = 7
	Float16  Type = 10
	BFloat16 Type = 16
)

// Microsoft is the domain of ONNX Runtime's own operators; the standard domain is "".
const Microsoft = "com.microsoft"

const (
	irVersion        = 10
	microsoftVersion = 1
)

// Dim is a dimension of an input or output: a number, or a name where it varies from run to run. A negative number without a name is
// any length.
type Dim struct {
	Name string
	Size int64
}

// Fixed is a dimension of n elements.
func Fixed(n int) Dim { return Dim{Size: int64(n)} }

// Free is a dimension that varies; dimensions of one name are equal.
func Free(name string) Dim { return Dim{Name: name} }

// Op names an operator.
type Op struct{ Domain, Name string }

// Attr is an attribute of a node.
type Attr struct {
	name string
	body message // the fields of AttributeProto behind the name
}

// Int is an integer attribute.
func Int(name string, v int) Attr { return Whole(name, int64(v)) }

// Whole is an integer attribute of 64 bits.
func Whole(name string, v int64) Attr {
	var b message
	b.varint(3, v)
	b.varint(20, 2)
	return Attr{name, b}
}

// Real is a float attribute.
func Real(name string, v float64) Attr {
	var b message
	b = protowire.AppendTag(b, 2, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, math.Float32bits(float32(v)))
	b.varint(20, 1)
	return Attr{name, b}
}

// Text is a string attribute.
func Text(name, v string) Attr {
	var b message
	b.bytes(4, []byte(v))
	b.varint(20, 3)
	return Attr{name, b}
}

// Wholes is an attribute of integers.
func Wholes(name string, v []int64) Attr {
	var b message
	for _, x := range v {
		b.varint(8, x)
	}
	b.varint(20, 7)
	return Attr{name, b}
}

// Reals is an attribute of floats.
func Reals(name string, v []float32) Attr {
	var b message
	for _, x := range v {
		b = protowire.AppendTag(b, 7, protowire.Fixed32Type)
		b = protowire.AppendFixed32(b, math.Float32bits(x))
	}
	b.varint(20, 6)
	return Attr{name, b}
}

// Texts is an attribute of strings.
func Texts(name string, v []string) Attr {
	var b message
	for _, x := range v {
		b.bytes(9, []byte(x))
	}
	b.varint(20, 8)
	return Attr{name, b}
}

// Value is an attribute that is a tensor; its bytes are little-endian and row major.
func Value(name string, t Type, dims []int64, raw []byte) Attr {
	m := tensorOf(t, dims)
	m.bytes(9, raw)
	var b message
	b.bytes(5, m)
	b.varint(20, 4)
	return Attr{name, b}
}

// Graph is a graph under construction. The zero value is not ready: use New.
type Graph struct {
	name                                 string
	opset                                int64
	nodes, initializers, inputs, outputs message
	count                                int
	defined                              map[string]bool
	err                                  error
}

// New starts a graph of the given standard opset.
func New(name string, opset int) *Graph {
	return &Graph{name: name, opset: int64(opset), defined: map[string]bool{}}
}

// Nodes is the number of nodes so far.
func (g *Graph) Nodes() int { return g.count }

// Has says whether a value of this name exists.
func (g *Graph) Has(name string) bool { return g.defined[name] }

// define records the name of a value: each value has one origin.
func (g *Graph) define(name string) {
	if g.defined[name] && g.err == nil {
		g.err = fmt.Errorf("onnx: graph %s: value %q is defined twice", g.name, name)
	}
	g.defined[name] = true
}

// Op appends a node whose only output gets a fresh name, and returns the name. An empty input is an omitted optional one.
func (g *Graph) Op(op Op, in []string, attrs ...Attr) string {
	out := op.Name + "." + strconv.Itoa(g.count)
	g.Node(op, in, []string{out}, attrs...)
	return out
}

// Node appends a node with named outputs.
func (g *Graph) Node(op Op, in, out []string, attrs ...Attr) {
	var n message
	for _, s := range in {
		if s != "" && !g.defined[s] && g.err == nil {
			g.err = fmt.Errorf("onnx: graph %s: %s reads %q, which is not defined before it", g.name, op.Name, s)
		}
		n.bytes(1, []byte(s))
	}
	for _, s := range out {
		if s != "" {
			g.define(s)
		}
		n.bytes(2, []byte(s))
	}
	n.bytes(3, []byte(op.Name+"."+strconv.Itoa(g.count)))
	n.bytes(4, []byte(op.Name))
	for _, a := range attrs {
		var m message
		m.bytes(1, []byte(a.name))
		n.bytes(5, append(m, a.body...))
	}
	if op.Domain != "" {
		n.bytes(7, []byte(op.Domain))
	}
	g.nodes.bytes(1, n)
	g.count++
}

// tensor starts a TensorProto.
func (g *Graph) tensor(name string, t Type, dims []int64) message {
	g.define(name)
	m := tensorOf(t, dims)
	m.bytes(8, []byte(name))
	return m
}

func tensorOf(t Type, dims []int64) message {
	var m message
	for _, d := range dims {
		m.varint(1, d)
	}
	m.varint(2, int64(t))
	return m
}

// Declare says that an initializer of this name is attached when the model is loaded (Attach).
func (g *Graph) Declare(name string) { g.define(name) }

// Inline adds an initializer whose bytes (little endian, row major) are inside the model.
func (g *Graph) Inline(name string, t Type, dims []int64, raw []byte) string {
	m := g.tensor(name, t, dims)
	m.bytes(9, raw)
	g.initializers.bytes(5, m)
	return name
}

// Range is a range of bytes of a file beside the model.
type Range struct {
	File           string // name inside the folder that the runtime is given
	Offset, Length int64  // bytes
}

// External adds an initializer whose bytes are a range of a file (TensorProto.external_data).
func (g *Graph) External(name string, t Type, dims []int64, at Range) string {
	m := g.tensor(name, t, dims)
	m.external(at)
	g.initializers.bytes(5, m)
	return name
}

// external writes where a tensor's bytes are.
func (m *message) external(at Range) {
	for _, kv := range [][2]string{
		{"location", at.File},
		{"offset", strconv.FormatInt(at.Offset, 10)},
		{"length", strconv.FormatInt(at.Length, 10)},
	} {
		var e message
		e.bytes(1, []byte(kv[0]))
		e.bytes(2, []byte(kv[1]))
		m.bytes(13, e)
	}
	m.varint(14, 1) // data_location = EXTERNAL
}

// Weight is an initializer whose bytes are a range of a file.
type Weight struct {
	Name string
	Type Type
	Dims []int64
	At   Range
}

// Attach adds initializers to the bytes of a model: protobuf merges the graph that is appended with the one before it (Protocol Buffers
// encoding, "Last One Wins"), so nothing of the model is read.
func Attach(model []byte, weights []Weight) []byte {
	var graph message
	for _, w := range weights {
		m := tensorOf(w.Type, w.Dims)
		m.bytes(8, []byte(w.Name))
		m.external(w.At)
		graph.bytes(5, m)
	}
	out := message(append([]byte(nil), model...))
	out.bytes(7, graph)
	return out
}

// Input declares a graph input.
func (g *Graph) Input(name string, t Type, dims ...Dim) string {
	g.define(name)
	g.inputs.bytes(11, value(name, t, dims))
	return name
}

// Output declares that a value of the graph is an output.
func (g *Graph) Output(name string, t Type, dims ...Dim) {
	if !g.defined[name] && g.err == nil {
		g.err = fmt.Errorf("onnx: graph %s: output %q is not defined", g.name, name)
	}
	g.outputs.bytes(12, value(name, t, dims))
}

// value is a ValueInfoProto.
func value(name string, t Type, dims []Dim) message {
	var shape, tensor, typ, v message
	for _, d := range dims {
		var m message
		switch {
		case d.Name != "":
			m.bytes(2, []byte(d.Name))
		case d.Size >= 0:
			m.varint(1, d.Size)
		}
		shape.bytes(1, m)
	}
	tensor.varint(1, int64(t))
	tensor.bytes(2, shape)
	typ.bytes(1, tensor)
	v.bytes(1, []byte(name))
	v.bytes(2, typ)
	return v
}

// Bytes is the finished ModelProto, or the first error of use.
func (g *Graph) Bytes() ([]byte, error) {
	if g.err != nil {
		return nil, g.err
	}
	var graph, m message
	graph = append(graph, g.nodes...)
	graph.bytes(2, []byte(g.name))
	graph = append(graph, g.initializers...)
	graph = append(graph, g.inputs...)
	graph = append(graph, g.outputs...)
	m.varint(1, irVersion)
	m.bytes(2, []byte("skein"))
	m.bytes(7, graph)
	for _, s := range []struct {
		domain  string
		version int64
	}{{"", g.opset}, {Microsoft, microsoftVersion}} {
		var o message
		o.bytes(1, []byte(s.domain))
		o.varint(2, s.version)
		m.bytes(8, o)
	}
	return m, nil
}

// message is a protobuf message under construction.
type message []byte

func (m *message) varint(field protowire.Number, v int64) {
	*m = protowire.AppendTag(*m, field, protowire.VarintType)
	*m = protowire.AppendVarint(*m, uint64(v))
}

func (m *message) bytes(field protowire.Number, b []byte) {
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendBytes(*m, b)
}
