package placement

import (
	"cmp"
	"slices"
	"strings"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// fleet is the devices of a problem and what is left of them while demands are placed.
type fleet struct {
	devices  []Device // sorted by id
	free     []gpu.Bytes
	node     []int // by device: number of its node
	zone     []int // by device: number of its zone
	numbers  map[cluster.NodeID]int
	zoneOf   []int // by node: number of its zone
	nodes    int
	zones    int
	kinds    []gpu.Kind                  // present, in order of preference
	siblings map[cluster.VersionID][]int // devices taken by replicas placed in this problem
	cuts     map[cut]cutPlan
}

// cut names a uniform cut, which demands of one version share.
type cut struct {
	version cluster.VersionID
	serving shard.Serving
	stages  int
	kind    gpu.Kind
}

type cutPlan struct {
	plan shard.Plan
	err  error
}

func newFleet(devices []Device) *fleet {
	f := &fleet{
		devices:  slices.Clone(devices),
		siblings: map[cluster.VersionID][]int{},
		cuts:     map[cut]cutPlan{},
	}
	slices.SortFunc(f.devices, func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
	f.free = make([]gpu.Bytes, len(f.devices))
	f.numbers = map[cluster.NodeID]int{}
	zones := map[string]int{}
	for i, d := range f.devices {
		f.free[i] = d.Free
		n := number(f.numbers, d.Node)
		if n == len(f.zoneOf) {
			f.zoneOf = append(f.zoneOf, number(zones, cmp.Or(d.Zone, "node "+string(d.Node)))) // a node without a zone is one of its own
		}
		f.node, f.zone = append(f.node, n), append(f.zone, f.zoneOf[n])
		if !slices.Contains(f.kinds, d.Kind) {
			f.kinds = append(f.kinds, d.Kind)
		}
	}
	f.nodes, f.zones = len(f.numbers), len(zones)
	slices.SortFunc(f.kinds, func(a, b gpu.Kind) int {
		if host := cmp.Compare(btoi(a == gpu.Host), btoi(b == gpu.Host)); host != 0 {
			return host
		}
		return strings.Compare(string(a), string(b))
	})
	return f
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// number gives each name the next number at its first sight.
func number[K comparable](seen map[K]int, name K) int {
	n, ok := seen[name]
	if !ok {
		n = len(seen)
		seen[name] = n
	}
	return n
}

func (f *fleet) find(id gpu.DeviceID) (int, bool) {
	return slices.BinarySearchFunc(f.devices, id, func(d Device, id gpu.DeviceID) int { return cmp.Compare(d.ID, id) })
}

// count is the number of devices of a kind that a demand may use.
func (f *fleet) count(o *order, kind gpu.Kind) int {
	n := 0
	for i := range f.devices {
		if f.devices[i].Kind == kind && o.barred[i] == "" {
			n++
		}
	}
	return n
}

// usable lists the devices of a kind that a demand may use, most memory first.
func (f *fleet) usable(o *order, kind gpu.Kind) []int {
	var list []int
	for i, d := range f.devices {
		if d.Kind == kind && o.barred[i] == "" {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(o.avail[b], o.avail[a]),
			cmp.Compare(btoi(o.beside[f.node[a]]), btoi(o.beside[f.node[b]])))
	})
	return list
}

func (f *fleet) uniform(o *order, stages int, kind gpu.Kind) (shard.Plan, error) {
	key := cut{version: o.Replica.Version, serving: o.Serving, stages: stages, kind: kind}
	c, ok := f.cuts[key]
	if !ok {
		c.plan, c.err = shard.Uniform(o.Profile, o.Serving, stages, kind)
		f.cuts[key] = c
	}
	return c.plan, c.err
}

// floor is what all stages of any cut need together at least: weights and KV cache of the whole.
func (f *fleet) floor(o *order, kind gpu.Kind) gpu.Bytes {
	whole := shard.Foot(o.Profile, shard.Span{To: len(o.Profile.Blocks)}, o.Serving, kind)
	return whole.Weights + whole.KV - gpu.Bytes(len(o.Profile.Blocks)) // rounding of each stage
}

// pin reads the pins of a demand, or says why they cannot hold.
func (f *fleet) pin(o *order) string {
	for _, p := range o.Pins {
		if p.Replica != o.Replica.Ordinal {
			continue
		}
		i, ok := f.find(p.Device)
		switch {
		case p.Stage < 0 || p.Stage >= min(o.MaxStages, len(o.Profile.Blocks)):
			return whyPin(p, "the model has at most %d stages", min(o.MaxStages, len(o.Profile.Blocks)))
		case !ok:
			return whyPin(p, "no such device")
		case o.barred[i] != "":
			return whyPin(p, "%s", o.barred[i])
		case slices.Contains(o.pins, i):
			return whyPin(p, "another stage of the replica is pinned there, and stages of a replica are on distinct devices")
		}
		for len(o.pins) <= p.Stage {
			o.pins = append(o.pins, -1)
		}
		if o.pins[p.Stage] >= 0 {
			return whyPin(p, "the stage is pinned to device %s already", f.devices[o.pins[p.Stage]].ID)
		}
		o.pins[p.Stage] = i
	}
	return ""
}
