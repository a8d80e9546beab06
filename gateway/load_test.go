package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/router"
)

// A placement that does not answer counts as loaded until it does, or for a while.
func TestLoadSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load{running: map[router.Placed]int{}, failed: map[router.Placed]time.Time{}}
		a, b := router.Placed{Epoch: 1}, router.Placed{Replica: cluster.ReplicaID{Ordinal: 1}, Epoch: 1}
		end := l.begin(b)
		l.unreachable(a)
		if l.of(a) <= l.of(b) || l.of(b) != 1 {
			t.Errorf("loads %d and %d", l.of(a), l.of(b))
		}
		if l.answered(a); l.of(a) != 0 {
			t.Errorf("it answered, and has the load %d", l.of(a))
		}
		l.unreachable(a)
		time.Sleep(suspectFor)
		if l.of(a) != 0 {
			t.Errorf("after %v it has the load %d", suspectFor, l.of(a))
		}
		l.unreachable(b)
		if end(); len(l.failed) != 1 || len(l.running) != 0 {
			t.Errorf("kept: %v, %v", l.failed, l.running)
		}
	})
}
