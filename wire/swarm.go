package wire

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/blob"
)

// Limits of fetching among peers.
const (
	peerParallel = 8                     // chunks of a blob that are on their way from peers at once
	peerProbes   = 3                     // peers that are asked whether they have a chunk by chance, before a source that has everything
	peerWait     = 5 * time.Second       // for one chunk from a peer
	peerPoll     = 50 * time.Millisecond // between two questions to a peer that has nothing new
	peerPatience = 3 * time.Second       // default of Sources.Patience
)

// swarm is one blob on its way to one of several members that fetch it.
type swarm struct {
	dialer   *Dialer
	index    blob.Index
	digest   blob.Digest
	self     string
	known    func() ([]Sharer, <-chan struct{})
	patience time.Duration
	whole    *ranking
	sink     BlobSink
	progress func(int64)
	asking   chan struct{} // capacity peerParallel

	mu     sync.Mutex
	peers  []Sharer
	mine   []int            // chunks whose turn is ours
	theirs map[string][]int // chunks whose turn is a peer's, by its address
	gone   map[string]bool  // peers that failed
	left   int              // chunks that are not here yet
	began  time.Time
	idle   time.Time     // since when no chunk is ours; zero = some are
	news   chan struct{} // closed, and made anew, when any of this changes
}

func newSwarm(d *Dialer, from Sources, x blob.Index, missing []int, sink BlobSink, progress func(int64)) *swarm {
	s := &swarm{dialer: d, index: x, digest: x.Digest(), self: from.Self, known: from.Peers, patience: cmp.Or(from.Patience, peerPatience), whole: &ranking{addrs: slices.Clone(from.Whole)}, sink: sink, progress: progress,
		asking: make(chan struct{}, peerParallel), theirs: map[string][]int{}, gone: map[string]bool{}, left: len(missing), began: time.Now(), news: make(chan struct{})}
	s.mine = slices.Clone(missing)
	return s
}

// run brings every chunk.
func (s *swarm) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	follow := func(peer string) {
		wg.Go(func() {
			if err := s.follow(ctx, peer); err != nil {
				cancel(err)
			}
		})
	}
	s.gather(follow)
	wg.Go(func() { s.meet(ctx, follow) })
	for range min(fetchParallel, s.left) {
		wg.Go(func() {
			for chunk, ok := s.next(ctx); ok; chunk, ok = s.next(ctx) {
				if err := s.bring(ctx, chunk); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// gather follows those who share the work and were not known yet. What is returned is closed when there are others.
func (s *swarm) gather(follow func(peer string)) (others <-chan struct{}) {
	if s.known == nil {
		return nil
	}
	list, others := s.known()
	for _, peer := range s.join(list) {
		follow(peer)
	}
	return others
}

// meet gathers whoever joins until everything is here.
func (s *swarm) meet(ctx context.Context, follow func(peer string)) {
	for others := s.gather(follow); ; {
		s.mu.Lock()
		left, news := s.left, s.news
		s.mu.Unlock()
		if left == 0 || ctx.Err() != nil {
			return
		}
		select {
		case <-others:
			others = s.gather(follow)
		case <-news:
		case <-ctx.Done():
		}
	}
}

// join adds those that are not known yet and gives every chunk anew to whose turn it is. It returns the new ones.
func (s *swarm) join(list []Sharer) (added []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range list {
		if p.Addr != s.self && !slices.ContainsFunc(s.peers, func(o Sharer) bool { return o.Addr == p.Addr }) {
			s.peers, added = append(s.peers, p), append(added, p.Addr)
		}
	}
	if len(added) == 0 {
		return nil
	}
	open := s.mine
	for _, list := range s.theirs {
		open = append(open, list...)
	}
	slices.Sort(open)
	s.mine, s.theirs, s.idle = nil, map[string][]int{}, time.Time{}
	for _, chunk := range open {
		s.give(chunk)
	}
	s.changed()
	return added
}

// order is whose turn a chunk is, of those that did not fail.
func (s *swarm) order(chunk int) []string {
	who := []string{s.self}
	for _, p := range s.peers {
		if !s.gone[p.Addr] && p.Wants(s.digest, chunk) {
			who = append(who, p.Addr)
		}
	}
	return blob.Order(s.digest, chunk, who)
}

// give puts a chunk on the list of whose turn it is.
func (s *swarm) give(chunk int) {
	if to := s.order(chunk)[0]; to != s.self {
		s.theirs[to] = append(s.theirs[to], chunk)
		return
	}
	s.mine, s.idle = append(s.mine, chunk), time.Time{}
}

// changed wakes everybody who waits.
func (s *swarm) changed() {
	close(s.news)
	s.news = make(chan struct{})
}

// wait returns when something changed, or after a while. The lock is not held meanwhile.
func (s *swarm) wait(ctx context.Context, d time.Duration) {
	news := s.news
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-news:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// next waits for a chunk that is ours, or that a peer did not bring in time; ok is false when there is nothing more.
func (s *swarm) next(ctx context.Context) (chunk int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.left > 0 && ctx.Err() == nil {
		if len(s.mine) > 0 {
			chunk, s.mine = s.mine[0], s.mine[1:]
			return chunk, true
		}
		if s.idle.IsZero() {
			s.idle = time.Now()
		}
		early := time.Until(s.idle.Add(s.patience + s.idle.Sub(s.began)/4))
		if early <= 0 {
			if chunk, ok := s.steal(); ok {
				return chunk, true
			}
			early = peerPoll // whatever is left is on its way
		}
		s.wait(ctx, early)
	}
	return 0, false
}

// steal takes the last chunk of the peer with the most.
func (s *swarm) steal() (chunk int, ok bool) {
	from := ""
	for _, p := range s.peers {
		if len(s.theirs[p.Addr]) > len(s.theirs[from]) {
			from = p.Addr
		}
	}
	list := s.theirs[from]
	if len(list) == 0 {
		return 0, false
	}
	s.theirs[from] = list[:len(list)-1]
	return list[len(list)-1], true
}

// bring fetches a chunk from a source that has everything, unless the peers that are next in turn happen to have it: they may have begun earlier.
func (s *swarm) bring(ctx context.Context, chunk int) error {
	s.mu.Lock()
	order := slices.DeleteFunc(s.order(chunk), func(m string) bool { return m == s.self })
	s.mu.Unlock()
	for _, peer := range order[:min(peerProbes, len(order))] {
		b, err := s.ask(ctx, peer, chunk)
		if err == nil {
			return s.keep(chunk, b)
		}
		if !errors.Is(err, blob.ErrUnknown) {
			s.leave(peer)
		}
	}
	b, err := anySource(s.whole.now(), func(addr string) ([]byte, error) {
		b, err := FetchChunk(ctx, s.dialer, addr, s.index, chunk)
		if err != nil {
			s.whole.demote(addr)
		}
		return b, err
	})
	if err != nil {
		return err
	}
	return s.keep(chunk, b)
}

// follow takes from a peer the chunks whose turn is its, until there are none or it fails.
func (s *swarm) follow(ctx context.Context, peer string) error {
	for {
		chunk, ok := s.turn(ctx, peer)
		if !ok {
			return nil
		}
		b, err := s.ask(ctx, peer, chunk)
		switch {
		case err == nil:
			if err := s.keep(chunk, b); err != nil {
				return err
			}
		case errors.Is(err, blob.ErrUnknown):
			s.back(peer, chunk)
			select {
			case <-time.After(peerPoll):
			case <-ctx.Done():
			}
		default:
			s.leave(peer)
			s.back(peer, chunk)
		}
	}
}

// turn waits for a chunk whose turn is a peer's.
func (s *swarm) turn(ctx context.Context, peer string) (chunk int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.left > 0 && !s.gone[peer] && ctx.Err() == nil {
		if list := s.theirs[peer]; len(list) > 0 {
			s.theirs[peer] = list[1:]
			return list[0], true
		}
		s.wait(ctx, time.Hour)
	}
	return 0, false
}

// ask fetches a chunk from a peer: blob.ErrUnknown if it does not have it yet.
func (s *swarm) ask(ctx context.Context, peer string, chunk int) ([]byte, error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, peerWait)
	defer cancel()
	return FetchChunk(ctx, s.dialer, peer, s.index, chunk)
}

// back says that a peer did not give a chunk.
func (s *swarm) back(peer string, chunk int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone[peer] {
		s.give(chunk)
		s.changed()
		return
	}
	s.theirs[peer] = append(s.theirs[peer], chunk)
}

// leave asks a peer no more: its turns are those of who comes next.
func (s *swarm) leave(peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone[peer] = true
	list := s.theirs[peer]
	delete(s.theirs, peer)
	for _, chunk := range list {
		s.give(chunk)
	}
	s.changed()
}

// keep writes a chunk that came.
func (s *swarm) keep(chunk int, b []byte) error {
	if err := s.sink.WriteChunk(s.digest, chunk, b); err != nil {
		return err
	}
	if s.progress != nil {
		s.progress(int64(len(b)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 || len(s.mine) == 0 {
		s.changed()
	}
	return nil
}
