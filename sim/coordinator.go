package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/scheduler"
)

// coordinator is a voter: it applies the log, and leads at times.
type coordinator struct {
	w       *World
	id      cluster.NodeID
	number  int
	up      bool
	life    int // grows with each start
	state   cluster.State
	applied int // entries
	loop    *scheduler.Loop
	term    uint64    // in which it believes to lead; 0 = it does not
	reached time.Time // when it last reached a majority as a leader
	since   time.Time // when it began to lead
	skew    time.Duration
	wake    uint64 // number of the wake-up that counts
	reports map[cluster.NodeID]heardReport
	stalled bool // it applies nothing
	lost    bool // the blobs on its disk are gone
}

// heardReport is the newest report of a node.
type heardReport struct {
	cluster.Report
	at time.Time
}

func newCoordinator(w *World, i int) *coordinator {
	return &coordinator{w: w, id: cluster.NodeID(fmt.Sprintf("c%d", i+1)), number: i, up: true, skew: w.skew(), loop: scheduler.New(w.Scheduler), reports: map[cluster.NodeID]heardReport{}}
}

// catchUp applies the first n entries of the log, and returns the errors of the last one.
func (c *coordinator) catchUp(n int) []error {
	var errs []error
	for c.applied < n && !c.stalled {
		e := c.w.log.entries[c.applied]
		c.applied++
		if c.w.Plant.SkipEntry && c.number == 1 && c.applied == 9 {
			e.envelope.Txns = nil
		}
		before := c.state
		c.state, errs = cluster.Apply(c.state, e.index, e.envelope)
		c.w.committed(before, c.state, e, errs)
	}
	return errs
}

func (c *coordinator) lead(term uint64) {
	c.term, c.reached, c.since = term, c.w.now, c.w.now
	clear(c.reports)
	if c.w.Plant.ForgetScale {
		c.rescale()
	}
	c.step(scheduler.Input{})
}

func (c *coordinator) resign() {
	c.w.trace("%s leads no more", c.id)
	c.depose()
	c.step(scheduler.Input{})
}

// step runs the loop and does what it says.
func (c *coordinator) step(in scheduler.Input) {
	if !c.up {
		return
	}
	w := c.w
	in.State, in.Term = c.state, c.term
	if w.Plant.IgnoreDrain {
		in.State = undrained(in.State)
	}
	if w.Plant.IgnoreBars {
		in.State = unbarred(in.State)
	}
	out := c.loop.Step(w.now.Add(c.skew), in)
	life := c.life
	if len(out.Txns) > 0 {
		w.propose(c, c.term, out.Txns, func(index cluster.Index, errs []error) {
			commit := scheduler.Commit{Proposal: out.Proposal, Index: index}
			if index == 0 {
				commit.Failed = "leadership lost"
			}
			for _, err := range errs {
				if err != nil {
					commit.Rejected = append(commit.Rejected, err.Error())
				}
			}
			c.step(scheduler.Input{Commits: []scheduler.Commit{commit}})
		})
	}
	for _, p := range out.Probes {
		w.probe(c, p)
	}
	for _, id := range out.Refresh {
		c.tell(id)
	}
	c.wake++
	if number := c.wake; !out.NextWake.IsZero() {
		w.after(out.NextWake.Sub(w.now.Add(c.skew)), "wake", func() {
			if c.life == life && c.wake == number {
				c.step(scheduler.Input{})
			}
		})
	}
}

// tell sends a node what it should hold.
func (c *coordinator) tell(id cluster.NodeID) {
	n := c.w.node(id)
	if n == nil || c.term == 0 {
		return
	}
	d := c.loop.Desired(c.state, id)
	c.w.send(c.id, id, "desired", func() { n.desired(c, d) })
}

// hear takes a report from a node.
func (c *coordinator) hear(n *node, r cluster.Report) {
	if !c.up {
		return
	}
	if c.term == 0 {
		if l := c.w.log.leader; l != nil {
			c.w.send(c.id, n.id, "redirect", func() { n.redirect(l) })
		}
		return
	}
	c.reports[n.id] = heardReport{r, c.w.now}
	c.step(scheduler.Input{Reports: []cluster.Report{r}})
	c.tell(n.id)
}

// probe has every coordinator reach for a node.
func (w *World) probe(c *coordinator, p scheduler.ProbeRequest) {
	life := c.life
	n := w.node(p.Node)
	for _, by := range w.coordinators {
		wait := w.between(time.Millisecond, 2*w.net.slow)
		alive := n != nil && n.up && by.up && w.net.both(by.id, n.id) && !w.chance(w.net.loss)
		if !alive {
			wait += 500 * time.Millisecond
		}
		if w.Plant.AlwaysAlive {
			alive = true
		}
		w.after(wait, "probe", func() {
			if c.up && c.life == life && by.up && w.net.both(c.id, by.id) {
				c.step(scheduler.Input{Probes: []scheduler.ProbeResult{{Node: p.Node, By: by.id, Round: p.Round, Alive: alive}}})
			}
		})
	}
}

// crash ends the process and starts it again after a while.
func (c *coordinator) crash(when string) {
	c.w.trace("%s crashes %s", c.id, when)
	c.stop()
	c.w.after(c.w.between(200*time.Millisecond, 4*time.Second), "restart", c.start)
}

func (c *coordinator) stop() {
	c.up = false
	c.depose()
	c.life++
}

// depose ends a leadership; if it was the true one, another is elected in time.
func (c *coordinator) depose() {
	c.term = 0
	if c.w.log.leader == c {
		c.w.log.leader = nil
	}
}

// start begins anew from a snapshot, as after a crash.
func (c *coordinator) start() {
	if c.up {
		return
	}
	var b bytes.Buffer
	if _, err := c.state.WriteTo(&b); err != nil {
		c.w.fail("%s: snapshot: %w", c.id, err)
		return
	}
	state, err := cluster.Read(&b)
	if err != nil {
		c.w.fail("%s: snapshot: %w", c.id, err)
		return
	}
	c.up, c.state, c.skew, c.loop = true, state, c.w.skew(), scheduler.New(c.w.Scheduler)
}

// undrained is a state in which draining nodes are ready: a planted bug.
func undrained(s cluster.State) cluster.State {
	for n := range s.Nodes() {
		if n.Status == cluster.NodeDraining {
			next, _ := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: []cluster.Command{
				cluster.SetNodeStatus{ID: n.ID, Status: cluster.NodeReady, Was: n.Rev},
			}}}})
			s = next
		}
	}
	return s
}

// unbarred is a state without the quarantines that somebody has to lift: a planted bug.
func unbarred(s cluster.State) cluster.State {
	for q := range s.Quarantines() {
		if q.Until != 0 {
			continue
		}
		s, _ = cluster.Apply(s, s.Index()+1, cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: []cluster.Command{cluster.DeleteQuarantine{ID: q.QuarantineID, Was: q.Rev}}}}})
	}
	return s
}

// rescale lets a new leader begin with one replica of everything that follows demand: a planted bug.
func (c *coordinator) rescale() {
	var txns []cluster.Txn
	for d := range c.state.Deployments() {
		if d.Need != nil && d.Wanted() > 1 {
			txns = append(txns, cluster.Txn{Do: []cluster.Command{cluster.SetScale{Version: d.Version, Replicas: max(1, d.Need.Min), Was: d.Rev}}})
		}
	}
	if len(txns) > 0 {
		c.w.propose(c, c.term, txns, func(cluster.Index, []error) {})
	}
}
