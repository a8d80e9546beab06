package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/series"
)

// maxSamples is how many ids of failing requests a Demand names.
const maxSamples = 8

// Demand is what this gateway saw of a tenant's requests for a version since the last cut.
type Demand struct {
	Version cluster.VersionID `json:"version"`
	Tenant  string            `json:"tenant"`
	Running int               `json:"running,omitempty"` // at replicas, at the moment of the cut
	Waiting int               `json:"waiting,omitempty"` // for a replica, at the moment of the cut
	Arrived int               `json:"arrived,omitempty"`
	Ended   int               `json:"ended,omitempty"`   // however
	Failed  int               `json:"failed,omitempty"`  // of Ended, for reasons of ours
	Refused int               `json:"refused,omitempty"` // of Ended, for want of room or by a limit
	Prompt  int64             `json:"prompt,omitempty"`  // tokens of requests that ended
	Answer  int64             `json:"answer,omitempty"`  // tokens of requests that ended
	First   series.Histogram  `json:"first"`             // time to the first token, of answers that went well and have tokens
	Total   series.Histogram  `json:"total"`             // time of requests that went well
	Samples []string          `json:"samples,omitempty"` // ids of requests that failed
}

// end counts a request.
func (d *Demand) end(c *call, how string, took time.Duration) {
	d.Ended++
	d.Prompt += int64(c.prompt)
	d.Answer += int64(c.answer)
	switch how {
	case outcomeOK:
		d.Total.Add(took.Milliseconds())
		if !c.first.IsZero() {
			d.First.Add(c.first.Sub(c.began).Milliseconds())
		}
	case FaultInternal.String(), FaultUnavailable.String(), FaultTimeout.String():
		d.Failed++
		if len(d.Samples) < maxSamples {
			d.Samples = append(d.Samples, c.id)
		}
	case FaultBusy.String():
		d.Refused++
	}
}

// CutDemand gives what happened since the last cut, by version and tenant, and begins anew. Rows in which nothing happened and nothing is under
// way are left out. It is to be called by one goroutine, about once a second.
func (s *Server) CutDemand() []Demand {
	b := s.books
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Demand
	for k, f := range b.flows {
		if !f.fresh && f.running == 0 && f.waiting == 0 || k.version == others {
			continue
		}
		d := f.since
		d.Version, d.Tenant, d.Running, d.Waiting = k.version, k.tenant, f.running, f.waiting
		out = append(out, d)
		f.since, f.fresh = Demand{}, false
	}
	slices.SortFunc(out, func(a, b Demand) int {
		return cmp.Or(a.Version.Compare(b.Version), strings.Compare(a.Tenant, b.Tenant))
	})
	return out
}
