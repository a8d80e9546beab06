package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/wire"
)

// Pace of starting a worker that keeps dying.
const (
	restartFirst = 200 * time.Millisecond
	restartMost  = 10 * time.Second
	stableAfter  = time.Minute // a worker that lived this long starts anew at restartFirst
	killAfter    = time.Second // after its orders ended
)

// Limits of the pipes to a worker.
const (
	maxOrders = 256     // that a worker has not read yet: one that reads none is killed
	maxNotice = 1 << 20 // bytes of a notice: a model may have taken the worker over
)

// When a worker counts as hung.
const (
	quietMost = 10              // times worker.AliveEvery without a word from it: the process is stopped
	stepMost  = 2 * time.Minute // one forward step on the device: it is stuck in native code
)

// errHung says that a worker was killed because it did not get on.
var errHung = errors.New("node: the worker hung")

// process keeps one device's worker process alive. It is the only one that talks to it.
type process struct {
	device gpu.Device
	setup  worker.Setup
	papers func() wire.Papers
	gone   func() []cluster.NodeID
	exe    string
	log    *slog.Logger
	events chan<- workerEvent

	mu     sync.Mutex
	orders chan worker.Order // nil while no worker runs
	kill   func() error      // the worker that runs

	work     worker.Work // of the worker that runs, or ran last
	restarts int
}

// workerEvent is what happened to a worker: one of the two is set.
type workerEvent struct {
	device gpu.DeviceID
	notice *worker.Notice
	died   string
}

// errNoWorker says that the device's worker does not run at this moment.
var errNoWorker = errors.New("node: the worker is not running")

// send gives the worker an order. It never waits: the node goes on though a worker does not.
func (p *process) send(o worker.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.orders == nil {
		return fmt.Errorf("%w: device %s", errNoWorker, p.device.ID)
	}
	select {
	case p.orders <- o:
		return nil
	default:
		return errors.Join(fmt.Errorf("%w: device %s takes no orders", errHung, p.device.ID), p.kill())
	}
}

// run starts the worker again and again until ctx ends.
func (p *process) run(ctx context.Context) {
	runtime.LockOSThread() // the kernel kills a child when the thread that made it ends
	pause := restartFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		p.ended()
		p.log.Error("worker ended", "device", p.device.ID, "err", err)
		p.tell(ctx, workerEvent{device: p.device.ID, died: fmt.Sprint(err)})
		if time.Since(began) > stableAfter {
			pause = restartFirst
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, restartMost)
		case <-ctx.Done():
		}
	}
}

// once runs one worker process from its start to its end.
func (p *process) once(ctx context.Context) error {
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ordersW.Close()
	noticesR, noticesW, err := os.Pipe()
	if err != nil {
		ordersR.Close()
		return err
	}
	defer noticesR.Close()
	cmd := exec.CommandContext(ctx, p.exe, "worker")
	cmd.ExtraFiles = []*os.File{ordersR, noticesW} // descriptors 3 and 4
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), visible(p.device)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = ordersW.Close // a worker ends with its orders
	cmd.WaitDelay = killAfter
	err = cmd.Start()
	ordersR.Close()
	noticesW.Close()
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	orders := make(chan worker.Order, maxOrders)
	setup := p.setup
	setup.Papers, setup.Gone = p.papers(), p.gone()
	orders <- worker.Order{Setup: &setup}
	p.set(orders, cmd.Process.Kill)
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		pipe := worker.NewPipe(ordersW)
		for o := range orders {
			if pipe.Send(o) != nil {
				return // its death is noticed elsewhere
			}
		}
	}()
	err = p.listen(ctx, noticesR)
	p.set(nil, nil)
	ordersW.Close()
	<-passed
	if err != nil {
		cmd.Process.Kill()
	}
	late := time.AfterFunc(killAfter, func() { cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(err, cmd.Wait())
}

// visible is what restricts a worker to its device: CUDA shows the process the GPU of this UUID alone, as the first one.
func visible(d gpu.Device) []string {
	if d.Kind != gpu.CUDA {
		return nil
	}
	return []string{"CUDA_VISIBLE_DEVICES=" + string(d.ID)}
}

// set makes orders go to a worker, or to none. What was not passed on is dropped with the worker.
func (p *process) set(orders chan worker.Order, kill func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.orders != nil {
		close(p.orders)
	}
	p.orders, p.kill = orders, kill
}

// did keeps what the worker has done so far.
func (p *process) did(w worker.Work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.work = w
}

// ended counts a worker that ended by itself.
func (p *process) ended() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restarts++
}

// tell passes on what happened to the worker, unless the node ends.
func (p *process) tell(ctx context.Context, e workerEvent) {
	select {
	case p.events <- e:
	case <-ctx.Done():
	}
}

// listen passes notices on until the worker closes its pipe, or hangs. Time counts in ticks, so that it does not while this process is
// stopped itself.
func (p *process) listen(ctx context.Context, r io.Reader) error {
	notices, ended, done := make(chan worker.Notice), make(chan error, 1), make(chan struct{})
	defer close(done)
	go func() { ended <- read(r, notices, done) }()
	tick := time.NewTicker(worker.AliveEvery)
	defer tick.Stop()
	for quiet := 0; ; {
		select {
		case n := <-notices:
			quiet = 0
			if n.Alive == nil {
				p.tell(ctx, workerEvent{device: p.device.ID, notice: &n})
				continue
			}
			p.did(n.Alive.Work)
			if n.Alive.Step > stepMost {
				return fmt.Errorf("%w: a step has been on the device for %s", errHung, n.Alive.Step.Round(time.Second))
			}
		case <-tick.C:
			if quiet++; quiet > quietMost {
				return fmt.Errorf("%w: it has said nothing for %s", errHung, quietMost*worker.AliveEvery)
			}
		case err := <-ended:
			return err
		}
	}
}

// read takes notices from a pipe until it ends or nobody wants them any more.
func read(r io.Reader, notices chan<- worker.Notice, done <-chan struct{}) error {
	limited := &io.LimitedReader{R: r}
	dec := json.NewDecoder(limited)
	for {
		var n worker.Notice
		limited.N = maxNotice
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read notices: %w", err)
		}
		select {
		case notices <- n:
		case <-done:
			return nil
		}
	}
}
