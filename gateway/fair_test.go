package gateway_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skein-project/skein/fair"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
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

// floodTokens are what a line of a flood asks for, and people do not.
const floodTokens = 7

// flood submits a batch.
func flood(t *testing.T, f *fleettest.Fleet, g *fleettest.Gateway, key string, lines int) batch {
	t.Helper()
	fleettest.Within(t, "files are kept", func() bool { return call(t, g, key, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	return submit(t, g, key, fmt.Sprintf(`{"input_file_id": %q, "endpoint": "/v1/completions", "completion_window": "24h"}`, upload(t, g, key, completionsOf(lines, floodTokens))))
}

// A flood of batches takes no slot from people: with every line of batches that is let through held for good, at a replica that has no room beyond
// its slots, others are answered as if there was no batch.
func TestPeopleBeforeBatches(t *testing.T) {
	t.Parallel()
	f, machine, _ := served(t, 1)
	bulk, people := tenant(f, "bulk", 1000, "*"), tenant(f, "people", 1, "*")
	g := f.Gateway("g", gateway.Config{BatchLines: 20, MaxJobs: 4})
	hold := make(chan struct{})
	var held, most atomic.Int64
	machine.Work(fleettest.Work{Slots: 8, Seen: func(r *wire.GenerateRequest) func() {
		if r.MaxTokens != floodTokens {
			return func() {}
		}
		most.Store(max(most.Load(), held.Add(1)))
		<-hold
		return func() { held.Add(-1) }
	}})
	var batches []batch
	for range 3 {
		batches = append(batches, flood(t, f, g, bulk, 40))
	}
	fleettest.Within(t, "lines of batches are under way", func() bool { return held.Load() == 6 })
	took := make([]time.Duration, 60)
	var two sync.WaitGroup
	for half := range 2 {
		two.Go(func() {
			for i := half; i < len(took); i += 2 {
				began := time.Now()
				if r, err := post(t.Context(), g.URL+"/v1/completions", people, `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 1}`); err != nil || r.status != http.StatusOK {
					t.Errorf("%+v, %v", r, err)
				}
				took[i] = time.Since(began)
			}
		})
	}
	two.Wait()
	slices.Sort(took)
	t.Logf("of people's requests half took less than %v, the longest %v", took[len(took)/2], took[len(took)-1])
	if n := most.Load(); n > 6 {
		t.Errorf("%d of 8 slots were of batches at once", n)
	}
	close(hold)
	for _, b := range batches {
		if got := over(t, g, bulk, b.ID); got.Counts.Completed != 40 {
			t.Errorf("%+v", got)
		}
	}
}

// A batch goes on while people always wait: it gets its share, and no more. Among batches, tenants take turns by their weights.
func TestBatchesAreNotStarved(t *testing.T) {
	t.Parallel()
	f, machine, _ := served(t, 1)
	heavy, light, people := tenant(f, "heavy", 300, "*"), tenant(f, "light", 100, "*"), tenant(f, "people", 1, "*")
	g := f.Gateway("g", gateway.Config{BatchLines: 20, BatchEvery: 20 * time.Millisecond})
	var lines, asked atomic.Int64
	machine.Work(fleettest.Work{Slots: 8, Pace: time.Millisecond, Seen: func(r *wire.GenerateRequest) func() {
		switch {
		case r.MaxTokens != floodTokens:
			asked.Add(1)
		case asked.Load() > 0:
			lines.Add(1)
		}
		return func() {}
	}})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for range 40 {
		load.Go(func() {
			for ctx.Err() == nil {
				if r, err := post(ctx, g.URL+"/v1/completions", people, `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 6}`); err == nil && r.status != http.StatusOK {
					t.Errorf("%+v", r)
					return
				}
			}
		})
	}
	fleettest.Within(t, "it is full", func() bool { return asked.Load() > 100 })
	batches := map[string]batch{heavy: flood(t, f, g, heavy, 400), light: flood(t, f, g, light, 400)}
	fleettest.Within(t, "the batches go on", func() bool { return lines.Load() > 5 })
	lines.Store(0)
	from := asked.Load()
	fleettest.Within(t, "much is asked", func() bool { return asked.Load()-from > 1000 })
	share := float64(lines.Load()) / float64(lines.Load()+asked.Load()-from)
	t.Logf("batches got %.3f of all requests", share)
	if share < 0.5/fair.Share || share > 1.7/fair.Share {
		t.Errorf("batches got %.3f of all requests, want about 1 in %d", share, fair.Share)
	}
	var done [2]int
	for i, key := range []string{heavy, light} {
		done[i] = batchIn(t, call(t, g, key, http.MethodGet, "/v1/batches/"+batches[key].ID, "", nil)).Counts.Completed
	}
	if t.Logf("%d and %d lines", done[0], done[1]); done[0] <= done[1] {
		t.Errorf("of batches with weights 300 and 100, %v lines are answered", done)
	}
	stop()
	load.Wait()
	for key, b := range batches {
		if got := over(t, g, key, b.ID); got.Counts.Completed != 400 {
			t.Errorf("%+v", got)
		}
	}
}
