package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/wire"
)

// stream answers wire.StageLink: steps come from the stage before, answers go back to it. Every frame is checked against the duty, so
// a stage before that was fenced off cannot reach the cache.
func (w *worker) stream(ctx context.Context, s *connect.BidiStream[wire.Frame, wire.Frame]) error {
	f, err := s.Receive()
	if err != nil {
		return nil
	}
	var hello message
	if err := hello.decode(*f); err != nil {
		return err
	}
	d, err := w.duty(hello.Replica, hello.Epoch, hello.Stage)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	w.supersede(d, cancel)
	release, err := d.stage.own(ctx)
	if err != nil {
		return &wire.Refused{Code: connect.CodeUnavailable, Why: errChain.Error()}
	}
	defer release()
	r := &relay{w: w, d: d, up: s}
	hello.Level = levelBegin
	if chain := w.chain(d); d.Stage < len(chain)-1 {
		if r.down, err = w.dial(ctx, chain[d.Stage+1], message{Kind: kindHello, Replica: d.Replica, Epoch: d.Epoch, Stage: d.Stage + 1}); err != nil {
			return &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error()}
		}
		defer r.down.close()
		hello.Level = min(hello.Level, r.down.level)
		w.running.Go(func() { r.back(cancel) })
	}
	if err := r.reply(&hello); err != nil {
		return err
	}
	return r.run(ctx)
}

// relay is one stage's part of a chain: frames go down, answers come back up.
type relay struct {
	w    *worker
	d    *duty
	down *link // nil on the last stage
	mu   sync.Mutex
	up   *connect.BidiStream[wire.Frame, wire.Frame]
	buf  wire.Frame
}

func (r *relay) run(ctx context.Context) error {
	frames := make(chan wire.Frame)
	failed := make(chan error, 1)
	go func() {
		for {
			f, err := r.up.Receive()
			if err != nil {
				failed <- err
				return
			}
			select {
			case frames <- *f:
			case <-ctx.Done():
				return
			}
		}
	}()
	var m message
	for {
		select {
		case f := <-frames:
			if err := r.forward(&m, f); err != nil {
				return err
			}
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return &wire.Refused{Code: connect.CodeUnavailable, Why: errChain.Error()}
		}
	}
}

// forward runs one frame on the stage and passes it on, down or back. A step that fails here is answered, and the stream goes on.
func (r *relay) forward(m *message, f wire.Frame) error {
	if err := m.decode(f); err != nil {
		return err
	}
	if m.Replica != r.d.Replica {
		return fmt.Errorf("%w: of %s on the stream of %s", errFrame, m.Replica, r.d.Replica)
	}
	if _, err := r.w.duty(m.Replica, m.Epoch, m.Stage); err != nil {
		return err
	}
	var err error
	var prepared []*compiled
	stage := r.d.stage
	if r.down == nil {
		prepared = stage.rows.prepare(m.Wants)
	}
	spans := r.w.stageSpans(m, m.Stage, stage)
	r.w.device.step(m.step(), len(m.Past), func() {
		began := time.Now()
		if err = stage.input(m); err != nil {
			return
		}
		switch {
		case m.Kind == kindEncode:
			if err = stage.encodeRow(m, r.down == nil); r.down == nil {
				m.Trace = nil
			}
		case r.down == nil:
			m.Choices, err = stage.choose(m, prepared)
			m.Kind, m.payload, m.Trace = kindChoices, stage.States(), nil // the head knows what is traced
		default:
			m.payload, err = stage.step(m)
		}
		if err == nil {
			m.Stage++
			m.Spent += time.Since(began).Microseconds()
			r.buf, err = m.encode(r.buf)
		}
	})
	endSpans(spans, err)
	if m.Kind == kindForward || m.Kind == kindEncode || m.Kind == kindChoices {
		m.payload = nil // it is the engine's memory
	}
	if err != nil {
		return r.reply(&message{Kind: kindFailed, Replica: m.Replica, Epoch: m.Epoch, Group: m.Group, Number: m.Number, Why: err.Error()})
	}
	if r.down != nil {
		return r.down.send(r.buf)
	}
	return r.send(r.buf)
}

// back passes answers up until the next stage is gone.
func (r *relay) back(end context.CancelFunc) {
	defer end()
	for {
		f, err := r.down.receiveFrame()
		if err != nil {
			return
		}
		if err := r.send(f); err != nil {
			return
		}
	}
}

func (r *relay) reply(m *message) error {
	f, err := m.encode(nil)
	if err != nil {
		return err
	}
	return r.send(f)
}

func (r *relay) send(f wire.Frame) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up.Send(&f)
}
