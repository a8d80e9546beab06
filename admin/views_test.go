package admin_test

import (
	"fmt"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/view"
)

// A tenant's publisher keeps the tenant's views, version by version, and neither sees nor changes another's.
func TestViews(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	as := map[string]*client.Client{}
	for _, tenant := range []string{"acme", "other"} {
		want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: tenant}})
		for _, role := range []string{"publisher", "caller"} {
			_, as[tenant+" "+role] = r.key(c, &adminv1.CreateKeyRequest{Name: tenant + role, Tenant: tenant, Roles: []string{role}})
		}
	}
	publisher := as["acme publisher"]
	definition := func(name string) string {
		return fmt.Sprintf(`{"format":"json","fields":[{"name":%q,"pointer":"/x"}]}`, name)
	}
	for i := range view.MaxVersions + 2 {
		res, err := publisher.Views.PutView(t.Context(), connect.NewRequest(&adminv1.PutViewRequest{Name: "flat", Definition: definition(fmt.Sprint("f", i)), Models: []string{"calc"}}))
		if err != nil || int(res.Msg.View.Version) != i+1 || res.Msg.View.Tenant != "acme" {
			t.Fatalf("%v, %v", res, err)
		}
	}
	for who, wants := range map[string]int{"acme publisher": 1, "acme caller": 1, "other publisher": 0, "other caller": 0} {
		res, err := as[who].Views.ListViews(t.Context(), connect.NewRequest(&adminv1.ListViewsRequest{}))
		if err != nil || len(res.Msg.Views) != wants {
			t.Errorf("%s sees %v, %v", who, res, err)
		}
	}
	if res, err := as["other publisher"].Views.ListViews(t.Context(), connect.NewRequest(&adminv1.ListViewsRequest{Tenant: "acme"})); err != nil || len(res.Msg.Views) != 0 {
		t.Errorf("another tenant's by its name: %v, %v", res, err)
	}
	all, err := publisher.Views.ListViews(t.Context(), connect.NewRequest(&adminv1.ListViewsRequest{AllVersions: true}))
	if err != nil || len(all.Msg.Views) != view.MaxVersions || all.Msg.Views[0].Version != 3 {
		t.Errorf("%v, %v", all, err)
	}

	want(t, connect.CodePermissionDenied, as["acme caller"].Views.PutView, &adminv1.PutViewRequest{Name: "own", Definition: definition("a")})
	want(t, connect.CodeNotFound, as["other publisher"].Views.PutView, &adminv1.PutViewRequest{Tenant: "acme", Name: "flat", Definition: definition("a")})
	want(t, connect.CodeNotFound, as["other publisher"].Views.DeleteView, &adminv1.DeleteViewRequest{Tenant: "acme", Name: "flat"})
	want(t, connect.CodeNotFound, as["other publisher"].Views.DeleteView, &adminv1.DeleteViewRequest{Name: "flat"})
	want(t, connect.CodeNotFound, c.Views.PutView, &adminv1.PutViewRequest{Tenant: "none", Name: "flat", Definition: definition("a")})
	for what, bad := range map[string]*adminv1.PutViewRequest{
		"no name":          {Definition: definition("a")},
		"a name with /":    {Name: "a/b", Definition: definition("a")},
		"no definition":    {Name: "a"},
		"an unknown field": {Name: "a", Definition: `{"format":"json","fields":[{"name":"a","pointer":"","colour":1}]}`},
		"no fields":        {Name: "a", Definition: `{"format":"json"}`},
		"half a pattern":   {Name: "a", Definition: definition("a"), Models: []string{"calc*"}},
	} {
		if got, err := call(t, publisher.Views.PutView, bad); got != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}

	try := &adminv1.TryViewRequest{Definition: definition("a"), Answer: `{"x":9007199254740993}`}
	if res, err := publisher.Views.TryView(t.Context(), connect.NewRequest(try)); err != nil || res.Msg.Text != `{"a":9007199254740993}` || res.Msg.ContentType != "application/json" {
		t.Errorf("%v, %v", res, err)
	}
	want(t, connect.CodePermissionDenied, as["acme caller"].Views.TryView, try)
	want(t, connect.CodeInvalidArgument, publisher.Views.TryView, &adminv1.TryViewRequest{Definition: definition("a"), Answer: `{"x":`})
	want(t, connect.CodeFailedPrecondition, publisher.Views.TryView, &adminv1.TryViewRequest{Definition: `{"format":"csv","rows":"/x","fields":[{"name":"a","pointer":""}]}`, Answer: `{}`})

	want(t, 0, publisher.Views.DeleteView, &adminv1.DeleteViewRequest{Name: "flat"})
	want(t, connect.CodeNotFound, publisher.Views.DeleteView, &adminv1.DeleteViewRequest{Name: "flat"})
}
