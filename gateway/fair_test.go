package gateway_test

import (
	"context"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
)

// Two tenants that both want more than there is get what their weights say, whether the replicas refuse or the gateway lets no more
// through.
func TestFairShare(t *testing.T) {
	f, machine, _ := served(t, 1)
	keys := []string{tenant(f, "seventy", 700, "*"), tenant(f, "thirty", 300, "*")}
	g := f.Gateway("g", gateway.Config{})
	for _, c := range []struct {
		name string
		work fleettest.Work
	}{
		{"replicas refuse", fleettest.Work{Slots: 4, Pace: 10 * time.Millisecond}},
		{"replicas take all", fleettest.Work{Pace: 40 * time.Millisecond}}, // the gateway lets 2 for each of 8 slots through
	} {
		t.Run(c.name, func(t *testing.T) {
			machine.Work(c.work)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var load sync.WaitGroup
			var passed [2]atomic.Int64
			for i, key := range keys {
				for range 30 {
					load.Go(func() {
						for ctx.Err() == nil {
							r, err := post(ctx, g.URL+"/v1/completions", key, `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 2}`)
							switch {
							case err != nil:
							case r.status == http.StatusOK:
								passed[i].Add(1)
							default:
								t.Errorf("%+v", r)
								return
							}
						}
					})
				}
			}
			total := func() int64 { return passed[0].Load() + passed[1].Load() }
			fleettest.Within(t, "it is full", func() bool { return total() > 50 })
			before := [2]int64{passed[0].Load(), passed[1].Load()}
			fleettest.Within(t, "much is served", func() bool { return total() > 650 })
			a, b := float64(passed[0].Load()-before[0]), float64(passed[1].Load()-before[1])
			stop()
			load.Wait()
			if share := a / (a + b); math.Abs(share-0.7) > 0.05 {
				t.Errorf("%.3f of %v", share, a+b)
			} else {
				t.Logf("%.3f of %v", share, a+b)
			}
		})
	}
}

// The places where requests wait are bounded, and a request waits for its turn no longer than it may.
func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	f, machine, _ := served(t, 1)
	key := tenant(f, "acme", 100, "*")
	g := f.Gateway("g", gateway.Config{MaxWaiting: 3, Patience: time.Second})
	machine.Work(fleettest.Work{Slots: 1, Pace: 5 * time.Second})
	var said [2]atomic.Int64
	var load sync.WaitGroup
	for range 12 {
		load.Go(func() {
			began := time.Now()
			r, err := post(t.Context(), g.URL+"/v1/completions", key, `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 1}`)
			switch {
			case err != nil:
				t.Error(err)
			case r.status == http.StatusOK:
				said[0].Add(1)
			case r.status == http.StatusTooManyRequests && time.Since(began) < 10*time.Second && r.header.Get("Retry-After") != "":
				said[1].Add(1)
			default:
				t.Errorf("after %v: %+v", time.Since(began), r)
			}
		})
	}
	load.Wait()
	if said[0].Load() != 1 || said[1].Load() != 11 {
		t.Errorf("%d answered, %d refused", said[0].Load(), said[1].Load())
	}
	if machine.Active() != 0 {
		t.Errorf("%d are left", machine.Active())
	}
}
