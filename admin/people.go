package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/people"
)

// tenantHeader is where a person says in whose name a call is made.
const tenantHeader = "Skein-Tenant"

type persons struct{ *Handler }

var _ adminv1connect.PeopleServiceHandler = persons{}

// folk are the people that the cluster's providers vouch for, as the state says.
type folk struct {
	verifier *people.Verifier

	mu        sync.Mutex
	providers decoded[people.Provider]
	bindings  decoded[people.Binding]
}

// LetPeopleIn makes the operator's API take ID tokens, besides keys. It is called before the API is served.
func (h *Handler) LetPeopleIn(v *people.Verifier) { h.folk.verifier = v }

// decoded are the documents of a kind, each read once for every change of it.
type decoded[T any] map[string]revised[T]

type revised[T any] struct {
	rev   cluster.Index
	value T
}

// update reads what has changed, and gives all values by id.
func (d *decoded[T]) update(s cluster.State, k cluster.Kind) (all []T) {
	next := decoded[T]{}
	for doc := range s.Documents(k) {
		v, ok := (*d)[doc.ID]
		if !ok || v.rev != doc.Rev {
			v = revised[T]{rev: doc.Rev}
			if json.Unmarshal(doc.Body, &v.value) != nil {
				continue // a later program's: it grants nothing here
			}
		}
		next[doc.ID] = v
		all = append(all, v.value)
	}
	*d = next
	return all
}

func (f *folk) known(s cluster.State) ([]people.Provider, []people.Binding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.providers.update(s, cluster.Provider), f.bindings.update(s, cluster.RoleBinding)
}

// person finds who presents an ID token, and what the state gives that person.
func (h *Handler) person(ctx context.Context, token string, header http.Header) (cluster.Principal, error) {
	if h.folk.verifier == nil {
		return cluster.Principal{}, errors.New("people are not let in here: use a key")
	}
	s := h.c.Live().Now()
	providers, bindings := h.folk.known(s)
	who, err := h.folk.verifier.Verify(ctx, providers, token)
	switch {
	case errors.Is(err, people.ErrAway):
		return cluster.Principal{}, connect.NewError(connect.CodeUnavailable, err)
	case err != nil:
		return cluster.Principal{}, err
	}
	p := cluster.Principal{Person: who.String(), Tenant: cluster.DefaultTenant}
	g, ok := people.GrantOf(who, bindings, header.Get(tenantHeader))
	if !ok {
		return p, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s has no role here", p))
	}
	if g.Tenant != "" {
		p.Tenant = g.Tenant
	}
	if t, ok := s.Tenant(p.Tenant); !ok || t.Disabled {
		return p, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("the tenant %.64q does not exist or is disabled", p.Tenant))
	}
	p.Roles = g.Roles
	return p, nil
}

// WhoAmI implements skein.admin.v1.
func (h persons) WhoAmI(ctx context.Context, _ *connect.Request[adminv1.WhoAmIRequest]) (*connect.Response[adminv1.WhoAmIResponse], error) {
	c := callerOf(ctx)
	res := &adminv1.WhoAmIResponse{Name: c.String(), Tenant: c.Tenant, Application: c.App, Key: c.Key, Person: c.Person}
	for _, r := range c.Roles {
		res.Roles = append(res.Roles, string(r))
	}
	all := accessv1.Permission(0).Descriptor().Values()
	for i := range all.Len() {
		if p := access.Permission(all.Get(i).Number()); c.May(p) {
			res.Permissions = append(res.Permissions, permission(p))
		}
	}
	return connect.NewResponse(res), nil
}

// ListProviders implements skein.admin.v1.
func (h persons) ListProviders(context.Context, *connect.Request[adminv1.ListProvidersRequest]) (*connect.Response[adminv1.ListProvidersResponse], error) {
	res := &adminv1.ListProvidersResponse{}
	for doc := range h.c.Live().Now().Documents(cluster.Provider) {
		var p people.Provider
		if json.Unmarshal(doc.Body, &p) == nil {
			res.Providers = append(res.Providers, &adminv1.Provider{Id: doc.ID, Issuer: p.Issuer, ClientId: p.ClientID, Audience: p.Audience, Groups: p.Groups})
		}
	}
	return connect.NewResponse(res), nil
}

// PutProvider implements skein.admin.v1.
func (h persons) PutProvider(ctx context.Context, r *connect.Request[adminv1.PutProviderRequest]) (*connect.Response[adminv1.PutProviderResponse], error) {
	in := r.Msg.GetProvider()
	p := people.Provider{Issuer: in.GetIssuer(), ClientID: in.GetClientId(), Audience: in.GetAudience(), Groups: in.GetGroups()}
	if err := p.Validate(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return connect.NewResponse(&adminv1.PutProviderResponse{}), h.put(ctx, cluster.Provider, in.GetId(), p)
}

// DeleteProvider implements skein.admin.v1.
func (h persons) DeleteProvider(ctx context.Context, r *connect.Request[adminv1.DeleteProviderRequest]) (*connect.Response[adminv1.DeleteProviderResponse], error) {
	return connect.NewResponse(&adminv1.DeleteProviderResponse{}), h.drop(ctx, cluster.Provider, r.Msg.Id)
}

// ListBindings implements skein.admin.v1.
func (h persons) ListBindings(context.Context, *connect.Request[adminv1.ListBindingsRequest]) (*connect.Response[adminv1.ListBindingsResponse], error) {
	res := &adminv1.ListBindingsResponse{}
	for doc := range h.c.Live().Now().Documents(cluster.RoleBinding) {
		var b people.Binding
		if json.Unmarshal(doc.Body, &b) != nil {
			continue
		}
		v := &adminv1.Binding{Id: doc.ID, Issuer: b.Issuer, Subject: b.Subject, Email: b.Email, Group: b.Group, Tenant: b.Tenant}
		for _, role := range b.Roles {
			v.Roles = append(v.Roles, string(role))
		}
		res.Bindings = append(res.Bindings, v)
	}
	return connect.NewResponse(res), nil
}

// PutBinding implements skein.admin.v1. The provider and the tenant that it names must be there: a slip of the pen is found now.
func (h persons) PutBinding(ctx context.Context, r *connect.Request[adminv1.PutBindingRequest]) (*connect.Response[adminv1.PutBindingResponse], error) {
	in := r.Msg.GetBinding()
	b := people.Binding{Issuer: in.GetIssuer(), Subject: in.GetSubject(), Email: in.GetEmail(), Group: in.GetGroup(), Tenant: in.GetTenant()}
	for _, role := range in.GetRoles() {
		b.Roles = append(b.Roles, access.Role(strings.TrimSpace(role)))
	}
	if err := b.Validate(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	s := h.c.Live().Now()
	providers, _ := h.folk.known(s)
	if !slices.ContainsFunc(providers, func(p people.Provider) bool { return p.Issuer == b.Issuer }) {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("no provider has the issuer %.255q", b.Issuer))
	}
	if _, ok := s.Tenant(b.Tenant); b.Tenant != "" && !ok {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the tenant %.64q does not exist", b.Tenant))
	}
	return connect.NewResponse(&adminv1.PutBindingResponse{}), h.put(ctx, cluster.RoleBinding, in.GetId(), b)
}

// DeleteBinding implements skein.admin.v1.
func (h persons) DeleteBinding(ctx context.Context, r *connect.Request[adminv1.DeleteBindingRequest]) (*connect.Response[adminv1.DeleteBindingResponse], error) {
	return connect.NewResponse(&adminv1.DeleteBindingResponse{}), h.drop(ctx, cluster.RoleBinding, r.Msg.Id)
}
