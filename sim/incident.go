package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/series"
)

// Load is what a world's tenants ask for, and those of its readings that the world has no physics for. Requests do travel through the
// world: where there is no way to an answer, they fail.
type Load struct {
	Tenants  []string
	Models   []string           // whose version 1 is asked
	Rate     float64            // requests per second of each tenant for each model, at noon; a third of it at midnight
	Times    map[string]float64 // by tenant: its requests are so many times those
	Failing  float64            // share of the requests that fail though there is a way
	Took     int64              // ms, most requests about
	First    int64              // ms until the first token, about
	Tokens   int64              // of an answer
	Waiting  float64            // requests for each version that wait
	Quota    float64            // used share of a limit of each tenant
	Celsius  float64            // of each device
	Used     float64            // share of each device's memory; 0 = what its stages take
	LeftFor  time.Duration      // that certificates are valid still
	DiskFree float64            // share
	Lag      float64            // entries that each coordinator is behind, beside what it really is
}

// QuietLoad is a load that nobody needs to know of.
func QuietLoad() Load {
	return Load{
		Tenants: []string{"acme", "zeta"}, Models: []string{"m0"}, Rate: 2, Times: map[string]float64{}, Took: 2000, First: 300, Tokens: 100,
		Quota: 0.4, Celsius: 60, LeftFor: 18 * time.Hour, DiskFree: 0.6,
	}
}

// Watch measures a world and evaluates alert rules over what it measures, as the coordinator that leads does. Incidents are committed
// to the world's log.
type Watch struct {
	Load  Load
	world *World
	rules []alert.Rule
	every time.Duration
	store *series.Store
	loop  *alert.Loop
	heard map[cluster.NodeID]time.Time
	lines []string
	told  map[string]int
	sent  []alert.Sent
	err   error
}

// NewWatch watches a world from now on, every so often, after some days of the same load that it remembers.
func NewWatch(w *World, load Load, rules []alert.Rule, every time.Duration, days int) (*Watch, error) {
	loop, err := alert.NewLoop(alert.Config{})
	if err != nil {
		return nil, err
	}
	x := &Watch{Load: load, world: w, rules: rules, every: every, store: series.New(0, 0), loop: loop, heard: map[cluster.NodeID]time.Time{}, told: map[string]int{}}
	const past = time.Minute
	for at := w.now.Add(-time.Duration(days) * 24 * time.Hour); at.Before(w.now); at = at.Add(past) {
		x.requests(at, past, func(string) bool { return true })
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

func (x *Watch) put(at time.Time, family string, l series.Labels, v float64) {
	if err := x.store.Put(at, family, l, v); err != nil && x.err == nil {
		x.err = err
	}
}

func (x *Watch) tick() {
	x.world.after(x.every, "watch", x.tick)
	l := x.world.log.leader
	if l == nil || l.term == 0 {
		return
	}
	x.measure(l)
	x.step(l)
}

// measure puts what the leader sees.
func (x *Watch) measure(l *coordinator) {
	w, at := x.world, x.world.now
	spare := -len(w.coordinators)/2 - 1
	for _, c := range w.coordinators {
		if c.up && w.net.both(l.id, c.id) {
			spare++
			x.put(at, "skein_raft_apply_lag_entries", series.Of("coordinator", string(c.id)), float64(len(w.log.entries)-c.applied)+x.Load.Lag)
			x.put(at, "skein_certificate_left_seconds", series.Of("member", string(c.id)), x.Load.LeftFor.Seconds())
		}
	}
	x.put(at, "skein_raft_voters", nil, float64(len(w.coordinators)))
	x.put(at, "skein_raft_voters_spare", nil, float64(spare))
	for _, g := range w.gateways {
		if g.on == nil {
			x.put(at, "skein_gateway_silent_seconds", series.Of("gateway", string(g.id)), x.silent(l, g.id, true))
		}
	}
	for n := range l.state.Nodes() {
		x.node(l, n)
	}
	ready := map[cluster.VersionID]int{}
	for r := range l.state.Replicas() {
		if l.state.Routable(r) {
			ready[r.Version]++
		}
	}
	for d := range l.state.Deployments() {
		v := series.Of("version", d.Version.String())
		x.put(at, "skein_replicas_wanted", v, float64(d.Wanted()))
		x.put(at, "skein_replicas_ready", v, float64(ready[d.Version]))
		x.put(at, "skein_gateway_waiting_requests", v.With("gateway", "g1"), x.Load.Waiting)
	}
	x.requests(at, x.every, func(model string) bool { return w.gateways[0].request(model) == nil })
}

// silent is how many seconds ago the leader last could hear from a machine.
func (x *Watch) silent(l *coordinator, id cluster.NodeID, up bool) float64 {
	if _, ok := x.heard[id]; !ok || up && x.world.net.both(id, l.id) {
		x.heard[id] = x.world.now
	}
	return x.world.now.Sub(x.heard[id]).Seconds()
}

func (x *Watch) node(l *coordinator, in cluster.Node) {
	at, n := x.world.now, x.world.node(in.ID)
	name := series.Of("node", string(in.ID))
	lost := 0.0
	if in.Status == cluster.NodeLost {
		lost = 1
	}
	x.put(at, "skein_node_lost", name, lost)
	x.put(at, "skein_node_silent_seconds", name, x.silent(l, in.ID, n.up))
	if !n.up || !x.world.net.both(n.id, l.id) {
		return
	}
	x.put(at, "skein_disk_free_ratio", name, x.Load.DiskFree)
	for _, k := range n.sortedWorkers() {
		d := series.Of("Hostname", string(in.ID), "UUID", string(k.device.ID))
		healthy, xid := 1.0, 0.0
		if k.sick {
			healthy, xid = 0, 79
		}
		used := float64(k.used())
		if x.Load.Used > 0 {
			used = x.Load.Used * float64(k.device.Memory)
		}
		x.put(at, "skein_gpu_healthy", d, healthy)
		x.put(at, "DCGM_FI_DEV_XID_ERRORS", d, xid)
		x.put(at, "DCGM_FI_DEV_GPU_TEMP", d, x.Load.Celsius)
		x.put(at, "DCGM_FI_DEV_FB_USED", d, used)
		x.put(at, "DCGM_FI_DEV_FB_FREE", d, float64(k.device.Memory)-used)
	}
}

// requests counts what tenants asked during a while that ends now.
func (x *Watch) requests(at time.Time, while time.Duration, way func(model string) bool) {
	hour := float64(at.Unix()%86_400) / 3600
	day := (2 - math.Cos(hour/12*math.Pi)) / 3 // 1/3 at midnight, 1 at noon
	for _, model := range x.Load.Models {
		version := cluster.VersionID{Model: model, Number: 1}.String()
		open := way(model)
		var took, first series.Histogram
		for i, tenant := range x.Load.Tenants {
			times, ok := x.Load.Times[tenant]
			if !ok {
				times = 1
			}
			n := x.Load.Rate * day * times * while.Seconds() * (1 + wobble(at, i)/5)
			ended := int64(n + 0.5 + wobble(at, i+7)/2)
			failed := int64(float64(ended)*x.Load.Failing + 0.5)
			if !open {
				failed = ended
			}
			x.count(at, "skein_gateway_requests_total", series.Of("tenant", tenant, "version", version, "outcome", "ok"), ended-failed)
			x.count(at, "skein_gateway_requests_total", series.Of("tenant", tenant, "version", version, "outcome", "failed"), failed)
			x.count(at, "skein_gateway_tokens_total", series.Of("tenant", tenant, "version", version, "type", "output"), (ended-failed)*x.Load.Tokens)
			x.put(at, "skein_quota_used_ratio", series.Of("tenant", tenant, "limit", "tenant/"+tenant, "meter", "tokens", "window", "day"), x.Load.Quota)
			for k := range ended - failed {
				spread := 1 + wobble(at, int(k)+100*i)/2
				took.Add(int64(float64(x.Load.Took) * spread))
				first.Add(int64(float64(x.Load.First) * spread))
			}
			if failed > 0 {
				x.store.Sample(at, "skein_gateway_requests_total", series.Of("tenant", tenant, "version", version, "outcome", "failed"), fmt.Sprintf("r-%s-%d", tenant, at.Unix()))
			}
		}
		for family, h := range map[string]*series.Histogram{"gen_ai_server_request_duration_seconds": &took, "gen_ai_server_time_to_first_token_seconds": &first} {
			if err := x.store.Observe(at, family, series.Of("version", version), h); err != nil && x.err == nil {
				x.err = err
			}
		}
	}
}

func (x *Watch) count(at time.Time, family string, l series.Labels, n int64) {
	if err := x.store.Add(at, family, l, n); err != nil && x.err == nil {
		x.err = err
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
				x.lines = append(x.lines, fmt.Sprintf("at %.0fs: %s %s %s", x.world.Elapsed().Seconds(), t.Why, t.Incident.Rule, t.Incident.Labels.Only("version", "tenant", "node", "gateway", "coordinator", "member", "UUID")))
			}
		}
	})
}
