package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/ort"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Run is the worker process: it obeys orders until they end (the node closed the pipe, or died). tracer is nil where nothing is traced.
func Run(ctx context.Context, orders io.Reader, notices io.Writer, tracer *telemetry.Tracer, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dec, pipe, device := json.NewDecoder(orders), NewPipe(notices), newDevice(ctx)
	go device.alive(ctx, pipe, log)
	var first Order
	if err := dec.Decode(&first); err != nil || first.Setup == nil {
		return fmt.Errorf("worker: no setup: %w", err)
	}
	w, err := start(ctx, *first.Setup, device, pipe, tracer, log)
	if err != nil {
		return err
	}
	defer w.stop()
	for {
		var o Order
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("worker: read orders: %w", err)
		}
		if err := w.obey(o); err != nil {
			return err
		}
	}
}

// worker holds the loaded stages of one device and the duties they have.
type worker struct {
	ctx      context.Context // of the process
	setup    Setup
	creds    *wire.Credentials
	dialer   *wire.Dialer
	listener *wire.Listener
	runtime  *ort.Runtime
	device   *device
	pipe     *Pipe
	tracer   *telemetry.Tracer // nil = no traces
	log      *slog.Logger
	running  sync.WaitGroup

	mu     sync.Mutex
	stages map[agent.Slot]*loaded
	duties map[cluster.ReplicaID]*duty
}

// loaded is a stage in memory.
type loaded struct {
	*engine.Stage
	graph    *engine.Graph // of family model.Graph, which has no Stage
	manifest *model.Manifest
	blocks   string // for people
	serving  shard.Serving
	owner    chan struct{} // holds one value while somebody steps the stage
	rows     *rows         // of the last stage of a decoder
}

// own waits until nobody else steps the stage. The caches of a stage know no epochs: what an earlier owner still had under way must be over
// before another one begins.
func (s *loaded) own(ctx context.Context) (release func(), err error) {
	select {
	case s.owner <- struct{}{}:
		return func() { <-s.owner }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// duty is a stage at work for a replica. Its Chain, Drain and relay change, under worker.mu; the rest does not.
type duty struct {
	agent.Duty
	stage *loaded
	head  *head // only for stage 0
	ctx   context.Context
	end   context.CancelFunc
	relay context.CancelFunc // ends the newest stream of the stage before; nil before the first
}

func start(ctx context.Context, s Setup, device *device, pipe *Pipe, tracer *telemetry.Tracer, log *slog.Logger) (*worker, error) {
	w := &worker{ctx: ctx, setup: s, device: device, pipe: pipe, tracer: tracer, log: log, stages: map[agent.Slot]*loaded{}, duties: map[cluster.ReplicaID]*duty{}}
	var err error
	if w.creds, err = wire.NewCredentials(s.Papers); err != nil {
		return nil, err
	}
	w.creds.RefuseAll(s.Gone)
	if w.runtime, err = ort.Open(s.Library); err != nil {
		return nil, err
	}
	w.dialer = wire.NewDialer(w.creds)
	if w.listener, err = wire.Listen(net.JoinHostPort(s.Host, "0"), w.creds, log); err != nil {
		return nil, err
	}
	mux := wire.NewMux()
	wire.HandleStream(mux, wire.Generate, w.generate)
	wire.HandleStream(mux, wire.Steer, w.generate)
	wire.Handle(mux, wire.EncodeRows, w.encode)
	wire.HandleTensors(mux, w.tensors)
	wire.HandleFrames(mux, w.stream)
	w.running.Go(func() {
		if err := w.listener.Serve(ctx, mux); err != nil {
			log.Error("worker stopped listening", "err", err)
		}
	})
	return w, pipe.Send(Notice{Started: &Started{Endpoint: w.listener.Addr().String()}})
}

func (w *worker) stop() {
	w.setDuties(nil)
	w.listener.Close()
	w.dialer.Close()
}

func (w *worker) obey(o Order) error {
	switch {
	case o.Load != nil:
		w.running.Go(func() { w.load(*o.Load) })
	case o.Unload != nil:
		w.running.Go(func() { w.unload(*o.Unload) })
	case o.Duties != nil:
		w.setDuties(*o.Duties)
	case o.Papers != nil:
		return w.creds.Replace(*o.Papers)
	case o.Gone != nil:
		w.creds.RefuseAll(*o.Gone)
	}
	return nil
}

func (w *worker) load(l Load) {
	n, began := agent.Loaded{Slot: l.Slot}, time.Now()
	if err := w.loadStage(l, &n); err != nil {
		n.Err = err.Error()
	} else {
		key := l.Slot.Key
		w.log.Info("stage loaded", "manifest", key.Manifest.Short(), "blocks", key.Span, "serving", key.Serving, "used", n.Used, "took", time.Since(began))
	}
	w.tell(Notice{Loaded: &n})
}

func (w *worker) loadStage(l Load, n *agent.Loaded) error {
	m, err := model.Decode(l.Manifest)
	if err != nil {
		return err
	}
	backend, err := engine.On(w.setup.Device.Kind) // never in the machine's memory what was promised the device's
	if err != nil {
		return fmt.Errorf("worker: device %s: %w", w.setup.Device.ID, err)
	}
	key := l.Slot.Key
	if m.Digest() != key.Manifest {
		return fmt.Errorf("worker: manifest %s is not %s: %w", m.Digest().Short(), key.Manifest.Short(), blob.ErrCorrupt)
	}
	w.mu.Lock()
	_, there := w.stages[l.Slot]
	w.mu.Unlock()
	if there {
		return nil
	}
	spec := engine.StageSpec{Manifest: m, Span: key.Span, Serving: key.Serving, Backend: backend, Threads: w.setup.Device.Cores}
	files := func(d blob.Digest) (string, error) { return filepath.Join(w.setup.Blobs, d.String()), nil }
	s := &loaded{manifest: m, blocks: key.Span.String(), serving: key.Serving, owner: make(chan struct{}, 1), rows: newRows(m, files, w.log)}
	w.device.do(func() {
		if m.Config.Arch == model.Graph {
			s.graph, err = w.loadGraph(m, backend)
		} else if s.Stage, err = engine.Load(w.runtime, spec, files); err == nil {
			err = warm(s.Stage, m)
		}
		if err == nil {
			n.Used = s.used()
		} else if s.Stage != nil {
			s.Stage.Close()
		}
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.stages[l.Slot] = s
	w.mu.Unlock()
	return nil
}

// used is the memory that the stage or the graph holds now.
func (s *loaded) used() gpu.Bytes {
	if s.graph != nil {
		return s.graph.Used()
	}
	return s.Used()
}

// free gives the memory of the stage or the graph back.
func (s *loaded) free() error {
	if s.graph != nil {
		return s.graph.Close()
	}
	return s.Close()
}

// warm runs one small step, so that the first request does not pay for what the runtime does once.
func warm(s *engine.Stage, m *model.Manifest) error {
	clear(s.Input(1))
	if m.Config.Arch.Decoder() {
		_, err := s.Run(engine.Step{Prefill: true, Count: 1})
		return err
	}
	_, err := s.Encode(engine.EncodeBatch{Rows: 1, Length: 1, Mask: []int32{1}})
	return err
}

func (w *worker) unload(slot agent.Slot) {
	w.mu.Lock()
	s := w.stages[slot]
	delete(w.stages, slot)
	w.mu.Unlock()
	if s != nil {
		w.device.do(func() {
			if err := s.free(); err != nil {
				w.log.Warn("unload", "span", slot.Key.Span, "err", err)
			}
		})
	}
	w.tell(Notice{Unloaded: &slot})
}

// setDuties makes the duties what the node says: those that stay are told of their chain, the others end and start.
func (w *worker) setDuties(want []agent.Duty) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := map[cluster.ReplicaID]*duty{}
	for _, d := range want {
		if old := w.duties[d.Replica]; old != nil && old.Epoch == d.Epoch && old.Stage == d.Stage && old.Slot == d.Slot {
			old.Chain, old.Drain = d.Chain, d.Drain
			next[d.Replica] = old
			if old.head != nil {
				old.head.retarget(d)
			}
			continue
		}
		if s := w.stages[d.Slot]; s != nil {
			next[d.Replica] = w.begin(d, s)
		} else {
			w.log.Warn("duty without its stage", "replica", d.Replica.String(), "stage", d.Stage)
		}
	}
	for id, old := range maps.All(w.duties) {
		if next[id] != old {
			old.end()
		}
	}
	w.duties = next
}

func (w *worker) begin(d agent.Duty, s *loaded) *duty {
	ctx, end := context.WithCancel(w.ctx)
	n := &duty{Duty: d, stage: s, ctx: ctx, end: end}
	if d.Stage == 0 {
		n.head = newHead(w, d, s)
		w.running.Go(func() { n.head.run(ctx) })
	}
	return n
}

// duty finds the work for a replica at exactly this epoch. A caller with another epoch holds an old or newer map: it is told so.
func (w *worker) duty(id cluster.ReplicaID, epoch cluster.Epoch, stage int) (*duty, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.duties[id]
	if d == nil || d.Epoch != epoch || d.Stage != stage {
		return nil, &wire.Refused{Code: connect.CodeFailedPrecondition, Why: fmt.Sprintf("stage %d of %s is not held here at epoch %d", stage, id, epoch)}
	}
	return d, nil
}

// supersede ends the stream that a duty had from the stage before: that stage opened another one.
func (w *worker) supersede(d *duty, end context.CancelFunc) {
	w.mu.Lock()
	old := d.relay
	d.relay = end
	w.mu.Unlock()
	if old != nil {
		old()
	}
}

// chain is where the stages of a duty's replica are now.
func (w *worker) chain(d *duty) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return d.Chain
}

func (w *worker) tell(n Notice) {
	if err := w.pipe.Send(n); err != nil {
		w.log.Error("cannot reach the node", "err", err)
	}
}

// tellActive reports the sequences of all heads.
func (w *worker) tellActive() {
	w.mu.Lock()
	list := []agent.Count{}
	for id, d := range maps.All(w.duties) {
		if d.head != nil {
			list = append(list, agent.Count{Replica: id, Epoch: d.Epoch, N: d.head.active()})
		}
	}
	w.mu.Unlock()
	w.tell(Notice{Active: &list})
}
