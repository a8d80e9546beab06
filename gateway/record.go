package gateway

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// What a request tells to be kept. An operation calls, on callOf(ctx) and from the goroutine of the request,
//
//	noteRequest(v)  what was asked: the body as it came ([]byte of JSON), a proto.Message, or anything that encoding/json writes
//	noteAnswer(v)   what was answered, in the same forms; keeps() says whether it is worth making
//	noteLabel(…)    the best class of an input
//
// Nothing needs to be done where a handler reads its body by read and answers by answer.json, nor in a unary call of Connect: these tell by
// themselves, unless the handler has told before. What was told must not be changed afterwards: it is encoded when the answer is on its way.
// Whether any of it is kept, and what is taken out of it, is decided by the policy of the tenant and the model (package results).

// noted is what a call told.
type noted struct {
	rule            results.Rule // of the call, once its version is known
	path            string       // of the client API
	seed            uint64
	request, answer any
	labels          []results.Label
	take            func(results.Record) // gets the record instead of the spool; nil = the spool does
}

// keeps is how much of the call is kept, as its rule says it.
func (c *call) keeps() results.Keep {
	if c == nil {
		return results.Nothing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noted.rule.Keep
}

// noteRequest tells what was asked. It may be called before the version is known. The first that is told counts.
func (c *call) noteRequest(v any) {
	if c == nil || c.noted.take == nil && !c.s.records.on.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noted.request == nil && (c.noted.rule.Keep == "" || c.noted.rule.Keep == results.All) {
		c.noted.request = v
	}
}

// noteAnswer tells what was answered. The first that is told counts.
func (c *call) noteAnswer(v any) {
	if !c.keeps().Answers() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noted.answer == nil {
		c.noted.answer = v
	}
}

// noteLabel tells the best class of an input of the request.
func (c *call) noteLabel(input int, name string, score float32) {
	if !c.keeps().Answers() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.noted.labels) < results.MaxLabels {
		c.noted.labels = append(c.noted.labels, results.Label{Input: input, Name: name, Score: float64(score)})
	}
}

// noteSeed tells what answers are drawn with.
func (c *call) noteSeed(seed uint64) {
	if c != nil {
		c.mu.Lock()
		c.noted.seed = seed
		c.mu.Unlock()
	}
}

// ruled finds the call's rule. The caller holds the lock; tenant and version are known.
func (c *call) ruled() {
	if c.noted.take == nil {
		c.noted.rule = c.s.records.ruleOf(c.tenant, c.version.Model)
	}
	if c.noted.rule.Keep != results.All {
		c.noted.request = nil
	}
}

// record is what is kept of a call that ended, without its bodies. The caller holds the lock.
func (c *call) record(how string, now time.Time) results.Record {
	r := results.Record{ID: recordID(c.began), At: c.began.UnixMilli(), RequestID: c.id, Tenant: c.tenant, App: c.who.App, Key: c.key, Model: c.version.Model, Version: c.version.Number, Alias: c.model,
		Operation: c.operation, Path: c.noted.path, Status: how, Latency: now.Sub(c.began).Microseconds(), PromptTokens: c.prompt, AnswerTokens: c.answer,
		Device: c.device.Microseconds(), Seed: int64(c.noted.seed), Labels: c.noted.labels}
	if !c.first.IsZero() {
		r.FirstToken = c.first.Sub(c.began).Microseconds()
	}
	if c.failed != nil {
		r.Error = explain(c.failed).Why
	}
	return r
}

// recordID orders by time, and is nobody's to choose: a client that could would replace records of others.
func recordID(at time.Time) string { return fmt.Sprintf("%012x-%s", at.UnixMilli(), wire.NewID()) }

// keep hands the record of a call that ended to whoever keeps it. The caller holds the lock.
func (c *call) keep(how string, now time.Time) {
	if c.copy || c.version.Model == "" || !c.noted.rule.Keeps() {
		return
	}
	done := ended{c.record(how, now), c.noted.rule, c.noted.request, c.noted.answer}
	c.noted.request, c.noted.answer = nil, nil
	if c.noted.take != nil {
		c.noted.take(done.whole())
		return
	}
	c.s.records.put(done)
}

// ended is a call that ended, on its way to the spool.
type ended struct {
	record          results.Record
	rule            results.Rule
	request, answer any
}

// size is about how much memory it holds, in bytes.
func (e ended) size() int64 { return 1024 + sizeOf(e.request) + sizeOf(e.answer) }

func sizeOf(v any) int64 {
	switch v := v.(type) {
	case []byte:
		return int64(len(v))
	case proto.Message:
		return int64(proto.Size(v))
	case nil:
		return 0
	}
	return 4096 // what is neither is small, or made by the gateway
}

// whole is the record with its bodies, as its rule keeps them.
func (e ended) whole() results.Record {
	r := e.record
	var cut [2]bool
	r.Request, cut[0] = body(e.request)
	r.Answer, cut[1] = body(e.answer)
	r.Cut = cut[0] || cut[1]
	return e.rule.Apply(r)
}

// body encodes what was told. lost says that it could not be.
func body(v any) (b json.RawMessage, lost bool) {
	var err error
	switch v := v.(type) {
	case nil:
		return nil, false
	case []byte:
		return v, false
	case proto.Message:
		b, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(v)
	default:
		b, err = results.Encode(v)
	}
	if err != nil {
		return nil, true
	}
	return b, false
}

// records are the way of what is kept, from calls that ended to the spool.
type records struct {
	on     atomic.Bool // some policy keeps something
	rules  atomic.Pointer[results.Rules]
	queue  chan ended
	queued atomic.Int64 // bytes in the queue
	limit  int64        // of queued
	spool  atomic.Pointer[keeping]

	kept, refused                         atomic.Uint64
	droppedQueue, droppedFull, droppedOff atomic.Uint64
}

// maxQueued is how many calls that ended wait for the spool.
const maxQueued = 16384

func newRecords(limit int64) *records {
	r := &records{queue: make(chan ended, maxQueued), limit: limit}
	r.rules.Store(&results.Rules{})
	return r
}

// ruleOf is the policy of a tenant and model, also one that keeps nothing: it forbids what a client would have kept.
func (r *records) ruleOf(tenant, model string) results.Rule {
	rules := *r.rules.Load()
	if len(rules) == 0 {
		return results.Rule{}
	}
	return rules.Of(tenant, model)
}

// put queues a call that ended. It never waits: what finds no room is dropped and counted.
func (r *records) put(e ended) {
	size := e.size()
	switch {
	case r.spool.Load() == nil:
		r.droppedOff.Add(1)
		return
	case r.queued.Add(size) > r.limit:
	default:
		select {
		case r.queue <- e:
			return
		default:
		}
	}
	r.queued.Add(-size)
	r.droppedQueue.Add(1)
}

// noteVectors tells that an answer is vectors, which are kept only where all is.
func (c *call) noteVectors(vectors [][]float32) {
	if c.keeps() != results.Answers {
		return
	}
	dimensions := 0
	if len(vectors) > 0 {
		dimensions = len(vectors[0])
	}
	c.noteAnswer(map[string]int{"vectors": len(vectors), "dimensions": dimensions})
}

// tell is what the leader is told of the way to the database.
func (r *records) tell() cluster.Spool {
	lost := r.droppedQueue.Load() + r.droppedOff.Load() + r.droppedFull.Load() + r.refused.Load()
	var out cluster.Spool
	if k := r.spool.Load(); k != nil {
		st := k.stats()
		out.Used, out.Room = st.Bytes, st.Max
		lost += st.Damaged
	}
	out.Dropped = int64(lost)
	return out
}

// collect gives the figures of what is kept.
func (r *records) collect(sheet *telemetry.Sheet) {
	sheet.Count(telemetry.ResultsKept, float64(r.kept.Load()))
	drops := map[string]uint64{"queue": r.droppedQueue.Load() + r.droppedOff.Load(), "spool": r.droppedFull.Load(), "refused": r.refused.Load()}
	if k := r.spool.Load(); k != nil {
		st := k.stats()
		drops["damage"] = st.Damaged
		sheet.Gauge(telemetry.ResultsWaiting, float64(st.Records))
		sheet.Gauge(telemetry.ResultsSpool, float64(st.Bytes)/float64(st.Max))
	}
	for reason, n := range drops {
		sheet.Count(telemetry.ResultsDropped, float64(n), reason)
	}
}
