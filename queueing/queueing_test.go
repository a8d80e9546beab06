package queueing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// simulate lets so many requests pass through a queue, one by one: the obvious way. It gives the waits and the times in all, in seconds.
func simulate(rng *rand.Rand, servers, requests int, gap, service func(*rand.Rand) float64) (waits, totals []float64) {
	free := make([]float64, servers) // when each server is
	now := 0.0
	for i := range requests {
		now += gap(rng)
		at := 0
		for k := range free {
			if free[k] < free[at] {
				at = k
			}
		}
		begin, takes := max(now, free[at]), service(rng)
		free[at] = begin + takes
		if i >= requests/10 { // the beginning, from an empty queue, is left out
			waits, totals = append(waits, begin-now), append(totals, begin-now+takes)
		}
	}
	return waits, totals
}

func exponential(mean float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return mean * r.ExpFloat64() }
}

// hyper is a mixture of two exponentials of the same mean in all, with a squared coefficient of variation of scv ≥ 1 (balanced means).
func hyper(mean, scv float64) func(*rand.Rand) float64 {
	p := (1 + math.Sqrt((scv-1)/(scv+1))) / 2
	return func(r *rand.Rand) float64 {
		if r.Float64() < p {
			return mean / (2 * p) * r.ExpFloat64()
		}
		return mean / (2 * (1 - p)) * r.ExpFloat64()
	}
}

func constant(mean float64) func(*rand.Rand) float64 { return func(*rand.Rand) float64 { return mean } }

func share(list []float64, limit float64) float64 {
	n := 0
	for _, x := range list {
		if x <= limit {
			n++
		}
	}
	return float64(n) / float64(len(list))
}

func mean(list []float64) float64 {
	var sum float64
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

// parts cuts a sample of service times into a hundred.
func parts(service func(*rand.Rand) float64) []Part {
	rng := rand.New(rand.NewPCG(9, 9))
	var all []float64
	for range 20_000 {
		all = append(all, service(rng))
	}
	slices.Sort(all)
	var list []Part
	for chunk := range slices.Chunk(all, len(all)/100) {
		list = append(list, Part{Share: .01, Seconds: mean(chunk)})
	}
	return list
}

// TestAgainstSimulation compares the estimates with a simulation. For M/M/c they are exact; elsewhere an approximation.
func TestAgainstSimulation(t *testing.T) {
	for _, c := range []struct {
		name             string
		servers          int
		busy             float64 // share of the servers
		gap              func(mean float64) func(*rand.Rand) float64
		service          func(mean float64) func(*rand.Rand) float64
		arrivals, spread float64
		within           float64 // allowed difference of a share
		ratio            float64 // allowed ratio of the mean waits
	}{
		{"M/M/1", 1, .7, exponential, exponential, 1, 1, .01, 1.1},
		{"M/M/4", 4, .8, exponential, exponential, 1, 1, .01, 1.1},
		{"M/M/32", 32, .9, exponential, exponential, 1, 1, .015, 1.15},
		{"M/D/4", 4, .8, exponential, constant, 1, 0, .04, 1.2},
		{"M/H2/4", 4, .8, exponential, func(m float64) func(*rand.Rand) float64 { return hyper(m, 4) }, 1, 4, .06, 1.25},
		{"H2/M/8", 8, .8, func(m float64) func(*rand.Rand) float64 { return hyper(m, 4) }, exponential, 4, 1, .08, 1.35},
		{"D/M/4", 4, .8, constant, exponential, 0, 1, .08, 1.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			const takes = .2
			l := Line{Rate: c.busy * float64(c.servers) / takes, Service: takes, Arrivals: c.arrivals, Services: c.spread, Servers: c.servers}
			waits, totals := simulate(rand.New(rand.NewPCG(1, 2)), c.servers, 400_000, c.gap(1/l.Rate), c.service(takes))
			if got, want := l.MeanWait(), mean(waits); got > want*c.ratio || got < want/c.ratio {
				t.Errorf("mean wait %.4f s, simulated %.4f s", got, want)
			}
			times := parts(c.service(takes))
			if got := l.Unqueued(mean(totals)); c.ratio < 1.2 && math.Abs(got-takes) > takes/20 {
				t.Errorf("the servers take %.4f s, by the clients' times %.4f s", takes, got)
			}
			for _, limit := range []float64{1.1 * takes, 2 * takes, 4 * takes, 8 * takes} {
				if got, want := l.Within(limit, times), share(totals, limit); math.Abs(got-want) > c.within+.01 { // .01 for the parts
					t.Errorf("within %.1f s: %.3f, simulated %.3f", limit, got, want)
				}
			}
		})
	}
}

// TestWaits compares Erlang's C with its definition, a sum of factorials.
func TestWaits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.IntRange(1, 40).Draw(t, "servers")
		a := rapid.Float64Range(0, 1).Draw(t, "busy") * float64(c) * .999
		term, sum := 1.0, 0.0
		for k := range c {
			sum += term
			term *= a / float64(k+1)
		}
		term *= float64(c) / (float64(c) - a)
		want := term / (sum + term)
		if got := (Line{Rate: a, Service: 1, Servers: c}).Waits(); math.Abs(got-want) > 1e-9 {
			t.Fatalf("%g, by definition %g", got, want)
		}
	})
}

// TestMonotone: more servers never wait longer, and Least finds what a walk from 1 finds.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Line{
			Rate: rapid.Float64Range(0, 500).Draw(t, "rate"), Service: rapid.Float64Range(0, 2).Draw(t, "service"),
			Arrivals: rapid.Float64Range(0, 9).Draw(t, "arrivals"), Services: rapid.Float64Range(0, 9).Draw(t, "services"),
		}
		limit, most := rapid.Float64Range(0, 5).Draw(t, "limit"), rapid.IntRange(1, 200).Draw(t, "most")
		at := func(servers int) float64 {
			l.Servers = servers
			return l.Within(limit, []Part{{Share: 1, Seconds: l.Service}})
		}
		want, last := most, -1.0
		for c := 1; c <= most; c++ {
			p := at(c)
			if p < last-1e-9 || p < 0 || p > 1+1e-9 {
				t.Fatalf("%d servers: %g after %g", c, p, last)
			}
			if last = p; p >= .95 && c < want {
				want = c
			}
		}
		if got := Least(most, func(c int) bool { return at(c) >= .95 }); got != want {
			t.Fatalf("least %d, by walking %d", got, want)
		}
	})
}

func TestUnstable(t *testing.T) {
	l := Line{Rate: 10, Service: 1, Arrivals: 1, Services: 1, Servers: 10}
	if l.Stable() || l.Waits() != 1 || !math.IsInf(l.MeanWait(), 1) || l.Within(99, []Part{{1, 0}}) != 0 {
		t.Errorf("ten servers cannot keep up with ten: %+v", l)
	}
	if l = (Line{Servers: 1}); l.Waits() != 0 || l.MeanWait() != 0 || l.Within(0, []Part{{1, 0}}) != 1 {
		t.Errorf("nobody comes, so nobody waits")
	}
}
