package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	daily = ID{Subject: "total", Meter: Requests, Window: Day}
	slots = ID{Subject: "total", Meter: Concurrent}
	rate  = ID{Subject: "total", Meter: Requests, Window: Second}
)

func limitOf(id ID, amount int64) Limit { return Limit{id.Meter, id.Window, amount} }

// quiet is a world without faults.
func quiet(id ID, amount int64, gates int) *world {
	return newWorld(1, id, limitOf(id, amount), gates, faults{})
}

// round lets every gateway settle once, in order, each seeing all that happened before it.
func (w *world) round() {
	w.now += 1000
	w.logAt = w.now
	for _, g := range w.gates {
		g.seen = len(w.states) - 1
		w.follow(g)
		if s, ok := g.till.Cut(g.moment(w), false); ok {
			w.apply(packet{name: g.name, s: s})
			g.seen = len(w.states) - 1
			w.follow(g)
		}
	}
}

// want makes a gateway try for n at once, and give back what it got.
func (w *world) want(g *gate, n int) (got int) {
	for range n {
		if ok, _ := w.take(g, 1); ok {
			got++
		}
	}
	return got
}

func (w *world) shares() (s []int64) {
	for _, g := range w.gates {
		s = append(s, w.newest().balance.Lease(g.name, g.session).Amount)
	}
	return s
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limit Limit
		text  string
		ok    bool
	}{
		{Limit{Requests, Day, 0}, "0 requests per day", true},
		{Limit{Requests, Life, MaxAmount}, "1125899906842624 requests per life", true},
		{Limit{Tokens, Minute, 5}, "5 tokens per minute", true},
		{Limit{Concurrent, None, 5}, "5 concurrent", true},
		{Limit{GPUMillis, Month, 5}, "5 gpu_ms per month", true},
		{Limit{GPUMillis, Second, 5}, "5 gpu_ms per second", false},
		{Limit{Concurrent, Day, 5}, "5 concurrent per day", false},
		{Limit{Requests, None, 5}, "5 requests", false},
		{Limit{Requests, Day, -1}, "-1 requests per day", false},
		{Limit{Requests, Day, MaxAmount + 1}, "1125899906842625 requests per day", false},
		{Limit{"calls", Day, 1}, "1 calls per day", false},
		{Limit{Requests, "hour", 1}, "1 requests per hour", false},
	} {
		if got := c.limit.String(); got != c.text {
			t.Errorf("%+v is %q, want %q", c.limit, got, c.text)
		}
		if err := c.limit.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.limit, err)
		}
	}
	for _, a := range []Ask{{ID: daily, Spent: -1}, {ID: daily, Want: MaxAmount + 1}, {ID: daily, Hold: -1}, {ID: ID{Meter: "x"}}} {
		if a.Validate() == nil {
			t.Errorf("%+v is taken for valid", a)
		}
	}
}

func TestWindows(t *testing.T) {
	at := func(s string) int64 {
		x, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return x.UnixMilli()
	}
	for _, c := range []struct {
		window          Window
		now, start, end string
	}{
		{Day, "2026-11-26T23:59:59.999Z", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"},
		{Day, "2026-11-27T00:00:00Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"},
		{Day, "1969-12-31T23:00:00Z", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00Z"},
		{Month, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{Month, "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		if start, end := c.window.Start(at(c.now)), c.window.End(c.window.Start(at(c.now))); start != at(c.start) || end != at(c.end) {
			t.Errorf("%s of %s: %d to %d", c.window, c.now, start, end)
		}
	}
	for _, w := range []Window{None, Second, Minute, Life} {
		if w.Start(at("2026-11-26T10:00:00Z")) != 0 || w.End(0) != Never {
			t.Errorf("%q begins or ends", w)
		}
	}
}

func TestIDs(t *testing.T) {
	ids := []ID{{"a", "", Requests, Day}, {"a", "", Requests, Month}, {"a", "", Tokens, Day}, {"a", "m", Requests, Day}, {"b", "", Requests, Day}}
	for i, a := range ids {
		for j, b := range ids {
			if got := a.Compare(b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
	if got := (ID{"app/acme/portal", "llama", Tokens, Day}).String(); got != "tokens per day of app/acme/portal for llama" {
		t.Error(got)
	}
}

// Attack 10: a hundred at once where one is left, at one gateway and at ten.
func TestHundredAtTheLastOne(t *testing.T) {
	for _, id := range kinds {
		for _, gates := range []int{1, 10} {
			w := quiet(id, 8, gates)
			admitted := 0
			for range 7 {
				for ok := false; !ok; w.round() {
					ok, _ = w.take(w.gates[0], 1)
				}
				admitted++
			}
			w.takes, w.inUse = nil, 0 // what is counted from here on is the hundred
			before := w.gates[0].wallet.purses[0].used(w.gates[0].moment(w).Mono)
			got := 0
			for i := range 100 {
				got += w.want(w.gates[i%gates], 1)
				if i%10 == 9 && id.Window != Second && id.Window != Minute {
					w.round()
				}
			}
			if id.Window == Second || id.Window == Minute { // no time passes
				if most := int(8 - before); got > most {
					t.Errorf("%s at %d gateways: %d, at most %d", id, gates, got, most)
				}
				continue
			}
			if got != 1 {
				t.Errorf("%s at %d gateways: %d of a hundred got the last one", id, gates, got)
			}
		}
	}
}

// With demand at one gateway only, all of a limit can be used, and not one more, though others held leases before.
func TestAllOfIt(t *testing.T) {
	for _, window := range []Window{Day, Month, Life} {
		w := quiet(ID{Meter: Requests, Window: window}, 1000, 5)
		taken := 0
		for range 3 {
			for _, g := range w.gates {
				taken += w.want(g, 7)
			}
			w.round()
		}
		for range 40 {
			taken += w.want(w.gates[3], 100)
			for _, g := range w.gates {
				for len(g.receipts) > 0 {
					w.done(g, 0, 1)
				}
			}
			w.round()
		}
		if taken != 1000 {
			t.Errorf("%d of 1000 per %s were admitted", taken, window)
		}
		if _, refusal := w.take(w.gates[3], 1); refusal == nil || refusal.Reason != Used {
			t.Errorf("one too many per %s: %v", window, refusal)
		} else if (refusal.RetryAfter == 0) != (window == Life) {
			t.Errorf("it may be asked again in %v in a %s", refusal.RetryAfter, window)
		}
	}
}

// Two settlements after demand has moved, the shares have too; what nobody wants is nobody's.
func TestSharesFollowDemand(t *testing.T) {
	w := quiet(slots, 90, 3)
	demand := func(n ...int) {
		for i, g := range w.gates {
			for len(g.receipts) > 0 {
				w.done(g, 0, 0)
			}
			w.want(g, n[i])
		}
	}
	rounds := func(n ...int) {
		for range 2 {
			demand(n...)
			w.round()
		}
		demand(n...)
		w.round()
	}
	rounds(200, 0, 0)
	if got := w.shares(); !slices.Equal(got, []int64{90, 0, 0}) {
		t.Errorf("one wants: %v", got)
	}
	rounds(200, 200, 200)
	if got := w.shares(); !slices.Equal(got, []int64{30, 30, 30}) {
		t.Errorf("all want: %v", got)
	}
	rounds(200, 5, 200)
	w.round()
	if got := w.shares(); got[1] < 5 || got[1] > 13 || got[0]-got[2] > 1 || got[0]+got[1]+got[2] < 88 {
		t.Errorf("one wants little: %v", got)
	}
	demand(0, 0, 0)
	for range 3 {
		w.round()
	}
	if got := w.newest().balance; got.Leases != nil {
		t.Errorf("nobody wants: %v", got.Leases)
	}
}

// A limit smaller than the number of gateways goes round.
func TestTurns(t *testing.T) {
	for _, id := range []ID{slots, rate} {
		w := quiet(id, 1, 4)
		got := make([]int, 4)
		for range 60 {
			for i, g := range w.gates {
				for len(g.receipts) > 0 {
					w.done(g, 0, 1)
				}
				got[i] += w.want(g, 3)
			}
			w.round()
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
		}
		if slices.Min(got) < 4 {
			t.Errorf("%s: in 60 s they got %v", id, got)
		}
	}
}

// Requests that cost more than a fair part get through at every gateway.
func TestLargeRequests(t *testing.T) {
	for _, window := range []Window{Second, Minute} {
		w := quiet(ID{Meter: Tokens, Window: window}, 1000, 4)
		got := make([]int, 4)
		for range 600 {
			for i, g := range w.gates {
				if ok, _ := w.take(g, 600); ok {
					got[i]++
				}
			}
			w.round()
			if err := w.check(); err != nil {
				t.Fatal(err)
			}
		}
		if slices.Min(got) < 1 {
			t.Errorf("per %s in 10 min they got %v", window, got)
		}
	}
	w := quiet(ID{Meter: Tokens, Window: Day}, 10_000, 4)
	for range 40 {
		for _, g := range w.gates {
			w.take(g, 3000)
		}
		w.round()
	}
	if got := w.counts[w.newest().balance.Start]; got != 9000 {
		t.Errorf("%d of 10000 went to requests for 3000", got)
	}
}

// A rate is nearly all usable, whether even or in bursts.
func TestRateIsUsable(t *testing.T) {
	for _, c := range []struct {
		window  Window
		seconds int
	}{{Second, 20}, {Minute, 600}} {
		w := quiet(ID{Meter: Requests, Window: c.window}, 600, 1)
		w.gates[0].demand, w.faults = 100, faults{}
		got := 0
		for range c.seconds * 20 {
			got += w.want(w.gates[0], 60)
			if err := w.step(50); err != nil {
				t.Fatal(err)
			}
			w.gates[0].demand = 0
		}
		if most := 600 * c.seconds / int(c.window.Length()/time.Second); got < most*9/10 {
			t.Errorf("%d of %d per %s", got, most, c.window)
		}
	}
}

// From when the gateways know of a lower limit they take no more than it allows.
func TestLowerLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SampledFrom(kinds).Draw(t, "limit")
		w := newWorld(rapid.Uint64().Draw(t, "seed"), id, limitOf(id, 300), rapid.IntRange(1, 6).Draw(t, "gateways"), faults{})
		if err := w.chaos(rapid.IntRange(1, 60).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
		w.relimit(rapid.Int64Range(0, 300).Draw(t, "lower"))
		for _, g := range w.gates {
			g.seen = len(w.states) - 1
			w.follow(g)
		}
		start := w.newest().balance.Start
		sum := func() int64 {
			switch {
			case id.Window.Counter():
				return w.counts[start]
			case id.Window == None:
				return w.inUse
			}
			n := int64(0)
			for _, k := range w.takes {
				if k.at >= w.now-id.Window.Length().Milliseconds() {
					n += k.n
				}
			}
			return n
		}
		before := sum()
		for range 5 {
			for _, g := range w.gates {
				g.cost = 1
				w.want(g, 100)
			}
			if most := max(before, w.limit.Amount); w.newest().balance.Start == start && sum() > most {
				t.Fatalf("%d, at most %d", sum(), most)
			}
			if id.Window.Length() == 0 {
				w.round()
			}
		}
	})
}

// The clock of a gateway that jumps stops its spending, and gives nobody anything twice.
func TestClockJumps(t *testing.T) {
	w := quiet(daily, 100, 1)
	g := w.gates[0]
	w.now, g.skew = daily.Window.Start(w.now)+3_600_000, 0
	w.want(g, 1)
	w.round()
	if got := w.want(g, 1); got != 1 {
		t.Fatal("no lease")
	}
	g.skew = 48 * 3_600_000
	if got := w.want(g, 1); got != 0 {
		t.Error("it spends yesterday's lease")
	}
	g.skew = -48 * 3_600_000
	if got := w.want(g, 1); got != 1 {
		t.Error("a clock that is late hinders nothing")
	}
	g.skew = 0
	for range 20 {
		w.want(g, 100)
		w.round()
	}
	if got := w.counts[w.newest().balance.Start]; got != 100 {
		t.Errorf("%d of 100", got)
	}
}

// A gateway without news stops spending shares, and later its slots are overdue; a process that was replaced spends nothing.
func TestWithoutNews(t *testing.T) {
	w := quiet(slots, 10, 1)
	g := w.gates[0]
	w.want(g, 4)
	w.round()
	w.want(g, 2)
	p := g.wallet.purses[0]
	w.now += staleAfter.Milliseconds()
	if got := w.want(g, 1); got != 1 {
		t.Error("it stops too early")
	}
	w.now++
	if _, r := w.take(g, 1); r == nil || r.Reason != Stale {
		t.Errorf("without news: %v", r)
	}
	if n := p.Overdue(g.moment(w)); n != 0 {
		t.Errorf("%d are overdue", n)
	}
	w.now += staleAfter.Milliseconds()
	if n := p.Overdue(g.moment(w)); n != 3 {
		t.Errorf("%d of 3 are overdue", n)
	}
	for range 2 {
		w.want(g, 1)
		w.round()
	}
	if got := w.want(g, 1); got != 1 || p.Overdue(g.moment(w)) != 0 {
		t.Errorf("with news again: %d", got)
	}
	w.done(g, 0, 0)
	g.till.Follow(Mark{g.session + 1, 1}, w.books(g.seen))
	if _, ok := g.till.Cut(g.moment(w), true); ok || w.want(g, 1) != 0 || !g.till.Superseded() {
		t.Error("a process that was replaced goes on")
	}
}

// What was taken yesterday is yesterday's, whenever it ends and whoever rolls the window.
func TestMidnight(t *testing.T) {
	for _, other := range []bool{false, true} {
		w := quiet(daily, 10, 2)
		g := w.gates[0]
		w.gates[0].skew, w.gates[1].skew = 0, 0
		w.now = daily.Window.End(daily.Window.Start(w.now)) - 3500
		for range 2 {
			w.want(g, 4)
			w.round()
		}
		w.done(g, 0, 1) // not settled before midnight
		old := slices.Clone(g.receipts)
		if len(old) != 3 {
			t.Fatalf("%d under way at midnight", len(old))
		}
		w.now += 2000
		if other {
			w.gates = w.gates[1:]
			w.want(w.gates[0], 1)
			w.round()
			w.gates = []*gate{g, w.gates[0]}
		}
		today := daily.Window.Start(w.now + 1000)
		for i := range 8 {
			w.want(g, 20)
			if i == 3 { // while today's are under way
				for _, h := range old {
					h.r.Done(g.moment(w), Cost{Requests: 1})
				}
			}
			w.round()
		}
		if got := w.counts[today]; got != 10 {
			t.Errorf("other %v: %d of 10 today", other, got)
		}
		g.receipts = slices.DeleteFunc(g.receipts, func(h held) bool { return h.start != today })
		for len(g.receipts) > 0 {
			w.done(g, 0, 1)
		}
		for range 4 {
			w.round()
		}
		if b := w.newest().balance; b.Spent != 10 || b.Leases != nil {
			t.Errorf("other %v: settled are %d of 10, leased is %v", other, b.Spent, b.Leases)
		}
	}
}

// A settlement that comes when its lease is long gone brings nothing back, and a session that crashed has no part in the division.
func TestGoneLeases(t *testing.T) {
	limit, ask := limitOf(slots, 90), Ask{ID: slots, Want: 100}
	b := Balance{ID: slots}.Settle(0, limit, "a", 1, 1, ask)
	late := LeaseFor.Milliseconds() + slotGrace.Milliseconds()
	if c := b.Settle(late-1, limit, "b", 1, 1, ask); c.Lease("b", 1).Amount != 0 || c.Lease("a", 1).Amount != 90 {
		t.Errorf("before it is gone: %v", c.Leases)
	}
	b = b.Settle(late, limit, "b", 1, 1, ask)
	ask.Hold = 90
	if b = b.Settle(late+1, limit, "a", 1, 2, ask); b.Free(limit) != 0 || b.Lease("a", 1).Amount != 0 {
		t.Errorf("too late: %v", b.Leases)
	}
	b = Balance{ID: slots}.Settle(0, limit, "a", 1, 1, Ask{ID: slots, Want: 10})
	b = b.Settle(1, limit, "a", 1, 2, Ask{ID: slots, Hold: 10, Want: 100})
	b = b.Settle(2, limit, "a", 1, 3, Ask{ID: slots, Hold: 10, Want: 100})
	b = b.Settle(3, limit, "a", 2, 1, Ask{ID: slots, Want: 100})
	if old, now := b.Lease("a", 1), b.Lease("a", 2); old.Goal != 0 || now.Goal != 90-old.Amount {
		t.Errorf("after a crash: %v", b.Leases)
	}
	if again := b.Settle(4, limit, "a", 2, 1, Ask{ID: slots}); again.Lease("a", 2) != b.Lease("a", 2) {
		t.Errorf("repeated: %v", again.Leases)
	}
}

// Two gateways that each hold too little for a request give it back, so that one of them gets enough.
func TestUselessRests(t *testing.T) {
	w := quiet(ID{Meter: Tokens, Window: Life}, 5000, 2)
	for range 3 {
		for _, g := range w.gates {
			w.take(g, 1250)
		}
		w.round()
	}
	for _, g := range w.gates {
		for len(g.receipts) > 0 {
			w.done(g, 0, 0)
		}
	}
	ok := [2]bool{}
	for range 6 {
		for i, g := range w.gates {
			if !ok[i] {
				ok[i], _ = w.take(g, 4000)
			}
		}
		w.round()
	}
	if ok[0] == ok[1] {
		t.Errorf("admitted: %v", ok)
	}
}

// A coordinator that is behind takes nothing from a gateway that was connected to one that was not.
func TestOlderState(t *testing.T) {
	w := quiet(daily, 10, 1)
	g := w.gates[0]
	for n := 1; n <= 4; n += 3 {
		w.want(g, n)
		w.round()
	}
	for g.seen = range 2 { // before the first settlement, and between the two
		w.follow(g)
	}
	if got := w.want(g, 5); got != 5 {
		t.Errorf("%d of 5: the lease is lost", got)
	}
}

// A limit that was raised is known to a gateway that had nothing to do with it for long.
func TestRaisedLimit(t *testing.T) {
	w := quiet(daily, 0, 1)
	g := w.gates[0]
	w.take(g, 1)
	w.round()
	if _, r := w.take(g, 1); r == nil || r.Reason != Large {
		t.Fatalf("nothing is allowed: %v", r)
	}
	for range 3 {
		w.round()
	}
	w.relimit(1)
	if _, r := w.take(g, 1); r == nil || r.Reason != Short {
		t.Errorf("a limit that was raised: %v", r)
	}
	w.round()
	if got := w.want(g, 5); got != 1 {
		t.Errorf("%d of 1", got)
	}
}

// Of several limits all are taken, or none; the refusal that lasts longest is told.
func TestWallet(t *testing.T) {
	tokens := ID{Subject: "key/k", Meter: Tokens, Window: Minute}
	limits := map[ID]Limit{daily: limitOf(daily, 5), slots: limitOf(slots, 2), tokens: limitOf(tokens, 1000)}
	balances, mark := map[ID]Balance{}, Mark{}
	books := func(id ID) (Balance, Limit, bool) {
		b := balances[id]
		b.ID = id
		limit, ok := limits[id]
		return b, limit, ok
	}
	now := Moment{Mono: time.Hour, Wall: 1_800_000_000_000}
	till := NewTill("g", 1)
	w := till.Wallet([]ID{tokens, daily, slots, slots, {Subject: "gone"}}, books)
	if len(w.Purses()) != 3 {
		t.Fatalf("%d purses", len(w.Purses()))
	}
	settle := func() {
		now.Mono, now.Wall = now.Mono+time.Second, now.Wall+1000
		till.Follow(mark, books)
		s, ok := till.Cut(now, false)
		if again, _ := till.Cut(now, true); ok && again.Seq != s.Seq {
			t.Fatal("another settlement while one is under way")
		}
		for _, a := range s.Asks {
			b, limit, _ := books(a.ID)
			balances[a.ID] = b.Settle(now.Wall, limit, "g", s.Session, s.Seq, a)
		}
		mark = Mark{s.Session, s.Seq}
		till.Follow(mark, books)
	}
	cost := Cost{Requests: 1, Tokens: 400, Concurrent: 1}
	if _, r := w.Take(now, cost); r == nil || r.Reason != Short {
		t.Fatalf("before the first settlement: %v", r)
	}
	settle()
	first, r := w.Take(now, cost)
	if r != nil {
		t.Fatal(r)
	}
	if _, r = w.Take(now, Cost{Requests: 1, Tokens: 1001, Concurrent: 1}); r == nil || r.Reason != Large || r.ID != tokens || r.RetryAfter != 0 {
		t.Errorf("too large: %v", r)
	}
	settle()
	second, r := w.Take(now, cost)
	if r != nil {
		t.Fatal(r)
	}
	settle()
	_, r = w.Take(now, cost)
	if r == nil || r.Reason != Used || r.ID != tokens || r.RetryAfter < 55*time.Second || r.RetryAfter > 62*time.Second {
		t.Errorf("tokens and slots used up: %+v", r)
	}
	if p := tightest(w, now, Requests); p.ID() != daily || p.Limit().Amount != 5 || p.Remaining(now) != 3 || p.Reset(now) != time.Duration(daily.Window.End(p.start)-now.Wall)*time.Millisecond {
		t.Errorf("requests: %d remain for %v", p.Remaining(now), p.Reset(now))
	}
	if p := tightest(w, now, GPUMillis); p != nil {
		t.Errorf("%s limits nothing", p.ID())
	}
	second.Done(now, Cost{})                        // it failed, and costs nothing
	first.Done(now, Cost{Requests: 1, Tokens: 100}) // it was shorter than it might have been
	settle()
	if p := tightest(w, now, Tokens); p.Remaining(now) != 900 {
		t.Errorf("%d tokens remain", p.Remaining(now))
	}
	if p := tightest(w, now, Requests); p.Remaining(now) != 4 {
		t.Errorf("%d requests remain", p.Remaining(now))
	}
	delete(limits, tokens)
	delete(limits, daily)
	settle()
	for range 2 {
		_, r := w.Take(now, cost)
		if r != nil {
			settle()
			_, r = w.Take(now, cost)
		}
		if r != nil {
			t.Errorf("limits that were deleted: %v", r)
		}
	}
	if _, r := w.Take(now, cost); r == nil || r.ID != slots {
		t.Errorf("two slots: %v", r)
	}
	Receipt{}.Done(now, cost)
}

// divide is max-min fair: nobody who has less than it wants could get more by taking from one who has more than it.
func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, 1e6).Draw(t, "now")
		amount := rapid.Int64Range(0, 60).Draw(t, "amount")
		leases := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Lease {
			return Lease{Want: rapid.Int64Range(0, 20).Draw(t, "want"), Amount: rapid.Int64Range(0, 5).Draw(t, "amount"), Until: now + 1}
		}), 0, 8).Draw(t, "leases")
		divide(now, amount, leases)
		divisible, wanted, given := amount, int64(0), int64(0)
		for _, l := range leases {
			wanted, given = wanted+l.Want, given+l.Goal
			if l.Want == 0 {
				divisible -= l.Amount
			}
			if l.Goal < 0 || l.Goal > l.Want {
				t.Fatalf("%+v", leases)
			}
		}
		if given != max(0, min(divisible, wanted)) {
			t.Fatalf("%d of %d are given, %d are wanted: %+v", given, divisible, wanted, leases)
		}
		for _, a := range leases {
			for _, b := range leases {
				if a.Goal < a.Want && b.Goal > a.Goal+1 {
					t.Fatalf("%+v could have some of %+v", a, b)
				}
			}
		}
	})
}

// sliding against a list of all takes.
func TestSliding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSliding(time.Second)
		type take struct {
			at time.Duration
			n  int64
		}
		var all []take
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond
			s.advance(now)
			if n := rapid.Int64Range(0, 9).Draw(t, "n"); len(all) > 0 && n == 0 {
				last := &all[len(all)-1]
				s.remove(last.at, last.n)
				last.n = 0
			} else {
				s.add(n)
				all = append(all, take{now, n})
			}
			least, most := int64(0), int64(0)
			for _, k := range all {
				if k.at >= now-time.Second {
					least += k.n
				}
				if k.at >= now-time.Second-time.Second/bins {
					most += k.n
				}
			}
			if s.sum < least || s.sum > most {
				t.Fatalf("at %v: %d, want %d to %d", now, s.sum, least, most)
			}
			n := rapid.Int64Range(0, 20).Draw(t, "below")
			then := *s
			if then.advance(now + s.below(now, n)); then.sum > n {
				t.Fatalf("%d after %v, want %d", then.sum, s.below(now, n), n)
			}
		}
	})
}

// bench is a till with a wallet like that of an ordinary request: eight limits, all with room.
func bench(tb testing.TB) (*Wallet, Moment) {
	var ids []ID
	for _, subject := range []string{"total", "tenant/acme", "app/acme/portal", "key/sk-ab12"} {
		ids = append(ids, ID{Subject: subject, Meter: Requests, Window: Second}, ID{Subject: subject, Model: "llama", Meter: Tokens, Window: Day})
	}
	till := NewTill("g", 1)
	balances := map[ID]Balance{}
	books := func(id ID) (Balance, Limit, bool) {
		b := balances[id]
		b.ID = id
		return b, limitOf(id, MaxAmount/8), true
	}
	w, now := till.Wallet(ids, books), Moment{Mono: time.Hour, Wall: 1_800_000_000_000}
	for range 2 {
		w.Take(now, Cost{Requests: MaxAmount / 16, Tokens: MaxAmount / 16})
		till.Follow(Mark{1, till.applied}, books)
		s, _ := till.Cut(now, true)
		for _, a := range s.Asks {
			b, limit, _ := books(a.ID)
			balances[a.ID] = b.Settle(now.Wall, limit, "g", 1, s.Seq, a)
		}
		till.Follow(Mark{1, s.Seq}, books)
	}
	if _, r := w.Take(now, Cost{1, 100, 0, 0}); r != nil {
		tb.Fatal(r)
	}
	return w, now
}

// A request that is admitted allocates nothing.
func TestNoAllocation(t *testing.T) {
	w, now := bench(t)
	if n := testing.AllocsPerRun(100, func() {
		r, refusal := w.Take(now, Cost{1, 100, 0, 0})
		if refusal != nil {
			t.Fatal(refusal)
		}
		r.Done(now, Cost{1, 50, 0, 0})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	w, now := bench(b)
	b.ReportAllocs()
	for b.Loop() {
		r, refusal := w.Take(now, Cost{1, 100, 0, 0})
		if refusal != nil {
			b.Fatal(refusal)
		}
		r.Done(now, Cost{1, 50, 0, 0})
		now.Mono += time.Microsecond
		if now.Mono > time.Hour+staleAfter {
			now.Mono = time.Hour
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	for _, id := range []ID{daily, rate} {
		b.Run(string(id.Window), func(b *testing.B) {
			names := []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "g9"}
			rnd := rand.New(rand.NewPCG(1, 1))
			balance, limit := Balance{ID: id}, limitOf(id, 1_000_000)
			now, seq := int64(1_800_000_000_000), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				now += 100
				balance = balance.Settle(now, limit, names[seq%10], 1, seq, Ask{ID: id, Start: balance.Start, Hold: 50, Want: rnd.Int64N(200_000), Least: 1})
			}
		})
	}
}

// tightest is the purse of a meter of which the smallest part remains, nil if there is none.
func tightest(w *Wallet, now Moment, m Meter) *Purse {
	var tightest *Purse
	lowest := 0.0
	for _, p := range w.Purses() {
		if p.id.Meter != m || p.gone {
			continue
		}
		part := float64(p.Remaining(now)) / float64(max(1, p.limit.Amount))
		if tightest == nil || part < lowest {
			tightest, lowest = p, part
		}
	}
	return tightest
}
