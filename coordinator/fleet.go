package coordinator

import (
	"context"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// fleet is the soft state of the leader: the newest report of each node. It is rebuilt from the reports of one second after a change
// of leader, and never logged.
type fleet struct {
	mu        sync.Mutex
	reports   map[cluster.NodeID]timedReport
	endpoints map[endpointKey]string
	changed   chan struct{} // closed when endpoints changed
	news      chan struct{} // capacity 1: a report came
	fresh     []cluster.Report
	demand    []cluster.Demand                  // for the scheduler
	measured  []cluster.Demand                  // for the monitor
	told      *wire.Observed                    // by the leader, since the last measurement; nil = nothing
	heard     map[cluster.NodeID]time.Time      // gateways, since this coordinator leads
	upkeep    map[cluster.NodeID]cluster.Upkeep // of other coordinators and stand-alone gateways, since this one leads
	spools    map[cluster.NodeID]cluster.Spool  // of gateways, since this one leads
}

// maxDemand bounds the rows of demand that wait for the scheduler.
const maxDemand = 65536

type timedReport struct {
	cluster.Report
	at time.Time
}

type endpointKey struct {
	id    cluster.ReplicaID
	epoch cluster.Epoch
	stage int
}

func newFleet() *fleet {
	return &fleet{reports: map[cluster.NodeID]timedReport{}, endpoints: map[endpointKey]string{}, changed: make(chan struct{}), news: make(chan struct{}, 1), heard: map[cluster.NodeID]time.Time{},
		upkeep: map[cluster.NodeID]cluster.Upkeep{}, spools: map[cluster.NodeID]cluster.Spool{}}
}

// put keeps a report. One that is older than the kept one of the same session is dropped.
func (f *fleet) put(r cluster.Report, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.reports[r.Node]
	if ok && old.Session == r.Session && old.Seq >= r.Seq {
		return
	}
	f.reports[r.Node] = timedReport{r, now}
	f.fresh = append(f.fresh, r)
	if !slices.EqualFunc(old.Held, r.Held, sameEndpoint) {
		f.reindex()
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// sameEndpoint says that two held stages mean the same to whoever looks for endpoints.
func sameEndpoint(a, b cluster.Held) bool {
	return a.Replica == b.Replica && a.Epoch == b.Epoch && a.Stage == b.Stage && a.Status == b.Status && a.Endpoint == b.Endpoint
}

// reindex derives the endpoints of held stages, and wakes who waits if they changed.
func (f *fleet) reindex() {
	next := map[endpointKey]string{}
	for _, r := range f.reports {
		for _, h := range r.Held {
			if h.Status == cluster.HeldReady && h.Endpoint != "" {
				next[endpointKey{h.Replica, h.Epoch, h.Stage}] = h.Endpoint
			}
		}
	}
	if !maps.Equal(next, f.endpoints) {
		f.endpoints = next
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// ask keeps what a gateway said about demand until the scheduler takes it.
func (f *fleet) ask(d []cluster.Demand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.demand = append(f.demand, d[:min(len(d), maxDemand-len(f.demand))]...)
	f.measured = append(f.measured, d[:min(len(d), maxDemand-len(f.measured))]...)
	for _, x := range d {
		f.heard[x.Gateway] = time.Now()
	}
}

// wanted gives the demand that was told since the last call, for the scheduler.
func (f *fleet) wanted() []cluster.Demand {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.demand
	f.demand = nil
	return out
}

// take gives the reports that came since the last take, for the scheduler.
func (f *fleet) take() []cluster.Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.fresh
	f.fresh = nil
	return out
}

// size is the number of nodes that report.
func (f *fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reports)
}

// forget drops everything: leadership is gone, and what was known ages.
func (f *fleet) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.reports)
	clear(f.heard)
	clear(f.upkeep)
	clear(f.spools)
	f.fresh, f.demand, f.measured = nil, nil, nil
	f.reindex()
}

// lookup is a snapshot of the endpoints and a channel that is closed when they change.
func (f *fleet) lookup() (cluster.Endpoints, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.endpoints
	return func(id cluster.ReplicaID, epoch cluster.Epoch, stage int) string {
		return e[endpointKey{id, epoch, stage}]
	}, f.changed
}

// Report gives the newest report of a node and its age; ok is false if there is none.
func (s *Server) Report(id cluster.NodeID) (r cluster.Report, age time.Duration, ok bool) {
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	t, ok := s.fleet.reports[id]
	return t.Report, time.Since(t.at), ok
}

// desiredEvery is how often a node is told what it should hold even if nothing changed, so that it knows that the leader is there.
const desiredEvery = 2 * time.Second

// sync answers wire.Sync: reports come in, what the node should hold goes out, for as long as this coordinator leads.
func (s *Server) sync(ctx context.Context, stream *connect.BidiStream[cluster.Report, cluster.Desired]) error {
	if !s.store.IsLeader() {
		return s.notLeader()
	}
	node, failed := wire.Peer(ctx).ID, make(chan error, 1)
	go func() {
		for {
			r, err := stream.Receive()
			if err == nil && r.Node != node {
				err = &wire.Refused{Code: connect.CodePermissionDenied, Why: "a node reports for itself only"}
			}
			if err != nil {
				failed <- err
				return
			}
			s.fleet.put(*r, time.Now())
		}
	}()
	var last cluster.Desired
	sent := time.Time{}
	for {
		if !s.store.IsLeader() {
			return s.notLeader()
		}
		state, stateChanged := s.live.Load()
		endpoints, endpointsChanged := s.fleet.lookup()
		want := state.Desired(node, endpoints)
		want.Term = s.store.Stats().Term
		s.fleet.addPeers(node, &want, time.Now())
		want.Head = s.recentHead()
		if want.Term != last.Term || !reflect.DeepEqual(want.Assignments, last.Assignments) || !slices.Equal(want.Gone, last.Gone) || time.Since(sent) >= desiredEvery {
			if err := stream.Send(&want); err != nil {
				return err
			}
			last, sent = want, time.Now()
		}
		select {
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-stateChanged:
		case <-endpointsChanged:
		case <-time.After(desiredEvery / 2):
		case <-s.stopping:
			return s.notLeader()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) notLeader() error {
	_, addr := s.store.Leader()
	if addr == s.cfg.Listen {
		addr = ""
	}
	return &wire.Refused{Code: connect.CodeUnavailable, Why: "not the leader", Addr: addr}
}

// ping answers wire.Ping.
func (s *Server) ping(context.Context, *wire.Empty) (*wire.Pong, error) {
	st := s.store.Stats()
	pong := &wire.Pong{ID: s.member.ID, Session: s.session, Applied: s.live.Now().Index(), Contact: -1, Feature: cluster.Feature, Results: s.results != nil, Bucket: s.bucket != nil}
	switch {
	case s.store.IsLeader():
		pong.Contact = 0
	case !st.LastContact.IsZero():
		pong.Contact = time.Since(st.LastContact).Milliseconds()
	}
	return pong, nil
}

// probeNode answers wire.ProbeNode: the leader wants a second opinion on a silent node.
func (s *Server) probeNode(ctx context.Context, r *wire.ProbeNodeRequest) (*wire.ProbeNodeResponse, error) {
	if err := s.probe(ctx, cluster.RoleNode, r.Node, r.Addr); err != nil {
		return &wire.ProbeNodeResponse{Why: err.Error()}, nil //nolint:nilerr // that the node is silent is the answer
	}
	return &wire.ProbeNodeResponse{Answered: true}, nil
}

// probeWait bounds one probe.
const probeWait = 1500 * time.Millisecond

// probe asks the member at addr who it is.
func (s *Server) probe(ctx context.Context, role cluster.Role, id cluster.NodeID, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	pong, err := wire.Call[wire.Empty, wire.Pong](ctx, s.dialer, role, addr, wire.Ping, &wire.Empty{})
	if err == nil && pong.ID != id {
		err = wire.ErrIdentity
	}
	return err
}

// others lists the coordinators but this one, by id.
func (s *Server) others() []cluster.Member {
	return slices.DeleteFunc(s.coordinators(), func(m cluster.Member) bool { return m.ID == s.member.ID })
}
