package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// encodeGroup marks messages of encoders, which have no groups.
const encodeGroup = -1

// encode answers wire.EncodeRows. Rows of an encoder run one by one: batching encoders gains nothing on a CPU, and a row alone can never
// be changed by another's padding. Those of a decoder take their places in its batch.
func (w *worker) encode(ctx context.Context, r *wire.EncodeRequest) (*wire.EncodeResponse, error) {
	d, err := w.duty(r.Replica, r.Epoch, 0)
	if err != nil {
		return nil, err
	}
	cfg := d.stage.manifest.Config
	if err := checkWant(r.Want, d.stage.manifest); err != nil {
		return nil, err
	}
	for i, row := range r.Rows {
		if err := checkRow(row, r.Want, d.stage.manifest, d.stage.serving.Context); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	if err := d.head.ready(false); err != nil {
		return nil, err
	}
	tokens := 0
	for _, row := range r.Rows {
		tokens += len(row.IDs)
	}
	span := w.headSpan(ctx, r.Replica, r.Epoch, tokens)
	defer span.End()
	d.head.begin()
	defer d.head.finish()
	if cfg.Arch.Decoder() {
		return d.states(ctx, r, span)
	}
	out := &wire.EncodeResponse{}
	for _, row := range r.Rows {
		e, spent, err := d.head.encodeRow(ctx, d.ctx, row, r.Want, span)
		if err != nil {
			return nil, err
		}
		out.Rows, out.Device = append(out.Rows, e), out.Device+spent
	}
	return out, nil
}

// checkWant refuses what the model has no outputs for.
func checkWant(w wire.EncodeWant, m *model.Manifest) error {
	switch {
	case m.Config.Arch == model.Graph && m.Graph.Text == nil:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: "the model takes tensors, not tokens"}
	case w.Top < 0 || w.Top > model.MaxTopLogprobs:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d tokens for each mask, at most %d", w.Top, model.MaxTopLogprobs)}
	case w.Pooling != "" && w.Pooling != model.PoolCLS && w.Pooling != model.PoolMean && w.Pooling != model.PoolLast:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("pooling %.40q is not known", w.Pooling)}
	case m.Config.Arch.Decoder() && (w.Logits || w.Pooled || w.Top > 0):
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: "the model is no encoder"}
	}
	return nil
}

func checkRow(row wire.EncodeRow, want wire.EncodeWant, m *model.Manifest, context int) error {
	n, cfg := len(row.IDs), m.Config
	switch {
	case n == 0 || n > context:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d tokens, want 1 to %d", n, context)}
	case (want.Hidden || !cfg.Arch.Decoder()) && n*cfg.Hidden > maxPayload:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d tokens of %d numbers are more than the %d between two stages", n, cfg.Hidden, maxPayload)}
	case len(row.Types) != 0 && len(row.Types) != n:
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d segment ids for %d tokens", len(row.Types), n)}
	}
	if len(row.Masks) > model.MaxMasks || len(row.Masks) > 0 && !m.Can(model.FillMask) {
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%d masks; at most %d are filled, and only by a model that does", len(row.Masks), model.MaxMasks)}
	}
	if i := slices.IndexFunc(row.Masks, func(at int32) bool { return at < 0 || int(at) >= n }); i >= 0 {
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("a mask at %d of %d tokens", row.Masks[i], n)}
	}
	if err := checkTokens(row.IDs, cfg.Vocab); err != nil {
		return err
	}
	return checkTokens(row.Types, max(cfg.Types, 1))
}

// encodeRow runs a row through stage 0 and waits for the chain's answer.
func (h *head) encodeRow(ctx, duty context.Context, row wire.EncodeRow, want wire.EncodeWant, span telemetry.Span) (e wire.EncodedRow, spent int64, err error) {
	release, err := h.seat(ctx)
	if err != nil {
		return e, 0, err
	}
	defer release()
	m := message{Kind: kindEncode, Replica: h.id, Epoch: h.epoch, Stage: 1, Group: encodeGroup, Count: len(row.IDs), Want: want, Masks: row.Masks}
	if span.On() {
		m.Trace = []string{span.Traceparent()}
	}
	back := make(chan message, 1)
	h.mu.Lock()
	h.number++
	m.Number = h.number
	h.pending[m.Number] = back
	h.mu.Unlock()
	defer h.forget(m.Number)
	frame, err := h.first(&m, row)
	if err != nil {
		return e, 0, err
	}
	if frame == nil {
		return m.row(), m.Spent, nil
	}
	if err := h.current().send(frame); err != nil {
		return e, 0, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
	}
	select {
	case m = <-back:
	case <-ctx.Done():
		return e, 0, ctx.Err()
	case <-duty.Done():
		return e, 0, &wire.Refused{Code: connect.CodeUnavailable, Why: "the placement ended"}
	}
	if m.Kind != kindEncoded {
		return e, 0, &wire.Refused{Code: connect.CodeUnavailable, Why: m.Why}
	}
	return m.row(), m.Spent, nil
}

// seat waits until fewer than maxEncodes rows are at work.
func (h *head) seat(ctx context.Context) (release func(), err error) {
	select {
	case h.encode <- struct{}{}:
		return func() { <-h.encode }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// first runs stage 0; the frame is nil if that was all.
func (h *head) first(m *message, row wire.EncodeRow) (frame wire.Frame, err error) {
	pos, types := make([]int32, len(row.IDs)), row.Types
	for i := range pos {
		pos[i] = int32(i)
	}
	if len(types) == 0 {
		types = make([]int32, len(row.IDs))
	}
	spans := h.w.stageSpans(m, 0, h.stage)
	defer func() { endSpans(spans, err) }()
	h.w.device.step(stepEncode, 1, func() {
		began := time.Now()
		if h.stage.graph != nil {
			err = h.stage.encodeText(m, row)
		} else if err = h.stage.Embed(row.IDs, pos, types); err == nil {
			err = h.stage.encodeRow(m, h.stages == 1)
		}
		m.Spent = time.Since(began).Microseconds()
		if err == nil && h.stages > 1 {
			frame, err = m.encode(nil)
		}
	})
	return frame, err
}

func (h *head) forget(number uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pending, number)
}

// row takes the outputs out of an answer.
func (m *message) row() wire.EncodedRow {
	e := wire.EncodedRow{Fills: m.Fills}
	rest := m.payload
	for i, to := range []*wire.Floats{&e.Hidden, &e.Vector, &e.Logits, &e.Pooled} {
		n := min(max(m.Sizes[i], 0), len(rest))
		*to, rest = append(*to, rest[:n]...), rest[n:]
	}
	return e
}
