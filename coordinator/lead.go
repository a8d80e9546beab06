package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/placement"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/wire"
)

// stepEvery is the longest pause between two steps of the scheduler.
const stepEvery = 500 * time.Millisecond

// lead is the shell of scheduler.Loop: wait, step, do what it says, hand back what came of it. It runs on every coordinator; where
// this one does not lead, the loop is told so and decides nothing.
func (s *Server) lead(ctx context.Context) {
	loop := scheduler.New(scheduler.Config{Hold: s.cfg.Hold, Idle: s.cfg.Idle})
	results := make(chan scheduler.Input, 256)
	wake := time.NewTimer(0)
	defer wake.Stop()
	term := uint64(0)
	for {
		_, changed := s.live.Load()
		in := scheduler.Input{}
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		case <-changed:
		case <-s.store.Lead():
		case <-s.fleet.news:
			s.gather(ctx)
		case id := <-s.gossip.Silent():
			in.Suspects = append(in.Suspects, id)
		case r := <-results:
			in = r
		case question := <-s.questions:
			question(loop)
			continue
		}
		for more := true; more; {
			select {
			case r := <-results:
				in.Commits, in.Probes = append(in.Commits, r.Commits...), append(in.Probes, r.Probes...)
			default:
				more = false
			}
		}
		if term = s.term(ctx, term); term == 0 {
			s.fleet.forget()
		}
		in.State, in.Term, in.Reports = s.live.Now(), term, s.fleet.take()
		in.Demand = s.fleet.wanted()
		s.watch.saw(s.LeaderID())
		began := time.Now()
		out := loop.Step(began, in)
		if term != 0 {
			s.watch.stepped(began, out)
		}
		s.reasons.put(out.Notes)
		s.carryOut(ctx, out, results)
		if term != 0 && s.enlisting.CompareAndSwap(false, true) {
			s.running.Go(func() {
				defer s.enlisting.Store(false)
				s.unvote(ctx)
				s.voters(ctx)
				s.rise(ctx)
			})
		}
		pause := stepEvery
		if !out.NextWake.IsZero() {
			pause = min(pause, max(time.Until(out.NextWake), time.Millisecond))
		}
		wake.Reset(pause)
	}
}

// A step looks at every node and replica: where there are many, it waits for more of their reports.
const (
	gatherPerNode = 20 * time.Microsecond
	gatherMost    = 50 * time.Millisecond
)

// gather lets reports come together, for longer the more nodes there are.
func (s *Server) gather(ctx context.Context) {
	select {
	case <-time.After(min(time.Duration(s.fleet.size())*gatherPerNode, gatherMost)):
	case <-ctx.Done():
	}
}

// term is the term of this coordinator's leadership, once everything of earlier terms is applied; 0 while it does not lead.
func (s *Server) term(ctx context.Context, was uint64) uint64 {
	now := s.store.Stats().Term
	if !s.store.IsLeader() {
		return 0
	}
	if now == was {
		return was
	}
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	if err := s.store.Barrier(ctx); err != nil || !s.store.IsLeader() || s.store.Stats().Term != now {
		return 0
	}
	s.log.Info("leading", "term", now)
	return now
}

// carryOut proposes and probes without waiting; what comes of it is handed to results.
func (s *Server) carryOut(ctx context.Context, out scheduler.Output, results chan<- scheduler.Input) {
	back := func(in scheduler.Input) {
		select {
		case results <- in:
		case <-ctx.Done():
		}
	}
	if len(out.Txns) > 0 {
		s.watch.pending.Add(1)
		s.running.Go(func() {
			c := s.commit(ctx, out)
			s.watch.pending.Add(-1)
			back(scheduler.Input{Commits: []scheduler.Commit{c}})
		})
	}
	for _, p := range out.Probes {
		s.running.Go(func() { back(scheduler.Input{Probes: s.probeEverywhere(ctx, p)}) })
	}
}

func (s *Server) commit(ctx context.Context, out scheduler.Output) scheduler.Commit {
	c := scheduler.Commit{Proposal: out.Proposal}
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	entry, err := cluster.Encode(cluster.Envelope{V: cluster.EnvelopeFormat, At: s.now(), Txns: out.Txns})
	var result any
	if err == nil {
		var index uint64
		result, index, err = s.store.Propose(ctx, entry)
		c.Index = cluster.Index(index)
	}
	if err != nil {
		c.Failed = err.Error()
		return c
	}
	for _, r := range rejections(result) {
		if r != nil {
			s.log.Warn("a decision was rejected", "why", r)
			c.Rejected = append(c.Rejected, r.Error())
		}
	}
	return c
}

// probeEverywhere lets every coordinator probe a node.
func (s *Server) probeEverywhere(ctx context.Context, p scheduler.ProbeRequest) []scheduler.ProbeResult {
	var mu sync.Mutex
	var out []scheduler.ProbeResult
	var wg sync.WaitGroup
	add := func(by cluster.NodeID, alive bool) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, scheduler.ProbeResult{Node: p.Node, By: by, Round: p.Round, Alive: alive})
	}
	wg.Go(func() { add(s.member.ID, s.probe(ctx, cluster.RoleNode, p.Node, p.Addr) == nil) })
	for _, m := range s.others() {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*probeWait)
			defer cancel()
			res, err := wire.Call[wire.ProbeNodeRequest, wire.ProbeNodeResponse](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.ProbeNode, &wire.ProbeNodeRequest{Node: p.Node, Addr: p.Addr})
			if err == nil { // a coordinator that cannot be asked has no opinion
				add(m.ID, res.Answered)
			}
		})
	}
	wg.Wait()
	return out
}

// voters makes a voter of each coordinator in the state that is not one yet, or that moved.
func (s *Server) voters(ctx context.Context) {
	servers, err := s.store.Servers()
	if err != nil {
		return
	}
	for _, m := range s.others() {
		want := raftstore.Server{ID: string(m.ID), Addr: m.Addr}
		if slices.Contains(servers, want) {
			continue
		}
		if err := s.addVoter(ctx, want); err != nil {
			s.log.Warn("coordinator is no voter yet", "name", m.Name, "err", err)
		}
		return // one at a time: the next step takes the next
	}
}

// rise raises the feature level once every coordinator understands it.
func (s *Server) rise(ctx context.Context) {
	understood := map[cluster.NodeID]int{s.member.ID: cluster.Feature}
	for _, m := range s.gossip.List() {
		understood[m.ID] = m.Meta.Feature
	}
	state := s.live.Now()
	level := state.Rise(understood)
	if level == 0 || !s.understood(ctx, level) {
		return
	}
	rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.SetFeature{Was: state.Cluster().Feature, Feature: level}}})
	s.log.Info("feature level", "to", level, "rejected", rejected, "err", err)
}

// understood asks every coordinator itself whether it understands a feature level: what gossip says of it, whoever has the gossip's key can
// say, and a coordinator that does not understand an entry of the log must stop.
func (s *Server) understood(ctx context.Context, level int) bool {
	for _, m := range s.others() {
		ctx, cancel := context.WithTimeout(ctx, probeWait)
		pong, err := wire.Call[wire.Empty, wire.Pong](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Ping, &wire.Empty{})
		cancel()
		if err != nil || pong.ID != m.ID || pong.Feature < level {
			return false
		}
	}
	return level <= cluster.Feature
}

// addVoter makes a voter of a coordinator that answers: one that cannot be reached would only raise the number of votes that are needed.
func (s *Server) addVoter(ctx context.Context, v raftstore.Server) error {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	if err := s.probe(ctx, cluster.RoleCoordinator, cluster.NodeID(v.ID), v.Addr); err != nil {
		return err
	}
	return s.store.AddVoter(ctx, v)
}

// reasons are the scheduler's, for readers outside of its goroutine.
type reasons struct {
	mu      sync.Mutex
	history scheduler.History
}

func (r *reasons) put(notes []scheduler.Note) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Put(time.Now(), notes)
}

// Reasons are why things are not as they were wished: those that stand now, and those that were given. Only the leader has them.
func (s *Server) Reasons() (standing, all []scheduler.Dated) {
	s.reasons.mu.Lock()
	defer s.reasons.mu.Unlock()
	return s.reasons.history.Standing(), s.reasons.history.All()
}

// ask puts a question to the scheduler's loop, on the goroutine that owns it.
func ask[T any](ctx context.Context, s *Server, question func(*scheduler.Loop) T) (answer T, err error) {
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	got := make(chan T, 1)
	select {
	case s.questions <- func(l *scheduler.Loop) { got <- question(l) }:
		return <-got, nil
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

// Preview says where the replicas of a deployment would go, changing nothing. Only the leader's scheduler knows enough to answer well.
func (s *Server) Preview(ctx context.Context, d cluster.Deployment) (placement.Solution, error) {
	return ask(ctx, s, func(l *scheduler.Loop) placement.Solution { return l.Preview(time.Now(), s.live.Now(), d) })
}

// Recording is the last steps of the scheduler with their inputs, from which its decisions can be taken again.
func (s *Server) Recording(ctx context.Context) (scheduler.Recording, error) {
	return ask(ctx, s, (*scheduler.Loop).Recording)
}

// Leads says whether this coordinator leads.
func (s *Server) Leads() bool { return s.store.IsLeader() }
