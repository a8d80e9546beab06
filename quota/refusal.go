package quota

import (
	"fmt"
	"time"
)

// Reason is why something was not taken.
type Reason string

// The reasons of a refusal.
const (
	// Short: this gateway has not enough, but more can be had. The caller settles at once and tries again instead of refusing.
	Short Reason = "short"
	// Used: the limit is used up for now.
	Used Reason = "used"
	// Large: the request asks for more than the limit ever allows.
	Large Reason = "large"
	// Stale: there was no news from the coordinators for so long that nothing of a share may be spent.
	Stale Reason = "stale"
)

// soon is after what time leases that others do not use are back.
const soon = 2 * time.Second

// Refusal says which limit did not allow a request.
type Refusal struct {
	ID         ID
	Limit      Limit
	Reason     Reason
	RetryAfter time.Duration // when it may be worth asking again; 0 = never by itself
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("quota: %s: %s of %s", r.Reason, r.Limit, r.ID.Subject)
}

// refuse notes that n was not admitted and says why.
func (p *Purse) refuse(now Moment, n int64) Refusal {
	r := Refusal{ID: p.id, Limit: p.limit}
	p.till.list(p)
	if p.known && n > p.limit.Amount {
		r.Reason = Large
		return r // no demand: no lease would help
	}
	p.demand.advance(now.Mono)
	used := p.used(now.Mono)
	p.demand.note(n, used, false)
	if p.counter() {
		r.Reason, r.RetryAfter = p.judgeCounter(now, n)
	} else {
		r.Reason, r.RetryAfter = p.judgeShare(now, n, used)
	}
	return r
}

func (p *Purse) judgeCounter(now Moment, n int64) (Reason, time.Duration) {
	switch {
	case !p.known || now.Wall >= p.end || n <= p.room(now)+p.free:
		return Short, soon
	case n <= p.Remaining(now): // leased to others
		return Used, soon
	}
	return Used, p.untilEnd(now)
}

func (p *Purse) judgeShare(now Moment, n, used int64) (Reason, time.Duration) {
	need := used + n
	switch {
	case !p.known:
		return Short, soon
	case p.may > 0 && p.stale(now.Mono):
		return Stale, soon
	case need <= p.fair()+p.free, need <= p.lease.Goal:
		return Short, soon
	case p.lease.Want < need && need <= p.limit.Amount/(p.wanting+1): // the others do not know yet that we need something
		return Short, soon
	case p.recent != nil && n <= p.fair():
		return Used, max(p.recent.below(now.Mono, p.fair()-n), time.Millisecond)
	}
	return Used, soon
}
