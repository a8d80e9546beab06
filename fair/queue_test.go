package fair

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// While tenants always have something waiting, what is served to each follows its weight, to within one item of each, and
// what rounding a tag costs.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "tenants")
		weights := rapid.SliceOfN(rapid.IntRange(1, 1000), n, n).Draw(t, "weights")
		most := rapid.Int64Range(1, 5000).Draw(t, "largest")
		q := New(10 * n)
		id := uint64(0)
		push := func(i int) {
			id++
			if !q.Push(Item{ID: id, Tenant: fmt.Sprint(i), Weight: weights[i], Cost: rapid.Int64Range(1, most).Draw(t, "cost")}) {
				t.Fatal("full")
			}
		}
		for i := range weights {
			push(i)
			push(i)
		}
		served := make([]float64, n)
		for n := range 300 {
			x, ok := q.Pop()
			if !ok {
				t.Fatal("empty")
			}
			var i int
			fmt.Sscan(x.Tenant, &i)
			served[i] += float64(x.Cost)
			push(i)
			for a := range weights {
				for b := range weights {
					wa, wb := float64(weights[a]), float64(weights[b])
					if served[a]/wa-served[b]/wb > float64(most)/wa+float64(most)/wb+float64(n+1)/unit {
						t.Fatalf("served %v by weights %v with items of up to %d", served, weights, most)
					}
				}
			}
		}
	})
}

// obvious is a queue that looks at everything: each tenant's items in order, tags in exact fractions of weights' common multiple.
type obvious struct {
	items []Item
	tags  []int64
	last  map[string]int64
	now   int64
}

func (o *obvious) push(x Item) {
	start := max(o.now, o.last[x.Tenant])
	o.items, o.tags = append(o.items, x), append(o.tags, start)
	o.last[x.Tenant] = start + x.Cost*(unit/int64(x.Weight))
}

func (o *obvious) pop() Item {
	best := 0
	for i := range o.items {
		a, b := o.items[i], o.items[best]
		if o.tags[i] < o.tags[best] || o.tags[i] == o.tags[best] && (a.Tenant < b.Tenant || a.Tenant == b.Tenant && a.ID < b.ID) {
			best = i
		}
	}
	x := o.items[best]
	o.now = max(o.now, o.tags[best])
	o.items, o.tags = append(o.items[:best:best], o.items[best+1:]...), append(o.tags[:best:best], o.tags[best+1:]...)
	return x
}

// The queue does what an obvious one does, with tenants that come and go.
func TestObvious(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, o, id := New(50), &obvious{last: map[string]int64{}}, uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				id++
				tenant := rapid.IntRange(0, 200).Draw(t, "tenant")
				x := Item{ID: id, Tenant: fmt.Sprint(tenant), Weight: 1 << (tenant % 8), Cost: rapid.Int64Range(0, 1000).Draw(t, "cost")}
				if q.Push(x) != (len(o.items) < 50) {
					t.Fatal("the bound")
				}
				if len(o.items) < 50 {
					o.push(x)
				}
			},
			"pop": func(t *rapid.T) {
				x, ok := q.Pop()
				if ok != (len(o.items) > 0) {
					t.Fatalf("popped: %v", ok)
				}
				if !ok {
					return
				}
				if want := o.pop(); x.ID != want.ID {
					t.Fatalf("popped %d, want %d", x.ID, want.ID)
				}
				if rapid.Bool().Draw(t, "back") {
					q.Back(x)
					if again, _ := q.Pop(); again.ID != x.ID {
						t.Fatalf("%d lost its turn to %d", x.ID, again.ID)
					}
				}
			},
		})
	})
}

// A tenant that was idle has saved up nothing, and one that leaves costs nothing.
func TestIdle(t *testing.T) {
	q := New(100)
	for i := range 20 {
		q.Push(Item{ID: uint64(i), Tenant: "busy", Weight: 1, Cost: 10})
	}
	for range 10 {
		q.Pop()
	}
	for i := range 10 {
		q.Push(Item{ID: uint64(100 + i), Tenant: "late", Weight: 1, Cost: 10})
	}
	count := map[string]int{}
	for range 10 {
		x, _ := q.Pop()
		count[x.Tenant]++
	}
	if count["busy"] < 4 || count["late"] < 4 {
		t.Errorf("%v", count)
	}
	if !q.Remove(19) || q.Remove(19) || q.Remove(0) {
		t.Error("what is removed, is removed once")
	}
	for i := range 10_000 {
		q.Push(Item{ID: 1000, Tenant: fmt.Sprint("t", i), Weight: 1, Cost: 1})
		q.Remove(1000)
		q.Pop()
		q.Push(Item{ID: uint64(2000 + i), Tenant: "busy", Weight: 1, Cost: 10})
	}
	if len(q.finish) > 1000 {
		t.Errorf("%d tenants are remembered", len(q.finish))
	}
}

// What an item really took counts for its tenant.
func TestCorrect(t *testing.T) {
	q := New(10)
	q.Push(Item{ID: 1, Tenant: "a", Weight: 1, Cost: 100})
	q.Push(Item{ID: 2, Tenant: "b", Weight: 1, Cost: 100})
	q.Pop()
	q.Pop()
	q.Correct("a", 1, 100, 500)
	q.Push(Item{ID: 3, Tenant: "a", Weight: 1, Cost: 100})
	q.Push(Item{ID: 4, Tenant: "b", Weight: 1, Cost: 100})
	if x, _ := q.Pop(); x.ID != 4 {
		t.Errorf("%d has its turn", x.ID)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := New(2048)
	for i := range 1024 {
		q.Push(Item{ID: uint64(i), Tenant: fmt.Sprint(i % 50), Weight: 1 + i%7, Cost: int64(i)})
	}
	for b.Loop() {
		x, _ := q.Pop()
		q.Push(x)
	}
}
