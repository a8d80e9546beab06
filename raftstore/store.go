// Package raftstore keeps a state machine the same on every coordinator: hashicorp/raft with its log and votes on
// Pebble, and a guard for each of the library's known hazards.
package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// Store is one server of the replicated log.
type Store struct {
	config    Config
	log       *slog.Logger
	fault     *fault
	directory *directory
	db        *pebble.DB
	entries   *logStore
	snapshots *snapshotStore
	machine   *stateMachine
	raft      *raft.Raft
	barriers  barriers
	refusals  refusals

	stop    context.CancelFunc
	workers sync.WaitGroup
	close   sync.Once
	closed  error
}

// Open starts this server: it restores the machine from the newest snapshot, proves that the disk takes writes, and
// joins the cluster. The machine and c.StreamLayer belong to the store from then on; if Open fails, StreamLayer is
// closed. A data directory of another server or format gives DirMismatch, damage to it ErrCorrupt.
func Open(c Config, machine Machine, log *slog.Logger) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return open(c.withDefaults(), machine, log)
}

func open(c Config, machine Machine, log *slog.Logger) (*Store, error) {
	s := &Store{config: c, log: log, fault: &fault{log: log, onFatal: c.OnFatal}}
	s.machine = &stateMachine{machine: machine, fault: s.fault}
	err := s.openDisk()
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.fault.closing.Store(true)
		return nil, errors.Join(err, s.closeDisk(), c.StreamLayer.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.workers.Go(func() { s.upkeep(ctx) })
	return s, nil
}

func (s *Store) openDisk() (err error) {
	defer func() {
		if p := recover(); p != nil {
			fatal, ok := p.(pebbleFatal)
			if !ok {
				panic(p)
			}
			err = fatal.error
		}
	}()
	d, err := openDirectory(s.config, s.log)
	if err != nil {
		return err
	}
	s.directory = d
	if s.snapshots, err = openSnapshots(d.fs, d.join(snapshotDir), s.fault); err != nil {
		return err
	}
	if s.db, err = pebble.Open(d.join(logDir), pebbleOptions(d, s.log, s.fault)); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if s.entries, err = newLogStore(s.db, pebble.Sync); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	newest, _ := s.snapshots.newest()
	if err := s.entries.reconcile(newest); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	s.snapshots.installed, s.snapshots.taken = s.entries.installed, s.entries.taken
	return s.entries.probe()
}

func pebbleOptions(d *directory, log *slog.Logger, f *fault) *pebble.Options {
	l := pebbleLogger{to: log.With("part", "log store"), fault: f}
	return &pebble.Options{
		FS: d.fs,
		// Fixed, so that a newer library does not write what the version before it cannot read.
		FormatMajorVersion: pebble.FormatValueSeparation,
		// A log is written once, read back rarely and deleted by range: a small cache, no filters.
		MemTableSize: 16 << 20, MemTableStopWritesThreshold: 4, L0CompactionThreshold: 4, CacheSize: 8 << 20,
		Logger: l, EventListener: l.events(),
	}
}

func (s *Store) start() error {
	logger := raftLogger{to: s.log.With("part", "raft"), name: "raft"}
	rc := s.config.raft()
	rc.Logger = logger
	logs := &watchedLog{logStore: s.entries, fault: s.fault, limit: s.config.StallLimit}
	t := newTransport(s.config, s.fault, logger)
	err := s.bootstrap(rc, logs, t)
	if err == nil {
		s.fault.running.Store(true)
		s.raft, err = raft.NewRaft(rc, s.machine, logs, logs, s.snapshots, t)
	}
	if err != nil {
		s.fault.running.Store(false)
		_ = t.Close()
		return fmt.Errorf("start raft: %w", err)
	}
	return nil
}

// bootstrap writes the first configuration, if nothing was ever written here.
func (s *Store) bootstrap(rc *raft.Config, logs *watchedLog, t transport) error {
	if len(s.config.Bootstrap) == 0 {
		return nil
	}
	exists, err := raft.HasExistingState(logs, logs, s.snapshots)
	if err != nil || exists {
		return err
	}
	var first raft.Configuration
	for _, m := range s.config.Bootstrap {
		first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Addr)})
	}
	return raft.BootstrapCluster(rc, logs, logs, s.snapshots, t, first)
}

// Close stops this server and waits for it. Its peers elect another leader.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.fault.closing.Store(true)
		s.stop()
		down := s.raft.Shutdown() // first, since a worker may be waiting for a library that was halted
		s.workers.Wait()
		s.closed = errors.Join(down.Error(), s.closeDisk())
	})
	return s.closed
}

func (s *Store) closeDisk() error {
	if s.db == nil {
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}
