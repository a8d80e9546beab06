package raftstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// hand plays the leader L, by hand, towards one server.
type hand struct {
	t    *testing.T
	to   string // id and address
	addr string
	tr   *raft.NetworkTransport
	conf raft.Configuration
}

func (h hand) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte("L"), Addr: []byte("L")}
}

func entries(from, to, term uint64, what string) []*raft.Log {
	var list []*raft.Log
	for i := from; i <= to; i++ {
		list = append(list, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, Data: put("k", fmt.Sprint(what, " ", i))})
	}
	return list
}

func (h hand) append(term, prev, prevTerm, commit uint64, list ...*raft.Log) (bool, error) {
	var resp raft.AppendEntriesResponse
	err := h.tr.AppendEntries(raft.ServerID(h.to), raft.ServerAddress(h.addr), &raft.AppendEntriesRequest{RPCHeader: h.header(), Term: term,
		Leader: []byte("L"), PrevLogEntry: prev, PrevLogTerm: prevTerm, Entries: list, LeaderCommitIndex: commit}, &resp)
	return resp.Success, err
}

func (h hand) install(term, index, indexTerm uint64) (bool, error) {
	payload := make([]byte, appliedBytes)
	payload[appliedBytes-1] = byte(index)
	state, err := json.Marshal(&registers{Values: map[string]string{"k": "from the snapshot"}})
	if err != nil {
		h.t.Fatal(err)
	}
	payload = append(payload, state...)
	var resp raft.InstallSnapshotResponse
	err = h.tr.InstallSnapshot(raft.ServerID(h.to), raft.ServerAddress(h.addr), &raft.InstallSnapshotRequest{RPCHeader: h.header(), SnapshotVersion: 1, Term: term,
		Leader: []byte("L"), LastLogIndex: index, LastLogTerm: indexTerm, Configuration: raft.EncodeConfiguration(h.conf), ConfigurationIndex: 1,
		Size: int64(len(payload))}, &resp, bytes.NewReader(payload))
	return resp.Success, err
}

// conflict gives the follower entries 2 to last of term 2, then repeats what a leader of term 3 does that has compacted
// its log up to 6: send the snapshot, append entry 7. It returns after how many rounds the append was accepted.
func (h hand) conflict(last uint64, between func()) (rounds int, accepted bool) {
	if ok, err := h.append(2, 1, 1, 0, entries(2, last, 2, "old")...); err != nil || !ok {
		h.t.Fatalf("first append: %v, %v", ok, err)
	}
	for rounds = 1; rounds <= 5; rounds++ {
		_, _ = h.install(3, 6, 3) // fails where the server falls silent
		between()
		if ok, err := h.append(3, 6, 3, 6, entries(7, 7, 3, "new")...); err == nil && ok {
			return rounds, true
		}
	}
	return rounds, false
}

func (l *lone) hand(t *testing.T) hand {
	return hand{t: t, to: "A", addr: "A", tr: bareTransport(l.net.listen("L")), conf: raft.Configuration{Servers: []raft.Server{{ID: "A", Address: "A"}, {ID: "L", Address: "L"}, {ID: "M", Address: "M"}}}}
}

// follower is a fleet whose first server is real and the others are not.
func newFollower(t *testing.T) (*fleet, hand) {
	f := newFleet(t, 3, func(c *Config) { c.HeartbeatTimeout, c.StallLimit = time.Hour, time.Second })
	f.start(0)
	h := hand{t: t, to: f.servers[0].id, addr: f.servers[0].addr, tr: bareTransport(f.net.listen("L"))}
	for _, s := range f.servers {
		h.conf.Servers = append(h.conf.Servers, raft.Server{ID: raft.ServerID(s.id), Address: raft.ServerAddress(s.addr)})
	}
	return f, h
}

func (h hand) close() {
	_ = h.tr.Close()
	h.tr.CloseStreams()
}

func TestInstalledSnapshotEndsConflict(t *testing.T) { // hashicorp/raft#697
	for _, last := range []uint64{6, 10} { // the log ends at the snapshot, or goes on behind it
		t.Run(fmt.Sprint("log to ", last), func(t *testing.T) {
			stuck := 0
			for range 5 {
				synctest.Test(t, func(t *testing.T) {
					f, h := newFollower(t)
					defer f.stop()
					defer h.close()
					rounds, accepted := h.conflict(last, func() {
						synctest.Wait()
						select {
						case err := <-f.servers[0].fatal: // the process restarts
							if !errors.Is(err, ErrLogConflict) {
								t.Errorf("fatal: %v", err)
							}
							f.crash(0, 0, nil)
							h.tr.CloseStreams()
							f.start(0)
						default:
						}
					})
					if !accepted {
						stuck++
						return
					}
					if rounds > 2 {
						t.Errorf("accepted after %d rounds", rounds)
					}
					if ok, err := h.append(3, 7, 3, 7); err != nil || !ok {
						t.Fatalf("commit: %v, %v", ok, err)
					}
					f.same(7)
					if got := f.servers[0].machine.history(); len(got) != 1 || f.servers[0].machine.value("k") != "new 7" {
						t.Fatalf("applied %v", got)
					}
				})
			}
			if stuck > 0 {
				t.Errorf("%d of 5 stuck", stuck)
			}
		})
	}
	t.Run("bare", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLone(t, false, time.Hour, "L", "M")
			h := l.hand(t)
			defer l.stop(t)
			defer h.close()
			if rounds, accepted := h.conflict(10, func() {}); accepted {
				t.Errorf("accepted after %d rounds: the library no longer needs the guard, or the test sees nothing", rounds)
			}
		})
	})
	t.Run("restart alone", func(t *testing.T) { // without reconcile at Open, a restart does not help
		synctest.Test(t, func(t *testing.T) {
			f, h := newFollower(t)
			defer f.stop()
			defer h.close()
			s := f.servers[0]
			s.store.snapshots.installed = func(position) error { return nil }
			if rounds, accepted := h.conflict(10, func() {}); accepted {
				t.Errorf("accepted after %d rounds without the guard", rounds)
			}
			f.crash(0, 0, nil)
			h.tr.CloseStreams()
			f.start(0)
			if ok, err := h.append(3, 6, 3, 6, entries(7, 7, 3, "new")...); err != nil || !ok {
				t.Errorf("append after the restart that found the conflict: %v, %v", ok, err)
			}
		})
	})
}

// TestRepeatedAppendAfterInstall: the follower installs a snapshot and appends the next entry, but its reply is lost,
// so the leader repeats the append, and, if that is refused, the snapshot.
func TestRepeatedAppendAfterInstall(t *testing.T) {
	repeat := func(h hand) bool {
		if ok, err := h.install(3, 6, 3); err != nil || !ok {
			h.t.Fatalf("install: %v, %v", ok, err)
		}
		for range 2 {
			ok, err := h.append(3, 6, 3, 6, entries(7, 7, 3, "new")...)
			if err != nil {
				h.t.Fatal(err)
			}
			if !ok {
				return false
			}
		}
		return true
	}
	synctest.Test(t, func(t *testing.T) {
		f, h := newFollower(t)
		defer f.stop()
		defer h.close()
		if !repeat(h) {
			t.Error("refused")
		}
		f.crash(0, 0, nil)
		h.tr.CloseStreams()
		f.start(0)
		if ok, err := h.append(3, 6, 3, 6, entries(7, 7, 3, "new")...); err != nil || !ok {
			t.Errorf("refused after a restart: %v, %v", ok, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, false, time.Hour, "L", "M")
		h := l.hand(t)
		defer l.stop(t)
		defer h.close()
		if repeat(h) {
			t.Error("bare: accepted: the library no longer needs the guard, or the test sees nothing")
		}
	})
}

// TestInstalledSnapshotDropsShorterLog: a follower holds entries 2 to 5 of a deposed leader and installs a snapshot up
// to 6. Were they kept, this server, elected later, would send them to others as if they belonged below the gap.
func TestInstalledSnapshotDropsShorterLog(t *testing.T) {
	left := func(h hand, logs raft.LogStore) bool {
		if ok, err := h.append(2, 1, 1, 0, entries(2, 5, 2, "old")...); err != nil || !ok {
			h.t.Fatalf("append: %v, %v", ok, err)
		}
		if ok, err := h.install(3, 6, 3); err != nil || !ok {
			h.t.Fatalf("install: %v, %v", ok, err)
		}
		if ok, err := h.append(3, 6, 3, 6, entries(7, 7, 3, "new")...); err != nil || !ok {
			h.t.Fatalf("append: %v, %v", ok, err)
		}
		var l raft.Log
		return logs.GetLog(3, &l) == nil
	}
	synctest.Test(t, func(t *testing.T) {
		f, h := newFollower(t)
		defer f.stop()
		defer h.close()
		if left(h, f.servers[0].store.entries) {
			t.Error("an entry of the deposed leader is still there")
		}
		f.crash(0, 0, nil)
		h.tr.CloseStreams()
		f.start(0)
		if first := f.servers[0].store.entries.first.Load(); first != 7 {
			t.Errorf("log begins at %d after a restart", first)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLone(t, false, time.Hour, "L", "M")
		h := l.hand(t)
		defer l.stop(t)
		defer h.close()
		if !left(h, l.logs) {
			t.Error("bare: dropped: the library no longer needs the guard, or the test sees nothing")
		}
	})
}
