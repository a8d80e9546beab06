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
)

// gates are the gates of versions.
type gates struct {
	mu    sync.Mutex
	gates map[cluster.VersionID]*gate
}

// gate lets the requests for a version through while its replicas have room. Once they do not, requests wait, and tenants take turns by
// their weights.
type gate struct {
	version cluster.VersionID
	mu      sync.Mutex
	queue   *fair.Queue
	waiting map[uint64]chan fair.Item // where the turn of each is told
	last    uint64                    // id that was given
	inside  int                       // let through, and not at their end
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
		at = &gate{version: v, queue: fair.New(most), waiting: map[uint64]chan fair.Item{}}
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
	g.mu.Lock()
	g.last++
	t.item.ID, g.room = g.last, s.roomFor(state, v)
	if g.queue.Len() == 0 && g.inside < g.room && g.burst == 0 {
		g.queue.Push(t.item)
		t.item, _ = g.queue.Pop()
		g.inside++
		g.mu.Unlock()
		return t, nil
	}
	if t.copy || !g.queue.Push(t.item) {
		n := g.queue.Len()
		g.mu.Unlock()
		return nil, &Error{Fault: FaultBusy, Why: fmt.Sprintf("every replica of %s is full, and %d requests wait already", v, n)}
	}
	turn := g.wait(t.item.ID)
	g.mu.Unlock()
	return t, t.await(ctx, turn)
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

// wait makes the place where a turn is told. The caller holds the lock.
func (g *gate) wait(id uint64) chan fair.Item {
	turn := make(chan fair.Item, 1)
	g.waiting[id] = turn
	if g.burst == 0 {
		g.burst = 1
	}
	if !g.polling {
		g.polling = true
		time.AfterFunc(gatePoll, g.poll)
	}
	return turn
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
		g.inside--
		g.queue.Correct(t.item.Tenant, t.item.Weight, t.item.Cost, 0)
		g.grant(1)
	default:
		delete(g.waiting, t.item.ID)
		g.queue.Remove(t.item.ID)
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
	g.inside--
	g.came, g.burst = true, 1
	g.queue.Back(t.item)
	turn := g.wait(t.item.ID)
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
	g.inside--
	g.queue.Correct(t.item.Tenant, t.item.Weight, t.item.Cost, int64(took))
	g.grant(1)
}

// grant gives up to n requests their turn, if there is room. The caller holds the lock.
func (g *gate) grant(n int) {
	for ; n > 0 && g.inside < g.room; n-- {
		x, ok := g.queue.Pop()
		if !ok {
			return
		}
		g.inside++
		g.waiting[x.ID] <- x
		delete(g.waiting, x.ID)
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
