package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// Pace of following.
const (
	followIdle  = time.Second // a message at least this often, so that a follower knows a dead link
	proposeWait = 10 * time.Second
	leaderPoll  = 50 * time.Millisecond
	confirmPace = 250 * time.Millisecond
	confirmLag  = 64 // committed entries that may not be applied yet; Raft's own are never
)

// Propose commits transactions in one entry, wherever the leader is, and tells what became of each: nil if it was applied. It waits
// for a leader as long as ctx allows. An error that wraps raftstore.ErrOutcomeUnknown may be followed by the entry's success.
func (s *Server) Propose(ctx context.Context, txns ...cluster.Txn) ([]*cluster.Rejected, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	for {
		rejected, err := s.proposeOnce(ctx, txns)
		var not raftstore.NotLeader
		var refused *wire.Refused
		switch {
		case errors.As(err, &not), errors.Is(err, raftstore.ErrRefused):
		case errors.As(err, &refused) && refused.Code == connect.CodeUnavailable:
		case errors.Is(err, wire.ErrUnreachable): // the leader is gone, and nothing was sent to it
		default:
			return rejected, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("propose: no leader: %w: %w", ctx.Err(), err)
		case <-time.After(leaderPoll):
		}
	}
}

// proposeOnce tries here, or at the leader as it is known here.
func (s *Server) proposeOnce(ctx context.Context, txns []cluster.Txn) ([]*cluster.Rejected, error) {
	entry, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: s.now(), Txns: txns})
	if err != nil {
		return nil, err
	}
	result, _, err := s.store.Propose(ctx, entry)
	if err == nil {
		return rejections(result), nil
	}
	var not raftstore.NotLeader
	if !errors.As(err, &not) || not.LeaderAddr == "" {
		return nil, err
	}
	res, err := wire.Call[wire.ProposeRequest, wire.ProposeResponse](ctx, s.dialer, cluster.RoleCoordinator, not.LeaderAddr, wire.Propose, &wire.ProposeRequest{Envelope: entry})
	var refused *wire.Refused
	switch {
	case err == nil:
	case errors.As(err, &refused), errors.Is(err, wire.ErrUnreachable):
		return nil, err
	default: // it broke on the way: the leader may have got it
		return nil, fmt.Errorf("%w: %w", raftstore.ErrOutcomeUnknown, err)
	}
	if len(res.Rejected) != len(txns) {
		return nil, fmt.Errorf("propose: %d answers for %d transactions", len(res.Rejected), len(txns))
	}
	// What was applied there is waited for here, so that the caller reads what it wrote.
	return res.Rejected, s.reached(ctx, res.Index)
}

// reached waits until the state here is at an index.
func (s *Server) reached(ctx context.Context, index cluster.Index) error {
	for {
		state, changed := s.live.Load()
		if state.Index() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("entry %d is committed and not here yet: %w", index, ctx.Err())
		}
	}
}

// confirm notes that the state here is as new as the leader's. A leader knows that it is one only while a majority answers it, and a
// follower knows a leader only while it is heard, both for an election timeout at most: so much longer the state may be out of date.
func (s *Server) confirm(ctx context.Context) {
	for s.wait(ctx, confirmPace) {
		if s.Leader() != "" && s.store.Stats().CommitIndex <= s.store.AppliedIndex()+confirmLag {
			s.live.Confirm()
		}
	}
}

func (s *Server) now() cluster.Millis { return cluster.Millis(time.Now().UnixMilli()) }

// propose answers wire.Propose: another coordinator forwards an entry.
func (s *Server) propose(ctx context.Context, r *wire.ProposeRequest) (*wire.ProposeResponse, error) {
	e, err := cluster.Decode(r.Envelope)
	if err != nil {
		return nil, &wire.Refused{Code: connect.CodeInvalidArgument, Why: err.Error()}
	}
	e.At = s.now() // the leader's clock is the only one that counts
	entry, err := cluster.Encode(e)
	if err != nil {
		return nil, err
	}
	result, index, err := s.store.Propose(ctx, entry)
	var not raftstore.NotLeader
	if errors.As(err, &not) || errors.Is(err, raftstore.ErrRefused) {
		return nil, &wire.Refused{Code: connect.CodeUnavailable, Why: err.Error(), Addr: not.LeaderAddr}
	}
	if errors.Is(err, raftstore.ErrOutcomeUnknown) {
		return nil, &wire.Refused{Code: connect.CodeUnknown, Why: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return &wire.ProposeResponse{Index: cluster.Index(index), Rejected: rejections(result)}, nil
}

// follow answers wire.Follow: a snapshot where needed, then entries as they are applied, and a sign of life at least every followIdle.
func (s *Server) follow(ctx context.Context, r *wire.FollowRequest, send func(*wire.LogPiece) error) error {
	at := r.After
	for {
		state, changed := s.live.Load()
		if at > state.Index() {
			return &wire.Refused{Code: connect.CodeUnavailable, Why: fmt.Sprintf("entry %d is not here yet", at)}
		}
		if err := s.sendNews(at, state, send); err != nil {
			return err
		}
		at = state.Index()
		select {
		case <-changed:
		case <-time.After(followIdle):
		case <-s.stopping:
			return &wire.Refused{Code: connect.CodeUnavailable, Why: "the coordinator is stopping"}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendNews sends what leads from an index to a state.
func (s *Server) sendNews(at cluster.Index, state cluster.State, send func(*wire.LogPiece) error) error {
	p := wire.LogPiece{Leader: s.Leader()}
	if at == state.Index() {
		return send(&p)
	}
	entries, ok := s.machine.between(at, state.Index())
	if !ok || at == 0 {
		var b bytes.Buffer
		if _, err := state.WriteTo(&b); err != nil {
			return fmt.Errorf("write a snapshot: %w", err)
		}
		for p.More = true; p.More; {
			p.Snapshot = b.Next(wire.MaxPiece)
			p.More = b.Len() > 0
			if err := send(&p); err != nil {
				return err
			}
		}
		return nil
	}
	size := 0
	for _, e := range entries {
		if size += len(e.Entry); size > wire.MaxPiece && len(p.Entries) > 0 {
			if err := send(&p); err != nil {
				return err
			}
			p.Entries, size = nil, len(e.Entry)
		}
		p.Entries = append(p.Entries, e)
	}
	return send(&p)
}
