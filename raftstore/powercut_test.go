package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

// stored is what a server must find after a power cut: the model of its disk.
type stored struct {
	entries  map[uint64]raft.Log // by index; those up to the snapshot may be gone
	last     uint64
	snapshot position
	term     uint64
	vote     string // "term candidate", one value
}

func (m stored) clone() stored {
	m.entries = maps.Clone(m.entries)
	return m
}

func (m *stored) put(l raft.Log) {
	m.entries[l.Index] = l
	m.last = l.Index
}

func (m *stored) truncate(from uint64) {
	for i := from; i <= m.last; i++ {
		delete(m.entries, i)
	}
	m.last = from - 1
}

// rig is the disk part of a Store, without the library, on a file system whose power can be cut at any write.
type rig struct {
	t     *testing.T
	rng   *rand.Rand // of the steps; cutRNG belongs to cut
	sync  *pebble.WriteOptions
	torn  bool // write votes as the library does, in two steps
	fs    *vfs.MemFS
	db    *pebble.DB
	log   *logStore
	snaps *snapshotStore

	mu      sync.Mutex
	cutRNG  *rand.Rand
	acked   stored
	pending []stored // what the operation in progress may leave instead
	writes  int      // until the cut
	after   *vfs.MemFS
	allowed []stored
}

func newRig(t *testing.T, seed uint64, sync *pebble.WriteOptions, torn bool) *rig {
	r := &rig{t: t, rng: rand.New(rand.NewPCG(seed, 7)), cutRNG: rand.New(rand.NewPCG(seed, 8)), sync: sync, torn: torn, fs: vfs.NewCrashableMem()}
	r.acked.entries = map[uint64]raft.Log{}
	return r
}

// open opens the disk; the power will be cut at the writes-th write from then on.
func (r *rig) open(writes int) error {
	r.after, r.writes = nil, writes
	wrapped := errorfs.Wrap(r.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			r.write()
		}
		return nil
	}))
	f := &fault{log: quiet(), onFatal: func(err error) { r.t.Error(err) }}
	d := &directory{fs: wrapped, disk: wrapped, path: "data", log: quiet()}
	for _, dir := range []string{d.path, d.join(logDir), d.join(snapshotDir)} {
		if err := makeDir(d.fs, dir); err != nil {
			return err
		}
	}
	var err error
	if r.snaps, err = openSnapshots(d.fs, d.join(snapshotDir), f); err != nil {
		return err
	}
	o := pebbleOptions(d, quiet(), f)
	o.MemTableSize = 64 << 10 // flush now and then
	if r.db, err = pebble.Open(d.join(logDir), o); err != nil {
		return err
	}
	if r.log, err = newLogStore(r.db, r.sync); err != nil {
		return err
	}
	r.snaps.installed, r.snaps.taken = r.log.installed, r.log.taken
	newest, _ := r.snaps.newest()
	return r.log.reconcile(newest)
}

func (r *rig) write() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writes--; r.writes == 0 {
		r.cut()
	}
}

// cut keeps a random part of what was not synced.
func (r *rig) cut() {
	keep := []int{0, 0, 30, 80}[r.cutRNG.IntN(4)]
	r.after = r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: r.cutRNG})
	if reordered(r.t, r.after) {
		r.after = r.fs.CrashClone(vfs.CrashCloneCfg{})
	}
	r.allowed = []stored{r.acked.clone()}
	for _, p := range r.pending {
		r.allowed = append(r.allowed, p.clone())
	}
}

// do runs an operation that leaves the last of the states, or, if the power is cut meanwhile, any of them.
func (r *rig) do(op func() error, states ...stored) {
	r.mu.Lock()
	r.pending = states
	r.mu.Unlock()
	if err := op(); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.acked, r.pending = states[len(states)-1], nil
	r.mu.Unlock()
}

// reordered reports whether fs kept Pebble's marker of a new manifest without the manifest. Pebble makes both names
// durable by one sync of the directory and relies on a journal that keeps their order; this file system has none.
func reordered(t *testing.T, fs *vfs.MemFS) bool {
	names, err := fs.List("data/" + logDir)
	if err != nil {
		return false // not made yet
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if rest, ok := strings.CutPrefix(name, "marker.manifest."); ok { // the number of the marker, then the manifest
			_, manifest, ok := strings.Cut(rest, ".")
			if !ok {
				t.Errorf("marker %s", name)
			}
			return !slices.Contains(names, manifest)
		}
	}
	return false
}

func (r *rig) batch(m *stored) []*raft.Log {
	var list []*raft.Log
	for range 1 + r.rng.IntN(4) {
		l := raft.Log{Index: m.last + 1, Term: m.term, Type: raft.LogCommand, Data: make([]byte, r.rng.IntN(200))}
		for i := range l.Data {
			l.Data[i] = byte(r.rng.Uint32())
		}
		m.put(l)
		list = append(list, &l)
	}
	return list
}

// step does one of the things that the library does.
func (r *rig) step() {
	next := r.acked.clone()
	switch n := r.rng.IntN(20); {
	case n < 10: // a leader appends
		list := r.batch(&next)
		r.do(func() error { return r.log.StoreLogs(list) }, next)
	case n < 13: // a follower's conflict: truncate, then append in a newer term
		if next.last <= next.snapshot.index {
			return
		}
		next.term++
		r.do(func() error { return r.log.SetUint64([]byte("CurrentTerm"), next.term) }, next)
		cut := next.clone()
		from := cut.snapshot.index + 1 + r.rng.Uint64N(cut.last-cut.snapshot.index)
		cut.truncate(from)
		full := cut.clone()
		list := r.batch(&full)
		last := next.last
		r.do(func() error { return errors.Join(r.log.DeleteRange(from, last), r.log.StoreLogs(list)) }, cut, full)
	case n < 16: // a vote
		next.term++
		r.do(func() error { return r.log.SetUint64([]byte("CurrentTerm"), next.term) }, next)
		voted := next.clone()
		who := fmt.Sprint("candidate ", voted.term)
		voted.vote = fmt.Sprint(voted.term, " ", who)
		r.do(func() error { return r.castVote(voted.term, []byte(who)) }, voted)
	case n < 19: // a snapshot of its own, then the compaction
		if next.last <= next.snapshot.index {
			return
		}
		at := next.snapshot.index + 1 + r.rng.Uint64N(next.last-next.snapshot.index)
		next.snapshot = position{at, next.entries[at].Term}
		r.do(func() error {
			if err := r.snapshot(next.snapshot, true); err != nil {
				return err
			}
			first, _ := r.log.FirstIndex()
			return r.log.DeleteRange(first, at-min(at, r.rng.Uint64N(4)))
		}, next)
	default: // a snapshot from the leader, ahead of the log
		next.term++
		next.snapshot = position{next.last + 1 + r.rng.Uint64N(9), next.term}
		next.last, next.entries = next.snapshot.index, map[uint64]raft.Log{}
		r.do(func() error { return r.snapshot(next.snapshot, false) }, next)
	}
}

func (r *rig) castVote(term uint64, who []byte) error {
	if r.torn {
		return errors.Join(r.db.Set(stableKey(voteTerm), binary.BigEndian.AppendUint64(nil, term), r.sync), r.db.Set(stableKey(voteWhom), who, r.sync))
	}
	return errors.Join(r.log.SetUint64(voteTerm, term), r.log.Set(voteWhom, who))
}

func (r *rig) snapshot(at position, local bool) error {
	sink, err := r.snaps.Create(1, at.index, at.term, raft.Configuration{}, 1, nil)
	if err != nil {
		return err
	}
	sink.(*snapshotSink).local = local
	if _, err := sink.Write(bytes.Repeat([]byte{byte(at.index)}, 300)); err != nil {
		return err
	}
	return sink.Close()
}

// round works until the power is cut, then starts on what is left and compares it. The error says what was lost.
func (r *rig) round() error {
	for range 12 {
		if r.cutDone() { // perhaps while it was being opened
			break
		}
		r.step()
	}
	r.mu.Lock()
	if r.after == nil { // right after the last acknowledgement
		r.cut()
	}
	allowed, after := r.allowed, r.after
	r.acked, r.pending, r.writes = allowed[0], allowed[1:], 0
	r.mu.Unlock()
	if err := r.db.Close(); err != nil {
		return err
	}
	r.fs = after
	if err := r.open(1 + r.rng.IntN(60)); err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	var errs []error
	for _, m := range allowed {
		err := r.compare(m)
		if err == nil {
			r.mu.Lock()
			r.acked, r.pending = m, nil // what was not acknowledged may have stayed
			r.mu.Unlock()
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *rig) cutDone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.after != nil
}

func (r *rig) compare(m stored) error {
	if p, _ := r.snaps.newest(); (p == nil) != (m.snapshot.index == 0) || p != nil && *p != m.snapshot {
		return fmt.Errorf("newest snapshot %v, want %v", p, m.snapshot)
	}
	if metas, _ := r.snaps.List(); len(metas) > 0 {
		_, body, err := r.snaps.Open(metas[0].ID)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		if !bytes.Equal(got, bytes.Repeat([]byte{byte(m.snapshot.index)}, 300)) {
			return fmt.Errorf("snapshot of %d bytes", len(got))
		}
	}
	last, _ := r.log.LastIndex()
	if max(last, m.snapshot.index) != m.last {
		return fmt.Errorf("last entry %d, want %d", last, m.last)
	}
	first, _ := r.log.FirstIndex()
	for i := m.snapshot.index + 1; i <= m.last; i++ {
		var l raft.Log
		if err := r.log.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d (log %d to %d): %w", i, first, last, err)
		}
	}
	for i := first; i != 0 && i <= last; i++ {
		var l raft.Log
		if err := r.log.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d (log %d to %d): %w", i, first, last, err)
		}
		if want, ok := m.entries[i]; !ok || want.Term != l.Term || !bytes.Equal(want.Data, l.Data) {
			return fmt.Errorf("entry %d of term %d, want %v of term %d", i, l.Term, ok, want.Term)
		}
	}
	term, err := r.log.GetUint64([]byte("CurrentTerm"))
	if err != nil && !errors.Is(err, errKeyNotFound) {
		return fmt.Errorf("term: %w", err)
	}
	// An installed snapshot raises the model's term without a write of the term.
	if term > m.term || term < m.term && m.snapshot.term != m.term {
		return fmt.Errorf("term %d, want %d", term, m.term)
	}
	vote := ""
	if t, err := r.log.GetUint64(voteTerm); err == nil {
		who, err := r.log.Get(voteWhom)
		vote = fmt.Sprint(t, " ", string(who))
		if err != nil {
			return fmt.Errorf("vote of term %d: %w", t, err)
		}
	}
	if vote != m.vote {
		return fmt.Errorf("vote %q, want %q", vote, m.vote)
	}
	return nil
}

// cuts is the number of power cuts: 1000, or SKEIN_CRASHES.
func cuts(t *testing.T, def int) int {
	if v := os.Getenv("SKEIN_CRASHES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return def
}

// TestPowerCuts cuts the power at a random write, or right after an acknowledgement, keeps a random part of what was
// not synced, starts again on what is left, and so on. SKEIN_CRASHES sets the number of cuts (1000).
func TestPowerCuts(t *testing.T) {
	const chains = 20
	for seed := range uint64(chains) {
		r := newRig(t, seed, pebble.Sync, false)
		if err := r.open(1 << 30); err != nil {
			t.Fatal(err)
		}
		for round := range cuts(t, 1000) / chains {
			if err := r.round(); err != nil {
				t.Fatalf("seed %d, cut %d: %v", seed, round, err)
			}
		}
		if err := r.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The same test finds what the guards are for.
func TestPowerCutsSeeLosses(t *testing.T) {
	for _, c := range []struct {
		name string
		sync *pebble.WriteOptions
		torn bool // hashicorp/raft#661
	}{{"NoSync", pebble.NoSync, false}, {"vote in two writes", pebble.Sync, true}} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(500) {
				r := newRig(t, seed, c.sync, c.torn)
				if err := r.open(1 << 30); err != nil {
					t.Fatal(err)
				}
				var lost error
				for round := 0; round < 3 && lost == nil; round++ {
					lost = r.round()
				}
				if err := r.db.Close(); err != nil {
					t.Fatal(err)
				}
				if lost != nil {
					t.Logf("found by chain %d: %v", seed, lost)
					return
				}
			}
			t.Error("no loss in 500 chains of power cuts")
		})
	}
}

// TestClusterPowerCuts cuts the power of a whole cluster right after its last acknowledgement. SKEIN_CRASHES sets the
// number of cuts (20).
func TestClusterPowerCuts(t *testing.T) {
	for seed := range uint64(cuts(t, 20)) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			f := newFleet(t, 3, nil)
			f.startAll()
			defer f.stop()
			want := map[string]string{}
			for i := range 1 + rng.IntN(30) {
				k, v := fmt.Sprint("k", rng.IntN(5)), fmt.Sprint(i)
				f.propose(put(k, v))
				want[k] = v
				if rng.IntN(10) == 0 {
					if err := f.servers[rng.IntN(3)].store.Snapshot(); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, s := range f.servers {
				f.net.kill(s.addr)
			}
			for i := range f.servers {
				f.crash(i, rng.IntN(2)*30, rng)
			}
			f.startAll()
			f.same(f.propose(put("end", "end")))
			for k, v := range want {
				if got := f.servers[0].machine.value(k); got != v {
					t.Errorf("seed %d: %s is %q, %q was acknowledged", seed, k, got, v)
				}
			}
		})
	}
}
