// Package follower keeps a stand-alone gateway's copy of the truth: it follows the log of whichever coordinator answers, and reads the model library there.
package follower

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/wire"
)

// Pace of following.
const (
	retryEvery = 250 * time.Millisecond
	firstWait  = 30 * time.Second // for the first word of a coordinator: it may have a large snapshot to write
	quietAfter = 5 * time.Second  // a coordinator that says nothing for so long, or knows no leader, is left
)

// maxSnapshot bounds a snapshot that is being received, in bytes.
const maxSnapshot = 1 << 30

// Follower follows the log. It applies entries with the same cluster.Apply as coordinators do, so its state is theirs, a little later.
type Follower struct {
	dialer *wire.Dialer
	live   *live.State
	log    *slog.Logger

	mu     sync.Mutex
	known  []string // addresses of coordinators
	leader string   // address, as it was last heard
	holder string   // address of the coordinator that last took records
}

// New makes a follower that first asks the known coordinators.
func New(d *wire.Dialer, known []string, log *slog.Logger) *Follower {
	return &Follower{dialer: d, live: live.New(), log: log, known: slices.Clone(known)}
}

// Live is the newest state.
func (f *Follower) Live() *live.State { return f.live }

// Run follows until ctx ends. With every coordinator gone, the last state stays.
func (f *Follower) Run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		addrs := f.Coordinators()
		if len(addrs) > 0 {
			err := f.follow(ctx, addrs[i%len(addrs)])
			f.log.Debug("following another coordinator", "err", err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
}

// Coordinators are the addresses of those in the state, and those that were known first.
func (f *Follower) Coordinators() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for m := range f.live.Now().Members() {
		if m.Role == cluster.RoleCoordinator && !slices.Contains(f.known, m.Addr) {
			f.known = append(f.known, m.Addr)
		}
	}
	return slices.Clone(f.known)
}

func (f *Follower) follow(ctx context.Context, addr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(firstWait, cancel)
	defer quiet.Stop()
	req := &wire.FollowRequest{After: f.live.Now().Index()}
	var snapshot bytes.Buffer
	return wire.Read(ctx, f.dialer, cluster.RoleCoordinator, addr, wire.Follow, req, func(p *wire.LogPiece) error {
		if p.Leader != "" || p.More {
			quiet.Reset(quietAfter)
		}
		if p.Leader != "" {
			f.mu.Lock()
			f.leader = p.Leader
			f.mu.Unlock()
		}
		if snapshot.Len()+len(p.Snapshot) > maxSnapshot {
			return fmt.Errorf("a snapshot of more than %d bytes", maxSnapshot)
		}
		snapshot.Write(p.Snapshot)
		if p.More {
			return nil
		}
		err := f.take(&snapshot, p.Entries)
		snapshot = bytes.Buffer{}
		if err == nil && p.Leader != "" {
			f.live.Confirm()
		}
		return err
	})
}

// take applies what came. A snapshot that is older than what is here is ignored: that coordinator lags.
func (f *Follower) take(snapshot *bytes.Buffer, entries []wire.LogEntry) error {
	state := f.live.Now()
	if snapshot.Len() > 0 {
		s, err := cluster.Read(snapshot)
		if err != nil {
			return fmt.Errorf("read a snapshot: %w", err)
		}
		if s.Index() < state.Index() {
			return errBehind
		}
		state = s
	}
	for _, e := range entries {
		env, err := cluster.Decode(e.Entry)
		if err != nil {
			return fmt.Errorf("read entry %d: %w", e.Index, err)
		}
		state, _ = cluster.Apply(state, e.Index, env)
	}
	if state.Index() != f.live.Now().Index() {
		f.live.Store(state)
	}
	return nil
}

var errBehind = errors.New("follower: the coordinator is behind what is known here")

// ReadBlob reads a small range of a blob from a coordinator.
func (f *Follower) ReadBlob(ctx context.Context, ref blob.Ref) ([]byte, error) {
	return wire.ReadAny(ctx, f.dialer, f.Coordinators(), ref)
}

// BlobSize is the size of a blob in bytes.
func (f *Follower) BlobSize(ctx context.Context, d blob.Digest) (int64, error) {
	x, err := wire.FetchIndexAny(ctx, f.dialer, f.Coordinators(), d)
	return x.Size, err
}
