package admin_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
)

// TestNeed: what follows demand is wished, shown, changed and fixed again; what makes no sense is refused.
func TestNeed(t *testing.T) {
	r := newRig(t, 1)
	c := r.api(r.Leader())
	r.Machine("n1", 400<<20)
	v := r.publish("calc", 1)
	for _, bad := range []*adminv1.ServeRequest{
		{Model: "calc@1", Replicas: 1, Need: &adminv1.Need{Max: 2}},
		{Model: "calc@1", Need: &adminv1.Need{Min: 3, Max: 2}},
		{Model: "calc@1", Need: &adminv1.Need{}},
		{Model: "calc@1", Need: &adminv1.Need{Max: 1, Priority: 101}},
		{Model: "calc@1", Need: &adminv1.Need{Max: 1, Percent: 100}},
		{Model: "calc@1", Need: &adminv1.Need{Max: 1, LatencyMs: -1}},
	} {
		want(t, connect.CodeInvalidArgument, c.Deployments.Serve, bad)
	}
	want(t, connect.CodeNotFound, c.Deployments.Serve, &adminv1.ServeRequest{Model: "calc@1", Need: &adminv1.Need{Max: 1}, Tenant: "nobody"})

	need := &adminv1.Need{Min: 1, Max: 50, FirstTokenMs: 500, LatencyMs: 2000, Percent: 99, Priority: 10}
	req := &adminv1.ServeRequest{Model: "calc@1", Need: need, Tenant: cluster.DefaultTenant, ValidateOnly: true}
	plan, err := c.Deployments.Serve(t.Context(), connect.NewRequest(req))
	if err != nil || len(plan.Msg.Replicas) != 1 || !strings.Contains(plan.Msg.Scaling, "1 to 50 replicas follow demand, 1 now; there is room for") {
		t.Fatalf("%v, %v", plan, err)
	}
	if _, ok := r.Leader().Live().Now().Deployment(v); ok {
		t.Fatal("a plan changes nothing")
	}
	req.ValidateOnly = false
	want(t, 0, c.Deployments.Serve, req)
	list, err := c.Deployments.List(t.Context(), connect.NewRequest(&adminv1.ListRequest{}))
	if err != nil || len(list.Msg.Deployments) != 1 {
		t.Fatal(list, err)
	}
	if d := list.Msg.Deployments[0]; d.Wanted != 1 || d.Need.String() != need.String() || d.Tenant != cluster.DefaultTenant {
		t.Errorf("%v", d)
	}
	want(t, 0, c.Deployments.Serve, &adminv1.ServeRequest{Model: "calc@1", Slots: 2}) // the need stays
	if d, _ := r.Leader().Live().Now().Deployment(v); d.Need == nil || d.Need.Percent != 99 || d.Serving.Slots != 2 {
		t.Errorf("%+v", d)
	}
	want(t, 0, c.Deployments.Serve, &adminv1.ServeRequest{Model: "calc@1", Replicas: 2})
	fleettest.Within(t, "the number is fixed", func() bool {
		d, _ := r.Leader().Live().Now().Deployment(v)
		return d.Need == nil && d.Wanted() == 2
	})
}

// Who is confined to a tenant comes before nobody by its own word, and has no more replicas than its tenant may have.
func TestNeedOfATenant(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	r.Machine("n1", 400<<20)
	acme := r.publisher(c, "acme")
	v := r.publish("calc", 1)
	want(t, 0, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "calc", Owner: "acme"}, UpdateMask: mask("owner")})
	want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "acme", Models: []string{"*"}, Replicas: 3}})
	priority := func(n int) {
		t.Helper()
		if d, _ := r.Leader().Live().Now().Deployment(v); d.Need == nil || d.Need.Priority != n || d.Owner != "acme" {
			t.Errorf("%+v, want priority %d", d, n)
		}
	}
	need := func(most, priority int32) *adminv1.ServeRequest {
		return &adminv1.ServeRequest{Model: "calc@1", Need: &adminv1.Need{Max: most, Priority: priority}}
	}
	want(t, connect.CodePermissionDenied, acme.Deployments.Serve, need(2, 1))
	want(t, 0, acme.Deployments.Serve, need(2, 0))
	want(t, 0, c.Deployments.Serve, need(2, 7))
	want(t, connect.CodePermissionDenied, acme.Deployments.Serve, need(2, 8))
	want(t, 0, acme.Deployments.Serve, need(3, 0))
	priority(7)
	want(t, 0, acme.Deployments.Serve, need(3, -5))
	priority(-5)
	want(t, connect.CodeResourceExhausted, acme.Deployments.Serve, need(4, 0))
	want(t, connect.CodeResourceExhausted, acme.Deployments.Serve, &adminv1.ServeRequest{Model: "calc@1", Replicas: 4})
	want(t, 0, acme.Deployments.Serve, &adminv1.ServeRequest{Model: "calc@1", Replicas: 3})
}
