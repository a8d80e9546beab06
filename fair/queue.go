// Package fair says whose turn it is where more is asked for than can be served: start-time fair queueing over tenants, and
// people before bulk work.
package fair

import (
	"cmp"
	"slices"
)

// unit is how finely work is divided by weights: the tags of two tenants with equal shares differ by less than one request.
const unit = 1 << 16

// MaxCost is the largest cost of one item; a larger one counts as it. Tags then stay below 2^63 for 2^31 of the largest items.
const MaxCost = 1 << 16 * 64

// Item is a request that waits.
type Item struct {
	ID     uint64 // given by whoever pushes; unique in the queue
	Tenant string
	Weight int   // of the tenant, at least 1
	Cost   int64 // what it will take, in any unit that is the same for all
	Class  Class // which Classes look at
	start  int64 // tag
}

// Queue is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over tenants. While two tenants have something waiting, the cost
// that is popped for each, divided by its weight, differs by at most the cost of the largest item of each, divided by its weight,
// whatever the others do; a tenant that was idle has saved up nothing. The zero Queue is empty and holds nothing: make one with New.
type Queue struct {
	limit   int
	items   []Item // by start tag, then by tenant, then by id
	virtual int64  // start tag of the item that was popped last
	finish  map[string]int64
}

// New makes a queue of at most limit items.
func New(limit int) *Queue { return &Queue{limit: limit, finish: map[string]int64{}} }

// Len is the number of items.
func (q *Queue) Len() int { return len(q.items) }

// Push adds an item behind those of its tenant; false if the queue is full.
func (q *Queue) Push(x Item) bool {
	if len(q.items) >= q.limit {
		return false
	}
	x.start = max(q.virtual, q.finish[x.Tenant])
	q.finish[x.Tenant] = x.start + span(x.Cost, x.Weight)
	q.insert(x)
	return true
}

// Back returns an item that was popped and could not be served: it keeps its turn, also where the queue is full by now.
func (q *Queue) Back(x Item) { q.insert(x) }

// Pop takes the item whose turn it is.
func (q *Queue) Pop() (Item, bool) {
	if len(q.items) == 0 {
		return Item{}, false
	}
	x := q.items[0]
	q.items = slices.Delete(q.items, 0, 1)
	q.virtual = max(q.virtual, x.start)
	q.forget()
	return x, true
}

// first is the item whose turn it is.
func (q *Queue) first() (Item, bool) {
	if len(q.items) == 0 {
		return Item{}, false
	}
	return q.items[0], true
}

// Remove takes out an item that waits no more; false if it is not there. What it would have cost is not counted for its tenant where
// nothing of that tenant came behind it.
func (q *Queue) Remove(id uint64) bool {
	i := slices.IndexFunc(q.items, func(x Item) bool { return x.ID == id })
	if i < 0 {
		return false
	}
	x := q.items[i]
	q.items = slices.Delete(q.items, i, i+1)
	q.Correct(x.Tenant, x.Weight, x.Cost, 0)
	return true
}

// Correct says what an item really took: what it cost beyond, or less, counts for what its tenant pushes from now on.
func (q *Queue) Correct(tenant string, weight int, cost, took int64) {
	f, known := q.finish[tenant]
	if !known {
		f = q.virtual
	}
	q.finish[tenant] = max(0, f+span(took, weight)-span(cost, weight))
	q.forget()
}

// forget drops tags that mean nothing any more: of tenants that are not ahead of the virtual time.
func (q *Queue) forget() {
	if len(q.finish) <= 2*len(q.items)+64 {
		return
	}
	for tenant, f := range q.finish {
		if f <= q.virtual {
			delete(q.finish, tenant)
		}
	}
}

func (q *Queue) insert(x Item) {
	i, _ := slices.BinarySearchFunc(q.items, x, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
	})
	q.items = slices.Insert(q.items, i, x)
}

// span is how far an item moves its tenant.
func span(cost int64, weight int) int64 {
	return min(max(cost, 0), MaxCost) * unit / int64(max(1, weight))
}
