package gateway

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/wire"
)

// Pace of settling.
const (
	settleEvery  = time.Second           // also what a crash can lose of the bill at most, while coordinators answer or not
	settleSoon   = 20 * time.Millisecond // at least between two settlements
	settleWait   = 3 * time.Second       // for an answer
	farewellWait = 5 * time.Second       // for the last settlement of a gateway that stops
	quietFor     = 3 * time.Second       // after which a purse that nobody asked wants nothing any more
)

// Settler is where a gateway settles: the leader, wherever it is.
type Settler interface {
	Settle(ctx context.Context, r *wire.SettleRequest) error
}

// Account says in whose name a gateway settles.
type Account struct {
	Gateway cluster.NodeID
	Settler Settler
	Dir     string                // folder for usage that cannot be settled; it is made
	Upkeep  func() cluster.Upkeep // of a stand-alone gateway; nil = it is a coordinator's, which says so itself
}

// teller settles for a gateway: what was used goes to the leader, and what may be used comes back with the state.
type teller struct {
	Account
	s     *Server
	l     *ledger
	spool spool

	left    *wire.SettleRequest // of the process before, perhaps not applied
	session uint64              // at least
	seq     uint64              // of the settlement under way
	flight  []cluster.Used      // its usage
	from    string              // sealed file that the flight came from
	onDisk  bool                // there is an open file: every settlement is written there before it is sent
	noted   bool                // that another process has this gateway's name
}

// newTeller takes over what the process before left on the disk.
func (s *Server) newTeller(a Account) (*teller, error) {
	t := &teller{Account: a, s: s, l: s.ledger}
	var err error
	if t.spool, err = openSpool(a.Dir); err != nil {
		return nil, err
	}
	old, found, err := t.spool.read()
	if err != nil {
		return nil, err
	}
	if found {
		t.onDisk, t.session = true, old.Session+1
		if len(old.Flight) > 0 {
			t.left = &wire.SettleRequest{Session: old.Session, Seq: old.Seq, Usage: old.Flight}
		}
		t.l.mu.Lock()
		t.l.restore(old.Rows)
		t.l.mu.Unlock()
	}
	names, err := t.spool.sealed()
	t.onDisk = t.onDisk || len(names) > 0
	return t, err
}

// Settle settles for this gateway until ctx ends, and then once more. Until it runs, limits refuse everything that they are about.
func (s *Server) Settle(ctx context.Context, a Account) error {
	t, err := s.newTeller(a)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		t.follow(following)
	}()
	t.run(ctx)
	t.farewell(context.WithoutCancel(ctx))
	stop()
	<-followed
	return t.keep()
}

// restFor is how many times as long as the till took to follow a state it rests from those that change little for it.
const restFor = 10

// follow hands states to the till: at once where a settlement of this gateway was applied or limits were written, else when it has rested.
// Other gateways settle all the time, which moves what is free and nothing that this gateway holds, and its purses may be many.
func (t *teller) follow(ctx context.Context) {
	var last cluster.State
	var rested time.Time
	for {
		state, changed := t.s.live.Load()
		now := time.Now()
		var later <-chan time.Time
		if now.Before(rested) && !concerns(t.Gateway, last, state) {
			later = time.After(rested.Sub(now))
		} else if state.Index() != last.Index() || last.Index() == 0 {
			t.l.follow(state, t.Gateway)
			last, rested = state, time.Now().Add(restFor*time.Since(now))
		}
		select {
		case <-changed:
		case <-later:
		case <-ctx.Done():
			return
		}
	}
}

// concerns says that what a gateway may spend can differ in a newer state.
func concerns(gateway cluster.NodeID, last, state cluster.State) bool {
	return !state.SameLimits(last) || markOf(state, gateway) != markOf(last, gateway)
}

func (t *teller) run(ctx context.Context) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		t.turn(ctx, t.l.moment())
		t.s.cutOverdue()
		pause := time.NewTimer(settleSoon)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		select {
		case <-tick.C:
		case <-t.l.hurry:
		case <-ctx.Done():
			return
		}
	}
}

// turn settles once. It answers whether everything is settled.
func (t *teller) turn(ctx context.Context, now quota.Moment) (all bool) {
	t.open()
	demand := t.s.CutDemand()
	if t.left != nil { // before this session is known: then it could not be told any more whether it was applied
		if t.send(ctx, t.left) {
			t.left = nil
			t.tidy(true)
		} else {
			t.shelter()
		}
		return false
	}
	r, more := t.cut(now)
	r.Spool = t.s.records.tell()
	if r.Demand = demand; t.Upkeep != nil {
		r.Upkeep = t.Upkeep()
	}
	if !t.send(ctx, r) {
		t.shelter()
		return false
	}
	if r.Seq != 0 {
		t.flight, t.from = nil, ""
	}
	if t.onDisk {
		t.tidy(more)
	}
	return !more
}

// tidy brings the disk up to date after a settlement: what was settled is not there any more, what came since is.
func (t *teller) tidy(more bool) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	var err error
	if more {
		err = t.write()
	} else if err = t.spool.drop(); err == nil {
		t.onDisk = false
	}
	if err != nil {
		t.s.log.Error("the spool of usage is not up to date", "err", err)
	}
}

// open makes the till, once it is known what was applied.
func (t *teller) open() {
	if _, ok := t.s.live.Age(); !ok || t.l.till != nil || t.s.live.Now().Cluster().Feature < 2 {
		return
	}
	mark := markOf(t.s.live.Now(), t.Gateway)
	session := max(uint64(time.Now().UnixMilli()), mark.Session+1, t.session)
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	t.l.till = quota.NewTill(string(t.Gateway), session)
	t.session = session
}

// cut makes the next settlement, or the one under way again. more says that something is left for another.
func (t *teller) cut(now quota.Moment) (r *wire.SettleRequest, more bool) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	r = &wire.SettleRequest{}
	if t.l.till == nil {
		return r, true
	}
	if t.l.till.Superseded() && !t.noted {
		t.noted = true
		t.s.log.Error("another process settles in the name of this gateway: limits refuse everything", "gateway", t.Gateway)
	}
	waiting := len(t.l.usage) > 0 || t.onDisk
	cut, ok := t.l.till.Cut(now, waiting || t.seq == 0) // the first one makes this session known
	if !ok {
		return r, waiting
	}
	if cut.Seq != t.seq {
		t.seq = cut.Seq
		if err := t.load(); err != nil {
			t.s.log.Error("usage that was kept on the disk cannot be settled", "err", err)
		}
	}
	r.Session, r.Seq, r.Usage, r.Asks = cut.Session, cut.Seq, t.flight, cut.Asks
	sealed, err := t.spool.sealed()
	return r, len(t.l.usage) > 0 || err == nil && len(sealed) > 0
}

// load fills the settlement that was just cut: from memory or, where nothing is there, from the disk.
func (t *teller) load() error {
	t.flight, t.from = t.l.drain(cluster.MaxUsed), ""
	if !t.onDisk {
		return nil
	}
	if len(t.flight) == 0 {
		var err error
		if t.from, t.flight, err = t.spool.oldest(); err != nil {
			return err
		}
	}
	if err := t.write(); err != nil {
		t.l.restore(t.flight) // unwritten it could go on the bill twice
		t.flight = nil
		return err
	}
	if t.from == "" {
		return nil
	}
	return t.spool.forget(t.from)
}

// write keeps what is not settled on the disk. The caller holds the ledger's lock.
func (t *teller) write() error {
	rows := t.l.drain(len(t.l.usage))
	t.l.restore(rows)
	if t.left != nil {
		return t.spool.keep(spooled{Session: t.left.Session, Seq: t.left.Seq, Flight: t.left.Usage, Rows: rows})
	}
	return t.spool.keep(spooled{Session: t.session, Seq: t.seq, Flight: t.flight, Rows: rows, Sealed: t.from})
}

// shelter puts what no leader takes on the disk, so that a crash loses no more than an interval of it.
func (t *teller) shelter() {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if t.l.till == nil && len(t.l.usage) == 0 {
		return
	}
	var err error
	for len(t.l.usage) > maxUsage && err == nil {
		rows := t.l.drain(cluster.MaxUsed)
		if err = t.spool.seal(rows); err != nil {
			t.l.restore(rows)
		}
	}
	if err == nil {
		err = t.write()
	}
	t.onDisk = t.onDisk || err == nil
	t.l.full = err != nil && len(t.l.usage) > maxUsage
	if err != nil {
		t.s.log.Error("usage is not on the disk", "err", err)
	}
}

// send tells the leader. A settlement that can never be applied is sent without its usage, which then stands in the log of this process.
func (t *teller) send(ctx context.Context, r *wire.SettleRequest) bool {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	err := t.Settler.Settle(ctx, r)
	var refused *wire.Refused
	if errors.As(err, &refused) && refused.Code == connect.CodeInvalidArgument && len(r.Usage) > 0 {
		t.s.log.Error("usage was refused and is not on the bill", "why", refused.Why, "rows", r.Usage)
		t.flight, r.Usage = nil, nil
		err = t.Settler.Settle(ctx, r)
	}
	t.l.mu.Lock()
	t.l.cutOff = err != nil
	t.l.full = t.l.full && err != nil
	t.l.mu.Unlock()
	if err != nil {
		t.s.log.Debug("not settled", "err", err)
	}
	return err == nil
}

// farewell settles what is left, and gives back what this gateway holds.
func (t *teller) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewellWait)
	defer cancel()
	for ctx.Err() == nil {
		now := t.l.moment()
		now.Mono += quietFor
		_, changed := t.s.live.Load()
		t.l.follow(t.s.live.Now(), t.Gateway)
		t.l.mu.Lock()
		done := t.l.till == nil || len(t.l.usage) == 0 && t.flight == nil && t.l.till.Idle()
		t.l.mu.Unlock()
		if done && t.left == nil {
			return
		}
		if t.turn(ctx, now) {
			select {
			case <-changed:
			case <-time.After(settleSoon):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-time.After(settleSoon):
		case <-ctx.Done():
		}
	}
}

// keep writes what could not be settled before the process ends.
func (t *teller) keep() error {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	if len(t.l.usage) == 0 && t.flight == nil && t.left == nil {
		return nil
	}
	return t.write()
}
