package shard

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/gpu"
)

// TestArrangeAgainstBruteForce compares Arrange with Cut over every order of the devices that keeps the fixed ones.
func TestArrangeAgainstBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "blocks")
		p := drawProfile(t, n)
		k := rapid.IntRange(1, min(n, 4)).Draw(t, "devices")
		s := Serving{Slots: 1, Context: 16}
		capacities := make([]gpu.Bytes, k)
		for i := range capacities {
			capacities[i] = hostOverhead + gpu.Bytes(rapid.Int64Range(2, 60).Draw(t, "capacity"))*gpu.MiB
		}
		var fixed []int
		if rapid.Bool().Draw(t, "pinned") {
			fixed = slices.Repeat([]int{-1}, k)
			fixed[rapid.IntRange(0, k-1).Draw(t, "stage")] = rapid.IntRange(0, k-1).Draw(t, "device")
		}
		best := int64(-1)
		permute(k, func(order []int) {
			ordered := make([]gpu.Bytes, k)
			for stage, d := range order {
				if stage < len(fixed) && fixed[stage] >= 0 && fixed[stage] != d {
					return
				}
				ordered[stage] = capacities[d]
			}
			if plan, err := Cut(p, s, ordered, gpu.Host); err == nil && (best < 0 || worst(plan) < best) {
				best = worst(plan)
			}
		})
		order, plan, err := Arrange(p, s, capacities, fixed, gpu.Host)
		if best < 0 {
			if err == nil {
				t.Fatalf("no order fits, but Arrange found %v %+v", order, plan)
			}
			return
		}
		if err != nil {
			t.Fatalf("an order of cost %d exists, but: %v", best, err)
		}
		sorted := slices.Clone(order)
		slices.Sort(sorted)
		for i, d := range sorted {
			if d != i {
				t.Fatalf("order %v is no permutation", order)
			}
		}
		for stage, st := range plan.Stages {
			if st.Footprint.Total() > capacities[order[stage]] || stage < len(fixed) && fixed[stage] >= 0 && fixed[stage] != order[stage] {
				t.Fatalf("stage %d of %v %+v", stage, order, plan)
			}
		}
		if worst(plan) != best {
			t.Fatalf("cost %d, want %d", worst(plan), best)
		}
	})
}

func worst(p Plan) int64 {
	var w int64
	for _, s := range p.Stages {
		w = max(w, s.Cost)
	}
	return w
}

func permute(n int, visit func([]int)) {
	order := make([]int, 0, n)
	used := make([]bool, n)
	var step func()
	step = func() {
		if len(order) == n {
			visit(order)
			return
		}
		for i := range n {
			if !used[i] {
				used[i] = true
				order = append(order, i)
				step()
				order = order[:len(order)-1]
				used[i] = false
			}
		}
	}
	step()
}

func BenchmarkArrange(b *testing.B) {
	p := Profile{Decoder: true, Hidden: 4096, Vocab: 128000, Heads: 32, Inner: 14336, Expand: 100, BlockCost: 218, TailCost: 525, KVToken: 8192, Embed: gpu.GiB, Tail: gpu.GiB}
	for range 32 {
		p.Blocks = append(p.Blocks, 436*gpu.MiB)
	}
	caps := []gpu.Bytes{8 * gpu.GiB, 5 * gpu.GiB, 6 * gpu.GiB, 4 * gpu.GiB, 12 * gpu.GiB}
	for b.Loop() {
		if _, _, err := Arrange(p, Serving{Slots: 4, Context: 2048}, caps, nil, gpu.CUDA); err != nil {
			b.Fatal(err)
		}
	}
}

// TestArrangeBalances: with the larger device first, three blocks fit on it and the cut is 3 + 1; the other way round 2 + 2 fits.
func TestArrangeBalances(t *testing.T) {
	p := Profile{Decoder: true, Expand: 100, BlockCost: 1, Blocks: []gpu.Bytes{gpu.MiB, gpu.MiB, gpu.MiB, 2 * gpu.MiB}}
	capacities := []gpu.Bytes{hostOverhead + 4*gpu.MiB, hostOverhead + 5*gpu.MiB/2}
	order, plan, err := Arrange(p, Serving{Slots: 1, Context: 1}, capacities, nil, gpu.Host)
	if err != nil || worst(plan) != 2 || order[0] != 1 {
		t.Errorf("%v %+v %v", order, plan, err)
	}
	if _, plan, err := Arrange(p, Serving{Slots: 1, Context: 1}, capacities, []int{0}, gpu.Host); err != nil || worst(plan) != 3 {
		t.Errorf("pinned the other way round: %+v %v", plan, err)
	}
}
