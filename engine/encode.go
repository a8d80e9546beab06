package engine

import (
	"fmt"
	"math"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/model"
)

// EncodeBatch is one forward pass of an encoder's stage: rows padded to one length, in the input buffer as [Rows, Length].
type EncodeBatch struct {
	Rows   int
	Length int
	Mask   []int32 // [Rows, Length]: 1 = token, 0 = padding; each row has at least one token, and begins with one
}

// Encoded is what an encoder's stage computes; slices are valid until the next Encode.
type Encoded struct {
	Hidden  []float32 // [Rows, Length, hidden]; padding holds meaningless numbers
	Vectors []float32 // last stage of a model with a pooling: [Rows, hidden], pooled and normalised as the manifest says
	Pooled  []float32 // last stage of a model with a pooler: [Rows, hidden]
	Logits  []float32 // last stage of a classifier: [Rows, labels], or [Rows, Length, labels] where it labels tokens
	Labels  int       // width of Logits
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
	if s.span.To == c.Layers && s.manifest.Pooling != "" {
		e.Vectors = pool(e.Hidden, batch, c.Hidden, s.manifest.Pooling, s.manifest.Normalize)
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

// pool makes one vector of each row's token vectors: the first, or the mean over the row's tokens. hidden is [rows, length, width].
func pool(hidden []float32, batch EncodeBatch, width int, how model.Pooling, normalize bool) []float32 {
	out := make([]float32, batch.Rows*width)
	sum := make([]float64, width)
	for r := range batch.Rows {
		dst := out[r*width:][:width]
		if how == model.PoolCLS {
			copy(dst, hidden[r*batch.Length*width:])
		} else {
			clear(sum)
			tokens := 0
			for i := range batch.Length {
				if at := r*batch.Length + i; batch.Mask[at] == 1 {
					tokens++
					for j, v := range hidden[at*width:][:width] {
						sum[j] += float64(v)
					}
				}
			}
			for j := range dst {
				dst[j] = float32(sum[j] / float64(tokens))
			}
		}
		if normalize {
			unit(dst)
		}
	}
	return out
}

// unit scales v to length 1; a zero vector stays.
func unit(v []float32) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
}
