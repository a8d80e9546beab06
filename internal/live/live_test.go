package live

import (
	"sync"
	"testing"

	"github.com/skein-project/skein/cluster"
)

// Whoever waits for a newer state gets one, and the newest is never missed.
func TestWaiters(t *testing.T) {
	s := New()
	const last = 1000
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			seen := cluster.Index(0)
			for seen < last {
				state, changed := s.Load()
				if state.Index() < seen {
					t.Errorf("state %d after %d", state.Index(), seen)
				}
				if seen = state.Index(); seen < last {
					<-changed
				}
			}
		})
	}
	for i := cluster.Index(1); i <= last; i++ {
		next, _ := cluster.Apply(s.Now(), i, cluster.Envelope{V: cluster.EnvelopeFormat})
		s.Store(next)
	}
	wg.Wait()
}
