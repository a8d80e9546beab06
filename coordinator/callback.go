package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/egress"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/notify"
)

// Pace of callbacks.
const (
	callEvery  = time.Second
	maxCalls   = 64 // under way
	maxCallsOf = 4  // of them of one tenant: a receiver that is slow delays those of its own
)

// callBack tells whoever wanted to know that batches are over. It runs on all coordinators; only the leader calls.
func (s *Server) callBack(ctx context.Context) {
	out := egress.Config{Redirects: -1}
	for _, n := range s.cfg.CallAllow {
		if p, err := netip.ParsePrefix(n); err == nil { // Validate has looked at it
			out.Allow = append(out.Allow, p)
		}
	}
	refused := func(err error) bool { return errors.As(err, new(*egress.Refused)) }
	sender := notify.New(notify.Config{Client: egress.New(out), Refused: refused, Log: s.log})
	calls := callers{under: map[cluster.DocumentID]bool{}, of: map[string]int{}}
	defer calls.running.Wait()
	s.every(ctx, callEvery, func(ctx context.Context) {
		if !s.store.IsLeader() {
			return
		}
		var due []dueCall
		for d := range s.live.Now().Documents(cluster.Batch) {
			if b, err := job.DecodeBatch(d); err == nil && b.CallDue(s.now()) {
				due = append(due, dueCall{d, b})
			}
		}
		for _, c := range calls.take(due) {
			calls.running.Go(func() {
				defer calls.done(c)
				s.callFor(ctx, sender, c.doc, c.batch)
			})
		}
	})
}

// dueCall is a batch that somebody is to be told of.
type dueCall struct {
	doc   cluster.Document
	batch job.Batch
}

func (c dueCall) tenant() string {
	tenant, _, _ := strings.Cut(c.doc.ID, "/")
	return tenant
}

// callers are the calls that are under way.
type callers struct {
	running sync.WaitGroup
	mu      sync.Mutex
	under   map[cluster.DocumentID]bool
	of      map[string]int // by tenant
}

// take chooses which calls begin now, and counts them: those of tenants in turns, beginning with who has the fewest under way, up to what one
// tenant may have, and all together.
func (c *callers) take(due []dueCall) (out []dueCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := map[string][]dueCall{}
	for _, d := range due {
		if !c.under[d.doc.DocumentID] {
			waiting[d.tenant()] = append(waiting[d.tenant()], d)
		}
	}
	tenants := slices.Sorted(maps.Keys(waiting))
	for n := range maxCallsOf {
		for _, t := range tenants {
			if c.of[t] != n || len(waiting[t]) == 0 {
				continue
			}
			if len(c.under) >= maxCalls {
				return out
			}
			next := waiting[t][0]
			waiting[t] = waiting[t][1:]
			c.under[next.doc.DocumentID] = true
			c.of[t]++
			out = append(out, next)
		}
	}
	return out
}

func (c *callers) done(d dueCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.under, d.doc.DocumentID)
	if c.of[d.tenant()]--; c.of[d.tenant()] == 0 {
		delete(c.of, d.tenant())
	}
}

// callFor makes a callback and notes what came of it. Who leads next may make it again: its id is the same then.
func (s *Server) callFor(ctx context.Context, sender *notify.Sender, d cluster.Document, b job.Batch) {
	sent := sender.Post(ctx, b.Callback.URL, "evt_"+b.ID, b.Event(), s.callbackSecret(d.ID))
	if ctx.Err() != nil {
		return
	}
	b = b.Called(sent.Failed, sent.Permanent, sent.After.Milliseconds(), s.now())
	body, err := json.Marshal(b)
	if err != nil {
		s.log.Error("a batch cannot be written", "batch", d.ID, "err", err)
		return
	}
	d.Body = body
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.PutDocument{Document: d, Was: d.Rev}}})
	if err == nil && rejected[0] != nil {
		err = rejected[0]
	}
	if tenant, _, _ := strings.Cut(d.ID, "/"); err == nil && b.Callback.State == job.GivenUp {
		s.watch.gaveUp(tenant)
	}
	s.log.Info("a batch's end was told", "batch", d.ID, "state", b.Callback.State, "why", sent.Failed, "err", err)
}
