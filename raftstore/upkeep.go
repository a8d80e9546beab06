package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Stats are figures of one server, for metrics and people.
type Stats struct {
	State         string // Follower, Candidate, Leader, Shutdown
	Term          uint64
	CommitIndex   uint64
	AppliedIndex  uint64 // really applied by the machine
	FirstIndex    uint64 // of the log; 0 if it is empty
	LastIndex     uint64
	LogBytes      int64 // of the entries in the log
	SnapshotIndex uint64
	SnapshotTime  time.Time // zero if there is none
	LastContact   time.Time // with the leader; zero on a leader that never followed
	Reserve       bool      // the bytes for a full disk are still there
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats {
	st := Stats{
		State: s.raft.State().String(), Term: s.raft.CurrentTerm(), CommitIndex: s.raft.CommitIndex(),
		AppliedIndex: s.AppliedIndex(), FirstIndex: s.entries.first.Load(), LastIndex: s.raft.LastIndex(),
		LogBytes: s.entries.bytes.Load(), LastContact: s.raft.LastContact(), Reserve: s.directory.reserve.Load(),
	}
	if newest, at := s.snapshots.newest(); newest != nil {
		st.SnapshotIndex, st.SnapshotTime = newest.index, at
	}
	return st
}

// AppliedIndex is the index of the last entry that the machine applied, or that was in the snapshot it was restored
// from.
func (s *Store) AppliedIndex() uint64 { return s.machine.applied.Load() }

// Snapshot writes the machine's state to disk now and shortens the log. It does nothing if nothing was applied since
// the last one.
func (s *Store) Snapshot() error {
	if err := s.fault.raised(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if newest, _ := s.snapshots.newest(); newest != nil && newest.index >= s.raft.AppliedIndex() {
		return nil
	}
	if err := s.raft.ReloadConfig(s.trailing()); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	err := s.raft.Snapshot().Error()
	if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return fmt.Errorf("snapshot: %w", err)
}

// trailing keeps fewer entries behind the snapshot where they are large: together at most about SnapshotBytes.
func (s *Store) trailing() raft.ReloadableConfig {
	rc := s.raft.ReloadableConfig()
	rc.TrailingLogs = maxTrailing
	first, last := s.entries.first.Load(), s.entries.last.Load()
	if size := s.entries.bytes.Load(); first > 0 && size > 0 {
		mean := size/int64(last-first+1) + 1
		rc.TrailingLogs = uint64(min(max(s.config.SnapshotBytes/mean, minTrailing), maxTrailing))
	}
	return rc
}

const upkeepEvery = 5 * time.Second

// upkeep takes snapshots when they are due: the library counts entries only, and a log of few, large or old entries
// would never be shortened.
func (s *Store) upkeep(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	opened, reserve := time.Now(), s.directory.reserve.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			spent := reserve && !s.directory.reserve.Load() // the disk became full
			if s.fault.raised() != nil || !spent && !s.due(now, opened) {
				continue
			}
			reserve = s.directory.reserve.Load()
			if err := s.Snapshot(); err != nil && ctx.Err() == nil {
				s.log.Error("snapshot failed", "error", err)
			}
		}
	}
}

// due reports whether entries, bytes or age ask for a snapshot.
func (s *Store) due(now, opened time.Time) bool {
	index, at := uint64(0), opened
	if newest, taken := s.snapshots.newest(); newest != nil {
		index, at = newest.index, taken
	}
	applied := s.AppliedIndex()
	if applied <= index {
		return false
	}
	return applied-index >= snapshotEntries || s.entries.grown.Load() >= s.config.SnapshotBytes ||
		now.Sub(at) >= s.config.SnapshotAge
}
