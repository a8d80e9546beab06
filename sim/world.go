// Package sim runs a whole fleet in one goroutine, from one seed, over the packages that decide.
//
// Coordinators, nodes and gateways are values that run the production loops (scheduler.Loop, agent.Loop, router.Table, cluster.Apply). What the shells
// around those loops do in production (Raft, the network, processes, disks) is modelled here, with faults. Everything happens as an event of one heap,
// ordered by time and then by number; every random number comes from one generator. So a seed has one trace.
package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/scheduler"
)

// Config is the size of a fleet and the source of its luck.
type Config struct {
	Seed         uint64
	Coordinators int           // default 3
	Gateways     int           // stand-alone, beside one on each coordinator; default 1
	Kind         gpu.Kind      // of every device; default gpu.Host
	Skew         time.Duration // that a process's clock differs from the true time at most; default 1 min
	Scheduler    scheduler.Config
	Plant        Plant
	Trace        io.Writer // gets a line per event; nil = only the hash of the lines is kept
}

// Plant holds known bugs, which tests plant to see that the checks find them. The zero value has none. Nothing of it is in production code.
type Plant struct {
	AnyEpoch     bool // workers serve requests of any epoch
	ForgetUnload bool // unloading a stage does not free its memory
	IgnoreDrain  bool // the scheduler takes draining nodes for ready ones
	IgnoreBars   bool // the scheduler knows of no quarantine that somebody has to lift
	EarlyReady   bool // nodes report stages ready while they load
	SkipEntry    bool // one coordinator loses an entry of the log
	AlwaysAlive  bool // probes find every node alive
	StaleRoutes  bool // gateways keep their first table
	LoseReleases bool // removing a replica frees nothing: the command is dropped from the log
	BothEpochs   bool // a worker keeps the duties of earlier epochs
	NoHysteresis bool // replicas follow demand without any pause
	NoPriority   bool // the scheduler takes all priorities for equal
	NoGuard      bool // no rollback is ever committed
	ForgetScale  bool // a new leader begins with one replica of everything that follows demand
}

// World is a fleet and its time.
type World struct {
	Config
	now    time.Time
	seq    uint64
	events queue
	rng    *rand.Rand
	lines  hash.Hash64
	count  int

	net          network
	log          raft
	coordinators []*coordinator
	nodes        []*node
	gateways     []*gateway

	names     map[cluster.NodeID]string // of nodes, for people
	flaws     map[cluster.VersionID]int // percent of the requests that a version fails
	certified map[cluster.NodeID]*papers
	store     store
	versions  int // versions published so far, for distinct manifests
	luck      luck
	healed    bool // no fault begins or ends any more
	facts     facts
	streams   []*stream
	listening bool           // gateways report demand
	ranks     map[string]int // priority of each model that follows demand, as it was wished
	benches   []*bench
	broken    error
}

// luck is how likely things go wrong by themselves, in percent.
type luck struct {
	fetchFails int
	loadFails  int
	crash      int // a coordinator dies around a commit, or a node around a load
	slowDisk   bool
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// New makes a world with coordinators and gateways and no nodes.
func New(c Config) *World {
	if c.Coordinators == 0 {
		c.Coordinators = 3
	}
	if c.Gateways == 0 {
		c.Gateways = 1
	}
	if c.Skew == 0 {
		c.Skew = time.Minute
	}
	w := &World{
		Config: c, now: epoch, rng: rand.New(rand.NewPCG(c.Seed, 0)), lines: fnv.New64a(), names: map[cluster.NodeID]string{}, certified: map[cluster.NodeID]*papers{}, store: store{spools: map[cluster.NodeID]cluster.Spool{}}, flaws: map[cluster.VersionID]int{}, ranks: map[string]int{},
		net: newNetwork(), facts: newFacts(),
	}
	for i := range c.Coordinators {
		w.coordinators = append(w.coordinators, newCoordinator(w, i))
	}
	w.bootstrap()
	for i := range c.Gateways {
		w.gateways = append(w.gateways, &gateway{w: w, id: cluster.NodeID(fmt.Sprintf("g%d", i+1))})
	}
	for _, co := range w.coordinators {
		w.gateways = append(w.gateways, &gateway{w: w, id: co.id, on: co})
	}
	w.after(0, "tick", w.tick)
	return w
}

// event is something that happens at a time; seq breaks ties in the order of making.
type event struct {
	at   time.Time
	seq  uint64
	what string
	do   func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// after makes something happen later.
func (w *World) after(d time.Duration, what string, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: w.now.Add(max(d, 0)), seq: w.seq, what: what, do: do})
}

// between is a random duration.
func (w *World) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)+1))
}

// skew is the difference of a process's clock. Clocks run on at the same pace: in production, durations are measured by the monotonic clock.
func (w *World) skew() time.Duration {
	return w.Skew / 1000 * time.Duration(w.rng.IntN(2001)-1000)
}

// chance is true so many times of a hundred.
func (w *World) chance(percent int) bool { return percent > 0 && w.rng.IntN(100) < percent }

// Run lets time pass until d from now, or until a check fails.
func (w *World) Run(d time.Duration) error {
	end := w.now.Add(d)
	for w.broken == nil && len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.count++
		w.trace("%s", e.what)
		e.do()
		if w.broken == nil {
			w.broken = w.check()
		}
	}
	if w.broken == nil {
		w.now = end
	}
	return w.broken
}

// Elapsed is the time since the world began.
func (w *World) Elapsed() time.Duration { return w.now.Sub(epoch) }

// Events is the number of events so far.
func (w *World) Events() int { return w.count }

// Sum is the hash of the trace so far: two runs of a seed have the same.
func (w *World) Sum() uint64 { return w.lines.Sum64() }

func (w *World) trace(format string, args ...any) {
	line := format
	if len(args) > 0 {
		line = fmt.Sprintf(format, args...)
	}
	var at [8]byte
	for i, n := 0, w.now.UnixNano(); i < 8; i++ {
		at[i] = byte(n >> (8 * i))
	}
	w.lines.Write(at[:])
	w.lines.Write([]byte(line))
	if w.Trace != nil {
		fmt.Fprintf(w.Trace, "%10.3f  %s\n", w.Elapsed().Seconds(), line)
	}
}

// fail records the first violation.
func (w *World) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf("sim: seed %d at %s: %w", w.Seed, w.Elapsed(), fmt.Errorf(format, args...))
		w.trace("VIOLATION %v", w.broken)
	}
}

// network is who can reach whom, and how well.
type network struct {
	cut       map[[2]cluster.NodeID]bool // directed
	loss      int                        // percent of the messages
	duplicate int                        // percent
	slow      time.Duration              // the longest delay
}

func newNetwork() network {
	return network{cut: map[[2]cluster.NodeID]bool{}, slow: 3 * time.Millisecond}
}

func (n *network) connected(a, b cluster.NodeID) bool {
	return a == b || !n.cut[[2]cluster.NodeID{a, b}]
}

// both says that requests and answers get through.
func (n *network) both(a, b cluster.NodeID) bool { return n.connected(a, b) && n.connected(b, a) }

// send delivers a message after a while, not at all, or twice. Messages overtake one another.
func (w *World) send(from, to cluster.NodeID, what string, deliver func()) {
	if !w.net.connected(from, to) || from != to && w.chance(w.net.loss) {
		return
	}
	n := 1
	if from != to && w.chance(w.net.duplicate) {
		n = 2
	}
	for range n {
		w.after(w.between(100*time.Microsecond, w.net.slow), what, func() {
			if w.net.connected(from, to) {
				deliver()
			}
		})
	}
}

// partition cuts a group off from all the others, or only from those listed.
func (w *World) partition(group, from []cluster.NodeID, oneWay bool) {
	for _, a := range group {
		for _, b := range from {
			if !slices.Contains(group, b) {
				w.net.cut[[2]cluster.NodeID{a, b}] = true
				if !oneWay {
					w.net.cut[[2]cluster.NodeID{b, a}] = true
				}
			}
		}
	}
}

func (w *World) ids() []cluster.NodeID {
	var list []cluster.NodeID
	for _, c := range w.coordinators {
		list = append(list, c.id)
	}
	for _, n := range w.nodes {
		list = append(list, n.id)
	}
	for _, g := range w.gateways {
		if g.on == nil {
			list = append(list, g.id)
		}
	}
	return list
}
