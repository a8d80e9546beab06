package worker

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/telemetry"
)

// device runs all calls into the runtime on one locked thread: its state is kept per thread (CUDA handles, captured graphs).
type device struct {
	jobs  chan func()
	ctx   context.Context
	born  time.Time
	since atomic.Int64                    // when the step that runs began, in nanoseconds after born; 0 = none runs
	took  map[string]*telemetry.Histogram // seconds by the kind of step
	rows  *telemetry.Histogram            // of decoding steps
}

func newDevice(ctx context.Context) *device {
	d := &device{jobs: make(chan func()), ctx: ctx, born: time.Now(), took: map[string]*telemetry.Histogram{}, rows: telemetry.NewHistogram(telemetry.WorkerRows)}
	for _, kind := range Kinds {
		d.took[kind] = telemetry.NewHistogram(telemetry.WorkerStep)
	}
	go func() {
		runtime.LockOSThread()
		for {
			select {
			case f := <-d.jobs:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	return d
}

// do runs f on the device's thread and waits for it; it does nothing once the process ends.
func (d *device) do(f func()) {
	done := make(chan struct{})
	select {
	case d.jobs <- func() { defer close(done); f() }:
		<-done
	case <-d.ctx.Done():
	}
}

// step is do for a forward step of a kind and a number of rows, whose time is watched: a load may take minutes, a step that does is stuck
// in native code.
func (d *device) step(kind string, rows int, f func()) {
	d.do(func() {
		began := time.Since(d.born)
		d.since.Store(int64(began))
		defer d.since.Store(0)
		f()
		d.took[kind].Observe((time.Since(d.born) - began).Seconds())
		if kind == stepDecode {
			d.rows.Observe(float64(rows))
		}
	})
}

// work is what the device has done since it was opened.
func (d *device) work() Work {
	w := Work{Steps: map[string]telemetry.Tally{}, Rows: d.rows.Tally()}
	for kind, h := range d.took {
		if t := h.Tally(); t.Total() > 0 {
			w.Steps[kind] = t
		}
	}
	return w
}

// busy is how long the step that runs has run; 0 = none runs.
func (d *device) busy() time.Duration {
	since := time.Duration(d.since.Load())
	if since == 0 {
		return 0
	}
	return time.Since(d.born) - since
}

// alive tells the node every AliveEvery that this process lives, until ctx ends. A process that is stopped, or thrashes, does not.
func (d *device) alive(ctx context.Context, pipe *Pipe, log *slog.Logger) {
	tick := time.NewTicker(AliveEvery)
	defer tick.Stop()
	for {
		if err := pipe.Send(Notice{Alive: &Alive{Step: d.busy(), Work: d.work()}}); err != nil {
			log.Debug("cannot reach the node", "err", err)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
