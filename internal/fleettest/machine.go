package fleettest

import (
	"context"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// Machine is a member of role node that reports, answers probes, and says of every stage that it should hold that it holds it.
type Machine struct {
	ID     cluster.NodeID
	Dialer *wire.Dialer

	fleet    *Fleet
	report   cluster.Report
	listener *wire.Listener
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	desired cluster.Desired
	idle    bool // what should be held is not
	work    Work
	active  int // generations
}

// reportEvery is a machine's pace: faster than a node's, so that tests are.
const reportEvery = 100 * time.Millisecond

// Machine starts a machine with devices of some memory each.
func (f *Fleet) Machine(name string, memory ...gpu.Bytes) *Machine {
	f.t.Helper()
	member := f.Enrol(cluster.RoleNode, name)
	m := &Machine{ID: member.ID, Dialer: f.Dialer(member), fleet: f}
	creds, err := wire.NewCredentials(member.Papers)
	if err != nil {
		f.t.Fatal(err)
	}
	if m.listener, err = wire.Listen(f.Addr()+":7000", creds, Log()); err != nil {
		f.t.Fatal(err)
	}
	m.report = cluster.Report{Node: m.ID, Session: 1, Addr: m.listener.Addr().String(), Name: name, Software: "test", Upkeep: telemetry.Upkeep(f.dir, creds.Ends())}
	for i, size := range memory {
		id := gpu.DeviceID(name + "-" + string(rune('a'+i)))
		m.report.Devices = append(m.report.Devices, gpu.Device{ID: id, Kind: gpu.Host, Name: "test", Memory: size, Cores: 1})
		m.report.Readings = append(m.report.Readings, gpu.Reading{ID: id, Health: gpu.Healthy})
	}
	mux := wire.NewMux()
	wire.Handle(mux, wire.Ping, func(context.Context, *wire.Empty) (*wire.Pong, error) { return &wire.Pong{ID: m.ID}, nil })
	wire.HandleStream(mux, wire.Generate, m.generate)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.running.Go(func() {
		if err := m.listener.Serve(ctx, mux); err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	})
	m.running.Go(func() {
		for ctx.Err() == nil {
			m.converse(ctx)
			select {
			case <-time.After(reportEvery):
			case <-ctx.Done():
			}
		}
	})
	f.t.Cleanup(m.Stop)
	Within(f.t, name+" is admitted", func() bool {
		n, ok := f.Running()[0].Live().Now().Node(m.ID)
		return ok && n.Status == cluster.NodeReady
	})
	return m
}

// Stop cuts the machine off.
func (m *Machine) Stop() {
	m.stop()
	m.listener.Close()
	m.running.Wait()
}

// Idle makes the machine hold nothing, or all that it should again.
func (m *Machine) Idle(idle bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = idle
}

// Desired is what the machine was told last.
func (m *Machine) Desired() cluster.Desired {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.desired
}

// converse reports to the leader, wherever it is, for as long as it leads.
func (m *Machine) converse(ctx context.Context) {
	addr := m.fleet.leading()
	if addr == "" {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := wire.Bidi[cluster.Report, cluster.Desired](ctx, m.Dialer, cluster.RoleCoordinator, addr, wire.Sync)
	defer s.CloseResponse()
	m.running.Go(func() {
		for ctx.Err() == nil && s.Send(m.next()) == nil {
			select {
			case <-time.After(reportEvery):
			case <-ctx.Done():
			}
		}
		s.CloseRequest()
	})
	for {
		d, err := s.Receive()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.desired = *d
		m.mu.Unlock()
	}
}

func (m *Machine) next() *cluster.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Seq++
	r := m.report
	r.Seen = m.desired.Index
	for _, a := range m.desired.Assignments {
		h := cluster.Held{Replica: a.Replica, Epoch: a.Epoch, Stage: a.Stage, Key: a.Key, Device: a.Device, Status: cluster.HeldReady, Endpoint: m.report.Addr, Used: a.Reserve}
		if m.idle {
			h.Status, h.Endpoint = cluster.HeldLoading, ""
		}
		if !a.Drain {
			r.Held = append(r.Held, h)
		}
	}
	return &r
}
