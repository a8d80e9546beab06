package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// phase is what a slot's memory is doing.
//
//	         Load           Loaded           Unload
//	empty ────────▶ loading ──────▶ loaded ────────▶ leaving
//	  ▲                │ error        │ worker died     │ Unloaded
//	  └────────────────┴──────────────┴─────────────────┘
type phase int

const (
	empty phase = iota
	loading
	loaded
	leaving
)

// slot is a place for a stage, and the assignment it is or was for.
type slot struct {
	Slot
	phase    phase
	owner    cluster.Assignment // the newest one
	assigned bool               // owner is in the newest Desired; else the slot lingers until its sequences are finished
	served   bool               // a worker was told to serve it since it was loaded
	reserve  gpu.Bytes          // what its memory was promised when it was loaded
	used     gpu.Bytes          // measured by the load
	retry    retry              // of fetches and loads
	draining time.Time          // since when no new sequence is taken; zero = not draining
	headless time.Time          // since when the draining replica's head is gone; zero = it is not
}

// wanted says that the stage should be loaded.
func (s *slot) wanted() bool { return s.assigned && !s.owner.Drain }

// held says that the slot takes memory.
func (s *slot) held() bool { return s.phase != empty }

// vacate notes that the slot's memory is free.
func (s *slot) vacate() { s.phase, s.served, s.used = empty, false, 0 }

func (s *slot) subject() string {
	return fmt.Sprintf("replica %s stage %d", s.owner.Replica, s.owner.Stage)
}

// take gives the slot to an assignment. A new epoch is a new order of somebody who knows about the failures so far: it begins afresh.
func (s *slot) take(a cluster.Assignment) {
	if a.Replica != s.owner.Replica || a.Epoch != s.owner.Epoch {
		s.retry = retry{}
	}
	if !a.Drain {
		s.draining, s.headless = time.Time{}, time.Time{}
	}
	s.owner, s.assigned = a, true
}

// retry paces the tries of something that fails.
type retry struct {
	failures int // in a row
	after    time.Time
	why      string // of the last failure
}

func (r *retry) fail(now time.Time, why string) {
	wait := RetryMost
	if r.failures < 10 {
		wait = min(RetryFirst<<r.failures, RetryMost)
	}
	r.failures, r.after, r.why = r.failures+1, now.Add(wait), why
}

// match finds a slot for each assignment: its own, else one that holds the same stage for nobody, else a new one. So a stage that is
// loaded stays when only its epoch or its replica changed. Slots that no assignment has linger or go.
func (l *Loop) match() {
	for _, s := range l.slots {
		s.assigned = false
	}
	var left, none []cluster.Assignment
	for _, a := range l.desired.Assignments {
		if s := l.find(a, func(s *slot) bool { return s.owner.Replica == a.Replica && s.owner.Stage == a.Stage }); s != nil {
			s.take(a)
		} else {
			left = append(left, a)
		}
	}
	for _, a := range left {
		if s := l.find(a, (*slot).held); s != nil && !a.Drain {
			s.take(a)
		} else {
			none = append(none, a)
		}
	}
	l.slots = slices.DeleteFunc(l.slots, func(s *slot) bool { return !s.held() && !s.wanted() })
	for _, a := range none {
		if _, ok := l.Devices.Device(a.Device); ok && !a.Drain {
			s := &slot{Slot: Slot{Device: a.Device, Key: a.Key, Copy: l.freeCopy(a)}}
			s.take(a)
			l.slots = append(l.slots, s)
		}
	}
}

// find is the first free slot of the assignment's stage on its device that fits.
func (l *Loop) find(a cluster.Assignment, fits func(*slot) bool) *slot {
	for _, s := range l.slots {
		if !s.assigned && s.Device == a.Device && s.Key == a.Key && fits(s) {
			return s
		}
	}
	return nil
}

func (l *Loop) freeCopy(a cluster.Assignment) int {
	for n := 0; ; n++ {
		if !slices.ContainsFunc(l.slots, func(s *slot) bool { return s.Slot == Slot{a.Device, a.Key, n} }) {
			return n
		}
	}
}

// slot finds a slot by its name.
func (l *Loop) slot(name Slot) *slot {
	for _, s := range l.slots {
		if s.Slot == name {
			return s
		}
	}
	return nil
}
