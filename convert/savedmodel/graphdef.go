package savedmodel

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skein-project/skein/convert/tfbundle"
	"github.com/skein-project/skein/model"
)

// shape is TensorShapeProto: dimensions, model.Free where one is unknown.
type shape struct {
	known bool // the rank is
	dims  []int64
}

// kind is which field of AttrValue is set: their numbers in attr_value.proto.
type kind int

const (
	textAttr   kind = 2
	intAttr    kind = 3
	realAttr   kind = 4
	boolAttr   kind = 5
	typeAttr   kind = 6
	shapeAttr  kind = 7
	tensorAttr kind = 8
	listAttr   kind = 1
	callAttr   kind = 10
)

// attr is the value of an attribute of a node.
type attr struct {
	kind   kind
	text   string // also the name of a function
	number int64  // also a type's number, and 0 or 1
	real   float32
	shape  shape
	ints   []int64 // of a list, also types' numbers
	reals  []float32
	texts  []string
	tensor message // TensorProto, not yet read
}

// node is NodeDef.
type node struct {
	name, op string
	inputs   []string // "name", "name:1", in functions "name:output:1"; "^name" is a node that only has to run before
	attrs    map[string]attr
}

// function is FunctionDef.
type function struct {
	name         string
	args, result []string // names of the signature's arguments and outputs
	lists        bool     // an argument or output is a list of tensors
	nodes        []node
	byName       map[string]int
	returns      map[string]string // output → tensor of the body
	runs         []string          // nodes that run although no output needs them
}

// graph is GraphDef.
type graph struct {
	nodes     []node
	byName    map[string]int
	functions map[string]*function
}

func readGraph(m message) *graph {
	g := &graph{byName: map[string]int{}, functions: map[string]*function{}}
	s := m.s
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			g.nodes = append(g.nodes, readNode(f.sub()))
		case 2:
			library := f.sub()
			for f, ok := library.next(); ok; f, ok = library.next() {
				if f.num != 1 {
					continue
				}
				fn := readFunction(f.sub())
				if g.functions[fn.name] != nil {
					s.fail(fmt.Sprintf("function %.80q", fn.name), "is there twice")
				}
				g.functions[fn.name] = fn
			}
		}
	}
	index(s, "", g.nodes, g.byName)
	return g
}

// index notes the place of each node by its name.
func index(s *scanner, within string, nodes []node, byName map[string]int) {
	for i, n := range nodes {
		if _, ok := byName[n.name]; ok {
			s.fail(within+nodeName(&n), "is there twice")
		}
		byName[n.name] = i
	}
}

func nodeName(n *node) string { return fmt.Sprintf("node %.120q (%.60s)", n.name, n.op) }

func readNode(m message) node {
	var n node
	if m.s != nil {
		if m.s.nodes++; m.s.nodes > MaxNodes {
			m.s.fail("", "the graphs and functions have more than %d nodes", MaxNodes)
		}
	}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			n.name = f.text(MaxName)
		case 2:
			n.op = f.text(MaxName)
		case 3:
			if n.inputs = append(n.inputs, f.text(2*MaxName)); len(n.inputs) > MaxEdges {
				m.s.fail(nodeName(&n), "has more than %d inputs", MaxEdges)
			}
			if n.inputs[len(n.inputs)-1] == "" {
				m.s.fail(nodeName(&n), "has an input without a name")
			}
		case 5:
			name, a, keep := readAttrEntry(f.sub())
			if !keep {
				continue
			}
			if _, ok := n.attrs[name]; ok || len(n.attrs) >= maxAttrs {
				m.s.fail(nodeName(&n), "attribute %.80q is there twice, or one of more than %d", name, maxAttrs)
			}
			if n.attrs == nil {
				n.attrs = map[string]attr{}
			}
			n.attrs[name] = a
		}
	}
	if m.s != nil && m.s.wrong == nil && (n.name == "" || n.op == "") {
		m.s.fail(place(m.end), "a node has no name or no operation")
	}
	return n
}

// readAttrEntry reads an entry of a map of attributes. Those whose name begins with _ are notes of tools and are passed over.
func readAttrEntry(m message) (name string, a attr, keep bool) {
	var value message
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			name = f.text(MaxName)
		case 2:
			value = f.sub()
		}
	}
	if name == "" || name[0] == '_' || value.s == nil {
		return name, attr{}, false
	}
	return name, readAttr(value), true
}

func readAttr(m message) (a attr) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		a.kind = kind(f.num)
		switch a.kind {
		case textAttr:
			a.text = string(subBytes(&f, maxText))
		case intAttr, boolAttr, typeAttr:
			a.number = f.number()
		case realAttr:
			a.real = float32frombits(&f)
		case shapeAttr:
			a.shape = readShape(f.sub())
		case tensorAttr:
			a.tensor = f.sub()
		case listAttr:
			readList(f.sub(), &a)
		case callAttr:
			a.text = firstText(f.sub())
		}
	}
	return a
}

func subBytes(f *field, limit int64) []byte {
	m := f.sub()
	if m.s == nil {
		return nil
	}
	return m.bytes(place(m.pos), limit)
}

func float32frombits(f *field) float32 {
	if !f.is(protowire.Fixed32Type) {
		return 0
	}
	return math.Float32frombits(uint32(f.value))
}

// readList reads AttrValue.ListValue; lists of shapes, tensors and functions are passed over.
func readList(m message, a *attr) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 2:
			if a.texts = append(a.texts, string(subBytes(&f, maxText))); len(a.texts) > maxList {
				m.s.fail(place(m.pos), "a list has more than %d texts", maxList)
			}
		case 3, 5, 6:
			a.ints = f.numbers(a.ints, maxList)
		case 4:
			a.reals = f.reals(a.reals, maxList)
		}
	}
}

// firstText reads field 1 of a message, which is a name.
func firstText(m message) (s string) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		if f.num == 1 {
			s = f.text(MaxName)
		}
	}
	return s
}

func readShape(m message) shape {
	s := shape{known: true, dims: []int64{}}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 2:
			size := int64(0)
			dim := f.sub()
			for f, ok := dim.next(); ok; f, ok = dim.next() {
				if f.num == 1 {
					size = f.number()
				}
			}
			if size < model.Free || size > 1<<40 {
				m.s.fail(place(m.pos), "dimension %d is neither a length nor free", size)
			}
			if s.dims = append(s.dims, size); len(s.dims) > model.MaxRank {
				m.s.fail(place(m.pos), "a shape has more than %d dimensions", model.MaxRank)
			}
		case 3:
			s.known = f.number() == 0
		}
	}
	return s
}

func readFunction(m message) *function {
	fn := &function{byName: map[string]int{}, returns: map[string]string{}}
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			readOpDef(f.sub(), fn)
		case 3:
			fn.nodes = append(fn.nodes, readNode(f.sub()))
		case 4:
			key, value := readPair(f.sub())
			fn.returns[key] = value
		case 6:
			_, value := readPair(f.sub())
			fn.runs = append(fn.runs, value)
		}
	}
	index(m.s, fmt.Sprintf("function %.80q: ", fn.name), fn.nodes, fn.byName)
	return fn
}

// readOpDef reads a function's signature.
func readOpDef(m message, fn *function) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			fn.name = f.text(MaxName)
		case 2, 3:
			var name string
			arg := f.sub()
			for f, ok := arg.next(); ok; f, ok = arg.next() {
				switch f.num {
				case 1:
					name = f.text(MaxName)
				case 5, 6:
					fn.lists = true
				}
			}
			if f.num == 2 {
				fn.args = append(fn.args, name)
			} else {
				fn.result = append(fn.result, name)
			}
		}
	}
	if len(fn.args) > MaxEdges || len(fn.result) > MaxEdges {
		m.s.fail(fmt.Sprintf("function %.80q", fn.name), "has more than %d arguments or outputs", MaxEdges)
	}
}

// readPair reads an entry of a map of texts.
func readPair(m message) (key, value string) {
	for f, ok := m.next(); ok; f, ok = m.next() {
		switch f.num {
		case 1:
			key = f.text(2 * MaxName)
		case 2:
			value = f.text(2 * MaxName)
		}
	}
	return key, value
}

// dtype is an attribute that is a type; "" where it is missing or unknown here.
func (n *node) dtype(name string) model.DType { return tfbundle.DType(n.attrs[name].number) }
