package model

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/skein-project/skein/blob"
)

// GraphFile is the name in Manifest.Files of the ONNX graph of a model of family Graph: the nodes, without the initializers that are
// Manifest.Tensors of block 0, under the initializers' names. They are added when the graph is loaded.
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
	Logits string `json:"logits,omitempty"` // output [rows, labels], or [rows, tokens, scores] where the model says something of each token
	Start  string `json:"start,omitempty"`  // output [rows, tokens]: each token as the first of an answer
	End    string `json:"end,omitempty"`    // output [rows, tokens]: each token as the last of an answer
}

// Takes says whether a tensor of a shape fits the port.
func (p Port) Takes(shape []int64) bool {
	return slices.EqualFunc(shape, p.Shape, func(have, want int64) bool { return have >= 0 && (want == Free || have == want) })
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
	for _, name := range []string{t.Start, t.End} {
		if p, ok := s.Output(name); name != "" && (!ok || p.DType != F32 || len(p.Shape) != 2) {
			return Invalid{"text", fmt.Sprintf("%.80q is no output of F32 [rows, tokens]", name)}
		}
	}
	if (t.Start == "") != (t.End == "") {
		return Invalid{"text", "names one end of answers and not the other"}
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

// validateGraph checks what only models of family Graph have.
func (m *Manifest) validateGraph() error {
	if m.Graph == nil {
		return Invalid{"graph", "is missing"}
	}
	if _, there := m.Files[GraphFile]; !there {
		return Invalid{"files", GraphFile + " is missing"}
	}
	if err := m.Graph.Validate(); err != nil {
		return err
	}
	for _, p := range slices.Concat(m.Graph.Inputs, m.Graph.Outputs) {
		if p.DType == Bytes {
			return Invalid{fmt.Sprintf("port %.80q", p.Name), "carries text: graphs take and give numbers only"}
		}
	}
	return first(m.validateText(), m.validateWeights())
}

// validateText checks that a model with text has its measures, and that each task has the port that answers it.
func (m *Manifest) validateText() error {
	t, c := m.Graph.Text, m.Config
	if t == nil {
		if c.Vocab != 0 || c.Positions != 0 || c.Types != 0 || len(m.Tasks) != 1 || !m.Can(Infer) {
			return Invalid{"graph", "the model takes tensors only, but its tasks or its config are those of text"}
		}
		return nil
	}
	if err := first(within("vocab", c.Vocab, 1, MaxVocab), within("positions", c.Positions, 1, MaxPositions)); err != nil {
		return err
	}
	for _, task := range m.Tasks {
		need := t.Logits
		switch task {
		case Infer:
			continue
		case EmbedTask:
			if need = t.Hidden; t.Hidden == "" {
				need = t.Pooled
			}
			if c.Hidden < 1 {
				return Invalid{"hidden", "is missing: the model makes vectors"}
			}
		case Answer:
			need = cmp.Or(t.Start, t.Logits)
		}
		if need == "" {
			return Invalid{"tasks", fmt.Sprintf("%.40q needs an output that the graph lacks", task)}
		}
		if err := m.validateScores(task, need); err != nil {
			return err
		}
	}
	return first(m.validateStates(t.Hidden, 3), m.validateStates(t.Pooled, 2))
}

// validateStates checks that an output of hidden states is as wide as the config says.
func (m *Manifest) validateStates(output string, rank int) error {
	p, ok := m.Graph.Output(output)
	if output == "" || !ok || m.Config.Hidden == 0 {
		return nil
	}
	if d := p.Shape[len(p.Shape)-1]; len(p.Shape) != rank || d != Free && d != int64(m.Config.Hidden) {
		return Invalid{fmt.Sprintf("output %.80q", output), fmt.Sprintf("has the shape %v: hidden states need %d dimensions, of which the last is %d", p.Shape, rank, m.Config.Hidden)}
	}
	return nil
}

// validateScores checks that the output which answers a task has as many numbers as the task needs, where its shape says how many.
func (m *Manifest) validateScores(task Task, output string) error {
	var width int
	rank := 3 // [rows, tokens, width]
	switch task {
	case Classify, Rerank:
		rank, width = 2, len(m.Labels)
	case ClassifyTokens:
		width = len(m.Labels)
	case FillMask:
		width = m.Config.Vocab
	case Answer:
		if width = AnswerEnds; m.Graph.Text.Start != "" {
			return nil
		}
	default:
		return nil
	}
	p, _ := m.Graph.Output(output)
	if d := p.Shape[len(p.Shape)-1]; len(p.Shape) != rank || d != Free && d != int64(width) {
		return Invalid{fmt.Sprintf("output %.80q", output), fmt.Sprintf("has the shape %v: %s needs %d dimensions, of which the last is %d", p.Shape, task, rank, width)}
	}
	return nil
}

// validateWeights checks the initializers whose bytes are in blobs.
func (m *Manifest) validateWeights() error {
	if err := within("number of tensors", len(m.Tensors), 0, MaxTensors); err != nil {
		return err
	}
	for i, t := range m.Tensors {
		if i > 0 && !before(m.Tensors[i-1], t) {
			return Invalid{t.what(), "tensors are not sorted by block and name, each once"}
		}
		size := t.DType.Size()
		switch n := Elements(t.Shape); {
		case t.Block != 0 || t.Name == "" || len(t.Name) > MaxPortName || !utf8.ValidString(t.Name):
			return Invalid{t.what(), "is no initializer of block 0"}
		case size == 0 || len(t.Shape) > MaxRank:
			return Invalid{t.what(), fmt.Sprintf("%d dimensions of %.20q", len(t.Shape), t.DType)}
		case n < 1 || n > blob.MaxSize/size || n*size != t.Ref.Len:
			return Invalid{t.what(), fmt.Sprintf("%d bytes do not hold %s of %s", t.Ref.Len, shapeText(t.Shape), t.DType)}
		}
		if err := t.Ref.Validate(); err != nil {
			return Invalid{t.what(), err.Error()}
		}
	}
	return nil
}
