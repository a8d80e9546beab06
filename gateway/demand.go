package gateway

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/cluster"
)

// demandOf counts a request that ended in a row of demand.
func demandOf(d *cluster.Demand, c *call, how string, took time.Duration) {
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
		if len(d.Failing) < cluster.MaxFailing {
			d.Failing = append(d.Failing, cluster.Failing{Request: c.id, Trace: c.span.TraceID()})
		}
	case FaultBusy.String():
		d.Refused++
	case FaultLimit.String(), FaultQuota.String():
		d.Refused++
		d.Limited++
	}
}

// CutDemand gives what happened since the last cut, by version and tenant, and begins anew. Rows in which nothing happened and nothing is under
// way are left out. It is to be called by one goroutine, about once a second.
func (s *Server) CutDemand() []cluster.Demand {
	b := s.books
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []cluster.Demand
	for k, f := range b.flows {
		if !f.fresh && f.running == 0 && f.waiting == 0 || k.version == others {
			continue
		}
		d := f.since
		d.Version, d.Tenant, d.Running, d.Waiting = k.version, k.tenant, f.running, f.waiting
		out = append(out, d)
		f.since, f.fresh = cluster.Demand{}, false
	}
	slices.SortFunc(out, func(a, b cluster.Demand) int {
		return cmp.Or(a.Version.Compare(b.Version), strings.Compare(a.Tenant, b.Tenant))
	})
	return out
}
