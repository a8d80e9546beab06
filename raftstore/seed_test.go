package raftstore

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A seeded server goes on with the state that it was given, through crashes, and servers that join it get that state.
func TestSeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		f.adjust = func(c *Config) { c.Bootstrap = c.Bootstrap[:1] }
		state := newRegisters()
		state.Apply(41, put("k", "kept"))
		broken := errors.New("broken")
		other := f.config(0)
		other.Dir = "other"
		if err := Seed(other, 41, func(io.Writer) error { return broken }, quiet()); !errors.Is(err, broken) {
			t.Errorf("a state that cannot be written: %v", err)
		}
		if err := Seed(f.config(0), 41, state.Snapshot(), quiet()); err != nil {
			t.Fatal(err)
		}
		if err := Seed(f.config(0), 41, state.Snapshot(), quiet()); err == nil {
			t.Error("seeded twice")
		}
		f.crash0(t)
		f.start(0)
		defer f.stop()
		if got, applied := f.servers[0].machine.value("k"), f.servers[0].store.AppliedIndex(); got != "kept" || applied != 41 {
			t.Fatalf("k=%q at %d", got, applied)
		}
		if index := f.propose(put("more", "1")); index <= 41 {
			t.Errorf("the log goes on at %d", index)
		}
		f.crash(0, 0, nil)
		f.start(0)
		f.propose(put("more", "2"))
		f.adjust = func(c *Config) { c.Bootstrap = nil }
		f.start(1)
		if err := f.servers[f.leader()].store.AddVoter(context.Background(), Server{ID: f.servers[1].id, Addr: f.servers[1].addr}); err != nil {
			t.Fatal(err)
		}
		f.propose(put("more", "3"))
		for range 100 {
			if f.servers[1].machine.value("more") == "3" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if k, more := f.servers[1].machine.value("k"), f.servers[1].machine.value("more"); k != "kept" || more != "3" {
			t.Errorf("who joined has k=%q, more=%q", k, more)
		}
	})
}

// crash0 loses what server 0, which does not run, has not synced.
func (f *fleet) crash0(t *testing.T) {
	t.Helper()
	s := f.servers[0]
	s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{})
}
