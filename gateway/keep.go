package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/wire"
)

// Pace of keeping.
const (
	gatherFor   = 50 * time.Millisecond // calls that end within it share a write and a sync
	maxGather   = 4096                  // calls of a write
	rulesPause  = 100 * time.Millisecond
	keepRecords = 1000    // of one request to a coordinator
	keepBytes   = 4 << 20 // of one request to a coordinator
	keepWait    = 30 * time.Second
	keepRetry   = 100 * time.Millisecond // the first pause after a coordinator did not take records; it doubles
	keepRest    = 5 * time.Second        // at most
)

// Keeper is where records go: a coordinator that has a store of them, wherever it is. Without an error all records are safe there.
type Keeper interface {
	Keep(ctx context.Context, r *wire.KeepRequest) (*wire.KeepResponse, error)
}

// Archive says where a gateway's records go.
type Archive struct {
	Gateway cluster.NodeID
	Keeper  Keeper
	Dir     string // folder of the spools; it is made
}

// keeping is a gateway's records on their way.
type keeping struct {
	Archive
	s     *Server
	r     *records
	lanes []*lane
}

// KeepRecords writes the records of requests to the spools, and sends them to where they are kept, until ctx ends; what is queued then is in
// a spool when it returns. Until it runs nothing is kept.
func (s *Server) KeepRecords(ctx context.Context, a Archive) (err error) {
	k := &keeping{Archive: a, s: s, r: s.records}
	if k.lanes, err = openLanes(k, s.cfg.SpoolBytes, s.log); err != nil {
		return err
	}
	k.r.spool.Store(k)
	var running sync.WaitGroup
	running.Go(func() { k.r.follow(ctx, s.live, s.log) })
	for _, l := range k.lanes {
		running.Go(func() { l.send(ctx) })
	}
	k.write(ctx)
	running.Wait()
	k.r.spool.Store(nil)
	for _, l := range k.lanes {
		err = errors.Join(err, l.spool.Close())
	}
	return err
}

// follow takes over policies as they change.
func (r *records) follow(ctx context.Context, state *live.State, log *slog.Logger) {
	revs := map[string]cluster.Index{}
	for {
		now, changed := state.Load()
		r.take(now, revs, log)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select { // others settle all the time, which changes no policy
		case <-time.After(rulesPause):
		case <-ctx.Done():
			return
		}
	}
}

// take makes rules of the policies in a state. revs are those of the rules that are there.
func (r *records) take(state cluster.State, revs map[string]cluster.Index, log *slog.Logger) {
	old, next, fresh := *r.rules.Load(), results.Rules{}, false
	on, seen := false, map[string]cluster.Index{}
	for d := range state.Documents(cluster.KeepPolicy) {
		seen[d.ID] = d.Rev
		rule, there := old[d.ID]
		if !there || revs[d.ID] != d.Rev {
			fresh = true
			var err error
			if rule, err = ruleOf(d); err != nil {
				log.Error("a policy cannot be applied, so nothing is kept by it", "policy", d.ID, "err", err)
				rule = results.Rule{Policy: results.Policy{Keep: results.Nothing}}
			}
		}
		next[d.ID] = rule
		on = on || rule.Keeps()
	}
	if !fresh && len(next) == len(old) {
		return
	}
	clear(revs)
	for id, rev := range seen {
		revs[id] = rev
	}
	r.rules.Store(&next)
	r.on.Store(on)
}

// ruleOf reads a policy.
func ruleOf(d cluster.Document) (results.Rule, error) {
	var p results.Policy
	if err := json.Unmarshal(d.Body, &p); err != nil {
		return results.Rule{}, fmt.Errorf("gateway: policy %s: %w", d.ID, err)
	}
	return p.Rule()
}

// write puts what is queued into the spool until ctx ends, and then what is still queued.
func (k *keeping) write(ctx context.Context) {
	for {
		var first ended
		select {
		case first = <-k.r.queue:
		case <-ctx.Done():
			k.drain()
			return
		}
		batch := k.gather(ctx, first)
		k.append(batch)
	}
}

// gather waits a little for more.
func (k *keeping) gather(ctx context.Context, first ended) []ended {
	batch := []ended{first}
	closed := time.NewTimer(gatherFor)
	defer closed.Stop()
	for len(batch) < maxGather {
		select {
		case e := <-k.r.queue:
			batch = append(batch, e)
		case <-closed.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (k *keeping) drain() {
	for {
		var batch []ended
		for len(batch) < maxGather && len(k.r.queue) > 0 {
			batch = append(batch, <-k.r.queue)
		}
		if len(batch) == 0 {
			return
		}
		k.append(batch)
	}
}

// append writes records to the spools of where they go, and makes them safe.
func (k *keeping) append(batch []ended) {
	payloads := map[results.Destination][][]byte{}
	for _, e := range batch {
		r := e.whole()
		r.Gateway = string(k.Gateway)
		b, err := r.Written()
		k.r.queued.Add(-e.size())
		if err != nil {
			k.s.log.Error("a record cannot be written", "id", r.ID, "err", err)
			k.r.refused.Add(1)
			continue
		}
		payloads[r.To] = append(payloads[r.To], b)
	}
	for _, l := range k.lanes {
		l.write(payloads[l.to])
	}
}
