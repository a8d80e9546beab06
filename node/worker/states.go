package worker

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// states runs rows through a decoder for the hidden states of their tokens, as sequences of its batch that are not continued; of one request
// no more at once than the replica has rows.
func (d *duty) states(ctx context.Context, r *wire.EncodeRequest, span telemetry.Span) (*wire.EncodeResponse, error) {
	var asked []*arrival
	defer func() {
		for _, a := range asked { // those that are over do not mind
			d.head.post(d.ctx, event{cancel: a.ID})
		}
	}()
	out := &wire.EncodeResponse{}
	for i := range r.Rows {
		for len(asked) < min(len(r.Rows), i+d.stage.serving.Slots) {
			tokens := r.Rows[len(asked)].IDs
			a := &arrival{Arrival: batch.Arrival{ID: batch.ID(ids.Add(1)), Tokens: tokens, Hidden: true}, out: make(chan outcome, len(tokens)+2), span: span}
			if !d.head.post(d.ctx, event{arrival: a}) {
				return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: "the placement ended"}
			}
			asked = append(asked, a)
		}
		e, spent, err := d.gather(ctx, asked[i], r.Want)
		if err != nil {
			return nil, err
		}
		out.Rows, out.Device = append(out.Rows, e), out.Device+spent
	}
	return out, nil
}

// gather waits for all hidden states of a sequence, and makes what is wanted of them as they come.
func (d *duty) gather(ctx context.Context, a *arrival, want wire.EncodeWant) (e wire.EncodedRow, spent int64, err error) {
	width := d.stage.manifest.Config.Hidden
	how, normalize := want.How(d.stage.manifest)
	pooler := engine.NewPooler(width, how)
	for {
		var o outcome
		select {
		case o = <-a.out:
		case <-ctx.Done():
			return e, 0, ctx.Err()
		case <-d.ctx.Done():
			return e, 0, &wire.Refused{Code: connect.CodeUnavailable, Why: "the placement ended"}
		}
		if o.refused != nil {
			return e, 0, refusal(*o.refused)
		}
		pooler.Add(o.emit.Hidden)
		if want.Hidden {
			e.Hidden = append(e.Hidden, o.emit.Hidden...)
		}
		spent += o.spent
		if o.emit.Finish == batch.Running {
			continue
		}
		if n := pooler.Tokens(); n != len(a.Tokens) { // a stage of an older program knows nothing of hidden states
			return e, 0, &wire.Refused{Code: connect.CodeUnavailable, Why: fmt.Sprintf("the hidden states of %d tokens came back, want %d", n, len(a.Tokens))}
		}
		if how != "" {
			e.Vector = pooler.Vector(normalize)
		}
		return e, spent, nil
	}
}
