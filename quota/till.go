package quota

import "slices"

// MaxAsks bounds the asks of one settlement. Purses that found no place go first in the next.
const MaxAsks = 2048

// Till is all purses of one gateway, and the protocol of their settlements: one is under way at a time, and it is repeated as it is
// until the state says that it was applied. One goroutine at a time uses it and its wallets; the caller has a lock.
//
//	w := till.Wallet(ids, books)             what a principal's requests for a model need; kept until limits are added or deleted
//	receipt, refusal := w.Take(now, cost)    before a request; on Short: Follow, Cut and Follow what came of it, then Take again
//	receipt.Done(now, used)                  after it
//	settlement, ok := till.Cut(now, false)   about once a second, and at once after a Short refusal; send it to the leader
//	till.Follow(mark, books)                 before each Cut, and when the state has moved after one
type Till struct {
	gateway string
	session uint64
	tick    uint64 // grows with every take
	purses  map[ID]*Purse
	active  []*Purse // those that hold or want something

	flight     Settlement // under way if it has a Seq
	seq        uint64     // of the newest settlement that was cut
	applied    uint64     // of the newest that was applied
	superseded bool
}

// Settlement is what a gateway asks in one go.
type Settlement struct {
	Session, Seq uint64
	Asks         []Ask
}

// Books finds the balance and the limit of an id in a state; false if there is no such limit. A balance that is not there yet is the
// zero Balance with the ID.
type Books func(ID) (Balance, Limit, bool)

// NewTill makes the till of a gateway that starts. The session must be greater than any that this gateway had: the greater of the
// time and the Mark's session + 1 will do.
func NewTill(gateway string, session uint64) *Till {
	return &Till{gateway: gateway, session: session, purses: map[ID]*Purse{}}
}

// Wallet makes a wallet for limits. Those that do not exist are left out.
func (t *Till) Wallet(ids []ID, books Books) *Wallet {
	w := &Wallet{till: t}
	for _, id := range ids {
		b, limit, ok := books(id)
		if !ok {
			continue
		}
		p := t.purses[id]
		if p == nil {
			p = newPurse(id, t)
			t.purses[id] = p
		}
		if !p.listed {
			p.follow(b, limit, false)
		}
		w.purses = append(w.purses, p)
	}
	slices.SortFunc(w.purses, func(a, b *Purse) int { return a.id.Compare(b.id) })
	w.purses = slices.Compact(w.purses)
	return w
}

// list puts a purse among those that are settled and follow the state. What it knows of the state is old until it has followed.
func (t *Till) list(p *Purse) {
	if !p.listed {
		p.listed, p.known = true, false
		t.active = append(t.active, p)
	}
}

// Cut returns the settlement to send: the one under way if there is one, else a new one; false if there is nothing to settle and
// always is not set (a caller that has other things to settle under the same number sets it).
func (t *Till) Cut(now Moment, always bool) (Settlement, bool) {
	if t.superseded {
		return Settlement{}, false
	}
	if t.flight.Seq != 0 {
		return t.flight, true
	}
	s := Settlement{Session: t.session, Seq: t.seq + 1}
	var waiting, asked []*Purse
	for _, p := range t.active {
		if len(s.Asks) == MaxAsks {
			waiting = append(waiting, p)
			continue
		}
		if a := p.ask(now.Mono); p.due(now, a) {
			p.cut(now.Mono, a)
			s.Asks = append(s.Asks, a)
		} else if p.idle() {
			p.listed = false
			continue
		}
		asked = append(asked, p)
	}
	t.active = append(waiting, asked...)
	if len(s.Asks) == 0 && !always {
		return Settlement{}, false
	}
	t.seq, t.flight = s.Seq, s
	return s, true
}

// Follow takes over a state: mark is the newest settlement of this gateway in it. A state that lacks a settlement which was seen
// applied is left alone: another coordinator may be a little behind.
func (t *Till) Follow(mark Mark, books Books) {
	t.superseded = mark.Session > t.session
	if mark.Session == t.session && mark.Seq < t.applied || mark.Session < t.session && t.applied > 0 {
		return
	}
	settled := false
	if mark.Session == t.session {
		settled = t.flight.Seq != 0 && mark.Seq >= t.flight.Seq
		t.applied = mark.Seq
	}
	for _, p := range t.active {
		b, limit, ok := books(p.id)
		if !ok {
			p.gone = true
			delete(t.purses, p.id)
			continue
		}
		p.follow(b, limit, settled)
		if t.superseded {
			p.may = 0
		}
	}
	if settled {
		t.flight = Settlement{}
	}
}

// Superseded says that another process has this gateway's name and a newer session: this one may spend nothing more.
func (t *Till) Superseded() bool { return t.superseded }
