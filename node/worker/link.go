package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/wire"
)

// Pace of connecting to the next stage.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

var errChain = errors.New("worker: the next stage does not answer")

// link is an open stream to the next stage. Frames may be sent by several goroutines; one receives.
type link struct {
	mu     sync.Mutex
	stream *connect.BidiStreamForClient[wire.Frame, wire.Frame]
	cancel context.CancelFunc
	level  int // message.Level of what answered
}

// dial opens the stream to a stage and waits until it, and everything behind it, answers.
func (w *worker) dial(ctx context.Context, addr string, hello message) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{stream: wire.Frames(ctx, w.dialer, addr), cancel: cancel}
	f, err := hello.encode(nil)
	if err == nil {
		err = l.send(f)
	}
	var back message
	if err == nil {
		err = l.receive(&back)
	}
	if err == nil && back.Kind != kindHello {
		err = fmt.Errorf("%w: %s: %s", errChain, back.Kind, back.Why)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	l.level = back.Level
	return l, nil
}

// send sends a frame. Without a link it fails.
func (l *link) send(f wire.Frame) error {
	if l == nil {
		return errChain
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.stream.Send(&f); err != nil {
		return fmt.Errorf("%w: %w", errChain, err)
	}
	return nil
}

// receiveFrame reads the next frame; it is valid until the next call.
func (l *link) receiveFrame() (wire.Frame, error) {
	f, err := l.stream.Receive()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errChain, wire.FromPeer(err))
	}
	return *f, nil
}

func (l *link) receive(m *message) error {
	f, err := l.receiveFrame()
	if err != nil {
		return err
	}
	return m.decode(f)
}

func (l *link) close() {
	l.cancel()
	l.stream.CloseResponse()
}

// connect keeps the head's link to stage 1 up until ctx ends.
func (h *head) connect(ctx context.Context) {
	pause := retryFirst
	for ctx.Err() == nil {
		h.mu.Lock()
		addr := h.next
		h.mu.Unlock()
		if addr != "" {
			began := time.Now()
			err := h.converse(ctx, addr)
			if ctx.Err() != nil {
				return
			}
			h.w.log.Info("the chain is down", "replica", h.id.String(), "next", addr, "err", err)
			if time.Since(began) > retryMost {
				pause = retryFirst
			}
		}
		select {
		case <-h.moved:
			pause = retryFirst
		case <-time.After(pause):
			pause = min(2*pause, retryMost)
		case <-ctx.Done():
		}
	}
}

// converse opens the link, takes answers from it until it breaks or the next stage moves, and then fails what was on its way.
func (h *head) converse(duty context.Context, addr string) error {
	ctx, cancel := context.WithCancel(duty)
	defer cancel()
	l, err := h.w.dial(ctx, addr, message{Kind: kindHello, Replica: h.id, Epoch: h.epoch, Stage: 1})
	if err != nil {
		return err
	}
	defer l.close()
	h.setLink(l)
	h.w.running.Go(func() {
		select {
		case <-h.moved:
			cancel()
		case <-ctx.Done():
		}
	})
	for {
		var m message
		if err = l.receive(&m); err != nil {
			break
		}
		h.answer(ctx, m)
	}
	h.setLink(nil)
	l.close() // so that what is being sent fails too
	h.lose(duty, err)
	return err
}

func (h *head) setLink(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.link = l
}

// lose fails everything that was on its way.
func (h *head) lose(ctx context.Context, why error) {
	h.mu.Lock()
	lost := h.pending
	h.pending = map[uint64]chan message{}
	h.mu.Unlock()
	for _, c := range lost {
		c <- message{Kind: kindFailed, Why: why.Error()}
	}
	if h.stage.manifest.Config.Arch.Decoder() {
		h.post(ctx, event{down: why.Error()})
	}
}

// answer takes a message that came back up the chain.
func (h *head) answer(ctx context.Context, m message) {
	h.mu.Lock()
	c := h.pending[m.Number]
	if m.Group == encodeGroup {
		delete(h.pending, m.Number)
	}
	h.mu.Unlock()
	switch {
	case m.Group == encodeGroup:
		if c != nil {
			c <- m
		}
	case m.Kind == kindFailed:
		h.post(ctx, event{result: &batch.Result{Group: m.Group, Number: m.Number, Failed: m.Why}})
	default:
		h.post(ctx, event{result: &batch.Result{Group: m.Group, Number: m.Number, Choices: m.Choices, Hidden: m.payload}, spent: m.Spent})
	}
}
