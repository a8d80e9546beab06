package fair

// Class says whether anybody waits for an item.
type Class int

// Classes.
const (
	Interactive Class = iota // somebody waits for the answer
	Bulk                     // nobody does: a line of a batch
)

// Share is what bulk work gets while others always wait: one part in so many, by cost.
const Share = 16

// Leave says how much bulk work may be popped.
type Leave int

// Leaves.
const (
	NoBulk    Leave = iota // none, and what others take does not count for it
	DueBulk                // what it is guaranteed
	SpareBulk              // that, and as much as it wants while nobody else waits
)

// Classes is a queue of two classes, each with a Queue of its own. An item of Bulk has its turn where no interactive one waits, and
// otherwise once interactive items of Share-1 times its cost were popped while bulk waited. So while both wait, bulk gets at most one part in
// Share of the cost that is popped, and one item; and it waits for no more than that much. Bulk that
// did not wait has saved up nothing; what one that waits no more has waited for is the next one's.
type Classes struct {
	of     [2]*Queue
	behind int64 // cost of interactive items that were popped while bulk waited, and that no bulk item was given for
}

// NewClasses makes a queue of at most limit items of each class.
func NewClasses(limit int) *Classes { return &Classes{of: [2]*Queue{New(limit), New(limit)}} }

// Len is the number of items.
func (c *Classes) Len() int { return c.of[Interactive].Len() + c.of[Bulk].Len() }

// Waiting is the number of items of a class.
func (c *Classes) Waiting(of Class) int { return c.of[of].Len() }

// Push adds an item behind those of its tenant and class; false if there are too many.
func (c *Classes) Push(x Item) bool { return c.of[x.Class].Push(x) }

// Back returns an item that was popped and could not be served: it keeps its turn within its class.
func (c *Classes) Back(x Item) { c.of[x.Class].Back(x) }

// Remove takes out an item that waits no more; false if it is not there.
func (c *Classes) Remove(of Class, id uint64) bool { return c.of[of].Remove(id) }

// Correct says what an item really took.
func (c *Classes) Correct(x Item, took int64) {
	c.of[x.Class].Correct(x.Tenant, x.Weight, x.Cost, took)
}

// Due says that bulk has its turn now, although others wait.
func (c *Classes) Due() bool {
	x, ok := c.of[Bulk].first()
	return ok && c.behind >= (Share-1)*price(x)
}

// Pop takes the item whose turn it is.
func (c *Classes) Pop(l Leave) (Item, bool) {
	people, bulk := c.of[Interactive].Len() > 0, l != NoBulk && c.of[Bulk].Len() > 0
	switch {
	case bulk && (c.Due() || l == SpareBulk && !people):
		x, _ := c.of[Bulk].Pop()
		if c.behind = max(0, c.behind-(Share-1)*price(x)); c.of[Bulk].Len() == 0 {
			c.behind = 0
		}
		return x, true
	case people:
		x, _ := c.of[Interactive].Pop()
		if bulk {
			c.behind = min(c.behind+price(x), (Share-1)*MaxCost)
		}
		return x, true
	}
	return Item{}, false
}

// price is what an item counts for: something, so that there is an end to waiting.
func price(x Item) int64 { return min(max(x.Cost, 1), MaxCost) }
