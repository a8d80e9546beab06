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
// all fit it returns the one with the smallest largest cost; of those the one with the smallest largest footprint; then the one whose last
// boundary comes first, and so on forward. Errors: ErrStages, *DoesNotFit. O(stages · blocks) time for each step of two bisections.
func Cut(p Profile, s Serving, capacities []gpu.Bytes, kind gpu.Kind) (Plan, error) {
	n, k := len(p.Blocks), len(capacities)
	if k < 1 || k > n {
		return Plan{}, fmt.Errorf("%w: %d stages of %d blocks", ErrStages, k, n)
	}
	m := newMeter(p, s, kind)
	c := m.chain(capacities, limit{cost: most, size: 4 * most})
	if !c.whole() {
		return Plan{}, m.misfit(c, capacities)
	}
	costs := m.costs()
	bound := limit{cost: costs[least(0, len(costs)-1, func(i int) bool {
		return m.chain(capacities, limit{cost: costs[i], size: 4 * most}).whole()
	})], size: 4 * most}
	bound.size = m.plan(m.chain(capacities, bound)).largest()
	bound.size = gpu.Bytes(least(0, int(bound.size), func(size int) bool {
		return m.chain(capacities, limit{cost: bound.cost, size: gpu.Bytes(size)}).whole()
	}))
	return m.plan(m.chain(capacities, bound)), nil
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

// largest is the footprint of the largest stage.
func (p Plan) largest() gpu.Bytes {
	var most gpu.Bytes
	for _, s := range p.Stages {
		most = max(most, s.Footprint.Total())
	}
	return most
}
