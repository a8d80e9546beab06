package scheduler

import (
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/placement"
)

// Preview says where the replicas of a deployment would go if it were wished now: replicas that exist count as to be placed anew, and stay where
// they can. It changes nothing. What it refuses (a pin that breaks a limit, a model that fits nowhere) carries the reason. The version must exist.
func (l *Loop) Preview(now time.Time, s cluster.State, dep cluster.Deployment) placement.Solution {
	known := l.soft.clone()
	d := &decision{Config: l.config, soft: &known, now: now, was: s, state: s}
	var wants []want
	for ordinal := range dep.Wanted() {
		w := want{id: cluster.ReplicaID{Version: dep.Version, Ordinal: ordinal}, dep: dep}
		if r, ok := s.Replica(w.id); ok && r.Status != cluster.Stopping {
			w.own = &r
		}
		wants = append(wants, w)
	}
	return placement.Solve(placement.Problem{Devices: d.devices(), Demands: d.demands(wants, false)})
}
