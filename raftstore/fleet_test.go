package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// registers is the test's machine: named registers with put, get and compare-and-set.
type registers struct {
	mu      sync.Mutex
	Values  map[string]string
	History []string // of applied entries, "index entry"
}

type command struct {
	Op, Key, Value, Old string
}

type reply struct {
	OK    bool
	Value string
}

func newRegisters() *registers { return &registers{Values: map[string]string{}} }

func (m *registers) Apply(index uint64, entry []byte) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	var c command
	if err := json.Unmarshal(entry, &c); err != nil {
		panic(fmt.Sprintf("entry %d: unknown tag: %v", index, err))
	}
	m.History = append(m.History, fmt.Sprintf("%d %s", index, entry))
	switch c.Op {
	case "put":
		m.Values[c.Key] = c.Value
	case "cas":
		if m.Values[c.Key] != c.Old {
			return reply{Value: m.Values[c.Key]}
		}
		m.Values[c.Key] = c.Value
	case "get":
	default:
		panic(fmt.Sprintf("entry %d: unknown tag %q", index, c.Op))
	}
	return reply{OK: true, Value: m.Values[c.Key]}
}

func (m *registers) Snapshot() func(io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := json.Marshal(m)
	return func(w io.Writer) error {
		if err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	}
}

func (m *registers) Restore(r io.Reader) error {
	var fresh registers
	if err := json.NewDecoder(r).Decode(&fresh); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Values, m.History = fresh.Values, fresh.History
	return nil
}

func (m *registers) value(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Values[key]
}

func (m *registers) history() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.History)
}

func (c command) bytes() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

func put(key, value string) []byte { return command{Op: "put", Key: key, Value: value}.bytes() }

// fleet is a cluster of real servers on memory file systems and a memory network.
type fleet struct {
	t       *testing.T
	net     *network
	servers []*server
	adjust  func(*Config)
	mu      sync.Mutex // guards server.store and machine where clients run beside start and crash
	// unchecked skips Config.Validate, so that a test can show what happens without a limit.
	unchecked bool
}

type server struct {
	id, addr string
	fs       *vfs.MemFS
	wrap     func(vfs.FS) vfs.FS
	store    *Store // nil while down
	machine  *registers
	fatal    chan error
}

func quiet() *slog.Logger {
	if os.Getenv("SKEIN_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// newFleet makes n servers; start starts them.
func newFleet(t *testing.T, n int, adjust func(*Config)) *fleet {
	f := &fleet{t: t, net: newNetwork(), adjust: adjust}
	for i := range n {
		f.servers = append(f.servers, &server{id: fmt.Sprintf("id%d", i), addr: fmt.Sprintf("addr%d", i), fs: vfs.NewCrashableMem()})
	}
	return f
}

func (f *fleet) config(i int) Config {
	s := f.servers[i]
	c := Config{ID: s.id, Dir: "data", FS: s.fs, ReserveBytes: 4096, OnFatal: func(err error) { s.fatal <- err }}
	if s.wrap != nil {
		c.FS = s.wrap(s.fs)
	}
	for _, m := range f.servers {
		c.Bootstrap = append(c.Bootstrap, Server{ID: m.id, Addr: m.addr})
	}
	if f.adjust != nil {
		f.adjust(&c)
	}
	return c
}

func (f *fleet) start(i int) {
	f.t.Helper()
	s := f.servers[i]
	s.fatal = make(chan error, 1)
	machine := newRegisters()
	c := f.config(i)
	c.StreamLayer = f.net.listen(s.addr)
	start := Open
	if f.unchecked {
		start = func(c Config, m Machine, l *slog.Logger) (*Store, error) { return open(c.withDefaults(), m, l) }
	}
	store, err := start(c, machine, quiet().With("server", s.id))
	if err != nil {
		f.t.Fatalf("open %s: %v", s.id, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.store, s.machine = store, machine
}

func (f *fleet) startAll() {
	for i := range f.servers {
		f.start(i)
	}
}

// crash cuts the power of server i: what was not synced is lost, except percent of it.
func (f *fleet) crash(i, percent int, rng *rand.Rand) {
	s := f.servers[i]
	f.net.kill(s.addr) // first the network: what is acknowledged after the clone would be lost by the test, not by the store
	after := s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	f.close(s)
	s.fs = after
}

func (f *fleet) stop() {
	for _, s := range f.servers {
		f.net.kill(s.addr)
	}
	for _, s := range f.servers {
		if s.store != nil {
			f.close(s)
		}
	}
}

func (f *fleet) close(s *server) {
	if err := s.store.Close(); err != nil && s.store.fault.raised() == nil {
		f.t.Errorf("close %s: %v", s.id, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.store = nil
}

// at is the store and machine of server i; nil while it is down.
func (f *fleet) at(i int) (*Store, *registers) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.servers[i].store, f.servers[i].machine
}

// leader waits for a leader that can commit.
func (f *fleet) leader() int {
	f.t.Helper()
	for range 3000 {
		for i, s := range f.servers {
			if s.store != nil && s.store.IsLeader() && s.store.Barrier(context.Background()) == nil {
				return i
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Fatal("no leader within a minute")
	return -1
}

// propose proposes to whoever leads until it is committed.
func (f *fleet) propose(entry []byte) uint64 {
	f.t.Helper()
	for range 100 {
		_, index, err := f.servers[f.leader()].store.Propose(context.Background(), entry)
		if err == nil {
			return index
		}
		var not NotLeader
		if !errors.As(err, &not) && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrRefused) {
			f.t.Fatalf("propose: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.t.Fatal("not committed in 100 tries")
	return 0
}

// same waits until every running server has applied index, and demands equal histories.
func (f *fleet) same(index uint64) {
	f.t.Helper()
	var histories [][]string
	for _, s := range f.servers {
		if s.store == nil {
			continue
		}
		for n := 0; s.store.AppliedIndex() < index; n++ {
			if n > 3000 {
				f.t.Fatalf("%s has applied %d of %d after a minute: %+v", s.id, s.store.AppliedIndex(), index, s.store.Stats())
			}
			time.Sleep(20 * time.Millisecond)
		}
		histories = append(histories, s.machine.history())
	}
	for i, h := range histories {
		if !slices.Equal(h, histories[0]) {
			f.t.Fatalf("histories differ:\n%v\n%v", histories[0], histories[i])
		}
	}
}

func TestThreeServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.startAll()
		defer f.stop()
		l := f.leader()
		ctx := context.Background()
		result, first, err := f.servers[l].store.Propose(ctx, put("a", "1"))
		if err != nil || result != (reply{OK: true, Value: "1"}) {
			t.Fatalf("propose: %v, %v", result, err)
		}
		_, second, err := f.servers[l].store.Propose(ctx, put("a", "2"))
		if err != nil || second != first+1 {
			t.Fatalf("second index %d after %d, %v", second, first, err)
		}
		f.same(second)

		follower := f.servers[(l+1)%3].store
		_, _, err = follower.Propose(ctx, put("a", "3"))
		var not NotLeader
		if !errors.As(err, &not) || not.LeaderID != f.servers[l].id || not.LeaderAddr != f.servers[l].addr {
			t.Fatalf("proposal to a follower: %v", err)
		}
		if err := follower.Barrier(ctx); !errors.As(err, &not) {
			t.Fatalf("barrier on a follower: %v", err)
		}
		if _, _, err := f.servers[l].store.Propose(ctx, make([]byte, MaxEntryBytes+1)); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("large entry: %v", err)
		}

		// The leader is cut off: the others go on, and what it was given meanwhile has an unknown outcome.
		for _, s := range f.servers {
			if s != f.servers[l] {
				f.net.split(f.servers[l].addr, s.addr, true)
			}
		}
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if _, _, err := f.servers[l].store.Propose(short, put("a", "lost")); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("proposal to a leader without majority: %v", err)
		}
		old := f.servers[l].store
		for old.IsLeader() {
			time.Sleep(10 * time.Millisecond)
		}
		l2 := f.leader()
		if l2 == l {
			t.Fatal("the leader that is cut off leads")
		}
		f.propose(put("a", "4"))
		f.net.heal()
		f.same(f.propose(put("b", "5")))
		if got := f.servers[l].machine.value("a"); got != "4" {
			t.Fatalf("a is %q after the partition", got)
		}
		if lead := <-f.servers[l2].store.Lead(); !lead {
			t.Fatal("the leader was told that it does not lead")
		}
	})
}

// With nothing more to say, a leader tells within 20 ms that an entry is committed: whoever waits at a follower for what was decided, such as a
// gateway for a lease, waits that long.
func TestFollowersKnowSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.startAll()
		defer f.stop()
		for i := range 10 {
			index := f.propose(put("a", fmt.Sprint(i)))
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			for _, s := range f.servers {
				if got := s.store.AppliedIndex(); got < index {
					t.Errorf("%s has applied %d of %d", s.id, got, index)
				}
			}
			time.Sleep(time.Second)
		}
	})
}

func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, nil)
		f.adjust = func(c *Config) { c.Bootstrap = c.Bootstrap[:3] }
		for i := range 3 {
			f.start(i)
		}
		defer f.stop()
		for i := range 50 {
			f.propose(put("k", fmt.Sprint(i)))
		}
		l := f.servers[f.leader()].store
		if err := l.Snapshot(); err != nil {
			t.Fatal(err)
		}
		f.adjust = func(c *Config) { c.Bootstrap = nil }
		f.start(3)
		ctx := context.Background()
		if err := l.AddVoter(ctx, Server{ID: f.servers[3].id, Addr: f.servers[3].addr}); err != nil {
			t.Fatal(err)
		}
		f.same(f.propose(put("k", "joined")))
		if list, err := l.Servers(); err != nil || len(list) != 4 {
			t.Fatalf("members %v, %v", list, err)
		}
		gone := (f.leader() + 1) % 4
		if err := l.RemoveServer(ctx, f.servers[gone].id); err != nil {
			t.Fatal(err)
		}
		if err := l.Snapshot(); err != nil { // no command was applied after the change of members
			t.Fatal(err)
		}
		f.propose(put("k", "left"))
		list, err := l.Servers()
		if err != nil || slices.ContainsFunc(list, func(s Server) bool { return s.ID == f.servers[gone].id }) {
			t.Fatalf("members %v, %v", list, err)
		}
		var not NotLeader
		if err := f.servers[gone].store.AddVoter(ctx, list[0]); !errors.As(err, &not) {
			t.Fatalf("change of members on a server that left: %v", err)
		}
	})
}

func TestRestartKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.startAll()
		defer f.stop()
		for i := range 20 {
			f.propose(put("k", fmt.Sprint(i)))
		}
		if err := f.servers[f.leader()].store.Snapshot(); err != nil {
			t.Fatal(err)
		}
		f.propose(put("k", "last"))
		for i := range f.servers {
			f.crash(i, 0, nil)
		}
		f.startAll()
		f.same(f.propose(put("after", "crash")))
		for _, s := range f.servers {
			if got := s.machine.value("k"); got != "last" {
				t.Fatalf("%s has k=%q", s.id, got)
			}
		}
	})
}

func TestBarriersAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b barriers
		runs := 0
		release := make(chan error)
		run := func() error { runs++; return <-release }
		first := b.join(run)
		synctest.Wait()
		var later []*barrier
		for range 100 {
			later = append(later, b.join(run))
		}
		release <- nil
		<-first.done
		synctest.Wait()
		failed := errors.New("failed")
		release <- failed
		for _, l := range later {
			if <-l.done; !errors.Is(l.err, failed) {
				t.Fatalf("a barrier that began before the call answered for it: %v", l.err)
			}
		}
		if runs != 2 {
			t.Fatalf("%d barriers ran for 101 callers", runs)
		}
	})
}

var _ raft.StreamLayer = (*endpoint)(nil)
