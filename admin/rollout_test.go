package admin_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// publisher makes a tenant, and a client with a key of its publisher.
func (r *rig) publisher(c *client.Client, tenant string) *client.Client {
	r.t.Helper()
	secret := wire.NewKey()
	r.Do(r.Leader(), cluster.PutTenant{Tenant: cluster.Tenant{ID: tenant, Weight: 100, Models: []string{"*"}}})
	r.Do(r.Leader(), cluster.PutKey{Key: cluster.Key{ID: wire.KeyID(secret), Hash: wire.SecretHash(secret), Name: tenant, Tenant: tenant, Roles: []access.Role{access.Publisher}}})
	r.known(wire.KeyID(secret))
	own, err := client.New(client.Profile{URL: c.Profile.URL, Key: secret})
	if err != nil {
		r.t.Fatal(err)
	}
	return own
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

// What is written about a model is changed field by field, and what makes no sense is refused.
func TestUpdateModel(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	r.publish("calc", 1)
	zero, many, most := 0.0, 1e9, int32(7)
	update := func(m *adminv1.ModelRecord, paths ...string) *adminv1.UpdateModelRequest {
		m.Name = "calc"
		return &adminv1.UpdateModelRequest{Model: m, UpdateMask: mask(paths...)}
	}
	want(t, 0, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{Description: "adds", Tags: []string{"a", "b"}, Labels: map[string]string{"k": "v"},
		Defaults: &adminv1.Defaults{Temperature: &zero, MaxTokens: &most}}, "description", "tags", "labels", "defaults"))
	want(t, 0, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{Description: "sorts"}, "tags"))
	want(t, connect.CodeInvalidArgument, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{Description: "sorts"}))
	want(t, connect.CodeInvalidArgument, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{}, "name"))
	want(t, connect.CodeInvalidArgument, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{Defaults: &adminv1.Defaults{Temperature: &many}}, "defaults"))
	want(t, connect.CodeNotFound, c.Rollouts.UpdateModel, update(&adminv1.ModelRecord{Owner: "nobody"}, "owner"))
	want(t, connect.CodeNotFound, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "nothing"}, UpdateMask: mask("tags")})
	want(t, connect.CodeInvalidArgument, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{})
	m := r.Leader().Live().Now().Model("calc")
	if m.Description != "adds" || len(m.Tags) != 0 || m.Labels["k"] != "v" || m.Defaults == nil || *m.Defaults.Temperature != 0 || m.Defaults.TopK != nil || *m.Defaults.MaxTokens != 7 {
		t.Errorf("%+v", m)
	}
	list, err := c.Models.ListModels(t.Context(), connect.NewRequest(&adminv1.ListModelsRequest{}))
	if err != nil || len(list.Msg.Models) != 1 || list.Msg.Models[0].GetDefaults().GetMaxTokens() != 7 {
		t.Errorf("%v, %v", list, err)
	}
}

// A rollout is changed part by part; DeleteModel takes all of a model or nothing.
func TestSetRollout(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	one, two := r.publish("calc", 1), r.publish("calc", 2)
	set := func(o *adminv1.Rollout, paths ...string) *adminv1.SetRolloutRequest {
		return &adminv1.SetRolloutRequest{Alias: "calc", Rollout: o, UpdateMask: mask(paths...)}
	}
	want(t, 0, c.Rollouts.SetRollout, set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2", Percent: 5}, Guard: &adminv1.Guard{P95Ms: 100}}))
	want(t, 0, c.Rollouts.SetRollout, set(&adminv1.Rollout{Shadow: &adminv1.Shadow{Version: "calc@2", Percent: 9}, Follow: true}, "shadow", "follow"))
	a, _ := r.Leader().Live().Now().Alias("calc")
	if o := a.Rollout; o == nil || o.Canary == nil || o.Canary.Version != two || o.Guard == nil || *o.Guard != (cluster.Guard{Requests: 50, WindowSeconds: 60, P95Millis: 100}) || o.Shadow == nil || !o.Follow {
		t.Fatalf("%+v", a.Rollout)
	}
	for what, bad := range map[string]*adminv1.SetRolloutRequest{
		"nobody":     set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2"}}),
		"too much":   set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2", Percent: 101}}),
		"the target": set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@1", Percent: 5}}),
		"no shadow":  set(&adminv1.Rollout{Shadow: &adminv1.Shadow{Version: "calc@2"}}),
		"blind":      set(&adminv1.Rollout{Guard: &adminv1.Guard{Requests: 5}}),
		"a field":    set(&adminv1.Rollout{}, "target"),
	} {
		if got, err := call(t, c.Rollouts.SetRollout, bad); got != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	want(t, connect.CodeNotFound, c.Rollouts.SetRollout, set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2", Tenants: []string{"nobody"}}}))
	want(t, connect.CodeNotFound, c.Rollouts.SetRollout, set(&adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@9", Percent: 5}}))

	want(t, connect.CodeFailedPrecondition, c.Models.DeleteVersion, &adminv1.DeleteVersionRequest{Version: "calc@2"}) // it is tried out
	want(t, 0, c.Rollouts.Promote, &adminv1.PromoteRequest{Alias: "calc"})
	want(t, connect.CodeFailedPrecondition, c.Rollouts.Promote, &adminv1.PromoteRequest{Alias: "calc"})
	if a, _ = r.Leader().Live().Now().Alias("calc"); a.Target != two || a.History[0] != one || a.Rollout.Canary != nil {
		t.Errorf("%+v", a)
	}
	want(t, 0, c.Rollouts.SetRollout, set(nil))
	if a, _ = r.Leader().Live().Now().Alias("calc"); a.Rollout != nil {
		t.Errorf("an ended rollout: %+v", a.Rollout)
	}

	want(t, 0, c.Models.SetAlias, &adminv1.SetAliasRequest{Name: "other", Version: "calc@1"})
	want(t, connect.CodeFailedPrecondition, c.Rollouts.DeleteModel, &adminv1.DeleteModelRequest{Name: "calc"})
	if _, ok := r.Leader().Live().Now().Version(two); !ok {
		t.Error("a part of the model is gone")
	}
	want(t, 0, c.Models.DeleteAlias, &adminv1.DeleteAliasRequest{Name: "other"})
	want(t, 0, c.Rollouts.DeleteModel, &adminv1.DeleteModelRequest{Name: "calc"})
	want(t, connect.CodeNotFound, c.Rollouts.DeleteModel, &adminv1.DeleteModelRequest{Name: "calc"})
	s := r.Leader().Live().Now()
	if _, ok := s.Alias("calc"); ok || s.NextNumber("calc") != 3 {
		t.Error("the alias is left, or numbers are given again")
	}
}

// A tenant's publishers keep that tenant's models, and find no others.
func TestModelsOfATenant(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	ours := r.publish("ours", 1)
	r.publish("ours", 2)
	r.publish("theirs", 1)
	acme, globex := r.publisher(c, "acme"), r.publisher(c, "globex")
	for model, owner := range map[string]string{"ours": "acme", "theirs": "globex"} {
		want(t, 0, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: model, Owner: owner}, UpdateMask: mask("owner")})
	}

	want(t, 0, acme.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "ours", Description: "adds"}, UpdateMask: mask("description")})
	want(t, connect.CodePermissionDenied, acme.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "ours", Owner: "globex"}, UpdateMask: mask("owner")})
	want(t, 0, acme.Models.SetAlias, &adminv1.SetAliasRequest{Name: "sums", Version: "ours@1"})
	want(t, 0, acme.Rollouts.SetRollout, &adminv1.SetRolloutRequest{Alias: "ours", Rollout: &adminv1.Rollout{Canary: &adminv1.Canary{Version: "ours@2", Percent: 5}}})
	want(t, 0, acme.Rollouts.Promote, &adminv1.PromoteRequest{Alias: "ours"})
	want(t, 0, acme.Models.RollbackAlias, &adminv1.RollbackAliasRequest{Name: "ours"})

	before := r.Leader().Live().Now()
	for what, call := range map[string]func() error{
		"update": func() error {
			_, err := globex.Rollouts.UpdateModel(t.Context(), connect.NewRequest(&adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: "ours"}, UpdateMask: mask("tags")}))
			return err
		},
		"delete": func() error {
			_, err := globex.Rollouts.DeleteModel(t.Context(), connect.NewRequest(&adminv1.DeleteModelRequest{Name: "ours"}))
			return err
		},
		"version": func() error {
			_, err := globex.Models.DeleteVersion(t.Context(), connect.NewRequest(&adminv1.DeleteVersionRequest{Version: "ours@2"}))
			return err
		},
		"rollout": func() error {
			_, err := globex.Rollouts.SetRollout(t.Context(), connect.NewRequest(&adminv1.SetRolloutRequest{Alias: "ours"}))
			return err
		},
		"promote": func() error {
			_, err := globex.Rollouts.Promote(t.Context(), connect.NewRequest(&adminv1.PromoteRequest{Alias: "ours"}))
			return err
		},
		"rollback": func() error {
			_, err := globex.Models.RollbackAlias(t.Context(), connect.NewRequest(&adminv1.RollbackAliasRequest{Name: "ours"}))
			return err
		},
		"unalias": func() error {
			_, err := globex.Models.DeleteAlias(t.Context(), connect.NewRequest(&adminv1.DeleteAliasRequest{Name: "ours"}))
			return err
		},
		"steal a name": func() error {
			_, err := globex.Models.SetAlias(t.Context(), connect.NewRequest(&adminv1.SetAliasRequest{Name: "ours", Version: "theirs@1"}))
			return err
		},
		"use a version": func() error {
			_, err := globex.Models.SetAlias(t.Context(), connect.NewRequest(&adminv1.SetAliasRequest{Name: "mine", Version: "ours@1"}))
			return err
		},
		"shadow a version": func() error {
			_, err := globex.Rollouts.SetRollout(t.Context(), connect.NewRequest(&adminv1.SetRolloutRequest{Alias: "theirs", Rollout: &adminv1.Rollout{Shadow: &adminv1.Shadow{Version: "ours@1", Percent: 5}}}))
			return err
		},
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("%s what is another tenant's: %v", what, err)
		}
	}
	if after := r.Leader().Live().Now(); after.Model("ours").Rev != before.Model("ours").Rev {
		t.Error("what was refused changed something")
	}
	a, _ := r.Leader().Live().Now().Alias("ours")
	if a.Target != ours || len(a.History) != 0 {
		t.Errorf("after a promotion and a rollback: %+v", a)
	}
}
