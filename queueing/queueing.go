// Package queueing estimates how long requests wait where several servers take them from one queue.
//
// The model is M/M/c (Erlang 1917) with the correction of Allen and Cunneen for other arrivals and services (Allen, Probability,
// Statistics and Queueing Theory, 1990, section 5.3): the mean wait grows with (ca² + cs²) / 2, and a wait, where there is one, is
// exponential. It is exact for Poisson arrivals and exponential services. Numbers are floats: estimates guide a search, and what is
// found is an integer.
package queueing

import "math"

// Line is a queue with the servers behind it.
type Line struct {
	Rate     float64 // arrivals per second
	Service  float64 // mean seconds that a server takes for one
	Arrivals float64 // squared coefficient of variation of the times between arrivals: 1 = Poisson, 0 = a clock
	Services float64 // squared coefficient of variation of the service times: 1 = exponential, 0 = constant
	Servers  int
}

// Offered is the number of servers that the arrivals keep busy.
func (l Line) Offered() float64 { return l.Rate * l.Service }

// Stable says that the servers can keep up.
func (l Line) Stable() bool { return l.Servers > 0 && l.Offered() < float64(l.Servers) }

// Waits is the share of the arrivals that wait at all, 1 where the servers cannot keep up (Erlang's C, from the recursion of his B,
// which does not overflow).
func (l Line) Waits() float64 {
	if !l.Stable() {
		return 1
	}
	a, b := l.Offered(), 1.0
	if a <= 0 {
		return 0
	}
	for n := 1; n <= l.Servers; n++ {
		b = a * b / (float64(n) + a*b)
	}
	return b / (1 - a/float64(l.Servers)*(1-b))
}

// MeanWait is the mean seconds in the queue, +Inf where the servers cannot keep up.
func (l Line) MeanWait() float64 {
	switch {
	case !l.Stable():
		return math.Inf(1)
	case l.Service <= 0:
		return 0
	}
	return l.Waits() * (l.Arrivals + l.Services) / 2 * l.Service / (float64(l.Servers) - l.Offered())
}

// Unqueued is the mean service time in seconds with which wait and service together take total seconds on average: what the servers take,
// found from what the clients see. Line.Service does not count.
func (l Line) Unqueued(total float64) float64 {
	low, high := 0.0, total
	for range 40 {
		l.Service = (low + high) / 2
		if l.Service+l.MeanWait() > total {
			high = l.Service
		} else {
			low = l.Service
		}
	}
	return low
}

// Part is a share of the requests with what the servers take for each of them.
type Part struct {
	Share   float64 // of 1
	Seconds float64
}

// Within is the share of the requests whose wait and time together are at most limit seconds. times are of what the client waits for:
// the whole service, or its beginning.
func (l Line) Within(limit float64, times []Part) float64 {
	if !l.Stable() {
		return 0
	}
	waits, mean := l.Waits(), 0.0 // mean of those that wait
	if waits > 0 {
		mean = l.MeanWait() / waits
	}
	var share float64
	for _, p := range times {
		left := limit - p.Seconds
		switch {
		case left < 0:
		case waits == 0 || mean == 0:
			share += p.Share
		default:
			share += p.Share * (1 - waits*math.Exp(-left/mean))
		}
	}
	return share
}

// Least is the smallest number of servers, from 1 to most, for which enough says yes; most where it never does. enough must not turn
// to no with more servers.
func Least(most int, enough func(servers int) bool) int {
	low, high := 1, most
	for low < high {
		mid := low + (high-low)/2
		if enough(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return max(low, 1)
}
