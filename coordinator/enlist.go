package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Pace of enlisting.
const (
	enlistEvery = time.Second      // while the record of this coordinator is not right
	checkEvery  = 10 * time.Second // while it is
	enlistWait  = 5 * time.Second  // for one coordinator's answer
)

// enlist makes this coordinator known: the first one founds the cluster, every one keeps its own record right. The leader makes a
// voter of each coordinator in the state.
func (s *Server) enlist(ctx context.Context) {
	if s.member.Founding {
		if err := s.found(ctx); err != nil {
			s.log.Error("cannot found the cluster", "err", err)
			return
		}
	}
	for {
		pause := checkEvery
		if _, right := s.recorded(s.live.Now()); !right {
			pause = enlistEvery
			if err := s.enlistSomewhere(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("not enlisted yet", "err", err)
			}
		}
		if !s.wait(ctx, pause) {
			return
		}
	}
}

// recorded finds this coordinator's record in a state, and says whether it is right.
func (s *Server) recorded(state cluster.State) (rev cluster.Index, right bool) {
	m, known := state.Member(s.member.ID)
	rev, m.Rev = m.Rev, 0
	return rev, known && m == s.self()
}

// enlistSomewhere puts the record right through whichever coordinator can: a newcomer, or one that moved, hears nothing from the leader.
func (s *Server) enlistSomewhere(ctx context.Context) error {
	addrs := slices.Clone(s.member.Coordinators)
	for _, m := range s.gossip.List() {
		if m.Meta.Role == cluster.RoleCoordinator && !slices.Contains(addrs, m.Meta.Addr) {
			addrs = append(addrs, m.Meta.Addr)
		}
	}
	if leader := s.Leader(); leader != "" {
		addrs = slices.Insert(addrs, 0, leader)
	}
	errs := []error{errors.New("no coordinator takes the record")}
	for _, addr := range addrs {
		err := s.enlistAt(ctx, addr)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *Server) enlistAt(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, enlistWait)
	defer cancel()
	state, err := s.stateAt(ctx, addr)
	if err != nil {
		return err
	}
	rev, right := s.recorded(state)
	if right {
		return nil
	}
	put := cluster.PutMember{Member: s.self(), Was: rev}
	entry, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: s.now(), Txns: []cluster.Txn{{Do: []cluster.Command{put}}}})
	if err != nil {
		return err
	}
	for range 2 { // a follower names the leader
		var res *wire.ProposeResponse
		res, err = wire.Call[wire.ProposeRequest, wire.ProposeResponse](ctx, s.dialer, cluster.RoleCoordinator, addr, wire.Propose, &wire.ProposeRequest{Envelope: entry})
		if err == nil && len(res.Rejected) > 0 && res.Rejected[0] != nil {
			return res.Rejected[0]
		}
		var refused *wire.Refused
		if !errors.As(err, &refused) || refused.Addr == "" {
			break
		}
		addr = refused.Addr
	}
	return err
}

// stateAt reads the state of the coordinator at addr.
func (s *Server) stateAt(ctx context.Context, addr string) (state cluster.State, err error) {
	var snapshot bytes.Buffer
	done := errors.New("done")
	err = wire.Read(ctx, s.dialer, cluster.RoleCoordinator, addr, wire.Follow, &wire.FollowRequest{}, func(p *wire.LogPiece) error {
		snapshot.Write(p.Snapshot)
		if p.More || snapshot.Len() == 0 {
			return nil
		}
		if state, err = cluster.Read(&snapshot); err != nil {
			return fmt.Errorf("read the state of %s: %w", addr, err)
		}
		return done
	})
	if errors.Is(err, done) {
		err = nil
	}
	return state, err
}
