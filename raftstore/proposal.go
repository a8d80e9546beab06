package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Propose appends entry to the log and returns what Machine.Apply made of it, and its index, once it is committed and
// applied here. The entry must not be changed afterwards, even if ctx ends first.
//
// Errors: NotLeader, ErrRefused, ErrTooLarge: not in the log. ErrOutcomeUnknown (which also wraps the error of a ctx
// that ended): it may be committed.
func (s *Store) Propose(ctx context.Context, entry []byte) (result any, index uint64, err error) {
	if len(entry) > MaxEntryBytes {
		return nil, 0, fmt.Errorf("propose %d bytes, limit %d: %w", len(entry), MaxEntryBytes, ErrTooLarge)
	}
	type outcome struct {
		result any
		index  uint64
		err    error
	}
	done := make(chan outcome, 1)
	go func() { // the library's futures can not be waited for with a context
		f := s.raft.Apply(entry, s.config.ElectionTimeout)
		o := outcome{err: s.finish(f.Error())}
		if o.err == nil {
			o.result, o.index = f.Response(), f.Index()
		}
		done <- o
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, 0, fmt.Errorf("propose: %w", o.err)
		}
		return o.result, o.index, nil
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("propose: %w: %w", ErrOutcomeUnknown, ctx.Err())
	}
}

// finish translates how a proposal, barrier or change of members ended.
func (s *Store) finish(err error) error {
	if halted := s.fault.raised(); halted != nil {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, halted)
	}
	switch {
	case err == nil:
		s.refusals.clear()
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		s.refusals.clear()
		id, addr := s.Leader()
		return NotLeader{LeaderID: id, LeaderAddr: addr}
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		s.refused()
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.refusals.clear()
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// refusals notices a leader that takes no proposals, as one whose leadership transfer got stuck does for ever
// (hashicorp/raft#696).
type refusals struct {
	mu    sync.Mutex
	since time.Time // of the first refusal after the last success; zero: none
}

func (r *refusals) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Time{}
}

// lasting is for how long every proposal was refused, this one included.
func (r *refusals) lasting(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = now
	}
	return now.Sub(r.since)
}

func (s *Store) refused() {
	if !s.IsLeader() {
		s.refusals.clear()
		return
	}
	if d := s.refusals.lasting(time.Now()); d > 2*s.config.ElectionTimeout {
		s.fault.raise(fmt.Errorf("for %v: %w", d, ErrWedged))
	}
}

// barriers joins callers: one barrier is in flight, and whoever comes meanwhile shares the next.
type barriers struct {
	mu            sync.Mutex
	running, next *barrier
}

type barrier struct {
	done chan struct{}
	err  error // set before done is closed
}

// Barrier returns once everything committed before the call has been applied here; a read of the machine after it is
// linearizable. Only the leader can do it. Errors are those of Propose.
//
// raft.VerifyLeader would be cheaper and is wrong: acknowledgements sent before the question count as votes.
func (s *Store) Barrier(ctx context.Context) error {
	b := s.barriers.join(s.runBarrier)
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("barrier: %w", ctx.Err())
	}
}

func (b *barriers) join(run func() error) *barrier {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running == nil {
		b.running = &barrier{done: make(chan struct{})}
		go b.run(b.running, run)
		return b.running
	}
	if b.next == nil { // the one in flight may have begun before this caller's last read
		b.next = &barrier{done: make(chan struct{})}
	}
	return b.next
}

func (b *barriers) run(current *barrier, run func() error) {
	current.err = run()
	b.mu.Lock()
	b.running, b.next = b.next, nil
	if b.running != nil {
		go b.run(b.running, run)
	}
	b.mu.Unlock()
	close(current.done)
}

func (s *Store) runBarrier() error {
	if err := s.finish(s.raft.Barrier(s.config.ElectionTimeout).Error()); err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	return nil
}
