package sim

import (
	"time"

	"github.com/skein-project/skein/cluster"
)

// raft is the log as a value: what is committed is one list, which coordinators follow. It promises what Raft promises and no more: one order, nothing
// committed is lost, a new leader has everything, a proposer may never learn what became of its entry.
type raft struct {
	entries []entry
	index   cluster.Index // of the newest entry; elections take an index too
	term    uint64
	leader  *coordinator // who commits in this term
	healthy time.Time    // when the leader last reached a majority
	counted int          // entries at the last tick
}

type entry struct {
	index    cluster.Index
	envelope cluster.Envelope
}

const (
	tickEvery = 250 * time.Millisecond // how often leadership and followers are looked after
	leaseTime = 500 * time.Millisecond // a leader without a majority steps down
	electTime = time.Second            // without a leader, another is elected
)

// MaxEntries is how many entries are believable between two ticks.
const MaxEntries = 50

// bootstrap makes the first leader and the first entry.
func (w *World) bootstrap() {
	e := cluster.Envelope{V: 1, At: cluster.Millis(w.now.UnixMilli()), Txns: []cluster.Txn{{Do: []cluster.Command{cluster.Init{ID: "sim", Feature: cluster.Feature}}}}}
	for _, c := range w.coordinators {
		e.Txns = append(e.Txns, cluster.Txn{Do: []cluster.Command{cluster.PutMember{Member: cluster.Member{
			ID: c.id, Name: string(c.id), Role: cluster.RoleCoordinator, Addr: string(c.id) + ":7000",
		}}}})
	}
	w.log.index = 1
	w.log.entries = append(w.log.entries, entry{index: 1, envelope: e})
	w.log.healthy = w.now
	for _, c := range w.coordinators {
		c.catchUp(1)
	}
}

// majority says that a coordinator reaches more than half of them, itself included.
func (w *World) majority(c *coordinator) bool {
	n := 0
	for _, o := range w.coordinators {
		if o.up && w.net.both(c.id, o.id) {
			n++
		}
	}
	return c.up && 2*n > len(w.coordinators)
}

// tick looks after leadership and lets followers catch up.
func (w *World) tick() {
	w.after(tickEvery, "tick", w.tick)
	l := &w.log
	if n := len(l.entries) - l.counted; n > MaxEntries {
		w.fail("%d entries within %s: something is decided again and again", n, tickEvery)
	}
	l.counted = len(l.entries)
	if l.leader != nil && w.majority(l.leader) {
		l.healthy = w.now
	} else if w.now.Sub(l.healthy) >= electTime || l.term == 0 {
		w.elect()
	}
	for _, c := range w.coordinators {
		switch reaches := w.majority(c); {
		case c.term == 0:
		case reaches && c == l.leader && c.term == l.term:
			c.reached = w.now
		case reaches, w.now.Sub(c.reached) >= leaseTime: // it hears of the newer term, or hears nobody
			c.resign()
		}
	}
	for _, c := range w.coordinators {
		if l.leader != nil && c != l.leader && c.up && w.majority(l.leader) && w.net.both(l.leader.id, c.id) {
			c.catchUp(len(l.entries))
		}
	}
	for _, g := range w.gateways {
		g.follow()
	}
}

// elect makes a random coordinator that reaches a majority the leader of the next term.
func (w *World) elect() {
	var able []*coordinator
	for _, c := range w.coordinators {
		if w.majority(c) {
			able = append(able, c)
		}
	}
	if len(able) == 0 {
		return
	}
	l := &w.log
	c := able[w.rng.IntN(len(able))]
	l.term++
	l.index++
	l.leader, l.healthy = c, w.now
	term, life := l.term, c.life
	w.trace("term %d: %s leads", term, c.id)
	w.after(w.between(5*time.Millisecond, 50*time.Millisecond), "barrier", func() {
		if c.up && c.life == life && l.leader == c && l.term == term {
			c.catchUp(len(l.entries))
			c.lead(term)
		}
	})
}

// propose tries to commit an entry for a leader of a term, and tells done what became of it. done is called at most once, and never if the proposer
// died in between.
func (w *World) propose(c *coordinator, term uint64, txns []cluster.Txn, done func(cluster.Index, []error)) {
	life := c.life
	alive := func() bool { return c.up && c.life == life }
	disk := w.between(500*time.Microsecond, 5*time.Millisecond)
	if w.luck.slowDisk {
		disk = w.between(50*time.Millisecond, 1500*time.Millisecond)
	}
	w.after(disk, "commit", func() {
		if !alive() {
			return
		}
		if w.log.leader != c || w.log.term != term || !w.majority(c) {
			w.after(leaseTime, "not committed", func() {
				if alive() {
					done(0, nil)
				}
			})
			return
		}
		if w.chance(w.luck.crash) {
			c.crash("before its entry")
			return
		}
		index := w.append(txns)
		if w.chance(w.luck.crash) {
			c.crash("after its entry")
			return
		}
		errs := c.catchUp(len(w.log.entries))
		for _, o := range w.coordinators {
			if o != c {
				n := len(w.log.entries)
				w.send(c.id, o.id, "append", func() {
					if o.up {
						o.catchUp(n)
						w.followers(o)
					}
				})
			}
		}
		w.followers(c)
		done(index, errs)
	})
}

// append puts an entry into the log, through its encoding.
func (w *World) append(txns []cluster.Txn) cluster.Index {
	if w.Plant.LoseReleases {
		txns = without[cluster.RemoveReplica](txns)
	}
	if w.Plant.NoGuard {
		txns = without[cluster.RollbackAlias](txns)
	}
	b, err := cluster.Encode(cluster.Envelope{V: 1, At: cluster.Millis(w.now.UnixMilli()), Txns: txns})
	if err != nil {
		w.fail("an entry that cannot be encoded: %w", err)
		return 0
	}
	e, err := cluster.Decode(b)
	if err != nil {
		w.fail("an entry that cannot be decoded: %w", err)
		return 0
	}
	w.log.index++
	w.log.entries = append(w.log.entries, entry{index: w.log.index, envelope: e})
	w.lines.Write(b)
	return w.log.index
}

// without leaves commands of a kind out.
func without[C cluster.Command](txns []cluster.Txn) []cluster.Txn {
	out := make([]cluster.Txn, len(txns))
	for i, t := range txns {
		for _, c := range t.Do {
			if _, ok := c.(C); !ok {
				out[i].Do = append(out[i].Do, c)
			}
		}
	}
	return out
}
