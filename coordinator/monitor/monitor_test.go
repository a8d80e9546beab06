package monitor

import (
	"testing"
	"time"

	"github.com/skein-project/skein/alert/measure"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/series"
)

// tenanted is a cluster with a tenant.
func tenanted(t *testing.T) cluster.State {
	t.Helper()
	s, errs := cluster.Apply(cluster.State{}, 1, cluster.Envelope{V: 1, At: 1, Txns: []cluster.Txn{{Do: []cluster.Command{
		cluster.Init{ID: "c", Feature: cluster.Feature}, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1}},
	}}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	return s
}

// Requests under way are summed over tenants, kept for a while when a gateway says nothing, then said to be none once.
func TestUnder(t *testing.T) {
	m, at := &Monitor{flows: map[flowKey]flowSeen{}}, time.Unix(1, 0)
	v := cluster.VersionID{Model: "calc", Number: 1}
	got := m.under(at, []cluster.Demand{{Gateway: "g1", Version: v, Tenant: "a", Running: 1, Waiting: 2}, {Gateway: "g1", Version: v, Tenant: "b", Running: 3}, {Gateway: "g1"}})
	if len(got) != 1 || got[0] != (measure.Flow{Gateway: "g1", Version: v, Running: 4, Waiting: 2}) {
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
	m, s := &Monitor{store: series.New(0, 0)}, tenanted(t)
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
