package shard

import (
	"slices"

	"github.com/skein-project/skein/gpu"
)

// What Arrange may spend on a search; beyond it, it takes the best order found so far, or that of falling capacity.
const (
	MaxArrangeCells = 8 << 20 // bytes of memory: stages × blocks × the product of (devices of a capacity + 1) over the distinct capacities
	MaxArrangeSteps = 1 << 20 // spans tried for one bound on the cost
)

// Arrange orders devices along a model: it chooses which of them (by its index in capacities) holds which stage, so that the cut over that order
// has the smallest largest cost, and returns the order with its Cut. fixed[stage] names the index that must hold a stage, or −1; it may be
// shorter than capacities. Every device holds one stage. The choice is exact within the limits above: 12
// devices of 12 capacities and 80 blocks need 4 MiB. Errors: those of Cut.
func Arrange(p Profile, s Serving, capacities []gpu.Bytes, fixed []int, kind gpu.Kind) ([]int, Plan, error) {
	a := newArrangement(p, s, capacities, fixed, kind)
	order := a.falling()
	if n, k := len(p.Blocks), len(capacities); k > 0 && k <= n && a.states <= MaxArrangeCells/(k*(n+1)) {
		if found, ok := a.best(); ok {
			order = found
		}
	}
	ordered := make([]gpu.Bytes, len(order))
	for i, d := range order {
		ordered[i] = capacities[d]
	}
	plan, err := Cut(p, s, ordered, kind)
	return order, plan, err
}

// arrangement is one search: a walk over stages that spends devices by class of equal capacity.
type arrangement struct {
	meter      meter
	capacities []gpu.Bytes
	fixed      []int // by stage: index of its device, −1 = free
	classes    []class
	states     int
	steps      int       // taken under this bound
	dead       []bool    // (stage, state, block) from which no cut is completed
	reach      [][]int32 // by class: the furthest block that a stage starting at a block can reach; −1 = not even one
	pinned     [][]int32 // by stage: the same for its fixed device
}

type class struct {
	capacity gpu.Bytes
	devices  []int // free devices of the class, by index
	stride   int   // of the class in the number of a state
}

func newArrangement(p Profile, s Serving, capacities []gpu.Bytes, fixed []int, kind gpu.Kind) *arrangement {
	a := &arrangement{meter: newMeter(p, s, kind), capacities: capacities, fixed: make([]int, len(capacities)), states: 1}
	taken := make([]bool, len(capacities))
	for stage := range a.fixed {
		a.fixed[stage] = -1
		if stage < len(fixed) && fixed[stage] >= 0 {
			a.fixed[stage] = fixed[stage]
			taken[fixed[stage]] = true
		}
	}
	var free []int
	for i := range capacities {
		if !taken[i] {
			free = append(free, i)
		}
	}
	slices.SortStableFunc(free, func(x, y int) int { return compare(capacities[y], capacities[x]) })
	for _, i := range free {
		if n := len(a.classes); n == 0 || a.classes[n-1].capacity != capacities[i] {
			a.classes = append(a.classes, class{capacity: capacities[i]})
		}
		c := &a.classes[len(a.classes)-1]
		c.devices = append(c.devices, i)
	}
	for i := range a.classes {
		a.classes[i].stride = a.states
		a.states = min(a.states*(len(a.classes[i].devices)+1), MaxArrangeCells+1)
	}
	return a
}

func compare[T ~int64 | ~int](x, y T) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// falling is the order of falling capacity around the fixed stages.
func (a *arrangement) falling() []int {
	order := slices.Clone(a.fixed)
	next, at := 0, 0
	for stage := range order {
		if order[stage] >= 0 {
			continue
		}
		for at == len(a.classes[next].devices) {
			next, at = next+1, 0
		}
		order[stage] = a.classes[next].devices[at]
		at++
	}
	return order
}

// best bisects over the costs that a stage can have for the smallest bound under which an order exists.
func (a *arrangement) best() ([]int, bool) {
	order, ok := a.under(most)
	if !ok {
		return nil, false
	}
	costs := a.meter.costs()
	least(0, len(costs)-1, func(i int) bool {
		found, ok := a.under(costs[i])
		if ok {
			order = found // bounds that hold only fall
		}
		return ok
	})
	return order, true
}

// under finds an order whose stages all fit and cost at most bound.
func (a *arrangement) under(bound int64) ([]int, bool) {
	n := len(a.meter.p.Blocks)
	a.steps = 0
	a.dead = make([]bool, len(a.capacities)*a.states*(n+1))
	a.reach = a.reach[:0]
	for _, c := range a.classes {
		a.reach = append(a.reach, a.meter.reach(limit{cost: bound, size: c.capacity}))
	}
	a.pinned = make([][]int32, len(a.fixed))
	for stage, d := range a.fixed {
		if d >= 0 {
			a.pinned[stage] = a.meter.reach(limit{cost: bound, size: a.capacities[d]})
		}
	}
	order := make([]int, len(a.capacities))
	used := make([]int, len(a.classes))
	return order, a.walk(0, 0, 0, used, order)
}

// walk extends a cut that ends at block from by the stages from stage on; state numbers the classes' devices used so far.
func (a *arrangement) walk(stage, state, from int, used, order []int) bool {
	a.steps++
	n := len(a.meter.p.Blocks)
	if stage == len(a.capacities) {
		return from == n
	}
	if from >= n || a.steps > MaxArrangeSteps {
		return false
	}
	key := (stage*a.states+state)*(n+1) + from
	if a.dead[key] {
		return false
	}
	if d := a.fixed[stage]; d >= 0 {
		order[stage] = d
		for to := int(a.pinned[stage][from]); to > from && a.useful(stage, to); to-- {
			if a.walk(stage+1, state, to, used, order) {
				return true
			}
		}
	} else {
		for i, c := range a.classes {
			if used[i] == len(c.devices) {
				continue
			}
			order[stage] = c.devices[used[i]]
			used[i]++
			for to := int(a.reach[i][from]); to > from && a.useful(stage, to); to-- {
				if a.walk(stage+1, state+c.stride, to, used, order) {
					return true
				}
			}
			used[i]--
		}
	}
	a.dead[key] = true
	return false
}

// useful says that a stage may end at a block: the last one must end at the last block.
func (a *arrangement) useful(stage, to int) bool {
	return stage < len(a.capacities)-1 || to == len(a.meter.p.Blocks)
}
