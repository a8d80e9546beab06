package quota

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var kinds = []ID{
	{Meter: Requests, Window: Day}, {Meter: Tokens, Window: Day}, {Meter: Tokens, Window: Month}, {Meter: Requests, Window: Life},
	{Meter: GPUMillis, Window: Life}, {Meter: Requests, Window: Second}, {Meter: Tokens, Window: Minute}, {Meter: Requests, Window: Minute},
	{Meter: Concurrent},
}

// Whatever is lost, delayed, repeated, crashed or set otherwise, the limit holds; then one gateway alone can use all of it.
func TestNeverAboveTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom(kinds).Draw(t, "limit")
		id.Subject = "total"
		percent := func(name string, most int) int { return rapid.IntRange(0, most).Draw(t, name) }
		f := faults{lose: percent("lose", 50), repeat: percent("repeat", 40), cutOff: percent("cutOff", 3),
			crash: percent("crash", 2), elect: percent("elect", 5), relimit: percent("relimit", 1)}
		limit := Limit{id.Meter, id.Window, rapid.Int64Range(0, 300).Draw(t, "amount")}
		w := newWorld(rapid.Uint64().Draw(t, "seed"), id, limit, rapid.IntRange(1, 10).Draw(t, "gateways"), f)
		if err := w.chaos(rapid.IntRange(1, 300).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
		if w.limit.Amount != limit.Amount && rapid.Bool().Draw(t, "restore") {
			w.relimit(limit.Amount)
		}
		if err := recovered(w); err != nil {
			t.Fatal(err)
		}
	})
}

// recovered says what is wrong with a world after its faults have ended.
func recovered(w *world) error {
	if err := w.calm(100_000); err != nil {
		return err
	}
	b := w.newest().balance
	if w.crashes == 0 && (len(b.Leases) > 0 || w.id.Window.Counter() && b.Spent != w.counts[b.Start]) {
		return fmt.Errorf("idle, but %d are settled of %d that were spent, and leased is %v", b.Spent, w.counts[b.Start], b.Leases)
	}
	g := w.gates[0]
	g.cost, g.demand = 1, 20
	from := w.now
	if err := w.run(3_000); err != nil {
		return err
	}
	if w.id.Window.Counter() {
		if err := w.run(60_000); err != nil {
			return err
		}
		for len(g.receipts) > 0 {
			w.done(g, 0, g.receipts[0].n)
		}
		g.demand = 2
		if err := w.run(30_000); err != nil {
			return err
		}
		b = w.newest().balance
		if w.crashes == 0 && b.Start <= from && w.counts[b.Start] < w.limit.Amount-2 {
			return fmt.Errorf("one gateway wants all, and %d of %d could be had", w.counts[b.Start], w.limit.Amount)
		}
		return nil
	}
	if got := w.newest().balance.Lease(g.name, g.session).Amount; got < min(w.limit.Amount, 8) {
		return fmt.Errorf("one gateway wants all, and its share is %d of %d", got, w.limit.Amount)
	}
	return nil
}

// flaws are bugs that the world must find.
var flaws = map[string]struct {
	id     ID
	settle func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance
}{
	"a share is lowered before its gateway knows": {ID{Meter: Concurrent}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		b = b.Settle(now, w.limit, name, s.Session, s.Seq, a)
		for i := range b.Leases {
			b.Leases[i].Amount = min(b.Leases[i].Amount, b.Leases[i].Goal)
		}
		return b
	}},
	"the same of a rate": {ID{Meter: Requests, Window: Second}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		b = b.Settle(now, w.limit, name, s.Session, s.Seq, a)
		for i := range b.Leases {
			b.Leases[i].Amount = min(b.Leases[i].Amount, b.Leases[i].Goal)
		}
		return b
	}},
	"settled twice": {ID{Meter: Requests, Window: Day}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		b = b.Settle(now, w.limit, name, s.Session, 2*s.Seq, a)
		return b.Settle(now, w.limit, name, s.Session, 2*s.Seq+1, a)
	}},
	"the window rolls for the lease, and not for its spending": {ID{Meter: Requests, Window: Day}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		next := b.Settle(now, w.limit, name, s.Session, s.Seq, a)
		if next.Start != b.Start {
			next.Leases, next.Spent = b.Leases, 0
			next.Start = b.Start
		}
		return next
	}},
	"a share ends as soon as it is not renewed": {ID{Meter: Requests, Window: Minute}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		for i := range b.Leases {
			if now >= b.Leases[i].Until {
				b.Leases = append(b.Leases[:i:i], b.Leases[i+1:]...)
				break
			}
		}
		return b.Settle(now, w.limit, name, s.Session, s.Seq, a)
	}},
	"a lease that is given back whole": {ID{Meter: Requests, Window: Life}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		a.Hold = 0
		return b.Settle(now, w.limit, name, s.Session, s.Seq, a)
	}},
	"a crash that gives the lease back": {ID{Meter: Requests, Window: Life}, func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		kept := b.Leases[:0:0]
		for _, l := range b.Leases {
			if l.Gateway != name || l.Session == s.Session {
				kept = append(kept, l)
			}
		}
		b.Leases = kept
		return b.Settle(now, w.limit, name, s.Session, s.Seq, a)
	}},
}

// The world finds planted bugs.
func TestFlawsAreFound(t *testing.T) {
	for name, flaw := range flaws {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			for seed := range uint64(400) {
				f := faults{lose: 20, repeat: 20, cutOff: 1, crash: int(seed % 2), elect: 2}
				w := newWorld(seed, flaw.id, Limit{flaw.id.Meter, flaw.id.Window, 1 + int64(seed%60)}, 2+int(seed%5), f)
				w.settle = flaw.settle
				if err := w.chaos(200); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
				if err := recovered(w); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
