package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// LogOff is a Config.RequestLog that writes no line.
const LogOff = slog.Level(100)

// call is what is noted of one request while it is answered. It holds text of the request and of its answer only where a policy keeps them (noted).
// A nil *call notes nothing.
type call struct {
	s         *Server
	id        string // of the request
	operation string
	began     time.Time
	span      telemetry.Span
	cancel    context.CancelCauseFunc // ends the request, with the reason that its client is told
	shown     presented               // set once, before anybody else knows the call
	who       cluster.Principal       // set once, by the goroutine of the request
	header    http.Header             // of the answer; nil = there is none
	session   string                  // that the client names; "" = none
	inside    bool                    // made from within: whoever makes it looks at who asks
	copy      bool                    // for a shadow version: nobody waits for its answer

	mu       sync.Mutex
	tenant   string
	key      string // its visible part
	model    string // as the request names it, once it is found in the state
	version  cluster.VersionID
	prompt   int // tokens
	answer   int // tokens
	first    time.Time
	last     time.Time // token
	flow     *flow     // set with version, of what infers
	finishes []string
	held     *hold         // of the limits; nil before they were asked, and after the end
	device   time.Duration // that replicas spent on it
	attempts int
	failed   error
	reached  bool // a handler has begun
	stages   stages
	noted    noted
}

type callKey struct{}

// begin notes a request. What was made of it is told by end.
func (s *Server) begin(r *http.Request, id, operation string) (*http.Request, *call) {
	c := &call{s: s, id: id, operation: operation, began: time.Now(), session: sessionOf(r.Header)}
	i := insiderOf(r.Context())
	if c.inside = i != nil; c.inside && i.take != nil {
		c.noted.take, c.noted.rule = i.take, results.Rule{Policy: results.Policy{Keep: results.All, Days: 1}}
	}
	ctx := context.WithValue(r.Context(), callKey{}, c)
	ctx, c.cancel = context.WithCancelCause(ctx)
	if s.cfg.Tracer != nil {
		ctx, c.span = s.cfg.Tracer.Request(ctx, operation, r.Header.Get("Traceparent"))
		c.span.Text(telemetry.KeyRequest, id)
		c.span.Text(telemetry.KeyOperation, operation)
		c.span.Text(telemetry.KeyProvider, telemetry.Provider)
	}
	return r.WithContext(ctx), c
}

// callOf is the request that ctx belongs to, nil if it is none.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// by notes who asks.
func (c *call) by(who cluster.Principal) {
	c.mu.Lock()
	c.who, c.tenant, c.key = who, who.Tenant, who.Key
	c.mu.Unlock()
	c.span.Text(telemetry.KeyTenant, who.Tenant)
	c.span.Text(telemetry.KeyKey, who.Key)
}

// principal is who asks; nobody if that is not known.
func (c *call) principal() cluster.Principal {
	if c == nil {
		return cluster.Principal{}
	}
	return c.who
}

// sessionName is the session that the client names; "" = none.
func (c *call) sessionName() string {
	if c == nil {
		return ""
	}
	return c.session
}

// reach notes that the request could be read.
func (c *call) reach() {
	if c != nil {
		c.mu.Lock()
		c.reached = true
		c.mu.Unlock()
	}
}

// resolve notes which version answers. name is in the state.
func (c *call) resolve(name string, v cluster.VersionID) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.model, c.version = name, v
	if c.infers() {
		c.flow = c.s.books.arrive(flowKey{v, c.tenant})
	}
	c.ruled()
	c.mu.Unlock()
	if c.span.On() {
		c.span.Rename(c.operation + " " + name)
		c.span.Text(telemetry.KeyRequestModel, name)
		c.span.Text(telemetry.KeyResponseModel, v.String())
	}
}

// infers says whether the operation asks something of a model's replicas, and so is demand.
func (c *call) infers() bool {
	return c.operation != opModels && c.operation != opOther && c.operation != opCount
}

// answering is the version that answers; none before it is known.
func (c *call) answering() cluster.VersionID {
	if c == nil {
		return cluster.VersionID{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// asked counts the tokens of the prompts.
func (c *call) asked(tokens int) {
	if c != nil {
		c.mu.Lock()
		c.prompt += tokens
		c.mu.Unlock()
	}
}

// gave counts a token of the answer as it comes.
func (c *call) gave() {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.IsZero() {
		c.first = now
	}
	c.last = now
	c.answer++
}

// cost notes what a replica's devices spent on the request.
func (c *call) cost(d time.Duration) {
	if c != nil && d > 0 {
		c.mu.Lock()
		c.device += d
		c.mu.Unlock()
	}
}

// finish notes why an answer ended.
func (c *call) finish(f Finish) {
	if c != nil {
		c.mu.Lock()
		c.finishes = append(c.finishes, string(f))
		c.mu.Unlock()
	}
}

// fail notes what the request ended with.
func (c *call) fail(err error) {
	if c != nil && err != nil {
		c.mu.Lock()
		c.failed = err
		c.mu.Unlock()
	}
}

// attempt notes that a replica is tried. done is to be called with what came of it.
func (c *call) attempt(ctx context.Context, r router.Route) (_ context.Context, done func(error)) {
	if c == nil {
		return ctx, func(error) {}
	}
	c.mu.Lock()
	c.attempts++
	flow, again := c.flow, c.attempts > 1
	c.mu.Unlock()
	c.s.books.run(flow, again)
	began := time.Now()
	ctx, span := c.s.cfg.Tracer.Start(ctx, telemetry.SpanAttempt)
	if span.On() {
		ctx = wire.WithTrace(ctx, span.Traceparent())
		span.Text(telemetry.KeyReplica, r.Replica.String())
		span.Number(telemetry.KeyEpoch, int(r.Epoch))
		span.Text(telemetry.KeyNode, r.Head())
	}
	return ctx, func(err error) {
		c.s.books.ran(flow)
		c.tried(began, time.Now())
		if err != nil && span.On() {
			span.Fail(outcome(err))
		}
		span.End()
	}
}

// wait notes that the request waits for a replica, until done is called.
func (c *call) wait() (done func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	flow := c.flow
	c.mu.Unlock()
	c.s.books.wait(flow, 1)
	return func() { c.s.books.wait(flow, -1) }
}

// end notes that the request is over, and tells everybody who counts.
func (c *call) end() {
	c.s.visitors.remove(c)
	c.cancel(nil)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	how := outcomeOK
	switch {
	case c.failed != nil:
		how = outcome(c.failed)
	case !c.reached:
		how = FaultInvalid.String()
	}
	c.leave(how)
	c.s.books.end(c, how, now)
	c.s.served.end(c, how, now)
	c.endSpan(how)
	c.write(how, now)
	c.keep(how, now)
}

func (c *call) endSpan(how string) {
	if !c.span.On() {
		return
	}
	c.span.Number(telemetry.KeyInputTokens, c.prompt)
	c.span.Number(telemetry.KeyOutputTokens, c.answer)
	if len(c.finishes) > 0 {
		c.span.Texts(telemetry.KeyFinish, c.finishes)
	}
	if how != outcomeOK {
		c.span.Fail(how)
	}
	c.span.End()
}

// write logs the request.
func (c *call) write(how string, now time.Time) {
	ctx := context.Background()
	if !c.s.log.Enabled(ctx, c.s.cfg.RequestLog) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("id", c.id), slog.String("tenant", c.tenant), slog.String("key", c.key), slog.String("operation", c.operation),
		slog.String("model", c.model), slog.String("outcome", how), slog.Int64("ms", now.Sub(c.began).Milliseconds()))
	if c.version.Model != "" {
		attrs = append(attrs, slog.String("version", c.version.String()), slog.Int("prompt", c.prompt), slog.Int("answer", c.answer), slog.Int("attempts", c.attempts))
	}
	if !c.first.IsZero() {
		attrs = append(attrs, slog.Int64("first_ms", c.first.Sub(c.began).Milliseconds()))
	}
	if id := c.span.TraceID(); id != "" {
		attrs = append(attrs, slog.String("trace", id))
	}
	c.s.log.LogAttrs(ctx, c.s.cfg.RequestLog, "request", attrs...)
}

// outcomeOK is the outcome of a request that was answered.
const outcomeOK = "ok"

// outcome is the word for what a request ended with: a Fault's name, never the words of an error.
func outcome(err error) string { return explain(err).Fault.String() }

// requestID is the id that the client gave a request, or a new one: what is logged is of few and harmless characters.
func requestID(given string) string {
	if given == "" || len(given) > maxRequestID {
		return newID("req-")
	}
	for _, b := range []byte(given) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '_', b == '-':
		default:
			return newID("req-")
		}
	}
	return given
}

// maxRequestID bounds an id in bytes.
const maxRequestID = 128
