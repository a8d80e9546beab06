package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// EncodeRow runs a graph that is asked with text on one row of tokens; types are segment ids, none = all 0. Where the graph takes rows of one
// length only, the row is padded to it, and what belongs to padding is cut off. masks are places whose logits over the vocabulary are
// wanted, of a model that fills masks. Errors wrap ErrStep or ErrRun.
func (g *Graph) EncodeRow(ids, types []int32, masks []int32) (Encoded, error) {
	t := g.manifest.Graph.Text
	if t == nil {
		return Encoded{}, fmt.Errorf("%w: the graph takes tensors only", ErrStep)
	}
	port, _ := g.manifest.Graph.Input(t.IDs)
	n, length := len(ids), len(ids)
	if port.Shape[1] != model.Free {
		length = int(port.Shape[1])
	}
	if n < 1 || n > length || n > g.manifest.Config.Positions || len(types) != 0 && len(types) != n {
		return Encoded{}, fmt.Errorf("%w: %d tokens with %d segment ids, want 1 to %d", ErrStep, n, len(types), min(length, g.manifest.Config.Positions))
	}
	mask := make([]int32, n)
	for i := range mask {
		mask[i] = 1
	}
	if len(types) == 0 {
		types = make([]int32, n)
	}
	var in []tensor.Tensor
	for _, x := range []struct {
		name   string
		values []int32
		pad    int32
	}{{t.IDs, ids, max(g.manifest.Pad, 0)}, {t.Mask, mask, 0}, {t.Types, types, 0}} {
		if x.name != "" {
			p, _ := g.manifest.Graph.Input(x.name)
			in = append(in, row(p, x.values, length, x.pad))
		}
	}
	var names []string
	for _, name := range []string{t.Hidden, t.Pooled, t.Logits, t.Start, t.End} {
		if name != "" {
			names = append(names, name)
		}
	}
	out, err := g.Run(in, names)
	if err != nil {
		return Encoded{}, err
	}
	return g.encoded(out, n, length, masks)
}

// row makes an input [1, length] of the port's type.
func row(p model.Port, values []int32, length int, pad int32) tensor.Tensor {
	x := tensor.Tensor{Name: p.Name, DType: p.DType, Shape: []int64{1, int64(length)}}
	for i := range length {
		v := pad
		if i < len(values) {
			v = values[i]
		}
		if p.DType == model.I64 {
			x.Data = binary.LittleEndian.AppendUint64(x.Data, uint64(v))
		} else {
			x.Data = binary.LittleEndian.AppendUint32(x.Data, uint32(v))
		}
	}
	return x
}

// encoded takes the outputs of a row of n tokens, padded to length.
func (g *Graph) encoded(out []tensor.Tensor, n, length int, masks []int32) (Encoded, error) {
	var e Encoded
	var ends [model.AnswerEnds][]float32
	m, t := g.manifest, g.manifest.Graph.Text
	for _, x := range out {
		values := make([]float32, len(x.Data)/4)
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
		}
		if len(x.Shape) == 3 && x.Shape[1] == int64(length) {
			values = values[:n*int(x.Shape[2])]
		}
		switch x.Name {
		case t.Hidden:
			e.Hidden = values
		case t.Pooled:
			e.Pooled = values
		case t.Logits:
			e.Logits = values
		case t.Start:
			ends[0] = values
		case t.End:
			ends[1] = values
		}
	}
	if t.Start != "" && m.Can(model.Answer) {
		if len(ends[0]) != length || len(ends[1]) != length {
			return e, fmt.Errorf("%w: %d and %d scores of %d tokens as ends of answers", ErrRun, len(ends[0]), len(ends[1]), length)
		}
		e.Logits = nil
		for i := range n {
			e.Logits = append(e.Logits, ends[0][i], ends[1][i])
		}
	}
	if width := g.scores(); width > 0 && len(e.Logits) != width && len(e.Logits) != n*width {
		return e, fmt.Errorf("%w: %d scores of %d tokens, want %d each, or %d of all", ErrRun, len(e.Logits), n, width, width)
	}
	if m.Can(model.FillMask) {
		for _, at := range masks {
			if at < 0 || int(at) >= n || len(e.Logits) < n*m.Config.Vocab {
				return e, fmt.Errorf("%w: a mask at %d of %d tokens, for which there are %d logits", ErrStep, at, n, len(e.Logits))
			}
			e.Masks = append(e.Masks, e.Logits[int(at)*m.Config.Vocab:][:m.Config.Vocab]...)
		}
		e.Logits = nil
	}
	if h := m.Config.Hidden; h > 0 && (len(e.Hidden) != 0 && len(e.Hidden) != n*h || len(e.Pooled) != 0 && len(e.Pooled) != h) {
		return e, fmt.Errorf("%w: %d numbers of hidden states of %d tokens and %d pooled, want %d each", ErrRun, len(e.Hidden), n, len(e.Pooled), h)
	}
	return e, nil
}

// scores is the number of scores of a text or of a token, 0 if the model's tasks have none.
func (g *Graph) scores() int {
	switch m := g.manifest; {
	case m.Can(model.FillMask):
		return m.Config.Vocab
	case m.Can(model.Answer):
		return model.AnswerEnds
	default:
		return len(m.Labels)
	}
}

// WarmUp runs the graph once on an input of ones with the shortest lengths its ports allow, so that the first request does not pay for what the
// runtime does once. A graph without text need not be able to: what lengths its free dimensions may have, its ports do not say.
func (g *Graph) WarmUp() error {
	if g.manifest.Graph.Text != nil {
		_, err := g.EncodeRow(make([]int32, 1), nil, nil)
		return err
	}
	in, ok := Ones(g.manifest.Graph, 1)
	if !ok {
		return nil
	}
	if _, err := g.Run(in, nil); err != nil && !errors.Is(err, ErrRun) {
		return err
	}
	return nil
}

// maxOnes bounds the elements of an input of ones.
const maxOnes = 1 << 24

// Ones makes inputs of ones for all ports; free lengths are n. ok is false where a port needs more elements than that is worth.
func Ones(sig *model.Signature, n int64) (in []tensor.Tensor, ok bool) {
	for _, p := range sig.Inputs {
		x := tensor.Tensor{Name: p.Name, DType: p.DType, Shape: make([]int64, len(p.Shape))}
		for i, d := range p.Shape {
			if x.Shape[i] = d; d == model.Free {
				x.Shape[i] = n
			}
		}
		e := x.Elements()
		if e < 0 || e > maxOnes {
			return nil, false
		}
		x.Data = bytes.Repeat(one(p.DType), int(e))
		in = append(in, x)
	}
	return in, true
}

// one is the number 1 in a type, little-endian.
func one(d model.DType) []byte {
	b := make([]byte, d.Size())
	switch d {
	case model.F64:
		binary.LittleEndian.PutUint64(b, math.Float64bits(1))
	case model.F32:
		binary.LittleEndian.PutUint32(b, math.Float32bits(1))
	case model.F16:
		binary.LittleEndian.PutUint16(b, 0x3c00)
	case model.BF16:
		binary.LittleEndian.PutUint16(b, 0x3f80)
	default:
		b[0] = 1
	}
	return b
}
