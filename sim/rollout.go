package sim

import (
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
)

// numbered is a version of the model that a random rollout is about.
func numbered(n int) cluster.VersionID { return cluster.VersionID{Model: "m0", Number: n} }

const name = "m0" // that clients call: publishing makes it

// RandomRollout makes a fleet of random size under load, which lets a second version of a model answer: as a canary, by a flip, or because the name follows the
// newest version; guarded, through random faults. The second version fails a random share of its requests, or none.
func RandomRollout(c Config) *World {
	w := New(c)
	before, after := numbered(1), numbered(2)
	for range 3 + w.rng.IntN(3) {
		w.AddNode(gpu.Bytes(100+w.rng.IntN(100)) * gpu.MiB)
	}
	w.listen()
	w.publish(before, 2, 10*gpu.MiB)
	wide := func(d *cluster.Deployment) { d.Serving.Slots = 4 }
	w.after(time.Second, "wish", func() { w.serveVersion(before, before.String(), 2, wide) })
	guard := &cluster.Guard{Requests: 20, WindowSeconds: 60, ErrorPercent: 10}
	plan, percent, bad := w.rng.IntN(3), 20+w.rng.IntN(60), 0
	if w.chance(60) {
		bad = 30 + w.rng.IntN(70)
	}
	w.flaws[after] = bad
	rollout := cluster.Rollout{Guard: guard, Follow: plan == 2, Retire: w.rng.IntN(2) * 10}
	w.after(6*time.Second, "guard", func() { w.roll(rollout) })
	w.after(7*time.Second, "load", func() {
		w.streams = append(w.streams, &stream{w: w, model: before.Model, alias: name, tenant: cluster.DefaultTenant})
		w.Load(before.Model, cluster.DefaultTenant, 10, 1, 100*time.Millisecond, 0)
	})
	w.after(10*time.Second, "release", func() {
		w.publish(after, 2, 10*gpu.MiB)
		w.after(time.Second, "wish", func() { w.serveVersion(after, after.String(), 2, wide) })
	})
	switch plan {
	case 0:
		w.after(16*time.Second, "canary", func() {
			r := rollout
			r.Canary = &cluster.Canary{Version: after, Percent: percent}
			w.roll(r)
		})
	case 1:
		w.after(16*time.Second, "flip", func() { w.point(after) })
	}
	for range w.rng.IntN(4) {
		w.after(w.between(8*time.Second, FaultsFor), "fault", func() {
			lasts := w.between(time.Second, 6*time.Second)
			if n := w.anyNode(); w.chance(50) {
				n.stop()
				w.ends(lasts, "node restart", n.start)
			} else if l := w.log.leader; l != nil {
				l.crash("while it leads")
			}
		})
	}
	return w
}

// point has the name mean a version.
func (w *World) point(v cluster.VersionID) {
	w.submit("point "+name+" at "+v.String(), func(s cluster.State) []cluster.Command {
		a, _ := s.Alias(name)
		if a.Target == v {
			return nil
		}
		return []cluster.Command{cluster.PutAlias{Name: name, Target: v, Was: a.Rev, Force: true}}
	})
}

// roll says how the name is rolled out.
func (w *World) roll(r cluster.Rollout) {
	w.submit("roll out "+name, func(s cluster.State) []cluster.Command {
		a, ok := s.Alias(name)
		if !ok {
			return nil
		}
		if r.Canary != nil {
			r.Canary.Since = cluster.Millis(w.now.UnixMilli())
		}
		return []cluster.Command{cluster.SetRollout{Name: name, Rollout: &r, Was: a.Rev, Force: true}}
	})
}

// checkChoice: a gateway sends requests only to what the name means in the state that it has.
func (w *World) checkChoice(g *gateway, alias string, v cluster.VersionID) {
	a, _ := g.state.Alias(alias)
	if r := a.Rollout; a.Target != v && (r == nil || r.Canary == nil || r.Canary.Version != v) {
		w.fail("gateway %s sends a request for %s to %s, which was withdrawn", g.id, alias, v)
	}
}

// checkRollback: only what fails is taken back.
func (w *World) checkRollback(was cluster.State, c cluster.RollbackAlias) {
	a, _ := was.Alias(c.Name)
	tried := a.Target
	if r := a.Rollout; r != nil && r.Canary != nil {
		tried = r.Canary.Version
	}
	if w.flaws[tried] == 0 {
		w.fail("%s is taken back, and nothing is wrong with it", tried)
	}
}

// checkRetired: what a name means is served on.
func (w *World) checkRetired(was cluster.State, c cluster.DeleteDeployment) {
	for a := range was.Aliases() {
		if r := a.Rollout; a.Target == c.Version || r != nil && r.Canary != nil && r.Canary.Version == c.Version {
			w.fail("%s is served no more, and %s means it", c.Version, a.Name)
		}
	}
}

// RolledOut ends every fault, gives the guard a time to judge, and says whether the name means what it should: not what fails.
func (w *World) RolledOut(judged time.Duration) error {
	w.heal()
	if err := w.Run(judged); err != nil {
		return err
	}
	after := numbered(2)
	a, ok := w.facts.state.Alias(name)
	canary := cluster.VersionID{}
	if a.Rollout != nil && a.Rollout.Canary != nil {
		canary = a.Rollout.Canary.Version
	}
	switch {
	case !ok:
		w.fail("the name was never made")
	case w.flaws[after] > 0 && (a.Target == after || canary == after):
		w.fail("%s fails %d %% of its requests, and %s still leads there", after, w.flaws[after], name)
	case w.flaws[after] == 0 && a.Target != after && canary != after:
		w.fail("nothing is wrong with %s, and %s does not lead there", after, name)
	}
	for _, g := range w.gateways {
		if err := g.request(a.Target.String()); err != nil {
			w.fail("%s has no answer for %s: %w", g.id, a.Target, err)
		}
	}
	return w.broken
}
