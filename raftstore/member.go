package raftstore

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Leader returns the leader as this server knows it, or empty strings.
func (s *Store) Leader() (id, addr string) {
	a, i := s.raft.LeaderWithID()
	return string(i), string(a)
}

// IsLeader reports whether this server believes that it leads.
func (s *Store) IsLeader() bool { return s.raft.State() == raft.Leader }

// Lead tells one consumer that this server began (true) or ceased (false) to lead. Only the latest value is kept: two
// true in a row are two terms, with a loss in between.
func (s *Store) Lead() <-chan bool { return s.raft.LeaderCh() }

// Servers are the voting members, as of the latest configuration in this server's log.
func (s *Store) Servers() ([]Server, error) {
	f := s.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	var list []Server
	for _, m := range f.Configuration().Servers {
		if m.Suffrage == raft.Voter {
			list = append(list, Server{ID: string(m.ID), Addr: string(m.Address)})
		}
	}
	return list, nil
}

// AddVoter makes m a member, or changes its address. Leader only; errors are those of Propose.
func (s *Store) AddVoter(ctx context.Context, m Server) error {
	return s.change(ctx, "add member "+m.ID, func(timeout time.Duration) raft.IndexFuture {
		return s.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Addr), 0, timeout)
	})
}

// RemoveServer ends the membership of a server. Leader only; errors are those of Propose.
func (s *Store) RemoveServer(ctx context.Context, id string) error {
	return s.change(ctx, "remove member "+id, func(timeout time.Duration) raft.IndexFuture {
		return s.raft.RemoveServer(raft.ServerID(id), 0, timeout)
	})
}

func (s *Store) change(ctx context.Context, what string, start func(time.Duration) raft.IndexFuture) error {
	done := make(chan error, 1)
	go func() { done <- s.finish(start(s.config.ElectionTimeout).Error()) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", what, ErrOutcomeUnknown, ctx.Err())
	}
}
