package quota

import "time"

// Cost is what a request takes from each limit of a meter.
type Cost struct {
	Requests, Tokens, GPUMillis, Concurrent int64
}

// Of is the cost for a meter.
func (c *Cost) Of(m Meter) int64 {
	switch m {
	case Requests:
		return c.Requests
	case Tokens:
		return c.Tokens
	case GPUMillis:
		return c.GPUMillis
	case Concurrent:
		return c.Concurrent
	}
	return 0
}

// Wallet is the purses that the requests of one principal for one model need. Till.Wallet makes it.
type Wallet struct {
	till   *Till
	purses []*Purse
}

// Receipt is what a request took.
type Receipt struct {
	wallet *Wallet
	at     time.Duration
	tick   uint64
	cost   Cost
}

// Take takes the cost from all purses or from none. It reserves: the caller ends each Receipt with Done. Of several refusals it
// tells the one that lasts longest; Short only if no other.
func (w *Wallet) Take(now Moment, cost Cost) (Receipt, *Refusal) {
	for i, p := range w.purses {
		if n := cost.Of(p.id.Meter); n > 0 && n > p.room(now) {
			return Receipt{}, w.refuse(now, cost, i)
		}
	}
	w.till.tick++
	for _, p := range w.purses {
		if n := cost.Of(p.id.Meter); n > 0 {
			p.take(now, n)
		}
	}
	return Receipt{w, now.Mono, w.till.tick, cost}, nil
}

// refuse finds the refusal to tell, beginning at the first purse that has too little.
func (w *Wallet) refuse(now Moment, cost Cost, first int) *Refusal {
	var told Refusal
	for _, p := range w.purses[first:] {
		n := cost.Of(p.id.Meter)
		if n == 0 || n <= p.room(now) {
			continue
		}
		if r := p.refuse(now, n); told.Reason == "" || told.before(r) {
			told = r
		}
	}
	return &told
}

// before says that o is the harder refusal.
func (r Refusal) before(o Refusal) bool {
	if (r.Reason == Short) != (o.Reason == Short) {
		return r.Reason == Short
	}
	return r.RetryAfter != 0 && (o.RetryAfter == 0 || o.RetryAfter > r.RetryAfter)
}

// Done ends what a receipt reserved, once. used is what was used of it: what was not goes back (a request that failed may have used
// nothing), what was used beyond it counts too, and is all that can come on top of a limit. Concurrent always goes back whole.
func (r Receipt) Done(now Moment, used Cost) {
	if r.wallet == nil {
		return
	}
	for _, p := range r.wallet.purses {
		if took, use := r.cost.Of(p.id.Meter), used.Of(p.id.Meter); took > 0 || use > 0 {
			p.done(now, r.at, r.tick, took, max(0, use))
		}
	}
}

// Purses are the wallet's purses, in order of their ids.
func (w *Wallet) Purses() []*Purse { return w.purses }
