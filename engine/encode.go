package engine

import (
	"fmt"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
)

// EncodeBatch is one forward pass of an encoder's stage: rows padded to one length, in the input buffer as [Rows, Length].
type EncodeBatch struct {
	Rows   int
	Length int
	Mask   []int32 // [Rows, Length]: 1 = token, 0 = padding; each row has at least one token, and begins with one

	// Masks is for the last stage of a model that fills masks: indices into the Rows·Length positions whose logits over the vocabulary are
	// wanted, at most model.MaxMasks.
	Masks []int
}

// Encoded is what an encoder's stage computes; slices are valid until the next Encode.
type Encoded struct {
	Hidden []float32 // [Rows, Length, hidden]; padding holds meaningless numbers
	Pooled []float32 // last stage of a model with a pooler: [Rows, hidden]
	Logits []float32 // last stage of a classifier: [Rows, labels], or [Rows, Length, labels] where it labels tokens
	Labels int       // width of Logits
	Masks  []float32 // last stage of a model that fills masks: [len(batch.Masks), vocab]
}

// Encode computes one batch. Errors as Run.
func (s *Stage) Encode(batch EncodeBatch) (Encoded, error) {
	if err := s.checkBatch(batch); err != nil {
		return Encoded{}, err
	}
	if s.plain == nil {
		b, err := s.session.Bind()
		if err != nil {
			return Encoded{}, fmt.Errorf("%w: %w", ErrRun, err)
		}
		s.plain = b
	}
	copy(s.mask.Int32s(), batch.Mask)
	c, n := s.config, batch.Rows*batch.Length
	b, l, h := int64(batch.Rows), int64(batch.Length), int64(c.Hidden)
	io := []connection{
		{name: graph.Hidden, buffer: s.hidden, elem: ort.Float32, shape: []int64{b, l, h}},
		{name: graph.Mask, buffer: s.mask, elem: ort.Int32, shape: []int64{b, l}},
		{name: graph.Out, buffer: s.out, elem: ort.Float32, shape: []int64{b, l, h}, out: true},
	}
	perRow := []int64{b}
	if !s.graph.Pooler {
		perRow = append(perRow, l)
	}
	if s.pooled != nil {
		io = append(io, connection{name: graph.Pooled, buffer: s.pooled, elem: ort.Float32, shape: []int64{b, h}, out: true})
	}
	if s.logits != nil {
		io = append(io, s.selected(batch.Masks)...)
	}
	if s.scores != nil {
		io = append(io, connection{name: graph.Scores, buffer: s.scores, elem: ort.Float32, shape: append(perRow, int64(s.graph.Labels)), out: true})
	}
	if err := s.run(s.plain, io, n, batch.Length); err != nil {
		return Encoded{}, err
	}
	e := Encoded{Hidden: s.out.Float32s()[:n*c.Hidden], Labels: s.graph.Labels}
	if s.pooled != nil {
		e.Pooled = s.pooled.Float32s()[:batch.Rows*c.Hidden]
	}
	if s.scores != nil {
		width := s.graph.Labels
		for _, d := range perRow {
			width *= int(d)
		}
		e.Logits = s.scores.Float32s()[:width]
	}
	if len(batch.Masks) > 0 {
		e.Masks = s.logits.Float32s()[:len(batch.Masks)*c.Vocab]
	}
	return e, nil
}

func (s *Stage) checkBatch(batch EncodeBatch) error {
	if s.config.Arch.Decoder() {
		return fmt.Errorf("%w: a decoder runs steps; use Run", ErrStep)
	}
	if err := s.fits(batch.Rows * batch.Length); err != nil {
		return err
	}
	if batch.Rows < 1 || batch.Rows > s.serving.Slots || batch.Length < 1 || batch.Length > s.serving.Context {
		return fmt.Errorf("%w: %d rows (1 to %d) of %d tokens (1 to %d)", ErrStep, batch.Rows, s.serving.Slots, batch.Length, s.serving.Context)
	}
	if len(batch.Masks) > 0 && s.logits == nil || len(batch.Masks) > model.MaxMasks {
		return fmt.Errorf("%w: %d masks, the stage fills at most %d and a model without such a head none", ErrStep, len(batch.Masks), model.MaxMasks)
	}
	for _, at := range batch.Masks {
		if at < 0 || at >= batch.Rows*batch.Length {
			return fmt.Errorf("%w: a mask at %d of %d tokens", ErrStep, at, batch.Rows*batch.Length)
		}
	}
	if len(batch.Mask) != batch.Rows*batch.Length {
		return fmt.Errorf("%w: mask of %d for %d tokens", ErrStep, len(batch.Mask), batch.Rows*batch.Length)
	}
	for i, m := range batch.Mask {
		if m != 0 && m != 1 || i%batch.Length == 0 && m != 1 {
			return fmt.Errorf("%w: mask %d at token %d of row %d", ErrStep, m, i%batch.Length, i/batch.Length)
		}
	}
	return nil
}
