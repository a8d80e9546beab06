package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// installed brings the log in line with a snapshot that the leader sent and that is durable, at p. It returns
// ErrLogConflict if the log holds another entry there.
//
// A log that ends before p is dropped: it may hold entries of a deposed leader, and the library would keep them below
// the gap and, elected later, send them to others as if they were committed.
//
// A log that contradicts p must be dropped whole (Raft, figure 13, rule 7), but the library keeps the index and term
// of its last entry in memory and would refuse every append, so the leader would send the snapshot for ever
// (hashicorp/raft#697). Only a restart helps: reconcile then drops the log.
func (s *logStore) installed(p position) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	first, last := s.first.Load(), s.last.Load()
	if agrees, err := s.agrees(p); err != nil {
		return err
	} else if !agrees {
		return fmt.Errorf("at index %d, term %d, log %d to %d: %w", p.index, p.term, first, last, ErrLogConflict)
	}
	if last < p.index {
		if err := s.deleteRange(first, last, pebble.NoSync); err != nil {
			return err
		}
	}
	return s.cover(p)
}

// taken notes that a snapshot of this server's own state up to p is durable.
func (s *logStore) taken(p position) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.cover(p)
}

// cover makes p the newest snapshot, unless there is a newer one.
func (s *logStore) cover(p position) error {
	if old := s.snapshot.Load(); old != nil && old.index > p.index {
		return nil
	}
	grown, err := s.size(p.index+1, s.last.Load())
	if err != nil {
		return err
	}
	s.grown.Store(grown)
	s.snapshot.Store(&p)
	return nil
}

// agrees reports whether the log does not contradict a snapshot at p.
func (s *logStore) agrees(p position) (bool, error) {
	if p.index < s.first.Load() || p.index > s.last.Load() {
		return true, nil
	}
	var l raft.Log
	if err := s.GetLog(p.index, &l); err != nil {
		return false, err
	}
	return l.Term == p.term, nil
}

// reconcile makes the log fit the newest snapshot (nil: none) before the library reads either, drops what a crash or
// ErrLogConflict left behind, and checks that what stays has no gap.
func (s *logStore) reconcile(newest *position) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if newest != nil && s.last.Load() != 0 {
		agrees, err := s.agrees(*newest)
		if err != nil {
			return err
		}
		if s.last.Load() < newest.index || !agrees {
			if err := s.deleteRange(s.first.Load(), s.last.Load(), pebble.Sync); err != nil {
				return err
			}
		}
	}
	from := uint64(0)
	if newest != nil {
		s.snapshot.Store(newest)
		from = newest.index
	}
	if first := s.first.Load(); first > from+1 {
		return fmt.Errorf("log begins at %d, newest snapshot at %d: %w", first, from, ErrCorrupt)
	}
	return s.measure(from)
}

// measure checks that every entry is readable and follows the one before it, and counts the bytes held, and those
// after index from.
func (s *logStore) measure(from uint64) error {
	it, err := s.entries(0)
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	var all, grown int64
	var l raft.Log
	want, term := s.first.Load(), uint64(0)
	for it.First(); it.Valid(); it.Next() {
		index := binary.BigEndian.Uint64(it.Key()[1:])
		if index != want {
			return fmt.Errorf("log holds entry %d where %d belongs: %w", index, want, ErrCorrupt)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(fmt.Errorf("log entry %d: %w", index, ErrCorrupt), err)
		}
		if err := getEntry(v, index, &l); err != nil {
			return err
		}
		if l.Term < term {
			return fmt.Errorf("log entry %d of term %d after term %d: %w", index, l.Term, term, ErrCorrupt)
		}
		term = l.Term
		all += int64(len(v))
		if index > from {
			grown += int64(len(v))
		}
		want++
	}
	s.bytes.Store(all)
	s.grown.Store(grown)
	return it.Error()
}
