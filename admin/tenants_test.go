package admin_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/wire"
)

// key makes a key that every coordinator knows, and its client.
func (r *rig) key(c *client.Client, req *adminv1.CreateKeyRequest) (id string, as *client.Client) {
	r.t.Helper()
	res, err := c.Cluster.CreateKey(r.t.Context(), connect.NewRequest(req))
	if err != nil {
		r.t.Fatal(err)
	}
	r.known(res.Msg.Id)
	as, err = client.New(client.Profile{URL: c.Profile.URL, Key: res.Msg.Key})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Msg.Id, as
}

// known waits until every coordinator knows a key.
func (r *rig) known(id string) {
	r.t.Helper()
	fleettest.Within(r.t, "every coordinator knows the key", func() bool {
		return !slices.ContainsFunc(r.Running(), func(c *fleettest.Coordinator) bool {
			_, ok := c.Live().Now().Key(id)
			return !ok
		})
	})
}

// refused is what a key is refused with now; "" = it is valid.
func refused(r *rig, id string) cluster.Refusal {
	s := r.Leader().Live().Now()
	k, ok := s.Key(id)
	if !ok {
		return cluster.KeyUnknown
	}
	_, why := s.Admit(k.Hash, cluster.Millis(time.Now().UnixMilli()), netip.Addr{})
	return why
}

// Every role may call exactly what the table says, whatever a new RPC is called.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	leader := r.api(r.Leader())
	needs := access.Of(files()...)
	for _, role := range access.Roles() {
		_, as := r.key(leader, &adminv1.CreateKeyRequest{Name: string(role), Roles: []string{string(role)}})
		for p, stream := range rpcs() {
			need, ok := needs.Requires(p)
			allowed := ok && access.Allows([]access.Role{role}, need)
			got := code(t.Context(), as.HTTP, leader.Profile.URL+p, stream, "Bearer "+as.Profile.Key)
			if (got == connect.CodePermissionDenied) == allowed || got == connect.CodeUnauthenticated {
				t.Errorf("%s calls %s: %v, allowed %v", role, p, got, allowed)
			}
		}
	}
}

func TestTenants(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	for range 2 { // changing is like creating
		want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "acme", Name: "Acme", Models: []string{"calc", "team/*"}}})
		want(t, 0, c.Tenants.PutApplication, &adminv1.PutApplicationRequest{Application: &adminv1.Application{Tenant: "acme", Id: "portal", Models: []string{"*"}, Sources: []string{"10.1.2.3/8"}}})
	}
	want(t, connect.CodeInvalidArgument, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "a b"}})
	want(t, connect.CodeInvalidArgument, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "a", Weight: -1}})
	want(t, connect.CodeInvalidArgument, c.Tenants.PutTenant, &adminv1.PutTenantRequest{})
	want(t, connect.CodeInvalidArgument, c.Tenants.PutApplication, &adminv1.PutApplicationRequest{Application: &adminv1.Application{Tenant: "acme", Id: "x", Sources: []string{"10.0.0.0"}}})
	want(t, connect.CodeNotFound, c.Tenants.PutApplication, &adminv1.PutApplicationRequest{Application: &adminv1.Application{Tenant: "none", Id: "x"}})
	list, err := c.Tenants.ListTenants(t.Context(), connect.NewRequest(&adminv1.ListTenantsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if n := list.Msg; len(n.Tenants) != 2 || n.Tenants[0].Weight != 100 || n.Tenants[0].Id != "acme" && n.Tenants[1].Id != "acme" || len(n.Applications) != 1 || n.Applications[0].Sources[0] != "10.0.0.0/8" {
		t.Errorf("%v", n)
	}

	id, _ := r.key(c, &adminv1.CreateKeyRequest{Name: "one", Tenant: "acme"})
	app, _ := r.key(c, &adminv1.CreateKeyRequest{Name: "two", Tenant: "acme", Application: "portal"})
	want(t, connect.CodeNotFound, c.Cluster.CreateKey, &adminv1.CreateKeyRequest{Tenant: "none"})
	want(t, connect.CodeInvalidArgument, c.Cluster.CreateKey, &adminv1.CreateKeyRequest{Roles: []string{"king"}})
	want(t, connect.CodeInvalidArgument, c.Cluster.CreateKey, &adminv1.CreateKeyRequest{TtlSeconds: -1})
	if why := refused(r, id); why != "" {
		t.Error(why)
	}
	if why := refused(r, app); why != cluster.SourceWrong {
		t.Error(why)
	}

	want(t, 0, c.Tenants.SetLimits, &adminv1.SetLimitsRequest{Subject: "tenant/acme", Limits: []*adminv1.Limit{{Meter: "requests", Window: "day", Amount: 9}, {Meter: "concurrent", Amount: 1, Model: "calc"}}})
	want(t, connect.CodeInvalidArgument, c.Tenants.SetLimits, &adminv1.SetLimitsRequest{Subject: "tenant/acme", Limits: []*adminv1.Limit{{Meter: "moons", Window: "day", Amount: 9}}})
	want(t, connect.CodeNotFound, c.Tenants.SetLimits, &adminv1.SetLimitsRequest{Subject: "tenant/none", Limits: []*adminv1.Limit{{Meter: "requests", Window: "day", Amount: 9}}})
	want(t, 0, c.Tenants.SetLimits, &adminv1.SetLimitsRequest{Subject: "total", Limits: []*adminv1.Limit{{Meter: "tokens", Window: "minute", Amount: 1000}}})

	// Who belongs to a tenant sees its own limits, and nobody's else.
	_, publisher := r.key(c, &adminv1.CreateKeyRequest{Name: "p", Tenant: "acme", Roles: []string{"publisher"}})
	limits, err := publisher.Tenants.ListLimits(t.Context(), connect.NewRequest(&adminv1.ListLimitsRequest{}))
	if err != nil || len(limits.Msg.Limits) != 2 || limits.Msg.Limits[0].Subject != "tenant/acme" {
		t.Errorf("%v %v", limits, err)
	}

	want(t, 0, c.Tenants.DeleteApplication, &adminv1.DeleteApplicationRequest{Tenant: "acme", Id: "portal"})
	want(t, connect.CodeNotFound, c.Tenants.DeleteApplication, &adminv1.DeleteApplicationRequest{Tenant: "acme", Id: "portal"})
	want(t, 0, c.Tenants.DeleteTenant, &adminv1.DeleteTenantRequest{Id: "acme"})
	for _, key := range []string{id, app} {
		if why := refused(r, key); why != cluster.KeyUnknown {
			t.Errorf("%s: %q", key, why)
		}
	}
}

// A key that is rotated works on for the overlap, its follower has the same rights, and there is never a moment without either.
func TestRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	old, _ := r.key(c, &adminv1.CreateKeyRequest{Name: "one", Roles: []string{"operator"}, Models: []string{"calc"}})
	rotate := func(id string, overlap time.Duration) (string, *client.Client) {
		res, err := c.Cluster.RotateKey(t.Context(), connect.NewRequest(&adminv1.RotateKeyRequest{Id: id, OverlapSeconds: int64(overlap.Seconds())}))
		if err != nil {
			t.Fatal(err)
		}
		as, err := client.New(client.Profile{URL: c.Profile.URL, Key: res.Msg.Key})
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Id, as
	}
	next, as := rotate(old, time.Hour)
	if refused(r, old) != "" || refused(r, next) != "" {
		t.Error("one of both is refused")
	}
	want(t, 0, as.Nodes.ListNodes, &adminv1.ListNodesRequest{})
	s := r.Leader().Live().Now()
	was, _ := s.Key(old)
	is, _ := s.Key(next)
	if is.Replaces != old || is.Models[0] != "calc" || was.Expires == 0 || is.Expires != 0 {
		t.Errorf("%+v follows %+v", is, was)
	}
	if _, why := s.Admit(was.Hash, was.Expires, netip.Addr{}); why != cluster.KeyExpired {
		t.Errorf("after the overlap: %q", why)
	}
	last, _ := rotate(next, 0)
	if refused(r, next) != cluster.KeyRevoked || refused(r, last) != "" {
		t.Error("without overlap the old one ends at once")
	}
	want(t, connect.CodeFailedPrecondition, c.Cluster.RotateKey, &adminv1.RotateKeyRequest{Id: next})
	want(t, connect.CodeNotFound, c.Cluster.RotateKey, &adminv1.RotateKeyRequest{Id: "sk-none"})
	want(t, connect.CodeInvalidArgument, c.Cluster.RotateKey, &adminv1.RotateKeyRequest{Id: last, OverlapSeconds: 1 << 40})
}

// What gateways settled is on the bill, of everybody for who keeps the fleet, and of its own for a tenant.
func TestUsage(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "acme", Models: []string{"*"}}})
	_, publisher := r.key(c, &adminv1.CreateKeyRequest{Name: "p", Tenant: "acme", Roles: []string{"publisher"}})
	v := cluster.VersionID{Model: "calc", Number: 1}
	used := func(tenant string, calls int64) cluster.Used {
		return cluster.Used{Tenant: tenant, Key: "sk-1", Version: v, Amounts: cluster.Amounts{Calls: calls, Prompt: 1000 * calls, Answer: 10}}
	}
	r.Do(r.Leader(), cluster.Settle{Gateway: r.ID(r.Leader()), Session: 1, Seq: 1, Usage: []cluster.Used{used("acme", 2), used("default", 3), used("acme", 5)}})
	want(t, connect.CodeInvalidArgument, c.Usage.SetPrices, &adminv1.SetPricesRequest{Currency: "EUR", Prices: []*adminv1.Price{{Model: "*", ThousandCalls: -1}}})
	want(t, 0, c.Usage.SetPrices, &adminv1.SetPricesRequest{Currency: "EUR", Prices: []*adminv1.Price{{Model: "*", ThousandCalls: 1_000_000}}})
	usage := func(c *client.Client, req *adminv1.GetUsageRequest) []*adminv1.UsageRow {
		res, err := c.Usage.GetUsage(t.Context(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Rows
	}
	byTenant := []adminv1.UsageField{adminv1.UsageField_USAGE_FIELD_TENANT}
	all := usage(c, &adminv1.GetUsageRequest{By: byTenant})
	if len(all) != 2 || all[0].Tenant != "acme" || all[0].Calls != 7 || all[0].PromptTokens != 7000 || all[0].CostMicros != 7000 || all[1].Calls != 3 {
		t.Errorf("%v", all)
	}
	for _, req := range []*adminv1.GetUsageRequest{{By: byTenant}, {By: byTenant, Tenant: "acme"}} {
		if own := usage(publisher, req); len(own) != 1 || !proto.Equal(own[0], all[0]) {
			t.Errorf("a tenant's own: %v", own)
		}
	}
	if others := usage(publisher, &adminv1.GetUsageRequest{Tenant: "default"}); len(others) != 0 {
		t.Errorf("another tenant's: %v", others)
	}
	if none := usage(c, &adminv1.GetUsageRequest{UntilMs: 1}); len(none) != 0 {
		t.Errorf("before it was used: %v", none)
	}
}

// Every change is in the audit log with who asked for it, on every coordinator, and the chain agrees with the head that all have.
func TestAudit(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	c := r.api(r.Leader())
	id, operator := r.key(c, &adminv1.CreateKeyRequest{Name: "op", Roles: []string{"operator"}})
	want(t, connect.CodePermissionDenied, operator.Audit.GetHead, &adminv1.GetHeadRequest{})
	want(t, connect.CodeNotFound, operator.Nodes.Drain, &adminv1.DrainRequest{Node: "none"})
	want(t, 0, operator.Nodes.ListNodes, &adminv1.ListNodesRequest{})
	want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: "acme", Models: []string{"*"}}})
	want(t, 0, c.Cluster.RevokeKey, &adminv1.RevokeKeyRequest{Id: id})

	head, err := c.Audit.GetHead(t.Context(), connect.NewRequest(&adminv1.GetHeadRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	var signed audit.Signed
	if err := json.Unmarshal(head.Msg.Signed, &signed); err != nil {
		t.Fatal(err)
	}
	authority, err := x509.ParseCertificate(head.Msg.Authority)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.Check(signed, authority.PublicKey); err != nil {
		t.Error(err)
	}
	for _, from := range r.Running() {
		var b bytes.Buffer
		fleettest.Within(t, "the records are at "+from.Config.Name, func() bool {
			b.Reset()
			if err := from.AuditLines(t.Context(), 0, func(lines []byte) error { b.Write(lines); return nil }); err != nil {
				t.Fatal(err)
			}
			end, err := audit.Verify(audit.Head{}, audit.Lines(bytes.NewReader(b.Bytes())))
			return err == nil && end.Seq >= signed.Head.Seq
		})
		end, err := audit.Verify(audit.Head{}, audit.Lines(bytes.NewReader(b.Bytes())), signed.Head)
		if err != nil {
			t.Errorf("%s ends at %v: %v", from.Config.Name, end, err)
		}
		if !bytes.Contains(b.Bytes(), []byte(`"by":"key `+wire.KeyID(r.Key)+` of default"`)) || !bytes.Contains(b.Bytes(), []byte("put_tenant")) || bytes.Contains(b.Bytes(), []byte(r.Key)) {
			t.Errorf("%s: %s", from.Config.Name, b.Bytes())
		}
	}
}
