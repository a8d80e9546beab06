package agent

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// report says how things are, once in ReportEvery and whenever a stage's status changed.
func (l *Loop) report() {
	held := l.held()
	steady := slices.Clone(held)
	for i := range steady {
		steady[i].Fetched, steady[i].Fetch, steady[i].Active = 0, 0, 0
	}
	if due := l.until(l.reportAt); !due && slices.Equal(steady, l.reported) {
		return
	}
	l.reported, l.reportAt = steady, l.now.Add(ReportEvery)
	l.seq++
	r := cluster.Report{Node: l.Node, Session: l.Session, Seq: l.seq, Addr: l.Addr, Name: l.Name, Zone: l.Zone, Software: l.Software,
		Devices: slices.Clone(l.Devices), Held: held, Seen: l.desired.Index}
	for _, d := range l.devices {
		r.Readings = append(r.Readings, d.reading)
	}
	l.out.Report = &r
}

// held lists what is assigned, and what lingers in memory, by replica, epoch and stage.
func (l *Loop) held() []cluster.Held {
	var out []cluster.Held
	for _, a := range l.desired.Assignments {
		if _, ok := l.Devices.Device(a.Device); !ok && !a.Drain {
			out = append(out, cluster.Held{Replica: a.Replica, Epoch: a.Epoch, Stage: a.Stage, Key: a.Key, Device: a.Device,
				Status: cluster.HeldFailed, Why: "this node has no such device"})
		}
	}
	for _, s := range l.slots {
		if !s.wanted() && !s.held() {
			continue
		}
		h := cluster.Held{Replica: s.owner.Replica, Epoch: s.owner.Epoch, Stage: s.owner.Stage, Key: s.Key, Device: s.Device,
			Used: s.used, Active: l.count(s)}
		if h.Status, h.Why = l.status(s); s.phase == loaded {
			h.Endpoint = l.device(s.Device).endpoint
		}
		if f := l.fetchOf(s.Key); f != nil && h.Status == cluster.HeldFetching {
			h.Fetched, h.Fetch = f.bytes, f.total
		}
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b cluster.Held) int {
		return cmp.Or(a.Replica.Compare(b.Replica), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Stage, b.Stage), a.Device.Compare(b.Device))
	})
	return out
}

func (l *Loop) status(s *slot) (cluster.HeldStatus, string) {
	d, f := l.device(s.Device), l.fetchOf(s.Key)
	switch {
	case s.phase == loaded && s.assigned: // draining or not: its peers still need its endpoint
		return cluster.HeldReady, ""
	case !s.wanted():
		return cluster.HeldLeaving, ""
	case s.phase == loading:
		return cluster.HeldLoading, s.retry.why
	case d.reading.Health == gpu.Failed:
		return cluster.HeldFailed, "the device failed: " + d.reading.Why
	case s.retry.failures >= Tries:
		return cluster.HeldFailed, s.retry.why
	case f == nil || !f.done:
		return cluster.HeldFetching, s.retry.why
	case s.phase == leaving || s.owner.Reserve > l.room(d) && l.lingers(d):
		return cluster.HeldLoading, "waits for memory that is being freed"
	case s.owner.Reserve > l.room(d):
		return cluster.HeldFailed, fmt.Sprintf("it needs %v and %v of %v are free", s.owner.Reserve, l.room(d), d.Memory)
	case d.endpoint == "":
		return cluster.HeldLoading, "waits for the worker to start"
	}
	return cluster.HeldLoading, s.retry.why
}

// lingers says whether memory of a device will be freed.
func (l *Loop) lingers(d *device) bool {
	return slices.ContainsFunc(l.slots, func(s *slot) bool { return s.Device == d.ID && s.held() && !s.wanted() })
}
