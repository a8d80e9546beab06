package quota

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// LeaseFor is how long a share lasts in the log's time unless it is renewed. Its gateway stops spending it at half of that after
	// it asked, by its own monotonic clock: the rest is for a log whose clock jumps forward when the leader changes.
	LeaseFor = 10 * time.Second
	// Turn is how long a gateway is preferred where a limit is too small for all that want something.
	Turn = 5 * time.Second
	// MaxLeases bounds the leases of a balance. A gateway beyond it gets nothing.
	MaxLeases = 1024

	// slotGrace is how much longer than LeaseFor a slot stays reserved, so that a gateway without news may let its requests run for
	// LeaseFor before it cuts them off (Purse.Overdue).
	slotGrace = LeaseFor / 2
)

// Lease is what one gateway may spend.
type Lease struct {
	Gateway string `json:"gateway"`
	Session uint64 `json:"session"`        // of the gateway: another one has crashed
	Seq     uint64 `json:"seq"`            // of the newest settlement in it
	Amount  int64  `json:"amount"`         // counter: may still be spent. share: units per window, or slots
	Want    int64  `json:"want,omitempty"` // as asked
	Least   int64  `json:"least,omitempty"`
	Goal    int64  `json:"goal,omitempty"`  // share: the fair part, to which the gateway lowers itself; Amount may be above or below
	Until   int64  `json:"until,omitempty"` // share: its end, in Unix milliseconds by the log's clock
}

// Balance is what is spent and leased of one limit. The zero Balance with its ID is a fresh one. It is immutable: Settle returns another.
type Balance struct {
	ID
	Start  int64   `json:"start,omitempty"`  // of the day or month, in Unix milliseconds; 0 for other windows
	Spent  int64   `json:"spent,omitempty"`  // counter: settled, or forfeited by a crash
	Leases []Lease `json:"leases,omitempty"` // by gateway and session
}

// Ask is what a gateway says about one limit in a settlement: what it used, and what it wishes to hold.
type Ask struct {
	ID
	Start int64 `json:"start,omitempty"` // of the window that Spent and Hold belong to: the Balance's when the gateway saw it
	Spent int64 `json:"spent,omitempty"` // counter: used since its last settlement
	Hold  int64 `json:"hold,omitempty"`  // of what it had, beyond Spent: it keeps to that until it sees this settlement applied
	Want  int64 `json:"want,omitempty"`  // that the lease should be
	Least int64 `json:"least,omitempty"` // a lease below it is of no use; 0 and 1 are the same
}

// Validate refuses an ask that no gateway would send: an amount out of range, or a window that does not fit the meter.
func (a Ask) Validate() error {
	if err := fits(a.Meter, a.Window); err != nil {
		return err
	}
	if min(a.Spent, a.Hold, a.Want, a.Least) < 0 || max(a.Spent, a.Hold, a.Want, a.Least) > MaxAmount {
		return fmt.Errorf("quota: ask about %s: an amount is out of range", a.ID)
	}
	return nil
}

// Mark is the newest settlement of a gateway that the log holds. Settlements of a gateway are applied once and in order: sessions grow
// with each start, Seq grows in a session.
type Mark struct{ Session, Seq uint64 }

// Before says whether a settlement is newer than the mark, so that it is to be applied.
func (m Mark) Before(session, seq uint64) bool {
	return session > m.Session || session == m.Session && seq > m.Seq
}

// Settle returns the balance after one gateway's ask, at a time of the log in Unix milliseconds. The caller applies each settlement
// once and in order (Mark); an older one that comes here in spite of that changes nothing as long as the lease is there.
func (b Balance) Settle(now int64, limit Limit, gateway string, session, seq uint64, a Ask) Balance {
	at, found := b.find(gateway, session)
	if found && seq <= b.Leases[at].Seq {
		return b
	}
	before := b.Leases
	b.Leases = make([]Lease, 0, len(before)+1)
	if start := b.Window.Start(now); start > b.Start {
		b.Start, b.Spent, before = start, 0, nil // what was leased of the window before belongs to it
	}
	mine := Lease{Gateway: gateway, Session: session}
	for _, l := range before {
		switch {
		case l.Gateway == gateway && l.Session == session:
			mine = l
		case b.Window.Counter() && l.Gateway == gateway && l.Session < session:
			b.Spent += l.Amount // a crash forfeits the lease: nobody knows what was spent of it
		case !b.Window.Counter() && now >= b.gone(l):
		default:
			if l.Gateway == gateway && l.Session < session {
				l.Want = 0 // what is left of the crashed session ends by itself, and wants no part
			}
			b.Leases = append(b.Leases, l)
		}
	}
	hold := int64(0)
	if a.Start == b.Start {
		spent := max(0, a.Spent)
		if b.Window.Counter() {
			b.Spent += spent
			mine.Amount = max(0, mine.Amount-spent)
		}
		hold = clamp(a.Hold, 0, mine.Amount)
	}
	mine.Seq, mine.Amount, mine.Want, mine.Least = seq, hold, clamp(a.Want, 0, limit.Amount), clamp(a.Least, 0, MaxAmount)
	if b.Window.Counter() {
		mine.Amount += b.cut(limit, mine)
		return b.with(mine)
	}
	mine.Until = now + LeaseFor.Milliseconds()
	return b.share(now, limit, mine)
}

// cut is what a counter adds to a lease: what is wanted, but at most a fair part of what is left, unless that would be of no use.
func (b Balance) cut(limit Limit, mine Lease) int64 {
	left, wanting := b.Free(limit)-mine.Amount, int64(1)
	for _, l := range b.Leases {
		if l.Want > 0 {
			wanting++
		}
	}
	missing, least := mine.Want-mine.Amount, mine.Least-mine.Amount
	if left <= 0 || missing <= 0 || least > left {
		return 0
	}
	return min(missing, max(left/wanting, least, 1))
}

// share divides a rate or slots, writes everybody's goal, and moves the asking gateway's share up to its own as far as others leave it.
func (b Balance) share(now int64, limit Limit, mine Lease) Balance {
	free := b.Free(limit)
	b = b.with(mine)
	divide(now, limit.Amount, b.Leases)
	if at, found := b.find(mine.Gateway, mine.Session); found {
		l := &b.Leases[at]
		l.Amount = max(l.Amount, min(l.Goal, free))
	}
	return b
}

// Free is what is neither spent nor leased; less than 0 if the limit was lowered since.
func (b Balance) Free(limit Limit) int64 {
	free := limit.Amount - b.Spent
	for _, l := range b.Leases {
		free -= l.Amount
	}
	return free
}

// Lease finds the lease of a session; the zero Lease if it has none.
func (b Balance) Lease(gateway string, session uint64) Lease {
	if at, found := b.find(gateway, session); found {
		return b.Leases[at]
	}
	return Lease{}
}

// with puts a lease where it belongs, or leaves it out if it is empty and wants nothing. b.Leases is the caller's own, and has room.
func (b Balance) with(l Lease) Balance {
	if at, _ := b.find(l.Gateway, l.Session); l.Amount > 0 || l.Want > 0 && len(b.Leases) < MaxLeases {
		b.Leases = slices.Insert(b.Leases, at, l)
	}
	if len(b.Leases) == 0 {
		b.Leases = nil
	}
	return b
}

func (b Balance) find(gateway string, session uint64) (int, bool) {
	return slices.BinarySearchFunc(b.Leases, gateway, func(l Lease, gateway string) int {
		return cmp.Or(cmp.Compare(l.Gateway, gateway), cmp.Compare(l.Session, session))
	})
}

// gone is when nothing that was done with a share counts any more: a unit taken at its end counts for a window after it.
func (b Balance) gone(l Lease) int64 {
	after := b.Window.Length()
	if b.Window == None {
		after = slotGrace
	}
	return l.Until + after.Milliseconds()
}

func clamp(x, low, high int64) int64 { return max(low, min(x, high)) }
