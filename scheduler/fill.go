package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/placement"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// want is a replica that has to be placed: anew (own is its present placement) or for the first time.
type want struct {
	id     cluster.ReplicaID
	dep    cluster.Deployment
	own    *cluster.Replica
	beside []cluster.NodeID
	why    string
	move   *stand         // a replica that may be moved itself if there is no room for this one beside it
	avoid  []gpu.DeviceID // left free for that replica
}

// fill compares a deployment with its replicas: stops what is too much, and returns what has to be placed.
//
//   - good replicas count, whether ready or still loading
//   - broken ones are placed anew under their own name
//   - leaving ones serve until another replica can: make before break
func (d *decision) fill(dep cluster.Deployment) []want {
	var good, broken, leaving []stand
	taken := map[int]bool{}
	for r := range d.state.ReplicasOf(dep.Version) {
		taken[r.Ordinal] = true
		if r.Status == cluster.Stopping {
			continue
		}
		s := stand{Replica: r, broken: d.brokenWhy(r), leaving: d.leavingWhy(r)}
		if s.leaving == "" {
			s.leaving = unlike(dep, r)
			s.wished = s.leaving != ""
		}
		switch {
		case s.broken != "":
			broken = append(broken, s)
		case s.leaving == "":
			good = append(good, s)
		case d.state.Routable(r):
			leaving = append(leaving, s)
		default:
			s.broken = s.leaving // nothing is lost by moving it at once
			broken = append(broken, s)
		}
	}
	good, leaving = d.surplus(dep, good, leaving)
	need := dep.Wanted() - len(good)
	var wants []want
	for _, s := range broken {
		if need <= 0 {
			d.stop(s.Replica, "it is not needed any more; "+s.broken)
			continue
		}
		need--
		if d.waits(s) {
			continue
		}
		own := s.Replica
		wants = append(wants, want{id: s.ReplicaID, dep: dep, own: &own, why: s.broken})
	}
	d.release(dep, good, leaving)
	need = max(need, len(missingPins(dep, taken))) // a pinned replica comes beside the others, which leave when it serves
	if v, _ := d.state.Version(dep.Version); need > 0 && len(v.Holders) == 0 && !v.Bucket {
		// It came out of a backup without blobs.
		d.note("deployment "+dep.Version.String(), "nobody holds its version's blobs: push the same files again")
		need = 0
	}
	for ; need > 0; need-- {
		id := cluster.ReplicaID{Version: dep.Version, Ordinal: nextOrdinal(dep, taken)}
		if id.Ordinal >= cluster.MaxReplicas {
			break
		}
		taken[id.Ordinal] = true
		if f, ok := d.soft.Failures[id.String()]; ok && !d.until(f.Until) {
			d.note("replica "+id.String(), "waits after a failed load: "+f.Why)
			continue
		}
		w := want{id: id, dep: dep}
		if i := slices.IndexFunc(leaving, func(s stand) bool { return s.wished }); i >= 0 {
			s := leaving[i]
			w.move = &s
		}
		wants = append(wants, w)
	}
	for i := range wants {
		for _, s := range slices.Concat(good, leaving, broken) {
			if s.ReplicaID != wants[i].id {
				for _, st := range s.Stages {
					wants[i].beside = append(wants[i].beside, st.Node)
				}
			}
		}
	}
	return wants
}

// waits says that a broken replica is not placed anew yet: its load failed a moment ago.
func (d *decision) waits(s stand) bool {
	f, ok := d.soft.Failures[s.ReplicaID.String()]
	if !ok || d.until(f.Until) {
		return false
	}
	d.note(replica(s.Replica), fmt.Sprintf("placed anew after a pause, failure %d: %s", f.Count, s.broken))
	d.pause(s)
	return true
}

// pause takes the routes of a replica that is broken and not placed anew in this step.
func (d *decision) pause(s stand) {
	if d.state.Routable(s.Replica) {
		d.do(replica(s.Replica), cluster.MarkReplica{ID: s.ReplicaID, Epoch: s.Epoch, Status: cluster.Loading})
	}
}

// surplus chooses which good replicas are kept, as many as are wanted: pinned ones first, then ready ones, then the lowest ordinals. The others stop
// if they do not serve yet, else they leave.
func (d *decision) surplus(dep cluster.Deployment, good, leaving []stand) ([]stand, []stand) {
	order := slices.Clone(good)
	d.rank(dep, dep.Wanted(), order)
	keep := min(len(order), dep.Wanted())
	for _, s := range order[keep:] {
		s.leaving = fmt.Sprintf("%d replicas are wanted", dep.Wanted())
		if d.state.Routable(s.Replica) {
			leaving = append(leaving, s)
		} else {
			d.stop(s.Replica, s.leaving)
		}
	}
	return order[:keep], leaving
}

// rank sorts replicas by who is kept first if only so many are wanted.
func (d *decision) rank(dep cluster.Deployment, wanted int, list []stand) {
	pinned := map[int]bool{}
	for _, p := range dep.Pins {
		pinned[p.Replica] = p.Replica < wanted
	}
	slices.SortStableFunc(list, func(a, b stand) int {
		return cmp.Or(
			cmp.Compare(order01(pinned[b.Ordinal]), order01(pinned[a.Ordinal])),
			cmp.Compare(order01(d.state.Routable(b.Replica)), order01(d.state.Routable(a.Replica))),
			cmp.Compare(a.Ordinal, b.Ordinal))
	})
}

func order01(b bool) int {
	if b {
		return 1
	}
	return 0
}

// release stops leaving replicas as soon as the others serve as much as is wanted.
func (d *decision) release(dep cluster.Deployment, good, leaving []stand) {
	serving := len(leaving)
	for _, s := range good {
		serving += order01(d.state.Routable(s.Replica))
	}
	for i := len(leaving) - 1; i >= 0; i-- {
		if serving <= dep.Wanted() {
			d.note(replica(leaving[i].Replica), "serves until another replica can: "+leaving[i].leaving)
			continue
		}
		if d.stop(leaving[i].Replica, leaving[i].leaving) {
			serving--
		}
	}
}

// missingPins are the wanted ordinals that have pins and no replica, ascending.
func missingPins(dep cluster.Deployment, taken map[int]bool) []int {
	missing := map[int]bool{}
	for _, p := range dep.Pins {
		if p.Replica < dep.Wanted() && !taken[p.Replica] {
			missing[p.Replica] = true
		}
	}
	return sortedKeys(missing)
}

// nextOrdinal is the ordinal of a new replica: the lowest wanted one with pins, else the lowest.
func nextOrdinal(dep cluster.Deployment, taken map[int]bool) int {
	if missing := missingPins(dep, taken); len(missing) > 0 {
		return missing[0]
	}
	o := 0
	for taken[o] {
		o++
	}
	return o
}

// place finds devices for all wants together, and places or explains.
func (d *decision) place(wants []want) {
	var beside, moves []want
	move := func(w want) {
		own := w.move.Replica
		if !slices.ContainsFunc(moves, func(m want) bool { return m.id == own.ReplicaID }) {
			moves = append(moves, want{id: own.ReplicaID, dep: w.dep, own: &own, beside: w.beside, why: w.move.leaving + ", and there is no room for another beside it"})
		}
	}
	for _, w := range wants {
		if d.standsIn(&w) {
			beside = append(beside, w)
		} else {
			move(w)
		}
	}
	for _, r := range d.solveByPriority(beside) {
		if r.want.move == nil || slices.ContainsFunc(moves, func(m want) bool { return m.id == r.want.move.ReplicaID }) {
			d.refused(r.want, r.Refusal)
			continue
		}
		move(r.want)
	}
	for _, r := range d.solve(moves) {
		d.note("replica "+r.id.String(), r.why+": "+stays+": "+reasons(r.Refusal))
	}
}

// standsIn says that a replica can come beside one that is to move to where it is pinned, without taking the room that it needs there.
func (d *decision) standsIn(w *want) bool {
	if w.move == nil {
		return true
	}
	var pinned []gpu.DeviceID
	for _, p := range w.dep.Pins {
		if p.Replica == w.move.Ordinal {
			pinned = append(pinned, p.Device)
		}
	}
	if len(pinned) == 0 {
		return true
	}
	own := w.move.Replica
	for _, avoid := range [][]gpu.DeviceID{pinned, nil} {
		w.avoid = avoid
		devices := d.devices()
		first := placement.Solve(placement.Problem{Devices: devices, Demands: d.demands([]want{*w}, false)})
		for _, p := range first.Placed {
			for _, st := range p.Stages {
				i := slices.IndexFunc(devices, func(dev placement.Device) bool { return dev.ID == st.Device })
				devices[i].Free -= st.Reserve
			}
			then := placement.Solve(placement.Problem{Devices: devices, Demands: d.demands([]want{{id: own.ReplicaID, dep: w.dep, own: &own}}, false)})
			if len(then.Placed) > 0 {
				return true
			}
		}
	}
	return false
}

// refusal is a want without a place.
type refusal struct {
	want
	placement.Refusal
}

// solve places what it can of the wants, and returns the others.
func (d *decision) solve(wants []want) []refusal {
	if len(wants) == 0 {
		return nil
	}
	problem := placement.Problem{Devices: d.devices(), Demands: d.demands(wants, true)}
	solution := placement.Solve(problem)
	if len(solution.Refused) > 0 && len(d.soft.Failures) > 0 { // devices where loads failed are better than nothing
		problem.Demands = d.demands(wants, false)
		if again := placement.Solve(problem); len(again.Placed) > len(solution.Placed) {
			solution = again
		}
	}
	byID := map[cluster.ReplicaID]want{}
	for _, w := range wants {
		byID[w.id] = w
	}
	for _, p := range solution.Placed {
		d.put(byID[p.Replica], p)
	}
	var list []refusal
	for _, r := range solution.Refused {
		list = append(list, refusal{want: byID[r.Replica], Refusal: r})
	}
	return list
}

// solveByPriority places wants of a higher priority before the others.
func (d *decision) solveByPriority(wants []want) (refused []refusal) {
	slices.SortStableFunc(wants, func(a, b want) int { return cmp.Compare(priority(b.dep), priority(a.dep)) })
	for len(wants) > 0 {
		n := 1
		for n < len(wants) && priority(wants[n].dep) == priority(wants[0].dep) {
			n++
		}
		refused = append(refused, d.solve(wants[:n])...)
		wants = wants[n:]
	}
	return refused
}

func (d *decision) put(w want, p placement.Placement) {
	r := cluster.Replica{ReplicaID: p.Replica, Epoch: d.state.LastEpoch(p.Replica) + 1, Serving: p.Serving, Stages: p.Stages, Status: cluster.Loading, Why: p.Why}
	c := cluster.PlaceReplica{Replica: r}
	if w.own != nil {
		c.Was = w.own.Epoch
		c.Replica.Why = w.why + "; " + p.Why
	}
	delete(d.soft.Refused, r.ReplicaID.String())
	d.do("replica "+r.ReplicaID.String(), c)
}

// refused notes why a replica has no place. What is left of one that had a place is kept for a while, since its node may come back.
func (d *decision) refused(w want, r placement.Refusal) {
	key := r.Replica.String()
	if w.own == nil {
		d.note("replica "+key, noPlace+": "+reasons(r))
		return
	}
	since, ok := d.soft.Refused[key]
	if !ok {
		since = d.now
		d.soft.Refused[key] = since
	}
	s := stand{Replica: *w.own}
	if d.until(since.Add(d.Patience)) {
		delete(d.soft.Refused, key)
		d.stop(s.Replica, "it cannot be placed anew: "+r.Why)
		return
	}
	d.pause(s)
	d.note("replica "+key, w.why+"; "+noOther+": "+reasons(r))
}

// What comes before a refusal in words.
const (
	noPlace = "has no place"
	noOther = "has no other place"
	stays   = "it stays as it is"
)

// Brief is a reason without what it says of devices: for those who are not told of what others have.
func Brief(why string) string {
	for _, front := range []string{noPlace, noOther, stays} {
		if i := strings.Index(why, front+": "); i >= 0 {
			return why[:i+len(front)]
		}
	}
	return why
}

// reasons are a refusal in words, device by device.
func reasons(r placement.Refusal) string {
	var b strings.Builder
	b.WriteString(r.Why)
	for _, s := range r.PerDevice[:min(len(r.PerDevice), maxReasons)] {
		fmt.Fprintf(&b, "; %s on %s has %s: %s", s.Device, s.Node, s.Free, s.Why)
	}
	if left := r.Left + max(0, len(r.PerDevice)-maxReasons); left > 0 {
		fmt.Fprintf(&b, "; and %d devices more", left)
	}
	return b.String()
}

const maxReasons = 16 // devices that a note names

func (d *decision) demands(wants []want, avoidFailed bool) []placement.Demand {
	var list []placement.Demand
	for _, w := range wants {
		v, ok := d.state.Version(w.dep.Version)
		if !ok {
			continue
		}
		demand := placement.Demand{
			Replica: w.id, Manifest: v.Manifest, Profile: v.Profile, Serving: w.dep.Serving, MaxStages: d.MaxStages,
			Pins: w.dep.Pins, Avoid: w.dep.Avoid, AvoidOn: w.dep.AvoidOn, Beside: w.beside,
		}
		if w.own != nil {
			demand.Own = w.own.Stages
		}
		if len(w.avoid) > 0 {
			demand.Avoid = slices.Concat(demand.Avoid, w.avoid)
		}
		if f, ok := d.soft.Failures[w.id.String()]; ok && avoidFailed && d.now.Sub(f.Last) < d.FailureKept {
			demand.Avoid = append(slices.Clone(demand.Avoid), f.Devices...)
		}
		list = append(list, demand)
	}
	return list
}

// devices is the fleet as placement sees it.
func (d *decision) devices() []placement.Device {
	var list []placement.Device
	ledger := d.state.Ledger()
	for n := range d.state.Nodes() {
		for _, dev := range n.Devices {
			account := ledger.Account(dev.ID)
			list = append(list, placement.Device{
				ID: dev.ID, Node: n.ID, Name: n.Name, Zone: n.Zone, Kind: dev.Kind, Capacity: account.Capacity, Free: account.Free(),
				Holds: d.idle(n.ID, dev.ID), Unusable: d.unusable(n, dev),
			})
		}
	}
	return list
}

// idle lists the stages that are loaded on a device for replicas that no longer have them there.
func (d *decision) idle(node cluster.NodeID, device gpu.DeviceID) []cluster.StageKey {
	var keys []cluster.StageKey
	for _, h := range d.soft.Nodes[node].Report.Held {
		if h.Device != device || h.Status != cluster.HeldReady {
			continue
		}
		r, ok := d.state.Replica(h.Replica)
		if !ok || r.Status == cluster.Stopping || h.Stage >= len(r.Stages) || r.Stages[h.Stage].Device != device {
			keys = append(keys, h.Key)
		}
	}
	return keys
}
