// Package live holds the newest applied state for many readers.
package live

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/skein-project/skein/cluster"
)

// State is the newest cluster.State. Readers take it as a value; writers replace it.
type State struct {
	mu      sync.RWMutex
	state   cluster.State
	changed chan struct{}

	born      time.Time
	confirmed atomic.Int64 // nanoseconds after born; 0 = never
}

// New holds the state before the first entry.
func New() *State { return &State{changed: make(chan struct{}), born: time.Now()} }

// Confirm notes that a coordinator that hears the leader, or is the leader, knows nothing newer.
func (s *State) Confirm() { s.confirmed.Store(max(1, int64(time.Since(s.born)))) }

// Age is how long ago the state was last confirmed, by the monotonic clock: what was changed within it may be missing here. ok is
// false if it was never confirmed.
func (s *State) Age() (age time.Duration, ok bool) {
	at := s.confirmed.Load()
	return time.Since(s.born) - time.Duration(at), at != 0
}

// Load gives the newest state, and a channel that is closed when there is a newer one.
func (s *State) Load() (cluster.State, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state, s.changed
}

// Now gives the newest state.
func (s *State) Now() cluster.State {
	st, _ := s.Load()
	return st
}

// Store replaces the state and wakes who waits.
func (s *State) Store(next cluster.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = next
	close(s.changed)
	s.changed = make(chan struct{})
}
