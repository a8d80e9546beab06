package monitor

import (
	"maps"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/series"
)

// state is a cluster with a gateway, a node, a tenant and a limit.
func state(t *testing.T) cluster.State {
	t.Helper()
	do := []cluster.Command{
		cluster.Init{ID: "c", Feature: cluster.Feature},
		cluster.PutMember{Member: cluster.Member{ID: "g1", Name: "gate", Role: cluster.RoleGateway, Addr: "a:1"}},
		cluster.PutMember{Member: cluster.Member{ID: "c1", Name: "first", Role: cluster.RoleCoordinator, Addr: "a:2"}},
		cluster.PutMember{Member: cluster.Member{ID: "c2", Name: "second", Role: cluster.RoleCoordinator, Addr: "a:3"}},
		cluster.PutMember{Member: cluster.Member{ID: "c3", Name: "old", Role: cluster.RoleCoordinator, Addr: "a:4"}},
		cluster.PutNode{Node: cluster.Node{ID: "n1", Name: "node", Addr: "a:1"}},
		cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1}},
		cluster.PutLimits{Set: cluster.LimitSet{Subject: "tenant/acme", Limits: []cluster.Limited{{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: 4}}}}},
	}
	s, errs := cluster.Apply(cluster.State{}, 1, cluster.Envelope{V: 1, At: 1, Txns: []cluster.Txn{{Do: do}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return s
}

// Everything that is known has a family that takes it, and comes out again.
func TestMeasure(t *testing.T) {
	store, at := series.New(0, 0), time.Unix(1_700_000_000, 0)
	var total series.Histogram
	total.Add(100)
	v := cluster.VersionID{Model: "calc", Number: 1}
	in := func(d time.Duration) cluster.Millis { return cluster.Millis(at.Add(d).UnixMilli()) }
	node := cluster.Report{Node: "n1", Name: "node", Upkeep: cluster.Upkeep{CertificateEnds: in(3 * time.Hour), DiskFree: 30, DiskSize: 60},
		Devices:  gpu.Inventory{{ID: "GPU-1", Kind: gpu.CUDA, Memory: gpu.GiB}},
		Readings: []gpu.Reading{{ID: "GPU-1", Used: gpu.MiB, Percent: 50, Health: gpu.Healthy, Celsius: 60, Milliwatts: 300_000, XID: 79}}}
	err := measure(store, at, Facts{
		State:    state(t),
		Demand:   []cluster.Demand{{Gateway: "g1", Version: v, Tenant: "acme", Ended: 5, Failed: 2, Refused: 1, Prompt: 7, Total: total, First: total, Failing: []cluster.Failing{{Request: "r1", Trace: "4bf9"}}}},
		Flows:    []Flow{{"g1", v, 2, 3}},
		Nodes:    []Sight{{node, time.Second}},
		Gateways: map[cluster.NodeID]time.Duration{"g1": 2 * time.Second},
		Voters:   3, Spare: 1, Changes: 1,
		Upkeep: map[cluster.NodeID]cluster.Upkeep{
			"c1": {CertificateEnds: in(time.Hour), DiskFree: 10, DiskSize: 40, Lag: 7},
			"c2": {CertificateEnds: in(2 * time.Hour), Lag: 0},
			"c3": {}, // an older program
			"g1": {CertificateEnds: in(-time.Minute), DiskFree: 101, DiskSize: 100, Lag: 9},
			"x":  {CertificateEnds: in(time.Hour), DiskFree: 10, DiskSize: 100, Lag: 7}, // no member
		},
	})
	if err != nil {
		t.Error(err)
	}
	for _, f := range series.Families {
		curves, err := store.Range(f.Name, nil, at.Add(-time.Minute), at.Add(time.Minute), 15*time.Second)
		// No gateway says how long tokens take one by one, and nothing is deployed.
		if absent := f.Name == "gen_ai_server_time_per_output_token_seconds" || f.Name == "skein_replicas_ready" || f.Name == "skein_replicas_wanted"; err != nil || (len(curves) == 0) != absent {
			t.Errorf("%s: %v %v", f.Name, curves, err)
		}
	}
	for outcome, want := range map[string]int64{"ok": 1, "failed": 2, "refused": 1, "other": 1} {
		w := series.Window{Family: "skein_gateway_requests_total", Match: series.Is(series.Of("outcome", outcome, "tenant", "acme")), At: at.Add(time.Second), Length: time.Minute}
		if n, ok := store.Increase(w); !ok || n != want {
			t.Errorf("%s: %d %v, want %d", outcome, n, ok, want)
		}
	}
	for family, want := range map[string]map[string]float64{
		"skein_certificate_left_seconds": {"first": 3600, "second": 7200, "gate": -60, "node": 10800},
		"skein_disk_free_bytes":          {"first": 10, "node": 30},
		"skein_disk_free_ratio":          {"first": 0.25, "node": 0.5},
		"skein_raft_apply_lag_entries":   {"first": 7, "second": 0},
	} {
		curves, err := store.Range(family, nil, at.Add(-time.Minute), at.Add(time.Minute), 15*time.Second)
		got := map[string]float64{}
		for _, c := range curves {
			got[c.Labels[0].Value] = c.Points[0].Max
		}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v %v, want %v", family, got, err, want)
		}
	}
	if got := store.Samples("skein_gateway_requests_total", nil, at.Add(-time.Minute)); len(got) != 1 || got[0] != "r1 trace=4bf9" {
		t.Errorf("failing requests %v", got)
	}
}

// Requests under way are summed over tenants, kept for a while when a gateway says nothing, then said to be none once.
func TestUnder(t *testing.T) {
	m, at := &Monitor{flows: map[flowKey]flowSeen{}}, time.Unix(1, 0)
	v := cluster.VersionID{Model: "calc", Number: 1}
	got := m.under(at, []cluster.Demand{{Gateway: "g1", Version: v, Tenant: "a", Running: 1, Waiting: 2}, {Gateway: "g1", Version: v, Tenant: "b", Running: 3}, {Gateway: "g1"}})
	if len(got) != 1 || got[0] != (Flow{"g1", v, 4, 2}) {
		t.Errorf("%+v", got)
	}
	if got := m.under(at.Add(flowFor), nil); len(got) != 1 || got[0].Running != 4 {
		t.Errorf("a moment later: %+v", got)
	}
	if got := m.under(at.Add(flowFor+1), nil); len(got) != 1 || got[0].Running != 0 {
		t.Errorf("long after: %+v", got)
	}
	if got := m.under(at.Add(flowFor+2), nil); len(got) != 0 {
		t.Errorf("then: %+v", got)
	}
}

// What is deleted leaves nothing behind.
func TestForget(t *testing.T) {
	m, s := &Monitor{store: series.New(0, 0)}, state(t)
	m.forget(s)
	at := time.Unix(1_700_000_000, 0)
	for _, tenant := range []string{"acme", "default"} {
		if err := m.store.Add(at, "skein_gateway_requests_total", series.Of("tenant", tenant, "outcome", "ok", "version", "calc@1"), 1); err != nil {
			t.Fatal(err)
		}
	}
	m.forget(s)
	if n := m.store.Size().Series; n != 2 {
		t.Errorf("%d series", n)
	}
	tenant, _ := s.Tenant("acme")
	s, errs := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: []cluster.Command{cluster.DeleteTenant{ID: "acme", Was: tenant.Rev}}}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	m.forget(s)
	if n := m.store.Size().Series; n != 1 {
		t.Errorf("%d series of a tenant that is gone", n)
	}
}
