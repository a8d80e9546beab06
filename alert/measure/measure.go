// Package measure makes series of what a coordinator knows at a moment.
package measure

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/job"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/series"
)

// Facts are what a coordinator knows at a moment. Only the leader is told of demand and nodes.
type Facts struct {
	State    cluster.State
	Demand   []cluster.Demand // since the last measurement
	Flows    []Flow
	Nodes    []Sight
	Gateways map[cluster.NodeID]time.Duration  // since each gateway was last heard
	Voters   int                               // 0 = not known
	Spare    int                               // voters that answer, beyond the majority
	Changes  int                               // of the leader since the last measurement
	Upkeep   map[cluster.NodeID]cluster.Upkeep // of coordinators and stand-alone gateways
	Spools   map[cluster.NodeID]cluster.Spool  // of gateways
	Kept     map[cluster.VersionID]library.Kept
}

// Flow is how many requests for a version are under way at a gateway.
type Flow struct {
	Gateway cluster.NodeID
	Version cluster.VersionID
	Running int
	Waiting int
}

// Sight is the newest report of a node.
type Sight struct {
	cluster.Report
	Age time.Duration
}

// Sheets puts what a coordinator knows into series, from moment to moment.
type Sheets struct {
	store *series.Store
	spent map[quota.ID]int64       // of limits, as it was the last time
	lost  map[cluster.NodeID]int64 // records of gateways, as it was the last time

	givenUp map[string]int // callbacks of tenants, as it was the last time; nil = there was none
}

// New makes one that puts into a store.
func New(store *series.Store) *Sheets {
	return &Sheets{store: store, spent: map[quota.ID]int64{}, lost: map[cluster.NodeID]int64{}}
}

// sheet puts values into a store, and keeps why it does not take some.
type sheet struct {
	*series.Store
	at   time.Time
	errs []error
}

func (s *sheet) keep(err error) {
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

func (s *sheet) gauge(family string, value float64, labels ...string) {
	s.keep(s.Put(s.at, family, series.Of(labels...), value))
}

func (s *sheet) count(family string, n int, labels ...string) {
	s.keep(s.Add(s.at, family, series.Of(labels...), int64(n)))
}

func (s *sheet) durations(family string, h series.Histogram, labels ...string) {
	if h.Count() > 0 {
		s.keep(s.Observe(s.at, family, series.Of(labels...), &h))
	}
}

// Put puts everything that is known at a moment. The error says what the series did not take.
func (m *Sheets) Put(at time.Time, f Facts) error {
	s := &sheet{Store: m.store, at: at}
	for _, d := range f.Demand {
		s.demand(d)
	}
	for _, w := range f.Flows {
		labels := []string{"gateway", memberName(f.State, w.Gateway), "version", w.Version.String()}
		s.gauge("skein_gateway_running_requests", float64(w.Running), labels...)
		s.gauge("skein_gateway_waiting_requests", float64(w.Waiting), labels...)
	}
	for _, n := range f.Nodes {
		s.node(n)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Gateways)) {
		s.gauge("skein_gateway_silent_seconds", f.Gateways[id].Seconds(), "gateway", memberName(f.State, id))
	}
	m.spools(s, f)
	m.batches(s, f.State)
	for n := range f.State.Nodes() {
		s.gauge("skein_node_lost", truth(n.Status == cluster.NodeLost), "node", n.Name)
	}
	s.replicas(f.State)
	m.quotas(s, f.State)
	for _, v := range slices.SortedFunc(maps.Keys(f.Kept), cluster.VersionID.Compare) {
		kept := f.Kept[v]
		s.gauge("skein_version_copies", float64(kept.Copies), "version", v.String())
		s.gauge("skein_version_copies_wanted", float64(kept.Wanted), "version", v.String())
	}
	if f.Voters > 0 {
		s.gauge("skein_raft_voters", float64(f.Voters))
		s.gauge("skein_raft_voters_spare", float64(f.Spare))
	}
	s.count("skein_raft_leader_changes_total", f.Changes)
	for _, id := range slices.Sorted(maps.Keys(f.Upkeep)) {
		u := f.Upkeep[id]
		m, ok := f.State.Member(id)
		if !ok || u == (cluster.Upkeep{}) {
			continue
		}
		s.upkeep(m.Name, u)
		if m.Role == cluster.RoleCoordinator {
			s.gauge("skein_raft_apply_lag_entries", float64(u.Lag), "coordinator", m.Name)
		}
	}
	return errors.Join(s.errs...)
}

// upkeep puts what any member said of itself.
func (s *sheet) upkeep(member string, u cluster.Upkeep) {
	if u.CertificateEnds > 0 {
		s.gauge("skein_certificate_left_seconds", time.UnixMilli(int64(u.CertificateEnds)).Sub(s.at).Seconds(), "member", member)
	}
	if free, size, ok := u.Disk(); ok {
		s.gauge("skein_disk_free_bytes", float64(free), "node", member)
		s.gauge("skein_disk_free_ratio", float64(free)/float64(size), "node", member)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func memberName(s cluster.State, id cluster.NodeID) string {
	if m, ok := s.Member(id); ok && m.Name != "" {
		return m.Name
	}
	return string(id)
}

// demand puts what a gateway saw of a version and a tenant.
func (s *sheet) demand(d cluster.Demand) {
	if d.Version.Model == "" {
		return // only that the gateway is there
	}
	version, tenant := d.Version.String(), d.Tenant
	ok := int(d.Total.Count())
	for _, o := range []struct {
		outcome string
		n       int
	}{{"ok", ok}, {"failed", d.Failed}, {"refused", d.Refused - d.Limited}, {"limited", d.Limited}, {"other", d.Ended - ok - d.Failed - d.Refused}} {
		s.count("skein_gateway_requests_total", max(0, o.n), "outcome", o.outcome, "tenant", tenant, "version", version)
	}
	s.count("skein_gateway_tokens_total", int(d.Prompt), "tenant", tenant, "type", "input", "version", version)
	s.count("skein_gateway_tokens_total", int(d.Answer), "tenant", tenant, "type", "output", "version", version)
	s.durations("gen_ai_server_request_duration_seconds", d.Total, "version", version)
	s.durations("gen_ai_server_time_to_first_token_seconds", d.First, "version", version)
	for _, f := range d.Failing {
		id := f.Request
		if f.Trace != "" {
			id += " trace=" + f.Trace
		}
		s.Sample(s.at, "skein_gateway_requests_total", series.Of("outcome", "failed", "tenant", tenant, "version", version), id)
	}
}

// node puts what a node reported of itself and its devices.
func (s *sheet) node(n Sight) {
	s.gauge("skein_node_silent_seconds", n.Age.Seconds(), "node", n.Name)
	s.upkeep(n.Name, n.Upkeep)
	for _, d := range n.Devices {
		for _, r := range n.Readings {
			if r.ID == d.ID {
				s.device(n.Name, d, r)
			}
		}
	}
}

func (s *sheet) device(node string, d gpu.Device, r gpu.Reading) {
	labels := []string{"Hostname", node, "UUID", string(d.ID)}
	s.gauge("skein_gpu_healthy", truth(r.Health == gpu.Healthy), labels...)
	if d.Kind == gpu.Host {
		return
	}
	s.gauge("DCGM_FI_DEV_GPU_UTIL", float64(r.Percent), labels...)
	s.gauge("DCGM_FI_DEV_FB_USED", float64(r.Used/gpu.MiB), labels...)
	s.gauge("DCGM_FI_DEV_FB_FREE", float64((d.Memory-r.Used)/gpu.MiB), labels...)
	if r.Celsius > 0 {
		s.gauge("DCGM_FI_DEV_GPU_TEMP", float64(r.Celsius), labels...)
	}
	if r.Milliwatts > 0 {
		s.gauge("DCGM_FI_DEV_POWER_USAGE", float64(r.Milliwatts)/1000, labels...)
	}
	s.gauge("DCGM_FI_DEV_XID_ERRORS", float64(r.XID), labels...)
}

func (s *sheet) replicas(state cluster.State) {
	for d := range state.Deployments() {
		ready := 0
		for r := range state.ReplicasOf(d.Version) {
			if state.Routable(r) {
				ready++
			}
		}
		s.gauge("skein_replicas_wanted", float64(d.Wanted()), "version", d.Version.String())
		s.gauge("skein_replicas_ready", float64(ready), "version", d.Version.String())
	}
}

// spools puts how full gateways' spools are, and how many records were lost since the last time. What a gateway lost before it was first heard
// was told to others.
func (m *Sheets) spools(s *sheet, f Facts) {
	for _, id := range slices.Sorted(maps.Keys(f.Spools)) {
		p := f.Spools[id]
		gateway := memberName(f.State, id)
		if p.Room > 0 {
			s.gauge("skein_gateway_results_spool_ratio", float64(p.Used)/float64(p.Room), "gateway", gateway)
		}
		was, known := m.lost[id]
		switch {
		case !known:
			was = p.Dropped
		case was > p.Dropped: // another process
			was = 0
		}
		m.lost[id] = p.Dropped
		s.count("skein_gateway_results_dropped_total", int(p.Dropped-was), "gateway", gateway)
	}
}

// batches puts how the batches of tenants are, and how many callbacks were given up since the last time.
func (m *Sheets) batches(s *sheet, state cluster.State) {
	now, first := map[string]int{}, m.givenUp == nil
	all := job.FiguresOf(state, cluster.Millis(s.at.UnixMilli()))
	for _, tenant := range slices.Sorted(maps.Keys(all)) {
		f := all[tenant]
		now[tenant] = f.GivenUp
		if !first {
			s.count("skein_batch_callbacks_given_up_total", max(0, f.GivenUp-m.givenUp[tenant]), "tenant", tenant)
		}
		if !f.Open() {
			continue
		}
		s.gauge("skein_batches", float64(f.Waiting), "state", "waiting", "tenant", tenant)
		s.gauge("skein_batches", float64(f.Running), "state", "running", "tenant", tenant)
		s.gauge("skein_batch_oldest_seconds", float64(f.Oldest)/1000, "tenant", tenant)
		s.gauge("skein_batch_still_seconds", float64(f.Still)/1000, "tenant", tenant)
	}
	m.givenUp = now
}

// What stands for the tenant of the limit of all together, and for the model of a limit of all models: no model is called so.
const (
	everybody  = "everybody"
	everyModel = "*"
)

// quotas puts how far limits with an amount are used, and what was spent since the last time: of a rate it is the gateways' business.
func (m *Sheets) quotas(s *sheet, state cluster.State) {
	now := map[quota.ID]int64{}
	for q := range state.Quotas(cluster.Millis(s.at.UnixMilli())) {
		labels := []string{"limit", q.Subject, "meter", string(q.Meter), "model", cmp.Or(q.Model, everyModel), "tenant", cmp.Or(state.TenantOf(q.Subject), everybody), "window", string(q.Window)}
		s.gauge("skein_quota_used_ratio", q.Used, labels...)
		if q.Left > 0 {
			s.gauge("skein_quota_left_seconds", float64(q.Left)/1000, labels...)
		}
		id := q.ID(q.Subject)
		now[id] = q.Spent
		was, known := m.spent[id]
		if was > q.Spent { // another day, or another amount
			was = 0
		}
		if known {
			s.count("skein_quota_spent_ppm_total", int(q.Spent-was), labels...)
		}
	}
	m.spent = now
}
