package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// maxEncodes bounds the rows of encoders that are on their way through a chain at once.
const maxEncodes = 64

// head is stage 0 of a replica at work: it takes requests, runs the batch loop, and sends steps down the chain.
type head struct {
	w      *worker
	id     cluster.ReplicaID
	epoch  cluster.Epoch
	stage  *loaded
	stages int
	events chan event
	encode chan struct{} // tickets
	count  atomic.Int64

	mu      sync.Mutex
	drain   bool
	next    string // endpoint of stage 1
	moved   chan struct{}
	link    *link // nil while the chain is down
	number  uint64
	pending map[uint64]chan message // encodes on their way
}

// event is something that the loop must know; one field is set.
type event struct {
	arrival *arrival
	cancel  batch.ID
	result  *batch.Result
	spent   int64  // with result: microseconds of device time, all stages together
	down    string // the chain broke: every step on its way is lost
}

// arrival is a request with the place where its tokens go.
type arrival struct {
	batch.Arrival
	out  chan outcome   // large enough for all that can come
	span telemetry.Span // of the request here
}

// outcome is a token, an end, or a refusal.
type outcome struct {
	emit    batch.Emit
	refused *batch.Refuse
	spent   int64 // microseconds of device time since the last one
}

func newHead(w *worker, d agent.Duty, s *loaded) *head {
	h := &head{w: w, id: d.Replica, epoch: d.Epoch, stage: s, stages: len(d.Chain), drain: d.Drain, events: make(chan event, 256),
		encode: make(chan struct{}, maxEncodes), moved: make(chan struct{}, 1), pending: map[uint64]chan message{}}
	if len(d.Chain) > 1 {
		h.next = d.Chain[1]
	}
	return h
}

// retarget takes what changed about a duty: where the next stage is, and whether to drain.
func (h *head) retarget(d agent.Duty) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drain = d.Drain
	if len(d.Chain) > 1 && d.Chain[1] != "" && h.next != d.Chain[1] {
		h.next = d.Chain[1]
		select {
		case h.moved <- struct{}{}:
		default:
		}
	}
}

// active is the number of sequences and encodes at work.
func (h *head) active() int { return int(h.count.Load()) }

// run keeps the chain connected and the loop turning until the duty ends.
func (h *head) run(ctx context.Context) {
	if h.stages > 1 {
		h.w.running.Go(func() { h.connect(ctx) })
	}
	if !h.stage.manifest.Config.Arch.Decoder() {
		return
	}
	loop, err := batch.New(batch.Config{Stages: h.stages, Slots: h.stage.serving.Slots, Context: h.stage.serving.Context})
	if err != nil {
		h.w.log.Error("no batch loop", "replica", h.id.String(), "err", err)
		return
	}
	release, err := h.stage.own(ctx)
	if err != nil {
		return // the duty ended
	}
	defer release()
	t := turn{head: h, loop: loop, out: map[batch.ID]chan outcome{}, flying: map[int]uint64{}, moving: map[int][]batch.ID{}, spent: map[batch.ID]int64{}, traced: map[batch.ID]*traced{}}
	t.run(ctx)
	t.launched.Wait()
}

// turn is the shell of batch.Loop: it waits, steps, and does what the loop says.
type turn struct {
	head   *head
	loop   *batch.Loop
	out    map[batch.ID]chan outcome
	flying map[int]uint64     // number of the forward in flight by group
	moving map[int][]batch.ID // sequences of the newest forward by group
	spent  map[batch.ID]int64 // device time of a sequence that its caller was not told yet, in microseconds
	traced map[batch.ID]*traced

	launched sync.WaitGroup // forwards that are not sent yet
}

func (t *turn) run(ctx context.Context) {
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	for {
		var in batch.Input
		select {
		case e := <-t.head.events:
			t.take(e, &in)
			for more := true; more; {
				select {
				case e := <-t.head.events:
					t.take(e, &in)
				default:
					more = false
				}
			}
		case <-wake.C:
		case <-ctx.Done():
			for _, out := range t.out {
				out <- outcome{refused: &batch.Refuse{Reason: batch.StageFailed, Why: "the placement ended"}}
			}
			for id := range t.traced {
				t.leave(id, string(batch.StageFailed))
			}
			return
		}
		o := t.loop.Step(time.Now(), in)
		t.do(ctx, o)
		if !o.Wake.IsZero() {
			wake.Reset(time.Until(o.Wake))
		}
	}
}

func (t *turn) take(e event, in *batch.Input) {
	switch {
	case e.arrival != nil:
		t.out[e.arrival.ID] = e.arrival.out
		in.Arrivals = append(in.Arrivals, e.arrival.Arrival)
		t.watch(e.arrival)
	case e.cancel != 0:
		delete(t.out, e.cancel)
		delete(t.spent, e.cancel)
		in.Cancels = append(in.Cancels, e.cancel)
		t.leave(e.cancel, "")
	case e.result != nil:
		if t.flying[e.result.Group] == e.result.Number {
			delete(t.flying, e.result.Group)
			t.charge(t.moving[e.result.Group], e.spent)
		}
		in.Results = append(in.Results, *e.result)
	case e.down != "":
		t.launched.Wait() // what is late would write rows that others have by then
		for group, number := range t.flying {
			in.Results = append(in.Results, batch.Result{Group: group, Number: number, Failed: e.down})
		}
		clear(t.flying)
	}
}

func (t *turn) do(ctx context.Context, o batch.Output) {
	for _, e := range o.Emits {
		t.emitted(e)
		if out := t.out[e.ID]; out != nil {
			out <- outcome{emit: e, spent: t.spent[e.ID]}
			t.spent[e.ID] = 0
			if e.Finish != batch.Running {
				delete(t.out, e.ID)
			}
		}
		if e.Finish != batch.Running {
			delete(t.spent, e.ID)
		}
	}
	for _, r := range o.Refusals {
		t.leave(r.ID, string(r.Reason))
		delete(t.spent, r.ID)
		if out := t.out[r.ID]; out != nil {
			out <- outcome{refused: &r}
			delete(t.out, r.ID)
		}
	}
	for _, f := range o.Forwards {
		t.flying[f.Group], t.moving[f.Group] = f.Number, f.IDs
		l, parents := t.head.current(), t.parents(f)
		t.launched.Add(1)
		go func() {
			r, spent, answered := t.head.forward(f, l, parents)
			t.launched.Done()
			if answered {
				t.head.post(ctx, event{result: &r, spent: spent})
			}
		}()
	}
}

// charge divides the device time of a step over the sequences that moved on by it.
func (t *turn) charge(ids []batch.ID, spent int64) {
	for _, id := range ids {
		if t.out[id] != nil {
			t.spent[id] += spent / int64(len(ids))
		}
	}
}

// forward runs a step through stage 0 and sends it on; a replica of one stage answers itself, as does a failure. The link is the one of the
// moment in which the loop decided: a later one belongs to other sequences. parents are the spans that this step belongs to.
func (h *head) forward(f batch.Forward, l *link, parents []string) (r batch.Result, spent int64, answered bool) {
	m := message{Kind: kindForward, Replica: h.id, Epoch: h.epoch, Stage: 1, Group: f.Group, Number: f.Number,
		Prefill: f.Prefill, Row: f.Row, Past: f.Past, Count: len(f.Tokens), Hidden: f.Hidden, Wants: f.Wants, Trace: parents}
	r = batch.Result{Group: f.Group, Number: f.Number}
	var frame wire.Frame
	var prepared []*compiled
	var err error
	switch {
	case h.stages == 1:
		prepared = h.stage.rows.prepare(f.Wants)
	case l != nil && l.level < levelBegin && begins(f.Wants):
		r.Failed = errOlder.Why // the stages are others than those that answered when the request came
		return r, 0, true
	}
	spans := h.w.stageSpans(&m, 0, h.stage)
	h.w.device.step(m.step(), len(f.Past), func() {
		began := time.Now()
		if err = h.stage.Embed(f.Tokens, positions(f), nil); err != nil {
			return
		}
		if h.stages == 1 {
			r.Choices, err = h.stage.choose(&m, prepared)
			r.Hidden = slices.Clone(h.stage.States())
			spent = time.Since(began).Microseconds()
			return
		}
		if m.payload, err = h.stage.step(&m); err == nil {
			m.Spent = time.Since(began).Microseconds()
			frame, err = m.encode(nil)
		}
	})
	endSpans(spans, err)
	if err == nil && frame != nil {
		if err = l.send(frame); err == nil {
			return r, 0, false // the answer comes over the link
		}
	}
	if err != nil {
		r.Failed = err.Error()
	}
	return r, spent, true
}

func positions(f batch.Forward) []int32 {
	if !f.Prefill {
		return f.Past
	}
	p := make([]int32, len(f.Tokens))
	for i := range p {
		p[i] = f.Past[0] + int32(i)
	}
	return p
}

func (h *head) post(ctx context.Context, e event) bool {
	select {
	case h.events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// current is the link to stage 1, nil while there is none.
func (h *head) current() *link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.link
}

// ready says whether a new request can be taken now; steered: one that the last stage must know of.
func (h *head) ready(steered bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.drain:
		return &wire.Refused{Code: connect.CodeUnavailable, Why: "the replica is draining"}
	case h.stages > 1 && h.link == nil:
		return &wire.Refused{Code: connect.CodeUnavailable, Why: errChain.Error()}
	case steered && h.stages > 1 && h.link.level < levelBegin:
		return errOlder
	}
	return nil
}

var ids atomic.Uint64

// generate answers wire.Generate.
func (w *worker) generate(ctx context.Context, r *wire.GenerateRequest, send func(*wire.GenerateResponse) error) error {
	d, err := w.duty(r.Replica, r.Epoch, 0)
	if err != nil {
		return err
	}
	cfg := d.stage.manifest.Config
	if !cfg.Arch.Decoder() {
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: "the model does not generate"}
	}
	if err := checkTokens(r.Tokens, cfg.Vocab); err != nil {
		return err
	}
	if err := r.Sampling.Validate(); err != nil {
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	begin, err := beginOf(r, cfg.Vocab)
	if err != nil {
		return err
	}
	if err := d.head.ready(begin != nil); err != nil {
		return err
	}
	span := w.headSpan(ctx, r.Replica, r.Epoch, len(r.Tokens))
	defer span.End()
	room := min(max(r.MaxTokens, 0), d.stage.serving.Context) + 2
	if d.head.stages == 1 {
		d.stage.rows.warm(ctx, begin)
	}
	a := &arrival{Arrival: batch.Arrival{ID: batch.ID(ids.Add(1)), Tokens: r.Tokens, Sampling: r.Sampling, MaxTokens: r.MaxTokens, EOS: r.EOS, Begin: begin}, out: make(chan outcome, room), span: span}
	d.head.begin()
	defer d.head.finish()
	if !d.head.post(d.ctx, event{arrival: a}) {
		return &wire.Refused{Code: connect.CodeUnavailable, Why: "the placement ended"}
	}
	return d.pass(ctx, a, send)
}

// pass hands tokens to the caller as they come, several at once where they came faster than they went.
func (d *duty) pass(ctx context.Context, a *arrival, send func(*wire.GenerateResponse) error) error {
	leave := func(err error) error {
		d.head.post(d.ctx, event{cancel: a.ID})
		return err
	}
	for {
		var res wire.GenerateResponse
		var o outcome
		select {
		case o = <-a.out:
		case <-ctx.Done():
			return leave(ctx.Err())
		case <-d.ctx.Done(): // the loop may have ended before it saw the arrival
			return &wire.Refused{Code: connect.CodeUnavailable, Why: "the placement ended"}
		}
		for {
			if o.refused != nil {
				return refusal(*o.refused)
			}
			res.Device += o.spent
			if o.emit.Choice != nil {
				res.Tokens = append(res.Tokens, *o.emit.Choice)
			}
			switch o.emit.Finish {
			case batch.Stop:
				res.Finish = wire.FinishStop
			case batch.Length:
				res.Finish = wire.FinishLength
			}
			if res.Finish != "" || len(a.out) == 0 {
				break
			}
			o = <-a.out
		}
		if err := send(&res); err != nil {
			return leave(err)
		}
		if res.Finish != "" {
			return nil
		}
	}
}

func refusal(r batch.Refuse) error {
	code := connect.CodeUnavailable
	switch r.Reason {
	case batch.Malformed, batch.TooLong, batch.NoneFollows:
		code = connect.CodeInvalidArgument
	case batch.QueueFull, batch.WaitedLong:
		code = connect.CodeResourceExhausted
	}
	return &wire.Refused{Code: code, Why: fmt.Sprintf("%s: %s", r.Reason, r.Why)}
}

func checkTokens(tokens []int32, vocab int) error {
	if i := slices.IndexFunc(tokens, func(t int32) bool { return t < 0 || int(t) >= vocab }); i >= 0 {
		return &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("token %d at %d is not in a vocabulary of %d", tokens[i], i, vocab)}
	}
	return nil
}

func (h *head) begin()  { h.count.Add(1); h.w.tellActive() }
func (h *head) finish() { h.count.Add(-1); h.w.tellActive() }
