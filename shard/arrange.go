package shard

import (
	"slices"

	"github.com/skein-project/skein/gpu"
)

// MaxArrangeCells bounds the search of Arrange in cells of one byte: stages × blocks × the product of (devices of a capacity + 1) over the
// distinct capacities. 12 devices of 12 capacities and 80 blocks are within it, 64 devices of two capacities too; beyond it only the
// order of falling capacity is tried.
const MaxArrangeCells = 8 << 20

// Arrange orders devices along a model: it chooses which of them (by its index in capacities) holds which stage, so that the cut over that order
// has the smallest largest cost, and returns the order with its Cut. fixed[stage] names the index that must hold a stage, or −1; it may be
// shorter than capacities. Every device holds one stage. The choice is exact within MaxArrangeCells. Errors: those of Cut.
func Arrange(p Profile, s Serving, capacities []gpu.Bytes, fixed []int, kind gpu.Kind) ([]int, Plan, error) {
	a := newArrangement(p, s, capacities, fixed, kind)
	order := a.falling()
	if n := len(p.Blocks); len(capacities) <= n && a.states <= MaxArrangeCells/(len(capacities)*(n+1)) {
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
	bound      int64     // largest cost allowed of a stage
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
	costs := a.costs()
	low, high := 0, len(costs)-1 // costs[high] is known to suffice
	for low < high {
		middle := (low + high) / 2
		if found, ok := a.under(costs[middle]); ok {
			order, high = found, middle
		} else {
			low = middle + 1
		}
	}
	return order, true
}

// costs are all values that the cost of a stage can take, ascending.
func (a *arrangement) costs() []int64 {
	n := len(a.meter.p.Blocks)
	var all []int64
	for i := 1; i <= n; i++ {
		all = append(all, Cost(a.meter.p, Span{From: 0, To: i}), Cost(a.meter.p, Span{From: n - i, To: n}))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// under finds an order whose stages all fit and cost at most bound.
func (a *arrangement) under(bound int64) ([]int, bool) {
	n := len(a.meter.p.Blocks)
	a.bound = bound
	a.dead = make([]bool, len(a.capacities)*a.states*(n+1))
	a.reach = a.reach[:0]
	for _, c := range a.classes {
		a.reach = append(a.reach, a.reaches(c.capacity))
	}
	a.pinned = make([][]int32, len(a.fixed))
	for stage, d := range a.fixed {
		if d >= 0 {
			a.pinned[stage] = a.reaches(a.capacities[d])
		}
	}
	order := make([]int, len(a.capacities))
	used := make([]int, len(a.classes))
	return order, a.walk(0, 0, 0, used, order)
}

// reaches fills in, for each first block, the furthest end of a stage on a device of a capacity. Needs and costs only grow with the end.
func (a *arrangement) reaches(capacity gpu.Bytes) []int32 {
	n := len(a.meter.p.Blocks)
	r := make([]int32, n)
	to := 0
	for from := range r {
		to = max(to, from)
		for to < n && a.fits(Span{From: from, To: to + 1}, capacity) {
			to++
		}
		r[from] = int32(to)
		if to == from {
			r[from] = -1
		}
	}
	return r
}

func (a *arrangement) fits(span Span, capacity gpu.Bytes) bool {
	return a.meter.foot(span).Total() <= capacity && Cost(a.meter.p, span) <= a.bound
}

// walk extends a cut that ends at block from by the stages from stage on; state numbers the classes' devices used so far.
func (a *arrangement) walk(stage, state, from int, used, order []int) bool {
	n := len(a.meter.p.Blocks)
	if stage == len(a.capacities) {
		return from == n
	}
	if from >= n {
		return false
	}
	key := (stage*a.states+state)*(n+1) + from
	if a.dead[key] {
		return false
	}
	if d := a.fixed[stage]; d >= 0 {
		order[stage] = d
		for to := int(a.pinned[stage][from]); to > from; to-- {
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
			for to := int(a.reach[i][from]); to > from; to-- {
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
