package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
)

// Bounds of answering.
const (
	aheadOfLine   = 4       // lines under way, or answered and not laid down, for each that may be asked at once: so far a slow line holds others up
	maxLineAnswer = 8 << 20 // bytes of the answer to a line
	layBytes      = 4 << 20 // bytes of answers after which they are laid down, however short ago that was done
)

// outputLine is what is written of a line.
type outputLine struct {
	ID       string          `json:"id"`
	CustomID string          `json:"custom_id"`
	Response *outputResponse `json:"response"`
	Error    *outputError    `json:"error"`
}

type outputResponse struct {
	Status    int             `json:"status_code"`
	RequestID string          `json:"request_id"`
	Body      json.RawMessage `json:"body"`
}

type outputError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// asked is a line on its way: turns are taken in the order of the lines.
type asked struct {
	end  int64 // of the line in the input
	done chan struct{}
	out  []byte // with its end; valid once done is closed, nil = it was not answered
	bad  bool
}

// laid is what was answered and is not laid down yet.
type laid struct {
	job.Progress
	output, errors []byte
}

func (l *laid) add(t *asked) {
	l.To = t.end
	if t.bad {
		l.Bad++
		l.errors = append(l.errors, t.out...)
		return
	}
	l.OK++
	l.output = append(l.output, t.out...)
}

func (l *laid) bytes() int { return len(l.output) + len(l.errors) }

// lay makes blobs of what was answered, and lays it down.
func (w *worker) lay(ctx context.Context, b job.Batch, l *laid) (job.Batch, error) {
	var fresh []blob.Digest
	var err error
	if l.Output, err = w.append(ctx, b.Output, l.output, &fresh); err != nil {
		return b, err
	}
	if l.Errors, err = w.append(ctx, b.Errors, l.errors, &fresh); err != nil {
		return b, err
	}
	p := l.Progress
	next, err := w.change(ctx, fresh, func(b job.Batch) (job.Batch, error) { return b.Advance(w.owner, p, millis()) })
	if err != nil { // what was answered may yet be laid down
		return b, err
	}
	*l = laid{Progress: job.Progress{From: next.Offset, To: next.Offset}}
	return next, nil
}

// append puts bytes behind a file's. fresh gets the blobs that are new.
func (w *worker) append(ctx context.Context, parts []job.Part, more []byte, fresh *[]blob.Digest) ([]job.Part, error) {
	if len(more) == 0 {
		return parts, nil
	}
	n := job.Keep(parts, int64(len(more)))
	var buf []byte
	for _, p := range parts[n:] {
		b, err := w.s.library.ReadBlob(ctx, blob.Ref{Digest: p.Digest, Len: p.Bytes})
		if err != nil {
			return nil, err
		}
		buf = append(buf, b...)
	}
	added, err := deposit(ctx, w.Depot, io.MultiReader(bytes.NewReader(buf), bytes.NewReader(more)))
	*fresh = append(*fresh, digests(added)...)
	return append(parts[:n:n], added...), err
}

// answering is the requests of a batch that are made, a few at a time.
type answering struct {
	*worker
	of    job.Batch // as it was when this began: what is asked, and in whose name, stays
	b     job.Batch // as it is laid down; of take alone
	turns chan *asked
	stop  context.CancelCauseFunc
	lines sync.WaitGroup
	l     laid
	said  time.Time // the state heard of this owner
	err   error     // of reading the input; valid once turns is closed
}

// errEnough ends the requests of a batch that is to end, or whose time is over.
var errEnough = errors.New("gateway: the batch is to end")

// answer makes the requests of the lines that are left, and lays their answers down in the order of the lines.
func (w *worker) answer(ctx context.Context, b job.Batch) (job.Batch, error) {
	src, err := w.input(ctx, b)
	if err != nil {
		return w.lost(ctx, err)
	}
	asking, stop := context.WithCancelCause(ctx)
	a := &answering{worker: w, of: b, b: b, turns: make(chan *asked, aheadOfLine*w.s.cfg.BatchLines), stop: stop, l: laid{Progress: job.Progress{From: b.Offset, To: b.Offset}}, said: time.Now()}
	a.lines.Go(func() {
		defer close(a.turns)
		a.err = a.read(asking, src)
	})
	err = a.take(asking)
	stop(err)
	for range a.turns { // nobody waits for these
	}
	a.lines.Wait()
	if err == nil {
		err = a.err
	}
	if errors.Is(err, job.ErrLost) || errors.Is(err, job.ErrOver) || errors.Is(err, job.ErrFull) {
		return a.b, err
	}
	if a.l.To > a.l.From { // also when this process ends: it was paid for
		laying, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeWait)
		defer cancel()
		if failed := a.lay(laying); failed != nil {
			return a.b, failed
		}
	}
	var e *Error
	switch {
	case ctx.Err() != nil:
		return a.b, ctx.Err()
	case errors.As(err, &e) && e.Fault == FaultKey:
		fault := job.Fault{Code: "invalid_api_key", Message: "The key that made the batch may not call any more."}
		return w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.End(w.owner, job.Failed, &fault, millis()) })
	case errors.Is(err, errEnough):
		return a.b, nil
	}
	return a.b, err
}

// read hands out turns until the input ends.
func (a *answering) read(ctx context.Context, src io.Reader) error {
	lines, slots := job.NewLines(src, a.of.Offset), make(chan struct{}, a.s.cfg.BatchLines)
	for {
		line, _, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		l, fault := job.ParseLine(a.of.Endpoint, line)
		if fault != nil { // the input was checked, and it does not change
			return errNoInput
		}
		l.Body = bytes.Clone(l.Body)
		t := &asked{end: lines.Offset, done: make(chan struct{})}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		a.lines.Go(func() {
			defer func() { close(t.done); <-slots }()
			t.out, t.bad = a.line(ctx, l)
		})
		select {
		case a.turns <- t:
		case <-ctx.Done():
			return nil
		}
	}
}

// take takes turns in their order until there are no more, or the batch is to end.
func (a *answering) take(ctx context.Context) error {
	look, every := time.NewTicker(batchPoll), time.NewTicker(a.s.cfg.BatchEvery)
	defer look.Stop()
	defer every.Stop()
	var head *asked
	for {
		from, done := a.turns, (chan struct{})(nil)
		if head != nil {
			from, done = nil, head.done
		}
		var err error
		select {
		case t, ok := <-from:
			if !ok {
				return nil
			}
			head = t
		case <-done:
			if head.out == nil { // it was stopped
				return errEnough
			}
			a.l.add(head)
			if head = nil; a.l.bytes() >= layBytes {
				err = a.lay(ctx)
			}
		case <-every.C:
			if a.l.To > a.l.From {
				err = a.lay(ctx)
			}
		case <-look.C:
			if err = a.wanted(); err == nil && time.Since(a.said) > job.RenewEvery*time.Millisecond {
				err = a.lay(ctx)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// wanted says why requests are made no more.
func (a *answering) wanted() error {
	b, _, err := a.now()
	switch {
	case err != nil:
		return err
	case b.Owner != a.owner:
		return job.ErrLost
	case b.Ending != "" || millis() >= b.Due:
		return errEnough
	}
	if _, err := a.principal(b); err != nil && explain(err).Fault == FaultKey {
		return err
	}
	return nil
}

// lay lays down what was answered, which is also a word of the owner.
func (a *answering) lay(ctx context.Context) (err error) {
	a.said = time.Now()
	a.b, err = a.worker.lay(ctx, a.b, &a.l)
	return err
}

// drain writes of every line that is left why it is not answered.
func (w *worker) drain(ctx context.Context, b job.Batch) (job.Batch, error) {
	if b.Ending == "" {
		return w.change(ctx, nil, func(b job.Batch) (job.Batch, error) { return b.End(w.owner, job.Expired, nil, millis()) })
	}
	src, err := w.input(ctx, b)
	if err != nil {
		return w.lost(ctx, err)
	}
	lines, l, why := job.NewLines(src, b.Offset), &laid{Progress: job.Progress{From: b.Offset, To: b.Offset}}, b.Code()
	for {
		line, _, err := lines.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return b, err
		}
		if err == nil {
			x, fault := job.ParseLine(b.Endpoint, line)
			if fault != nil {
				return b, errNoInput
			}
			l.add(&asked{end: lines.Offset, bad: true, out: outLine(x.CustomID, nil, &outputError{why.Code, why.Message})})
		}
		if err != nil || l.bytes() >= layBytes {
			last := err != nil
			if b, err = w.lay(ctx, b, l); err != nil || last {
				return b, err
			}
		}
	}
}

// outLine is a line of a file that comes out of a batch.
func outLine(customID string, response *outputResponse, failure *outputError) []byte {
	b, err := json.Marshal(outputLine{newID("batch_req_"), customID, response, failure})
	if err != nil { // the body is JSON
		b, _ = json.Marshal(outputLine{newID("batch_req_"), customID, nil, &outputError{"internal_error", "The answer is not JSON."}})
	}
	return append(b, '\n')
}

// line makes one request, as often as it takes. nil = it was stopped before it was answered.
func (a *answering) line(ctx context.Context, l job.Line) (out []byte, bad bool) {
	for tries := 1; ; tries++ {
		who, err := a.principal(a.of)
		var res *heard
		if err == nil {
			if res, err = a.s.ask(ctx, who, a.of.Endpoint, l.Body); err != nil {
				return outLine(l.CustomID, nil, &outputError{"internal_error", "The request could not be made."}), true
			}
		} else {
			if explain(err).Fault == FaultKey {
				a.stop(err)
				return nil, false
			}
			res = &heard{status: http.StatusServiceUnavailable}
		}
		if ctx.Err() != nil {
			return nil, false
		}
		after, _ := strconv.ParseInt(res.header.Get("Retry-After"), 10, 32)
		wait, again := job.Again(res.status, tries, 1000*after)
		if !again {
			return res.line(l.CustomID)
		}
		select {
		case <-time.After(time.Duration(wait) * time.Millisecond):
		case <-ctx.Done():
			return nil, false
		}
	}
}

// heard is an answer to a request from within.
type heard struct {
	header http.Header
	status int
	body   bytes.Buffer
	long   bool
}

// Header implements http.ResponseWriter.
func (h *heard) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *heard) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

// Write implements io.Writer. What goes beyond the longest answer is dropped.
func (h *heard) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	if h.long = h.long || h.body.Len()+len(b) > maxLineAnswer; !h.long {
		h.body.Write(b)
	}
	return len(b), nil
}

// line is what is written of the answer.
func (h *heard) line(customID string) (out []byte, bad bool) {
	if h.long {
		return outLine(customID, nil, &outputError{"answer_too_large", "The answer is larger than a line of a batch may have."}), true
	}
	body := bytes.TrimSpace(h.body.Bytes())
	return outLine(customID, &outputResponse{h.status, h.header.Get(requestIDHeader), body}, nil), h.status != http.StatusOK
}

// ask makes a request in somebody's name from within, the way that every request goes.
func (s *Server) ask(ctx context.Context, who cluster.Principal, path string, body []byte) (*heard, error) {
	ctx = context.WithValue(ctx, insiderKey{}, &insider{who: who})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(viewHeader, viewNone)
	h := &heard{header: http.Header{}}
	s.within().ServeHTTP(h, r)
	return h, nil
}
