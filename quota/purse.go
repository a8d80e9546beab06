package quota

import "time"

// staleAfter is how long after it asked for a share a purse may spend it.
const staleAfter = LeaseFor / 2

// renewAfter is how long a share that is as it should be is left without a settlement.
const renewAfter = LeaseFor / 4

// Moment is one reading of a gateway's two clocks.
type Moment struct {
	Mono time.Duration // monotonic, since some time before the Till was made
	Wall int64         // Unix milliseconds
}

// Purse is what one gateway may spend of one limit. It belongs to a Till.
//
// What it admits keeps the limit together with all other purses of the same balance:
//
//   - day, month, life: the amounts taken in a window of the balance are never more than Amount. A gateway spends nothing of a window
//     that has ended by its own clock, nor of one that the log has ended and it knows.
//   - second, minute: in any interval of that length, aligned or not, never more than Amount is taken. A unit counts from when it is
//     taken until a window's length later, and a fiftieth of that for the rounding; the burst is the whole share. A gateway gives
//     back no part of a share that it used in the last window, so a unit that moves to another gateway is one that nobody used for a window.
//   - concurrent: never more than Amount are taken and not returned, if the gateway ends requests that are Overdue; else only the
//     slots of a gateway that was cut off from the coordinators for longer than LeaseFor come on top.
//
// Only use beyond what was reserved comes on top of a limit (Receipt.Done), and a limit that was lowered binds a gateway from when it
// follows the change. Clocks are trusted to run at the same speed, and the log's not to jump ahead by more than LeaseFor/2.
type Purse struct {
	id    ID
	till  *Till
	limit Limit
	gone  bool // there is no such limit any more: nothing is refused
	known bool // the limit and the balance were seen

	start, end int64  // of the window that everything below belongs to
	rolled     uint64 // tick of the till at which that began

	may   int64         // what may be used, until there is news
	fresh time.Duration // when the settlement was cut that may comes from

	asking bool  // about this in the settlement under way
	flight int64 // counter: spent, as said in it
	cutAt  time.Duration

	spent    int64    // counter: used up since the last cut
	reserved int64    // counter and slots: taken and not done
	recent   *sliding // rates

	demand demand
	listed bool // in Till.active

	// as of the newest state
	lease   Lease
	settled int64 // Balance.Spent
	free    int64 // what nobody holds
	over    int64 // by how much the leases exceed a limit that was lowered
	wanting int64 // gateways that want something
}

func newPurse(id ID, till *Till) *Purse {
	p := &Purse{id: id, till: till, end: id.Window.End(0)}
	if length := id.Window.Length(); length > 0 {
		p.recent = newSliding(length)
	}
	return p
}

// ID names the limit.
func (p *Purse) ID() ID { return p.id }

// Limit is the limit as of the newest state.
func (p *Purse) Limit() Limit { return p.limit }

func (p *Purse) counter() bool { return p.id.Window.Counter() }

// used is what counts against may.
func (p *Purse) used(now time.Duration) int64 {
	if p.recent == nil {
		return p.spent + p.reserved
	}
	p.recent.advance(now)
	return p.recent.sum
}

// room is what may be taken now.
func (p *Purse) room(now Moment) int64 {
	switch {
	case p.gone:
		return MaxAmount
	case p.counter() && now.Wall >= p.end, !p.counter() && p.stale(now.Mono):
		return 0
	}
	return max(0, p.fair()-p.used(now.Mono))
}

// fair is what may be used without keeping from others what is theirs: a gateway above its goal takes nothing until it is below, so
// that requests that end there make room elsewhere.
func (p *Purse) fair() int64 {
	if p.counter() {
		return p.may - p.over
	}
	return min(p.may-p.over, p.lease.Goal)
}

func (p *Purse) stale(now time.Duration) bool { return now-p.fresh > staleAfter }

// take takes n, for which there is room.
func (p *Purse) take(now Moment, n int64) {
	if p.gone {
		return
	}
	p.till.list(p)
	p.demand.advance(now.Mono)
	p.demand.note(n, p.used(now.Mono), true)
	if p.recent != nil {
		p.recent.add(n)
	} else {
		p.reserved += n
	}
}

// done ends a reservation of took at a moment and tick, of which used was used.
func (p *Purse) done(now Moment, at time.Duration, tick uint64, took, used int64) {
	switch {
	case p.gone:
	case p.counter():
		if tick > p.rolled { // else it belongs to a window that is over
			p.till.list(p)
			p.reserved, p.spent = max(0, p.reserved-took), min(p.spent+used, MaxAmount)
		}
	case p.recent == nil:
		p.till.list(p)
		p.reserved = max(0, p.reserved-took)
	case used < took:
		p.recent.advance(now.Mono)
		p.recent.remove(at, took-used)
	case used > took:
		p.till.list(p)
		p.recent.advance(now.Mono)
		p.recent.add(min(used-took, MaxAmount))
	}
}

// wish is what the purse would like to hold beyond what it must, from about two seconds of demand, and the least that is of use.
func (p *Purse) wish(now time.Duration) (want, least int64) {
	p.demand.advance(now)
	used, asked, least := p.used(now), p.demand.asked(), p.demand.smallest()
	switch {
	case p.counter():
		want = p.reserved + 2*asked
		least += p.reserved
	case asked == 0:
		want = used
	case p.recent == nil:
		want = max(p.demand.peak(), used+p.demand.refused())
		want += max(1, want/4)
	default: // what two more seconds will take, but no more than a window's worth and a quarter
		window := asked * int64(p.id.Window.Length()/time.Second)
		want = max(used, p.demand.peak(), min(used+2*asked, window+window/4+1))
	}
	return min(want, MaxAmount), min(least, MaxAmount)
}

// ask is what the purse would settle now.
func (p *Purse) ask(now time.Duration) Ask {
	a := Ask{ID: p.id, Start: p.start}
	a.Want, a.Least = p.wish(now)
	if !p.counter() {
		used := p.used(now)
		a.Hold = max(0, min(p.may, max(used, min(p.fair(), a.Want))))
		return a
	}
	a.Spent = p.spent
	room := max(0, p.may-p.over-p.spent-p.reserved)
	if p.reserved+room < a.Least { // too little for any request: somebody else may need just that
		room = 0
	}
	a.Hold = p.reserved + min(room, a.Want-p.reserved)
	return a
}

// due says whether there is anything to settle.
func (p *Purse) due(now Moment, a Ask) bool {
	switch {
	case p.gone:
		return false
	case a.Want == 0 && p.lease.Want > 0:
		return true
	case p.counter():
		more := a.Want > a.Hold && (p.free > 0 || p.lease.Want == 0 || now.Wall >= p.end)
		return more || a.Spent > 0 || a.Hold < p.may
	}
	more := a.Want > p.may && (p.free > 0 || p.lease.Goal > p.may || p.lease.Want < a.Want)
	return more || a.Hold < p.may || a.Want > 0 && now.Mono-p.fresh >= renewAfter
}

// cut begins a settlement: from now on the purse keeps to what it will say it holds.
func (p *Purse) cut(now time.Duration, a Ask) {
	p.asking, p.flight, p.cutAt = true, a.Spent, now
	p.may, p.spent = a.Hold, 0
}

// follow takes over what the state says; settled says that the settlement under way was applied in it. Without that a purse may only
// lose by it, so a state that is a little older than one that was followed before does no harm.
func (p *Purse) follow(b Balance, limit Limit, settled bool) {
	p.limit, p.known = limit, true
	p.lease = b.Lease(p.till.gateway, p.till.session)
	if b.Start > p.start { // only a counter's: what was spent and reserved before stays in the window before
		p.start, p.end, p.rolled = b.Start, p.id.Window.End(b.Start), p.till.tick
		p.spent, p.reserved, p.flight = 0, 0, 0
	}
	if p.asking && settled {
		p.may, p.fresh, p.asking, p.flight = p.lease.Amount, p.cutAt, false, 0
	} else {
		p.may = min(p.may, p.lease.Amount)
	}
	free := b.Free(limit)
	p.settled, p.free, p.over, p.wanting = b.Spent, max(0, free), max(0, -free), 0
	for _, l := range b.Leases {
		if l.Want > 0 {
			p.wanting++
		}
	}
}

// idle says that the purse holds nothing and wants nothing, here and in the state.
func (p *Purse) idle() bool {
	return p.gone || !p.asking && p.may == 0 && p.spent == 0 && p.reserved == 0 && p.lease == (Lease{})
}

// Remaining is at most how much more can be taken in the window: for counters everywhere, for shares at this gateway. Purses that
// took nothing for a while do not follow the state: theirs is from when they last did.
func (p *Purse) Remaining(now Moment) int64 {
	switch {
	case p.gone || !p.known:
		return p.limit.Amount
	case p.counter():
		return clamp(p.limit.Amount-p.settled-p.flight-p.spent-p.reserved, 0, p.limit.Amount)
	}
	return clamp(p.fair()-p.used(now.Mono)+p.free, 0, p.limit.Amount)
}

// Reset is how long until Remaining is the whole limit again if nothing more is taken, 0 if that does not come by itself.
func (p *Purse) Reset(now Moment) time.Duration {
	switch {
	case p.recent != nil:
		p.recent.advance(now.Mono)
		return p.recent.below(now.Mono, 0)
	case p.counter():
		return p.untilEnd(now)
	}
	return 0
}

func (p *Purse) untilEnd(now Moment) time.Duration {
	if p.end == Never {
		return 0
	}
	return time.Duration(max(0, p.end-now.Wall)) * time.Millisecond
}

// Overdue is how many slots are taken that the coordinators may by now have given to others, because there was no news from them for
// LeaseFor: so many requests must end for the limit to hold. 0 for other meters.
func (p *Purse) Overdue(now Moment) int64 {
	switch {
	case p.gone || p.id.Meter != Concurrent || p.reserved == 0:
		return 0
	case now.Mono-p.fresh > LeaseFor:
		return p.reserved
	}
	return max(0, p.reserved-p.may)
}
