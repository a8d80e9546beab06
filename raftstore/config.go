package raftstore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// Server is one voting member of the cluster.
type Server struct {
	ID   string // immutable random id of the server
	Addr string // address its StreamLayer listens on, as peers dial it
}

// Config is what one server of the replicated log needs. A zero duration or size takes the default named in its comment.
type Config struct {
	ID          string           // immutable random id of this server; the data directory is bound to it
	Dir         string           // data directory, created if absent
	FS          vfs.FS           // file system that holds Dir; nil is the real disk
	StreamLayer raft.StreamLayer // listens for and dials peers; authentication is its duty
	Bootstrap   []Server         // first members; read only where Dir holds no state yet, empty on a server that joins

	HeartbeatTimeout time.Duration // silence of the leader that makes a follower ask for an election; default 2 s
	ElectionTimeout  time.Duration // length of one election; at least HeartbeatTimeout; default 2 s
	LeaseTimeout     time.Duration // a leader without contact to a majority for this long steps down; default 1 s
	CommitTimeout    time.Duration // idle time after which followers are told the commit index; a message to each of them as often; default 10 ms
	RPCTimeout       time.Duration // deadline of one message to a peer (of each 256 KiB of a snapshot); default 5 s
	StallLimit       time.Duration // longest a write to disk may take; below HeartbeatTimeout; default 1.5 s

	SnapshotBytes int64         // bytes of log entries after which a snapshot is taken; default 64 MiB
	SnapshotAge   time.Duration // age of a snapshot after which a new one is taken if anything was applied; default 1 h
	ReserveBytes  int64         // bytes kept aside and freed when the disk is full; default 32 MiB

	// OnFatal is called once, from any goroutine, when this process must not go on: a disk that stalls or fails, a
	// log that only a restart can repair, a Machine that panicked. It is expected to end the process; if it returns,
	// the store stays silent towards its peers and answers no proposal.
	OnFatal func(error)
}

const (
	// MaxEntryBytes is the largest entry that Propose accepts.
	MaxEntryBytes = 8 << 20

	snapshotEntries = 8192 // entries after which a snapshot is taken, whatever their size
	maxTrailing     = 4096 // entries kept in the log behind a snapshot, for followers that are a little late
	minTrailing     = 16
	snapshotsKept   = 2
)

func (c Config) withDefaults() Config {
	duration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	size := func(n *int64, def int64) {
		if *n == 0 {
			*n = def
		}
	}
	duration(&c.HeartbeatTimeout, 2*time.Second)
	duration(&c.ElectionTimeout, max(2*time.Second, c.HeartbeatTimeout))
	duration(&c.LeaseTimeout, min(time.Second, c.HeartbeatTimeout/2))
	duration(&c.CommitTimeout, 10*time.Millisecond)
	duration(&c.RPCTimeout, 5*time.Second)
	duration(&c.StallLimit, min(1500*time.Millisecond, c.HeartbeatTimeout*3/4))
	duration(&c.SnapshotAge, time.Hour)
	size(&c.SnapshotBytes, 64<<20)
	size(&c.ReserveBytes, 32<<20)
	if c.FS == nil {
		c.FS = vfs.Default
	}
	return c
}

// Validate says everything that is wrong with c, defaults applied.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(c.ID == "", "ID is empty")
	wrong(len(c.ID) > maxIDBytes, "ID is longer than %d bytes", maxIDBytes)
	wrong(strings.ContainsAny(c.ID, "\r\n"), "ID contains a line break")
	wrong(c.Dir == "", "Dir is empty")
	wrong(c.StreamLayer == nil, "StreamLayer is missing")
	wrong(c.OnFatal == nil, "OnFatal is missing")
	wrong(c.HeartbeatTimeout < 5*time.Millisecond, "HeartbeatTimeout %v is below 5ms", c.HeartbeatTimeout)
	wrong(c.ElectionTimeout < c.HeartbeatTimeout, "ElectionTimeout %v is below HeartbeatTimeout %v", c.ElectionTimeout, c.HeartbeatTimeout)
	wrong(c.LeaseTimeout < 5*time.Millisecond || c.LeaseTimeout >= c.HeartbeatTimeout, "LeaseTimeout %v is not between 5ms and HeartbeatTimeout %v", c.LeaseTimeout, c.HeartbeatTimeout)
	wrong(c.CommitTimeout < time.Millisecond, "CommitTimeout %v is below 1ms", c.CommitTimeout)
	wrong(c.RPCTimeout < 0, "RPCTimeout is negative")
	// A write in progress keeps the main loop from answering heartbeats, so it must end, one way or the other, first.
	wrong(c.StallLimit <= 0 || c.StallLimit >= c.HeartbeatTimeout, "StallLimit %v is not between 0 and HeartbeatTimeout %v", c.StallLimit, c.HeartbeatTimeout)
	wrong(c.SnapshotAge < 0, "SnapshotAge is negative")
	wrong(c.SnapshotBytes < 0, "SnapshotBytes is negative")
	wrong(c.ReserveBytes < 0, "ReserveBytes is negative")
	ids, addrs := map[string]bool{}, map[string]bool{}
	for _, s := range c.Bootstrap {
		wrong(s.ID == "" || s.Addr == "", "Bootstrap names a server without id or address: %+v", s)
		wrong(ids[s.ID], "Bootstrap names id %s twice", s.ID)
		wrong(addrs[s.Addr], "Bootstrap names address %s twice", s.Addr)
		ids[s.ID], addrs[s.Addr] = true, true
	}
	wrong(len(c.Bootstrap) > 0 && !ids[c.ID], "Bootstrap does not name this server %s", c.ID)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("raftstore config: %w", err)
	}
	return nil
}

func (c Config) raft() *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.ID)
	rc.HeartbeatTimeout = c.HeartbeatTimeout
	rc.ElectionTimeout = c.ElectionTimeout
	rc.LeaderLeaseTimeout = c.LeaseTimeout
	rc.CommitTimeout = c.CommitTimeout
	rc.MaxAppendEntries = 256
	rc.TrailingLogs = maxTrailing
	// Snapshots are asked for by upkeep, which also counts bytes and age; the library counts entries only.
	rc.SnapshotInterval = 365 * 24 * time.Hour
	// RestoreCommittedLogs stays off: NewRaft then feeds a channel of 128 batches that nobody reads yet, and never
	// returns if more is committed than fits.
	rc.RestoreCommittedLogs = false
	rc.NoLegacyTelemetry = true
	return rc
}
