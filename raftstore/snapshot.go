package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// snapshotStore keeps the newest snapshots as files. A snapshot is written under a temporary name, synced, renamed,
// and the directory synced; it exists from then on.
type snapshotStore struct {
	fs    vfs.FS
	dir   string
	fault *fault
	// installed is told of a snapshot that the leader sent, taken of one taken here; both are durable by then.
	installed, taken func(position) error

	mu    sync.Mutex
	files []snapshotFile // newest first
	seq   uint64
}

// errSuperseded ends a snapshot that was overtaken by one from the leader.
var errSuperseded = errors.New("a newer snapshot exists")

const temporary = ".tmp"

// openSnapshots lists the snapshots in dir, checks that the newest is whole, and removes what a crash left half-written.
func openSnapshots(fs vfs.FS, dir string, f *fault) (*snapshotStore, error) {
	s := &snapshotStore{fs: fs, dir: dir, fault: f}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, temporary) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
			continue
		}
		if !strings.HasSuffix(name, snapshotSuffix) {
			continue
		}
		file, _, err := readSnapshotFile(fs, fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, file)
		s.seq = max(s.seq, file.head.Seq)
	}
	slices.SortFunc(s.files, newestFirst)
	if len(s.files) > 0 {
		if err := s.files[0].verify(fs); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func newestFirst(a, b snapshotFile) int {
	return cmp.Or(-cmp.Compare(a.head.Index, b.head.Index), -cmp.Compare(a.head.Seq, b.head.Seq))
}

// newest is the last entry that the newest snapshot covers, and when the snapshot was taken.
func (s *snapshotStore) newest() (*position, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return nil, time.Time{}
	}
	h := s.files[0].head
	return &position{h.Index, h.Term}, time.Unix(0, h.TakenAt)
}

// Create begins a snapshot; nothing is visible before Close of the sink.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	s.seq++
	head := snapshotHead{
		Version: int(version), Index: index, Term: term, Seq: s.seq, TakenAt: time.Now().UnixNano(),
		Configuration: raft.EncodeConfiguration(configuration), ConfigurationIndex: configurationIndex,
	}
	s.mu.Unlock()
	path := s.fs.PathJoin(s.dir, head.name())
	w, err := newSnapshotWriter(s.fs, path+temporary, head)
	if err != nil {
		s.fault.raise(err)
		return nil, err
	}
	return &snapshotSink{store: s, head: head, path: path, w: w}, nil
}

// List is newest first.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	metas := make([]*raft.SnapshotMeta, 0, len(s.files))
	for _, f := range s.files {
		metas = append(metas, f.meta())
	}
	return metas, nil
}

// Open returns a snapshot whose checksum was verified.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.files, func(f snapshotFile) bool { return f.head.name() == id })
	if i < 0 {
		s.mu.Unlock()
		return nil, nil, fmt.Errorf("snapshot %s does not exist", id)
	}
	f := s.files[i]
	r, err := f.open(s.fs) // under the lock, so that it is not removed first
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	return f.meta(), r, nil
}

// finish makes a written snapshot visible and forgets old ones.
func (s *snapshotStore) finish(sink *snapshotSink) error {
	at := position{sink.head.Index, sink.head.Term}
	if newest, _ := s.newest(); newest != nil && at.index < newest.index {
		return fmt.Errorf("snapshot at %d: %w", at.index, errSuperseded)
	}
	if err := s.fs.Rename(sink.path+temporary, sink.path); err != nil {
		return fmt.Errorf("rename snapshot: %w", err)
	}
	if err := syncDir(s.fs, s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	s.files = append(s.files, snapshotFile{path: sink.path, head: sink.head, size: sink.w.payload})
	slices.SortFunc(s.files, newestFirst)
	old := s.files[min(len(s.files), snapshotsKept):]
	s.files = slices.Clone(s.files[:len(s.files)-len(old)])
	s.mu.Unlock()
	for _, f := range old { // a file that stays is found again at the next Open
		if err := s.fs.Remove(f.path); err != nil {
			return fmt.Errorf("remove old snapshot: %w", err)
		}
	}
	return nil
}

// snapshotSink is a snapshot being written.
type snapshotSink struct {
	store *snapshotStore
	head  snapshotHead
	path  string
	w     *snapshotWriter
	local bool // taken here, not sent by the leader
	ended bool
}

func (s *snapshotSink) ID() string { return s.head.name() }

func (s *snapshotSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		s.store.fault.raise(err)
	}
	return n, err
}

// Close makes the snapshot durable and visible, then brings the log in line with it.
func (s *snapshotSink) Close() error {
	if s.ended {
		return nil
	}
	s.ended = true
	err := s.w.finish()
	if err == nil {
		err = s.store.finish(s)
	}
	if errors.Is(err, errSuperseded) {
		return errors.Join(err, s.discard())
	}
	if err != nil {
		s.store.fault.raise(err)
		return err
	}
	at := position{s.head.Index, s.head.Term}
	tell := s.store.installed
	if s.local {
		tell = s.store.taken
	}
	if err := tell(at); err != nil {
		return s.store.fault.halt(err)
	}
	return nil
}

// Cancel removes what was written.
func (s *snapshotSink) Cancel() error {
	if s.ended {
		return nil
	}
	s.ended = true
	return errors.Join(s.w.file.Close(), s.discard())
}

func (s *snapshotSink) discard() error { return s.store.fs.Remove(s.path + temporary) }

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
