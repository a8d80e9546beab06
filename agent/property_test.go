package agent

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// world is what an agent acts on: workers that obey in order, a disk, a leader that keeps a ledger, and a clock. It checks, at every
// event, what must never happen.
type world struct {
	t       *rapid.T
	loop    *Loop
	now     time.Time
	wake    time.Time
	workers map[gpu.DeviceID]*worker
	disk    map[cluster.StageKey]bool
	fetches map[cluster.StageKey]bool // running; true = told to stop
	leader  cluster.Desired           // the newest truth
	past    []cluster.Desired
	epochs  map[cluster.ReplicaID]cluster.Epoch // highest assigned
	report  *cluster.Report
	faults  bool
}

// worker is a process that holds stages and obeys orders one after another.
type worker struct {
	up       bool
	starts   int
	orders   []Action
	memory   map[Slot]gpu.Bytes
	duties   []Duty
	ordered  []Duty               // the duties that it is or will be told
	drained  map[string]time.Time // duty → since when it was told to take nothing new
	running  map[string]int       // duty → sequences
	capacity gpu.Bytes
	served   map[cluster.ReplicaID]cluster.Epoch // the highest ever
}

func dutyName(r cluster.ReplicaID, e cluster.Epoch) string { return fmt.Sprintf("%v epoch %d", r, e) }

func newWorld(t *rapid.T) *world {
	w := &world{t: t, loop: New(twoDevices()), now: start, workers: map[gpu.DeviceID]*worker{}, disk: map[cluster.StageKey]bool{},
		fetches: map[cluster.StageKey]bool{}, epochs: map[cluster.ReplicaID]cluster.Epoch{}, faults: true}
	for _, d := range w.loop.Devices {
		w.workers[d.ID] = &worker{capacity: d.Memory, served: map[cluster.ReplicaID]cluster.Epoch{}}
	}
	w.step(Input{})
	return w
}

func (w *world) devices() []gpu.DeviceID { return []gpu.DeviceID{"g1", "g2"} }

func (w *world) n(lo, hi int) int { return rapid.IntRange(lo, hi).Draw(w.t, "n") }

// step gives the loop an input and carries out what it says, as far as that is instant.
func (w *world) step(in Input) {
	out := w.loop.Step(w.now, in)
	if w.wake = out.Wake; !w.wake.After(w.now) {
		w.t.Fatalf("it wants to wake at %v, which is not after %v", w.wake, w.now)
	}
	if out.Report != nil {
		w.report = out.Report
	}
	for _, a := range out.Actions {
		switch a := a.(type) {
		case Fetch:
			if _, ok := w.fetches[a.Key]; ok {
				w.t.Fatal("a fetch that runs was started again")
			}
			w.fetches[a.Key] = false
		case StopFetch:
			if stopped, ok := w.fetches[a.Key]; !ok || stopped {
				w.t.Fatal("a fetch that does not run was stopped")
			}
			w.fetches[a.Key] = true
		case Load:
			w.order(a.Device, a)
		case Unload:
			w.order(a.Device, a)
		case Serve:
			w.order(a.Device, a)
		}
	}
}

func (w *world) order(d gpu.DeviceID, a Action) {
	p := w.workers[d]
	if !p.up {
		return
	}
	if s, ok := a.(Serve); ok {
		w.checkCuts(p, s)
	}
	p.orders = append(p.orders, a)
}

// checkCuts: a duty that ends with sequences has had its time, or is replaced on this node.
func (w *world) checkCuts(p *worker, s Serve) {
	for _, d := range s.Duties {
		name := dutyName(d.Replica, d.Epoch)
		if since := p.drained[name]; d.Drain && since.IsZero() {
			p.drained[name] = w.now
		} else if !d.Drain {
			delete(p.drained, name)
		}
	}
	before := p.ordered
	p.ordered = s.Duties
	for _, old := range before {
		name := dutyName(old.Replica, old.Epoch)
		if slices.ContainsFunc(s.Duties, func(d Duty) bool { return d.Replica == old.Replica && d.Epoch == old.Epoch }) {
			continue
		}
		replaced := slices.ContainsFunc(s.Duties, func(d Duty) bool { return d.Slot == old.Slot }) ||
			slices.ContainsFunc(w.loop.desired.Assignments, func(a cluster.Assignment) bool { return a.Replica == old.Replica && a.Epoch != old.Epoch })
		if p.running[name] > 0 && !replaced && w.now.Sub(p.drained[name]) < DrainMost {
			w.t.Fatalf("%s was cut with %d sequences after draining for %v", name, p.running[name], w.now.Sub(p.drained[name]))
		}
	}
}

// obey lets a device's worker carry out its oldest order.
func (w *world) obey(id gpu.DeviceID) {
	p := w.workers[id]
	if !p.up || len(p.orders) == 0 {
		return
	}
	a := p.orders[0]
	p.orders = p.orders[1:]
	switch a := a.(type) {
	case Serve:
		w.serve(p, a)
	case Load:
		if _, ok := p.memory[a.Slot]; ok {
			w.t.Fatalf("%v was loaded twice", a.Slot)
		}
		if !w.disk[a.Key] {
			w.t.Fatal("a stage was loaded that is not on the disk")
		}
		sum := a.Reserve
		for _, n := range p.memory {
			sum += n
		}
		if sum > p.capacity {
			w.t.Fatalf("device %s: %v of %v", id, sum, p.capacity)
		}
		if w.faults && w.n(0, 4) == 0 {
			w.step(Input{Loaded: []Loaded{{Slot: a.Slot, Err: "no"}}})
			return
		}
		p.memory[a.Slot] = a.Reserve
		w.step(Input{Loaded: []Loaded{{Slot: a.Slot, Used: a.Reserve}}})
	case Unload:
		if _, ok := p.memory[a.Slot]; !ok {
			w.t.Fatalf("%v was unloaded and is not there", a.Slot)
		}
		if slices.ContainsFunc(p.duties, func(d Duty) bool { return d.Slot == a.Slot }) {
			w.t.Fatalf("%v was unloaded under its duty", a.Slot)
		}
		delete(p.memory, a.Slot)
		w.step(Input{Unloaded: []Slot{a.Slot}})
	}
}

// serve makes the duties what they are told.
func (w *world) serve(p *worker, s Serve) {
	for i, d := range s.Duties {
		if i > 0 && d.Replica.Compare(s.Duties[i-1].Replica) <= 0 {
			w.t.Fatalf("duties of %s out of order: %v", s.Device, d.Replica)
		}
		if _, ok := p.memory[d.Slot]; !ok {
			w.t.Fatalf("%v serves without its stage", d.Replica)
		}
		if d.Epoch < p.served[d.Replica] {
			w.t.Fatalf("%v is served at epoch %d after %d", d.Replica, d.Epoch, p.served[d.Replica])
		}
		p.served[d.Replica] = d.Epoch
	}
	for name := range p.running {
		if !slices.ContainsFunc(s.Duties, func(d Duty) bool { return dutyName(d.Replica, d.Epoch) == name }) {
			delete(p.running, name)
		}
	}
	p.duties = s.Duties
	w.checkEpochs()
}

// checkEpochs: no device serves two epochs of a replica, nor do two devices of this node, once their workers have caught up.
func (w *world) checkEpochs() {
	seen := map[cluster.ReplicaID]cluster.Epoch{}
	for _, id := range w.devices() {
		if p := w.workers[id]; len(p.orders) == 0 {
			for _, d := range p.duties {
				if e, ok := seen[d.Replica]; ok && e != d.Epoch {
					w.t.Fatalf("%v is served at epochs %d and %d", d.Replica, e, d.Epoch)
				}
				seen[d.Replica] = d.Epoch
			}
		}
	}
}

// sequences lets sequences begin or end on a device, as duties allow.
func (w *world) sequences(id gpu.DeviceID) {
	p := w.workers[id]
	if !p.up || len(p.duties) == 0 {
		return
	}
	d := p.duties[w.n(0, len(p.duties)-1)]
	name := dutyName(d.Replica, d.Epoch)
	if d.Drain || w.n(0, 1) == 0 {
		p.running[name] = 0
	} else {
		p.running[name]++
	}
	w.tellActive(id)
}

func (w *world) tellActive(id gpu.DeviceID) {
	p, a := w.workers[id], Active{Device: id}
	for _, d := range p.duties {
		a.Counts = append(a.Counts, Count{d.Replica, d.Epoch, p.running[dutyName(d.Replica, d.Epoch)]})
	}
	w.step(Input{Active: []Active{a}})
}

func (w *world) lifecycle(id gpu.DeviceID) {
	p := w.workers[id]
	p.up = !p.up
	p.orders, p.duties, p.ordered, p.memory, p.running, p.drained = nil, nil, nil, map[Slot]gpu.Bytes{}, map[string]int{}, map[string]time.Time{}
	if p.up {
		p.starts++
		w.step(Input{Workers: []Worker{{Device: id, Endpoint: fmt.Sprintf("%s:%d", id, p.starts)}}})
	} else {
		w.step(Input{Workers: []Worker{{Device: id, Why: "killed"}}})
	}
}

func (w *world) fetchEnds() {
	keys := make([]cluster.StageKey, 0, len(w.fetches))
	for k := range w.fetches {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return
	}
	slices.SortFunc(keys, func(a, b cluster.StageKey) int {
		return cmp.Or(cmp.Compare(a.Manifest.String(), b.Manifest.String()), cmp.Compare(a.Span.From, b.Span.From), cmp.Compare(a.Span.To, b.Span.To))
	})
	k := keys[w.n(0, len(keys)-1)]
	r := Fetched{Key: k, Done: true}
	if w.fetches[k] || w.faults && w.n(0, 3) == 0 {
		r.Err = "no"
	} else {
		w.disk[k] = true
	}
	delete(w.fetches, k)
	w.step(Input{Fetched: []Fetched{r}})
}

// decree is what a leader decides: assignments that fit the devices, at new epochs where they change.
func (w *world) decree() {
	var next []cluster.Assignment
	free := map[gpu.DeviceID]gpu.Bytes{}
	for _, d := range w.loop.Devices {
		free[d.ID] = d.Memory
	}
	for model := range 3 {
		for ordinal := range 2 {
			id := cluster.ReplicaID{Version: cluster.VersionID{Model: fmt.Sprintf("m%d", model), Number: 1}, Ordinal: ordinal}
			next = append(next, w.assign(id, free)...)
		}
	}
	w.past = append(w.past, w.leader)
	w.leader = cluster.Desired{Term: w.leader.Term + uint64(w.n(0, 1)), Index: w.leader.Index + 1, Assignments: next}
}

func (w *world) assign(id cluster.ReplicaID, free map[gpu.DeviceID]gpu.Bytes) []cluster.Assignment {
	keep := func(a cluster.Assignment) bool {
		free[a.Device] -= a.Reserve
		return free[a.Device] >= 0
	}
	i := slices.IndexFunc(w.leader.Assignments, func(a cluster.Assignment) bool { return a.Replica == id })
	switch what := w.n(0, 4); {
	case what <= 1 && i >= 0: // stays, and may begin to drain
		if a := w.leader.Assignments[i]; keep(a) {
			if w.n(0, 3) == 0 {
				a.Drain = true
			}
			if a.Stage > 0 && a.Drain && w.n(0, 1) == 0 {
				a.Chain = []string{"", "x:1"}
			}
			return []cluster.Assignment{a}
		}
		return nil
	case what == 2: // elsewhere, or nowhere
		return nil
	}
	w.epochs[id]++
	span, stage := shard.Span{From: 0, To: w.n(1, 2)}, w.n(0, 1)
	a := cluster.Assignment{Replica: id, Epoch: w.epochs[id], Stage: stage, Device: w.devices()[w.n(0, 1)], Reserve: gpu.Bytes(3*span.To) * gpu.GiB,
		Key: cluster.StageKey{Manifest: blob.Of([]byte(id.Version.Model)).Digest(), Span: span}, Chain: []string{"x:1", "x:1"}[:stage+1]}
	if keep(a) {
		return []cluster.Assignment{a}
	}
	free[a.Device] += a.Reserve
	return nil
}

func (w *world) event() {
	d := w.devices()[w.n(0, 1)]
	switch w.n(0, 19) {
	case 0, 1:
		w.decree()
	case 2, 3, 4:
		desired := w.leader
		w.step(Input{Desired: &desired})
	case 5: // an old answer arrives late
		if len(w.past) > 0 {
			old := w.past[w.n(0, len(w.past)-1)]
			w.step(Input{Desired: &old})
		}
	case 6, 7, 8, 9, 10:
		w.obey(d)
	case 11, 12, 13:
		w.fetchEnds()
	case 14:
		if !w.workers[d].up || w.n(0, 4) == 0 {
			w.lifecycle(d)
		}
	case 15, 16:
		w.sequences(d)
	default:
		w.pass(time.Duration(w.n(1, 3000)) * time.Millisecond)
	}
}

// pass lets time pass, with a step at each wake.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); ; {
		if w.wake.After(end) {
			w.now = end
			return
		}
		w.now = w.wake
		w.step(Input{})
	}
}

// settle ends the faults and lets everything run its course.
func (w *world) settle() {
	w.faults = false
	desired := w.leader
	w.step(Input{Desired: &desired})
	for _, d := range w.devices() {
		if !w.workers[d].up {
			w.lifecycle(d)
		}
	}
	for end := w.now.Add(2*DrainMost + 2*RetryMost); w.now.Before(end); {
		for range 8 {
			w.fetchEnds()
			for _, d := range w.devices() {
				w.obey(d)
			}
		}
		w.pass(ReportEvery)
	}
}

// checkHeld: exactly what is assigned and not draining is in memory, served at its epoch, and reported ready.
func (w *world) checkHeld() {
	wanted := 0
	for _, a := range w.leader.Assignments {
		if a.Drain {
			continue
		}
		wanted++
		p := w.workers[a.Device]
		if !slices.ContainsFunc(p.duties, func(d Duty) bool {
			return d.Replica == a.Replica && d.Epoch == a.Epoch && d.Stage == a.Stage && d.Key == a.Key && !d.Drain
		}) {
			w.t.Fatalf("%v epoch %d is not served on %s: %+v\n%s", a.Replica, a.Epoch, a.Device, p.duties, show(Output{Report: w.report}, w.now))
		}
		if !slices.ContainsFunc(w.report.Held, func(h cluster.Held) bool {
			return h.Replica == a.Replica && h.Epoch == a.Epoch && h.Status == cluster.HeldReady && h.Endpoint == fmt.Sprintf("%s:%d", a.Device, p.starts)
		}) {
			w.t.Fatalf("%v epoch %d is not reported ready:\n%s", a.Replica, a.Epoch, show(Output{Report: w.report}, w.now))
		}
	}
	n := 0
	for _, d := range w.devices() {
		n += len(w.workers[d].memory)
	}
	if n != wanted || len(w.report.Held) != wanted || len(w.fetches) != 0 {
		w.t.Fatalf("%d stages are wanted, %d in memory, %d fetches run\n%s", wanted, n, len(w.fetches), show(Output{Report: w.report}, w.now))
	}
}

// Whatever happens in whatever order, the node ends up holding what the leader wants, and on the way breaks no rule.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 150).Draw(t, "events") {
			w.event()
		}
		w.settle()
		w.checkHeld()
	})
}
