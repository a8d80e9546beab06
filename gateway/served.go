package gateway

import (
	"maps"
	"sync"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/telemetry"
)

// stages are when the parts of a request began that statistics tell apart. The lock of the call guards them.
type stages struct {
	ready time.Time // it could be sent, and waited for its turn
	ran   time.Time // it was sent for the first time
	back  time.Time // a replica answered or failed for the last time
	rows  int       // 0 = not told: one
}

// prepared notes that the request can be sent now.
func (c *call) prepared() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stages.ready.IsZero() {
		c.stages.ready = time.Now()
	}
}

// tried notes an attempt that began, and that ended.
func (c *call) tried(began, ended time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stages.ran.IsZero() {
		c.stages.ran = began
	}
	c.stages.back = ended
}

// has notes how many rows a request has.
func (c *call) has(rows int) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stages.rows = rows
}

// served counts what became of requests by version and tenant, since the gateway started.
type served struct {
	mu   sync.Mutex
	rows map[flowKey]*oip.Tally
}

// end counts a request that is over. The caller holds the lock of the call.
func (s *served) end(c *call, how string, now time.Time) {
	if c.version.Model == "" || c.copy || !c.infers() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := row(s.rows, flowKey{c.version, c.tenant}, flowKey{others, telemetry.Other}, func() *oip.Tally { return &oip.Tally{} })
	if how != outcomeOK {
		t.Fail.Add(now.Sub(c.began))
		return
	}
	t.Success.Add(now.Sub(c.began))
	t.Rows += uint64(max(1, c.stages.rows))
	t.Last = uint64(now.UnixMilli())
	if c.stages.ran.IsZero() {
		return
	}
	t.Runs++
	t.Input.Add(c.stages.ready.Sub(c.began))
	t.Queue.Add(c.stages.ran.Sub(c.stages.ready))
	t.Infer.Add(c.stages.back.Sub(c.stages.ran))
	t.Output.Add(now.Sub(c.stages.back))
}

// of sums up what was counted of a version for a tenant; "" = for all.
func (s *served) of(v cluster.VersionID, tenant string) (sum oip.Tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, t := range s.rows {
		if k.version == v && (tenant == "" || k.tenant == tenant) {
			sum.Merge(*t)
		}
	}
	return sum
}

// prune forgets versions that are gone.
func (s *served) prune(state cluster.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.rows, func(k flowKey, _ *oip.Tally) bool {
		_, ok := state.Version(k.version)
		return !ok && k.version != others
	})
}
