package worker

import (
	"fmt"
	"slices"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/model"
)

// step runs a forward on the stage; its input is in the stage's buffer. The result is valid until the next one.
func (s *loaded) step(m *message) ([]float32, error) {
	step := engine.Step{Prefill: m.Prefill, Hidden: m.Hidden}
	if m.Prefill {
		if len(m.Past) != 1 {
			return nil, fmt.Errorf("%w: a prefill with %d pasts", errFrame, len(m.Past))
		}
		step.Row, step.Past, step.Count = m.Row, int(m.Past[0]), m.Count
	} else {
		step.Rows = engine.Rows{First: m.Row, Positions: m.Past}
	}
	for _, w := range m.Wants {
		step.Want = append(step.Want, w.Token)
	}
	return s.Run(step)
}

// choose runs a forward on a last stage and samples what is wanted. prepared are the constraints of what begins (rows.prepare).
func (s *loaded) choose(m *message, prepared []*compiled) ([]sample.Choice, error) {
	logits, err := s.step(m)
	if err != nil {
		return nil, err
	}
	vocab := s.manifest.Config.Vocab
	out := make([]sample.Choice, len(m.Wants))
	for i, w := range m.Wants {
		row := m.Row
		if !m.Prefill {
			row += w.Token
		}
		if out[i], err = s.rows.choose(row, logits[i*vocab:(i+1)*vocab], w, prepared[i]); err != nil {
			return nil, fmt.Errorf("choose token %d of the sequence in row %d: %w", w.Position, row, err)
		}
	}
	return out, nil
}

// input puts the hidden states of a message into the stage's buffer.
func (s *loaded) input(m *message) error {
	n := m.Count
	if !m.Prefill && m.Kind == kindForward {
		n = len(m.Past)
	}
	in := s.Input(n)
	if in == nil || len(m.payload) != len(in) {
		return fmt.Errorf("%w: %d floats for %d tokens", errFrame, len(m.payload), n)
	}
	copy(in, m.payload)
	return nil
}

// encodeRow runs one row of an encoder; its input is in the stage's buffer. On the last stage the message becomes the answer.
func (s *loaded) encodeRow(m *message, last bool) error {
	mask := make([]int32, m.Count)
	for i := range mask {
		mask[i] = 1
	}
	b := engine.EncodeBatch{Rows: 1, Length: m.Count, Mask: mask}
	for _, at := range m.Masks {
		if last {
			b.Masks = append(b.Masks, int(at))
		}
	}
	e, err := s.Encode(b)
	if err != nil {
		return err
	}
	if !last {
		m.payload = e.Hidden
		return nil
	}
	return s.answer(m, e)
}

// answer makes a message the answer to its row.
func (s *loaded) answer(m *message, e engine.Encoded) (err error) {
	if m.Fills, err = s.fill(e.Masks, m.Want.Top); err != nil {
		return err
	}
	var vector []float32
	if how, normalize := m.Want.How(s.manifest); how != "" {
		states := e.Hidden
		if s.graph != nil && len(states) == 0 {
			states = e.Pooled // the graph pools itself
		}
		if len(states) == 0 || s.manifest.Config.Hidden < 1 {
			return fmt.Errorf("%w: the model has no vectors of tokens", engine.ErrStep)
		}
		vector = engine.Pool(states, s.manifest.Config.Hidden, how, normalize)
	}
	m.Kind, m.payload, m.Masks = kindEncoded, nil, nil
	for i, part := range []struct {
		wanted bool
		floats []float32
	}{{m.Want.Hidden, e.Hidden}, {vector != nil, vector}, {m.Want.Logits, e.Logits}, {m.Want.Pooled, e.Pooled}} {
		if part.wanted {
			m.Sizes[i] = len(part.floats)
			m.payload = append(m.payload, part.floats...)
		}
	}
	return nil
}

// fill finds the most likely tokens for masks. logits is [masks, vocab].
func (s *loaded) fill(logits []float32, top int) (out [][]sample.TokenLogprob, err error) {
	for row := range slices.Chunk(logits, s.manifest.Config.Vocab) {
		c, err := sample.Choose(row, model.Sampling{TopLogprobs: top}, 0)
		if err != nil {
			return nil, fmt.Errorf("fill a mask: %w", err)
		}
		out = append(out, c.Top)
	}
	return out, nil
}
