package onnxgraph

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// Check decides whether a graph may run: operators of the list, versions that the runtime has, every value made once and before it is
// used, constants whose type and shape are the length of their bytes and which overlap no other, attributes of the kinds that are known,
// and no tensor larger than MaxElements that constants alone demand. It does not repeat the runtime's own inference of types and shapes.
// Errors are of type Refused.
func Check(g *Graph) error {
	if g.Opset < MinOpset || g.Opset > MaxOpset {
		return Refused{"opset", fmt.Sprintf("%d is not in %d..%d", g.Opset, MinOpset, MaxOpset)}
	}
	if len(g.Nodes) > MaxNodes || len(g.Initializers) > MaxInitializers {
		return Refused{"", fmt.Sprintf("%d nodes (at most %d), %d initializers (at most %d)", len(g.Nodes), MaxNodes, len(g.Initializers), MaxInitializers)}
	}
	if err := g.Signature().Validate(); err != nil {
		return Refused{"", err.Error()}
	}
	for _, p := range slices.Concat(g.Inputs, g.Outputs) {
		if p.DType == model.Bytes {
			return Refused{fmt.Sprintf("port %.80q", p.Name), "carries text; a graph takes and gives numbers only"}
		}
	}
	if err := checkConstants(g.Initializers); err != nil {
		return err
	}
	if err := checkOrder(g); err != nil {
		return err
	}
	for i := range g.Nodes {
		if err := checkNode(&g.Nodes[i], i); err != nil {
			return err
		}
	}
	return checkDemand(g)
}

// checkConstants checks each initializer by itself, and that ranges of blobs are the same or apart.
func checkConstants(list []Initializer) error {
	var refs []*Initializer
	for i := range list {
		t := &list[i]
		what := fmt.Sprintf("initializer %.80q", t.Name)
		if err := checkName(what, t.Name); err != nil {
			return err
		}
		if err := t.check(what); err != nil {
			return err
		}
		if t.Raw == nil {
			refs = append(refs, t)
		}
	}
	slices.SortFunc(refs, func(a, b *Initializer) int {
		return cmp.Or(bytes.Compare(a.Ref.Digest[:], b.Ref.Digest[:]), cmp.Compare(a.Ref.Off, b.Ref.Off), cmp.Compare(a.Ref.Len, b.Ref.Len))
	})
	for i := 1; i < len(refs); i++ {
		a, b := refs[i-1], refs[i]
		if a.Ref != b.Ref && a.Ref.Digest == b.Ref.Digest && b.Ref.Off < a.Ref.Off+a.Ref.Len {
			return Refused{fmt.Sprintf("initializer %.80q", b.Name), fmt.Sprintf("its bytes overlap those of %.80q", a.Name)}
		}
	}
	return nil
}

// check compares type and shape of a constant with its bytes.
func (t *Initializer) check(what string) error {
	n := t.Bytes()
	switch {
	case len(t.Shape) > model.MaxRank:
		return Refused{what, fmt.Sprintf("%d dimensions are more than %d", len(t.Shape), model.MaxRank)}
	case n < 0:
		return Refused{what, fmt.Sprintf("type %.20q and shape %.80s give no number of bytes", t.DType, fmt.Sprint(t.Shape))}
	case t.Raw != nil && int64(len(t.Raw)) != n:
		return Refused{what, fmt.Sprintf("%d bytes do not hold %v of %s", len(t.Raw), t.Shape, t.DType)}
	case t.Raw != nil:
		return nil
	case t.Ref.Len != n || n == 0:
		return Refused{what, fmt.Sprintf("%d bytes do not hold %v of %s", t.Ref.Len, t.Shape, t.DType)}
	}
	if err := t.Ref.Validate(); err != nil {
		return Refused{what, err.Error()}
	}
	return nil
}

func checkName(what, name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return Refused{what, fmt.Sprintf("the name is not UTF-8 of 1 to %d bytes", MaxName)}
	}
	return nil
}

// checkOrder walks the nodes once: every value has one origin, which comes before its uses. A cycle cannot pass.
func checkOrder(g *Graph) error {
	made := make(map[string]bool, len(g.Nodes)+len(g.Initializers)+len(g.Inputs))
	define := func(what, name string) error {
		if made[name] {
			return Refused{what, fmt.Sprintf("value %.80q is made twice", name)}
		}
		made[name] = true
		return nil
	}
	for _, p := range g.Inputs {
		if err := define("inputs", p.Name); err != nil {
			return err
		}
	}
	for i := range g.Initializers {
		if err := define("initializers", g.Initializers[i].Name); err != nil {
			return err
		}
	}
	later := map[string]bool{}
	for i := range g.Nodes {
		for _, name := range g.Nodes[i].Outputs {
			later[name] = true
		}
	}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if len(n.Inputs) > MaxEdges || len(n.Outputs) > MaxEdges || len(n.Outputs) == 0 {
			return Refused{n.what(i), fmt.Sprintf("%d inputs and %d outputs: want at most %d, and an output", len(n.Inputs), len(n.Outputs), MaxEdges)}
		}
		for _, name := range n.Inputs {
			switch {
			case name == "" || made[name]:
			case later[name]:
				return Refused{n.what(i), fmt.Sprintf("reads %.80q before it is made: the graph is cyclic or its nodes are out of order", name)}
			default:
				return Refused{n.what(i), fmt.Sprintf("reads %.80q, which nothing makes", name)}
			}
		}
		for _, name := range n.Outputs {
			if name == "" {
				continue
			}
			if err := checkName(n.what(i), name); err != nil {
				return err
			}
			if err := define(n.what(i), name); err != nil {
				return err
			}
		}
	}
	for _, p := range g.Outputs {
		if !made[p.Name] {
			return Refused{fmt.Sprintf("output %.80q", p.Name), "nothing makes it"}
		}
	}
	return nil
}

// checkNode checks what a node does and its attributes.
func checkNode(n *Node, i int) error {
	if !Supports(n.Domain, n.Op) {
		why := fmt.Sprintf("operator %.60q is not supported", n.Op)
		switch reason, ok := known[n.Op]; {
		case n.Domain == "" && ok:
			why = fmt.Sprintf("operator %s %s: not supported", n.Op, reason)
		case n.Domain == onnx.Microsoft:
			why = fmt.Sprintf("operator %.60q of domain %s is not supported", n.Op, n.Domain)
		case n.Domain != "":
			why = fmt.Sprintf("operator %.60q is of domain %.60q: operators that a library of its own would bring are never loaded", n.Op, n.Domain)
		}
		return Refused{n.what(i), why}
	}
	if len(n.Attrs) > MaxAttrs {
		return Refused{n.what(i), fmt.Sprintf("%d attributes are more than %d", len(n.Attrs), MaxAttrs)}
	}
	for j, a := range n.Attrs {
		if slices.ContainsFunc(n.Attrs[:j], func(b Attr) bool { return a.Name == b.Name }) {
			return Refused{n.what(i), fmt.Sprintf("attribute %.60q is there twice", a.Name)}
		}
		if err := checkAttr(n, i, a); err != nil {
			return err
		}
	}
	return nil
}

func checkAttr(n *Node, i int, a Attr) error {
	bad := func(format string, args ...any) error {
		return Refused{n.what(i), fmt.Sprintf("attribute %.60q %s", a.Name, fmt.Sprintf(format, args...))}
	}
	if a.Name == "" || len(a.Name) > MaxName || !utf8.ValidString(a.Name) {
		return bad("has no name that is one")
	}
	switch a.Kind {
	case Float, Int:
	case Text, Texts:
		for _, s := range append(a.Texts, a.Text) {
			if len(s) > MaxText || strings.ContainsRune(s, 0) {
				return bad("is no text of at most %d bytes", MaxText)
			}
		}
	case Floats, Ints:
		if len(a.Floats) > MaxList || len(a.Ints) > MaxList {
			return bad("has more than %d numbers", MaxList)
		}
	case Tensor:
		if a.Tensor == nil || a.Tensor.Raw == nil || len(a.Tensor.Raw) > MaxInline {
			return bad("is no tensor of at most %d bytes", MaxInline)
		}
		return a.Tensor.check(n.what(i))
	default:
		return bad("is of kind %d, which is not supported", a.Kind)
	}
	if n.Op == "BatchNormalization" && a.Name == "training_mode" && a.Int != 0 {
		return bad("is set: training is not supported")
	}
	return nil
}
