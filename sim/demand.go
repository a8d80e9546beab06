package sim

import (
	"fmt"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/scheduler"
)

// RandomDemand makes a fleet of random size with two or three systems whose replicas follow demand, with random loads that change, and random faults and
// wishes for the first FaultsFor. The scheduler looks 20 s back.
func RandomDemand(c Config) *World {
	c.Scheduler.Hold, c.Scheduler.Idle = 20*time.Second, 30*time.Second
	w := New(c)
	for range 3 + w.rng.IntN(4) {
		w.AddNode(gpu.Bytes(60+w.rng.IntN(60)) * gpu.MiB)
	}
	for i := range 2 + w.rng.IntN(2) {
		model, tenant := fmt.Sprintf("m%d", i), fmt.Sprintf("t%d", i)
		w.Publish(model, 2, 10*gpu.MiB)
		w.Admit(tenant, 50+w.rng.IntN(200))
		takes := w.between(50*time.Millisecond, 300*time.Millisecond)
		limit := 6 * takes
		need := cluster.Need{Min: w.rng.IntN(2), Max: 1 + w.rng.IntN(4), Latency: limit.Milliseconds(), Percent: 90, Priority: 10 * w.rng.IntN(3)}
		w.after(time.Second, "wish", func() { w.Follow(model, tenant, need, 2) })
		change := func() {
			busy := w.rng.Float64() * float64(2*need.Max) // slots
			if w.chance(25) {
				busy = 0
			}
			w.Load(model, tenant, busy/takes.Seconds(), float64(1+w.rng.IntN(2)), takes, limit)
		}
		w.after(3*time.Second, "load", change)
		for range 1 + w.rng.IntN(2) {
			w.after(w.between(5*time.Second, FaultsFor), "load", change)
		}
	}
	for range 2 + w.rng.IntN(6) {
		w.after(w.between(5*time.Second, FaultsFor), "fault", w.fault)
	}
	return w
}

// Serves ends every fault and gives the fleet a time to follow its load. Then what can be kept is kept: nobody misses its need while there is room for
// a replica more, and nobody starves while a lower priority has more than its minimum.
func (w *World) Serves(after, measured time.Duration) error {
	w.heal()
	if err := w.Run(after); err != nil {
		return err
	}
	w.Measure()
	if err := w.Run(measured); err != nil {
		return err
	}
	s := w.facts.state
	if why := w.starves(s); why != "" {
		w.fail("%s", why)
	}
	for d := range s.Deployments() {
		if d.Need == nil {
			continue
		}
		if kept := w.Kept(d.Version.Model); kept < keptAtLeast && d.Wanted() < d.Need.Max && w.fits(s, d) {
			w.fail("%s keeps its times for %d %% of the requests with %d replicas, and there is room for another", d.Version, kept, d.Wanted())
		}
	}
	return w.broken
}

// keptAtLeast is the share of requests, in percent, that must keep a need of 90 % in a short measurement.
const keptAtLeast = 80

// naive sets the replicas of everything that follows demand by what runs at the moment: a planted bug.
func (c *coordinator) naive() {
	w := c.w
	w.after(time.Second, "naive", c.naive)
	if !c.up || c.term == 0 || w.now.Sub(c.since) < w.Scheduler.Hold/2 {
		return
	}
	for d := range c.state.Deployments() {
		if d.Need == nil {
			continue
		}
		running := 0
		for _, g := range w.gateways {
			for _, k := range g.desks {
				if k.Version == d.Version {
					running += k.Running + k.Waiting
				}
			}
		}
		n := min(max((running+d.Serving.Slots-1)/d.Serving.Slots, d.Need.Min), d.Need.Max)
		if n != d.Wanted() {
			w.propose(c, c.term, []cluster.Txn{{Do: []cluster.Command{cluster.SetScale{Version: d.Version, Replicas: n, Was: d.Rev}}}}, func(cluster.Index, []error) {
				c.step(scheduler.Input{})
			})
			return
		}
	}
}
