package shard

import (
	"errors"
	"fmt"

	"github.com/skein-project/skein/gpu"
)

// ErrStages says that a model cannot be cut into so many stages: each holds at least one block.
var ErrStages = errors.New("shard: no such number of stages")

// DoesNotFit says which part of a model no stage of a cut could take.
type DoesNotFit struct {
	Span  Span
	Stage int       // the place in the list of capacities
	Need  gpu.Bytes // what the span needs there
	Have  gpu.Bytes // the capacity there
}

func (e *DoesNotFit) Error() string {
	return fmt.Sprintf("shard: blocks %s as stage %d need %s and have %s", e.Span, e.Stage, e.Need, e.Have)
}

// String prints the span as "[from,to)".
func (s Span) String() string { return fmt.Sprintf("[%d,%d)", s.From, s.To) }

// Blocks is the number of blocks of the span.
func (s Span) Blocks() int { return s.To - s.From }

// Cut cuts a model into len(capacities) stages, stage i for a device with capacities[i] bytes free, all of one kind. Of the cuts whose stages
// all fit it returns the one with the smallest largest cost; of those the one with the smallest largest footprint; then the one whose
// boundaries come first. Errors: ErrStages, *DoesNotFit. O(stages · blocks²) time at most.
func Cut(p Profile, s Serving, capacities []gpu.Bytes, kind gpu.Kind) (Plan, error) {
	n, k := len(p.Blocks), len(capacities)
	if k < 1 || k > n {
		return Plan{}, fmt.Errorf("%w: %d stages of %d blocks", ErrStages, k, n)
	}
	m := newMeter(p, s, kind)
	cost := func(_ int, span Span) int64 { return Cost(p, span) }
	bound, err := m.bottleneck(capacities, most, cost)
	if err != nil {
		return Plan{}, err
	}
	size := func(_ int, span Span) int64 { return int64(m.foot(span).Total()) }
	table, err := m.chain(capacities, bound, size)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Stages: make([]Stage, k)}
	for stage, to := k-1, n; stage >= 0; stage-- {
		span := Span{From: table[stage][to].from, To: to}
		plan.Stages[stage] = Stage{Span: span, Footprint: m.foot(span), Cost: Cost(p, span)}
		to = span.From
	}
	return plan, nil
}

// Uniform cuts a model into so many stages by cost alone, whatever memory they need.
func Uniform(p Profile, s Serving, stages int, kind gpu.Kind) (Plan, error) {
	capacities := make([]gpu.Bytes, max(stages, 0))
	for i := range capacities {
		capacities[i] = 4 * most
	}
	return Cut(p, s, capacities, kind)
}

// Candidates are the uniform cuts into 1, 2, … stages, at most maxStages and at most one a block.
func Candidates(p Profile, s Serving, maxStages int, kind gpu.Kind) []Plan {
	var plans []Plan
	for k := 1; k <= min(maxStages, len(p.Blocks)); k++ {
		plan, err := Uniform(p, s, k, kind)
		if err != nil {
			break
		}
		plans = append(plans, plan)
	}
	return plans
}

// Total is the sum of what the stages need.
func (p Plan) Total() gpu.Bytes {
	var sum gpu.Bytes
	for _, s := range p.Stages {
		sum += s.Footprint.Total()
	}
	return sum
}

// cell is the best way to end a stage at a block: the largest weight of the stages so far and where the last of them begins (−1 = none).
type cell struct {
	worst int64
	from  int
}

// bottleneck is the smallest largest weight of a cut that fits.
func (m *meter) bottleneck(capacities []gpu.Bytes, bound int64, weigh func(int, Span) int64) (int64, error) {
	table, err := m.chain(capacities, bound, weigh)
	if err != nil {
		return 0, err
	}
	return table[len(capacities)-1][len(m.p.Blocks)].worst, nil
}

// chain fills table[stage][to] with the best cut of blocks [0, to) into stage+1 stages that fit and cost at most bound each, where best is
// the smallest largest weight, then the earliest boundary. (The chain partition of Bokhari, IEEE ToC 1988, with memory limits.)
func (m *meter) chain(capacities []gpu.Bytes, bound int64, weigh func(int, Span) int64) ([][]cell, error) {
	n, k := len(m.p.Blocks), len(capacities)
	table := make([][]cell, k)
	cells := make([]cell, k*(n+1))
	for i := range cells {
		cells[i].from = -1
	}
	for stage := range table {
		row := cells[stage*(n+1) : (stage+1)*(n+1)]
		table[stage] = row
		last := stage == k-1
		for from := stage; from < n; from++ {
			var worst int64
			if stage > 0 {
				if table[stage-1][from].from < 0 {
					continue
				}
				worst = table[stage-1][from].worst
			} else if from > 0 {
				break
			}
			to, end := from+1, n-(k-1-stage)
			if last {
				to = n
			}
			for ; to <= end; to++ {
				span := Span{From: from, To: to}
				if m.foot(span).Total() > capacities[stage] || Cost(m.p, span) > bound {
					break // more blocks need more of both
				}
				w := max(worst, weigh(stage, span))
				if c := &row[to]; c.from < 0 || w < c.worst {
					*c = cell{worst: w, from: from}
				}
			}
		}
	}
	if table[k-1][n].from < 0 {
		return nil, m.misfit(table, capacities)
	}
	return table, nil
}

// misfit names the first stage that no cut can fill, starting from the furthest block that the stages before it reach.
func (m *meter) misfit(table [][]cell, capacities []gpu.Bytes) error {
	n, k := len(m.p.Blocks), len(capacities)
	from := 0
	for stage := range table {
		reach := -1
		for to, c := range table[stage] {
			if c.from >= 0 {
				reach = to
			}
		}
		if reach >= 0 && stage < k-1 {
			from = reach
			continue
		}
		span := Span{From: from, To: from + 1}
		if stage == k-1 {
			span.To = n
		}
		return &DoesNotFit{Span: span, Stage: stage, Need: m.foot(span).Total(), Have: capacities[stage]}
	}
	return ErrStages
}
