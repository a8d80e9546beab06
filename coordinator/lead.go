package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/raftstore"
	"github.com/skein-project/skein/scheduler"
	"github.com/skein-project/skein/wire"
)

// stepEvery is the longest pause between two steps of the scheduler.
const stepEvery = 500 * time.Millisecond

// lead is the shell of scheduler.Loop: wait, step, do what it says, hand back what came of it. It runs on every coordinator; where
// this one does not lead, the loop is told so and decides nothing.
func (s *Server) lead(ctx context.Context) {
	loop := scheduler.New(scheduler.Config{})
	results := make(chan scheduler.Input, 256)
	wake := time.NewTimer(0)
	defer wake.Stop()
	term := uint64(0)
	for {
		state, changed := s.live.Load()
		in := scheduler.Input{}
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		case <-changed:
		case <-s.store.Lead():
		case <-s.fleet.news:
		case id := <-s.gossip.Silent():
			in.Suspects = append(in.Suspects, id)
		case r := <-results:
			in = r
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
		state = s.live.Now()
		in.State, in.Term, in.Reports = state, term, s.fleet.take()
		out := loop.Step(time.Now(), in)
		s.notes.put(out.Notes)
		s.carryOut(ctx, out, results)
		if term != 0 && s.enlisting.CompareAndSwap(false, true) {
			s.running.Go(func() {
				defer s.enlisting.Store(false)
				s.voters(ctx)
			})
		}
		pause := stepEvery
		if !out.NextWake.IsZero() {
			pause = min(pause, max(time.Until(out.NextWake), time.Millisecond))
		}
		wake.Reset(pause)
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
		s.running.Go(func() { back(scheduler.Input{Commits: []scheduler.Commit{s.commit(ctx, out)}}) })
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
	wg.Go(func() { add(s.member.ID, s.probe(ctx, p.Node, p.Addr) == nil) })
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
		ctx, cancel := context.WithTimeout(ctx, proposeWait)
		if err := s.store.AddVoter(ctx, want); err != nil {
			s.log.Warn("coordinator is no voter yet", "name", m.Name, "err", err)
		}
		cancel()
		return // one at a time: the next step takes the next
	}
}

// maxNotes bounds the history of notes.
const maxNotes = 1024

// Note is a reason of the scheduler with the time at which it was first given.
type Note struct {
	scheduler.Note
	At time.Time
}

// notes are the reasons that stand now, and those that stood.
type notes struct {
	mu      sync.Mutex
	now     map[scheduler.Note]time.Time
	history []Note
}

func newNotes() *notes { return &notes{now: map[scheduler.Note]time.Time{}} }

func (n *notes) put(list []scheduler.Note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := map[scheduler.Note]time.Time{}
	for _, x := range list {
		at, ok := n.now[x]
		if !ok {
			at = time.Now()
			n.history = append(n.history, Note{x, at})
			if len(n.history) > maxNotes {
				n.history = slices.Delete(n.history, 0, maxNotes/2)
			}
		}
		next[x] = at
	}
	n.now = next
}

// Notes are the scheduler's reasons: those that stand now (standing) or the newest of all. Only the leader has them.
func (s *Server) Notes(standing bool) []Note {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	if !standing {
		return slices.Clone(s.notes.history)
	}
	var out []Note
	for x, at := range s.notes.now {
		out = append(out, Note{x, at})
	}
	slices.SortFunc(out, func(a, b Note) int { return a.At.Compare(b.At) })
	return out
}

// LeaderAPI is the client API of the leader: "" if this coordinator leads, or if there is none.
func (s *Server) LeaderAPI() (api string, leads bool) {
	id, _ := s.store.Leader()
	if id == string(s.member.ID) {
		return "", true
	}
	m, _ := s.live.Now().Member(cluster.NodeID(id))
	return m.API, false
}
