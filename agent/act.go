package agent

import (
	"fmt"
	"slices"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// drain starts and ends the draining of loaded stages that are not wanted, and returns those that go now.
func (l *Loop) drain() (going []*slot) {
	for _, s := range l.slots {
		if s.phase == loaded && !s.wanted() && (!s.served || !l.mayServe(s) || l.idle(s)) {
			s.phase = leaving
			going = append(going, s)
		}
	}
	return going
}

// mayServe says whether a stage may work for its owner. One that lingers may not if its replica is assigned here anew: a node never
// serves two epochs of a replica.
func (l *Loop) mayServe(s *slot) bool {
	return s.assigned || !slices.ContainsFunc(l.desired.Assignments, func(a cluster.Assignment) bool { return a.Replica == s.owner.Replica })
}

// idle says whether a stage that drains has nothing left to do, or has had its time.
func (l *Loop) idle(s *slot) bool {
	if s.draining.IsZero() {
		s.draining = l.now
	}
	if l.until(s.draining.Add(DrainMost)) {
		l.note(s.subject(), fmt.Sprintf("cut after draining for %v", DrainMost))
		return true
	}
	settled := l.until(s.draining.Add(Settle))
	return settled && l.count(s) == 0 && l.headGone(s)
}

// headGone says whether no more work can come from the replica's head. A stage of a stopping replica learns that from the chain:
// the leader leaves the endpoint of a stage that its node no longer reports empty.
func (l *Loop) headGone(s *slot) bool {
	if !s.assigned || s.owner.Stage == 0 {
		return true
	}
	if len(s.owner.Chain) > 0 && s.owner.Chain[0] != "" {
		s.headless = l.now
	} else if s.headless.IsZero() {
		s.headless = l.now
	}
	return l.until(s.headless.Add(HeadGone))
}

// count is the number of sequences at work on a stage.
func (l *Loop) count(s *slot) int {
	for _, c := range l.device(s.Device).counts {
		if c.Replica == s.owner.Replica && c.Epoch == s.owner.Epoch {
			return c.N
		}
	}
	return 0
}

// serve tells each worker its duties if they changed.
func (l *Loop) serve() {
	for _, d := range l.devices {
		var duties []Duty
		for _, s := range l.slots {
			if s.Device == d.ID && s.phase == loaded {
				s.served = true
				duties = append(duties, Duty{Slot: s.Slot, Replica: s.owner.Replica, Epoch: s.owner.Epoch, Stage: s.owner.Stage,
					Chain: slices.Clone(s.owner.Chain), Drain: !s.wanted()})
			}
		}
		slices.SortFunc(duties, func(a, b Duty) int { return a.Replica.Compare(b.Replica) })
		if !slices.EqualFunc(duties, d.served, sameDuty) {
			l.do(Serve{Device: d.ID, Duties: slices.Clone(duties)})
			d.served = duties
		}
	}
}

func sameDuty(a, b Duty) bool {
	return a.Slot == b.Slot && a.Replica == b.Replica && a.Epoch == b.Epoch && a.Stage == b.Stage && a.Drain == b.Drain && slices.Equal(a.Chain, b.Chain)
}

// load loads what is wanted, is on the disk, and fits beside everything that is in memory now.
func (l *Loop) load() {
	for _, s := range l.slots {
		f := l.fetchOf(s.Key)
		if s.phase == empty && s.wanted() && f != nil && f.done && l.canLoad(s) && l.until(s.retry.after) {
			s.phase, s.reserve = loading, s.owner.Reserve
			l.do(Load{s.Slot, s.reserve})
		}
	}
}

// canLoad says whether the device takes a stage now.
func (l *Loop) canLoad(s *slot) bool {
	d := l.device(s.Device)
	return d.endpoint != "" && d.reading.Health != gpu.Failed && s.owner.Reserve <= l.room(d)
}

// room is the memory of a device that no stage has.
func (l *Loop) room(d *device) gpu.Bytes {
	room := d.Memory
	for _, s := range l.slots {
		if s.Device == d.ID && s.held() {
			room -= s.reserve
		}
	}
	return room
}

// fetch starts the fetches that are needed, stops those that no longer are, and forgets what is on the disk for no slot.
func (l *Loop) fetch() {
	for _, s := range l.slots {
		if s.phase != empty || !s.wanted() {
			continue
		}
		f := l.fetchOf(s.Key)
		if f == nil {
			f = &fetch{key: s.Key}
			l.fetches = append(l.fetches, f)
		}
		if !f.running && !f.done && l.until(s.retry.after) {
			f.running = true
			l.do(Fetch{s.Key, slices.Clone(s.owner.Sources)})
		}
	}
	l.fetches = slices.DeleteFunc(l.fetches, func(f *fetch) bool {
		needed := slices.ContainsFunc(l.slots, func(s *slot) bool { return s.Key == f.key })
		if !needed && f.running && !f.stopped {
			f.stopped = true
			l.do(StopFetch{f.key})
		}
		return !needed && !f.running
	})
}
