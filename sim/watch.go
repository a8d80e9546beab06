package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/alert/measure"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/series"
)

// Watch measures a world by the code that the coordinator that leads does it by, and evaluates alert rules over what it measured. Incidents are
// committed to the world's log.
type Watch struct {
	Load    Load
	world   *World
	rules   []alert.Rule
	every   time.Duration
	store   *series.Store
	measure *measure.Sheets
	loop    *alert.Loop
	heard   map[cluster.NodeID]time.Time
	served  served
	lines   []string
	told    map[string]int
	sent    []alert.Sent
	err     error
}

// NewWatch watches a world from now on, every so often, after some days of the same load that it remembers.
func NewWatch(w *World, load Load, rules []alert.Rule, every time.Duration, days int) (*Watch, error) {
	loop, err := alert.NewLoop(alert.Config{})
	if err != nil {
		return nil, err
	}
	x := &Watch{Load: load, world: w, rules: rules, every: every, store: series.New(0, 0), loop: loop, heard: map[cluster.NodeID]time.Time{}, told: map[string]int{}}
	x.measure = measure.New(x.store)
	const past = time.Minute
	for at := w.now.Add(-time.Duration(days) * 24 * time.Hour); at.Before(w.now); at = at.Add(past) {
		var f measure.Facts
		for _, model := range load.Models {
			for i, tenant := range load.Tenants {
				d := load.row(tenant, model)
				load.answer(&d, at, i, load.calls(at, i, tenant, past), 1, 0)
				f.Demand = append(f.Demand, d)
			}
		}
		x.put(at, f)
	}
	w.after(0, "watch", x.tick)
	return x, nil
}

// Lines tells what happened to incidents: "at 75s: opens node-lost n1".
func (x *Watch) Lines() []string { return x.lines }

// Told counts how often each notification was sent.
func (x *Watch) Told() map[string]int { return x.told }

// Err is the first error of measuring.
func (x *Watch) Err() error { return x.err }

func (x *Watch) put(at time.Time, f measure.Facts) {
	if err := x.measure.Put(at, f); err != nil && x.err == nil {
		x.err = err
	}
}

func (x *Watch) tick() {
	w := x.world
	w.after(x.every, "watch", x.tick)
	w.renew()
	for _, n := range w.nodes {
		n.read(x.served.busy)
	}
	demand, flows := x.serve()
	l := w.log.leader
	if l == nil || l.term == 0 {
		return
	}
	x.put(w.now, x.facts(l, demand, flows))
	x.settle(l)
	x.step(l)
}

// facts is what the leader knows.
func (x *Watch) facts(l *coordinator, demand []cluster.Demand, flows []measure.Flow) measure.Facts {
	w := x.world
	f := measure.Facts{State: l.state, Demand: demand, Flows: flows, Gateways: map[cluster.NodeID]time.Duration{}, Upkeep: map[cluster.NodeID]cluster.Upkeep{},
		Voters: len(w.coordinators), Spare: -len(w.coordinators)/2 - 1, Kept: map[cluster.VersionID]library.Kept{}, Spools: maps.Clone(w.store.spools)}
	view := library.View{Answers: map[cluster.NodeID]library.Answer{}}
	for _, c := range w.coordinators {
		view.Coordinators = append(view.Coordinators, c.id)
		if c.up && w.net.both(l.id, c.id) {
			f.Spare++
			f.Upkeep[c.id] = c.upkeep()
			view.Answers[c.id] = library.Answer{Lacks: c.lacks()}
		}
	}
	for v := range l.state.Versions() {
		f.Kept[v.VersionID] = view.Kept(v)
	}
	for _, g := range w.gateways {
		if g.on == nil {
			f.Gateways[g.id] = x.silent(l, g.id)
		}
	}
	for _, n := range w.nodes {
		if r, ok := l.reports[n.id]; ok {
			f.Nodes = append(f.Nodes, measure.Sight{Report: r.Report, Age: w.now.Sub(r.at)})
		}
	}
	return f
}

// silent is how long ago the leader last could hear from a gateway.
func (x *Watch) silent(l *coordinator, id cluster.NodeID) time.Duration {
	if _, ok := x.heard[id]; !ok || x.world.net.both(id, l.id) {
		x.heard[id] = x.world.now
	}
	return x.world.now.Sub(x.heard[id])
}

// step evaluates the rules on the leader, and has what comes of it committed.
func (x *Watch) step(l *coordinator) {
	in := alert.Input{
		Term: l.term, Rules: x.rules, Series: x.store, Sent: x.sent,
		Receivers: []alert.Receiver{{ID: "pager", Protocol: alert.Webhook, URL: "https://pager.example.com/"}},
	}
	x.sent = nil
	for d := range l.state.Documents(cluster.Incident) {
		var i alert.Incident
		if err := json.Unmarshal(d.Body, &i); err != nil {
			x.world.fail("an incident that cannot be read: %w", err)
			return
		}
		i.Rev = uint64(d.Rev)
		in.Incidents = append(in.Incidents, i)
	}
	out := x.loop.Step(x.world.now, in)
	for _, n := range out.Notifications {
		x.told[n.ID]++
		x.sent = append(x.sent, alert.Sent{ID: n.ID})
	}
	var txns []cluster.Txn
	for _, t := range out.Transitions {
		body, err := json.Marshal(t.Incident)
		if err != nil {
			x.world.fail("an incident that cannot be written: %w", err)
			return
		}
		txns = append(txns, cluster.Txn{Do: []cluster.Command{cluster.PutDocument{
			Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Incident, ID: t.Incident.ID}, Body: body}, Was: cluster.Index(t.Incident.Rev),
		}}})
	}
	if len(txns) == 0 {
		return
	}
	x.world.propose(l, l.term, txns, func(index cluster.Index, errs []error) {
		for i, t := range out.Transitions {
			if index > 0 && errs[i] == nil && t.Why != "told" {
				of := t.Incident.Labels.Only("version", "tenant", "node", "gateway", "coordinator", "member", "UUID")
				x.lines = append(x.lines, fmt.Sprintf("at %.0fs: %s %s %s", x.world.Elapsed().Seconds(), t.Why, t.Incident.Rule, of))
			}
		}
	})
}

// Load is what a world's tenants ask for.
type Load struct {
	Tenants []string
	Models  []string           // whose version 1 is asked
	Rate    float64            // requests per second of each tenant for each model, at noon; a third of it at midnight
	Times   map[string]float64 // by tenant: its requests are so many times those
	Prompts map[string]int64   // by tenant: tokens of a request
	Prompt  int64              // of the others
	Tokens  int64              // of an answer
	First   time.Duration      // until the first token, about, where nothing is slow and nobody waits
	Token   time.Duration      // for one more
}

// QuietLoad is a load that nobody needs to know of.
func QuietLoad() Load {
	return Load{Tenants: []string{"acme", "zeta"}, Models: []string{"m0"}, Rate: 2, Times: map[string]float64{}, Prompts: map[string]int64{}, Prompt: 200, Tokens: 100,
		First: 300 * time.Millisecond, Token: 17 * time.Millisecond}
}

func (l *Load) row(tenant, model string) cluster.Demand {
	return cluster.Demand{Gateway: "g1", Tenant: tenant, Version: cluster.VersionID{Model: model, Number: 1}}
}

// calls is how many requests of a tenant for a model come during a while that ends at a time.
func (l *Load) calls(at time.Time, i int, tenant string, while time.Duration) int {
	hour := float64(at.Unix()%86_400) / 3600
	day := (2 - math.Cos(hour/12*math.Pi)) / 3 // 1/3 at midnight, 1 at noon
	times, ok := l.Times[tenant]
	if !ok {
		times = 1
	}
	n := l.Rate * day * times * while.Seconds() * (1 + wobble(at, i)/5)
	return int(n + 0.5 + wobble(at, i+7)/2)
}

// took is the time of an answer where everything is so many times slower than it should be.
func (l *Load) took(slow float64) (first, total time.Duration) {
	return time.Duration(slow * float64(l.First)), time.Duration(slow * float64(l.First+time.Duration(l.Tokens)*l.Token))
}

// answer counts requests that were answered, after they waited.
func (l *Load) answer(d *cluster.Demand, at time.Time, i, n int, slow float64, waited time.Duration) {
	prompt, ok := l.Prompts[d.Tenant]
	if !ok {
		prompt = l.Prompt
	}
	first, total := l.took(slow)
	d.Ended += n
	d.Prompt += int64(n) * prompt
	d.Answer += int64(n) * l.Tokens
	for k := range n {
		spread := 1 + wobble(at, k+100*i)/2
		d.First.Add((waited + time.Duration(spread*float64(first))).Milliseconds())
		d.Total.Add((waited + time.Duration(spread*float64(total))).Milliseconds())
	}
}

// wobble is a number from -1 to 1 that changes with the time and an index, and nothing else.
func wobble(at time.Time, i int) float64 {
	h := uint64(at.Unix())*2654435761 + uint64(i)*40503
	h ^= h >> 15
	h *= 0x2c1b3c6d
	h ^= h >> 12
	return float64(h%2001)/1000 - 1
}

// served is what becomes of requests at the gateways and replicas.
type served struct {
	waiting map[string]map[string]int // by model and tenant
	part    map[string]float64        // of a request that could have been answered besides, by model
	bucket  map[string]float64        // requests that the limit by the minute of a tenant still lets through
	busy    map[gpu.DeviceID]float64  // share of what it can do that a device does
	settled uint64                    // settlements so far
	unsaid  map[string]int64          // tokens that are not settled yet, by tenant
}

// maxWaiting is how many requests for a model wait at the gateways.
const maxWaiting = 256

// serve lets the requests since the last time come, be refused, wait, fail, or be answered by the replicas that the gateway has a way to.
func (x *Watch) serve() (demand []cluster.Demand, flows []measure.Flow) {
	s := &x.served
	if s.waiting == nil {
		*s = served{waiting: map[string]map[string]int{}, part: map[string]float64{}, bucket: map[string]float64{}, unsaid: map[string]int64{}}
	}
	s.busy = map[gpu.DeviceID]float64{}
	for _, model := range x.Load.Models {
		rows := x.arrive(model)
		left := x.work(model, rows)
		demand = append(demand, rows...)
		flows = append(flows, measure.Flow{Gateway: "g1", Version: rows[0].Version, Waiting: left})
	}
	for _, d := range demand {
		s.unsaid[d.Tenant] += d.Prompt + d.Answer
		x.world.store.keep(d.Gateway, d.Ended)
	}
	return demand, flows
}

// arrive counts what comes, and lets through what limits allow: it waits then.
func (x *Watch) arrive(model string) (rows []cluster.Demand) {
	queue := x.served.waiting[model]
	if queue == nil {
		queue = map[string]int{}
		x.served.waiting[model] = queue
	}
	for i, tenant := range x.Load.Tenants {
		d := x.Load.row(tenant, model)
		d.Arrived = x.Load.calls(x.world.now, i, tenant, x.every)
		d.Limited = d.Arrived - x.admit(tenant, d.Arrived)
		d.Refused, d.Ended = d.Limited, d.Limited
		queue[tenant] += d.Arrived - d.Limited
		rows = append(rows, d)
	}
	return rows
}

// admit says how many of a tenant's requests its limit of requests by the minute lets through.
func (x *Watch) admit(tenant string, n int) int {
	set, _ := x.world.gateways[0].state.Limits(cluster.TenantSubject(tenant))
	for _, l := range set.Limits {
		if l.Meter == quota.Requests && l.Window == quota.Minute {
			most := float64(l.Amount)
			room := min(most, x.served.bucket[tenant]+most*x.every.Minutes())
			n = min(n, int(room))
			x.served.bucket[tenant] = room - float64(n)
		}
	}
	return n
}

// work answers what waits for a model as far as its replicas can, all tenants alike, and returns how many wait still. Without a replica all fail; what is
// too much to wait is refused.
func (x *Watch) work(model string, rows []cluster.Demand) (left int) {
	w, s, queue := x.world, &x.served, x.served.waiting[model]
	all := 0
	for _, n := range queue {
		all += n
	}
	pace, slow, devices := w.pace(&x.Load, model)
	can := pace*x.every.Seconds() + s.part[model]
	take := min(all, int(can))
	s.part[model] = min(can-float64(take), 1)
	for _, d := range devices {
		s.busy[d] = min(1, float64(all)/can)
	}
	var waited time.Duration
	if pace > 0 {
		waited = time.Duration(float64(all-take) / pace * float64(time.Second))
	}
	over := max(0, all-take-maxWaiting)
	for i := range rows {
		d := &rows[i]
		n := queue[d.Tenant]
		switch {
		case pace == 0:
			d.Failed, d.Ended, queue[d.Tenant] = n, d.Ended+n, 0
			if n > 0 {
				d.Failing = []cluster.Failing{{Request: fmt.Sprintf("r-%s-%d", d.Tenant, w.now.Unix())}}
			}
			continue
		case all > 0:
			answered, refused := n*take/all, n*over/all
			if i == len(rows)-1 {
				answered = min(take, n) // what is left of it
			}
			x.Load.answer(d, w.now, i, answered, slow, waited)
			d.Refused, d.Ended = d.Refused+refused, d.Ended+refused
			queue[d.Tenant] -= answered + refused
			all, take, over = all-n, take-answered, over-refused
		}
		d.Waiting = queue[d.Tenant]
		left += d.Waiting
	}
	return left
}

// settle has what was used by the tokens of a day written to the log, as a gateway does.
func (x *Watch) settle(l *coordinator) {
	w, s := x.world, &x.served
	var asks []quota.Ask
	for set := range l.state.LimitSets() {
		for _, limit := range set.Limits {
			if limit.Meter == quota.Tokens && limit.Window.Counter() {
				tenant := l.state.TenantOf(set.Subject)
				asks = append(asks, quota.Ask{ID: limit.ID(set.Subject), Start: limit.Window.Start(w.now.UnixMilli()), Spent: s.unsaid[tenant]})
				s.unsaid[tenant] = 0
			}
		}
	}
	if len(asks) == 0 {
		return
	}
	s.settled++
	w.propose(l, l.term, []cluster.Txn{{Do: []cluster.Command{cluster.Settle{Gateway: "c1", Session: 1, Seq: s.settled, Asks: asks}}}}, func(cluster.Index, []error) {})
}
