package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/wire"
)

// TestMain lets this program be its own worker: one whose device is stuck.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		pipe := worker.NewPipe(os.NewFile(worker.NoticesFD, "notices"))
		pipe.Send(worker.Notice{Alive: &worker.Alive{Step: 2 * stepMost}})
		select {} // it does not even end with its orders
	}
	os.Exit(m.Run())
}

// A worker whose step does not end is killed, and another one is started.
func TestStuckWorkerIsKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan workerEvent)
	p := &process{exe: exe, log: slog.New(slog.DiscardHandler), events: events, papers: func() wire.Papers { return wire.Papers{} }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.run(ctx)
	}()
	for range 2 {
		if e := <-events; !strings.Contains(e.died, errHung.Error()) || !strings.Contains(e.died, "killed") {
			t.Errorf("%+v", e)
		}
	}
	cancel()
	for {
		select {
		case <-events:
		case <-ended:
			return
		}
	}
}

// What a worker says is passed on but for its signs of life; without those it counts as hung, with them it never does.
func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		events, enc := make(chan workerEvent, 1), json.NewEncoder(w)
		p := &process{events: events}
		result := make(chan error, 1)
		go func() { result <- p.listen(r) }()
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
			if err := p.listen(strings.NewReader(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
