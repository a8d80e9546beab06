package model

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// GraphFile is the name in Manifest.Files of the ONNX graph of a model of family Graph: the nodes, with every initializer declared but
// none of its bytes; those are Manifest.Tensors of block 0, under the initializers' names.
const GraphFile = "graph.onnx"

// Limits of a signature.
const (
	MaxPorts    = 256
	MaxPortName = 512 // bytes of UTF-8
	MaxRank     = 16  // dimensions
)

// Free is a dimension of any length in a port's shape.
const Free = -1

// Port is an input or an output of a graph.
type Port struct {
	Name  string  `json:"name"`
	DType DType   `json:"dtype"`
	Shape []int64 `json:"shape"` // Free = any length
}

// Signature is what a graph takes and gives, in the graph's order, and which of it is text.
type Signature struct {
	Inputs  []Port `json:"inputs"`
	Outputs []Port `json:"outputs"`
	Text    *Text  `json:"text,omitempty"` // nil: the model takes tensors only
}

// Text says which ports of a graph carry what an encoder of texts has: inputs of [rows, tokens], outputs named after what they hold. A
// name that is empty is a port that the graph lacks.
type Text struct {
	IDs    string `json:"ids"`              // input: token ids
	Mask   string `json:"mask,omitempty"`   // input: 1 = token, 0 = padding
	Types  string `json:"types,omitempty"`  // input: segment ids
	Hidden string `json:"hidden,omitempty"` // output [rows, tokens, hidden]
	Pooled string `json:"pooled,omitempty"` // output [rows, hidden]
	Logits string `json:"logits,omitempty"` // output [rows, labels], or [rows, tokens, labels] where the model labels tokens
}

// Input finds an input by its name.
func (s *Signature) Input(name string) (Port, bool) { return port(s.Inputs, name) }

// Output finds an output by its name.
func (s *Signature) Output(name string) (Port, bool) { return port(s.Outputs, name) }

func port(in []Port, name string) (Port, bool) {
	i := slices.IndexFunc(in, func(p Port) bool { return p.Name == name })
	if i < 0 {
		return Port{}, false
	}
	return in[i], true
}

// Validate checks names, types and shapes, and that the text's ports exist. Errors are of type Invalid.
func (s *Signature) Validate() error {
	if err := first(validatePorts("input", s.Inputs), validatePorts("output", s.Outputs)); err != nil || s.Text == nil {
		return err
	}
	t := s.Text
	if t.IDs == "" {
		return Invalid{"text", "names no input of token ids"}
	}
	for _, name := range []string{t.IDs, t.Mask, t.Types} {
		if p, ok := s.Input(name); name != "" && (!ok || len(p.Shape) != 2 || p.DType != I32 && p.DType != I64) {
			return Invalid{"text", fmt.Sprintf("%.80q is no input of whole numbers [rows, tokens]", name)}
		}
	}
	for _, name := range []string{t.Hidden, t.Pooled, t.Logits} {
		if p, ok := s.Output(name); name != "" && (!ok || p.DType != F32 || len(p.Shape) < 2 || len(p.Shape) > 3) {
			return Invalid{"text", fmt.Sprintf("%.80q is no output of F32 with 2 or 3 dimensions", name)}
		}
	}
	return nil
}

func validatePorts(kind string, ports []Port) error {
	if err := within("number of "+kind+"s", len(ports), 1, MaxPorts); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, p := range ports {
		what := fmt.Sprintf("%s %.80q", kind, p.Name)
		switch {
		case p.Name == "" || len(p.Name) > MaxPortName || !utf8.ValidString(p.Name):
			return Invalid{what, fmt.Sprintf("the name is not UTF-8 of 1 to %d bytes", MaxPortName)}
		case seen[p.Name]:
			return Invalid{what, "is there twice"}
		case p.DType.Size() == 0 && p.DType != Bytes:
			return Invalid{what, fmt.Sprintf("type %.20q is not known", p.DType)}
		case len(p.Shape) > MaxRank:
			return Invalid{what, fmt.Sprintf("%d dimensions are more than %d", len(p.Shape), MaxRank)}
		}
		seen[p.Name] = true
		for _, d := range p.Shape {
			if d < Free || d > 1<<40 {
				return Invalid{what, fmt.Sprintf("dimension %d is neither a length nor free", d)}
			}
		}
	}
	return nil
}
