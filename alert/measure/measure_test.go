package measure

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/library"
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
		cluster.PutLimits{Set: cluster.LimitSet{Subject: "tenant/acme", Limits: []cluster.Limited{
			{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: 4}}, {Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Day, Amount: 1000}},
		}}},
		cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Batch, ID: "acme/b1"}, Body: []byte(`{"status": "in_progress", "since": {"validating": 1699999940000}, "moved": 1699999990000}`)}},
		told("acme/b2", 0, "pending"),
	}
	s, errs := cluster.Apply(cluster.State{}, 1, cluster.Envelope{V: 1, At: 1, Txns: []cluster.Txn{{Do: do}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return s
}

// told is a batch that is over, with what became of its callback.
func told(id string, was cluster.Index, calling string) cluster.PutDocument {
	body := fmt.Appendf(nil, `{"status": "completed", "callback": {"url": "https://x", "state": %q}}`, calling)
	return cluster.PutDocument{Document: cluster.Document{DocumentID: cluster.DocumentID{Kind: cluster.Batch, ID: id}, Body: body}, Was: was}
}

// spend lets the gateway settle that so many tokens of the day were used.
func spend(t *testing.T, s cluster.State, at time.Time, n int64) cluster.State {
	t.Helper()
	id := quota.ID{Subject: "tenant/acme", Meter: quota.Tokens, Window: quota.Day}
	day := quota.Day.Start(at.UnixMilli())
	for seq := uint64(1); seq <= 2; seq++ { // the first of a day begins it
		ask := quota.Ask{ID: id, Start: day}
		if seq == 2 {
			ask.Spent = n
		}
		next, errs := cluster.Apply(s, s.Index()+1, cluster.Envelope{V: 1, At: cluster.Millis(at.UnixMilli()), Txns: []cluster.Txn{{Do: []cluster.Command{
			cluster.Settle{Gateway: "g1", Session: uint64(at.Unix()), Seq: seq, Asks: []quota.Ask{ask}},
		}}}})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		s = next
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
	m, begin := New(store), state(t)
	if err := m.Put(at.Add(-time.Second), Facts{State: begin}); err != nil {
		t.Fatal(err)
	}
	spent := spend(t, begin, at, 250)
	err := m.Put(at, Facts{
		State:    spent,
		Kept:     map[cluster.VersionID]library.Kept{v: {Copies: 1, Wanted: 2}},
		Demand:   []cluster.Demand{{Gateway: "g1", Version: v, Tenant: "acme", Ended: 6, Failed: 2, Refused: 2, Limited: 1, Prompt: 7, Total: total, First: total, Failing: []cluster.Failing{{Request: "r1", Trace: "4bf9"}}}},
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
		Spools: map[cluster.NodeID]cluster.Spool{"g1": {Used: 3, Room: 4, Dropped: 9}, "c1": {Dropped: 5}, "c2": {Room: 8}},
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
	lost := series.Window{Family: "skein_gateway_results_dropped_total", Match: series.Is(series.Of("gateway", "gate")), At: at.Add(time.Minute), Length: 2 * time.Minute}
	for i, step := range []struct{ told, want int64 }{{9, 0}, {12, 3}, {2, 5}} { // what it had lost before is not new; the last one is another process
		if err := m.Put(at.Add(time.Duration(i)*time.Second), Facts{State: spent, Spools: map[cluster.NodeID]cluster.Spool{"g1": {Dropped: step.told}}}); err != nil {
			t.Error(err)
		}
		if n, ok := store.Increase(lost); !ok || n != step.want {
			t.Errorf("told of %d lost records: %d are new, want %d", step.told, n, step.want)
		}
	}
	after, errs := cluster.Apply(spent, spent.Index()+1, cluster.Envelope{V: 1, Txns: []cluster.Txn{{Do: []cluster.Command{told("acme/b2", 1, "given_up"), told("acme/b3", 0, "given_up")}}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	if err := m.Put(at.Add(3*time.Second), Facts{State: after}); err != nil {
		t.Error(err)
	}
	unheard := series.Window{Family: "skein_batch_callbacks_given_up_total", Match: series.Is(series.Of("tenant", "acme")), At: at.Add(time.Minute), Length: 2 * time.Minute}
	if n, ok := store.Increase(unheard); !ok || n != 2 {
		t.Errorf("%d batches were given up, want 2", n)
	}
	for outcome, want := range map[string]int64{"ok": 1, "failed": 2, "refused": 1, "limited": 1, "other": 1} {
		w := series.Window{Family: "skein_gateway_requests_total", Match: series.Is(series.Of("outcome", outcome, "tenant", "acme")), At: at.Add(time.Second), Length: time.Minute}
		if n, ok := store.Increase(w); !ok || n != want {
			t.Errorf("%s: %d %v, want %d", outcome, n, ok, want)
		}
	}
	id := series.Is(series.Of("limit", "tenant/acme", "meter", "tokens", "window", "day", "tenant", "acme"))
	burnt := series.Window{Family: "skein_quota_spent_ppm_total", Match: id, At: at.Add(time.Second), Length: time.Minute}
	if n, ok := store.Increase(burnt); !ok || n != 250_000 {
		t.Errorf("spent: %d %v, want a quarter of the amount", n, ok)
	}
	for i, next := range []struct {
		at    time.Time
		state cluster.State
		more  int64
	}{{at, spent, 0}, {at.Add(24 * time.Hour), spent, 0}, {at.Add(24*time.Hour + time.Second), spend(t, spent, at.Add(24*time.Hour), 100), 100_000}} {
		if err := m.Put(next.at, Facts{State: next.state}); err != nil {
			t.Error(err)
		}
		burnt.At, burnt.Length = next.at.Add(time.Second), time.Minute
		if i == 0 {
			next.more = 250_000 // as before
		}
		if n, _ := store.Increase(burnt); n != next.more {
			t.Errorf("later %d: %d were spent, want %d", i, n, next.more)
		}
	}
	for family, want := range map[string]map[string]float64{
		"skein_certificate_left_seconds": {"first": 3600, "second": 7200, "gate": -60, "node": 10800},
		"skein_disk_free_bytes":          {"first": 10, "node": 30},
		"skein_disk_free_ratio":          {"first": 0.25, "node": 0.5},
		"skein_raft_apply_lag_entries":   {"first": 7, "second": 0},

		"skein_batch_oldest_seconds": {"acme": 63}, // 3 s later
		"skein_batch_still_seconds":  {"acme": 13},

		"skein_gateway_results_spool_ratio": {"gate": 0.75, "second": 0},
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
