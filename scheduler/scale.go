package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/queueing"
)

// claim is a deployment whose replicas follow demand, while the leader decides how many it gets.
type claim struct {
	dep     cluster.Deployment
	flow    *flow
	slots   int     // of a replica
	assumed float64 // seconds of a service, where nothing is measured
	spread  float64 // squared coefficient of variation of the service times
	goals   []goal
	pattern pattern
	running int
	waiting int
	idle    bool // nobody has called for long, so it may end
	now     sizing
	window  sizing // for the demand of the window, and some more: nothing is given up below it
	least   int    // replicas that present demand, and some more, needs: beyond it they can be taken
	have    int    // replicas wanted so far
	want    int    // replicas wanted from now on
	class   string // of the reason
	because string // more about it, "" = nothing
}

// scale decides how many replicas the deployments have that follow demand. It looks once in each bin of time; in between, what was said stands.
func (d *decision) scale() {
	if d.was.Cluster().Feature < 2 {
		return // SetScale is not understood yet
	}
	var claims []*claim
	followed := map[string]bool{}
	look := !d.now.Before(d.soft.Looked.Add(d.width()))
	for dep := range d.was.Deployments() {
		if dep.Need == nil {
			continue
		}
		f := d.flow(dep.Version)
		followed[dep.Version.String()] = true
		d.loads(dep, &f)
		have := dep.Wanted()
		if seated := d.seated(dep); dep.Scale == nil && seated > have { // it was fixed until now: it goes on from there
			have, look = min(seated, dep.Need.Max), true
		}
		claims = append(claims, &claim{dep: dep, flow: &f, slots: max(dep.Serving.Slots, 1), have: have, want: have})
		look = look || dep.Wanted() == 0 && f.Called.After(d.soft.Looked) // a request waits for the first replica
	}
	for _, key := range sortedKeys(d.soft.Flows) {
		if !followed[key] {
			delete(d.soft.Flows, key)
		}
	}
	if len(claims) == 0 {
		return
	}
	if look {
		d.soft.Looked = d.now
		for _, c := range claims {
			d.judge(c)
		}
		d.allot(claims)
		for _, c := range claims {
			d.settle(c)
		}
	}
	for _, c := range claims {
		d.soft.Flows[c.dep.Version.String()] = *c.flow
		if c.flow.Said != "" {
			d.note("deployment "+c.dep.Version.String(), c.flow.Said)
		}
	}
	d.wakeAt(d.soft.Looked.Add(d.width()))
}

// loads measures how long replicas load.
func (d *decision) loads(dep cluster.Deployment, f *flow) {
	var loading []loadingSince
	for r := range d.was.ReplicasOf(dep.Version) {
		i := slices.IndexFunc(f.Loading, func(l loadingSince) bool { return l.Replica == r.ReplicaID && l.Epoch == r.Epoch })
		switch {
		case r.Status == cluster.Loading && i < 0:
			loading = append(loading, loadingSince{r.ReplicaID, r.Epoch, d.now})
		case r.Status == cluster.Loading:
			loading = append(loading, f.Loading[i])
		case r.Status == cluster.Ready && i >= 0:
			f.Load = max(d.now.Sub(f.Loading[i].Since), time.Millisecond)
		}
	}
	f.Loading = loading
}

// judge finds how many replicas a deployment wants for its own demand.
func (d *decision) judge(c *claim) {
	v, _ := d.was.Version(c.dep.Version)
	n, f := c.dep.Need, c.flow
	c.running, c.waiting = d.underWay(f)
	d.observe(c)
	first := int64(f.Since.Sub(d.soft.Since) / d.width())
	load := f.Load
	if load == 0 {
		load = d.LoadTime
	}
	c.pattern = f.pattern(f.arrivals(first, d.width()), d.width(), load)
	c.measure(v.Profile)

	backlog := float64(c.waiting) / max(load, d.Hold/6).Seconds() // to be worked off
	c.now = c.size(c.pattern.ahead + backlog)
	more := 1 + max(float64(d.Band)/100, 2*c.pattern.noise)
	c.window = c.size(max(c.pattern.peak, c.pattern.ahead) * more)
	c.idle = n.Min == 0 && c.running+c.waiting == 0 && d.now.Sub(later(f.Called, f.Since)) >= d.Idle && d.deaf() == "" && !d.active(c.dep)
	if c.least = c.bound(c.size(c.pattern.ahead*more + backlog)); d.deaf() != "" {
		c.least = c.have
	}

	now, window := c.bound(c.now), c.bound(c.window)
	switch called := d.called(c); {
	case c.have == 0 && !called:
		c.want, c.least, c.class = 0, 0, "idle"
	case c.have == 0:
		c.want, c.class = max(1, now), "called"
	case now > c.have:
		c.want, c.class = now, "more"
	case c.idle && c.have == 1:
		c.want, c.least, c.class = 0, 0, "idle"
	case window >= c.have:
		c.class = "fits"
	default:
		c.fall(d)
	}
}

// called says whether a request came after the last replica was given up: it waits now, or it did when this was last looked at.
func (d *decision) called(c *claim) bool {
	return c.waiting > 0 || c.running > 0 || c.flow.Called.After(c.flow.Fell) && d.now.Sub(c.flow.Called) < d.width()*time.Duration(recent(d.width()))
}

// bound keeps a size within the need.
func (c *claim) bound(s sizing) int {
	least := max(c.dep.Need.Min, 1)
	if c.idle {
		least = c.dep.Need.Min
	}
	return min(max((s.slots+c.slots-1)/c.slots, least), c.dep.Need.Max)
}

// fall gives one replica up, if that was not needed for long enough.
func (c *claim) fall(d *decision) {
	f := c.flow
	wait := d.Hold << f.Regrets
	next := later(later(f.Changed, f.Since), d.soft.Since).Add(wait)
	switch deaf := d.deaf(); {
	case deaf != "":
		c.class, c.because = "deaf", deaf
	case d.until(next):
		c.want, c.class = c.have-1, "less"
	default:
		c.class, c.because = "held", fmt.Sprintf("next look in %s", roughly(next.Sub(d.now)))
	}
}

// deaf says why this leader cannot know that demand is low; "" = it can.
func (d *decision) deaf() string {
	heard := d.now.Sub(d.soft.Since)
	if heard < d.Hold {
		return fmt.Sprintf("a new leader listens for %s first", d.Hold)
	}
	fresh := false
	for _, g := range sortedKeys(d.soft.Gateways) {
		switch silent := d.now.Sub(d.soft.Gateways[g]); {
		case silent < d.LostAfter+2*time.Second:
			fresh = true
		case silent < d.Hold:
			return fmt.Sprintf("gateway %s is silent", g)
		}
	}
	if !fresh {
		return "no gateway says what is asked"
	}
	return ""
}

// active says that a node works for a deployment.
func (d *decision) active(dep cluster.Deployment) bool {
	for r := range d.was.ReplicasOf(dep.Version) {
		for i := range r.Stages {
			if h, _ := d.soft.held(r, i); h.Active > 0 {
				return true
			}
		}
	}
	return false
}

// observe measures the service time of the last seconds.
func (d *decision) observe(c *claim) {
	f, ready := c.flow, d.routable(c.dep)
	if ready == 0 || f.waitedLately(d.width()) {
		return
	}
	var good, spent float64
	over := min(recent(d.width()), bins-1)
	for k := range over {
		if n := f.Newest - 1 - k; n >= 0 {
			b := f.Bins[n%bins]
			good, spent = good+b.Good, spent+b.Spent
		}
	}
	if good == 0 {
		return
	}
	window := d.width().Seconds() * float64(over)
	_, _, spread := f.Service.parts(false)
	line := queueing.Line{Rate: good / window, Arrivals: 1, Services: spread, Servers: ready * c.slots}
	seconds := line.Unqueued(spent / good) // some of that time they stood in a queue
	f.Service.observe(seconds*good/window/float64(ready), good/float64(over), seconds)
}

// settle commits what a claim got, and says why.
func (d *decision) settle(c *claim) {
	f := c.flow
	was, text := c.have, c.say()
	if s := c.dep.Scale; c.want != c.dep.Wanted() || s != nil && s.Replicas != c.want {
		if c.want != c.have {
			text += fmt.Sprintf("; was %d", was)
		}
		txn := cluster.Txn{Do: []cluster.Command{cluster.SetScale{Version: c.dep.Version, Replicas: c.want, Why: text, Was: c.dep.Rev}}, Asker: cluster.Asker{By: "scheduler"}}
		if !d.propose("deployment "+c.dep.Version.String(), txn) {
			return
		}
		if c.want != c.have {
			d.moved(c)
		}
		f.Said = ""
	}
	class, rate := fmt.Sprint(c.class, c.want, f.Short), c.pattern.rate
	news := class != f.Class && d.now.Sub(f.SaidAt) >= d.Hold/6 || (rate > 2*f.SaidOf || 2*rate < f.SaidOf) && d.now.Sub(f.SaidAt) >= d.Hold/2
	if f.Said == "" || news { // what is said again and again would drive other reasons out of the history
		f.Class, f.Said, f.SaidAt, f.SaidOf = class, text, d.now, rate
	}
}

// moved remembers a change. A step down that had to be taken back soon was wrong: the next one waits twice as long.
func (d *decision) moved(c *claim) {
	f := c.flow
	switch wait := d.Hold << f.Regrets; {
	case c.want < c.have:
		f.Fell = d.now
	case !f.Fell.IsZero() && f.Fell.After(f.Rose) && d.now.Sub(f.Fell) < 10*wait:
		f.Regrets, f.Rose = min(f.Regrets+1, maxRegrets), d.now
	default:
		if d.now.Sub(f.Changed) > 10*wait {
			f.Regrets = 0
		}
		f.Rose = d.now
	}
	f.Changed = d.now
}

// maxRegrets bounds the time between two steps down at 2^maxRegrets × Config.Hold.
const maxRegrets = 4

// say puts a decision in words: what is wanted, and the inputs that decided.
func (c *claim) say() string {
	n, f := c.dep.Need, c.flow
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", plural(c.want, "replica"))
	switch {
	case c.class == "idle":
		b.WriteString("nobody calls, and its minimum is 0")
	case c.class == "called" && c.pattern.ahead == 0:
		fmt.Fprintf(&b, "%s for the first", plural(max(c.waiting, 1), "request")+" waits")
	default:
		s := c.now
		if c.class == "held" || c.class == "deaf" || c.class == "less" || c.class == "fits" {
			fmt.Fprintf(&b, "%s requests/s, at most %s of late", figure(c.pattern.rate), figure(c.pattern.peak))
			s = c.window
		} else {
			fmt.Fprintf(&b, "%s requests/s", figure(c.pattern.ahead))
		}
		fmt.Fprintf(&b, ", %s each, %s needs %s", millis(c.seconds(1)*1000, s.service*1000), c.wish(), figure(float64(s.slots)/float64(c.slots)))
		if !s.met {
			b.WriteString(" so that hardly any waits: a request alone takes longer")
		}
		if c.waiting > 0 {
			fmt.Fprintf(&b, "; %d wait", c.waiting)
		}
	}
	switch {
	case c.want == n.Max && c.now.slots >= n.Max*c.slots:
		b.WriteString("; it is the maximum")
	case c.want == n.Min && c.want > 0 && c.window.slots <= (n.Min-1)*c.slots:
		b.WriteString("; it is the minimum")
	}
	if f.Short > 0 {
		fmt.Fprintf(&b, "; no room for %d more", f.Short)
	}
	if c.because != "" {
		b.WriteString("; " + c.because)
	}
	return b.String()
}

// wish is the need in words.
func (c *claim) wish() string {
	n := c.dep.Need
	var goals []string
	if n.FirstToken > 0 {
		goals = append(goals, fmt.Sprintf("a first token within %d ms", n.FirstToken))
	}
	if n.Latency > 0 {
		goals = append(goals, fmt.Sprintf("an answer within %d ms", n.Latency))
	}
	if len(goals) == 0 {
		goals = []string{"no longer wait than service"}
	}
	return fmt.Sprintf("%d %% with %s", percent(n), strings.Join(goals, " and "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// figure writes a number with two digits that matter.
func figure(x float64) string {
	if x >= 10 || x == math.Trunc(x) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}

// millis writes a time, or the range of it.
func millis(alone, busy float64) string {
	if busy < alone*1.1 {
		return figure(alone) + " ms"
	}
	return figure(alone) + " to " + figure(busy) + " ms"
}

// roughly rounds a time for people.
func roughly(t time.Duration) time.Duration {
	if t > 10*time.Second {
		return t.Round(time.Second)
	}
	return t.Round(100 * time.Millisecond)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
