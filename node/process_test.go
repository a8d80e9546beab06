package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/wire"
)

// workerMode says what this program is as a worker.
const workerMode = "SKEIN_TEST_WORKER"

// TestMain lets this program be its own worker. It speaks the protocol and holds nothing; what it does wrong is its mode.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "worker" {
		os.Exit(m.Run())
	}
	pipe := worker.NewPipe(os.NewFile(worker.NoticesFD, "notices"))
	switch os.Getenv(workerMode) {
	case "stuck": // it does not even end with its orders
		pipe.Send(worker.Notice{Alive: &worker.Alive{Step: 2 * stepMost}})
		select {}
	case "crash":
		os.Exit(7)
	case "deaf":
		for tick := time.Tick(worker.AliveEvery); ; <-tick {
			pipe.Send(worker.Notice{Alive: &worker.Alive{}})
		}
	case "endless":
		os.NewFile(worker.NoticesFD, "notices").WriteString(`{"started":{"endpoint":"` + strings.Repeat("x", 2*maxNotice))
		select {}
	case "silent end": // closes its pipe and stays
		os.NewFile(worker.NoticesFD, "notices").Close()
		select {}
	}
	obey(pipe)
}

// obey is a worker without a runtime: it says that it did what it was told.
func obey(pipe *worker.Pipe) {
	id := os.Getpid() // told as an address that nobody listens on
	pipe.Send(worker.Notice{Started: &worker.Started{Endpoint: fmt.Sprintf("127.%d.%d.%d:1", id>>16, id>>8&255, id&255)}})
	go func() {
		for tick := time.Tick(worker.AliveEvery); ; <-tick {
			pipe.Send(worker.Notice{Alive: &worker.Alive{}})
		}
	}()
	for dec := json.NewDecoder(os.NewFile(worker.OrdersFD, "orders")); ; {
		var o worker.Order
		if dec.Decode(&o) != nil {
			os.Exit(0)
		}
		switch {
		case o.Load != nil:
			pipe.Send(worker.Notice{Loaded: &agent.Loaded{Slot: o.Load.Slot, Used: 1}})
		case o.Unload != nil:
			pipe.Send(worker.Notice{Unloaded: o.Unload})
		}
	}
}

// started runs a worker of a mode.
func started(t *testing.T, mode string) (p *process, events chan workerEvent) {
	t.Helper()
	t.Setenv(workerMode, mode)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	events = make(chan workerEvent)
	p = &process{exe: exe, log: slog.New(slog.DiscardHandler), events: events, papers: func() wire.Papers { return wire.Papers{} }, gone: func() []cluster.NodeID { return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.run(ctx)
	}()
	t.Cleanup(func() { // nobody takes events any more, and it ends all the same
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("the worker's process does not end")
		}
	})
	return p, events
}

// A worker that crashes is started again, later each time.
func TestCrashingWorker(t *testing.T) {
	_, events := started(t, "crash")
	began := time.Now()
	for range 3 {
		if e := <-events; !strings.Contains(e.died, "exit status 7") {
			t.Errorf("%+v", e)
		}
	}
	if d := time.Since(began); d < 3*restartFirst {
		t.Errorf("three deaths in %v", d)
	}
}

// A worker that is killed is noticed, and another one takes orders.
func TestKilledWorker(t *testing.T) {
	p, events := started(t, "")
	for range 2 {
		e := <-events
		if e.notice == nil || e.notice.Started == nil {
			t.Fatalf("%+v", e)
		}
		if err := p.send(worker.Order{Unload: &agent.Slot{Copy: 3}}); err != nil {
			t.Error(err)
		}
		if e = <-events; e.notice == nil || e.notice.Unloaded == nil || e.notice.Unloaded.Copy != 3 {
			t.Errorf("%+v", e)
		}
		p.mu.Lock()
		err := p.kill()
		p.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if e = <-events; !strings.Contains(e.died, "killed") {
			t.Errorf("%+v", e)
		}
	}
}

// A worker that takes no orders, talks without end, or closes its pipe and stays is killed; the node never waits for it.
func TestBadWorkers(t *testing.T) {
	for _, mode := range []string{"deaf", "endless", "silent end"} {
		t.Run(mode, func(t *testing.T) {
			p, events := started(t, mode)
			if mode == "deaf" {
				load := worker.Order{Load: &worker.Load{Manifest: make([]byte, 64<<10)}}
				began := time.Now()
				for err := error(nil); !errors.Is(err, errHung); { // the pipe and the queue are bounded
					err = p.send(load)
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("sending took %v", d)
				}
			}
			if e := <-events; !strings.Contains(e.died, "killed") {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A worker whose step does not end is killed, and another one is started.
func TestStuckWorkerIsKilled(t *testing.T) {
	_, events := started(t, "stuck")
	for range 2 {
		if e := <-events; !strings.Contains(e.died, errHung.Error()) || !strings.Contains(e.died, "killed") {
			t.Errorf("%+v", e)
		}
	}
}

// The end of an action is never lost, however many end at once.
func TestEndsAreKept(t *testing.T) {
	s := &Server{ended: make(chan agent.Input)}
	ctx, cancel := context.WithCancel(t.Context())
	const many = 500
	for i := range many {
		s.end(ctx, agent.Input{Unloaded: []agent.Slot{{Copy: i}}})
	}
	seen := map[int]bool{}
	for range many {
		seen[(<-s.ended).Unloaded[0].Copy] = true
	}
	if len(seen) != many {
		t.Errorf("%d of %d ends", len(seen), many)
	}
	s.end(ctx, agent.Input{})
	cancel()
	s.running.Wait() // with nobody reading
}

// What a worker says is passed on but for its signs of life; without those it counts as hung, with them it never does.
func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		events, enc := make(chan workerEvent, 1), json.NewEncoder(w)
		p := &process{events: events}
		result := make(chan error, 1)
		go func() { result <- p.listen(t.Context(), r) }()
		for range 10 * quietMost {
			enc.Encode(worker.Notice{Alive: &worker.Alive{Step: stepMost}})
			time.Sleep(worker.AliveEvery)
		}
		enc.Encode(worker.Notice{Unloaded: &agent.Slot{Copy: 7}})
		if e := <-events; e.notice == nil || e.notice.Unloaded == nil || e.notice.Unloaded.Copy != 7 {
			t.Errorf("%+v", e)
		}
		time.Sleep((quietMost - 1) * worker.AliveEvery)
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("after %d quiet seconds: %v", quietMost-1, err)
		default:
		}
		time.Sleep(2 * worker.AliveEvery)
		if err := <-result; !errors.Is(err, errHung) {
			t.Error(err)
		}
		r.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]string{"": "", `{"alive":{}} {`: "unexpected EOF", "moon": "read notices"} {
			p := &process{}
			if err := p.listen(t.Context(), strings.NewReader(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
