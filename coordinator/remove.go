package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// expelPause is the shortest time between two looks at open connections.
const expelPause = 200 * time.Millisecond

// expel ends the connections of members as they are removed.
func (s *Server) expel(ctx context.Context) {
	told := false
	for {
		state, changed := s.live.Load()
		s.creds.Expel()
		if state.Gone(s.member.ID) && !told {
			told = true
			s.log.Error("this coordinator was removed from the cluster: stop it, and wipe its disk, which has the cluster's keys")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		if !s.wait(ctx, expelPause) {
			return
		}
	}
}

// RemoveMember ends the membership of a coordinator or a gateway. What a coordinator holds is copied to others first, and it is refused
// where too few would be left that answer, and for the leader itself. Removal does not take back what a coordinator knew: whoever copied
// its disk has the cluster's secret, and can make certificates for new ids with it. Where that is feared, the cluster has to begin anew
// from a backup.
func (s *Server) RemoveMember(ctx context.Context, asker cluster.Asker, id cluster.NodeID) error {
	if !s.store.IsLeader() {
		return s.notLeader()
	}
	if s.live.Now().Cluster().Feature < 2 {
		return &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "not all coordinators understand removal yet"}
	}
	s.removing.Lock() // two at once could leave too few
	defer s.removing.Unlock()
	for range removeTries {
		m, ok := s.live.Now().Member(id)
		if !ok {
			return &wire.Refused{Code: connect.CodeNotFound, Why: fmt.Sprintf("the member %.64s does not exist", id)}
		}
		if m.Role == cluster.RoleCoordinator {
			if err := s.prepareRemoval(ctx, m); err != nil {
				return err
			}
		}
		rejected, err := s.Propose(ctx, cluster.Txn{Asker: asker, Do: []cluster.Command{cluster.DeleteMember{ID: m.ID, Was: m.Rev}}})
		switch {
		case err != nil:
			return err
		case rejected[0] == nil:
			s.unvote(ctx)
			return nil
		case rejected[0].Reason != cluster.ReasonStale && rejected[0].Reason != cluster.ReasonInUse:
			return rejected[0]
		}
	}
	return &wire.Refused{Code: connect.CodeAborted, Why: "versions are being published to it: ask again"}
}

// removeTries bounds how often a removal begins again because something was published meanwhile.
const removeTries = 5

// prepareRemoval makes sure that the cluster does without a coordinator.
func (s *Server) prepareRemoval(ctx context.Context, m cluster.Member) error {
	alive, err := s.remaining(ctx, m.ID)
	if err != nil {
		return err
	}
	if m.ID == s.member.ID { // leadership is not handed over: hashicorp/raft#696
		return &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "it leads: restart it, so that another coordinator does, and ask again"}
	}
	var lacking []string
	for v := range s.live.Now().Versions() {
		if !slices.Contains(v.Holders, m.ID) {
			continue
		}
		if err := s.handOn(ctx, v, m.ID, alive); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			lacking = append(lacking, fmt.Sprintf("%s: %v", v.VersionID, err))
		}
	}
	if len(lacking) > 0 {
		return &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "it holds versions that no other coordinator can get: " + strings.Join(lacking, "; ")}
	}
	return nil
}

// remaining lists the coordinators that answer and stay if one goes. It is refused if they are too few to go on: of the voters that
// would be left, a majority must answer.
func (s *Server) remaining(ctx context.Context, without cluster.NodeID) (alive []cluster.NodeID, err error) {
	voters, err := s.store.Servers()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	rest, answering := 0, 0
	for _, v := range voters {
		id := cluster.NodeID(v.ID)
		if id == without {
			continue
		}
		rest++
		asked.Go(func() {
			if id != s.member.ID && s.probe(ctx, cluster.RoleCoordinator, id, v.Addr) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answering++
			alive = append(alive, id)
		})
	}
	asked.Wait()
	slices.Sort(alive)
	if need := rest/2 + 1; answering < need {
		return nil, &wire.Refused{Code: connect.CodeFailedPrecondition, Why: fmt.Sprintf("of the %d coordinators that would be left %d answer, and %d must", rest, answering, need)}
	}
	return alive, nil
}

// handOn lets others hold a version in the place of a coordinator that goes.
func (s *Server) handOn(ctx context.Context, v cluster.Version, goes cluster.NodeID, alive []cluster.NodeID) error {
	stay := slices.DeleteFunc(slices.Clone(v.Holders), func(id cluster.NodeID) bool { return id == goes })
	o := library.Order{Version: v.VersionID, Was: v.Rev, From: v.Holders, Holders: stay, Why: "a holder is removed"}
	if len(stay) >= min(library.Copies, len(alive)) {
		return s.obey(ctx, o, nil)
	}
	blobs, err := s.versionBlobs(ctx, v)
	if err != nil {
		return err
	}
	errs := []error{errors.New("no coordinator takes a copy")}
	for _, to := range alive {
		if slices.Contains(stay, to) {
			continue
		}
		o.To, o.Holders = to, slices.Sorted(slices.Values(append(slices.Clone(stay), to)))
		err := s.obey(ctx, o, blobs)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unvote takes removed coordinators out of the log's voters: right after their removal, and on every leader that finds one later.
func (s *Server) unvote(ctx context.Context) {
	servers, err := s.store.Servers()
	if err != nil {
		return
	}
	state := s.live.Now()
	for _, v := range servers {
		if !state.Gone(cluster.NodeID(v.ID)) {
			continue
		}
		if v.ID == string(s.member.ID) {
			return // elected by voters that did not know yet; as soon as they do, they do not hear it any more
		}
		if err := s.removeVoter(ctx, v); err != nil {
			s.log.Warn("a removed coordinator still is a voter", "id", v.ID, "err", err)
		}
		return
	}
}

func (s *Server) removeVoter(ctx context.Context, v raftstore.Server) error {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	return s.store.RemoveServer(ctx, v.ID)
}
