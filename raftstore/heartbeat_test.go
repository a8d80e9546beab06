package raftstore

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// The tests in this file play the peers of one real server by hand, on the library's own NetworkTransport, and show
// each hazard on the bare library before they show that the guard ends it.

// bareTransport is the library's transport without our guards.
func bareTransport(e *endpoint) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: e, MaxPool: 3, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger()})
}

func guardedTransport(e *endpoint) transport {
	f := &fault{log: quiet(), onFatal: func(error) {}}
	return newTransport(Config{StreamLayer: e, RPCTimeout: 2 * time.Second}, f, hclog.NewNullLogger())
}

// puppet is a peer that grants every vote and accepts every entry.
type puppet struct {
	*raft.NetworkTransport
	quit chan struct{}
}

func (p puppet) Close() error {
	close(p.quit)
	p.CloseStreams()
	return p.NetworkTransport.Close()
}

func newPuppet(e *endpoint, term *atomic.Uint64) puppet {
	t := puppet{bareTransport(e), make(chan struct{})}
	go func() {
		h := raft.RPCHeader{ProtocolVersion: 3}
		for {
			select {
			case <-t.quit:
				return
			case rpc := <-t.Consumer():
				switch c := rpc.Command.(type) {
				case *raft.RequestPreVoteRequest:
					rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: h, Term: c.Term, Granted: true}, nil)
				case *raft.RequestVoteRequest:
					rpc.Respond(&raft.RequestVoteResponse{RPCHeader: h, Term: c.Term, Granted: true}, nil)
				case *raft.AppendEntriesRequest:
					term.Store(c.Term)
					rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: h, Term: c.Term, LastLog: c.PrevLogEntry + uint64(len(c.Entries)), Success: true}, nil)
				default:
					rpc.Respond(nil, fmt.Errorf("puppet: no answer to %T", c))
				}
			}
		}
	}()
	return t
}

// lone is the library on in-memory stores, with either transport.
type lone struct {
	net     *network
	raft    *raft.Raft
	logs    *raft.InmemStore
	machine *stateMachine
}

func newLone(t *testing.T, guarded bool, timeout time.Duration, peers ...string) *lone {
	t.Helper()
	l := &lone{net: newNetwork(), logs: raft.NewInmemStore()}
	l.machine = &stateMachine{machine: newRegisters(), fault: &fault{log: quiet(), onFatal: func(err error) { t.Error(err) }}}
	var tr raft.Transport
	if e := l.net.listen("A"); guarded {
		tr = guardedTransport(e)
	} else {
		tr = bareTransport(e)
	}
	rc := raft.DefaultConfig()
	rc.LocalID, rc.Logger = "A", hclog.NewNullLogger()
	rc.HeartbeatTimeout, rc.ElectionTimeout, rc.LeaderLeaseTimeout = timeout, timeout, timeout
	conf := raft.Configuration{Servers: []raft.Server{{ID: "A", Address: "A"}}}
	for _, p := range peers {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(p), Address: raft.ServerAddress(p)})
	}
	snaps := raft.NewInmemSnapshotStore()
	if err := raft.BootstrapCluster(rc, l.logs, l.logs, snaps, tr, conf); err != nil {
		t.Fatal(err)
	}
	r, err := raft.NewRaft(rc, l.machine, l.logs, l.logs, snaps, tr)
	if err != nil {
		t.Fatal(err)
	}
	l.raft = r
	return l
}

func (l *lone) stop(t *testing.T, others ...io.Closer) {
	l.net.kill("A")
	if err := l.raft.Shutdown().Error(); err != nil {
		t.Error(err)
	}
	for _, o := range others {
		_ = o.Close()
	}
}

// depose makes A leader of a term T, has B heartbeat it as leader of T+1, and gives A a proposal. The first result is
// whether A wrote it under term T+1, which is B's; the second whether A's machine then applied it although B committed
// another entry there.
func depose(t *testing.T, guarded bool) (forged, diverged bool) {
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, guarded, 300*time.Millisecond, "B", "M")
		var term atomic.Uint64
		b, m := newPuppet(l.net.listen("B"), &term), newPuppet(l.net.listen("M"), &term)
		defer l.stop(t, b, m)
		for l.raft.State() != raft.Leader {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(120 * time.Millisecond)
		T := term.Load()
		h := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("B"), Addr: []byte("B")}
		var resp raft.AppendEntriesResponse
		if err := b.AppendEntries("A", "A", &raft.AppendEntriesRequest{RPCHeader: h, Term: T + 1, Leader: []byte("B")}, &resp); err != nil {
			t.Fatal(err)
		}
		future := l.raft.Apply(put("k", "from A"), time.Second)
		go func() { _ = future.Error() }()
		time.Sleep(20 * time.Millisecond)
		last, _ := l.logs.LastIndex()
		var e raft.Log
		if err := l.logs.GetLog(last, &e); err != nil {
			t.Fatal(err)
		}
		forged = e.Type == raft.LogCommand && bytes.Equal(e.Data, put("k", "from A")) && e.Term == T+1

		// B commits its own entry at 3, after the configuration at 1 and A's no-op at 2.
		theirs := &raft.Log{Index: 3, Term: T + 1, Type: raft.LogCommand, Data: put("k", "from B")}
		if err := b.AppendEntries("A", "A", &raft.AppendEntriesRequest{RPCHeader: h, Term: T + 1, Leader: []byte("B"),
			PrevLogEntry: 2, PrevLogTerm: T, Entries: []*raft.Log{theirs}, LeaderCommitIndex: 3}, &resp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		diverged = l.machine.machine.(*registers).value("k") == "from A"
	})
	return forged, diverged
}

func TestDeposedLeaderWritesNothing(t *testing.T) { // hashicorp/raft#695
	count := func(guarded bool) (forged, diverged int) {
		for range 20 {
			f, d := depose(t, guarded)
			if f {
				forged++
			}
			if d {
				diverged++
			}
		}
		return
	}
	if forged, diverged := count(true); forged != 0 || diverged != 0 {
		t.Errorf("guarded: %d of 20 entries under the new leader's term, %d of 20 machines diverged", forged, diverged)
	}
	if forged, diverged := count(false); forged == 0 || diverged == 0 {
		t.Errorf("bare: %d forged, %d diverged of 20: the library no longer needs the guard, or the test sees nothing", forged, diverged)
	} else {
		t.Logf("bare library: %d of 20 forged, %d of 20 diverged", forged, diverged)
	}
}

func TestTransportKeepsOptionalMethods(t *testing.T) {
	var tr raft.Transport = transport{}
	if _, ok := tr.(raft.WithPreVote); !ok {
		t.Error("pre-vote is lost")
	}
	if _, ok := tr.(raft.WithClose); !ok {
		t.Error("Close is lost")
	}
}

// TestCommitIndexIsProved: a follower holds entries 2 to 6 in common with the leader and 7 to 10 of a deposed one. The
// leader, which has meanwhile committed its own 7 and 8, sends a message that carries no entry after 6.
func TestCommitIndexIsProved(t *testing.T) {
	follow := func(guarded bool) (applied []string) {
		synctest.Test(t, func(t *testing.T) {
			l := newLone(t, false, 20*time.Second, "L", "M")
			var leader raft.Transport
			var closer io.Closer
			if e := l.net.listen("L"); guarded {
				g := guardedTransport(e)
				leader, closer = g, g
			} else {
				b := bareTransport(e)
				leader, closer = b, b
			}
			defer l.stop(t, closer)
			h := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("L"), Addr: []byte("L")}
			send := func(term, prev, prevTerm, commit uint64, entries ...*raft.Log) {
				var resp raft.AppendEntriesResponse
				if err := leader.AppendEntries("A", "A", &raft.AppendEntriesRequest{RPCHeader: h, Term: term, Leader: []byte("L"),
					PrevLogEntry: prev, PrevLogTerm: prevTerm, LeaderCommitIndex: commit, Entries: entries}, &resp); err != nil || !resp.Success {
					t.Fatalf("append after %d: %v, %+v", prev, err, resp)
				}
			}
			var old []*raft.Log
			for i := uint64(2); i <= 10; i++ {
				old = append(old, &raft.Log{Index: i, Term: 2, Type: raft.LogCommand, Data: put("k", fmt.Sprint("old ", i))})
			}
			send(2, 1, 1, 1, old...)
			send(3, 6, 2, 8)
			time.Sleep(time.Second)
			applied = l.machine.machine.(*registers).history()
		})
		return applied
	}
	wrong := func(applied []string) bool {
		return slices.ContainsFunc(applied, func(s string) bool { return bytes.Contains([]byte(s), []byte("old 7")) })
	}
	if applied := follow(true); wrong(applied) || len(applied) != 5 {
		t.Errorf("guarded: applied %v", applied)
	}
	if applied := follow(false); !wrong(applied) {
		t.Errorf("bare: applied %v: the library no longer needs the guard, or the test sees nothing", applied)
	}
}
