package shard

import (
	"slices"

	"github.com/skein-project/skein/gpu"
)

// limit is what a stage may cost and need at most.
type limit struct {
	cost int64
	size gpu.Bytes
}

// chain says where stages can end: a partition of a chain with limits on each part, decided for one bound at a time and bisected over bounds
// (after Bokhari, IEEE Transactions on Computers 37(1), 1988).
type chain struct {
	reach [][]int32 // by stage: the furthest end of a stage that starts at a block; −1 = it cannot hold even that block
	ends  [][]bool  // by stage: whether blocks [0, to) can be cut into the stages up to this one, none of them empty and none of the later ones
}

func (m *meter) chain(capacities []gpu.Bytes, bound limit) chain {
	n := len(m.p.Blocks)
	c := chain{reach: make([][]int32, len(capacities)), ends: make([][]bool, len(capacities))}
	cells := make([]bool, len(capacities)*(n+1))
	for stage, capacity := range capacities {
		if stage > 0 && capacity == capacities[stage-1] {
			c.reach[stage] = c.reach[stage-1]
		} else {
			c.reach[stage] = m.reach(limit{cost: bound.cost, size: min(bound.size, capacity)})
		}
		ends := cells[stage*(n+1) : (stage+1)*(n+1)]
		c.ends[stage] = ends
		done := 0 // ends up to here are decided; reach never falls
		for from := stage; from < n && (stage > 0 || from == 0); from++ {
			if stage > 0 && !c.ends[stage-1][from] {
				continue
			}
			end := min(int(c.reach[stage][from]), n-(len(capacities)-1-stage)) // a block is left for each later stage
			for to := max(done, from) + 1; to <= end; to++ {
				ends[to] = true
			}
			done = max(done, end)
		}
	}
	return c
}

// reach fills in, for each first block, the furthest end of a stage within the bound. What a span needs and costs only grows with its end.
func (m *meter) reach(bound limit) []int32 {
	n := len(m.p.Blocks)
	r := make([]int32, n)
	to := 0
	for from := range r {
		to = max(to, from)
		for to < n {
			span := Span{From: from, To: to + 1}
			if m.foot(span).Total() > bound.size || Cost(m.p, span) > bound.cost {
				break
			}
			to++
		}
		r[from] = int32(to)
		if to == from {
			r[from] = -1
		}
	}
	return r
}

// whole says that the stages can cover all blocks.
func (c chain) whole() bool {
	last := c.ends[len(c.ends)-1]
	return last[len(last)-1]
}

// plan reads a cut of all blocks back, with the earliest boundaries.
func (m *meter) plan(c chain) Plan {
	plan := Plan{Stages: make([]Stage, len(c.ends))}
	to := len(m.p.Blocks)
	for stage := len(c.ends) - 1; stage >= 0; stage-- {
		from := 0
		if stage > 0 {
			for !c.ends[stage-1][from] || int(c.reach[stage][from]) < to {
				from++
			}
		}
		span := Span{From: from, To: to}
		plan.Stages[stage] = Stage{Span: span, Footprint: m.foot(span), Cost: Cost(m.p, span)}
		to = from
	}
	return plan
}

// misfit names the first stage that no cut can fill, starting from the furthest block that the stages before it reach.
func (m *meter) misfit(c chain, capacities []gpu.Bytes) error {
	n, from := len(m.p.Blocks), 0
	for stage, ends := range c.ends {
		last := stage == len(c.ends)-1
		if furthest := lastTrue(ends); furthest >= 0 && !last {
			from = furthest
			continue
		}
		span := Span{From: from, To: from + 1}
		if last {
			span.To = n
		}
		return &DoesNotFit{Span: span, Stage: stage, Need: m.foot(span).Total(), Have: capacities[stage]}
	}
	return ErrStages
}

func lastTrue(row []bool) int {
	for i := len(row) - 1; i >= 0; i-- {
		if row[i] {
			return i
		}
	}
	return -1
}

// costs are all values that the cost of a stage can take, ascending.
func (m *meter) costs() []int64 {
	n := len(m.p.Blocks)
	var all []int64
	for i := 1; i <= n; i++ {
		all = append(all, Cost(m.p, Span{From: 0, To: i}), Cost(m.p, Span{From: n - i, To: n}))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// least is the smallest value in [low, high] for which holds is true. It holds at high, and from the smallest on.
func least(low, high int, holds func(int) bool) int {
	for low < high {
		if middle := low + (high-low)/2; holds(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
