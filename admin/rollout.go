package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/cluster"
)

type rollouts struct{ *Handler }

var _ adminv1connect.RolloutServiceHandler = rollouts{}

const modelsWrite = accessv1.Permission_PERMISSION_MODELS_WRITE

// What a guard looks at unless it says otherwise.
const (
	defaultGuardRequests = 50
	defaultGuardWindow   = 60 // seconds
)

// UpdateModel implements skein.admin.v1.
func (h rollouts) UpdateModel(ctx context.Context, r *connect.Request[adminv1.UpdateModelRequest]) (*connect.Response[adminv1.UpdateModelResponse], error) {
	asked, paths := r.Msg.GetModel(), r.Msg.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return nil, invalid("nothing to change: name fields in update_mask")
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		m := s.Model(asked.GetName())
		if err := mayModel(ctx, s, modelsWrite, m.Name); err != nil {
			return nil, err
		}
		for _, path := range paths {
			if err := h.amend(ctx, &m, asked, path); err != nil {
				return nil, err
			}
		}
		return cluster.PutModel{Model: m, Was: m.Rev}, nil
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&adminv1.UpdateModelResponse{Model: modelView(h.c.Live().Now().Model(asked.GetName()))}), nil
}

// amend takes one field of a request over into a record.
func (h rollouts) amend(ctx context.Context, m *cluster.Model, asked *adminv1.ModelRecord, path string) error {
	switch path {
	case "description":
		m.Description = asked.Description
	case "owner":
		if asked.Owner != m.Owner && !access.AllowsEverywhere(callerOf(ctx).Roles, modelsWrite) {
			return connect.NewError(connect.CodePermissionDenied, errors.New("a model is given to another tenant by those who keep the whole fleet"))
		}
		m.Owner = asked.Owner
	case "tags":
		m.Tags = asked.Tags
	case "labels":
		m.Labels = maps.Clone(asked.Labels)
	case "defaults":
		m.Defaults = defaultsOf(asked.Defaults)
	default:
		return invalid("update_mask: %.80q is no field that can be changed", path)
	}
	return nil
}

func defaultsOf(d *adminv1.Defaults) *cluster.Defaults {
	if d == nil || d.Temperature == nil && d.TopK == nil && d.TopP == nil && d.MaxTokens == nil {
		return nil
	}
	number := func(n *int32) *int {
		if n == nil {
			return nil
		}
		i := int(*n)
		return &i
	}
	return &cluster.Defaults{Temperature: d.Temperature, TopK: number(d.TopK), TopP: d.TopP, MaxTokens: number(d.MaxTokens)}
}

// DeleteModel implements skein.admin.v1. The versions and the alias of the model's name go in one transaction, or nothing does.
func (h rollouts) DeleteModel(ctx context.Context, r *connect.Request[adminv1.DeleteModelRequest]) (*connect.Response[adminv1.DeleteModelResponse], error) {
	s, name := h.c.Live().Now(), r.Msg.Name
	if err := mayModel(ctx, s, modelsWrite, name); err != nil {
		return nil, err
	}
	res := &adminv1.DeleteModelResponse{}
	var do []cluster.Command
	if a, ok := s.Alias(name); ok && a.Target.Model == name {
		do = append(do, cluster.DeleteAlias{Name: name, Was: a.Rev})
	}
	for v := range s.VersionsOf(name) {
		do = append(do, cluster.DeleteVersion{Version: v.VersionID, Was: v.Rev})
		res.Versions = append(res.Versions, v.VersionID.String())
	}
	switch {
	case len(res.Versions) == 0:
		return nil, unknownModel(name)
	case len(do) > cluster.MaxCommands:
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d versions, at most %d go at once: delete some by themselves first", len(res.Versions), cluster.MaxCommands-1))
	}
	return connect.NewResponse(res), h.do(ctx, do...)
}

// SetRollout implements skein.admin.v1.
func (h rollouts) SetRollout(ctx context.Context, r *connect.Request[adminv1.SetRolloutRequest]) (*connect.Response[adminv1.SetRolloutResponse], error) {
	paths := r.Msg.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		paths = []string{"canary", "shadow", "guard", "follow", "retire_after_s"}
	}
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		a, err := ownAlias(ctx, s, r.Msg.Alias)
		if err != nil {
			return nil, err
		}
		var next cluster.Rollout
		if a.Rollout != nil {
			next = *a.Rollout
		}
		for _, path := range paths {
			if err := rollOut(ctx, s, &next, r.Msg.Rollout, path); err != nil {
				return nil, err
			}
		}
		c := cluster.SetRollout{Name: a.Name, Rollout: &next, Force: r.Msg.Force, Accept: r.Msg.Accept, Was: a.Rev}
		if next == (cluster.Rollout{}) {
			c.Rollout = nil
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	a, err := alias(h.c.Live().Now(), r.Msg.Alias)
	return connect.NewResponse(&adminv1.SetRolloutResponse{Target: a.Target.String(), Rollout: rolloutView(a.Rollout)}), err
}

// rollOut takes one field of a request over into a rollout.
func rollOut(ctx context.Context, s cluster.State, next *cluster.Rollout, asked *adminv1.Rollout, path string) (err error) {
	switch path {
	case "canary":
		next.Canary, err = canaryOf(ctx, s, asked.GetCanary())
	case "shadow":
		next.Shadow, err = shadowOf(ctx, s, asked.GetShadow())
	case "guard":
		next.Guard, err = guardOf(asked.GetGuard())
	case "follow":
		next.Follow = asked.GetFollow()
	case "retire_after_s":
		next.Retire = int(asked.GetRetireAfterS())
	default:
		return invalid("update_mask: %.80q is no field of a rollout", path)
	}
	return err
}

func canaryOf(ctx context.Context, s cluster.State, asked *adminv1.Canary) (*cluster.Canary, error) {
	if asked == nil {
		return nil, nil
	}
	v, err := ownVersion(ctx, s, asked.Version)
	if err != nil {
		return nil, err
	}
	if asked.Percent == 0 && len(asked.Tenants) == 0 {
		return nil, invalid("canary: nobody goes to %s: give a percentage or tenants", v.VersionID)
	}
	for _, id := range asked.Tenants {
		if _, ok := s.Tenant(id); !ok || !sees(ctx, modelsWrite, id) {
			return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("the tenant %.80q does not exist", id))
		}
	}
	return &cluster.Canary{Version: v.VersionID, Percent: int(asked.Percent), Tenants: asked.Tenants}, nil
}

func shadowOf(ctx context.Context, s cluster.State, asked *adminv1.Shadow) (*cluster.Shadow, error) {
	if asked == nil {
		return nil, nil
	}
	v, err := ownVersion(ctx, s, asked.Version)
	return &cluster.Shadow{Version: v.VersionID, Percent: int(asked.Percent)}, err
}

func guardOf(asked *adminv1.Guard) (*cluster.Guard, error) {
	if asked == nil {
		return nil, nil
	}
	if asked.ErrorPercent == 0 && asked.P95Ms == 0 && asked.ParityPercent == 0 {
		return nil, invalid("guard: it watches nothing: limit errors, p95 or parity")
	}
	return &cluster.Guard{Requests: cmp.Or(int(asked.Requests), defaultGuardRequests), WindowSeconds: cmp.Or(int(asked.WindowS), defaultGuardWindow),
		ErrorPercent: int(asked.ErrorPercent), P95Millis: asked.P95Ms, ParityPercent: int(asked.ParityPercent)}, nil
}

// ownVersion finds a version of a model that the caller may change.
func ownVersion(ctx context.Context, s cluster.State, name string) (cluster.Version, error) {
	v, err := version(s, name)
	if err != nil {
		return v, err
	}
	return v, may(ctx, modelsWrite, s.Model(v.Model).Owner, unknownModel(name)) // in the caller's own words: an alias does not tell its target
}

// ownAlias finds an alias that points at a model that the caller may change.
func ownAlias(ctx context.Context, s cluster.State, name string) (cluster.Alias, error) {
	a, err := alias(s, name)
	if err != nil {
		return a, err
	}
	return a, may(ctx, modelsWrite, s.Model(a.Target.Model).Owner, unknownAlias(name))
}

// confined is the tenant whose things alone the caller may change with a permission; "" = those of all.
func confined(ctx context.Context, p access.Permission) string {
	c := callerOf(ctx)
	if access.AllowsEverywhere(c.Roles, p) {
		return ""
	}
	return cmp.Or(c.Tenant, "?") // no tenant's name: who has none may change nothing
}

// Promote implements skein.admin.v1. It is not proposed again if it was overtaken: another canary is not what was asked for.
func (h rollouts) Promote(ctx context.Context, r *connect.Request[adminv1.PromoteRequest]) (*connect.Response[adminv1.PromoteResponse], error) {
	a, err := ownAlias(ctx, h.c.Live().Now(), r.Msg.Alias)
	if err != nil {
		return nil, err
	}
	if a.Rollout == nil || a.Rollout.Canary == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("the alias %s has no canary to promote", a.Name))
	}
	to := a.Rollout.Canary.Version
	err = h.do(ctx, cluster.PutAlias{Name: a.Name, Target: to, Force: r.Msg.Force, Accept: r.Msg.Accept, Was: a.Rev})
	return connect.NewResponse(&adminv1.PromoteResponse{Target: to.String(), Before: a.Target.String()}), err
}

func modelView(m cluster.Model) *adminv1.ModelRecord {
	out := &adminv1.ModelRecord{Name: m.Name, Description: m.Description, Owner: m.Owner, Tags: slices.Clone(m.Tags), Labels: maps.Clone(m.Labels)}
	if d := m.Defaults; d != nil {
		number := func(n *int) *int32 {
			if n == nil {
				return nil
			}
			i := int32(*n)
			return &i
		}
		out.Defaults = &adminv1.Defaults{Temperature: d.Temperature, TopK: number(d.TopK), TopP: d.TopP, MaxTokens: number(d.MaxTokens)}
	}
	return out
}

func traitsView(t *cluster.Traits) *adminv1.Traits {
	if t == nil {
		return nil
	}
	return &adminv1.Traits{Inputs: t.Inputs, Labels: t.Labels, Vector: int32(t.Vector), Context: int32(t.Context), Template: t.Template, Tokenizer: t.Tokens}
}

func rolloutView(r *cluster.Rollout) *adminv1.Rollout {
	if r == nil {
		return nil
	}
	out := &adminv1.Rollout{Follow: r.Follow, RetireAfterS: int32(r.Retire)}
	if c := r.Canary; c != nil {
		out.Canary = &adminv1.Canary{Version: c.Version.String(), Percent: int32(c.Percent), Tenants: c.Tenants, SinceMs: int64(c.Since)}
	}
	if s := r.Shadow; s != nil {
		out.Shadow = &adminv1.Shadow{Version: s.Version.String(), Percent: int32(s.Percent)}
	}
	if g := r.Guard; g != nil {
		out.Guard = &adminv1.Guard{Requests: int32(g.Requests), WindowS: int32(g.WindowSeconds), ErrorPercent: int32(g.ErrorPercent), P95Ms: g.P95Millis, ParityPercent: int32(g.ParityPercent)}
	}
	return out
}

// unknownAlias says that an alias does not exist.
func unknownAlias(name string) error {
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("the alias %.128q does not exist", name))
}
