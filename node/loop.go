package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/agent"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// readEvery is the pace at which devices are read.
const readEvery = time.Second

// progressEvery is the pace at which a fetch tells how far it is.
const progressEvery = 500 * time.Millisecond

// loop is the shell of agent.Loop: wait, step, do what it says.
func (s *Server) loop(ctx context.Context) {
	l := agent.New(agent.Config{Node: s.member.ID, Session: s.session, Addr: s.cfg.Listen, Name: s.cfg.Name, Zone: s.cfg.Zone,
		Software: s.cfg.Software, Devices: s.probe.Inventory()})
	read := time.NewTicker(readEvery)
	defer read.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	readings := make(chan []gpu.Reading, 1) // capacity for the one reading that may be under way
	reading := true
	go func() { readings <- s.probe.Read(nil) }()
	in := agent.Input{}
	for {
		out := l.Step(time.Now(), in)
		for _, n := range out.Notes {
			s.log.Info(n.Why, "subject", n.Subject)
		}
		for _, a := range out.Actions {
			s.act(ctx, a)
		}
		if out.Report != nil {
			out.Report.Upkeep = telemetry.Upkeep(s.cfg.Dir, s.creds.Ends())
			s.link.say(*out.Report)
		}
		wake.Reset(max(time.Until(out.Wake), time.Millisecond))
		in = agent.Input{}
		select {
		case d := <-s.desired:
			s.heed(d)
			in.Desired = &d
		case e := <-s.workers:
			in = s.worker(e)
		case in = <-s.ended:
			for _, f := range in.Fetched {
				if f.Done {
					delete(s.fetches, f.Key)
				}
			}
		case in.Readings = <-readings:
			reading = false
		case <-read.C:
			if !reading { // a driver that does not answer must not hold up the rest
				reading = true
				used := s.memory()
				go func() { readings <- s.probe.Read(used) }()
			}
		case <-wake.C:
		case <-ctx.Done():
			return
		}
	}
}

// worker turns what happened to a worker into input.
func (s *Server) worker(e workerEvent) (in agent.Input) {
	switch n := e.notice; {
	case n == nil:
		for slot := range s.used {
			if slot.Device == e.device {
				delete(s.used, slot)
			}
		}
		in.Workers = []agent.Worker{{Device: e.device, Why: e.died}}
	case n.Started != nil:
		in.Workers = []agent.Worker{{Device: e.device, Endpoint: n.Started.Endpoint}}
	case n.Loaded != nil:
		s.used[n.Loaded.Slot] = n.Loaded.Used
		in.Loaded = []agent.Loaded{*n.Loaded}
	case n.Unloaded != nil:
		delete(s.used, *n.Unloaded)
		in.Unloaded = []agent.Slot{*n.Unloaded}
	case n.Active != nil:
		in.Active = []agent.Active{{Device: e.device, Counts: *n.Active}}
	}
	return in
}

// memory is what the stages on each device were measured to hold.
func (s *Server) memory() map[gpu.DeviceID]gpu.Bytes {
	m := map[gpu.DeviceID]gpu.Bytes{}
	for slot, used := range s.used {
		m[slot.Device] += used
	}
	return m
}

// act carries out one action. Orders to a worker that does not run are dropped: its death was, or will be, reported.
func (s *Server) act(ctx context.Context, a agent.Action) {
	var err error
	switch a := a.(type) {
	case agent.Fetch:
		fetching, cancel := context.WithCancel(ctx)
		s.fetches[a.Key] = cancel
		s.running.Go(func() {
			defer cancel()
			done := s.fetch(fetching, a)
			s.end(ctx, agent.Input{Fetched: []agent.Fetched{done}})
		})
	case agent.StopFetch:
		if cancel := s.fetches[a.Key]; cancel != nil {
			cancel()
		}
	case agent.Load:
		var m []byte
		if m, err = s.manifestBytes(a.Key.Manifest); err == nil {
			err = s.order(a.Device, worker.Order{Load: &worker.Load{Slot: a.Slot, Manifest: m}})
		}
		if err != nil && !errors.Is(err, errNoWorker) {
			s.end(ctx, agent.Input{Loaded: []agent.Loaded{{Slot: a.Slot, Err: err.Error()}}})
			err = nil
		}
	case agent.Unload:
		err = s.order(a.Device, worker.Order{Unload: &a.Slot})
	case agent.Serve:
		err = s.order(a.Device, worker.Order{Duties: &a.Duties})
	}
	if err != nil {
		s.log.Debug("order dropped", "err", err)
	}
}

func (s *Server) order(d gpu.DeviceID, o worker.Order) error {
	p := s.processes[d]
	if p == nil {
		return errNoWorker
	}
	return p.send(o)
}

// end hands a result to the loop without waiting for it.
func (s *Server) end(ctx context.Context, in agent.Input) {
	s.running.Go(func() {
		select {
		case s.ended <- in:
		case <-ctx.Done():
		}
	})
}

// fetch brings the manifest and the byte ranges of a stage to the disk, and says how that ended.
func (s *Server) fetch(ctx context.Context, f agent.Fetch) agent.Fetched {
	done := agent.Fetched{Key: f.Key, Done: true}
	var total, here atomic.Int64
	err := func() error {
		if err := wire.Fetch(ctx, s.dialer, f.Sources, f.Key.Manifest, nil, s.blobs, nil); err != nil {
			return err
		}
		m, err := s.manifest(f.Key.Manifest)
		if err != nil {
			return err
		}
		wanted := map[blob.Digest][]blob.Ref{}
		var order []blob.Digest
		for _, r := range m.Refs(f.Key.Span.From, f.Key.Span.To) {
			if wanted[r.Digest] == nil {
				order = append(order, r.Digest)
			}
			wanted[r.Digest] = append(wanted[r.Digest], r)
			total.Add(r.Len)
		}
		stop := s.progress(ctx, f.Key, &here, &total)
		defer stop()
		from := wire.Sources{Self: s.cfg.Listen, Whole: f.Sources, Peers: s.crowd.of(f.Key, m)}
		for _, d := range order {
			if err := wire.FetchAmong(ctx, s.dialer, from, d, wanted[d], s.blobs, func(n int64) { here.Add(n); s.fetched.Add(n) }); err != nil {
				return err
			}
		}
		return nil
	}()
	done.Total = total.Load()
	done.Bytes = done.Total
	if err != nil {
		s.room(done, err)
		done.Bytes, done.Err = min(here.Load(), done.Total), err.Error()
	}
	return done
}

// progress tells the loop from time to time how far a fetch is.
func (s *Server) progress(ctx context.Context, key cluster.StageKey, here, total *atomic.Int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	s.running.Go(func() {
		for {
			select {
			case <-time.After(progressEvery):
				s.end(ctx, agent.Input{Fetched: []agent.Fetched{{Key: key, Bytes: min(here.Load(), total.Load()), Total: total.Load()}}})
			case <-ctx.Done():
				return
			}
		}
	})
	return cancel
}

// manifestBytes reads a manifest that was fetched.
func (s *Server) manifestBytes(d blob.Digest) ([]byte, error) {
	st, err := s.blobs.Stat(d)
	if err != nil {
		return nil, err
	}
	return s.blobs.Read(blob.Ref{Digest: d, Len: st.Size})
}

func (s *Server) manifest(d blob.Digest) (*model.Manifest, error) {
	b, err := s.manifestBytes(d)
	if err != nil {
		return nil, err
	}
	return model.Decode(b)
}
