package placement

import (
	"cmp"
	"slices"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// Solve places demands one after the other on what is free: replacements first, then the largest, ties by replica. The same problem has the
// same solution. For each demand:
//
//  1. If it replaces a placement, the old cut with its usable stages where they are, the others on the best devices.
//  2. Else for 1, 2, … stages (CUDA devices before host devices): the cut of equal costs on the best devices; if it does not fit, a cut in
//     the shape of the devices with most memory left (shard.Arrange). If any choice of distinct devices fits so many stages, this one does.
//
// The best device for a stage: on a node (then in a zone) without another replica of the deployment, where the stage is held already, on a
// node of the replica's other stages, with least memory left over, by id. Stages of a replica are on distinct devices, all of one kind.
func Solve(p Problem) Solution {
	f := newFleet(p.Devices)
	demands := slices.Clone(p.Demands)
	slices.SortStableFunc(demands, func(a, b Demand) int {
		return cmp.Or(
			cmp.Compare(min(len(b.Own), 1), min(len(a.Own), 1)),
			cmp.Compare(weight(b), weight(a)),
			compareReplica(a.Replica, b.Replica))
	})
	var s Solution
	for _, d := range demands {
		if placed, refusal := f.place(d); refusal != nil {
			s.Refused = append(s.Refused, *refusal)
		} else {
			s.Placed = append(s.Placed, placed)
		}
	}
	return s
}

func weight(d Demand) gpu.Bytes {
	return shard.Foot(d.Profile, shard.Span{To: len(d.Profile.Blocks)}, d.Serving, gpu.CUDA).Total()
}

func compareReplica(a, b cluster.ReplicaID) int {
	return cmp.Or(
		cmp.Compare(a.Version.Model, b.Version.Model),
		cmp.Compare(a.Version.Number, b.Version.Number),
		cmp.Compare(a.Ordinal, b.Ordinal))
}

// order is one demand under work.
type order struct {
	Demand
	avail  []gpu.Bytes // by device: free, and what the replaced placement gives back
	barred []string    // by device: why it may not be used; "" = it may
	pins   []int       // by stage: device that must hold it, −1 = any
	beside []bool      // by node: has another replica of the deployment
	zones  []bool      // by zone: the same
}

func (f *fleet) place(d Demand) (Placement, *Refusal) {
	o := f.take(d)
	if why := f.pin(&o); why != "" {
		return Placement{}, f.refuse(&o, why)
	}
	if p, ok := f.keep(&o); ok {
		return f.commit(&o, p), nil
	}
	if p, ok := f.fresh(&o); ok {
		return f.commit(&o, p), nil
	}
	return Placement{}, f.refuse(&o, "")
}

// choice is a cut with a device for each stage.
type choice struct {
	plan   shard.Plan
	device []int
	shaped bool // cut in the shape of the devices, not by cost alone
}

// take says what each device has for a demand.
func (f *fleet) take(d Demand) order {
	o := order{
		Demand: d,
		avail:  slices.Clone(f.free),
		barred: make([]string, len(f.devices)),
		beside: make([]bool, f.nodes),
		zones:  make([]bool, f.zones),
	}
	for i, dev := range f.devices {
		o.barred[i] = dev.Unusable
	}
	for _, id := range d.Avoid {
		if i, ok := f.find(id); ok && o.barred[i] == "" {
			o.barred[i] = "the deployment avoids it"
		}
	}
	for _, own := range d.Own {
		if i, ok := f.find(own.Device); ok {
			o.avail[i] += own.Reserve
		}
	}
	if len(d.AvoidOn) > 0 {
		avoided := make([]bool, f.nodes)
		for _, id := range d.AvoidOn {
			if n, ok := f.numbers[id]; ok {
				avoided[n] = true
			}
		}
		for i, n := range f.node {
			if avoided[n] && o.barred[i] == "" {
				o.barred[i] = "the deployment avoids its node"
			}
		}
	}
	for _, id := range d.Beside {
		if n, ok := f.numbers[id]; ok {
			o.beside[n], o.zones[f.zoneOf[n]] = true, true
		}
	}
	for _, i := range f.siblings[d.Replica.Version] {
		o.beside[f.node[i]], o.zones[f.zone[i]] = true, true
	}
	return o
}

// keep tries the old cut with its usable stages where they are.
func (f *fleet) keep(o *order) (choice, bool) {
	n := len(o.Own)
	if n == 0 || n < len(o.pins) || n > o.MaxStages {
		return choice{}, false
	}
	fixed, kept, kind := make([]int, n), 0, gpu.Kind("")
	for stage, own := range o.Own {
		fixed[stage] = -1
		if stage < len(o.pins) && o.pins[stage] >= 0 {
			fixed[stage] = o.pins[stage]
		}
		i, ok := f.find(own.Device)
		if ok && o.barred[i] == "" && f.devices[i].Node == own.Node && (fixed[stage] < 0 || fixed[stage] == i) && !slices.Contains(fixed[:stage], i) {
			fixed[stage] = i
			kept++
		}
		if fixed[stage] >= 0 && kind == "" {
			kind = f.devices[fixed[stage]].Kind
		}
	}
	plan := shard.Plan{Stages: make([]shard.Stage, n)}
	at := 0
	for stage, own := range o.Own {
		if own.From != at || own.To <= at || own.To > len(o.Profile.Blocks) {
			return choice{}, false
		}
		at = own.To
		plan.Stages[stage] = shard.Stage{
			Span:      own.Span,
			Footprint: shard.Foot(o.Profile, own.Span, o.Serving, kind),
			Cost:      shard.Cost(o.Profile, own.Span),
		}
	}
	if kept == 0 || at != len(o.Profile.Blocks) {
		return choice{}, false
	}
	return f.assign(o, plan, fixed, kind)
}

// fresh tries cuts into more and more stages.
func (f *fleet) fresh(o *order) (choice, bool) {
	for _, kind := range f.kinds {
		if !o.onKind(f, kind) {
			continue
		}
		var usable []int // sorted only where equal cuts do not fit
		for k, most := max(1, len(o.pins)), min(o.MaxStages, len(o.Profile.Blocks), f.count(o, kind)); k <= most; k++ {
			plan, err := f.uniform(o, k, kind)
			if err != nil {
				break
			}
			if c, ok := f.assign(o, plan, o.pins, kind); ok {
				return c, true
			}
			if usable == nil {
				usable = f.usable(o, kind)
			}
			if c, ok := f.shape(o, usable, k, kind); ok {
				return c, true
			}
		}
	}
	return choice{}, false
}

// onKind says that no pin asks for a device of another kind.
func (o *order) onKind(f *fleet, kind gpu.Kind) bool {
	for _, i := range o.pins {
		if i >= 0 && f.devices[i].Kind != kind {
			return false
		}
	}
	return true
}

// assign gives each stage of a plan the best device, largest stage first. Since a device that fits a larger stage fits a smaller one, this
// finds devices whenever there are any.
func (f *fleet) assign(o *order, plan shard.Plan, fixed []int, kind gpu.Kind) (choice, bool) {
	c := choice{plan: plan, device: slices.Repeat([]int{-1}, len(plan.Stages))}
	used := make([]bool, len(f.devices))
	near := make([]bool, f.nodes)
	for stage := range min(len(fixed), len(plan.Stages)) {
		i := fixed[stage]
		if i < 0 {
			continue
		}
		if used[i] || f.devices[i].Kind != kind || o.avail[i] < plan.Stages[stage].Footprint.Total() {
			return choice{}, false
		}
		c.device[stage], used[i], near[f.node[i]] = i, true, true
	}
	byNeed := make([]int, len(plan.Stages))
	for i := range byNeed {
		byNeed[i] = i
	}
	slices.SortStableFunc(byNeed, func(a, b int) int {
		return cmp.Compare(plan.Stages[b].Footprint.Total(), plan.Stages[a].Footprint.Total())
	})
	for _, stage := range byNeed {
		if c.device[stage] >= 0 {
			continue
		}
		i := f.bestFor(o, plan.Stages[stage], kind, used, near)
		if i < 0 {
			return choice{}, false
		}
		c.device[stage], used[i], near[f.node[i]] = i, true, true
	}
	return c, true
}

// rank orders devices for one stage; smaller is better.
type rank struct {
	beside int
	zone   int
	load   int
	hop    int
	left   gpu.Bytes
}

func (r rank) less(o rank) bool {
	if r.beside != o.beside {
		return r.beside < o.beside
	}
	if r.zone != o.zone {
		return r.zone < o.zone
	}
	if r.load != o.load {
		return r.load < o.load
	}
	if r.hop != o.hop {
		return r.hop < o.hop
	}
	return r.left < o.left
}

func (f *fleet) bestFor(o *order, stage shard.Stage, kind gpu.Kind, used, near []bool) int {
	best, bestRank, need := -1, rank{}, stage.Footprint.Total()
	key := cluster.StageKey{Manifest: o.Manifest, Span: stage.Span, Serving: o.Serving}
	for i := range f.devices {
		if o.avail[i] < need || used[i] || o.barred[i] != "" || f.devices[i].Kind != kind {
			continue
		}
		r := rank{load: 1, hop: 1, left: o.avail[i] - need}
		if o.beside[f.node[i]] {
			r.beside = 1
		}
		if o.zones[f.zone[i]] {
			r.zone = 1
		}
		if slices.Contains(f.devices[i].Holds, key) {
			r.load = 0
		}
		if near[f.node[i]] {
			r.hop = 0
		}
		if best < 0 || r.less(bestRank) {
			best, bestRank = i, r
		}
	}
	return best
}

// shape cuts the model in the shape of the k devices with most memory left. If any k devices can hold it, so can these: exchanging a device
// for a larger one breaks nothing.
func (f *fleet) shape(o *order, usable []int, k int, kind gpu.Kind) (choice, bool) {
	var devices []int
	fixed := slices.Repeat([]int{-1}, k)
	for stage, i := range o.pins {
		if i >= 0 {
			fixed[stage] = len(devices)
			devices = append(devices, i)
		}
	}
	pinned := len(devices)
	for _, i := range usable {
		if len(devices) == k {
			break
		}
		if !slices.Contains(devices[:pinned], i) {
			devices = append(devices, i)
		}
	}
	capacities := make([]gpu.Bytes, len(devices))
	var sum gpu.Bytes
	for j, i := range devices {
		capacities[j] = o.avail[i]
		sum += o.avail[i]
	}
	if len(devices) < k || sum < f.floor(o, kind) {
		return choice{}, false
	}
	arranged, plan, err := shard.Arrange(o.Profile, o.Serving, capacities, fixed, kind)
	if err != nil {
		return choice{}, false
	}
	c := choice{plan: plan, device: make([]int, k), shaped: true}
	for stage, j := range arranged {
		c.device[stage] = devices[j]
	}
	return c, true
}

// commit takes the memory of a choice and says why it was made.
func (f *fleet) commit(o *order, c choice) Placement {
	p := Placement{Replica: o.Replica, Serving: o.Serving, Why: f.explain(o, c)}
	f.free = o.avail
	for stage, i := range c.device {
		st, dev := c.plan.Stages[stage], f.devices[i]
		place := cluster.StagePlace{Span: st.Span, Node: dev.Node, Device: dev.ID, Reserve: st.Footprint.Total()}
		p.Stages = append(p.Stages, place)
		f.free[i] -= place.Reserve
		if slices.ContainsFunc(o.Own, func(own cluster.StagePlace) bool { return own.Span == place.Span && own.Device == place.Device }) {
			p.Kept++
		}
	}
	f.siblings[o.Replica.Version] = append(f.siblings[o.Replica.Version], c.device...)
	return p
}
