package coordinator

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator/monitor"
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
		return f
	}
	f.Voters, f.Spare = s.quorum()
	f.Demand, f.Nodes, f.Gateways = s.fleet.facts(f.State, time.Now())
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
