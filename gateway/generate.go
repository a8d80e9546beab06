package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/token"
	"github.com/skein-project/skein/wire"
)

// Ask is a generation as every protocol asks for it.
type Ask struct {
	Tokens    []int32 // the prompt
	Sampling  model.Sampling
	Stops     []string
	MaxTokens int      // 0 = as many as the context leaves
	Marks     []string // special tokens that show in the answer's text; others do not

	Bias       []sample.Bias   // by token id
	Constraint *grammar.Source // what the answer's text looks like, which Compile takes; nil = like anything

	again func(*text) ([]int32, error) // the prompt for another version; nil = it is not asked
}

// limit sets MaxTokens to what a client asked for.
func (a *Ask) limit(n int) error {
	if n < 1 {
		return invalid("max_tokens", "max_tokens is %d, want at least 1", n)
	}
	a.MaxTokens = n
	return nil
}

// Piece is a part of an answer.
type Piece struct {
	Text   string
	Tokens []Token
	Finish Finish // only in the last piece
	Usage  Usage  // only in the last piece
	Stop   string // the stop string that was reached; only in the last piece
}

// Token is one token of an answer, with log-probabilities where asked for.
type Token struct {
	sample.Choice
	Text string
}

// Finish says why an answer ended.
type Finish string

// Reasons.
const (
	FinishStop   Finish = "stop"   // the model ended it, or a stop string was reached
	FinishLength Finish = "length" // max_tokens or the context was reached
)

// Usage counts tokens.
type Usage struct{ Prompt, Completion int }

var (
	errStopped  = errors.New("gateway: stopped") // ends a generation from this side: a stop string, or a sink that has enough
	errNoAnswer = errors.New("gateway: no replica answered")
	errEnded    = errors.New("gateway: the replica's answer has no end")
	errOlder    = &Error{Fault: FaultUnavailable, Param: "model", Why: "every replica of the model that could answer runs an older program, which knows no penalties, no bias and no constraints: upgrade its nodes"}
)

// generate answers an ask that was admitted piece by piece. A replica that fails is replaced by another, which continues from the tokens that were given:
// the caller sees a pause, never an error, never a token twice.
func (s *Server) generate(ctx context.Context, t *text, a Ask, send func(Piece) error) error {
	var given *transcript
	if t.shadow != nil && a.again != nil && len(a.Bias) == 0 { // a bias is of this version's tokens
		given = &transcript{}
		tell := send
		send = func(p Piece) error { given.add(p); return tell(p) }
	}
	w := &writer{call: callOf(ctx), decoder: t.decoder(), marks: t.marks(a.Marks), stop: stopper{stops: a.Stops}, send: send, usage: Usage{Prompt: len(a.Tokens)}}
	finish, err := s.tokens(ctx, t, a, w.take)
	err = w.finish(err, finish)
	if err == nil && given != nil {
		s.shadowGenerate(ctx, t, a, given)
	}
	return err
}

func (t *text) decoder() *token.Decoder {
	if t.tokenizer == nil {
		return nil
	}
	return t.tokenizer.NewDecoder(true)
}

// marks are the ids of those texts that are special tokens.
func (t *text) marks(texts []string) map[int32]string {
	ids := map[int32]string{}
	for _, mark := range texts {
		if id, ok := t.tokenizer.ID(mark); ok && t.tokenizer.IsSpecial(id) {
			ids[id] = mark
		}
	}
	return ids
}

// maxStop bounds a stop string in bytes.
const maxStop = 4096

// check refuses what no replica could answer, and fills in MaxTokens.
func (s *Server) check(t *text, a *Ask) error {
	if !t.manifest.Can(model.Generate) {
		return &Error{Fault: FaultTask, Param: "model", Why: fmt.Sprintf("%s does not generate text", t.version)}
	}
	if err := a.Sampling.Validate(); err != nil {
		if bad, ok := errors.AsType[model.Invalid](err); ok {
			return invalid(bad.What, "%s: %s", bad.What, bad.Why)
		}
		return err
	}
	if len(a.Stops) > s.cfg.MaxStops || slices.ContainsFunc(a.Stops, func(stop string) bool { return stop == "" || len(stop) > maxStop }) {
		return invalid("stop", "%d stop strings: at most %d, each of 1 to %d bytes", len(a.Stops), s.cfg.MaxStops, maxStop)
	}
	if len(a.Stops) > 0 && t.tokenizer == nil {
		return invalid("stop", "the model has no tokenizer, so it has no text to stop")
	}
	if a.Constraint != nil && t.tokenizer == nil {
		return invalid("response_format", "the model has no tokenizer, so it has no text to constrain")
	}
	if err := t.checkBias(a.Bias); err != nil {
		return err
	}
	if len(a.Tokens) == 0 {
		return invalid("prompt", "the prompt is empty")
	}
	if err := t.known(a.Tokens, "prompt"); err != nil {
		return err
	}
	return s.room(t, a)
}

// room refuses a prompt that leaves no room for an answer, and an answer that no prompt leaves room for. Otherwise MaxTokens becomes what there is
// room for at most.
func (s *Server) room(t *text, a *Ask) error {
	context := s.context(t)
	room := context - len(a.Tokens)
	switch {
	case room < 1:
		return &Error{Fault: FaultContext, Param: "prompt", Why: fmt.Sprintf("this model's maximum context length is %d tokens, and the prompt has %d: no room for an answer", context, len(a.Tokens))}
	case a.MaxTokens < 0 || a.MaxTokens > context:
		return invalid("max_tokens", "max_tokens is %d, want 1 to the context of %d", a.MaxTokens, context)
	case a.MaxTokens == 0 || a.MaxTokens > room:
		a.MaxTokens = room
	}
	return nil
}

// known refuses token ids that the model does not have.
func (t *text) known(ids []int32, param string) error {
	vocab := t.manifest.Config.Vocab
	if i := slices.IndexFunc(ids, func(id int32) bool { return id < 0 || int(id) >= vocab }); i >= 0 {
		return invalid(param, "token %d at %d is not in the model's vocabulary of %d", ids[i], i, vocab)
	}
	return nil
}

// context is the length of the sequences that the version is deployed for, or could be.
func (s *Server) context(t *text) int {
	if d, ok := s.live.Now().Deployment(t.version); ok && d.Serving.Context > 0 {
		return d.Serving.Context
	}
	return t.manifest.Context()
}

// tokens runs a generation to its end, over as many placements as it takes.
func (s *Server) tokens(ctx context.Context, t *text, a Ask, take func(sample.Choice) error) (Finish, error) {
	req := &wire.GenerateRequest{Tokens: slices.Clone(a.Tokens), Sampling: a.Sampling, MaxTokens: a.MaxTokens, EOS: t.manifest.EOS, Bias: a.Bias}
	if a.Constraint != nil {
		req.Constraint, req.Marks = t.asTokens(a.Constraint), a.Marks
	}
	way := wire.Generate
	if req.Steered() {
		way = wire.Steer
	}
	var finish Finish
	noted := callOf(ctx)
	err := s.onReplica(ctx, t.version, len(a.Tokens)+a.MaxTokens, func(ctx context.Context, r router.Route) error {
		req.Replica, req.Epoch = r.Replica, r.Epoch
		err := wire.Read(ctx, s.dialer, cluster.RoleNode, r.Head(), way, req, func(res *wire.GenerateResponse) error {
			noted.cost(time.Duration(res.Device) * time.Microsecond)
			for _, c := range res.Tokens {
				// The journal: what was given is part of the next attempt's prompt.
				req.Tokens = append(req.Tokens, c.Token)
				req.Given++
				req.MaxTokens--
				noted.gave()
				if err := take(c); err != nil {
					return final{err}
				}
			}
			finish = Finish(res.Finish)
			return nil
		})
		switch {
		case err == nil && finish == "":
			err = errEnded
		case way == wire.Steer && connect.CodeOf(err) == connect.CodeUnimplemented: // the program knows no such call
			err = &wire.Refused{Code: connect.CodeUnimplemented, Why: errOlder.Why}
		}
		return err
	}, func() bool { return finish != "" || req.MaxTokens == 0 }, func() int { return len(req.Tokens) })
	if err == nil && finish == "" {
		finish = FinishLength // the placement died just after the last token
	}
	return finish, err
}

// final wraps an error that no other replica would change.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Pause before placements that just failed are tried again, if there are no others.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = time.Second
)

// effort is what a request has spent on finding a replica that answers.
type effort struct {
	s        *Server
	version  cluster.VersionID
	excluded []router.Placed // failed since the last pause
	last     error
	begun    bool // an answer is under way: it waits for room rather than fail
	pause    time.Duration
	deadline time.Time // Config.Patience after the last progress
	attempts int       // since the last progress
}

// onReplica runs a call on a replica of a version, and on another one if that fails, until done says that nothing is missing. progress
// grows while answers come: as long as it does, the request is given new patience. cost is how many tokens it will take.
func (s *Server) onReplica(ctx context.Context, v cluster.VersionID, cost int, call func(context.Context, router.Route) error, done func() bool, progress func() int) error {
	callOf(ctx).prepared()
	e := &effort{s: s, version: v}
	e.renew()
	turn, enough := e.patience(ctx)
	ticket, err := s.enterGate(turn, v, cost)
	enough()
	if err != nil {
		return err
	}
	defer func() { ticket.leave(cmp.Or(progress(), cost)) }()
	for {
		route, err := e.route(ctx)
		if full(err) {
			turn, enough := e.patience(ctx)
			if err = ticket.again(turn); err == nil {
				e.excluded, e.last, e.attempts = nil, nil, 0
			}
			enough()
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		before := progress()
		end := s.load.begin(route.Placed())
		trying, tried := callOf(ctx).attempt(ctx, route)
		err = call(trying, route)
		tried(err)
		end()
		var f final
		var refused *wire.Refused
		switch {
		case errors.As(err, &f):
			return f.error
		case err == nil || done():
			s.load.answered(route.Placed())
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && refused.Code == connect.CodeInvalidArgument:
			return err
		}
		if refused == nil {
			s.load.unreachable(route.Placed())
		}
		s.log.Debug("replica failed a request", "replica", route.Replica.String(), "epoch", route.Epoch, "err", err)
		if progress() > before {
			e.renew()
			e.begun = true
		}
		e.last, e.excluded = err, append(e.excluded, route.Placed())
		if e.attempts++; e.attempts >= s.cfg.Attempts {
			return fmt.Errorf("%w: %d attempts: %w", errNoAnswer, e.attempts, err)
		}
	}
}

func (e *effort) renew() {
	e.deadline, e.pause, e.attempts = time.Now().Add(e.s.cfg.Patience), retryFirst, 0
}

// patience bounds a wait for the request's turn.
func (e *effort) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadlineCause(ctx, e.deadline, errPatience)
}

// route finds a placement, and waits for one where there is reason to hope: something is loading, or all placements just failed.
func (e *effort) route(client context.Context) (router.Route, error) {
	ctx, cancel := context.WithDeadline(client, e.deadline)
	defer cancel()
	for {
		table, changed := e.s.table()
		route, err := e.s.pick(table, e.version, e.excluded)
		var unready *router.Unready
		if err == nil || !errors.As(err, &unready) || !unready.Deployed && unready.Excluded == 0 {
			return route, err
		}
		if !e.begun && full(e.last) {
			return route, e.last // every placement is full
		}
		if !e.wait(ctx, unready.Excluded == 0, changed) {
			return route, cmp.Or(client.Err(), err)
		}
	}
}

// wait waits for what may give a placement; false = ctx ended first.
func (e *effort) wait(ctx context.Context, nothing bool, changed <-chan struct{}) bool {
	defer callOf(ctx).wait()()
	if nothing {
		select { // nothing to try until the state changes
		case <-changed:
			return true
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-time.After(e.pause): // then the same ones again: the failure may have passed, or the state changed
		e.excluded, e.pause = nil, min(2*e.pause, retryMost)
		return true
	case <-ctx.Done():
		return false
	}
}

// writer turns tokens into pieces of text.
type writer struct {
	call    *call
	decoder *token.Decoder
	marks   map[int32]string // special tokens that show
	stop    stopper
	send    func(Piece) error
	usage   Usage
}

// take adds a token to the answer.
func (w *writer) take(c sample.Choice) error {
	w.usage.Completion++
	p := Piece{Tokens: []Token{{Choice: c}}}
	hit := false
	if w.decoder != nil {
		if mark, ok := w.marks[c.Token]; ok {
			p.Tokens[0].Text = w.decoder.Flush() + mark
		} else {
			p.Tokens[0].Text = w.decoder.Push(c.Token)
		}
		p.Text, hit = w.stop.push(p.Tokens[0].Text)
	}
	err := w.send(p)
	told, isTold := errors.AsType[*Error](err)
	switch {
	case errors.Is(err, errStopped):
		return err
	case isTold:
		return told
	case err != nil:
		return &Error{Fault: FaultCanceled, Why: "the client takes no more: " + err.Error()}
	}
	if hit {
		return errStopped
	}
	return nil
}

// finish ends the answer: err is what the tokens ended with, and f why they did if that is nil.
func (w *writer) finish(err error, f Finish) error {
	switch {
	case errors.Is(err, errStopped):
		return w.end("", FinishStop)
	case err != nil:
		return err
	}
	rest, hit := w.rest()
	if hit {
		f = FinishStop
	}
	return w.end(rest, f)
}

// rest is the text that was held back when the answer ended. hit says that it ended in a stop string.
func (w *writer) rest() (text string, hit bool) {
	if w.decoder == nil {
		return "", false
	}
	if text, hit = w.stop.push(w.decoder.Flush()); hit {
		return text, true
	}
	return text + w.stop.flush(), false
}

func (w *writer) end(text string, f Finish) error {
	w.call.finish(f)
	return w.send(Piece{Text: text, Finish: f, Usage: w.usage, Stop: w.stop.hit})
}
