package coordinator

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator/monitor"
	"github.com/skein-project/skein/wire"
)

// Facts implements monitor.Coordinator.
func (s *Server) Facts() monitor.Facts {
	st := s.store.Stats()
	f := monitor.Facts{State: s.live.Now(), Changes: int(s.watch.leaderChanges.Load() - s.changesSeen)}
	s.changesSeen += int64(f.Changes)
	f.Machine = monitor.Machine{Name: s.cfg.Name, Certificate: time.Until(s.creds.Ends()), Lag: st.CommitIndex - min(st.CommitIndex, st.AppliedIndex)}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &fs); err == nil {
		f.Machine.Free, f.Machine.Size = int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize
	}
	if s.Term() == 0 {
		f.Demand, f.Nodes, f.Gateways = s.fleet.toldFacts()
		return f
	}
	f.Voters, f.Spare = s.quorum()
	f.Demand, f.Nodes, f.Gateways = s.fleet.facts(f.State, time.Now())
	s.passOn(f)
	return f
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

// facts is what nodes and gateways told since the last call.
func (f *fleet) facts(state cluster.State, now time.Time) (demand []cluster.Demand, nodes []monitor.Sight, gateways map[cluster.NodeID]time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	demand, f.measured = f.measured, nil
	for id, r := range f.reports {
		if _, ok := state.Node(id); ok {
			nodes = append(nodes, monitor.Sight{Report: r.Report, Age: now.Sub(r.at)})
		}
	}
	gateways = map[cluster.NodeID]time.Duration{}
	for id, at := range f.heard {
		if _, ok := state.Member(id); ok {
			gateways[id] = now.Sub(at)
		}
	}
	return demand, nodes, gateways
}

// Monitor is what measures and watches here.
func (s *Server) Monitor() *monitor.Monitor { return s.monitor }

// observe answers wire.Observe.
func (s *Server) observe(_ context.Context, r *wire.Observed) (*wire.Empty, error) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	s.fleet.told = r
	return &wire.Empty{}, nil
}

// passOn tells the other coordinators what was told to this one, each at most once at a time: one that is slow misses some.
func (s *Server) passOn(f monitor.Facts) {
	o := &wire.Observed{Demand: f.Demand, Gateways: map[cluster.NodeID]int64{}}
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
			if _, err := wire.Call[wire.Observed, wire.Empty](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Observe, o); err != nil {
				s.log.Debug("what was measured is not passed on", "to", m.Name, "err", err)
			}
		})
	}
}

// passWait bounds the passing on of what was measured.
const passWait = 2 * time.Second

// toldFacts is what the leader told since the last call.
func (f *fleet) toldFacts() (demand []cluster.Demand, nodes []monitor.Sight, gateways map[cluster.NodeID]time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.told
	if f.told = nil; o == nil {
		return nil, nil, nil
	}
	for _, n := range o.Nodes {
		nodes = append(nodes, monitor.Sight{Report: n.Report, Age: time.Duration(n.Age) * time.Millisecond})
	}
	gateways = map[cluster.NodeID]time.Duration{}
	for id, age := range o.Gateways {
		gateways[id] = time.Duration(age) * time.Millisecond
	}
	return o.Demand, nodes, gateways
}
