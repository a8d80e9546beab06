package coordinator

import (
	"context"
	"maps"
	"time"

	"github.com/skein-project/skein/alert/measure"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator/monitor"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Facts implements monitor.Coordinator.
func (s *Server) Facts() measure.Facts {
	f := measure.Facts{State: s.live.Now(), Changes: int(s.watch.leaderChanges.Load() - s.changesSeen), Upkeep: map[cluster.NodeID]cluster.Upkeep{}}
	s.changesSeen += int64(f.Changes)
	if s.Term() == 0 {
		s.fleet.toldFacts(&f)
		f.Upkeep[s.member.ID] = s.upkeep()
		return f
	}
	f.Voters, f.Spare = s.quorum()
	f.Kept = s.copies.now()
	s.fleet.facts(&f, time.Now())
	f.Upkeep[s.member.ID] = s.upkeep()
	s.passOn(f)
	return f
}

// upkeep is what this coordinator says of itself.
func (s *Server) upkeep() cluster.Upkeep {
	u, st := telemetry.Upkeep(s.cfg.Dir, s.creds.Ends()), s.store.Stats()
	u.Lag = st.CommitIndex - min(st.CommitIndex, st.AppliedIndex)
	return u
}

// keepUp keeps what a member says of itself, if it says anything.
func (f *fleet) keepUp(id cluster.NodeID, u cluster.Upkeep) {
	if u == (cluster.Upkeep{}) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.upkeep[id] = u
}

// keepSpool keeps what a gateway says of its records, if that can be.
func (f *fleet) keepSpool(id cluster.NodeID, s cluster.Spool) {
	if s.Validate() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spools[id] = s
}

// Term implements monitor.Coordinator.
func (s *Server) Term() uint64 {
	if !s.store.IsLeader() {
		return 0
	}
	return s.store.Stats().Term
}

// quorum is the number of voters, and of those that gossip sees beyond a majority.
func (s *Server) quorum() (voters, spare int) {
	servers, err := s.store.Servers()
	if err != nil {
		return 0, 0
	}
	seen := map[string]bool{string(s.member.ID): true}
	for _, m := range s.gossip.List() {
		seen[string(m.ID)] = true
	}
	present := 0
	for _, v := range servers {
		if seen[v.ID] {
			present++
		}
	}
	return len(servers), present - (len(servers)/2 + 1)
}

// facts adds what members told since the last call.
func (f *fleet) facts(to *measure.Facts, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to.Demand, f.measured = f.measured, nil
	for id, r := range f.reports {
		if _, ok := to.State.Node(id); ok {
			to.Nodes = append(to.Nodes, measure.Sight{Report: r.Report, Age: now.Sub(r.at)})
		}
	}
	to.Gateways = map[cluster.NodeID]time.Duration{}
	for id, at := range f.heard {
		if _, ok := to.State.Member(id); ok {
			to.Gateways[id] = now.Sub(at)
		}
	}
	maps.Copy(to.Upkeep, f.upkeep)
	to.Spools = map[cluster.NodeID]cluster.Spool{}
	for id, s := range f.spools {
		if _, ok := to.State.Member(id); ok {
			to.Spools[id] = s
		}
	}
}

// Monitor is what measures and watches here.
func (s *Server) Monitor() *monitor.Monitor { return s.monitor }

// observe answers wire.Observe.
func (s *Server) observe(_ context.Context, r *wire.Observed) (*wire.ObserveResponse, error) {
	s.fleet.mu.Lock()
	s.fleet.told = r
	s.fleet.mu.Unlock()
	return &wire.ObserveResponse{Upkeep: s.upkeep()}, nil
}

// passOn tells the other coordinators what was told to this one, and hears how they are; each at most once at a time: one that is slow misses some.
func (s *Server) passOn(f measure.Facts) {
	o := &wire.Observed{Demand: f.Demand, Gateways: map[cluster.NodeID]int64{}, Upkeep: f.Upkeep, Spools: f.Spools}
	for _, n := range f.Nodes {
		n.Held = nil
		o.Nodes = append(o.Nodes, wire.Sight{Report: n.Report, Age: n.Age.Milliseconds()})
	}
	for id, age := range f.Gateways {
		o.Gateways[id] = age.Milliseconds()
	}
	for _, m := range s.others() {
		if _, busy := s.passing.LoadOrStore(m.ID, true); busy {
			continue
		}
		s.running.Go(func() {
			defer s.passing.Delete(m.ID)
			ctx, cancel := context.WithTimeout(context.Background(), passWait)
			defer cancel()
			answer, err := wire.Call[wire.Observed, wire.ObserveResponse](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Observe, o)
			if err != nil {
				s.log.Debug("what was measured is not passed on", "to", m.Name, "err", err)
				return
			}
			s.fleet.keepUp(m.ID, answer.Upkeep)
		})
	}
}

// passWait bounds the passing on of what was measured.
const passWait = 2 * time.Second

// toldFacts adds what the leader told since the last call.
func (f *fleet) toldFacts(to *measure.Facts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.told
	if f.told = nil; o == nil {
		return
	}
	to.Demand = o.Demand
	for _, n := range o.Nodes {
		to.Nodes = append(to.Nodes, measure.Sight{Report: n.Report, Age: time.Duration(n.Age) * time.Millisecond})
	}
	to.Gateways = map[cluster.NodeID]time.Duration{}
	for id, age := range o.Gateways {
		to.Gateways[id] = time.Duration(age) * time.Millisecond
	}
	maps.Copy(to.Upkeep, o.Upkeep)
	to.Spools = o.Spools
}
