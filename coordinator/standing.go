package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Standing asks every coordinator how it stands.
func (s *Server) Standing(ctx context.Context) map[cluster.NodeID]wire.Standing {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	voters := map[cluster.NodeID]bool{}
	if servers, err := s.store.Servers(); err == nil {
		for _, v := range servers {
			voters[cluster.NodeID(v.ID)] = true
		}
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	out, at := map[cluster.NodeID]wire.Standing{}, s.live.Now().Index()
	for _, m := range s.coordinators() {
		asked.Go(func() {
			pong, err := s.ping(ctx, &wire.Empty{})
			if m.ID != s.member.ID {
				pong, err = wire.Call[wire.Empty, wire.Pong](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Ping, &wire.Empty{})
			}
			st := wire.Standing{Voter: voters[m.ID], Lag: -1, Contact: -time.Millisecond}
			if err == nil && pong.ID == m.ID {
				st.Lag, st.Contact = max(0, int64(at)-int64(pong.Applied)), time.Duration(pong.Contact)*time.Millisecond
			}
			mu.Lock()
			defer mu.Unlock()
			out[m.ID] = st
		})
	}
	asked.Wait()
	return out
}
