// Package coordinator is one of the few processes that agree on the truth: the log, the scheduler while it leads, and the library of models.
package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/blob/s3"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator/monitor"
	"github.com/skein-project/skein/gossip"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/results/shelf"
	"github.com/skein-project/skein/results/sqlstore"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/wire"
)

// Folders in the data directory.
const (
	raftDir  = "raft"
	auditDir = "audit"
	blobsDir = "blobs"
)

// Server is a running coordinator.
type Server struct {
	cfg       Config
	log       *slog.Logger
	member    wire.Membership // as it was at the start
	session   uint64
	creds     *wire.Credentials
	dialer    *wire.Dialer
	listener  *wire.Listener
	mux       *wire.Mux
	live      *live.State
	machine   *machine
	store     *raftstore.Store
	blobs     *disk.Store
	bucket    *s3.Store    // nil where there is none
	outside   *http.Client // that models are fetched by
	pins      pins
	pulls     chan struct{} // one for each pull under way
	gossip    *gossip.Members
	fleet     *fleet
	reasons   reasons
	watch     *watch
	questions chan func(*scheduler.Loop)
	settling  chan settlement
	enlisting atomic.Bool // a voter is being added
	removing  sync.Mutex  // held while a member is being removed
	keeping   sync.Mutex
	kept      wire.Membership // as it is on the disk
	monitor   *monitor.Monitor
	results   *sqlstore.Store // nil where there is none
	holders   holders
	shelf     *shelf.Shelf
	boxes     chan struct{} // one for each box that is copied
	stopping  chan struct{}

	changesSeen int64 // of the leader, that the monitor was told
	copies      copies
	passing     sync.Map // coordinators that are being told what was measured, by id
	recent      atomic.Pointer[audit.Signed]
	running     sync.WaitGroup
	stop        context.CancelFunc
}

// Start starts the coordinator whose membership is in cfg.Dir. onFatal is called when the process must not go on; it should end it.
func Start(cfg Config, onFatal func(error), log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	member, err := wire.LoadMembership(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start coordinator: %w", err)
	}
	s := &Server{cfg: cfg, log: log, member: member, kept: member, live: live.New(), watch: newWatch(), fleet: newFleet(), questions: make(chan func(*scheduler.Loop)), pulls: make(chan struct{}, maxPulls), boxes: make(chan struct{}, boxCopies), stopping: make(chan struct{}),
		settling: make(chan settlement)}
	s.machine = &machine{live: s.live, took: s.watch.apply}
	var b [8]byte
	rand.Read(b[:])
	s.session = binary.LittleEndian.Uint64(b[:])
	if err := s.open(onFatal); err != nil {
		return nil, errors.Join(err, s.closeParts())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.mux = s.newMux()
	s.running.Go(func() {
		if err := s.listener.Serve(ctx, s.mux); err != nil {
			onFatal(err)
		}
	})
	s.running.Go(func() { s.lead(ctx) })
	s.running.Go(func() { s.enlist(ctx) })
	s.running.Go(func() { s.renewPapers(ctx) })
	s.running.Go(func() { s.fillAudit(ctx) })
	s.running.Go(func() { s.confirm(ctx) })
	s.running.Go(func() { s.tidy(ctx) })
	s.running.Go(func() { s.spread(ctx) })
	s.running.Go(func() { s.settleAll(ctx) })
	s.running.Go(func() { s.backUp(ctx) })
	s.running.Go(func() { s.expel(ctx) })
	s.running.Go(func() { s.monitor.Run(ctx) })
	s.running.Go(func() { s.purge(ctx) })
	s.running.Go(func() { s.retire(ctx) })
	s.running.Go(func() { s.sweep(ctx) })
	s.running.Go(func() { s.callBack(ctx) })
	s.running.Go(func() { s.spreadFiles(ctx) })
	return s, nil
}

// open opens what the server is made of, in the order in which the parts need each other.
func (s *Server) open(onFatal func(error)) (err error) {
	if s.creds, err = wire.NewCredentials(s.member.Papers); err != nil {
		return err
	}
	s.creds.Refuse(func(id cluster.NodeID) bool { return s.live.Now().Gone(id) })
	s.dialer = wire.NewDialer(s.creds)
	if time.Now().After(s.creds.RenewAt()) {
		if err := s.certifyItself(); err != nil {
			s.log.Warn("certificate not renewed", "err", err)
		}
	}
	if s.machine.audit, err = journal.Open(filepath.Join(s.cfg.Dir, auditDir)); err != nil {
		return err
	}
	if s.blobs, err = disk.Open(filepath.Join(s.cfg.Dir, blobsDir), disk.Options{}); err != nil {
		return err
	}
	if err = s.openOutside(); err != nil {
		return err
	}
	if err = s.openResults(); err != nil {
		return err
	}
	if err = s.openShelf(); err != nil {
		return err
	}
	if s.monitor, err = monitor.New(s, alert.Config{Every: s.cfg.AlertEvery}, s.cfg.sender(s.log), s.log); err != nil {
		return err
	}
	if s.listener, err = wire.Listen(s.cfg.Listen, s.creds, s.log); err != nil {
		return err
	}
	rc := raftstore.Config{ID: string(s.member.ID), Dir: filepath.Join(s.cfg.Dir, raftDir), StreamLayer: s.listener.Raft(),
		HeartbeatTimeout: s.cfg.Election, ElectionTimeout: s.cfg.Election, OnFatal: onFatal}
	if s.member.Founding {
		rc.Bootstrap = []raftstore.Server{{ID: rc.ID, Addr: s.cfg.Listen}}
	}
	if s.store, err = raftstore.Open(rc, s.machine, s.log); err != nil {
		return err
	}
	meta := gossip.Meta{Role: cluster.RoleCoordinator, Addr: s.cfg.Listen, Name: s.cfg.Name, Software: s.cfg.Software, Feature: cluster.Feature}
	s.gossip, err = gossip.Start(gossip.Config{ID: s.member.ID, ClusterID: s.cluster(), Bind: s.cfg.Gossip, Key: s.member.GossipKey,
		Seeds: slices.Concat(s.cfg.Seeds, s.member.Seeds), Meta: meta, Known: s.enrolled}, s.log)
	return err
}

func (s *Server) newMux() *wire.Mux {
	m := wire.NewMux()
	wire.Handle(m, wire.Join, s.join)
	wire.Handle(m, wire.Renew, s.renew)
	wire.HandleBidi(m, wire.Sync, s.sync)
	wire.Handle(m, wire.Ping, s.ping)
	wire.Handle(m, wire.ProbeNode, s.probeNode)
	wire.HandleStream(m, wire.Follow, s.follow)
	wire.Handle(m, wire.Propose, s.propose)
	wire.Handle(m, wire.Settle, s.settle)
	wire.Handle(m, wire.Enlist, s.enlistGateway)
	wire.Handle(m, wire.Keep, s.keepRecords)
	wire.Handle(m, wire.Deposit, s.deposit)
	wire.Handle(m, wire.Commit, s.Commit)
	wire.Handle(m, wire.PutBox, s.PutBox)
	wire.Handle(m, wire.GetBox, s.GetBox)
	wire.Handle(m, wire.DropBox, s.DropBox)
	wire.Handle(m, wire.Hold, s.hold)
	wire.Handle(m, wire.Lacking, s.lacking)
	wire.HandleStream(m, wire.AuditLines, s.auditLines)
	wire.Handle(m, wire.Observe, s.observe)
	wire.HandleBlobs(m, s.blobs, &s.watch.served)
	return m
}

// Forwarded takes calls of the operator's API that other coordinators pass on to the leader.
func (s *Server) Forwarded(h http.Handler) { s.mux.HandleForward(h) }

// ToLeader passes a request of the operator's API on to the leader.
func (s *Server) ToLeader() http.Handler {
	return wire.Forwarder(s.dialer, s.Leader)
}

// Close stops the coordinator: first what takes new work, last what others rely on.
func (s *Server) Close() error {
	close(s.stopping)
	err := s.gossip.Leave()
	s.stop()
	s.running.Wait()
	return errors.Join(err, s.closeParts())
}

func (s *Server) closeParts() error {
	var errs []error
	if s.store != nil {
		errs = append(errs, s.store.Close())
	} else if s.listener != nil {
		errs = append(errs, s.listener.Close())
	}
	if s.machine.audit != nil {
		errs = append(errs, s.machine.audit.Close())
	}
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.results != nil {
		errs = append(errs, s.results.Close())
	}
	if s.dialer != nil {
		s.dialer.Close()
	}
	return errors.Join(errs...)
}

// Live is the newest applied state.
func (s *Server) Live() *live.State { return s.live }

// Dialer makes calls as this coordinator.
func (s *Server) Dialer() *wire.Dialer { return s.dialer }

// Leader is the address of the leader as this coordinator knows it, "" if there is none.
func (s *Server) Leader() string {
	_, addr := s.store.Leader()
	return addr
}

// LeaderID is who leads as this coordinator knows it, "" if nobody does.
func (s *Server) LeaderID() cluster.NodeID {
	id, _ := s.store.Leader()
	return cluster.NodeID(id)
}

// Software is the version of this program.
func (s *Server) Software() string { return s.cfg.Software }

func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
