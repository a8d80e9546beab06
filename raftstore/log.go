package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// logStore is the library's LogStore and StableStore on one Pebble DB.
//
//	'l' index (8 bytes, big endian)  an entry
//	's' name                         a stable value: term, vote
//	'p'                              the write probe
//
// StoreLogs and the stable values are synced before they return. DeleteRange is not: losing the deletion of a prefix
// leaves old entries behind, and the deletion of a suffix is followed by a StoreLogs whose sync makes it durable too,
// since one WAL is replayed in order.
type logStore struct {
	db   *pebble.DB
	sync *pebble.WriteOptions // pebble.Sync; a test shows what NoSync would lose

	writing     sync.Mutex // one writer at a time; guards pendingVote, and the order of the fields below
	pendingVote []byte     // LastVoteTerm, waiting for the candidate (hashicorp/raft#661)
	first, last atomic.Uint64
	bytes       atomic.Int64 // of all entries held
	grown       atomic.Int64 // bytes appended since the newest snapshot

	// snapshot is the newest snapshot, whose index and term answer for an entry that the log does not hold.
	snapshot atomic.Pointer[position]
}

// position names a log entry.
type position struct{ index, term uint64 }

// errKeyNotFound is compared by its text inside the library.
var errKeyNotFound = errors.New("not found")

// coveredType is the type of the entry that GetLog makes up for the newest snapshot's last index. Only its term is
// meant; were it ever applied, the library would panic at the unknown type rather than diverge.
const coveredType = raft.LogType(255)

var (
	logPrefix  = []byte{'l'}
	logEnd     = []byte{'l' + 1}
	probeKey   = []byte{'p'}
	voteTerm   = []byte("LastVoteTerm") // names chosen by the library
	voteWhom   = []byte("LastVoteCand")
	stableName = byte('s')
)

func logKey(buf []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(buf[:0], logPrefix...), index)
}

func stableKey(name []byte) []byte { return append([]byte{stableName}, name...) }

func newLogStore(db *pebble.DB, sync *pebble.WriteOptions) (*logStore, error) {
	s := &logStore{db: db, sync: sync}
	it, err := s.entries(0)
	if err != nil {
		return nil, err
	}
	if it.First() {
		s.first.Store(binary.BigEndian.Uint64(it.Key()[1:]))
	}
	if it.Last() {
		s.last.Store(binary.BigEndian.Uint64(it.Key()[1:]))
	}
	return s, it.Close()
}

func (s *logStore) entries(from uint64) (*pebble.Iterator, error) {
	return s.db.NewIter(&pebble.IterOptions{LowerBound: logKey(nil, from), UpperBound: logEnd})
}

// IsMonotonic is false: the library would otherwise drop a log that agrees with an installed snapshot while it still
// counts on it. Gaps never arise here: installed drops a log that ends before the snapshot.
func (s *logStore) IsMonotonic() bool           { return false }
func (s *logStore) FirstIndex() (uint64, error) { return s.first.Load(), nil }
func (s *logStore) LastIndex() (uint64, error)  { return s.last.Load(), nil }

// GetLog also answers for the last entry of the newest snapshot. Without that, a follower that has installed a
// snapshot, appended one entry and whose reply was lost refuses the repeated append, since it no longer finds the
// entry before it, and the leader sends the snapshot again and again.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	var key [9]byte
	v, closer, err := s.db.Get(logKey(key[:0], index))
	if errors.Is(err, pebble.ErrNotFound) {
		if p := s.snapshot.Load(); p != nil && p.index == index {
			*l = raft.Log{Index: index, Term: p.term, Type: coveredType}
			return nil
		}
		return raft.ErrLogNotFound
	} else if err != nil {
		return fmt.Errorf("read log entry %d: %w", index, err)
	}
	defer closer.Close()
	return getEntry(v, index, l)
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries and returns when they are durable. An entry that does not follow the last one is refused.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	size := 0
	for _, l := range logs {
		size += entrySize(l)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if last := s.last.Load(); last != 0 && logs[0].Index != last+1 {
		return fmt.Errorf("append entry %d after %d: %w", logs[0].Index, last, ErrCorrupt)
	}
	b := s.db.NewBatchWithSize(size + len(logs)*32)
	defer b.Close()
	for i, l := range logs {
		if l.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("append entry %d as number %d after %d: %w", l.Index, i, logs[0].Index, ErrCorrupt)
		}
		op := b.SetDeferred(9, entrySize(l)) // encodes straight into the batch
		logKey(op.Key, l.Index)
		putEntry(op.Value, l)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	if err := b.Commit(s.sync); err != nil {
		return fmt.Errorf("append entries %d to %d: %w", logs[0].Index, logs[len(logs)-1].Index, err)
	}
	s.bytes.Add(int64(size))
	s.grown.Add(int64(size))
	if s.first.Load() == 0 {
		s.first.Store(logs[0].Index)
	}
	s.last.Store(logs[len(logs)-1].Index)
	return nil
}

// DeleteRange deletes the entries min to max, both included, which are a prefix or a suffix of the log.
func (s *logStore) DeleteRange(min, max uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.deleteRange(min, max, pebble.NoSync)
}

func (s *logStore) deleteRange(lo, hi uint64, how *pebble.WriteOptions) error {
	first, last := s.first.Load(), s.last.Load()
	lo, hi = max(lo, first), min(hi, last)
	if first == 0 || lo > hi {
		return nil
	}
	if lo > first && hi < last {
		return fmt.Errorf("delete entries %d to %d inside %d to %d: %w", lo, hi, first, last, ErrCorrupt)
	}
	size, err := s.size(lo, hi)
	if err != nil {
		return err
	}
	if err := s.db.DeleteRange(logKey(nil, lo), logKey(nil, hi+1), how); err != nil {
		return fmt.Errorf("delete entries %d to %d: %w", lo, hi, err)
	}
	s.bytes.Add(-size)
	switch {
	case lo == first && hi == last:
		s.first.Store(0)
		s.last.Store(0)
	case lo == first:
		s.first.Store(hi + 1)
	default:
		s.last.Store(lo - 1)
	}
	return nil
}

// size is the sum of the entries lo to hi in bytes.
func (s *logStore) size(lo, hi uint64) (int64, error) {
	it, err := s.entries(lo)
	if err != nil {
		return 0, err
	}
	var n int64
	for it.First(); it.Valid() && binary.BigEndian.Uint64(it.Key()[1:]) <= hi; it.Next() {
		v := it.LazyValue()
		n += int64(v.Len())
	}
	return n, it.Close()
}

// Get returns a stable value.
func (s *logStore) Get(name []byte) ([]byte, error) {
	v, closer, err := s.db.Get(stableKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errKeyNotFound
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// Set makes a stable value durable. The library writes a vote as LastVoteTerm, then LastVoteCand; a crash between the
// two would pair a new term with an old candidate, so the first waits for the second and both are one batch.
func (s *logStore) Set(name, value []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if string(name) == string(voteTerm) {
		s.pendingVote = append([]byte(nil), value...)
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if string(name) == string(voteWhom) && s.pendingVote != nil {
		if err := b.Set(stableKey(voteTerm), s.pendingVote, nil); err != nil {
			return err
		}
		s.pendingVote = nil
	}
	if err := b.Set(stableKey(name), value, nil); err != nil {
		return err
	}
	if err := b.Commit(s.sync); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// SetUint64 is Set of 8 bytes, big endian.
func (s *logStore) SetUint64(name []byte, v uint64) error {
	return s.Set(name, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 is Get of 8 bytes, big endian.
func (s *logStore) GetUint64(name []byte) (uint64, error) {
	v, err := s.Get(name)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("stable value %s of %d bytes: %w", name, len(v), ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

// probe proves that this disk takes a durable write, before this server may stand for election (hashicorp/raft#614).
func (s *logStore) probe() error {
	if err := s.db.Set(probeKey, binary.BigEndian.AppendUint64(nil, s.last.Load()), pebble.Sync); err != nil {
		return fmt.Errorf("write probe: %w", err)
	}
	return nil
}
