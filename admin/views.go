package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/alert/kept"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/view"
)

type views struct{ *Handler }

var _ adminv1connect.ViewServiceHandler = views{}

const (
	viewsRead  = accessv1.Permission_PERMISSION_VIEWS_READ
	viewsWrite = accessv1.Permission_PERMISSION_VIEWS_WRITE
)

// ListViews implements skein.admin.v1.
func (h views) ListViews(ctx context.Context, r *connect.Request[adminv1.ListViewsRequest]) (*connect.Response[adminv1.ListViewsResponse], error) {
	s, res := h.c.Live().Now(), &adminv1.ListViewsResponse{}
	for d := range s.Documents(cluster.AnswerView) {
		tenant, name, _ := strings.Cut(d.ID, "/")
		if r.Msg.Tenant != "" && tenant != r.Msg.Tenant || !sees(ctx, viewsRead, tenant) {
			continue
		}
		k, err := kept.Read[view.Kept](d)
		if err != nil {
			return nil, err
		}
		for i, v := range k.Versions {
			if r.Msg.AllVersions || i == len(k.Versions)-1 {
				shown, err := viewOf(tenant, name, k, v)
				if err != nil {
					return nil, err
				}
				res.Views = append(res.Views, shown)
			}
		}
	}
	return connect.NewResponse(res), nil
}

func viewOf(tenant, name string, k view.Kept, v view.Version) (*adminv1.View, error) {
	definition, err := json.Marshal(v.View)
	return &adminv1.View{Tenant: tenant, Name: name, Version: int32(v.Number), AtMs: v.At, Models: k.Models, Operations: k.Operations, Definition: string(definition)}, err
}

// PutView implements skein.admin.v1.
func (h views) PutView(ctx context.Context, r *connect.Request[adminv1.PutViewRequest]) (*connect.Response[adminv1.PutViewResponse], error) {
	definition, err := parse[view.View]("view", r.Msg.Definition)
	if err != nil {
		return nil, err
	}
	if !view.ValidName(r.Msg.Name) {
		return nil, invalid("the name %.80q is not 1 to 64 letters, digits, '.', '_' and '-'", r.Msg.Name)
	}
	tenant := ownTenant(ctx, r.Msg.Tenant)
	if err := may(ctx, viewsWrite, tenant, unknownTenant(tenant)); err != nil {
		return nil, err
	}
	var made view.Kept
	err = h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		if _, ok := s.Tenant(tenant); !ok {
			return nil, unknownTenant(tenant)
		}
		old, found := s.Document(cluster.DocumentID{Kind: cluster.AnswerView, ID: view.ID(tenant, r.Msg.Name)})
		made = view.Kept{}
		if found {
			if made, err = kept.Read[view.Kept](old); err != nil {
				return nil, err
			}
		}
		made.Models, made.Operations = r.Msg.Models, r.Msg.Operations
		made = made.Next(definition, int64(h.now()))
		if err := made.Validate(); err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		doc, err := kept.Document(cluster.AnswerView, view.ID(tenant, r.Msg.Name), made)
		return cluster.PutDocument{Document: doc, Was: old.Rev}, err
	})
	if err != nil {
		return nil, err
	}
	newest, _ := made.Of(0)
	shown, err := viewOf(tenant, r.Msg.Name, made, newest)
	return connect.NewResponse(&adminv1.PutViewResponse{View: shown}), err
}

// DeleteView implements skein.admin.v1.
func (h views) DeleteView(ctx context.Context, r *connect.Request[adminv1.DeleteViewRequest]) (*connect.Response[adminv1.DeleteViewResponse], error) {
	tenant := ownTenant(ctx, r.Msg.Tenant)
	if err := may(ctx, viewsWrite, tenant, unknownTenant(tenant)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.DeleteViewResponse{}), h.drop(ctx, cluster.AnswerView, view.ID(tenant, r.Msg.Name))
}

// TryView implements skein.admin.v1.
func (h views) TryView(_ context.Context, r *connect.Request[adminv1.TryViewRequest]) (*connect.Response[adminv1.TryViewResponse], error) {
	definition, err := parse[view.View]("view", r.Msg.Definition)
	if err != nil {
		return nil, err
	}
	c, err := definition.Compile()
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	var in view.Input
	for _, part := range []struct {
		what, text string
		to         *any
	}{{"answer", r.Msg.Answer, &in.Answer}, {"request", r.Msg.Request, &in.Request}, {"call", r.Msg.Call, &in.Call}} {
		if *part.to, err = view.Decode([]byte(part.text)); err != nil {
			return nil, invalid("%s: %v", part.what, err)
		}
	}
	out, err := c.Apply(in)
	if errors.As(err, new(view.Unfit)) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewResponse(&adminv1.TryViewResponse{ContentType: c.Format().ContentType(), Text: string(out)}), err
}

// ownTenant is the tenant that a request names, else the caller's.
func ownTenant(ctx context.Context, named string) string {
	if named == "" {
		return callerOf(ctx).Tenant
	}
	return named
}

func unknownTenant(id string) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("the tenant %.128q does not exist", id))
}
