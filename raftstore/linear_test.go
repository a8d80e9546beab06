package raftstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// registerModel is a map of registers, checked key by key.
var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		place := map[string]int{}
		for _, op := range history {
			key := op.Input.(command).Key
			i, ok := place[key]
			if !ok {
				i = len(parts)
				place[key] = i
				parts = append(parts, nil)
			}
			parts[i] = append(parts[i], op)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		c, value := input.(command), state.(string)
		known, ok := output.(reply)
		switch c.Op {
		case "put":
			return true, c.Value
		case "get":
			return !ok || known.Value == value, value
		}
		if value == c.Old {
			return !ok || known.OK, c.Value
		}
		return !ok || !known.OK && known.Value == value, value
	},
	Equal: func(a, b any) bool { return a == b },
}

const never = 1 << 62

// recorder collects the history that clients saw. Its clock counts events, since many share one instant of the bubble.
type recorder struct {
	clock   atomic.Int64
	mu      sync.Mutex
	history []porcupine.Operation
}

func (r *recorder) add(op porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, op)
}

// client proposes random commands until ctx ends. With stale, it reads the machine of any server instead of proposing
// a get: the bug that the checker must find.
func (r *recorder) client(ctx context.Context, f *fleet, id int, rng *rand.Rand, stale bool) {
	target := rng.IntN(len(f.servers))
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		c := command{Op: []string{"put", "get", "cas"}[rng.IntN(3)], Key: fmt.Sprint("k", rng.IntN(4))}
		if c.Op != "get" {
			c.Value = fmt.Sprintf("%d.%d", id, n)
		}
		store, machine := f.at(target)
		if store == nil {
			target = rng.IntN(len(f.servers))
			continue
		}
		if c.Op == "cas" {
			c.Old = machine.value(c.Key) // a good guess
		}
		op := porcupine.Operation{ClientId: id, Input: c, Call: r.clock.Add(1)}
		if stale && c.Op == "get" {
			op.Output = reply{OK: true, Value: machine.value(c.Key)}
			op.Return = r.clock.Add(1)
			r.add(op)
			target = rng.IntN(len(f.servers))
			continue
		}
		limit, cancel := context.WithTimeout(context.Background(), time.Second)
		result, _, err := store.Propose(limit, c.bytes())
		cancel()
		op.Return = r.clock.Add(1)
		switch {
		case err == nil:
			op.Output = result
			r.add(op)
		case errors.Is(err, ErrOutcomeUnknown):
			if c.Op != "get" {
				op.Return = never // it may take effect at any time from now on
				r.add(op)
				id += 1000 // a client that does not know goes on as another one
			}
			target = rng.IntN(len(f.servers))
		default:
			target = rng.IntN(len(f.servers))
		}
	}
}

// havoc cuts links, servers and the power until ctx ends, and restarts what asked for it.
func (f *fleet) havoc(ctx context.Context, rng *rand.Rand, percent int) {
	restart := func(i int) {
		if s, _ := f.at(i); s != nil {
			f.crash(i, percent*rng.IntN(2), rng)
		}
		f.start(i)
	}
	for ctx.Err() == nil {
		time.Sleep(time.Duration(200+rng.IntN(3000)) * time.Millisecond)
		a, b := rng.IntN(len(f.servers)), rng.IntN(len(f.servers))
		switch rng.IntN(8) {
		case 0, 1:
			f.net.split(f.servers[a].addr, f.servers[b].addr, true)
		case 2:
			f.net.split1(f.servers[a].addr, f.servers[b].addr, true)
		case 3: // isolate one
			for _, s := range f.servers {
				f.net.split(f.servers[a].addr, s.addr, true)
			}
		case 4:
			restart(a)
		case 5:
			if s, _ := f.at(a); s != nil {
				f.crash(a, percent, rng)
				time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
				f.start(a)
			}
		case 6: // the power of all
			if rng.IntN(3) == 0 {
				for _, s := range f.servers {
					f.net.kill(s.addr)
				}
				for i := range f.servers {
					if s, _ := f.at(i); s != nil {
						f.crash(i, percent*rng.IntN(2), rng)
					}
				}
				f.startAll()
			}
		}
		if rng.IntN(3) > 0 {
			f.net.heal()
		}
		for i, s := range f.servers {
			select {
			case <-s.fatal:
				restart(i)
			default:
			}
		}
	}
}

// linearRun runs clients and havoc for a time in a bubble, and checks what the clients saw. A command whose outcome the
// client does not know counts only if the machines applied it in the end: the search would take exponential time in
// the others, and a client that saw the effect of one is caught all the same.
func linearRun(t *testing.T, seed uint64, stale, lyingDisk bool) (result porcupine.CheckResult, operations int) {
	var history []porcupine.Operation
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, func(c *Config) { c.SnapshotBytes = 2000 })
		if lyingDisk {
			for _, s := range f.servers {
				s.wrap = func(fs vfs.FS) vfs.FS { return lyingFS{fs} }
			}
		}
		f.startAll()
		var r recorder
		ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
		defer cancel()
		var wait sync.WaitGroup
		for id := range 4 {
			rng := rand.New(rand.NewPCG(seed, uint64(id)))
			wait.Go(func() { r.client(ctx, f, id, rng, stale) })
		}
		percent := 30
		if lyingDisk {
			percent = 0
		}
		f.havoc(ctx, rand.New(rand.NewPCG(seed, 99)), percent)
		wait.Wait()
		f.net.heal()
		f.mend()
		if !lyingDisk {
			f.same(f.propose(put("end", "end")))
		}
		f.stop()
		applied := f.servers[0].machine.history()
		history = slices.DeleteFunc(r.history, func(op porcupine.Operation) bool {
			return op.Return == never && !slices.ContainsFunc(applied, func(s string) bool {
				_, entry, _ := strings.Cut(s, " ")
				return entry == string(op.Input.(command).bytes())
			})
		})
	})
	return porcupine.CheckOperationsTimeout(registerModel, history, time.Minute), len(history)
}

// mend restarts servers that asked for it.
func (f *fleet) mend() {
	for i, s := range f.servers {
		select {
		case <-s.fatal:
			f.crash(i, 0, nil)
			f.start(i)
		default:
		}
	}
}

// lyingFS says that it synced, and did not.
type lyingFS struct{ vfs.FS }

func (l lyingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	return lyingFile{f}, err
}

func (l lyingFS) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return lyingFile{f}, err
}

func (l lyingFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(from, to, c)
	return lyingFile{f}, err
}

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error                { return nil }
func (lyingFile) SyncData() error            { return nil }
func (lyingFile) SyncTo(int64) (bool, error) { return false, nil }

// seeds is the number of runs: def, or SKEIN_LINEAR_SEEDS.
func seeds(t *testing.T, def int) uint64 {
	if v := os.Getenv("SKEIN_LINEAR_SEEDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(n)
	}
	return uint64(def)
}

// TestLinearizable: three servers of the real library on Pebble under partitions, one-way links, crashes, power cuts
// and restarts; what the clients saw must be a history of one register per key. SKEIN_LINEAR_SEEDS sets the runs (12).
func TestLinearizable(t *testing.T) {
	total := 0
	for seed := range seeds(t, 12) {
		result, n := linearRun(t, seed, false, false)
		if result != porcupine.Ok {
			t.Errorf("seed %d: %v after %d operations", seed, result, n)
		}
		total += n
	}
	t.Logf("%d operations", total)
	if total < 1000 {
		t.Errorf("only %d operations", total)
	}
}

func TestLinearizableFindsBugs(t *testing.T) {
	for _, c := range []struct {
		name         string
		stale, lying bool
	}{{"stale read", true, false}, {"no sync", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				if result, n := linearRun(t, seed, c.stale, c.lying); result == porcupine.Illegal {
					t.Logf("found by seed %d, %d operations", seed, n)
					return
				}
			}
			t.Error("not found")
		})
	}
}
