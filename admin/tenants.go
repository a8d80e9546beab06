package admin

import (
	"context"
	"fmt"
	"net/netip"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/quota"
)

type tenants struct{ *Handler }

var _ adminv1connect.TenantServiceHandler = tenants{}

// ListTenants implements skein.admin.v1.
func (h tenants) ListTenants(context.Context, *connect.Request[adminv1.ListTenantsRequest]) (*connect.Response[adminv1.ListTenantsResponse], error) {
	s, res := h.c.Live().Now(), &adminv1.ListTenantsResponse{}
	for t := range allTenants(s) {
		res.Tenants = append(res.Tenants, tenantView(t))
		for a := range s.Applications(t.ID) {
			res.Applications = append(res.Applications, appView(a))
		}
	}
	return connect.NewResponse(res), nil
}

// allTenants yields the tenants by id, the default one also while it is not written.
func allTenants(s cluster.State) func(func(cluster.Tenant) bool) {
	return func(yield func(cluster.Tenant) bool) {
		first, _ := s.Tenant(cluster.DefaultTenant)
		if first.Rev == 0 && !yield(first) {
			return
		}
		for t := range s.Tenants() {
			if !yield(t) {
				return
			}
		}
	}
}

func tenantView(t cluster.Tenant) *adminv1.Tenant {
	return &adminv1.Tenant{Id: t.ID, Name: t.Name, Weight: int32(t.Weight), Models: t.Models, Disabled: t.Disabled, CreatedMs: int64(t.Created), Replicas: int32(t.Replicas)}
}

func appView(a cluster.Application) *adminv1.Application {
	v := &adminv1.Application{Tenant: a.Tenant, Id: a.ID, Name: a.Name, Models: a.Models, ExpiresMs: int64(a.Expires), Disabled: a.Disabled, CreatedMs: int64(a.Created)}
	for _, n := range a.Sources {
		v.Sources = append(v.Sources, n.String())
	}
	return v
}

// PutTenant implements skein.admin.v1.
func (h tenants) PutTenant(ctx context.Context, r *connect.Request[adminv1.PutTenantRequest]) (*connect.Response[adminv1.PutTenantResponse], error) {
	in := r.Msg.GetTenant()
	t := cluster.Tenant{ID: in.GetId(), Name: in.GetName(), Weight: int(in.GetWeight()), Models: in.GetModels(), Disabled: in.GetDisabled(), Replicas: int(in.GetReplicas())}
	if t.Weight == 0 {
		t.Weight = cluster.DefaultWeight
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, _ := s.Tenant(t.ID)
		return cluster.PutTenant{Tenant: t, Was: old.Rev}, nil
	})
	if err != nil {
		return nil, err
	}
	t, _ = h.c.Live().Now().Tenant(t.ID)
	return connect.NewResponse(&adminv1.PutTenantResponse{Tenant: tenantView(t)}), nil
}

// DeleteTenant implements skein.admin.v1.
func (h tenants) DeleteTenant(ctx context.Context, r *connect.Request[adminv1.DeleteTenantRequest]) (*connect.Response[adminv1.DeleteTenantResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		t, ok := s.Tenant(r.Msg.Id)
		if !ok {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the tenant %.80q does not exist", r.Msg.Id))
		}
		return cluster.DeleteTenant{ID: t.ID, Was: t.Rev}, nil
	})
	return connect.NewResponse(&adminv1.DeleteTenantResponse{}), err
}

// PutApplication implements skein.admin.v1.
func (h tenants) PutApplication(ctx context.Context, r *connect.Request[adminv1.PutApplicationRequest]) (*connect.Response[adminv1.PutApplicationResponse], error) {
	in := r.Msg.GetApplication()
	a := cluster.Application{AppID: cluster.AppID{Tenant: in.GetTenant(), ID: in.GetId()}, Name: in.GetName(), Models: in.GetModels(), Expires: cluster.Millis(in.GetExpiresMs()), Disabled: in.GetDisabled()}
	for _, text := range in.GetSources() {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, invalid("source network %.60q: want an address and a length, as in 10.1.0.0/16", text)
		}
		a.Sources = append(a.Sources, n.Masked())
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, _ := s.Application(a.AppID)
		return cluster.PutApplication{Application: a, Was: old.Rev}, nil
	})
	if err != nil {
		return nil, err
	}
	a, _ = h.c.Live().Now().Application(a.AppID)
	return connect.NewResponse(&adminv1.PutApplicationResponse{Application: appView(a)}), nil
}

// DeleteApplication implements skein.admin.v1.
func (h tenants) DeleteApplication(ctx context.Context, r *connect.Request[adminv1.DeleteApplicationRequest]) (*connect.Response[adminv1.DeleteApplicationResponse], error) {
	id := cluster.AppID{Tenant: r.Msg.Tenant, ID: r.Msg.Id}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		a, ok := s.Application(id)
		if !ok {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the application %.160q does not exist", id))
		}
		return cluster.DeleteApplication{ID: id, Was: a.Rev}, nil
	})
	return connect.NewResponse(&adminv1.DeleteApplicationResponse{}), err
}

// ListLimits implements skein.admin.v1.
func (h tenants) ListLimits(ctx context.Context, r *connect.Request[adminv1.ListLimitsRequest]) (*connect.Response[adminv1.ListLimitsResponse], error) {
	s, res := h.c.Live().Now(), &adminv1.ListLimitsResponse{}
	for set := range s.LimitSets() {
		if r.Msg.Subject != "" && set.Subject != r.Msg.Subject || !sees(ctx, accessv1.Permission_PERMISSION_LIMITS_READ, s.TenantOf(set.Subject)) {
			continue
		}
		for _, l := range set.Limits {
			b := s.Balance(l.ID(set.Subject))
			v := &adminv1.LimitView{Subject: set.Subject, Spent: b.Spent, StartMs: b.Start,
				Limit: &adminv1.Limit{Meter: string(l.Meter), Window: string(l.Window), Amount: l.Amount, Model: l.Model}}
			for _, lease := range b.Leases {
				v.Leased += lease.Amount
			}
			res.Limits = append(res.Limits, v)
		}
	}
	return connect.NewResponse(res), nil
}

// sees says whether the caller may see with a permission what belongs to a tenant.
func sees(ctx context.Context, p access.Permission, tenant string) bool {
	return may(ctx, p, tenant, connect.NewError(connect.CodeNotFound, nil)) == nil
}

// SetLimits implements skein.admin.v1.
func (h tenants) SetLimits(ctx context.Context, r *connect.Request[adminv1.SetLimitsRequest]) (*connect.Response[adminv1.SetLimitsResponse], error) {
	set := cluster.LimitSet{Subject: r.Msg.Subject}
	for _, l := range r.Msg.Limits {
		set.Limits = append(set.Limits, cluster.Limited{Model: l.GetModel(), Limit: quota.Limit{Meter: quota.Meter(l.GetMeter()), Window: quota.Window(l.GetWindow()), Amount: l.GetAmount()}})
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		old, _ := s.Limits(set.Subject)
		return cluster.PutLimits{Set: set, Was: old.Rev}, nil
	})
	return connect.NewResponse(&adminv1.SetLimitsResponse{}), err
}
