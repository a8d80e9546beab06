package onnxgraph

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// maxAttrs bounds the attributes of a file.
const maxAttrs = 1 << 18

// Folder finds the files beside a model, by their names relative to it.
type Folder func(name string) (Source, bool)

// reader is a file on its way to a graph.
type reader struct {
	scanner
	beside   Folder
	g        *Graph
	graphs   int
	attrs    int
	unpacked int64 // bytes of initializers that had to be decoded
}

// Read reads the ModelProto of an .onnx file. Weights are ranges of its blob, or of those of the files beside it that its external data
// names. The graph is checked (Check). Errors are of type Refused, or those of reading.
func Read(src Source, beside Folder) (*Graph, error) {
	if src.Size > MaxFile {
		return nil, Refused{"file", fmt.Sprintf("%d bytes are more than %d", src.Size, MaxFile)}
	}
	r := &reader{scanner: scanner{src: src}, beside: beside, g: &Graph{}}
	r.model(message{&r.scanner, 0, src.Size})
	if r.wrong == nil && r.graphs != 1 {
		r.fail("file", "holds %d graphs, want one: is it an ONNX model?", r.graphs)
	}
	if r.wrong != nil {
		return nil, r.wrong
	}
	r.settle()
	return r.g, Check(r.g)
}

// settle takes defaults of inputs, which older files list among the inputs, for constants.
func (r *reader) settle() {
	names := map[string]bool{}
	for _, t := range r.g.Initializers {
		names[t.Name] = true
	}
	r.g.Inputs = slices.DeleteFunc(r.g.Inputs, func(p model.Port) bool { return names[p.Name] })
}

func (r *reader) model(m message) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1, 2, 3, 4, 5, 6, 14, 26: // versions, producer, texts, devices
		case 7:
			if r.graphs++; r.graphs == 1 {
				r.graph(f.message())
			}
		case 8:
			r.opset(f.message())
		case 20:
			r.fail("training_info", "training is not supported: export the model for inference")
		case 25:
			r.fail("functions", "functions of the model's own are not supported: inline them (onnx.inliner.inline_local_functions)")
		default:
			f.unknown()
		}
	}
}

func (r *reader) opset(m message) {
	var domain string
	var version int64
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			domain = standardDomain(f.string("opset_import", MaxName))
		case 2:
			version = f.number()
		default:
			f.unknown()
		}
	}
	if domain == "" {
		if r.g.Opset != 0 && r.g.Opset != version {
			r.fail("opset_import", "the standard operators are there in two versions")
		}
		r.g.Opset = version
	}
}

// standardDomain is "" for both names of the standard operators.
func standardDomain(s string) string {
	if s == "ai.onnx" {
		return ""
	}
	return s
}

func (r *reader) graph(m message) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			r.node(f.message())
		case 5:
			t := r.tensor(f.message(), "initializer")
			r.initializer(t)
		case 11:
			r.g.Inputs = append(r.g.Inputs, r.port(f.message(), "input"))
		case 12:
			r.g.Outputs = append(r.g.Outputs, r.port(f.message(), "output"))
		case 15:
			r.fail("sparse_initializer", "sparse tensors are not supported")
		case 2, 10, 13, 14, 16: // texts, types of inner values, annotations
		default:
			f.unknown()
		}
		if len(r.g.Inputs) > model.MaxTensors || len(r.g.Outputs) > model.MaxPorts {
			r.fail("graph", "has too many inputs or outputs")
		}
	}
}

func (r *reader) initializer(t Initializer) {
	if len(r.g.Initializers) >= MaxInitializers {
		r.fail("graph", "has more than %d initializers", MaxInitializers)
		return
	}
	r.g.Initializers = append(r.g.Initializers, t)
}

// port reads a ValueInfoProto.
func (r *reader) port(m message, kind string) model.Port {
	var p model.Port
	typed := false
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			p.Name = f.string(kind, MaxName)
		case 2:
			typed = true
			r.portType(f.message(), kind, &p)
		case 3, 4:
		default:
			f.unknown()
		}
	}
	if !typed {
		r.fail(fmt.Sprintf("%s %.80q", kind, p.Name), "has no type")
	}
	return p
}

// portType reads a TypeProto.
func (r *reader) portType(m message, kind string, p *model.Port) {
	what := fmt.Sprintf("%s %.80q", kind, p.Name)
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			r.tensorType(f.message(), what, p)
		case 4, 5, 7, 8, 9:
			r.fail(what, "is no tensor")
		case 6:
		default:
			f.unknown()
		}
	}
}

// tensorType reads a TypeProto.Tensor.
func (r *reader) tensorType(m message, what string, p *model.Port) {
	shaped := false
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			code := f.number()
			if p.DType = onnx.DType(code); p.DType == "" {
				r.fail(what, "element type %d is not supported", code)
			}
		case 2:
			shaped = true
			p.Shape = r.shape(f.message(), what)
		default:
			f.unknown()
		}
	}
	if !shaped {
		r.fail(what, "has no shape: add it with onnx.shape_inference.infer_shapes")
	}
}

// shape reads a TensorShapeProto.
func (r *reader) shape(m message, what string) []int64 {
	shape := []int64{}
	for f, ok := m.next(); ok; f, ok = m.next() {
		if f.num != 1 {
			f.unknown()
			continue
		}
		size := int64(model.Free)
		d := f.message()
		for g, ok := d.next(); ok; g, ok = d.next() {
			switch g.num {
			case 1:
				if size = g.number(); size < 0 {
					r.fail(what, "dimension %d is negative", size)
				}
			case 2, 3: // a name, what it means
			default:
				g.unknown()
			}
		}
		if shape = append(shape, size); len(shape) > model.MaxRank {
			r.fail(what, "has more than %d dimensions", model.MaxRank)
		}
	}
	return shape
}

// node reads a NodeProto. One that makes a constant becomes an initializer.
func (r *reader) node(m message) {
	n := Node{}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			n.Inputs = append(n.Inputs, f.string("node", MaxName))
		case 2:
			n.Outputs = append(n.Outputs, f.string("node", MaxName))
		case 3:
			n.Name = f.string("node", MaxText)
		case 4:
			n.Op = f.string("node", MaxName)
		case 5:
			n.Attrs = append(n.Attrs, r.attr(f.message(), &n))
		case 7:
			n.Domain = standardDomain(f.string("node", MaxName))
		case 6, 8, 9, 10: // text, overload of a function, metadata, devices
		default:
			f.unknown()
		}
		if len(n.Inputs) > MaxEdges || len(n.Outputs) > MaxEdges || len(n.Attrs) > MaxAttrs {
			r.fail(n.what(len(r.g.Nodes)), "has too many inputs, outputs or attributes")
		}
	}
	if len(r.g.Nodes) >= MaxNodes {
		r.fail("graph", "has more than %d nodes", MaxNodes)
	}
	if r.wrong != nil {
		return
	}
	if n.Op == "Constant" && n.Domain == "" {
		r.constant(&n)
		return
	}
	for _, a := range n.Attrs {
		if a.Kind == Tensor && a.Tensor.Raw == nil {
			r.fail(n.what(len(r.g.Nodes)), "attribute %.60q is a tensor of more than %d bytes", a.Name, MaxInline)
		}
	}
	r.g.Nodes = append(r.g.Nodes, n)
}

// constant makes an initializer of a Constant.
func (r *reader) constant(n *Node) {
	what := n.what(len(r.g.Nodes))
	if len(n.Attrs) != 1 || len(n.Outputs) != 1 || len(n.Inputs) != 0 {
		r.fail(what, "a Constant has one attribute and one output")
		return
	}
	a := n.Attrs[0]
	var t Initializer
	switch {
	case a.Name == "value" && a.Kind == Tensor:
		t = *a.Tensor
	case a.Name == "value_int" && a.Kind == Int:
		t = Wholes("", nil, a.Int)
	case a.Name == "value_ints" && a.Kind == Ints:
		t = Wholes("", []int64{int64(len(a.Ints))}, a.Ints...)
	case a.Name == "value_float" && a.Kind == Float:
		t = Reals("", nil, a.Float)
	case a.Name == "value_floats" && a.Kind == Floats:
		t = Reals("", []int64{int64(len(a.Floats))}, a.Floats...)
	default:
		r.fail(what, "constants of %.60q are not supported", a.Name)
		return
	}
	t.Name = n.Outputs[0]
	r.initializer(t)
}

// attr reads an AttributeProto.
func (r *reader) attr(m message, n *Node) Attr {
	var a Attr
	if r.attrs++; r.attrs > maxAttrs {
		r.fail("graph", "has more than %d attributes", maxAttrs)
	}
	what := n.what(len(r.g.Nodes))
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			a.Name = f.string(what, MaxName)
		case 2:
			if f.is(protowire.Fixed32Type) {
				a.Float, a.Kind = math.Float32frombits(uint32(f.value)), kind(a.Kind, Float)
			}
		case 3:
			a.Int, a.Kind = f.number(), kind(a.Kind, Int)
		case 4:
			a.Text, a.Kind = f.string(what, MaxText), kind(a.Kind, Text)
		case 5:
			t := r.tensor(f.message(), "attribute of "+what)
			a.Tensor, a.Kind = &t, kind(a.Kind, Tensor)
		case 7:
			a.Floats, a.Kind = f.floats(what, a.Floats), kind(a.Kind, Floats)
		case 8:
			a.Ints, a.Kind = f.numbers(what, a.Ints, MaxList), kind(a.Kind, Ints)
		case 9:
			if len(a.Texts) >= MaxAttrs {
				r.fail(what, "attribute %.60q has more than %d texts", a.Name, MaxAttrs)
			}
			a.Texts, a.Kind = append(a.Texts, f.string(what, MaxText)), kind(a.Kind, Texts)
		case 6, 11:
			r.fail(what, "operators with a graph of their own (Loop, Scan, If) are not supported")
		case 21:
			r.fail(what, "attributes of functions are not supported")
		case 10, 14, 15, 22, 23:
			r.fail(what, "attribute %.60q is of a kind that is not supported", a.Name)
		case 20:
			a.Kind = Kind(f.number())
		case 13:
		default:
			f.unknown()
		}
	}
	if a.Kind == Tensor && a.Tensor == nil && r.wrong == nil {
		r.fail(what, "attribute %.60q has no tensor", a.Name)
	}
	return a
}

// kind is the kind that the file declares, else that of the value found; files of IR versions before 3 declare none.
func kind(declared, found Kind) Kind {
	if declared != 0 {
		return declared
	}
	return found
}

// floats appends a float, or a packed list of them.
func (f *field) floats(what string, list []float32) []float32 {
	before := len(list)
	switch f.typ {
	case protowire.Fixed32Type:
		list = append(list, math.Float32frombits(uint32(f.value)))
	case protowire.BytesType:
		for m := f.body; m.pos < m.end && f.s.wrong == nil && len(list) <= MaxList; {
			if b := m.take(4); b != nil {
				list = append(list, math.Float32frombits(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))
			}
		}
	default:
		f.s.fail(at(f.start), "field %d is of wire type %d", f.num, f.typ)
	}
	if len(list) > MaxList {
		f.s.fail(what, "has more than %d numbers", MaxList)
	}
	f.s.keep(what, 4*int64(len(list)-before))
	return list
}

// plain says whether a location is a name of a file in the model's folder or below it: relative, without links or devices.
func plain(location string) bool {
	if location == "" || len(location) > MaxName || strings.ContainsAny(location, "\\:*?\x00") {
		return false
	}
	for part := range strings.SplitSeq(location, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
