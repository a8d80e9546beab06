package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
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
	callEvery = time.Second
	maxCalls  = 16 // under way
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
	s.every(ctx, callEvery, func(ctx context.Context) {
		if !s.store.IsLeader() {
			return
		}
		var calls sync.WaitGroup
		n := 0
		for d := range s.live.Now().Documents(cluster.Batch) {
			b, err := job.DecodeBatch(d)
			if err != nil || !b.CallDue(s.now()) {
				continue
			}
			if n++; n > maxCalls {
				break
			}
			calls.Go(func() { s.callFor(ctx, sender, d, b) })
		}
		calls.Wait()
	})
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
