package gateway_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/wire"
)

// Copies for a shadow that hangs are bounded, delay no answer, count against no limit of who asked, and are in the bill of the model's owner.
func TestShadowHangs(t *testing.T) {
	t.Parallel()
	f, m, _ := served(t, 1)
	other := f.Publish("other", 1)
	const asked, copies = 12, 2
	key := tenant(f, "acme", 100, "calc")
	limit(f, "tenant/acme", quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: asked})
	g := f.GatewayOn(f.Leader(), gateway.Config{Shadows: copies})
	a, _ := f.Leader().Live().Now().Alias("calc")
	f.Do(f.Leader(), cluster.SetRollout{Name: "calc", Was: a.Rev, Rollout: &cluster.Rollout{Shadow: &cluster.Shadow{Version: other, Percent: 100}}})

	var running, most, begun atomic.Int64
	release := make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	t.Cleanup(open)
	m.Work(fleettest.Work{Seen: func(r *wire.GenerateRequest) (done func()) {
		if r.Replica.Version != other {
			return func() {}
		}
		n := running.Add(1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		begun.Add(1)
		<-release
		return func() { running.Add(-1) }
	}})
	ask := func(want int) {
		t.Helper()
		r, err := post(t.Context(), g.URL+"/v1/completions", key, `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 2, "temperature": 0}`)
		if err != nil || r.status != want {
			t.Errorf("%v %v, want %d", r, err, want)
		}
	}
	ask(http.StatusOK)
	fleettest.Within(t, "a copy runs", func() bool { return begun.Load() == 1 })
	for range asked - 1 {
		ask(http.StatusOK)
	}
	ask(http.StatusTooManyRequests) // the limit counted every request, and no copy
	fleettest.Within(t, "all copies that may run, run", func() bool { return running.Load() == copies })
	if most.Load() != copies || begun.Load() != copies {
		t.Errorf("%d copies at once, %d in all, want %d: the others are dropped", most.Load(), begun.Load(), copies)
	}
	open()
	fleettest.Within(t, "the copies are in the owner's bill", func() bool {
		var calls, tokens int64
		s := f.Leader().Live().Now()
		for u := range s.Usage(s.At()) {
			if u.Key == "shadow" && u.Version == other && u.Tenant == cluster.DefaultTenant {
				calls, tokens = calls+u.Calls, tokens+u.Answer
			}
			if u.Tenant == "acme" && u.Version == other {
				t.Error("the tenant pays for a copy")
			}
		}
		return calls == copies && tokens == 2*copies
	})
	fleettest.Within(t, "there is room for copies again", func() bool { return running.Load() == 0 })
}
