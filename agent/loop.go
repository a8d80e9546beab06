package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// Loop is a node's memory of what it should hold and of what it holds.
type Loop struct {
	Config
	desired cluster.Desired
	slots   []*slot // in the order they were made
	fetches []*fetch
	devices []*device // as in Config.Devices

	seq      uint64
	reportAt time.Time      // when the next report is due
	reported []cluster.Held // in the last report, without what changes all the time

	now time.Time
	out Output
}

// device is what the loop knows about a device and its worker.
type device struct {
	gpu.Device
	endpoint string // of its worker, "" while none runs
	served   []Duty // what the worker was told last
	counts   []Count
	reading  gpu.Reading
}

// fetch is the state of a stage's bytes on the disk.
type fetch struct {
	key     cluster.StageKey
	running bool
	stopped bool // and was told to stop
	done    bool // everything is there
	bytes   int64
	total   int64
}

// New makes the loop of a node that holds nothing.
func New(c Config) *Loop {
	l := &Loop{Config: c}
	for _, d := range c.Devices {
		l.devices = append(l.devices, &device{Device: d, reading: gpu.Reading{ID: d.ID, Health: gpu.Unknown}})
	}
	return l
}

// Step takes in what happened and says what to do.
func (l *Loop) Step(now time.Time, in Input) Output {
	l.now, l.out = now, Output{Wake: now.Add(ReportEvery)}
	l.absorb(in)
	l.match()
	going := l.drain()
	l.serve()
	for _, s := range going {
		l.do(Unload{s.Slot})
	}
	l.load()
	l.fetch()
	l.report()
	return l.out
}

// absorb takes in the input.
func (l *Loop) absorb(in Input) {
	for _, w := range in.Workers {
		l.worker(w)
	}
	for _, f := range in.Fetched {
		l.fetched(f)
	}
	for _, r := range in.Loaded {
		l.loaded(r)
	}
	for _, name := range in.Unloaded {
		if s := l.slot(name); s != nil && s.phase == leaving {
			s.vacate()
		}
	}
	for _, a := range in.Active {
		if d := l.device(a.Device); d != nil && d.endpoint != "" {
			d.counts = slices.Clone(a.Counts)
		}
	}
	for _, r := range in.Readings {
		if d := l.device(r.ID); d != nil {
			d.reading = r
		}
	}
	// An answer that was derived from an older state, or by an older leader, is ignored.
	if d := in.Desired; d != nil && cmp.Or(cmp.Compare(d.Index, l.desired.Index), cmp.Compare(d.Term, l.desired.Term)) >= 0 {
		l.desired = cluster.Desired{Term: d.Term, Index: d.Index, Assignments: slices.Clone(d.Assignments)}
		slices.SortFunc(l.desired.Assignments, func(a, b cluster.Assignment) int {
			return cmp.Or(a.Replica.Compare(b.Replica), cmp.Compare(a.Stage, b.Stage))
		})
	}
}

// worker notes that a worker started or died. With a worker its memory is gone: what it held is loaded again, and a load that it
// died of has failed.
func (l *Loop) worker(w Worker) {
	d := l.device(w.Device)
	if d == nil {
		return
	}
	d.endpoint, d.served, d.counts = w.Endpoint, nil, nil
	for _, s := range l.slots {
		if s.Device != w.Device {
			continue
		}
		if s.phase == loading {
			s.retry.fail(l.now, "the worker died while loading: "+w.Why)
		}
		s.vacate()
	}
	if w.Endpoint == "" {
		l.note("device "+string(w.Device), "worker died: "+w.Why)
	}
}

func (l *Loop) fetched(r Fetched) {
	f := l.fetchOf(r.Key)
	if f == nil || !f.running {
		return
	}
	f.bytes, f.total = r.Bytes, r.Total
	if !r.Done {
		return
	}
	stopped := f.stopped
	f.running, f.stopped, f.done = false, false, r.Err == ""
	if f.done || stopped {
		return
	}
	for _, s := range l.slots {
		if s.Key == r.Key && s.phase == empty {
			s.retry.fail(l.now, "fetch: "+r.Err)
			l.note(s.subject(), s.retry.why)
		}
	}
}

func (l *Loop) loaded(r Loaded) {
	s := l.slot(r.Slot)
	if s == nil || s.phase != loading {
		return
	}
	if r.Err == "" {
		s.phase, s.used, s.retry = loaded, r.Used, retry{}
		return
	}
	s.phase = empty
	s.retry.fail(l.now, "load: "+r.Err)
	l.note(s.subject(), s.retry.why)
	if f := l.fetchOf(s.Key); f != nil {
		f.done = false // its bytes may be what is wrong: they are checked before the next try
	}
}

func (l *Loop) device(id gpu.DeviceID) *device {
	for _, d := range l.devices {
		if d.ID == id {
			return d
		}
	}
	return nil
}

// fetchOf is the fetch of a stage, nil if there was none.
func (l *Loop) fetchOf(key cluster.StageKey) *fetch {
	for _, f := range l.fetches {
		if f.key == key {
			return f
		}
	}
	return nil
}

func (l *Loop) do(a Action) { l.out.Actions = append(l.out.Actions, a) }

func (l *Loop) note(subject, why string) { l.out.Notes = append(l.out.Notes, Note{subject, why}) }

// until keeps the loop awake for t, and says whether it is past.
func (l *Loop) until(t time.Time) bool {
	if !t.After(l.now) {
		return true
	}
	if t.Before(l.out.Wake) {
		l.out.Wake = t
	}
	return false
}
