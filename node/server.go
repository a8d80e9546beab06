// Package node is the process that supervises a machine: it says what devices there are, and keeps on them what the cluster wants.
package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/blob/disk"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gossip"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/wire"
)

// Probe reads the devices of a machine.
type Probe interface {
	// Inventory lists the devices.
	Inventory() gpu.Inventory
	// Read reads them. used is what the stages on each device were measured to hold.
	Read(used map[gpu.DeviceID]gpu.Bytes) []gpu.Reading
}

// Server is a running node.
type Server struct {
	cfg       Config
	log       *slog.Logger
	member    wire.Membership
	session   uint64
	creds     *wire.Credentials
	dialer    *wire.Dialer
	listener  *wire.Listener
	blobs     *disk.Store
	gossip    *gossip.Members
	probe     Probe
	link      *link
	processes map[gpu.DeviceID]*process
	workers   chan workerEvent
	desired   chan cluster.Desired
	ended     chan agent.Input // what came of fetches, loads and unloads
	fetches   map[cluster.StageKey]context.CancelFunc
	used      map[agent.Slot]gpu.Bytes
	fetched   atomic.Int64 // bytes of blobs, since the start
	served    atomic.Int64 // bytes of blobs to others, since the start
	crowded   chan int64   // bytes that a fetch found no room for; capacity 1
	removed   removed
	crowd     *crowd
	heads     *heads
	running   sync.WaitGroup
	stop      context.CancelFunc
}

// Start starts the node whose membership is in cfg.Dir.
func Start(cfg Config, probe Probe, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	member, err := wire.LoadMembership(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	var b [8]byte
	rand.Read(b[:])
	s := &Server{cfg: cfg, log: log, member: member, session: binary.LittleEndian.Uint64(b[:]), probe: probe,
		processes: map[gpu.DeviceID]*process{}, workers: make(chan workerEvent, 64), desired: make(chan cluster.Desired, 1),
		ended: make(chan agent.Input, 64), fetches: map[cluster.StageKey]context.CancelFunc{}, used: map[agent.Slot]gpu.Bytes{}, crowded: make(chan int64, 1), heads: openHeads(cfg.Dir), crowd: newCrowd()}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.closeParts())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	mux := wire.NewMux()
	wire.Handle(mux, wire.Ping, func(context.Context, *wire.Empty) (*wire.Pong, error) {
		return &wire.Pong{ID: member.ID, Session: s.session}, nil
	})
	wire.HandleBlobs(mux, s.blobs, &s.served)
	s.running.Go(func() {
		if err := s.listener.Serve(ctx, mux); err != nil {
			log.Error("node stopped listening", "err", err)
		}
	})
	for _, p := range s.processes {
		s.running.Go(func() { p.run(ctx) })
	}
	s.running.Go(func() { s.link.run(ctx) })
	s.running.Go(func() { s.loop(ctx) })
	s.running.Go(func() { s.meet(ctx) })
	s.running.Go(func() { s.renewPapers(ctx) })
	s.running.Go(func() { s.tidy(ctx) })
	return s, nil
}

func (s *Server) open() (err error) {
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
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return err
	}
	inventory := s.probe.Inventory()
	for _, d := range inventory {
		s.processes[d.ID] = &process{device: d, exe: s.cfg.Executable, log: s.log, events: s.workers, papers: s.creds.Papers, gone: s.expelled,
			setup: worker.Setup{Library: s.cfg.Library, Blobs: s.blobs.Folder(), Host: host, Device: d}}
	}
	s.link = newLink(s.dialer, s.member.Coordinators, s.desired, s.log)
	meta := gossip.Meta{Role: cluster.RoleNode, Addr: s.cfg.Listen, Name: s.cfg.Name, Zone: s.cfg.Zone, Software: s.cfg.Software, Devices: len(inventory)}
	if len(inventory) > 0 {
		meta.Model = inventory[0].Name
	}
	s.gossip, err = gossip.Start(gossip.Config{ID: s.member.ID, ClusterID: s.creds.Identity().Cluster, Bind: s.cfg.Gossip, Key: s.member.GossipKey, Seeds: slices.Concat(s.cfg.Seeds, s.member.Seeds), Meta: meta}, s.log)
	return err
}

// Close stops the node. What it served is placed elsewhere once the cluster notices.
func (s *Server) Close() error {
	s.stop()
	err := s.gossip.Leave()
	s.running.Wait()
	return errors.Join(err, s.closeParts())
}

func (s *Server) closeParts() error {
	var errs []error
	if s.listener != nil {
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

// meetEvery is the pace at which the node learns of coordinators from gossip.
const meetEvery = 2 * time.Second

// meet learns coordinators' addresses from gossip: those of the membership file may all be gone one day.
func (s *Server) meet(ctx context.Context) {
	for {
		for _, m := range s.gossip.List() {
			if m.Meta.Role == cluster.RoleCoordinator {
				s.link.learn(m.Meta.Addr)
			}
		}
		select {
		case <-time.After(meetEvery):
		case <-ctx.Done():
			return
		}
	}
}

// renewRetry is the pause after a certificate could not be replaced.
const renewRetry = 10 * time.Second

// renewPapers replaces the certificate at half its life, here and in the workers: at once if the machine was off meanwhile.
func (s *Server) renewPapers(ctx context.Context) {
	for pause := time.Duration(0); ; pause = renewRetry {
		select {
		case <-time.After(max(time.Until(s.creds.RenewAt()), pause)):
		case <-ctx.Done():
			return
		}
		var papers wire.Papers
		err := errors.New("no coordinator is known")
		for _, addr := range s.link.addrs() {
			if papers, err = wire.RenewCluster(ctx, s.dialer, addr); err == nil {
				break
			}
		}
		if err == nil {
			s.member.Papers = papers
			err = s.member.Save(s.cfg.Dir)
		}
		if err != nil {
			s.log.Warn("certificate not renewed", "err", err)
			continue
		}
		for _, p := range s.processes {
			if err := p.send(worker.Order{Papers: &papers}); err != nil {
				s.log.Debug("worker gets the new certificate when it starts", "device", p.device.ID, "err", err)
			}
		}
	}
}
