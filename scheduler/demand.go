package scheduler

import (
	"math"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/series"
)

// bins is how many parts Config.Hold is cut into.
const bins = 60

// bin is what happened in one part of the time.
type bin struct {
	Arrived float64 `json:"arrived,omitempty"` // requests; a report's are spread over the time that it is about
	Good    float64 `json:"good,omitempty"`    // requests that went well
	Spent   float64 `json:"spent,omitempty"`   // seconds, of all of Good together
	Waited  bool    `json:"waited,omitempty"`  // some had no replica to go to
}

// gauge is what a gateway has under way.
type gauge struct {
	Gateway cluster.NodeID `json:"gateway"`
	Tenant  string         `json:"tenant"`
	Running int            `json:"running"`
	Waiting int            `json:"waiting"`
	At      time.Time      `json:"at"`
}

// flow is what the leader heard of the requests for a version whose replicas follow demand, and what it made of it. It is copied, so
// what it points to is replaced, never changed.
type flow struct {
	Since   time.Time      `json:"since"`  // when it was first looked at
	Called  time.Time      `json:"called"` // when something last arrived, ran or waited
	Now     []gauge        `json:"now"`
	Newest  int64          `json:"newest"` // number of the newest bin since soft.Since
	Bins    [bins]bin      `json:"bins"`   // by number, modulo bins
	Service service        `json:"service"`
	Load    time.Duration  `json:"load"`    // that a replica took from its placement until it served; 0 = not seen yet
	Loading []loadingSince `json:"loading"` // replicas that load
	Changed time.Time      `json:"changed"` // when the number of replicas wanted last changed
	Rose    time.Time      `json:"rose"`    // when it last grew
	Fell    time.Time      `json:"fell"`    // when it last shrank
	Regrets int            `json:"regrets"` // steps down that soon had to be taken back: each doubles the time before the next
	Cramped time.Time      `json:"cramped"` // when there was last no room for what it wants
	Class   string         `json:"class"`   // of what was said
	Said    string         `json:"said"`
	SaidAt  time.Time      `json:"said_at"`
	SaidOf  float64        `json:"said_of"` // requests per second
	Short   int            `json:"short"`   // replicas that it wants and has no room for
}

type loadingSince struct {
	Replica cluster.ReplicaID `json:"replica"`
	Epoch   cluster.Epoch     `json:"epoch"`
	Since   time.Time         `json:"since"`
}

// width is how long a bin is.
func (c Config) width() time.Duration { return c.Hold / bins }

// demand takes in what gateways report. A row without a version says only that its gateway is there.
func (d *decision) demand(rows []cluster.Demand) {
	type flowing struct {
		gateway cluster.NodeID
		version cluster.VersionID
		tenant  string
	}
	last := map[flowing]int{} // gauges are of the moment: of two reports in one step the later counts
	for i, r := range rows {
		last[flowing{r.Gateway, r.Version, r.Tenant}] = i
	}
	over := map[cluster.NodeID]cluster.Millis{} // since each gateway's report before, where it does not say
	for i, r := range rows {
		if _, again := over[r.Gateway]; !again {
			over[r.Gateway] = cluster.Millis(time.Second / time.Millisecond)
			if before := d.soft.Gateways[r.Gateway]; !before.IsZero() {
				over[r.Gateway] = cluster.Millis(d.now.Sub(before).Milliseconds())
			}
		}
		if r.Over == 0 {
			r.Over = over[r.Gateway]
		}
		if r.Gateway != "" {
			d.soft.Gateways[r.Gateway] = d.now
		}
		dep, ok := d.was.Deployment(r.Version)
		if !ok || dep.Need == nil {
			continue
		}
		f := d.flow(r.Version)
		f.count(&r, d.width(), d.routable(dep) == 0)
		if r.Arrived > 0 || r.Running > 0 || r.Waiting > 0 {
			f.Called = d.now
		}
		if last[flowing{r.Gateway, r.Version, r.Tenant}] == i {
			f.gauge(gauge{Gateway: r.Gateway, Tenant: r.Tenant, Running: r.Running, Waiting: r.Waiting, At: d.now})
		}
		d.soft.Flows[r.Version.String()] = f
	}
}

// flow finds or begins what is known of a version's requests, brought up to now.
func (d *decision) flow(v cluster.VersionID) flow {
	f, ok := d.soft.Flows[v.String()]
	number := int64(d.now.Sub(d.soft.Since) / d.width())
	if !ok {
		return flow{Since: d.now, Newest: number}
	}
	for n := max(f.Newest+1, number-bins+1); n <= number; n++ {
		f.Bins[n%bins] = bin{}
	}
	f.Newest = max(f.Newest, number)
	return f
}

// routable is how many replicas of a deployment take requests.
func (d *decision) routable(dep cluster.Deployment) (n int) {
	for r := range d.was.ReplicasOf(dep.Version) {
		n += order01(d.was.Routable(r))
	}
	return n
}

// count adds a report to the bins that it is about. none says that there is no replica to go to.
func (f *flow) count(r *cluster.Demand, width time.Duration, none bool) {
	parts := min(max(1, (time.Duration(r.Over)*time.Millisecond+width/2)/width), bins/4)
	for k := range int64(parts) {
		if n := f.Newest - k; n >= 0 {
			f.Bins[n%bins].Arrived += float64(r.Arrived) / float64(parts)
		} else {
			f.Bins[0].Arrived += float64(r.Arrived) / float64(parts)
		}
	}
	b := &f.Bins[f.Newest%bins]
	b.Good += float64(r.Total.Count())
	b.Spent += float64(r.Total.Sum()) / 1000
	b.Waited = b.Waited || none && r.Waiting > 0
	if !f.waitedLately(width) { // who waited for a load says nothing about how long an answer takes
		f.Service.shape(&r.Total, &r.First)
	}
	if r.Ended > 0 {
		f.Service.tokens(float64(r.Answer) / float64(r.Ended))
	}
}

// gauge replaces what a gateway has under way for a tenant.
func (f *flow) gauge(g gauge) {
	f.Now = slices.DeleteFunc(slices.Clone(f.Now), func(o gauge) bool { return o.Gateway == g.Gateway && o.Tenant == g.Tenant })
	if g.Running > 0 || g.Waiting > 0 {
		f.Now = append(f.Now, g)
	}
}

// underWay is how many requests run and wait, by the newest report of each gateway.
func (d *decision) underWay(f *flow) (running, waiting int) {
	for _, g := range f.Now {
		if !d.soft.Gateways[g.Gateway].After(g.At) && d.now.Sub(g.At) < d.Hold { // a report since without a row: nothing is under way
			running, waiting = running+g.Running, waiting+g.Waiting
		}
	}
	return running, waiting
}

// recent is how many bins back a measurement of the present looks: more than one report of a gateway.
func recent(width time.Duration) int64 { return max(5, int64(2*time.Second/width)) }

func (f *flow) waitedLately(width time.Duration) bool {
	for k := range min(recent(width), bins) {
		if n := f.Newest - k; n >= 0 && f.Bins[n%bins].Waited {
			return true
		}
	}
	return false
}

// unripe is how many of the newest bins are not complete: reports of the last second are still to come.
func unripe(width time.Duration) int64 { return 1 + int64((time.Second+width-1)/width) }

// arrivals lists the arrivals of the complete bins, newest first. first is the number of the oldest bin that counts.
func (f *flow) arrivals(first int64, width time.Duration) []float64 {
	var list []float64
	for n := f.Newest - unripe(width); n > f.Newest-bins && n >= max(first, 0); n-- {
		list = append(list, f.Bins[n%bins].Arrived)
	}
	return list
}

// pattern is how requests arrive.
type pattern struct {
	rate  float64 // per second, now: what is sure of it
	ahead float64 // per second, when a replica that is wanted now will serve
	peak  float64 // per second, of the window
	burst float64 // squared coefficient of variation of the times between arrivals
	noise float64 // relative standard deviation of rate
}

// How far back the two averages look, in bins. The window is bins long.
const (
	slowBins = bins / 4
	fastBins = bins / 20
)

// pattern makes numbers of the arrivals. load is how long a replica takes until it serves.
func (f *flow) pattern(list []float64, width, load time.Duration) pattern {
	w := width.Seconds()
	p := pattern{burst: dispersion(list[min(len(list), 2*fastBins):])} // a step up is no burst, so the newest are left out
	slow, fast := average(list, slowBins)/w, average(list, fastBins)/w
	deviation := func(tau float64) float64 { return math.Sqrt(p.burst * max(slow, fast) / (2 * tau * w)) } // of an exponential average
	p.rate, p.ahead = slow, slow
	if sure := fast - 2*deviation(fastBins); sure > slow { // it grows: the slow average has not seen it yet
		growth := (sure - slow) / ((slowBins - fastBins) * w) // per second²
		p.rate, p.ahead = sure, min(sure+growth*load.Seconds(), 2*sure)
	}
	p.peak = p.rate
	if most := fast + 2*deviation(fastBins); most < slow { // it falls
		p.ahead = most
	}
	for i := 0; i == 0 || i+slowBins <= len(list); i++ {
		var sum float64
		part := list[i:min(i+slowBins, len(list))]
		for _, a := range part {
			sum += a
		}
		p.peak = max(p.peak, sum/(float64(max(len(part), 1))*w))
	}
	if p.peak > 0 {
		p.noise = math.Sqrt(p.burst / (2 * slowBins * w * p.peak))
	}
	return p
}

// average is the exponentially weighted mean of a list, newest first.
func average(list []float64, tau float64) float64 {
	var sum, weights float64
	for i, a := range list {
		weight := math.Exp(-float64(i) / tau)
		sum, weights = sum+weight*a, weights+weight
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// dispersion is the index of dispersion of counts, of groups of three bins: 1 for Poisson arrivals. Differences of neighbours are used
// (von Neumann 1941), so that a trend is not taken for bursts.
func dispersion(list []float64) float64 {
	const group = 3
	var counts []float64
	for part := range slices.Chunk(list, group) {
		if len(part) == group {
			counts = append(counts, part[0]+part[1]+part[2])
		}
	}
	var sum, squares float64
	for i, c := range counts {
		sum += c
		if i > 0 {
			squares += (c - counts[i-1]) * (c - counts[i-1])
		}
	}
	if len(counts) < 8 || sum == 0 {
		return 1
	}
	return min(max(squares/2/float64(len(counts)-1)/(sum/float64(len(counts))), .5), 16)
}

// shape is the distribution of measured times.
type shape struct {
	Total series.Histogram `json:"total"`
	First series.Histogram `json:"first"`
}
