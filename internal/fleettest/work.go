package fleettest

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/wire"
)

// Work says how a machine answers generations: with as many tokens as were asked for, all the same.
type Work struct {
	Slots int                                         // generations at once; one more is refused as by a full replica. 0 = no bound
	Pace  time.Duration                               // of a token
	Seen  func(r *wire.GenerateRequest) (done func()) // if set, it is told of every generation that is taken, and of its end
}

// Work changes how a machine answers.
func (m *Machine) Work(w Work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.work = w
}

// Active is the number of generations under way.
func (m *Machine) Active() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active
}

// answerToken is what a machine says.
const answerToken = 5

// generate answers wire.Generate.
func (m *Machine) generate(ctx context.Context, r *wire.GenerateRequest, send func(*wire.GenerateResponse) error) error {
	m.mu.Lock()
	w := m.work
	if w.Slots > 0 && m.active >= w.Slots {
		m.mu.Unlock()
		return &wire.Refused{Code: connect.CodeResourceExhausted, Why: "queue full: every slot is taken"}
	}
	m.active++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.active--
		m.mu.Unlock()
	}()
	if w.Seen != nil {
		defer w.Seen(r)()
	}
	for i := range r.MaxTokens {
		select {
		case <-time.After(w.Pace):
		case <-ctx.Done():
			return ctx.Err()
		}
		res := &wire.GenerateResponse{Tokens: []sample.Choice{{Token: answerToken}}, Device: w.Pace.Microseconds()}
		if i == r.MaxTokens-1 {
			res.Finish = wire.FinishLength
		}
		if err := send(res); err != nil {
			return err
		}
	}
	return nil
}
