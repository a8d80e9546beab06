package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/scheduler"
)

// stream is the requests for a model from one tenant.
type stream struct {
	w      *World
	model  string
	alias  string // that is called; "" = version 1 of the model
	tenant string
	rate   float64       // requests per second, on average
	burst  float64       // how uneven: 1 = Poisson; more: that many times the rate in a share of the time, and nothing between
	takes  time.Duration // mean service time, exponential, of a replica with one request
	limit  time.Duration // that an answer may take; 0 = any
	life   int           // grows with each change of the rate
	kept   int           // answers within the limit since the last Measure
	missed int           // answers beyond it, and requests refused or given up
}

// request is one of a stream on its way.
type request struct {
	*stream
	version cluster.VersionID
	at      *gateway
	began   time.Time
	failed  []router.Placed
	row     *desk
	over    bool // answered, or given up
}

// desk is what a gateway knows of a stream: its demand since the last report, and what is under way.
type desk struct {
	cluster.Demand
	since time.Time
}

// bench is a replica at work: its slots and the queue before them.
type bench struct {
	placed  router.Placed
	head    string // endpoint
	slots   int
	busy    int
	waiting []*request
}

// Limits of the simulated serving.
const (
	reportEvery = time.Second
	patience    = time.Minute // that a request waits for a replica
	queueOf     = 4           // requests that wait at a replica, for each slot
)

// Load changes how many requests come for version 1 of a model, from one tenant, and how long each takes alone. limit is what an answer may take; it
// is only measured here.
func (w *World) Load(model, tenant string, rate, burst float64, takes, limit time.Duration) {
	i := slices.IndexFunc(w.streams, func(s *stream) bool { return s.model == model && s.tenant == tenant })
	if i < 0 {
		i = len(w.streams)
		w.streams = append(w.streams, &stream{w: w, model: model, tenant: tenant})
	}
	s := w.streams[i]
	s.rate, s.burst, s.takes, s.limit = rate, max(burst, 1), takes, limit
	s.life++
	w.trace("load: %s gets %g requests/s of %s, each takes %s", model, rate, tenant, takes)
	s.next(s.life)
}

// listen has the gateways report demand from now on.
func (w *World) listen() {
	if !w.listening {
		w.listening = true
		for _, c := range w.coordinators {
			if w.Plant.NoHysteresis {
				c.naive()
			}
		}
		for _, g := range w.gateways {
			w.after(w.between(0, reportEvery), "demand", g.demand)
		}
	}
}

// next lets a request arrive, and then the one after it.
func (s *stream) next(life int) {
	if s.rate <= 0 || life != s.life {
		return
	}
	const cycle = 4 * time.Second // of the bursts
	gap := time.Duration(s.w.rng.ExpFloat64() / (s.rate * s.burst) * float64(time.Second))
	on := time.Duration(float64(cycle) / s.burst)
	if s.burst > 1 { // gaps pass in busy time only
		into := s.w.Elapsed() % cycle
		if into < on && into+gap >= on || into >= on {
			gap = cycle - into + gap%on
		}
	}
	s.w.after(gap, "arrival", func() {
		if life == s.life {
			g := s.w.gateways[s.w.rng.IntN(len(s.w.gateways))]
			if g.on == nil || g.on.up {
				g.accept(s)
			}
			s.next(life)
		}
	})
}

// accept takes a request, and chooses which version answers it.
func (g *gateway) accept(s *stream) {
	q := &request{stream: s, at: g, began: s.w.now, version: cluster.VersionID{Model: s.model, Number: 1}}
	if s.alias != "" {
		if g.table == nil {
			return
		}
		v, _, ok := g.table.Choose(s.alias, s.tenant, s.w.rng.Uint64())
		if !ok {
			return
		}
		q.version = v
		s.w.checkChoice(g, s.alias, v)
	}
	q.row = g.desk(q.version, s.tenant)
	q.row.Arrived++
	q.route()
}

// desk finds or makes the row of a version and a tenant.
func (g *gateway) desk(v cluster.VersionID, tenant string) *desk {
	for _, k := range g.desks {
		if k.Version == v && k.Tenant == tenant {
			return k
		}
	}
	k := &desk{since: g.w.now, Demand: cluster.Demand{Gateway: g.id, Tenant: tenant, Version: v}}
	g.desks = append(g.desks, k)
	return k
}

// demand reports to the leader, if it can be reached; else the counts go on.
func (g *gateway) demand() {
	w := g.w
	w.after(reportEvery, "demand", g.demand)
	l := w.log.leader
	if l == nil || g.on != nil && !g.on.up || !w.net.both(g.id, l.id) {
		return
	}
	rows := []cluster.Demand{{Gateway: g.id}}
	for _, k := range g.desks {
		d := k.Demand
		d.Over = cluster.Millis(w.now.Sub(k.since).Milliseconds())
		if d.Arrived+d.Ended+d.Running+d.Waiting > 0 {
			rows = append(rows, d)
		}
		k.Demand, k.since = cluster.Demand{Gateway: d.Gateway, Tenant: d.Tenant, Version: d.Version, Running: d.Running, Waiting: d.Waiting}, w.now
	}
	w.send(g.id, l.id, "demand", func() {
		if l.up && l.term != 0 {
			l.step(scheduler.Input{Demand: rows})
		}
	})
}

// route sends a request to a replica, or lets it wait for one.
func (q *request) route() {
	w, g := q.w, q.at
	if q.over {
		return
	}
	if w.now.Sub(q.began) >= patience || g.on != nil && !g.on.up {
		q.end(false, false)
		return
	}
	var route router.Route
	err := fmt.Errorf("no table")
	if g.table != nil {
		route, err = g.table.Pick(q.version, g.underWay, q.failed, w.rng.Uint64())
	}
	if err != nil {
		q.failed = nil
		q.row.Waiting++
		w.after(250*time.Millisecond, "again", func() {
			q.row.Waiting--
			q.route()
		})
		return
	}
	q.row.Running++
	g.sent(route.Placed(), 1)
	w.after(w.between(0, w.net.slow), "request", func() { q.arrive(route) })
}

// back says that a replica has nothing more to do with a request.
func (q *request) back(p router.Placed) {
	q.row.Running--
	q.at.sent(p, -1)
}

// arrive takes a slot of a replica, or a place in the queue before it.
func (q *request) arrive(route router.Route) {
	w := q.w
	if why := w.serve(q.at.id, route.Replica, route.Epoch, 0, route.Head()); why != "" {
		q.back(route.Placed())
		q.failed = append(q.failed, route.Placed())
		q.route()
		return
	}
	b := w.benchOf(route)
	switch {
	case b.busy < b.slots:
		b.work(w, q)
	case len(b.waiting) < queueOf*b.slots:
		b.waiting = append(b.waiting, q)
	default:
		q.back(b.placed)
		q.end(false, true)
	}
}

func (w *World) benchOf(route router.Route) *bench {
	p := route.Placed()
	for _, b := range w.benches {
		if b.placed == p && b.head == route.Head() {
			return b
		}
	}
	r, _ := w.facts.state.Replica(p.Replica)
	b := &bench{placed: p, head: route.Head(), slots: max(r.Serving.Slots, 1)}
	w.benches = append(w.benches, b)
	return b
}

// work answers a request, if the worker lives that long.
func (b *bench) work(w *World, q *request) {
	b.busy++
	w.report(b)
	takes := time.Duration(float64(q.takes) * w.rng.ExpFloat64() * (1 + float64(b.busy-1)/float64(8*b.slots))) // a full batch is a little slower
	w.after(takes, "answer", func() {
		b.busy--
		q.back(b.placed)
		if b.alive(w) {
			q.end(!w.chance(w.flaws[q.version]), false)
		} else {
			q.failed = append(q.failed, b.placed)
			q.route()
		}
		for b.busy < b.slots && len(b.waiting) > 0 {
			next := b.waiting[0]
			b.waiting = b.waiting[1:]
			if b.alive(w) {
				b.work(w, next)
				continue
			}
			next.back(b.placed)
			next.failed = append(next.failed, b.placed)
			next.route()
		}
		w.report(b)
		if b.busy == 0 {
			w.benches = slices.DeleteFunc(w.benches, func(o *bench) bool { return o == b })
		}
	})
}

// alive says that the worker of a replica's head is still the one that took its requests.
func (b *bench) alive(w *World) bool {
	k, _ := w.worker(b.head)
	return k != nil && k.holds(b.placed)
}

// worker finds who listens at an endpoint.
func (w *World) worker(endpoint string) (*worker, *node) {
	for _, n := range w.nodes {
		for _, d := range n.devices {
			if k := n.workers[d.ID]; n.up && k.endpoint == endpoint {
				return k, n
			}
		}
	}
	return nil, nil
}

// holds says that a worker has a placement, draining or not.
func (k *worker) holds(p router.Placed) bool {
	return slices.ContainsFunc(k.duties, func(d agent.Duty) bool { return d.Replica == p.Replica && d.Epoch == p.Epoch })
}

// report tells a node how many sequences its worker has at work.
func (w *World) report(b *bench) {
	k, n := w.worker(b.head)
	if k == nil {
		return
	}
	var counts []agent.Count
	for _, o := range w.benches {
		if o.head == b.head && o.busy+len(o.waiting) > 0 {
			counts = append(counts, agent.Count{Replica: o.placed.Replica, Epoch: o.placed.Epoch, N: o.busy + len(o.waiting)})
		}
	}
	if idle := len(counts) == 0; idle != k.idle { // only zero or not matters
		k.idle = idle
		n.later(0, func() {
			n.step(agent.Input{Active: []agent.Active{{Device: k.device.ID, Counts: counts}}})
		})
	}
}

// end counts a request that is over.
func (q *request) end(well, refused bool) {
	q.over = true
	q.row.Ended++
	took := q.w.now.Sub(q.began)
	switch {
	case well:
		q.row.Total.Add(took.Milliseconds())
	case refused:
		q.row.Refused++
	default:
		q.row.Failed++
	}
	if well && (q.limit == 0 || took <= q.limit) {
		q.kept++
	} else {
		q.missed++
	}
}

// placedLoad is how many requests a gateway has at a placement.
type placedLoad struct {
	router.Placed
	n int
}

func (g *gateway) underWay(p router.Placed) int {
	if i := slices.IndexFunc(g.loads, func(l placedLoad) bool { return l.Placed == p }); i >= 0 {
		return g.loads[i].n
	}
	return 0
}

func (g *gateway) sent(p router.Placed, n int) {
	i := slices.IndexFunc(g.loads, func(l placedLoad) bool { return l.Placed == p })
	if i < 0 {
		i = len(g.loads)
		g.loads = append(g.loads, placedLoad{Placed: p})
	}
	if g.loads[i].n += n; g.loads[i].n == 0 {
		g.loads = slices.Delete(g.loads, i, i+1)
	}
}
