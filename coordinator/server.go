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

	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gossip"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// raftDir is the folder of the log in the data directory.
const raftDir = "raft"

// Server is a running coordinator.
type Server struct {
	cfg       Config
	log       *slog.Logger
	member    wire.Membership
	session   uint64
	creds     *wire.Credentials
	dialer    *wire.Dialer
	listener  *wire.Listener
	mux       *wire.Mux
	live      *live.State
	machine   *machine
	store     *raftstore.Store
	blobs     *disk.Store
	gossip    *gossip.Members
	fleet     *fleet
	reasons   reasons
	previews  chan preview
	enlisting atomic.Bool // a voter is being added
	stopping  chan struct{}
	running   sync.WaitGroup
	stop      context.CancelFunc
}

// Start starts the coordinator whose membership is in cfg.Dir. founding is given once, by the first coordinator of a new cluster.
// onFatal is called when the process must not go on; it should end it.
func Start(cfg Config, founding *Founding, onFatal func(error), log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	member, err := wire.LoadMembership(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start coordinator: %w", err)
	}
	s := &Server{cfg: cfg, log: log, member: member, live: live.New(), fleet: newFleet(), previews: make(chan preview), stopping: make(chan struct{})}
	s.machine = &machine{live: s.live}
	var b [8]byte
	rand.Read(b[:])
	s.session = binary.LittleEndian.Uint64(b[:])
	if err := s.open(founding, onFatal); err != nil {
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
	s.running.Go(func() { s.enlist(ctx, founding) })
	s.running.Go(func() { s.renewPapers(ctx) })
	return s, nil
}

// open opens what the server is made of, in the order in which the parts need each other.
func (s *Server) open(founding *Founding, onFatal func(error)) (err error) {
	if s.creds, err = wire.NewCredentials(s.member.Papers); err != nil {
		return err
	}
	s.dialer = wire.NewDialer(s.creds)
	if s.blobs, err = disk.Open(filepath.Join(s.cfg.Dir, "blobs"), disk.Options{}); err != nil {
		return err
	}
	if s.listener, err = wire.Listen(s.cfg.Listen, s.creds, s.log); err != nil {
		return err
	}
	rc := raftstore.Config{ID: string(s.member.ID), Dir: filepath.Join(s.cfg.Dir, raftDir), StreamLayer: s.listener.Raft(),
		HeartbeatTimeout: s.cfg.Election, ElectionTimeout: s.cfg.Election, OnFatal: onFatal}
	if founding != nil {
		rc.Bootstrap = []raftstore.Server{{ID: rc.ID, Addr: s.cfg.Listen}}
	}
	if s.store, err = raftstore.Open(rc, s.machine, s.log); err != nil {
		return err
	}
	meta := gossip.Meta{Role: cluster.RoleCoordinator, Addr: s.cfg.Listen, Name: s.cfg.Name, Software: s.cfg.Software}
	s.gossip, err = gossip.Start(gossip.Config{ID: s.member.ID, ClusterID: s.cluster(), Bind: s.cfg.Gossip, Key: s.member.GossipKey, Seeds: slices.Concat(s.cfg.Seeds, s.member.Seeds), Meta: meta}, s.log)
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
	wire.Handle(m, wire.Hold, s.hold)
	wire.HandleBlobs(m, s.blobs)
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
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
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

// Software is the version of this program.
func (s *Server) Software() string { return s.cfg.Software }

// enlistEvery is the pace at which a coordinator makes sure that the cluster knows it.
const enlistEvery = time.Second

// enlist makes this coordinator known: the first one founds the cluster, every one keeps its own record right. The leader makes a
// voter of each coordinator in the state.
func (s *Server) enlist(ctx context.Context, founding *Founding) {
	if founding != nil {
		if err := s.found(ctx, founding); err != nil {
			s.log.Error("cannot found the cluster", "err", err)
			return
		}
	}
	for ctx.Err() == nil {
		old, known := s.live.Now().Member(s.member.ID)
		want := s.self()
		want.Rev = old.Rev
		if known && old == want {
			if !s.wait(ctx, 10*enlistEvery) {
				return
			}
			continue
		}
		if err := s.enlistAt(ctx, cluster.PutMember{Member: s.self(), Was: old.Rev}); err != nil {
			s.log.Warn("not enlisted yet", "err", err)
		}
		if !s.wait(ctx, enlistEvery) {
			return
		}
	}
}

// enlistAt proposes through whichever coordinator can: a newcomer has no log of its own yet that could tell the leader.
func (s *Server) enlistAt(ctx context.Context, c cluster.Command) error {
	entry, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: s.now(), Txns: []cluster.Txn{{Do: []cluster.Command{c}}}})
	if err != nil {
		return err
	}
	addrs := s.member.Coordinators
	if leader := s.Leader(); leader != "" {
		addrs = append([]string{leader}, addrs...)
	}
	errs := []error{errors.New("no coordinator takes the entry")}
	for _, addr := range addrs {
		for range 2 { // a follower names the leader
			var refused *wire.Refused
			_, err := wire.Call[wire.ProposeRequest, wire.ProposeResponse](ctx, s.dialer, cluster.RoleCoordinator, addr, wire.Propose, &wire.ProposeRequest{Envelope: entry})
			if err == nil {
				return nil
			}
			errs = append(errs, err)
			if !errors.As(err, &refused) || refused.Addr == "" {
				break
			}
			addr = refused.Addr
		}
	}
	return errors.Join(errs...)
}

func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// renewPapers replaces the certificate at half its life.
func (s *Server) renewPapers(ctx context.Context) {
	for s.wait(ctx, max(time.Until(s.creds.RenewAt()), time.Minute)) {
		addr := s.Leader()
		if addr == "" {
			continue
		}
		papers, err := wire.RenewCluster(ctx, s.dialer, addr)
		if err == nil {
			s.member.Papers = papers
			err = s.member.Save(s.cfg.Dir)
		}
		if err != nil {
			s.log.Warn("certificate not renewed", "err", err)
		}
	}
}
