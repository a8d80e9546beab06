package engine

import (
	"errors"

	"github.com/skein-project/skein/engine/graph"
	"github.com/skein-project/skein/engine/ort"
)

// rows is a contiguous range of rows of the KV slabs, and whether a last stage's hidden states are bound too: what a binding has once had it
// keeps.
type rows struct {
	first, count int
	hidden       bool
}

// rowViews bounds how many bindings a stage keeps, per row of its slabs. A stage in steady use needs three: to prefill the row, to prefill
// it for its hidden states, and to decode from the first row of its group up to it.
const rowViews = 4

// kvView is a binding of the session with the KV slabs bound, as past and as present, to a range of rows.
type kvView struct {
	binding *ort.Binding
	tensors []*ort.Tensor
}

// view gives the binding for a range of rows; it is made on first use.
func (s *Stage) view(at rows) (*kvView, error) {
	if v, ok := s.views[at]; ok {
		return v, nil
	}
	if len(s.views) >= rowViews*s.serving.Slots { // rows are in use in an unusual number of ways: begin again
		for k, v := range s.views {
			if err := v.close(); err != nil {
				return nil, err
			}
			delete(s.views, k)
		}
	}
	v, err := s.newView(at)
	if err != nil {
		return nil, errors.Join(err, v.close())
	}
	s.views[at] = v
	return v, nil
}

func (s *Stage) newView(at rows) (v *kvView, err error) {
	v = &kvView{}
	if v.binding, err = s.session.Bind(); err != nil {
		return v, err
	}
	c := s.config
	slab := func(b *ort.Buffer, past, present string) error {
		t, err := b.Tensor(s.elem, s.elem.Size()*int64(at.first)*int64(s.rowSize()),
			int64(at.count), int64(c.KVHeads), int64(s.serving.Context), int64(c.HeadDim))
		if err != nil {
			return err
		}
		v.tensors = append(v.tensors, t)
		return errors.Join(v.binding.Input(past, t), v.binding.Output(present, t))
	}
	for i := range s.keys {
		block := s.span.From + i
		if err := slab(s.keys[i], graph.PastKey(block), graph.PresentKey(block)); err != nil {
			return v, err
		}
		if err := slab(s.values[i], graph.PastValue(block), graph.PresentValue(block)); err != nil {
			return v, err
		}
	}
	if s.graph.Rope {
		for name, b := range map[string]*ort.Buffer{graph.Cos: s.cos, graph.Sin: s.sin} {
			if err := v.constant(b, s.elem, name, int64(s.serving.Context), int64(c.HeadDim/2)); err != nil {
				return v, err
			}
		}
	}
	return v, nil
}

// constant binds an input whose shape is the same in all steps.
func (v *kvView) constant(b *ort.Buffer, e ort.Elem, name string, shape ...int64) error {
	t, err := b.Tensor(e, 0, shape...)
	if err != nil {
		return err
	}
	v.tensors = append(v.tensors, t)
	return v.binding.Input(name, t)
}

func (v *kvView) close() error {
	var errs []error
	if v.binding != nil {
		errs = append(errs, v.binding.Close())
	}
	for _, t := range v.tensors {
		errs = append(errs, t.Close())
	}
	return errors.Join(errs...)
}

// keep saves what a decode step would spoil in idle rows. The kernel has no way to skip a row: an idle one runs as a row of length 1,
// which writes its position 0. The function it returns puts the keys and values of that position back. (On a device no idle row runs.)
func (s *Stage) keep(step Step) (restore func()) {
	s.saved = s.saved[:0]
	s.idle(step, func(at []float32) { s.saved = append(s.saved, at...) })
	return func() {
		rest := s.saved
		s.idle(step, func(at []float32) { rest = rest[copy(at, rest):] })
	}
}

// idle visits position 0 of every head of every idle row, in a fixed order.
func (s *Stage) idle(step Step, visit func(at []float32)) {
	d := s.config.HeadDim
	if step.Prefill || s.backend.device() {
		return
	}
	for i, p := range step.Rows.Positions {
		if p != Idle {
			continue
		}
		row := (step.Rows.First + i) * s.rowSize()
		for _, slabs := range [][]*ort.Buffer{s.keys, s.values} {
			for _, b := range slabs {
				for head := range s.config.KVHeads {
					visit(b.Float32s()[row+head*s.serving.Context*d:][:d])
				}
			}
		}
	}
}
