package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// Measure begins to count anew what Kept and Moves tell.
func (w *World) Measure() {
	for _, s := range w.streams {
		s.kept, s.missed = 0, 0
	}
	for i := range w.facts.scales {
		w.facts.scales[i].counted = 0
	}
}

// Kept is the share of a model's answers within the limit, in percent, of those since Measure; 100 if there were none.
func (w *World) Kept(model string) int {
	kept, all := 0, 0
	for _, s := range w.streams {
		if s.model == model {
			kept, all = kept+s.kept, all+s.kept+s.missed
		}
	}
	if all == 0 {
		return 100
	}
	return int(math.Floor(100 * float64(kept) / float64(all)))
}

// scales is how often the number of a deployment's replicas was changed.
type scales struct {
	version cluster.VersionID
	counted int // since Measure
	down    bool
	turns   []time.Time // changes of direction
}

// checkScale: a number within the need, and few changes of direction.
func (w *World) checkScale(before cluster.State, c cluster.SetScale) {
	d, _ := before.Deployment(c.Version)
	if d.Need == nil || c.Replicas < d.Need.Min || c.Replicas > d.Need.Max {
		w.fail("%s is to have %d replicas, its need is %+v", c.Version, c.Replicas, d.Need)
		return
	}
	i := slices.IndexFunc(w.facts.scales, func(s scales) bool { return s.version == c.Version })
	if i < 0 {
		i = len(w.facts.scales)
		w.facts.scales = append(w.facts.scales, scales{version: c.Version})
	}
	s, was := &w.facts.scales[i], d.Wanted()
	if c.Replicas == was {
		return
	}
	if l := w.log.leader; l != nil && c.Replicas < was && w.now.Sub(l.since) < cmp.Or(w.Scheduler.Hold, time.Minute)/2 && (!strings.Contains(c.Why, "gives a replica") || strings.Contains(c.Why, "its own demand")) {
		w.fail("%s goes from %d to %d replicas by a new leader, which cannot know", c.Version, was, c.Replicas)
	}
	s.counted++
	if down := c.Replicas < was; down != s.down {
		s.down, s.turns = down, append(s.turns, w.now)
	}
	window := 10 * cmp.Or(w.Scheduler.Hold, time.Minute)
	s.turns = slices.DeleteFunc(s.turns, func(t time.Time) bool { return w.now.Sub(t) > window })
	if len(s.turns) > MaxTurns {
		w.fail("%s went up and down %d times within %s", c.Version, len(s.turns), window)
	}
}

// MaxTurns bounds how often the number of a deployment's replicas may change its direction within ten times the scheduler's Hold.
const MaxTurns = 12

// checkStop: a replica that serves is given up only if enough others do.
func (w *World) checkStop(before, after cluster.State, c cluster.MarkReplica) {
	was, ok := before.Replica(c.ID)
	d, deployed := after.Deployment(c.ID.Version)
	if !ok || !deployed || d.Need == nil || !before.Routable(was) {
		return
	}
	left := 0
	for r := range after.ReplicasOf(c.ID.Version) {
		if after.Routable(r) {
			left++
		}
	}
	if left < d.Wanted() {
		w.fail("%s is given up, %d are left and %d are wanted", c.ID, left, d.Wanted())
	}
}

// starves says which deployment has less than its load needs although one of lower priority has more than its minimum; "" = none.
func (w *World) starves(s cluster.State) string {
	for _, q := range w.streams {
		d, ok := s.Deployment(cluster.VersionID{Model: q.model, Number: 1})
		if !ok || d.Need == nil {
			continue
		}
		least := min(int(math.Ceil(q.rate*q.takes.Seconds()/float64(d.Serving.Slots))), d.Need.Max)
		if w.ready(s, d) >= least {
			continue
		}
		for o := range s.Deployments() {
			if o.Need != nil && w.ranks[o.Version.Model] < w.ranks[q.model] && w.ready(s, o) > max(o.Need.Min, 0) {
				return fmt.Sprintf("%s (priority %d) has %d replicas and its load keeps %d busy, and %s (priority %d) has %d",
					d.Version, w.ranks[q.model], w.ready(s, d), least, o.Version, w.ranks[o.Version.Model], w.ready(s, o))
			}
		}
	}
	return ""
}

func (w *World) ready(s cluster.State, d cluster.Deployment) (n int) {
	for r := range s.ReplicasOf(d.Version) {
		if s.Routable(r) {
			n++
		}
	}
	return n
}
