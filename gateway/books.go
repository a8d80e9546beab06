package gateway

import (
	"maps"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/telemetry"
)

// maxRows is how many rows of one kind a gateway's books have. What is beyond is counted under the names telemetry.Other.
const maxRows = 4096

// books are what a gateway has counted since it started, and what it counts for the next cut.
type books struct {
	mu       sync.Mutex
	requests map[requestRow]uint64
	tokens   map[tokenRow]*Usage
	measures map[measureRow]*measure
	flows    map[flowKey]*flow
}

func newBooks() *books {
	return &books{requests: map[requestRow]uint64{}, tokens: map[tokenRow]*Usage{}, measures: map[measureRow]*measure{}, flows: map[flowKey]*flow{}}
}

// requestRow names requests that are counted together.
type requestRow struct {
	operation, tenant, model string
	version                  cluster.VersionID
	outcome                  string
}

// tokenRow names tokens that are counted together.
type tokenRow struct {
	tenant, model string
	version       cluster.VersionID
}

// measureRow names requests that are measured together.
type measureRow struct {
	operation, model string
	version          cluster.VersionID
	failed           string // "" = it went well
}

// measure is the histograms of a row.
type measure struct{ duration, first, perToken, input, output *telemetry.Histogram }

func newMeasure() *measure {
	return &measure{telemetry.NewHistogram(telemetry.RequestDuration), telemetry.NewHistogram(telemetry.TimeToFirstToken),
		telemetry.NewHistogram(telemetry.TimePerOutputToken), telemetry.NewHistogram(telemetry.TokenUsage), telemetry.NewHistogram(telemetry.TokenUsage)}
}

// flowKey names the requests of a tenant for a version.
type flowKey struct {
	version cluster.VersionID
	tenant  string
}

// flow is what happens now to those requests, and what happened since the last cut.
type flow struct {
	running, waiting int
	picks, replays   uint64
	since            cluster.Demand
	fresh            bool // something happened since the last cut
}

// row finds a row of a map, or makes it; where there are too many, one that stands for the others.
func row[K comparable, V any](m map[K]*V, k, other K, make func() *V) *V {
	if v := m[k]; v != nil {
		return v
	}
	if len(m) >= maxRows {
		if k = other; m[k] != nil {
			return m[k]
		}
	}
	v := make()
	m[k] = v
	return v
}

// others stands for the versions that have no row of their own.
var others = cluster.VersionID{Model: telemetry.Other}

// arrive counts a request, and finds the flow that it belongs to.
func (b *books) arrive(k flowKey) *flow {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := row(b.flows, k, flowKey{others, telemetry.Other}, func() *flow { return &flow{} })
	f.fresh = true
	f.since.Arrived++
	return f
}

func (b *books) run(f *flow, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.running++
	f.picks++
	if again {
		f.replays++
	}
}

func (b *books) ran(f *flow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.running--
}

func (b *books) wait(f *flow, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.waiting += by
}

// end counts a request that is over. The caller holds the lock of the call.
func (b *books) end(c *call, how string, now time.Time) {
	took := now.Sub(c.began)
	failed := how
	if how == outcomeOK {
		failed = ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := requestRow{c.operation, c.tenant, c.model, c.version, how}
	if _, known := b.requests[r]; !known && len(b.requests) >= maxRows {
		r = requestRow{telemetry.Other, telemetry.Other, telemetry.Other, others, how}
	}
	b.requests[r]++
	if c.tenant == "" || c.operation == opModels || c.operation == opOther {
		return
	}
	m := row(b.measures, measureRow{c.operation, c.model, c.version, failed}, measureRow{telemetry.Other, telemetry.Other, others, failed}, newMeasure)
	m.duration.Observe(took.Seconds())
	if c.version.Model == "" || !c.infers() {
		return
	}
	u := row(b.tokens, tokenRow{c.tenant, c.model, c.version}, tokenRow{telemetry.Other, telemetry.Other, others}, func() *Usage { return &Usage{} })
	u.Prompt += c.prompt
	u.Completion += c.answer
	c.flow.fresh = true
	demandOf(&c.flow.since, c, how, took)
	if how != outcomeOK {
		return
	}
	m.input.Observe(float64(c.prompt))
	if c.answer > 0 {
		m.output.Observe(float64(c.answer))
		m.first.Observe(c.first.Sub(c.began).Seconds())
	}
	if c.answer > 1 {
		m.perToken.Observe(c.last.Sub(c.first).Seconds() / float64(c.answer-1))
	}
}

// prune forgets versions that are gone, so that their rows make room.
func (b *books) prune(state cluster.State) {
	gone := func(v cluster.VersionID) bool {
		_, ok := state.Version(v)
		return !ok && v.Model != "" && v != others
	}
	maps.DeleteFunc(b.requests, func(r requestRow, _ uint64) bool { return gone(r.version) })
	maps.DeleteFunc(b.tokens, func(r tokenRow, _ *Usage) bool { return gone(r.version) })
	maps.DeleteFunc(b.measures, func(r measureRow, _ *measure) bool { return gone(r.version) })
	maps.DeleteFunc(b.flows, func(k flowKey, f *flow) bool { return gone(k.version) && f.running == 0 && f.waiting == 0 })
}

// Collect gives the gateway's figures.
func (s *Server) Collect(sheet *telemetry.Sheet) {
	state := s.live.Now()
	sheet.Gauge(telemetry.StateIndex, float64(state.Index()))
	sheet.Count(telemetry.Panics, float64(s.panics.Load()))
	s.records.collect(sheet)
	b := s.books
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prune(state)
	for r, n := range b.requests {
		sheet.Count(telemetry.Requests, float64(n), r.operation, r.tenant, r.model, versionLabel(r.version), r.outcome)
	}
	for r, u := range b.tokens {
		v := versionLabel(r.version)
		sheet.Count(telemetry.TokensAll, float64(u.Prompt), r.tenant, r.model, v, "input")
		sheet.Count(telemetry.TokensAll, float64(u.Completion), r.tenant, r.model, v, "output")
	}
	for k, f := range b.flows {
		v := versionLabel(k.version)
		sheet.Gauge(telemetry.Running, float64(f.running), v)
		sheet.Gauge(telemetry.Waiting, float64(f.waiting), v)
		sheet.Count(telemetry.Picks, float64(f.picks), v)
		sheet.Count(telemetry.Replays, float64(f.replays), v)
	}
	for r, m := range b.measures {
		m.collect(sheet, r)
	}
}

func (m *measure) collect(sheet *telemetry.Sheet, r measureRow) {
	v := versionLabel(r.version)
	sheet.Histogram(telemetry.RequestDuration, m.duration.Tally(), r.operation, telemetry.Provider, r.model, v, r.failed)
	if r.failed != "" || r.version.Model == "" {
		return
	}
	sheet.Histogram(telemetry.TokenUsage, m.input.Tally(), r.operation, telemetry.Provider, r.model, v, "input")
	if m.output.Tally().Total() == 0 {
		return // it gives no tokens
	}
	sheet.Histogram(telemetry.TokenUsage, m.output.Tally(), r.operation, telemetry.Provider, r.model, v, "output")
	sheet.Histogram(telemetry.TimeToFirstToken, m.first.Tally(), r.operation, telemetry.Provider, r.model, v)
	sheet.Histogram(telemetry.TimePerOutputToken, m.perToken.Tally(), r.operation, telemetry.Provider, r.model, v)
}

// versionLabel is a version as a label: "" where the request's model was not found.
func versionLabel(v cluster.VersionID) string {
	switch {
	case v == others:
		return telemetry.Other
	case v.Model == "":
		return ""
	}
	return v.String()
}
