package scheduler

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/shard"
)

// TestDemandRandom lets random calls come and go. Every number that is decided is within its need and accepted, the steps replay as they were taken,
// and in the end there are as many replicas as the calls keep busy, where there is room.
func TestDemandRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t)
		r.loop = New(Config{Record: 8, Hold: 12 * time.Second, Idle: 20 * time.Second})
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			r.node(cluster.NodeID(fmt.Sprintf("n%d", i)), host(gpu.DeviceID(fmt.Sprintf("d%d", i)), 90*gpu.MiB))
		}
		models := []string{"a", "bb"}
		for _, m := range models {
			r.model(m, 4, 10*gpu.MiB)
			most := rapid.IntRange(1, 3).Draw(t, "most")
			r.need(m, rapid.IntRange(0, most).Draw(t, "least"), most, []string{"latency=1000", "slots=2", fmt.Sprintf("priority=%d", rapid.IntRange(0, 1).Draw(t, "priority"))})
		}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			m := rapid.SampledFrom(models).Draw(t, "model")
			r.calls[m] = calls{rate: float64(rapid.IntRange(0, 40).Draw(t, "rate")), took: int64(rapid.IntRange(10, 400).Draw(t, "took"))}
			if rapid.IntRange(0, 4).Draw(t, "leader") == 0 {
				r.term++
				r.loop, r.ready, r.commit = New(Config{Record: 8, Hold: 12 * time.Second, Idle: 20 * time.Second}), nil, nil
			}
			r.run(time.Duration(rapid.IntRange(3, 30).Draw(t, "seconds")) * time.Second)
		}
		if log := r.log.String(); bytes.Contains([]byte(log), []byte("REJECTED")) {
			t.Fatalf("the loop proposed what Apply rejects:\n%s", log)
		}
		r.checkReplay(t)
		r.run(40 * time.Second)
		for _, m := range models {
			d, _ := r.state.Deployment(cluster.VersionID{Model: m, Number: 1})
			c := r.calls[m]
			busy := int(math.Floor(c.rate * float64(c.took) / 1000 / float64(d.Serving.Slots)))
			if least := min(busy, d.Need.Max); d.Wanted() < least && r.state.Ledger().Free("d0") > 85*gpu.MiB {
				t.Fatalf("%s has %d replicas, its calls keep %d busy, and there is room:\n%s", m, d.Wanted(), busy, r.log.String())
			}
		}
	})
}

// TestPattern compares what is made of Poisson arrivals with what they were drawn from.
func TestPattern(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	poisson := func(mean float64) (n float64) {
		for at := rng.ExpFloat64(); at < mean; at += rng.ExpFloat64() {
			n++
		}
		return n
	}
	for _, rate := range []float64{.2, 3, 40, 500} {
		var sum pattern
		const times = 300
		for range times {
			var list []float64
			for range bins - 2 {
				list = append(list, poisson(rate))
			}
			var f flow
			p := f.pattern(list, time.Second, 10*time.Second)
			sum.rate, sum.peak, sum.burst, sum.ahead = sum.rate+p.rate/times, sum.peak+p.peak/times, sum.burst+p.burst/times, sum.ahead+p.ahead/times
		}
		if math.Abs(sum.rate-rate) > rate/10 || sum.peak < rate || sum.peak > rate*1.2+.5 || math.Abs(sum.ahead-rate) > rate/5 {
			t.Errorf("%g requests/s are taken for %+v", rate, sum)
		}
		if rate >= 3 && math.Abs(sum.burst-1) > .15 {
			t.Errorf("the dispersion of %g requests/s is taken for %g, it is 1", rate, sum.burst)
		}
	}
	list := make([]float64, bins-2) // newest first: 10 a second until 4 s ago, then 40
	for i := range list {
		if list[i] = 10; i < 4 {
			list[i] = 40
		}
	}
	var f flow
	if p := f.pattern(list, time.Second, 10*time.Second); p.rate < 20 || p.ahead < 30 || p.ahead > 60 {
		t.Errorf("a step up is taken for %+v", p)
	}
	for i := range list {
		list[i] = 50 - list[i]
	}
	if p := f.pattern(list, time.Second, 10*time.Second); p.ahead > 32 || p.peak < 35 {
		t.Errorf("a step down is taken for %+v", p)
	}
}

// TestSize: the slots that a rate needs grow with it, keep the goal by their own estimate, and one slot less would not.
func TestSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &flow{}
		takes := rapid.Float64Range(.02, 1).Draw(t, "takes")
		for range 100 {
			f.Service.Shapes[1].Total.Add(int64(1000 * takes))
		}
		f.Service.observe(1, 100, takes)
		limit := int64(1000 * takes * rapid.Float64Range(1.5, 6).Draw(t, "limit"))
		c := &claim{flow: f, slots: rapid.IntRange(1, 8).Draw(t, "slots"), pattern: pattern{burst: 1},
			dep: cluster.Deployment{Need: &cluster.Need{Max: 200, Latency: limit, Percent: 95}}}
		c.measure(shard.Profile{Blocks: []gpu.Bytes{1}})
		rate := rapid.Float64Range(.1, 50).Draw(t, "rate")
		s, more := c.size(rate), c.size(rate*1.5)
		if float64(s.slots) <= rate*s.service || more.slots < s.slots {
			t.Fatalf("%g requests/s of %g s need %d slots, half as much more %d", rate, s.service, s.slots, more.slots)
		}
	})
}

// BenchmarkDemand: a look at 200 deployments that follow demand, on a fleet of 1,000 nodes.
func BenchmarkDemand(b *testing.B) {
	r := newRig(b)
	for i := range 1000 {
		r.node(cluster.NodeID(fmt.Sprintf("n%03d", i)), host(gpu.DeviceID(fmt.Sprintf("d%03d", i)), 100*gpu.MiB))
	}
	for i := range 200 {
		m := fmt.Sprintf("m%03d", i)
		r.model(m, 2, 10*gpu.MiB)
		r.need(m, 1, 8, []string{"latency=1000", "slots=8"})
		r.calls[m] = calls{rate: 20, took: 300}
	}
	r.run(10 * time.Second)
	for b.Loop() {
		r.now = r.now.Add(time.Second)
		r.loop.Step(r.now, Input{State: r.state, Term: 1, Demand: r.demand()})
	}
}
