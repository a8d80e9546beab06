package scheduler

import (
	"math"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/queueing"
	"github.com/skein-project/skein/series"
	"github.com/skein-project/skein/shard"
)

const (
	levels     = 10  // of concurrency, in powers of two: of 1 to 1024 sequences at once
	memoryOf   = 500 // requests that a mean remembers
	enough     = 20  // requests for a mean that is worth more than one of another concurrency
	freshShape = 200 // times after which an older distribution is forgotten
	finer      = 4   // parts of a bucket
)

// service is how long a version's replicas take for a request, as measured.
type service struct {
	Curve  [levels + 1]point `json:"curve"`  // by concurrency of a replica
	Shapes [2]shape          `json:"shapes"` // the older and the newer
	Answer float64           `json:"answer"` // mean tokens of an answer
}

// point is a mean of measured service times.
type point struct {
	Count   float64 `json:"count,omitempty"` // requests, at most memoryOf
	Seconds float64 `json:"seconds,omitempty"`
}

// shape takes in measured times.
func (s *service) shape(total, first *series.Histogram) {
	if s.Shapes[1].Total.Count() >= freshShape {
		s.Shapes[0], s.Shapes[1] = s.Shapes[1], shape{}
	}
	s.Shapes[1].Total.Merge(total)
	s.Shapes[1].First.Merge(first)
}

func (s *service) tokens(answer float64) {
	if s.Answer == 0 {
		s.Answer = answer
	}
	s.Answer += (answer - s.Answer) / 10
}

// observe takes in that a replica with so many sequences at once took so many seconds for each of some requests.
func (s *service) observe(concurrency, requests, seconds float64) {
	p := &s.Curve[level(concurrency)]
	p.Count = min(p.Count+requests, memoryOf)
	p.Seconds += (seconds - p.Seconds) * min(requests/p.Count, 1)
}

func level(concurrency float64) int {
	return int(math.Log2(min(max(concurrency, 1), 1<<levels)))
}

// measured says whether anything was.
func (s *service) measured() bool {
	for _, p := range s.Curve {
		if p.Count > 0 {
			return true
		}
	}
	return false
}

// seconds is the service time of a replica with so many sequences at once: measured there, or between two measured levels; beyond them, as
// at the nearest one. It never falls with concurrency.
func (s *service) seconds(concurrency float64) float64 {
	at := math.Log2(min(max(concurrency, 1), 1<<levels))
	below, above, left, right, least := -1, -1, 0.0, 0.0, 0.0
	for _, p := range s.Curve {
		least = max(least, min(p.Count, enough))
	}
	for i, p := range s.Curve {
		switch middle := float64(i) + .5; {
		case p.Count == 0 || p.Count < least:
		case middle <= at || i == 0 && at < 1:
			below, left = i, max(left, p.Seconds)
		case above < 0:
			above, right = i, p.Seconds
		}
	}
	switch {
	case below < 0 && above < 0:
		return 0
	case below < 0:
		return right
	case above < 0 || right <= left:
		return left
	}
	from, to := float64(below)+.5, float64(above)+.5
	return left + (right-left)*max(at-from, 0)/(to-from)
}

// What is assumed of a version of which nothing is measured yet. It holds for the first requests only.
const (
	assumedAnswer = 64     // tokens
	assumedSpeed  = 20e9   // multiply-accumulates a second
	assumedMemory = 10e9   // bytes of weights a second
	leastSeconds  = .005   // of a request
	mostSeconds   = 10.0   // of a request
	firstShare    = 1. / 8 // of the time until the first token
)

// assumed is the service time by the size and cost of a version's blocks: each step reads all weights and computes with them.
func assumed(p shard.Profile, s shard.Serving, answer float64) float64 {
	whole := shard.Span{To: len(p.Blocks)}
	weights := float64(shard.Foot(p, whole, s, gpu.Host).Weights)
	step := max(weights/assumedMemory, float64(shard.Cost(p, whole))/assumedSpeed)
	if !p.Decoder {
		answer = 1
	} else if answer == 0 {
		answer = assumedAnswer
	}
	return min(max(step*answer, leastSeconds), mostSeconds)
}

// parts cuts the distribution of measured times into shares. The times of first tokens are those of all requests where there are none.
// It is nil where nothing is measured.
func (s *service) parts(first bool) (list []queueing.Part, mean, spread float64) {
	h := s.Shapes[0].Total
	h.Merge(&s.Shapes[1].Total)
	if f := s.Shapes[0].First; first {
		f.Merge(&s.Shapes[1].First)
		if f.Count() > 0 {
			h = f
		}
	}
	n := float64(h.Count())
	if n == 0 {
		return nil, 0, 1
	}
	mean = float64(h.Sum()) / 1000 / n
	var square float64
	for i := range series.Buckets {
		if c := float64(h.Bucket(i)); c > 0 {
			low, high := 0.0, float64(series.Bounds[min(i, len(series.Bounds)-1)])/1000
			if i > 0 {
				low = float64(series.Bounds[i-1]) / 1000
			}
			for k := range finer { // evenly within a bucket
				seconds := low + (high-low)*(float64(k)+.5)/finer
				list = append(list, queueing.Part{Share: c / n / finer, Seconds: seconds})
				square += c / n / finer * seconds * seconds
			}
		}
	}
	if mean > 0 {
		spread = min(max(square/(mean*mean)-1, 0), 10)
	}
	return list, mean, spread
}

// sizing is how many slots a rate of requests needs.
type sizing struct {
	slots   int
	service float64 // seconds, at that size
	met     bool    // the goal can be met at all: if not, it is for few who wait
}

// size finds the fewest slots, at most those of Need.Max replicas, with which Need.Percent of the requests keep Need's times.
func (c *claim) size(rate float64) sizing {
	most := c.dep.Need.Max * c.slots
	if rate <= 0 {
		return sizing{service: c.seconds(1), met: true}
	}
	line := queueing.Line{Rate: rate, Arrivals: c.pattern.burst, Services: c.spread}
	at := func(slots int) queueing.Line {
		l := line
		l.Servers, l.Service = slots, c.seconds(1)
		for range 4 { // more at once take longer, and what takes longer is more at once
			l.Service = c.seconds(min(rate*l.Service*float64(c.slots)/float64(slots), float64(c.slots)))
		}
		return l
	}
	met := true
	for _, g := range c.goals {
		met = met && ideal(g.scaled(c.seconds(1)), g.limit) >= c.percent()
	}
	slots := queueing.Least(most, func(slots int) bool {
		l := at(slots)
		for _, g := range c.goals {
			if l.Within(g.limit, g.scaled(l.Service)) < c.percent() && l.Within(g.limit/10, nothing) < 1-(1-c.percent())/5 {
				return false // if hardly any waits, more slots would change nothing
			}
		}
		return true
	})
	return sizing{slots: slots, service: at(slots).Service, met: met}
}

// nothing is the time of a service that takes none: what is left is the wait.
var nothing = []queueing.Part{{Share: 1}}

// goal is a time that requests are to keep.
type goal struct {
	limit float64 // seconds
	parts []queueing.Part
	mean  float64 // seconds of a whole service, for which parts are
}

// scaled are the parts where a service takes so many seconds.
func (g goal) scaled(seconds float64) []queueing.Part {
	if g.mean <= 0 {
		return g.parts
	}
	list := make([]queueing.Part, len(g.parts))
	for i, p := range g.parts {
		list[i] = queueing.Part{Share: p.Share, Seconds: p.Seconds * seconds / g.mean}
	}
	return list
}

// ideal is the share of requests within a limit if none waits.
func ideal(parts []queueing.Part, limit float64) (share float64) {
	for _, p := range parts {
		if p.Seconds <= limit {
			share += p.Share
		}
	}
	return share
}

// seconds is the service time, measured or assumed.
func (c *claim) seconds(concurrency float64) float64 {
	if c.flow.Service.measured() {
		return max(c.flow.Service.seconds(concurrency), .0005)
	}
	return c.assumed
}

func (c *claim) percent() float64 { return float64(percent(c.dep.Need)) / 100 }

func percent(n *cluster.Need) int {
	if n.Percent == 0 {
		return 95
	}
	return n.Percent
}

// measure fills in what the claim's sizes are made of.
func (c *claim) measure(p shard.Profile) {
	c.assumed = assumed(p, c.dep.Serving, c.flow.Service.Answer)
	parts, mean, spread := c.flow.Service.parts(false)
	c.spread = spread
	if parts == nil {
		parts, mean = []queueing.Part{{Share: 1, Seconds: c.assumed}}, c.assumed
	}
	if n := c.dep.Need; n.FirstToken > 0 {
		first, _, _ := c.flow.Service.parts(true)
		if first == nil {
			first = []queueing.Part{{Share: 1, Seconds: c.assumed * firstShare}}
		}
		c.goals = append(c.goals, goal{limit: float64(n.FirstToken) / 1000, parts: first, mean: mean})
	}
	if n := c.dep.Need; n.Latency > 0 {
		c.goals = append(c.goals, goal{limit: float64(n.Latency) / 1000, parts: parts, mean: mean})
	}
	if len(c.goals) == 0 { // nobody said how fast: a wait as long as a service is enough
		c.goals = []goal{{limit: c.seconds(1), parts: nothing}}
	}
}
