package live

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// The age is that of the last confirmation, not that of the last change.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		time.Sleep(time.Second)
		if _, ok := s.Age(); ok {
			t.Error("a state that was never confirmed has an age")
		}
		s.Confirm()
		time.Sleep(time.Minute)
		s.Store(s.Now())
		if age, ok := s.Age(); !ok || age != time.Minute {
			t.Errorf("%v, %v", age, ok)
		}
		s.Confirm()
		if age, _ := s.Age(); age != 0 {
			t.Errorf("just confirmed: %v", age)
		}
	})
}
