package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// rig is a small fleet around one loop: nodes that hold what they should at once, a log that never fails, and a clock that is a number.
type rig struct {
	tb     failer
	loop   *Loop
	state  cluster.State
	now    time.Time
	term   uint64
	nodes  map[cluster.NodeID]*machine
	ready  []ProbeResult
	commit []Commit
	log    strings.Builder
	last   Output
	calls  map[string]calls // by model
	asked  time.Time        // when the gateway last reported
}

// calls is a steady stream of requests that a gateway reports.
type calls struct {
	rate    float64 // per second
	took    int64   // ms each
	waiting int
	carry   float64
}

// demand is what the gateway says, once a second.
func (r *rig) demand() []cluster.Demand {
	if len(r.calls) == 0 || r.now.Sub(r.asked) < time.Second {
		return nil
	}
	over := r.now.Sub(r.asked)
	r.asked = r.now
	list := []cluster.Demand{{Gateway: "g1"}}
	for _, model := range sortedKeys(r.calls) {
		c := r.calls[model]
		c.carry += c.rate
		d := cluster.Demand{Gateway: "g1", Over: cluster.Millis(over.Milliseconds()), Tenant: "default", Version: cluster.VersionID{Model: model, Number: 1},
			Arrived: int(c.carry), Ended: int(c.carry), Waiting: c.waiting, Running: int(c.rate * float64(c.took) / 1000)}
		c.carry -= float64(int(c.carry))
		ready := 0
		for rep := range r.state.ReplicasOf(d.Version) {
			ready += order01(r.state.Routable(rep))
		}
		dep, _ := r.state.Deployment(d.Version)
		took := c.took
		if most := ready * dep.Serving.Slots * 1000 / int(c.took); d.Ended >= most { // a queue stands before the slots
			d.Ended, took = most, 4*c.took
		}
		for range d.Ended {
			d.Total.Add(took)
		}
		r.calls[model] = c
		if d.Arrived > 0 || d.Running > 0 || d.Waiting > 0 {
			list = append(list, d)
		}
	}
	return list
}

// failer is a test: *testing.T, *testing.B or *rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

type machine struct {
	report   cluster.Report
	down     bool                  // neither reports nor answers
	mute     bool                  // answers probes, but its reports do not arrive
	sick     map[gpu.DeviceID]bool // the device fails
	badLoads map[gpu.DeviceID]bool // loads on it fail
	slow     bool                  // loads never end
	keeps    bool                  // never lets go of a stage
	held     []cluster.Held
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRig(tb failer) *rig {
	r := &rig{tb: tb, loop: New(Config{}), now: start, term: 1, nodes: map[cluster.NodeID]*machine{}, calls: map[string]calls{}}
	r.must(cluster.Init{ID: "c", Feature: cluster.Feature},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Role: cluster.RoleCoordinator, Addr: "c1:1"}},
		cluster.PutMember{Member: cluster.Member{ID: "c2", Role: cluster.RoleCoordinator, Addr: "c2:1"}})
	return r
}

func (r *rig) must(do ...cluster.Command) {
	r.tb.Helper()
	for _, c := range do {
		s, errs := cluster.Apply(r.state, r.state.Index()+1, cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: []cluster.Command{c}}}})
		if errs[0] != nil {
			r.tb.Fatalf("%+v: %v", c, errs[0])
		}
		r.state = s
	}
}

func (r *rig) node(id cluster.NodeID, devices ...gpu.Device) {
	r.nodes[id] = &machine{sick: map[gpu.DeviceID]bool{}, badLoads: map[gpu.DeviceID]bool{}, report: cluster.Report{
		Node: id, Session: 1, Addr: string(id) + ":1", Name: string(id), Software: "1", Devices: devices,
	}}
}

func host(id gpu.DeviceID, size gpu.Bytes) gpu.Device {
	return gpu.Device{ID: id, Kind: gpu.Host, Memory: size}
}

func (r *rig) model(name string, blocks int, block gpu.Bytes) {
	p := shard.Profile{Decoder: true, Hidden: 64, Vocab: 1000, Positions: 64, Heads: 4, Inner: 256, Expand: 100, BlockCost: 1000, TailCost: 500}
	for range blocks {
		p.Blocks = append(p.Blocks, block)
	}
	r.must(cluster.PutVersion{Version: cluster.Version{VersionID: cluster.VersionID{Model: name, Number: 1}, Manifest: blob.Digest{byte(len(name)), name[0]},
		Profile: p, Holders: []cluster.NodeID{"c1", "c2"}}})
}

func (r *rig) deploy(name string, replicas int, change func(*cluster.Deployment)) {
	v := cluster.VersionID{Model: name, Number: 1}
	old, _ := r.state.Deployment(v)
	d := old
	d.Version, d.Replicas = v, replicas
	if d.Serving.Slots == 0 {
		d.Serving = shard.Serving{Slots: 1, Context: 16}
	}
	if change != nil {
		change(&d)
	}
	r.must(cluster.PutDeployment{Deployment: d, Was: old.Rev})
}

func (r *rig) status(id cluster.NodeID, st cluster.NodeStatus) {
	n, _ := r.state.Node(id)
	r.must(cluster.SetNodeStatus{ID: id, Status: st, Was: n.Rev})
}

func quarantined(noun, id string) cluster.QuarantineID {
	if noun == "node" {
		return cluster.QuarantineID{Node: cluster.NodeID(id)}
	}
	return cluster.QuarantineID{Device: gpu.DeviceID(id)}
}

func (r *rig) quarantine(id cluster.QuarantineID, lift bool, lasts []string) {
	q, _ := r.state.Quarantine(id)
	if lift {
		r.must(cluster.DeleteQuarantine{ID: id, Was: q.Rev})
		return
	}
	next := cluster.Quarantine{QuarantineID: id, By: "ann", Why: "sparks"}
	if len(lasts) > 0 {
		d, err := time.ParseDuration(lasts[0])
		if err != nil {
			r.tb.Fatal(err)
		}
		next.Until = cluster.Millis(r.now.Add(d).UnixMilli())
	}
	r.must(cluster.PutQuarantine{Quarantine: next, Was: q.Rev})
}

// reports lets every machine that can say what it holds, after it made that what it was told to.
func (r *rig) reports() []cluster.Report {
	var list []cluster.Report
	for _, id := range sortedKeys(r.nodes) {
		m := r.nodes[id]
		if m.down {
			continue
		}
		desired := r.loop.Desired(r.state, id)
		m.obey(desired)
		if m.mute {
			continue
		}
		m.report.Seq++
		m.report.Held = slices.Clone(m.held)
		m.report.Readings = nil
		for _, dev := range m.report.Devices {
			health, why := gpu.Healthy, ""
			if m.sick[dev.ID] {
				health, why = gpu.Failed, "XID 79"
			}
			m.report.Readings = append(m.report.Readings, gpu.Reading{ID: dev.ID, Health: health, Why: why})
		}
		list = append(list, m.report)
	}
	return list
}

func (m *machine) obey(d cluster.Desired) {
	m.report.Seen = d.Index
	var held []cluster.Held
	if m.keeps {
		held = m.held
	}
	for _, a := range d.Assignments {
		if a.Drain {
			continue
		}
		h := cluster.Held{Replica: a.Replica, Epoch: a.Epoch, Stage: a.Stage, Key: a.Key, Device: a.Device, Status: cluster.HeldReady,
			Endpoint: fmt.Sprintf("%s:%d", m.report.Node, 100+m.report.Session)}
		switch {
		case m.badLoads[a.Device]:
			h.Status, h.Endpoint, h.Why = cluster.HeldFailed, "", "out of memory"
		case m.slow:
			h.Status, h.Endpoint = cluster.HeldLoading, ""
		}
		held = append(held, h)
	}
	m.held = held
}

// step lets the loop decide once and applies what it decided.
func (r *rig) step(reports []cluster.Report) Output {
	in := Input{State: r.state, Term: r.term, Reports: reports, Probes: r.ready, Commits: r.commit, Demand: r.demand()}
	out := r.loop.Step(r.now, in)
	r.ready, r.commit = nil, nil
	for _, p := range out.Probes {
		m := r.nodes[p.Node]
		alive := m != nil && !m.down
		for _, by := range []cluster.NodeID{"c1", "c2"} {
			r.ready = append(r.ready, ProbeResult{Node: p.Node, By: by, Round: p.Round, Alive: alive})
		}
	}
	if len(out.Txns) > 0 {
		before := r.state
		s, errs := cluster.Apply(r.state, r.state.Index()+1, cluster.Envelope{V: 1, Txns: out.Txns})
		r.state = s
		c := Commit{Proposal: out.Proposal, Index: s.Index()}
		for i, err := range errs {
			r.print(before, out.Txns[i], err)
			if err != nil {
				c.Rejected = append(c.Rejected, err.Error())
			}
		}
		r.commit = append(r.commit, c)
	}
	r.last = out
	return out
}

// run steps twice a second: once with reports, once with the outcomes.
func (r *rig) run(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.step(r.reports())
		r.step(nil)
		r.now = r.now.Add(500 * time.Millisecond)
	}
}

func (r *rig) print(before cluster.State, txn cluster.Txn, err error) {
	for _, c := range txn.Do {
		fmt.Fprintf(&r.log, "%5s  %s", r.now.Sub(start), describe(before, c))
		if err != nil {
			fmt.Fprintf(&r.log, " REJECTED %v", err)
		}
		fmt.Fprintln(&r.log)
	}
}

func describe(before cluster.State, c cluster.Command) string {
	switch c := c.(type) {
	case cluster.PutNode:
		old, ok := before.Node(c.Node.ID)
		if !ok {
			return fmt.Sprintf("admit %s with %d devices", c.Node.ID, len(c.Node.Devices))
		}
		return fmt.Sprintf("change %s, which was %s", c.Node.ID, old.Status)
	case cluster.SetNodeStatus:
		return fmt.Sprintf("%s is %s: %s", c.ID, c.Status, c.Why)
	case cluster.PlaceReplica:
		return fmt.Sprintf("place %s epoch %d, was %d: %s", c.Replica.ReplicaID, c.Replica.Epoch, c.Was, c.Replica.Why)
	case cluster.MarkReplica:
		return strings.TrimSpace(fmt.Sprintf("%s epoch %d is %s %s %s", c.ID, c.Epoch, c.Status, strings.Join(c.Endpoints, ","), c.Why))
	case cluster.SetScale:
		return fmt.Sprintf("scale %s to %d: %s", c.Version, c.Replicas, c.Why)
	case cluster.RemoveReplica:
		return fmt.Sprintf("remove %s epoch %d", c.ID, c.Epoch)
	case cluster.DeleteQuarantine:
		return fmt.Sprintf("lift the quarantine of %s", c.ID)
	}
	return fmt.Sprintf("%+v", c)
}
