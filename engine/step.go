package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
)

// Idle is the position of a row that takes no part in a decode step.
const Idle = -1

// Rows is a contiguous range of KV rows, advanced by one token each.
type Rows struct {
	First     int
	Positions []int32 // tokens already in each row's cache; Idle = the row is left as it is
}

// Step is one forward pass of a decoder's stage: a piece of a prompt into one row, or one token for each of a range of rows.
type Step struct {
	Prefill bool
	Row     int  // prefill: row of the KV slab
	Past    int  // prefill: tokens already in the row
	Count   int  // prefill: tokens in this piece (≤ shard.Chunk)
	Rows    Rows // decode
	// Want is for the last stage: indices into the step's tokens whose logits are wanted, ascending or not; may be empty. More than one
	// per row of the cache take memory beyond what shard.Foot promises.
	Want []int
	// Hidden is for the last stage, in a prefill: the hidden states of all its tokens are wanted (Stage.States).
	Hidden bool
}

// Tokens is the number of tokens of the step.
func (step Step) Tokens() int {
	if step.Prefill {
		return step.Count
	}
	return len(step.Rows.Positions)
}

// check says whether the step fits the stage.
func (s *Stage) check(step Step) error {
	if !s.config.Arch.Decoder() {
		return fmt.Errorf("%w: an encoder has no KV cache; use Encode", ErrStep)
	}
	n := step.Tokens()
	if err := s.fits(n); err != nil {
		return err
	}
	if step.Prefill {
		if step.Row < 0 || step.Row >= s.serving.Slots || step.Past < 0 || step.Past > s.serving.Context-step.Count {
			return fmt.Errorf("%w: %d tokens behind %d in row %d (%d rows of %d tokens)", ErrStep, step.Count, step.Past, step.Row, s.serving.Slots, s.serving.Context)
		}
	} else {
		if step.Rows.First < 0 || step.Rows.First > s.serving.Slots-n {
			return fmt.Errorf("%w: rows %d to %d of %d", ErrStep, step.Rows.First, step.Rows.First+n, s.serving.Slots)
		}
		for i, p := range step.Rows.Positions {
			if p < Idle || int(p) >= s.serving.Context {
				return fmt.Errorf("%w: row %d at position %d of %d", ErrStep, step.Rows.First+i, p, s.serving.Context)
			}
		}
	}
	for _, w := range step.Want {
		if w < 0 || w >= n {
			return fmt.Errorf("%w: logits of token %d of %d", ErrStep, w, n)
		}
	}
	if step.Hidden && !step.Prefill {
		return fmt.Errorf("%w: hidden states are given of a prefill only", ErrStep)
	}
	if len(step.Want) > s.capacity {
		return fmt.Errorf("%w: %d rows of logits (at most %d)", ErrStep, len(step.Want), s.capacity)
	}
	return nil
}

// Run computes one step from the input buffer (Embed or Input). The result is [tokens, hidden], or on the last stage logits
// [len(Want), vocab] (nil where nothing is wanted); it is valid until the next Run. An error that wraps ErrStep means that nothing was
// run; one that wraps ErrRun that the cache of the step's rows is undefined.
func (s *Stage) Run(step Step) ([]float32, error) {
	if err := s.check(step); err != nil {
		return nil, err
	}
	if s.backend.device() && !step.Prefill && slices.Contains(step.Rows.Positions, Idle) {
		return s.around(step)
	}
	return s.forward(step)
}

// around computes a step without its idle rows, range by range: on a device, where their cache cannot be put back afterwards. The results
// of idle rows are zeros.
func (s *Stage) around(step Step) ([]float32, error) {
	h, last := s.config.Hidden, s.logits != nil
	width, length := h, step.Tokens()
	if last {
		width, length = s.config.Vocab, len(step.Want)
	}
	out := make([]float32, length*width)
	positions := step.Rows.Positions
	var to int
	for from := 0; from < len(positions); from = to {
		for to = from; to < len(positions) && (positions[to] == Idle) == (positions[from] == Idle); {
			to++
		}
		if positions[from] == Idle {
			continue
		}
		part := Step{Rows: Rows{First: step.Rows.First + from, Positions: positions[from:to]}}
		var places []int
		for i, w := range step.Want {
			if from <= w && w < to {
				part.Want, places = append(part.Want, w-from), append(places, i)
			}
		}
		copy(s.hidden.Float32s(), s.hidden.Float32s()[from*h:to*h]) // over what an earlier range has used
		got, err := s.forward(part)
		if err != nil {
			return nil, err
		}
		if !last {
			copy(out[from*width:], got)
			continue
		}
		for i, place := range places {
			copy(out[place*width:][:width], got[i*width:])
		}
	}
	if last && len(step.Want) == 0 {
		return nil, nil
	}
	return out, nil
}

// forward computes a step that fits.
func (s *Stage) forward(step Step) (out []float32, err error) {
	n := step.Tokens()
	last := s.logits != nil
	at := rows{first: step.Row, count: 1, hidden: last && step.Hidden}
	batch, length, longest := 1, n, step.Past+n
	if step.Prefill {
		s.lengths.Int32s()[0] = int32(longest - 1)
	} else {
		at = rows{first: step.Rows.First, count: n}
		batch, length, longest = n, 1, 1
		for i, p := range step.Rows.Positions {
			p = max(p, 0)
			s.lengths.Int32s()[i] = p
			longest = max(longest, int(p)+1)
		}
	}
	s.longest.Int32s()[0] = int32(longest)

	view, err := s.view(at)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	h := int64(s.config.Hidden)
	io := []connection{
		{name: graph.Hidden, buffer: s.hidden, elem: ort.Float32, shape: []int64{int64(batch), int64(length), h}},
		{name: graph.Lengths, buffer: s.lengths, elem: ort.Int32, shape: []int64{int64(batch)}},
		{name: graph.Longest, buffer: s.longest, elem: ort.Int32, shape: []int64{1}},
	}
	if last {
		io = append(io, s.selected(step.Want)...)
	}
	if !last || step.Hidden {
		io = append(io, connection{name: graph.Out, buffer: s.out, elem: ort.Float32, shape: []int64{int64(batch), int64(length), h}, out: true})
	}
	restore := s.keep(step)
	s.states = 0
	err = s.run(view.binding, io, n, longest)
	restore()
	switch {
	case err != nil:
		return nil, err
	case last && step.Hidden:
		s.states = n
	}
	switch {
	case last && len(step.Want) == 0:
		return nil, nil
	case last:
		return s.logits.Float32s()[:len(step.Want)*s.config.Vocab], nil
	}
	return s.out.Float32s()[:n*s.config.Hidden], nil
}

// selected binds the rows whose logits are wanted. The graph needs at least one; where none is wanted the first is computed in vain.
func (s *Stage) selected(want []int) []connection {
	s.sel.Int64s()[0] = 0
	for i, w := range want {
		s.sel.Int64s()[i] = int64(w)
	}
	r := int64(max(len(want), 1))
	return []connection{
		{name: graph.Select, buffer: s.sel, elem: ort.Int64, shape: []int64{r}},
		{name: graph.Logits, buffer: s.logits, elem: ort.Float32, shape: []int64{r, int64(s.config.Vocab)}, out: true},
	}
}

// States is the hidden states that the newest step gave as Step.Hidden asked, [tokens, hidden], behind the model's last norm; nil if it did not.
// It is valid until the next Run.
func (s *Stage) States() []float32 {
	if s.states == 0 {
		return nil
	}
	return s.out.Float32s()[:s.states*s.config.Hidden]
}

// connection binds a buffer, in the shape of one step, to an input or output.
type connection struct {
	name   string
	buffer *ort.Buffer
	elem   ort.Elem
	off    int64 // bytes
	shape  []int64
	out    bool
}

// run binds what changes from step to step and runs the graph. Memory of the runtime grows with the largest step, so the growth of each
// new largest one is added to what the stage uses. length is that of the longest row, with its cache.
func (s *Stage) run(b *ort.Binding, io []connection, tokens, length int) error {
	err := bound(b, io, func() (err error) {
		if tokens <= s.most.tokens && length <= s.most.length {
			return b.Run()
		}
		s.most.tokens, s.most.length = max(s.most.tokens, tokens), max(s.most.length, length)
		var grown gpu.Bytes
		grown, err = b.RunMeasured()
		s.native += grown
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: blocks %d to %d, %d tokens: %w", ErrRun, s.span.From, s.span.To, tokens, err)
	}
	return nil
}

// bound calls f while the connections are made.
func bound(b *ort.Binding, io []connection, f func() error) (err error) {
	tensors := make([]*ort.Tensor, 0, len(io))
	defer func() {
		for _, t := range tensors {
			err = errors.Join(err, t.Close())
		}
	}()
	for _, c := range io {
		t, err := c.buffer.Tensor(c.elem, c.off, c.shape...)
		if err != nil {
			return err
		}
		tensors = append(tensors, t)
		bind := b.Input
		if c.out {
			bind = b.Output
		}
		if err := bind(c.name, t); err != nil {
			return err
		}
	}
	return f()
}
