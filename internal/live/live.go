// Package live holds the newest applied state for many readers.
package live

import (
	"sync"

	"github.com/skein-project/skein/cluster"
)

// State is the newest cluster.State. Readers take it as a value; writers replace it.
type State struct {
	mu      sync.RWMutex
	state   cluster.State
	changed chan struct{}
}

// New holds the state before the first entry.
func New() *State { return &State{changed: make(chan struct{})} }

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
