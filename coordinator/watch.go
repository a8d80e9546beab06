package coordinator

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/backup"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/telemetry"
)

// watch is what this coordinator has counted since it started.
type watch struct {
	leaderChanges, placements, refusals atomic.Int64
	pending                             atomic.Int64 // proposals of the scheduler that are not answered
	fetched                             atomic.Int64 // bytes of blobs
	served                              atomic.Int64 // bytes of blobs, to others
	apply, step                         *telemetry.Histogram
	givenUp                             sync.Map       // by tenant: *atomic.Int64 of callbacks
	leader                              cluster.NodeID // the last one; owned by the goroutine of lead
	standing                            map[scheduler.Note]bool
}

func newWatch() *watch {
	return &watch{apply: telemetry.NewHistogram(telemetry.RaftApply), step: telemetry.NewHistogram(telemetry.SchedulerStep)}
}

// took counts bytes of blobs that came from other members.
func (w *watch) took(n int64) { w.fetched.Add(n) }

// saw counts a change of the leader.
func (w *watch) saw(leader cluster.NodeID) {
	if leader != "" && leader != w.leader {
		w.leader = leader
		w.leaderChanges.Add(1)
	}
}

// stepped counts a step of the scheduler that began at a time, and what it decided. A reason that stands for long is counted once.
func (w *watch) stepped(began time.Time, out scheduler.Output) {
	w.step.Observe(time.Since(began).Seconds())
	for _, t := range out.Txns {
		for _, c := range t.Do {
			if _, ok := c.(cluster.PlaceReplica); ok {
				w.placements.Add(1)
			}
		}
	}
	standing := make(map[scheduler.Note]bool, len(out.Notes))
	for _, n := range out.Notes {
		if standing[n] = true; !w.standing[n] {
			w.refusals.Add(1)
		}
	}
	w.standing = standing
}

// Collect gives the coordinator's figures. Those of nodes and their devices only the leader has: nodes report to it.
func (s *Server) Collect(sheet *telemetry.Sheet) {
	telemetry.Member(sheet, s.cfg.Dir, s.creds.Ends())
	sheet.Count(telemetry.BlobsFetched, float64(s.watch.fetched.Load()))
	sheet.Count(telemetry.BlobsServed, float64(s.watch.served.Load()))
	s.collectRaft(sheet)
	sheet.Count(telemetry.SchedulerSteps, float64(s.watch.step.Tally().Total()))
	sheet.Histogram(telemetry.SchedulerStep, s.watch.step.Tally())
	sheet.Gauge(telemetry.SchedulerPending, float64(s.watch.pending.Load()))
	sheet.Count(telemetry.SchedulerPlacements, float64(s.watch.placements.Load()))
	sheet.Count(telemetry.SchedulerRefusals, float64(s.watch.refusals.Load()))
	state := s.live.Now()
	collectState(sheet, state)
	s.collectBatches(sheet, state)
	if s.store.IsLeader() {
		voters, spare := s.quorum()
		sheet.Gauge(telemetry.RaftVoters, float64(voters))
		sheet.Gauge(telemetry.RaftVotersSpare, float64(spare))
		for v, kept := range s.copies.now() {
			sheet.Gauge(telemetry.VersionCopies, float64(kept.Copies), v.String())
			sheet.Gauge(telemetry.VersionCopiesWant, float64(kept.Wanted), v.String())
		}
	}
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	used := map[cluster.VersionID]int{}
	for id, at := range s.fleet.heard {
		if m, ok := state.Member(id); ok {
			sheet.Gauge(telemetry.GatewaySilent, time.Since(at).Seconds(), m.Name)
		}
	}
	for _, r := range s.fleet.reports {
		sheet.Gauge(telemetry.NodeSilent, time.Since(r.at).Seconds(), r.Name)
		telemetry.GPUs(sheet, r.Name, r.Devices, r.Readings)
		for _, h := range r.Held {
			if h.Stage == 0 && h.Status == cluster.HeldReady {
				used[h.Replica.Version] += h.Active
			}
		}
	}
	for v, n := range used {
		sheet.Gauge(telemetry.SlotsUsed, float64(n), v.String())
	}
}

// collectBatches gives how the batches of tenants are.
func (s *Server) collectBatches(sheet *telemetry.Sheet, state cluster.State) {
	for tenant, f := range job.FiguresOf(state, s.now()) {
		sheet.Count(telemetry.BatchGivenUp, s.watch.callsGivenUp(tenant), tenant)
		if !f.Open() {
			continue
		}
		sheet.Gauge(telemetry.Batches, float64(f.Waiting), "waiting", tenant)
		sheet.Gauge(telemetry.Batches, float64(f.Running), "running", tenant)
		sheet.Gauge(telemetry.BatchLines, float64(f.Answered), "answered", tenant)
		sheet.Gauge(telemetry.BatchLines, float64(f.Failed), "failed", tenant)
		sheet.Gauge(telemetry.BatchLines, float64(f.Left), "left", tenant)
		sheet.Gauge(telemetry.BatchOldest, float64(f.Oldest)/1000, tenant)
		sheet.Gauge(telemetry.BatchStill, float64(f.Still)/1000, tenant)
	}
}

// callsGivenUp is how many batches of a tenant nobody could be told of, since this process began.
func (w *watch) callsGivenUp(tenant string) float64 {
	n, ok := w.givenUp.Load(tenant)
	if !ok {
		return 0
	}
	return float64(n.(*atomic.Int64).Load())
}

// gaveUp counts a batch that nobody could be told of.
func (w *watch) gaveUp(tenant string) {
	n, _ := w.givenUp.LoadOrStore(tenant, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
}

func (s *Server) collectRaft(sheet *telemetry.Sheet) {
	st := s.store.Stats()
	sheet.Gauge(telemetry.RaftTerm, float64(st.Term))
	sheet.Gauge(telemetry.RaftCommitIndex, float64(st.CommitIndex))
	sheet.Gauge(telemetry.RaftAppliedIndex, float64(st.AppliedIndex))
	sheet.Gauge(telemetry.RaftApplyLag, float64(st.CommitIndex-min(st.CommitIndex, st.AppliedIndex)), s.cfg.Name)
	sheet.Gauge(telemetry.RaftLogBytes, float64(st.LogBytes))
	leads := 0.0
	if s.store.IsLeader() {
		leads = 1
	}
	sheet.Gauge(telemetry.RaftIsLeader, leads)
	sheet.Count(telemetry.RaftLeaderChanges, float64(s.watch.leaderChanges.Load()))
	sheet.Histogram(telemetry.RaftApply, s.watch.apply.Tally())
	if !st.SnapshotTime.IsZero() {
		sheet.Gauge(telemetry.RaftSnapshotAge, time.Since(st.SnapshotTime).Seconds())
	}
}

// collectState gives what the state says of backups, nodes and replicas.
func collectState(sheet *telemetry.Sheet, state cluster.State) {
	if b, ok := backup.Last(state); ok {
		sheet.Gauge(telemetry.BackupAge, time.Since(time.UnixMilli(int64(b.At))).Seconds())
	}
	for n := range state.Nodes() {
		sheet.Gauge(telemetry.Nodes, 1, string(n.Status))
		lost := 0.0
		if n.Status == cluster.NodeLost {
			lost = 1
		}
		sheet.Gauge(telemetry.NodeLost, lost, n.Name)
	}
	for q := range state.Quotas(cluster.Millis(time.Now().UnixMilli())) {
		labels := []string{q.Subject, string(q.Meter), cmp.Or(q.Model, "*"), cmp.Or(state.TenantOf(q.Subject), "everybody"), string(q.Window)}
		sheet.Gauge(telemetry.QuotaUsed, q.Used, labels...)
		sheet.Count(telemetry.QuotaSpent, float64(q.Spent), labels...)
		if q.Left > 0 {
			sheet.Gauge(telemetry.QuotaLeft, float64(q.Left)/1000, labels...)
		}
	}
	for d := range state.Deployments() {
		v, ready := d.Version.String(), 0
		for r := range state.ReplicasOf(d.Version) {
			if state.Routable(r) {
				ready++
			}
		}
		sheet.Gauge(telemetry.ReplicasWant, float64(d.Wanted()), v)
		sheet.Gauge(telemetry.ReplicasReady, float64(ready), v)
		sheet.Gauge(telemetry.SlotsTotal, float64(ready*d.Serving.Slots), v)
	}
}
