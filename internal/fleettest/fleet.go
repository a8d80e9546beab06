// Package fleettest runs real coordinators in the process of a test, and machines that speak the real protocol and hold nothing.
package fleettest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/coordinator"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/wire"
)

// Patience bounds every wait: the machine may be slow.
const Patience = time.Minute

// Ports of every member; addresses differ.
const (
	listenPort = 7000
	gossipPort = 7946
)

// Fleet is a cluster of coordinators.
type Fleet struct {
	Key          string // the first admin key
	Coordinators []*Coordinator

	t     testing.TB
	dir   string
	block int // of addresses
	next  int
	mu    sync.Mutex // held while coordinators come and go: machines look for them from their own goroutines
}

// Coordinator is one of them. Server is nil while it is stopped.
type Coordinator struct {
	*coordinator.Server
	Config coordinator.Config
}

var blocks atomic.Int32

// New founds a cluster and lets coordinators join until there are n. executable is the program that converts models, "" if none will.
func New(t testing.TB, n int, executable string) *Fleet {
	t.Helper()
	f := &Fleet{t: t, dir: t.TempDir(), block: int(blocks.Add(1))}
	first := f.add(executable)
	if err := coordinator.Found(first.Config.Dir, first.Config.Name); err != nil {
		t.Fatal(err)
	}
	f.Start(first)
	key, err := os.ReadFile(filepath.Join(first.Config.Dir, coordinator.AdminKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	f.Key = strings.TrimSpace(string(key))
	Within(t, "the cluster is founded", func() bool { return first.Live().Now().Cluster().ID != "" })
	for range n - 1 {
		f.Join(executable)
	}
	return f
}

// Addr is an address of the loopback network that is nobody else's: not another fleet's, not another test process's.
func (f *Fleet) Addr() string {
	f.next++
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid/256%250, pid%256, (f.block*16+f.next)%256)
}

func (f *Fleet) add(executable string) *Coordinator {
	if executable == "" {
		executable = "none"
	}
	name := fmt.Sprintf("c%d", len(f.Coordinators)+1)
	c := &Coordinator{Config: coordinator.Config{Dir: filepath.Join(f.dir, name), Name: name, Executable: executable, Software: "test",
		AlertAllow: []string{"127.0.0.0/8"}, CallAllow: []string{"127.0.0.0/8"}, AlertEvery: 200 * time.Millisecond}}
	f.Move(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Coordinators = append(f.Coordinators, c)
	return c
}

// Move gives a coordinator that does not run another address.
func (f *Fleet) Move(c *Coordinator) {
	at := f.Addr()
	c.Config.Listen, c.Config.Gossip = fmt.Sprintf("%s:%d", at, listenPort), fmt.Sprintf("%s:%d", at, gossipPort)
}

// Join adds a coordinator and waits until every one that runs knows it.
func (f *Fleet) Join(executable string) *Coordinator {
	f.t.Helper()
	c := f.add(executable)
	if err := f.Enrol(cluster.RoleCoordinator, c.Config.Name).Save(c.Config.Dir); err != nil {
		f.t.Fatal(err)
	}
	f.Start(c)
	id := f.ID(c)
	Within(f.t, c.Config.Name+" is known", func() bool {
		return !slices.ContainsFunc(f.Running(), func(o *Coordinator) bool { _, ok := o.Live().Now().Member(id); return !ok })
	})
	return c
}

// ID is who a coordinator is.
func (f *Fleet) ID(c *Coordinator) cluster.NodeID {
	m, err := wire.LoadMembership(c.Config.Dir)
	if err != nil {
		f.t.Fatal(err)
	}
	return m.ID
}

// Start starts a coordinator, for the first time or again.
func (f *Fleet) Start(c *Coordinator) {
	f.t.Helper()
	s, err := coordinator.Start(c.Config, func(err error) { f.t.Errorf("%s must not go on: %v", c.Config.Name, err) }, Log())
	if err != nil {
		f.t.Fatal(err)
	}
	f.set(c, s)
	f.t.Cleanup(func() {
		if c.Server == s {
			f.Stop(c)
		}
	})
}

// Stop stops a coordinator.
func (f *Fleet) Stop(c *Coordinator) {
	s := c.Server
	f.set(c, nil)
	if err := s.Close(); err != nil {
		f.t.Errorf("stop %s: %v", c.Config.Name, err)
	}
}

func (f *Fleet) set(c *Coordinator, s *coordinator.Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Server = s
}

// leading is the address of the coordinator that leads, "" if none does.
func (f *Fleet) leading() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.Running() {
		if c.Leads() {
			return c.Config.Listen
		}
	}
	return ""
}

// Running lists the coordinators that run.
func (f *Fleet) Running() (list []*Coordinator) {
	for _, c := range f.Coordinators {
		if c.Server != nil {
			list = append(list, c)
		}
	}
	return list
}

// Leader waits until one of those that run leads, and the others know it.
func (f *Fleet) Leader() (leader *Coordinator) {
	f.t.Helper()
	Within(f.t, "somebody leads", func() bool {
		leader = nil
		for _, c := range f.Running() {
			if c.Leads() {
				leader = c
			}
		}
		return leader != nil && !slices.ContainsFunc(f.Running(), func(c *Coordinator) bool { return c.Server.Leader() != leader.Config.Listen })
	})
	return leader
}

// Follower is one that runs and does not lead.
func (f *Fleet) Follower() *Coordinator {
	f.t.Helper()
	leader := f.Leader()
	running := f.Running()
	return running[slices.IndexFunc(running, func(c *Coordinator) bool { return c != leader })]
}

// Enrol makes a member with a token of its own.
func (f *Fleet) Enrol(role cluster.Role, name string) wire.Membership {
	f.t.Helper()
	m, err := wire.JoinCluster(f.t.Context(), f.Running()[0].Config.Listen, f.Token(role), wire.NewID(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// Token makes a join token.
func (f *Fleet) Token(role cluster.Role) wire.Token {
	f.t.Helper()
	text, record := f.Running()[0].NewJoinToken(role, wire.JoinTokenLife)
	f.Do(f.Running()[0], cluster.PutJoinToken{Token: record})
	token, err := wire.ParseToken(text)
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// Dialer makes calls as a member.
func (f *Fleet) Dialer(m wire.Membership) *wire.Dialer {
	f.t.Helper()
	creds, err := wire.NewCredentials(m.Papers)
	if err != nil {
		f.t.Fatal(err)
	}
	d := wire.NewDialer(creds)
	f.t.Cleanup(d.Close)
	return d
}

// Do proposes commands that must be applied, at a coordinator. What is sent to a leader just as it stops has an unknown outcome: then it is
// proposed again, and that it exists already is what was wanted.
func (f *Fleet) Do(c *Coordinator, commands ...cluster.Command) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), Patience)
	defer cancel()
	for again := false; ; again = true {
		rejected, err := c.Propose(ctx, cluster.Txn{Do: commands})
		switch {
		case errors.Is(err, raftstore.ErrOutcomeUnknown) && ctx.Err() == nil:
			continue
		case err == nil && rejected[0] != nil && !(again && rejected[0].Reason == cluster.ReasonExists):
			f.t.Fatal(rejected[0])
		case err != nil:
			f.t.Fatal(err)
		}
		return
	}
}

// Log is where coordinators write to: nowhere, or to standard error where SKEIN_TEST_LOG is set.
func Log() *slog.Logger {
	if os.Getenv("SKEIN_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Within waits until something holds.
func Within(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(Patience)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}
