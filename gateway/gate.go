package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/fair"
	"github.com/skein-project/skein/wire"
)

const (
	// ahead is how many requests per slot of its replicas a gateway lets through to a version: more would wait at the replicas, first
	// come first served, instead of here, where every tenant has its share.
	ahead = 2
	// gatePoll is the pace at which a gate looks whether replicas have room again that others of the gateway's kind had filled.
	gatePoll = 100 * time.Millisecond
	// bulkOf is the part of the slots of a version's replicas, at least one, that lines of batches may have: who comes finds a slot, and
	// need not wait until a line is answered.
	bulkOf, bulkIn = 3, 4
)

// gates are the gates of versions.
type gates struct {
	mu    sync.Mutex
	gates map[cluster.VersionID]*gate
}

// gate lets the requests for a version through while its replicas have room. Once they do not, requests wait, and tenants take turns by
// their weights. Bulk work, for which nobody waits, is let through only where a slot is free and nobody else waits, and for the share that
// package fair guarantees it.
type gate struct {
	version cluster.VersionID
	mu      sync.Mutex
	queue   *fair.Classes
	waiting map[uint64]chan fair.Item // where the turn of each is told
	last    uint64                    // id that was given
	inside  int                       // let through, and not at their end
	bulk    int                       // of them
	room    int                       // for so many
	burst   int                       // how many a poll lets through: it doubles as long as nobody comes back
	came    bool                      // somebody came back since the last poll
	polling bool
}

// of finds the gate of a version.
func (g *gates) of(v cluster.VersionID, most int) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.gates[v]
	if at == nil {
		for old, x := range g.gates {
			if len(g.gates) >= maxRows && x.idle() {
				delete(g.gates, old)
			}
		}
		at = &gate{version: v, queue: fair.NewClasses(most), waiting: map[uint64]chan fair.Item{}}
		g.gates[v] = at
	}
	return at
}

func (g *gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside == 0 && len(g.waiting) == 0
}

// ticket is a request at a gate.
type ticket struct {
	gate *gate
	item fair.Item
	copy bool // it does not wait
}

// enterGate lets a request through, at once or when it is its turn.
func (s *Server) enterGate(ctx context.Context, v cluster.VersionID, cost int) (*ticket, error) {
	state, c := s.live.Now(), callOf(ctx)
	who := c.principal()
	tenant, _ := state.Tenant(who.Tenant)
	g := s.gates.of(v, s.cfg.MaxWaiting)
	t := &ticket{gate: g, copy: c != nil && c.copy, item: fair.Item{Tenant: who.Tenant, Weight: max(1, tenant.Weight), Cost: int64(cost)}}
	if c != nil && c.inside {
		t.item.Class = fair.Bulk
	}
	turn := g.enter(t, s.roomFor(state, v))
	if turn == nil {
		return nil, &Error{Fault: FaultBusy, Why: fmt.Sprintf("every replica of %s is full, and %d requests wait already", v, g.length())}
	}
	select {
	case t.item = <-turn:
		return t, nil
	default:
	}
	return t, t.await(ctx, turn)
}

// enter puts a request into the queue, and tells where its turn is said, which may have come at once; nil = there is no place to wait.
func (g *gate) enter(t *ticket, room int) chan fair.Item {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	t.item.ID, g.room = g.last, room
	if !g.queue.Push(t.item) {
		return nil
	}
	turn := make(chan fair.Item, 1)
	g.waiting[t.item.ID] = turn
	alone := g.queue.Waiting(t.item.Class) == 1
	paced := g.burst > 0 && (t.item.Class == fair.Bulk || g.queue.Waiting(fair.Bulk) == 0) // bulk that waits is no sign that replicas are full
	for range 2 {                                                                          // bulk may be due first
		if alone && !paced && len(turn) == 0 {
			g.grant(1)
		}
	}
	switch {
	case len(turn) > 0:
	case t.copy:
		delete(g.waiting, t.item.ID)
		g.queue.Remove(t.item.Class, t.item.ID)
		return nil
	default:
		g.pace()
	}
	return turn
}

func (g *gate) length() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.queue.Len()
}

// roomFor is how many requests this gateway lets through to a version.
func (s *Server) roomFor(state cluster.State, v cluster.VersionID) int {
	d, ok := state.Deployment(v)
	table, _ := s.table()
	n := len(table.Routes(v))
	if !ok || d.Serving.Slots == 0 || n == 0 { // without a replica they wait for one, not for a turn
		return math.MaxInt
	}
	return ahead * n * d.Serving.Slots
}

// pace sees to it that turns are given although nobody leaves. The caller holds the lock.
func (g *gate) pace() {
	if g.burst == 0 {
		g.burst = 1
	}
	if !g.polling {
		g.polling = true
		time.AfterFunc(gatePoll, g.poll)
	}
}

// await waits for the turn.
func (t *ticket) await(ctx context.Context, turn chan fair.Item) error {
	defer callOf(ctx).wait()()
	select {
	case t.item = <-turn:
		return nil
	case <-ctx.Done():
	}
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case t.item = <-turn: // it came just now: for the next one
		g.out(t.item)
		g.queue.Correct(t.item, 0)
		g.grant(1)
	default:
		delete(g.waiting, t.item.ID)
		g.queue.Remove(t.item.Class, t.item.ID)
	}
	if errors.Is(context.Cause(ctx), errPatience) {
		return &Error{Fault: FaultBusy, Why: fmt.Sprintf("every replica of %s is full, and it is not the turn of %s yet", g.version, t.item.Tenant)}
	}
	return ctx.Err()
}

// errPatience ends the wait of a request that has waited for as long as it may.
var errPatience = errors.New("gateway: waited long enough")

// again waits for another turn: the replicas were full.
func (t *ticket) again(ctx context.Context) error {
	if t.copy {
		return &Error{Fault: FaultBusy, Why: fmt.Sprintf("every replica of %s is full", t.gate.version)}
	}
	g := t.gate
	g.mu.Lock()
	g.out(t.item)
	g.came, g.burst = true, 1
	g.queue.Back(t.item)
	turn := make(chan fair.Item, 1)
	g.waiting[t.item.ID] = turn
	g.pace()
	g.mu.Unlock()
	if err := t.await(ctx, turn); err != nil {
		t.gate = nil // it is not inside
		return err
	}
	return nil
}

// leave says that a request is over, and what it really took.
func (t *ticket) leave(took int) {
	g := t.gate
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out(t.item)
	g.queue.Correct(t.item, int64(took))
	g.grant(1)
}

// grant gives up to n requests their turn, if there is room. The caller holds the lock.
func (g *gate) grant(n int) {
	for ; n > 0 && g.inside < g.room; n-- {
		x, ok := g.queue.Pop(g.leaveBulk())
		if !ok {
			return
		}
		g.inside++
		if x.Class == fair.Bulk {
			g.bulk++
		}
		g.waiting[x.ID] <- x
		delete(g.waiting, x.ID)
	}
}

// leaveBulk says how much bulk work may go now.
func (g *gate) leaveBulk() fair.Leave {
	slots := g.room / ahead
	switch {
	case g.bulk >= max(1, slots/bulkIn*bulkOf+slots%bulkIn*bulkOf/bulkIn):
		return fair.NoBulk
	case g.inside >= slots:
		return fair.DueBulk
	}
	return fair.SpareBulk
}

// out says that somebody who was let through is inside no more. The caller holds the lock.
func (g *gate) out(x fair.Item) {
	g.inside--
	if x.Class == fair.Bulk {
		g.bulk--
	}
}

// poll gives turns although nobody left: replicas may have room that others had filled.
func (g *gate) poll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.came {
		g.came = false
	} else {
		g.burst = min(2*g.burst, 1<<20)
	}
	g.grant(g.burst)
	if len(g.waiting) == 0 {
		g.polling, g.burst = false, 0
		return
	}
	time.AfterFunc(gatePoll, g.poll)
}

// full says that replicas refused a request for want of room.
func full(err error) bool {
	var refused *wire.Refused
	return errors.As(err, &refused) && refused.Code == connect.CodeResourceExhausted
}
