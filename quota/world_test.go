package quota

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// world is gateways, a log and a network that loses, delays and repeats, around one limit. It counts what was really taken, and so
// knows when the limit was broken.
type world struct {
	rnd    *rand.Rand
	faults faults
	id     ID
	limit  Limit
	now    int64 // true time, Unix milliseconds
	skew   int64 // of the leader's clock
	logAt  int64 // the log's time
	states []state
	gates  []*gate
	net    []packet
	settle func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance

	counts  map[int64]int64 // counter: taken in the window that began then
	bound   map[int64]int64 // counter: the greatest limit in that window
	takes   []taking        // rates
	inUse   int64           // slots
	limits  []taking        // when a limit was set, and to what
	crashes int
}

// faults say what goes wrong; all are probabilities in percent a step.
type faults struct{ lose, repeat, cutOff, crash, elect, relimit int }

type taking struct{ at, n int64 }

type state struct {
	balance Balance
	limit   Limit
	marks   map[string]Mark
}

type packet struct {
	at   int64
	name string
	s    Settlement
}

type gate struct {
	name     string
	session  uint64
	till     *Till
	wallet   *Wallet
	skew     int64 // of its wall clock
	base     time.Duration
	seen     int   // state
	cutOff   int64 // until when
	next     int64 // settlement
	demand   int   // takes a step
	cost     int64
	receipts []held
}

type held struct {
	r     Receipt
	n     int64
	at    int64
	start int64
}

func (g *gate) moment(w *world) Moment {
	return Moment{Mono: g.base + time.Duration(w.now)*time.Millisecond - time.Duration(1_700_000_000)*time.Second, Wall: w.now + g.skew}
}

func newWorld(seed uint64, id ID, limit Limit, gates int, f faults) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), faults: f, id: id, limit: limit, counts: map[int64]int64{}, bound: map[int64]int64{}}
	w.now = 1_800_000_000_000 + w.rnd.Int64N(dayMillis)
	if (id.Window == Day || id.Window == Month) && w.rnd.IntN(2) == 0 {
		w.now = id.Window.End(id.Window.Start(w.now)) - w.rnd.Int64N(40_000) // the window rolls during the run
	}
	w.settle = func(w *world, b Balance, now int64, name string, s Settlement, a Ask) Balance {
		return b.Settle(now, w.limit, name, s.Session, s.Seq, a)
	}
	w.states = []state{{Balance{ID: id}, limit, map[string]Mark{}}}
	w.limits = []taking{{w.now, limit.Amount}}
	for i := range gates {
		g := &gate{name: fmt.Sprintf("g%02d", i), skew: w.between(-2000, 2000), base: time.Duration(w.rnd.Int64N(1e12)), cost: 1}
		w.gates = append(w.gates, g)
		w.start(g)
	}
	return w
}

func (w *world) between(low, high int64) int64 { return low + w.rnd.Int64N(high-low+1) }
func (w *world) chance(percent int) bool       { return w.rnd.IntN(100) < percent }
func (w *world) newest() *state                { return &w.states[len(w.states)-1] }

func (w *world) start(g *gate) {
	g.session++
	g.till, g.receipts = NewTill(g.name, g.session), nil
	g.wallet = g.till.Wallet([]ID{w.id}, w.books(g.seen))
	g.next = w.now + w.rnd.Int64N(1000)
}

func (w *world) books(at int) Books {
	s := &w.states[at]
	return func(ID) (Balance, Limit, bool) { return s.balance, s.limit, true }
}

// step lets some time pass, and what happens in it happen.
func (w *world) step(ms int64) error {
	w.now += ms
	w.logAt = max(w.logAt, w.now+w.skew)
	if w.chance(w.faults.elect) {
		w.skew = w.between(-2000, 2000)
	}
	if w.chance(w.faults.relimit) {
		w.relimit(w.between(0, 2*w.limit.Amount+2))
	}
	w.deliver()
	for _, g := range w.gates {
		if err := w.act(g); err != nil {
			return err
		}
	}
	return w.check()
}

func (w *world) relimit(amount int64) {
	w.limit.Amount = amount
	w.limits = append(w.limits, taking{w.now, amount})
	next := *w.newest()
	next.limit = w.limit
	w.states = append(w.states, next)
}

func (w *world) deliver() {
	slices.SortStableFunc(w.net, func(a, b packet) int { return int(a.at - b.at) })
	for len(w.net) > 0 && w.net[0].at <= w.now {
		p := w.net[0]
		w.net = w.net[1:]
		w.apply(p)
	}
}

func (w *world) apply(p packet) {
	next := *w.newest()
	if !next.marks[p.name].Before(p.s.Session, p.s.Seq) {
		return
	}
	for _, a := range p.s.Asks {
		if err := a.Validate(); err != nil {
			panic(err)
		}
		next.balance = w.settle(w, next.balance, w.logAt, p.name, p.s, a)
	}
	marks := map[string]Mark{p.name: {p.s.Session, p.s.Seq}}
	for name, m := range next.marks {
		if name != p.name {
			marks[name] = m
		}
	}
	next.marks = marks
	w.states = append(w.states, next)
}

func (w *world) act(g *gate) error {
	if w.chance(w.faults.crash) {
		w.inUse -= int64(len(g.receipts))
		w.crashes++
		w.start(g)
	}
	if w.chance(w.faults.cutOff) {
		g.cutOff = w.now + w.between(500, 25_000)
	}
	if w.now >= g.cutOff && w.chance(70) {
		g.seen += w.rnd.IntN(len(w.states) - g.seen)
		w.follow(g)
		if seen := g.seen; w.chance(w.faults.elect) { // another coordinator is behind
			g.seen = w.rnd.IntN(seen + 1)
			w.follow(g)
			g.seen = seen
		}
	}
	now := g.moment(w)
	for n := g.wallet.purses[0].Overdue(now); n > 0; n-- {
		w.done(g, len(g.receipts)-1, 0)
	}
	for i := len(g.receipts) - 1; i >= 0; i-- {
		if w.chance(30) {
			w.done(g, i, w.rnd.Int64N(g.receipts[i].n+1))
		}
	}
	for range g.demand {
		w.take(g, g.cost)
	}
	if w.now >= g.next {
		g.next = w.now + 1000
		if s, ok := g.till.Cut(g.moment(w), false); ok && w.now >= g.cutOff {
			w.send(g, s)
		}
	}
	return nil
}

func (w *world) send(g *gate, s Settlement) {
	if !w.chance(w.faults.lose) {
		w.net = append(w.net, packet{w.now + w.between(1, 300), g.name, s})
	}
	for w.chance(w.faults.repeat) {
		w.net = append(w.net, packet{w.now + w.between(1, 20_000), g.name, s})
	}
}

func (w *world) follow(g *gate) {
	g.till.Follow(w.states[g.seen].marks[g.name], w.books(g.seen))
}

func (w *world) take(g *gate, n int64) (bool, *Refusal) {
	cost := Cost{n, n, n, n}
	if w.id.Meter == Concurrent {
		cost.Concurrent = 1
	}
	r, refusal := g.wallet.Take(g.moment(w), cost)
	if refusal != nil {
		return false, refusal
	}
	h := held{r, n, w.now, g.wallet.purses[0].start}
	g.receipts = append(g.receipts, h)
	w.counts[h.start] += n
	w.takes = append(w.takes, taking{w.now, n})
	w.inUse++
	return true, nil
}

// done ends a receipt; what was not used is not counted.
func (w *world) done(g *gate, i int, used int64) {
	h := g.receipts[i]
	h.r.Done(g.moment(w), Cost{used, used, used, 1})
	g.receipts = slices.Delete(g.receipts, i, i+1)
	w.counts[h.start] -= h.n - used
	w.inUse--
	if at := slices.Index(w.takes, taking{h.at, h.n}); at >= 0 {
		w.takes[at].n = used
	}
}

// allowed is the greatest limit that was set since a time.
func (w *world) allowed(since int64) int64 {
	greatest := int64(0)
	for i, l := range w.limits {
		if i == len(w.limits)-1 || w.limits[i+1].at >= since {
			greatest = max(greatest, l.n)
		}
	}
	return greatest
}

// blind is for how long a limit that was lowered may not be known to a gateway, in milliseconds: one that is cut off longer has
// nothing to spend of a share.
const blind = 30_000

func (w *world) check() error {
	switch {
	case w.id.Window.Counter():
		for start, n := range w.counts {
			w.bound[start] = max(w.bound[start], w.allowed(max(start, w.limits[0].at)))
			if n > w.bound[start] {
				return fmt.Errorf("%d taken in the window that began at %d, %d are allowed", n, start, w.bound[start])
			}
		}
	case w.id.Window == None:
		if allowed := w.allowed(w.now - blind); w.inUse > allowed {
			return fmt.Errorf("%d slots in use, %d are allowed", w.inUse, allowed)
		}
	default:
		length, sum := w.id.Window.Length().Milliseconds(), int64(0)
		for i := len(w.takes) - 1; i >= 0; i-- {
			if w.takes[i].at < w.now-length { // both ends belong to the interval
				w.takes = slices.Delete(w.takes, 0, i+1)
				break
			}
			sum += w.takes[i].n
		}
		if allowed := w.allowed(w.now - length - blind); sum > allowed {
			return fmt.Errorf("%d taken in the %s until %d, %d are allowed", sum, w.id.Window, w.now, allowed)
		}
	}
	return nil
}

// chaos runs for a time with demand that changes.
func (w *world) chaos(steps int) error {
	for range steps {
		if w.chance(10) {
			g := w.gates[w.rnd.IntN(len(w.gates))]
			g.demand = w.rnd.IntN(2) * w.rnd.IntN(2+int(min(40, w.limit.Amount)))
			g.cost = 1
			if w.id.Meter == Tokens && w.chance(50) {
				g.cost = w.between(1, max(1, w.limit.Amount/2))
			}
		}
		if err := w.step(w.between(1, 400)); err != nil {
			return err
		}
	}
	return nil
}

// calm ends all faults and demand, and lets everything settle.
func (w *world) calm(ms int64) error {
	w.faults, w.skew = faults{}, w.logAt-w.now
	for _, g := range w.gates {
		g.cutOff, g.demand = 0, 0
		for len(g.receipts) > 0 {
			w.done(g, 0, g.receipts[0].n)
		}
	}
	return w.run(ms)
}

func (w *world) run(ms int64) error {
	for end := w.now + ms; w.now < end; {
		if err := w.step(50); err != nil {
			return err
		}
	}
	return nil
}
