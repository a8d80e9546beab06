package worker

import (
	"context"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Bounds of what is traced, so that a long answer does not make a trace of thousands of steps.
const (
	maxTraced  = 16 // sequences of one step whose spans are made
	tracedStep = 32 // decoding steps of one sequence that have spans; all steps of its prefill have
)

// Kinds of steps, in metrics and spans.
const (
	stepPrefill = "prefill"
	stepDecode  = "decode"
	stepEncode  = "encode"
)

// Kinds lists them.
var Kinds = []string{stepPrefill, stepDecode, stepEncode}

// step is the sort of step that a message is.
func (m *message) step() string {
	switch {
	case m.Kind == kindEncode:
		return stepEncode
	case m.Prefill:
		return stepPrefill
	}
	return stepDecode
}

// headSpan begins the span of a request at its head.
func (w *worker) headSpan(ctx context.Context, id cluster.ReplicaID, epoch cluster.Epoch, tokens int) telemetry.Span {
	span := w.tracer.Below(wire.Trace(ctx), telemetry.SpanHead)
	if span.On() {
		span.Text(telemetry.KeyReplica, id.String())
		span.Number(telemetry.KeyEpoch, int(epoch))
		span.Number(telemetry.KeyTokens, tokens)
	}
	return span
}

// stageSpans begins the spans of a step on one stage, one for each traced sequence in it.
func (w *worker) stageSpans(m *message, stage int, s *loaded) (spans []telemetry.Span) {
	for _, parent := range m.Trace[:min(len(m.Trace), maxTraced)] {
		span := w.tracer.Below(parent, telemetry.SpanStage)
		if !span.On() {
			continue
		}
		span.Number(telemetry.KeyStage, stage)
		span.Text(telemetry.KeyStep, m.step())
		span.Text(telemetry.KeyBlocks, s.blocks)
		span.Number(telemetry.KeyTokens, max(m.Count, len(m.Past)))
		spans = append(spans, span)
	}
	return spans
}

// endSpans ends them.
func endSpans(spans []telemetry.Span, err error) {
	for _, s := range spans {
		if err != nil {
			s.Fail("stage failed")
		}
		s.End()
	}
}

// traced is a sequence whose request is traced: it is in one phase at a time.
type traced struct {
	head   telemetry.Span
	phase  telemetry.Span
	queued bool // the phase is the queue
	given  bool // the phase is the decoding
	steps  int  // of the decoding that have spans
}

// watch begins to trace a sequence.
func (t *turn) watch(a *arrival) {
	if a.span.On() {
		t.traced[a.ID] = &traced{head: a.span, queued: true, phase: t.head.w.tracer.Below(a.span.Traceparent(), telemetry.SpanQueue)}
	}
}

// enter ends a phase and begins the next one.
func (t *turn) enter(x *traced, phase string) {
	x.phase.End()
	x.queued, x.given = false, phase == telemetry.SpanDecode
	x.phase = t.head.w.tracer.Below(x.head.Traceparent(), phase)
}

// leave ends the phase of a sequence that is over.
func (t *turn) leave(id batch.ID, failure string) {
	if x := t.traced[id]; x != nil {
		if failure != "" {
			x.phase.Fail(failure)
		}
		x.phase.End()
		delete(t.traced, id)
	}
}

// emitted notes a token of a sequence, or its end.
func (t *turn) emitted(e batch.Emit) {
	if len(t.traced) == 0 {
		return
	}
	if x := t.traced[e.ID]; x != nil && e.Choice != nil && !x.given {
		t.enter(x, telemetry.SpanDecode)
	}
	if e.Finish != batch.Running {
		t.leave(e.ID, "")
	}
}

// parents are the traceparents of the traced sequences in a forward.
func (t *turn) parents(f batch.Forward) (list []string) {
	if len(t.traced) == 0 {
		return nil
	}
	at := func(row int) {
		id, ok := t.loop.At(row)
		x := t.traced[id]
		if !ok || x == nil || len(list) == maxTraced {
			return
		}
		if x.queued {
			t.enter(x, telemetry.SpanPrefill)
		}
		if x.given {
			if x.steps++; x.steps > tracedStep {
				return
			}
		}
		list = append(list, x.phase.Traceparent())
	}
	if f.Prefill {
		at(f.Row)
		return list
	}
	for _, w := range f.Wants {
		at(f.Row + w.Token)
	}
	return list
}
