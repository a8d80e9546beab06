package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Pace of the link to the leader.
const (
	retryEvery  = 250 * time.Millisecond
	leaderQuiet = 6 * time.Second // a leader that says nothing for so long is not one
	maxHops     = 2               // from a coordinator to the one that it names, without a pause
	maxKnown    = 64              // addresses of coordinators
)

// link is the stream to the leader: the newest report goes out, what the node should hold comes in. It looks for the leader among all coordinators that it ever heard of.
type link struct {
	dialer  *wire.Dialer
	desired chan<- cluster.Desired
	log     *slog.Logger

	mu     sync.Mutex
	known  []string // addresses of coordinators
	report *cluster.Report
	fresh  chan struct{} // capacity 1: a new report is there
}

func newLink(d *wire.Dialer, known []string, desired chan<- cluster.Desired, log *slog.Logger) *link {
	return &link{dialer: d, desired: desired, log: log, known: known, fresh: make(chan struct{}, 1)}
}

// say replaces the report.
func (l *link) say(r cluster.Report) {
	l.mu.Lock()
	l.report = &r
	l.mu.Unlock()
	select {
	case l.fresh <- struct{}{}:
	default:
	}
}

// newest is the report that was said last.
func (l *link) newest() (r cluster.Report, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.report == nil {
		return r, false
	}
	return *l.report, true
}

// learn adds addresses of coordinators.
func (l *link) learn(addrs ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		if a != "" && !slices.Contains(l.known, a) && len(l.known) < maxKnown {
			l.known = append(l.known, a)
		}
	}
}

func (l *link) addrs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.known)
}

// run keeps a stream to the leader until ctx ends.
func (l *link) run(ctx context.Context) {
	next, hops := "", 0
	for i := 0; ctx.Err() == nil; i++ {
		addrs := l.addrs()
		if next == "" && len(addrs) > 0 {
			next = addrs[i%len(addrs)]
		}
		if next != "" {
			err := l.converse(ctx, next)
			next = ""
			var refused *wire.Refused
			if errors.As(err, &refused) && refused.Addr != "" && hops < maxHops {
				next = refused.Addr
				hops++
				l.learn(next)
				continue
			}
			hops = 0
			l.log.Debug("no leader here", "err", err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
}

// converse reports to one coordinator for as long as it leads.
func (l *link) converse(ctx context.Context, addr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := wire.Bidi[cluster.Report, cluster.Desired](ctx, l.dialer, cluster.RoleCoordinator, addr, wire.Sync)
	defer s.CloseResponse()
	quiet := time.AfterFunc(leaderQuiet, cancel)
	defer quiet.Stop()
	go func() {
		defer s.CloseRequest()
		for l.sendReport(ctx, s.Send) {
		}
	}()
	for {
		d, err := s.Receive()
		if err != nil {
			return wire.FromPeer(err)
		}
		quiet.Reset(leaderQuiet)
		select {
		case l.desired <- *d:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendReport sends the newest report, and then waits for a newer one: there is one every second.
func (l *link) sendReport(ctx context.Context, send func(*cluster.Report) error) bool {
	l.mu.Lock()
	r := l.report
	l.mu.Unlock()
	if r != nil && send(r) != nil {
		return false
	}
	select {
	case <-l.fresh:
		return true
	case <-ctx.Done():
		return false
	}
}
