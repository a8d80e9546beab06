package sim

import (
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// store is the results database, with what gateways' spools have that is not in it.
type store struct {
	away   bool
	spools map[cluster.NodeID]cluster.Spool
}

const (
	spoolRoom   = 8 << 20 // bytes
	recordBytes = 2048    // of a request that ended
)

// keep takes the records of requests that ended at a gateway.
func (s *store) keep(gateway cluster.NodeID, n int) {
	p := s.spools[gateway]
	p.Room = spoolRoom
	p.Used += int64(n) * recordBytes
	if over := p.Used - p.Room; over > 0 {
		p.Used -= over
		p.Dropped += over / recordBytes
	}
	if !s.away {
		p.Used = 0
	}
	s.spools[gateway] = p
}

// heat is what a device and what is around it do to it.
type heat struct {
	noFan   bool
	foreign gpu.Bytes // memory that something else on the machine has taken
	slow    float64   // how many times slower it works than it should; 0 = as it should
}

const (
	idleCelsius  = 38
	busyCelsius  = 30 // more at full work
	noFanCelsius = 50 // more without a fan
	paperLife    = 24 * time.Hour
	diskSize     = 64 << 30 // bytes of a machine
)

// papers is a member's certificate: renewed at half its life by whoever leads, if it reaches that one.
type papers struct {
	ends   time.Time
	broken bool // it does not renew it
}

func (w *World) papersOf(id cluster.NodeID) *papers {
	p := w.certified[id]
	if p == nil {
		p = &papers{ends: w.now.Add(paperLife)}
		w.certified[id] = p
	}
	return p
}

// renew lets members renew their certificates that are due.
func (w *World) renew() {
	l := w.log.leader
	for _, id := range w.ids() {
		if p := w.papersOf(id); l != nil && !p.broken && w.net.both(id, l.id) && p.ends.Sub(w.now) <= paperLife/2 {
			p.ends = w.now.Add(paperLife)
		}
	}
}

func (w *World) certificateEnds(id cluster.NodeID) cluster.Millis {
	return cluster.Millis(w.papersOf(id).ends.UnixMilli())
}

// upkeep is what a coordinator says of itself.
func (c *coordinator) upkeep() cluster.Upkeep {
	return cluster.Upkeep{CertificateEnds: c.w.certificateEnds(c.id), DiskFree: diskSize / 2, DiskSize: diskSize, Lag: uint64(len(c.w.log.entries) - c.applied)}
}

// lacks says which versions a coordinator has not whole.
func (c *coordinator) lacks() map[cluster.VersionID]bool {
	out := map[cluster.VersionID]bool{}
	for v := range c.w.facts.state.Versions() {
		out[v.VersionID] = c.lost
	}
	return out
}

// upkeep is what a node says of itself. What it fetched is on its disk.
func (n *node) upkeep() cluster.Upkeep {
	used := n.other
	for key := range n.disk { // a sum does not depend on the order
		used += int64(key.Span.Blocks()) << 30
	}
	return cluster.Upkeep{CertificateEnds: n.w.certificateEnds(n.id), DiskFree: max(0, diskSize-used), DiskSize: diskSize}
}

// read reads the devices of a node, which are at work so much.
func (n *node) read(busy map[gpu.DeviceID]float64) {
	if !n.up {
		return
	}
	var list []gpu.Reading
	for _, k := range n.sortedWorkers() {
		r := k.reading()
		share := busy[k.device.ID]
		r.Percent = int(100 * share)
		r.Used = min(k.device.Memory, k.used()+k.foreign)
		r.Celsius = idleCelsius + int(busyCelsius*share)
		if k.noFan {
			r.Celsius += noFanCelsius
		}
		list = append(list, r)
	}
	n.step(agent.Input{Readings: list})
}

// pace is how many requests for a model its replicas answer in a second, how many times slower than they should, and on which devices: of those replicas
// that the first gateway has a way to.
func (w *World) pace(l *Load, model string) (pace, slow float64, devices []gpu.DeviceID) {
	g := w.gateways[0]
	if g.table == nil {
		return 0, 1, nil
	}
	routes := 0.0
	for _, route := range g.table.Routes(cluster.VersionID{Model: model, Number: 1}) {
		if w.serve(g.id, route.Replica, route.Epoch, 0, route.Head()) != "" {
			continue
		}
		r, _ := g.state.Replica(route.Replica)
		worst := 1.0
		for _, st := range r.Stages {
			devices = append(devices, st.Device)
			if n := w.node(st.Node); n != nil {
				worst = max(worst, n.workers[st.Device].slow)
			}
		}
		_, took := l.took(worst)
		pace += float64(max(1, r.Serving.Slots)) / took.Seconds()
		slow += worst
		routes++
	}
	if routes == 0 {
		return 0, 1, nil
	}
	return pace, slow / routes, devices
}
