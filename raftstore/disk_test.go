package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
)

// sickDisk makes writes below the log's directory hang or fail.
type sickDisk struct {
	hang atomic.Pointer[chan struct{}] // writes wait for it to be closed
	err  atomic.Pointer[error]
	hits atomic.Int64
}

func (d *sickDisk) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !strings.Contains(op.Path, logDir) {
			return nil
		}
		if c := d.hang.Load(); c != nil {
			d.hits.Add(1)
			<-*c
		}
		if e := d.err.Load(); e != nil {
			d.hits.Add(1)
			return *e
		}
		return nil
	}))
}

func (d *sickDisk) fail(err error) { d.err.Store(&err) }

// hangs makes every write wait until the returned function is called.
func (d *sickDisk) hangs() (release func()) {
	c := make(chan struct{})
	d.hang.Store(&c)
	return func() {
		d.hang.Store(nil)
		close(c)
	}
}

// firstWrite is how long it takes until somebody but server sick commits.
func (f *fleet) firstWrite(sick int, limit time.Duration) (time.Duration, bool) {
	start := time.Now()
	for time.Since(start) < limit {
		for i, s := range f.servers {
			if i == sick || !s.store.IsLeader() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, _, err := s.store.Propose(ctx, put("k", "after"))
			cancel()
			if err == nil {
				return time.Since(start), true
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start), false
}

// sickFleet has one sick disk, that of the leader it returns.
func sickFleet(t *testing.T, unchecked bool, adjust func(*Config)) (f *fleet, leader int, disk *sickDisk) {
	f = newFleet(t, 3, adjust)
	f.unchecked = unchecked
	disks := make([]*sickDisk, len(f.servers))
	for i, s := range f.servers {
		disks[i] = &sickDisk{}
		s.wrap = disks[i].wrap
	}
	f.startAll()
	leader = f.leader()
	f.propose(put("k", "before"))
	return f, leader, disks[leader]
}

// poke gives a server a proposal that nobody waits for.
func (s *server) poke() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, _, _ = s.store.Propose(ctx, put("k", "poke"))
}

func TestStalledDisk(t *testing.T) { // hashicorp/raft#503, #666
	t.Run("guarded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, l, disk := sickFleet(t, false, nil)
			defer f.stop()
			release := disk.hangs()
			defer release()
			start := time.Now()
			f.servers[l].poke()
			err := <-f.servers[l].fatal
			var stalled Stalled
			if took := time.Since(start); !errors.As(err, &stalled) || took > 2*time.Second {
				t.Fatalf("fatal after %v: %v", took, err)
			}
			// In this test OnFatal returns; the store is silent nevertheless, so the others elect.
			if took, ok := f.firstWrite(l, time.Minute); !ok || took > 10*time.Second {
				t.Errorf("first write after %v: %v", took, ok)
			}
		})
	})
	t.Run("without limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, l, disk := sickFleet(t, true, func(c *Config) { c.StallLimit = time.Hour })
			defer f.stop()
			release := disk.hangs()
			defer release()
			f.servers[l].poke()
			if took, ok := f.firstWrite(l, time.Minute); ok {
				t.Errorf("a write after %v: the library no longer needs the guard, or the test sees nothing", took)
			}
		})
	})
}

func TestLateWriteIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l, disk := sickFleet(t, false, nil)
		defer f.stop()
		release := disk.hangs()
		done := make(chan error)
		go func() {
			_, _, err := f.servers[l].store.Propose(context.Background(), put("k", "late"))
			done <- err
		}()
		<-f.servers[l].fatal
		release()
		if err := <-done; !errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("proposal on a stalled disk: %v", err)
		}
	})
}

func TestFailingDisk(t *testing.T) { // hashicorp/raft#614
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, l, disk := sickFleet(t, false, nil)
				disk.fail(errno)
				f.servers[l].poke()
				if err := <-f.servers[l].fatal; !strings.Contains(err.Error(), errno.Error()) {
					t.Errorf("fatal: %v", err)
				}
				if took, ok := f.firstWrite(l, time.Minute); !ok || took > 10*time.Second {
					t.Errorf("first write after %v: %v", took, ok)
				}
				// The process restarts on the same disk: it must not stand for election again.
				c := f.config(l)
				c.StreamLayer = newNetwork().listen(f.servers[l].addr)
				c.Dir = "data2"
				if _, err := Open(c, newRegisters(), quiet()); err == nil {
					t.Error("opened on a disk that fails")
				}
				f.stop()
			})
		})
	}
}

func TestWatchedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var raised chan error // by whichever goroutine finds the fault
		fatal := func() error {
			synctest.Wait()
			select {
			case err := <-raised:
				return err
			default:
				return nil
			}
		}
		watch := func() *watchedLog {
			raised = make(chan error, 8)
			return &watchedLog{logStore: openTestLog(t, vfs.NewMem()), limit: time.Second, fault: &fault{log: quiet(), onFatal: func(err error) { raised <- err }}}
		}
		w := watch()
		err := w.StoreLogs(entries(1, 3, 1, "x"))
		if f := fatal(); err != nil || f != nil {
			t.Fatal(err, f)
		}
		err = w.StoreLogs(entries(9, 9, 1, "x"))
		if f := fatal(); !errors.Is(err, ErrCorrupt) || !errors.Is(f, ErrCorrupt) {
			t.Errorf("append with a gap: %v, fatal %v", err, f)
		}
		if err := w.StoreLogs(entries(4, 4, 1, "x")); !errors.Is(err, ErrHalted) {
			t.Errorf("append after a fault: %v", err)
		}
		_ = w.db.Close()

		w = watch()
		err = w.write("late", func() error { time.Sleep(2 * time.Second); return nil })
		if f := fatal(); !errors.Is(err, ErrHalted) || !errors.As(f, &Stalled{}) {
			t.Errorf("a write that took too long: %v, fatal %v", err, f)
		}
		_ = w.db.Close()

		w = watch()
		if err := w.db.Set(logKey(nil, 1), []byte("short"), nil); err != nil {
			t.Fatal(err)
		}
		err = w.GetLog(1, new(raft.Log))
		if f := fatal(); !errors.Is(err, ErrCorrupt) || !errors.Is(f, ErrCorrupt) {
			t.Errorf("a damaged entry: %v, fatal %v", err, f)
		}
		_ = w.db.Close()
	})
}

// TestProbe: the disk reads and opens files, but writes nothing to the log any more. The restarted server must not get
// as far as to stand for election.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		f.start(0)
		f.propose(put("k", "1"))
		f.crash(0, 0, nil)
		s := f.servers[0]
		c := f.config(0)
		c.StreamLayer = f.net.listen(s.addr)
		c.FS = errorfs.Wrap(s.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpCreate {
				return syscall.EIO
			}
			return nil
		}))
		c.OnFatal = func(err error) { t.Errorf("fatal instead of an error from Open: %v", err) }
		if _, err := Open(c, newRegisters(), quiet()); err == nil || !strings.Contains(err.Error(), syscall.EIO.Error()) {
			t.Errorf("open: %v", err)
		}
	})
}

// TestReserve: the disk is full as long as the reserve is there.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		s := f.servers[0]
		var full atomic.Bool
		s.wrap = func(fs vfs.FS) vfs.FS {
			return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if full.Load() && op.Kind == errorfs.OpFileWrite {
					if _, err := fs.Stat("data/" + reserveFile); err == nil {
						return syscall.ENOSPC
					}
				}
				return nil
			}))
		}
		f.start(0)
		f.propose(put("k", "1"))
		if !s.store.Stats().Reserve {
			t.Fatal("no reserve")
		}
		full.Store(true)
		f.propose(put("k", "2"))
		if st := s.store.Stats(); st.Reserve || st.SnapshotIndex != 0 {
			t.Fatalf("after the disk was full: %+v", st)
		}
		time.Sleep(2 * upkeepEvery)
		if st := s.store.Stats(); st.SnapshotIndex == 0 {
			t.Fatalf("the log was not shortened: %+v", st)
		}
		select {
		case err := <-s.fatal:
			t.Fatalf("fatal: %v", err)
		default:
		}
		full.Store(false)
		f.crash(0, 0, nil)
		f.start(0)
		if !s.store.Stats().Reserve || s.machine.value("k") != "2" {
			t.Fatalf("after a restart: %+v", s.store.Stats())
		}
		f.stop()
	})
}

func TestFollowerCatchesUpAfterStall(t *testing.T) { // hashicorp/raft#612
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, func(c *Config) { c.StallLimit = time.Hour })
		f.unchecked = true
		disks := make([]*sickDisk, 3)
		for i, s := range f.servers {
			disks[i] = &sickDisk{}
			s.wrap = disks[i].wrap
		}
		f.startAll()
		defer f.stop()
		l := f.leader()
		release := disks[(l+1)%3].hangs()
		for i := range 300 {
			f.propose(put("k", fmt.Sprint(i)))
			time.Sleep(100 * time.Millisecond)
		}
		release()
		start := time.Now()
		f.same(f.propose(put("k", "end")))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("caught up after %v", took)
		}
	})
}

func TestNoPipelining(t *testing.T) { // hashicorp/raft#612
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.listen("B")
		tr := guardedTransport(n.listen("A"))
		defer tr.Close()
		if _, err := tr.AppendEntriesPipeline("B", "B"); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("pipeline: %v", err)
		}
	})
}

func TestWedgedLeader(t *testing.T) { // hashicorp/raft#696
	// The library's own watchers of a transfer may be left waiting for ever after the server was stopped: they are a part of the bug, and the
	// bubble complains of them after everything was checked. Nothing else may be left.
	defer func() {
		if p := recover(); p != nil {
			if left := bubbled(); left != "" || !strings.Contains(fmt.Sprint(p), "blocked goroutines remain") {
				panic(fmt.Sprintf("%v\n%s", p, left))
			}
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.startAll()
		defer f.stop()
		l := f.leader()
		s := f.servers[l]
		// A transfer of leadership to a server that is not there keeps the leader from taking proposals.
		to := f.servers[(l+1)%3]
		f.net.split(s.addr, to.addr, true)
		stop := make(chan struct{})
		stopped := make(chan struct{})
		transfer := s.store.raft.LeadershipTransferToServer
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					_ = transfer(raft.ServerID(to.id), raft.ServerAddress(to.addr)).Error()
					time.Sleep(time.Millisecond)
				}
			}
		}()
		var fatal error
		start := time.Now()
		for fatal == nil && time.Since(start) < time.Minute {
			s.poke()
			select {
			case fatal = <-s.fatal:
			case <-time.After(50 * time.Millisecond):
			}
		}
		close(stop)
		<-stopped
		if took := time.Since(start); !errors.Is(fatal, ErrWedged) || took > 20*time.Second {
			t.Errorf("after %v: %v", took, fatal)
		}
	})
}

// bubbled are the stacks of goroutines that are left in bubbles, but for those that a leader of the library started to watch a transfer.
func bubbled() (left string) {
	stacks := make([]byte, 1<<22)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		first, _, _ := strings.Cut(stack, "\n")
		if strings.Contains(first, "synctest bubble") && !strings.Contains(stack, "created by github.com/hashicorp/raft.(*Raft).leaderLoop") {
			left += stack + "\n\n"
		}
	}
	return left
}

// TestNobodyTransfersLeadership: hashicorp/raft#696 has no other guard than not to call it.
func TestNobodyTransfersLeadership(t *testing.T) {
	call := regexp.MustCompile(`\.LeadershipTransfer(ToServer)?\b`)
	files := 0
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || d.Name() == "disk_test.go" { // this file does, to be noticed
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if call.Match(text) {
			t.Errorf("%s transfers leadership", path)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Fatalf("%d files, %v", files, err)
	}
	if !call.MatchString("r.LeadershipTransfer()") {
		t.Error("the pattern finds nothing")
	}
}

func TestMachinePanicHalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, nil)
		f.start(0)
		f.propose(put("k", "1"))
		s := f.servers[0]
		bad, err := json.Marshal(command{Op: "unknown"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.store.Propose(context.Background(), bad); !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrHalted) {
			t.Errorf("propose: %v", err)
		}
		if err := <-s.fatal; !errors.Is(err, ErrMachinePanic) || !strings.Contains(err.Error(), "unknown tag") {
			t.Errorf("fatal: %v", err)
		}
		if got := len(s.machine.history()); got != 2 {
			t.Errorf("%d entries reached the machine", got)
		}
		f.stop()

		// The goroutine that applies ends; the entries behind are not applied.
		m := &stateMachine{machine: newRegisters(), fault: &fault{log: quiet(), onFatal: func(error) {}}}
		m.fault.running.Store(true)
		ended, returned := make(chan struct{}), false
		go func() {
			defer close(ended)
			m.Apply(&raft.Log{Index: 1, Data: bad})
			returned = true
		}()
		<-ended
		if returned || m.applied.Load() != 0 {
			t.Error("Apply returned after the machine panicked")
		}
	})
}
