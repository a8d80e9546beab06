package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
	"github.com/skein-project/skein/wire"
)

// Ports of encoders that Skein has a builder of, by their usual names (Hugging Face transformers).
const (
	portIDs    = "input_ids"
	portMask   = "attention_mask"
	portTypes  = "token_type_ids"
	portHidden = "last_hidden_state"
	portPooled = "pooled"
	portLogits = "logits"
	portVector = "sentence_embedding"
)

// Ports of models that generate text (the names of Triton's back ends for language models).
const (
	portTextIn  = "text_input"
	portTextOut = "text_output"
)

// signature says what ports a version has: a graph its own, an encoder those of tokens, a decoder those of text.
func (s *Server) signature(t *text) model.Signature {
	c := t.manifest.Config
	switch {
	case t.manifest.Graph != nil:
		return *t.manifest.Graph
	case c.Arch.Decoder():
		return generationPorts()
	}
	rows := func(name string, d model.DType, shape ...int64) model.Port {
		return model.Port{Name: name, DType: d, Shape: append([]int64{model.Free}, shape...)}
	}
	hidden, labels := int64(c.Hidden), int64(len(t.manifest.Labels))
	sig := model.Signature{
		Inputs:  []model.Port{rows(portIDs, model.I64, model.Free), rows(portMask, model.I64, model.Free)},
		Outputs: []model.Port{rows(portHidden, model.F32, model.Free, hidden)},
		Text:    &model.Text{IDs: portIDs, Mask: portMask, Hidden: portHidden},
	}
	if c.Types > 0 {
		sig.Inputs, sig.Text.Types = append(sig.Inputs, rows(portTypes, model.I64, model.Free)), portTypes
	}
	if _, ok := t.manifest.Tensor(t.manifest.Tail(), "pooler.weight"); ok {
		sig.Outputs, sig.Text.Pooled = append(sig.Outputs, rows(portPooled, model.F32, hidden)), portPooled
	}
	var logits []int64
	switch {
	case t.manifest.Can(model.Classify):
		logits = []int64{labels}
	case t.manifest.Can(model.ClassifyTokens):
		logits = []int64{model.Free, labels}
	case t.manifest.Can(model.Answer):
		logits = []int64{model.Free, model.AnswerEnds}
	}
	if logits != nil {
		sig.Outputs, sig.Text.Logits = append(sig.Outputs, rows(portLogits, model.F32, logits...)), portLogits
	}
	if t.manifest.Pooling != "" {
		sig.Outputs = append(sig.Outputs, rows(portVector, model.F32, hidden))
	}
	return sig
}

// infer runs a version on tensors and gives the outputs in the order in which they are named; none named = all.
func (s *Server) infer(ctx context.Context, t *text, in []tensor.Tensor, outputs []string) ([]tensor.Tensor, error) {
	sig := s.signature(t)
	if t.manifest.Config.Arch.Decoder() {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s takes text: its input is %s", t.version, portTextIn)}
	}
	if len(outputs) == 0 {
		for _, p := range sig.Outputs {
			outputs = append(outputs, p.Name)
		}
	}
	if err := fits(&sig, in, outputs); err != nil {
		return nil, err
	}
	callOf(ctx).has(batchOf(&sig, in))
	if t.manifest.Graph != nil {
		return s.inferGraph(ctx, t, in, outputs)
	}
	return s.inferEncoder(ctx, t, in, outputs)
}

// batchOf is the number of rows of a request: the length of the inputs' first dimension, where that is free.
func batchOf(sig *model.Signature, in []tensor.Tensor) int {
	for _, x := range in {
		if p, ok := sig.Input(x.Name); ok && len(p.Shape) > 0 && p.Shape[0] == model.Free {
			return int(x.Shape[0])
		}
	}
	return 1
}

// fits checks tensors and the names of outputs against a signature. What an encoder takes may be of I32 too, as its tokenizer's ids are.
func fits(sig *model.Signature, in []tensor.Tensor, outputs []string) error {
	for i, x := range in {
		p, ok := sig.Input(x.Name)
		switch {
		case !ok:
			return invalid("inputs", "there is no input %.80q: there are %s", x.Name, portNames(sig.Inputs))
		case slices.ContainsFunc(in[:i], func(y tensor.Tensor) bool { return y.Name == x.Name }):
			return invalid("inputs", "the input %.80q is there twice", x.Name)
		case x.DType != p.DType && (x.DType != model.I32 || !slices.Contains([]string{portIDs, portMask, portTypes}, p.Name)):
			return invalid("inputs", "the input %.80q is of type %.20q, want %s", x.Name, x.DType, p.DType)
		case !fitsShape(x.Shape, p.Shape):
			return invalid("inputs", "the input %.80q has the shape %v, want %v, where -1 is any length", x.Name, x.Shape, p.Shape)
		}
		if err := x.Check(); err != nil {
			return invalid("inputs", "%s", err.Error())
		}
	}
	for i, name := range outputs {
		if _, ok := sig.Output(name); !ok {
			return invalid("outputs", "there is no output %.80q: there are %s", name, portNames(sig.Outputs))
		}
		if slices.Contains(outputs[:i], name) {
			return invalid("outputs", "the output %.80q is there twice", name)
		}
	}
	return nil
}

// fitsShape says whether a tensor's shape is one of a port.
func fitsShape(shape, want []int64) bool {
	if len(shape) != len(want) {
		return false
	}
	for i, d := range shape {
		if d < 0 || want[i] != model.Free && d != want[i] {
			return false
		}
	}
	return true
}

func portNames(ports []model.Port) string {
	var names []string
	for _, p := range ports {
		names = append(names, fmt.Sprintf("%.80q", p.Name))
	}
	return strings.Join(names[:min(len(names), maxPortsNamed)], ", ")
}

// maxPortsNamed is how many ports an error lists.
const maxPortsNamed = 16

// inferEncoder runs an encoder that Skein has a builder of.
func (s *Server) inferEncoder(ctx context.Context, t *text, in []tensor.Tensor, outputs []string) ([]tensor.Tensor, error) {
	rows, length, err := encoderRows(in, s.cfg.MaxInputs)
	if err != nil {
		return nil, err
	}
	want := wire.EncodeWant{Hidden: slices.Contains(outputs, portHidden), Pooled: slices.Contains(outputs, portPooled),
		Logits: slices.Contains(outputs, portLogits), Vector: slices.Contains(outputs, portVector)}
	encoded, err := s.encode(ctx, t, rows, want)
	if err != nil {
		return nil, err
	}
	sig := s.signature(t)
	var out []tensor.Tensor
	for _, name := range outputs {
		port, _ := sig.Output(name)
		shape := slices.Clone(port.Shape)
		if shape[0] = int64(len(rows)); len(shape) == 3 {
			shape[1] = length
		}
		x, err := gather(name, shape, encoded)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// encoderRows takes the rows, at most so many, out of what an encoder is given. Padding is at the end of a row, where the mask is 0, and is not
// sent. What has too many rows, or empty ones, is refused before anything is made of it.
func encoderRows(in []tensor.Tensor, most int) (rows []wire.EncodeRow, length int64, err error) {
	given := map[string][]int64{}
	var shape []int64
	for _, x := range in {
		if shape == nil {
			shape = x.Shape
		}
		switch {
		case len(shape) != 2 || shape[1] < 1:
			return nil, 0, invalid("inputs", "the input %.80q has the shape %v, want rows of at least one token", x.Name, shape)
		case shape[0] < 1 || shape[0] > int64(most):
			return nil, 0, invalid("inputs", "%d inputs, want 1 to %d", shape[0], most)
		}
		if !slices.Equal(shape, x.Shape) {
			return nil, 0, invalid("inputs", "the inputs have the shapes %v and %v, want the same", shape, x.Shape)
		}
		if given[x.Name], err = x.Ints(); err != nil {
			return nil, 0, invalid("inputs", "%s", err.Error())
		}
	}
	ids, mask, types := given[portIDs], given[portMask], given[portTypes]
	if ids == nil {
		return nil, 0, invalid("inputs", "the input %q is missing", portIDs)
	}
	length = shape[1]
	for i := range shape[0] {
		from, n := i*length, length
		if mask != nil {
			if n, err = unpadded(mask[from : from+length]); err != nil {
				return nil, 0, invalid("inputs", "row %d of %s: %s", i, portMask, err.Error())
			}
		}
		row := wire.EncodeRow{}
		if row.IDs, err = narrow(portIDs, ids[from:from+n]); err != nil {
			return nil, 0, err
		}
		if types != nil {
			if row.Types, err = narrow(portTypes, types[from:from+n]); err != nil {
				return nil, 0, err
			}
		}
		rows = append(rows, row)
	}
	return rows, length, nil
}

var errMask = errors.New("want ones, and behind them zeros where the row is padded")

// unpadded is the number of tokens of a row.
func unpadded(mask []int64) (int64, error) {
	n := slices.IndexFunc(mask, func(m int64) bool { return m != 1 })
	if n < 0 {
		return int64(len(mask)), nil
	}
	if slices.ContainsFunc(mask[n:], func(m int64) bool { return m != 0 }) {
		return 0, errMask
	}
	return int64(n), nil
}

func narrow(name string, in []int64) ([]int32, error) {
	out := make([]int32, len(in))
	for i, v := range in {
		if out[i] = int32(v); int64(out[i]) != v {
			return nil, invalid("inputs", "%d is too large a number for %s", v, name)
		}
	}
	return out, nil
}

// gather puts one output of all rows into a tensor. What belongs to padding is 0.
func gather(name string, shape []int64, rows []wire.EncodedRow) (tensor.Tensor, error) {
	size := 4 * int(model.Elements(shape[1:])) // bytes of a row
	out := tensor.Tensor{Name: name, DType: model.F32, Shape: shape, Data: make([]byte, size*len(rows))}
	for i, r := range rows {
		values := map[string]wire.Floats{portHidden: r.Hidden, portPooled: r.Pooled, portLogits: r.Logits, portVector: r.Vector}[name]
		if 4*len(values) > size || len(shape) == 2 && 4*len(values) != size {
			return out, fmt.Errorf("gateway: %d numbers of %s for a row of %v", len(values), name, shape)
		}
		row := out.Data[i*size:][:size]
		for j, v := range values {
			binary.LittleEndian.PutUint32(row[4*j:], math.Float32bits(v))
		}
	}
	return out, nil
}
