package admin_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/skein-project/skein/access"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

// attempt is a call that names something, as somebody: what came of it in words.
type attempt func(c *client.Client, name string) string

// try makes an attempt of a call.
func try[Req, Res any](of func(*client.Client) func(context.Context, *connect.Request[Req]) (*connect.Response[Res], error), req func(name string) *Req) attempt {
	return func(c *client.Client, name string) string {
		res, err := of(c)(context.Background(), connect.NewRequest(req(name)))
		if err != nil {
			return err.Error()
		}
		m, _ := any(res.Msg).(proto.Message)
		return "ok " + prototext.MarshalOptions{}.Format(m)
	}
}

// stream makes an attempt of a call that is answered by a stream.
func stream[Req, Res any](of func(*client.Client) func(context.Context, *connect.Request[Req]) (*connect.ServerStreamForClient[Res], error), req func(name string) *Req) attempt {
	return func(c *client.Client, name string) string {
		s, err := of(c)(context.Background(), connect.NewRequest(req(name)))
		if err != nil {
			return err.Error()
		}
		defer s.Close()
		said := "ok"
		for s.Receive() {
			m, _ := any(s.Msg()).(proto.Message)
			said += " " + prototext.MarshalOptions{}.Format(m)
		}
		if s.Err() != nil {
			return s.Err().Error()
		}
		return said
	}
}

// kinds of names that one can try.
const (
	byModel   = "M"   // of a model, which is an alias too
	byVersion = "M@1" // of a version
	byAlias   = "A"   // of an alias that is no model
	byTenant  = "T"
)

// named are the calls that whoever is confined to a tenant may make, by procedure, with the kinds of names that they take. What they destroy
// comes last.
var named = []struct {
	procedure string
	kinds     []string
	attempt   attempt
}{
	{"LibraryService/ListFiles", []string{byModel, byVersion, byAlias}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.ListFilesRequest]) (*connect.Response[adminv1.ListFilesResponse], error) {
		return c.Library.ListFiles
	}, func(n string) *adminv1.ListFilesRequest { return &adminv1.ListFilesRequest{Model: n} })},
	{"LibraryService/Download", []string{byModel, byVersion, byAlias}, stream(func(c *client.Client) func(context.Context, *connect.Request[adminv1.DownloadRequest]) (*connect.ServerStreamForClient[adminv1.DownloadResponse], error) {
		return c.Library.Download
	}, func(n string) *adminv1.DownloadRequest {
		return &adminv1.DownloadRequest{Version: n, File: "config.json"}
	})},
	{"DeploymentService/Serve", []string{byModel, byVersion, byAlias}, try(serveOf, func(n string) *adminv1.ServeRequest {
		return &adminv1.ServeRequest{Model: n, Replicas: 1, ValidateOnly: true}
	})},
	{"DeploymentService/Serve", []string{byTenant}, try(serveOf, func(n string) *adminv1.ServeRequest {
		return &adminv1.ServeRequest{Model: "mine", Tenant: n, ValidateOnly: true}
	})},
	{"DeploymentService/Why", []string{byModel, byVersion, byAlias, byTenant}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.WhyRequest]) (*connect.Response[adminv1.WhyResponse], error) {
		return c.Deployments.Why
	}, func(n string) *adminv1.WhyRequest { return &adminv1.WhyRequest{Subject: n} })},
	{"ModelService/SetAlias", []string{byModel, byVersion, byAlias}, try(setAliasOf, func(n string) *adminv1.SetAliasRequest {
		return &adminv1.SetAliasRequest{Name: "new", Version: n}
	})},
	{"RolloutService/SetRollout", []string{byModel, byAlias}, try(rolloutOf, func(n string) *adminv1.SetRolloutRequest {
		return &adminv1.SetRolloutRequest{Alias: n, Rollout: &adminv1.Rollout{Guard: &adminv1.Guard{ErrorPercent: 5}}, UpdateMask: mask("guard")}
	})},
	{"RolloutService/SetRollout", []string{byModel, byVersion, byAlias}, try(rolloutOf, func(n string) *adminv1.SetRolloutRequest {
		return &adminv1.SetRolloutRequest{Alias: "mine", Rollout: &adminv1.Rollout{Shadow: &adminv1.Shadow{Version: n, Percent: 5}}, UpdateMask: mask("shadow")}
	})},
	{"RolloutService/SetRollout", []string{byTenant}, try(rolloutOf, func(n string) *adminv1.SetRolloutRequest {
		return &adminv1.SetRolloutRequest{Alias: "mine", Rollout: &adminv1.Rollout{Canary: &adminv1.Canary{Version: "mine@2", Tenants: []string{n}}}, UpdateMask: mask("canary")}
	})},
	{"RolloutService/Promote", []string{byModel, byAlias}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.PromoteRequest]) (*connect.Response[adminv1.PromoteResponse], error) {
		return c.Rollouts.Promote
	}, func(n string) *adminv1.PromoteRequest { return &adminv1.PromoteRequest{Alias: n} })},
	{"RolloutService/UpdateModel", []string{byModel}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.UpdateModelRequest]) (*connect.Response[adminv1.UpdateModelResponse], error) {
		return c.Rollouts.UpdateModel
	}, func(n string) *adminv1.UpdateModelRequest {
		return &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: n, Description: "x"}, UpdateMask: mask("description")}
	})},
	{"TenantService/ListLimits", []string{byTenant}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.ListLimitsRequest]) (*connect.Response[adminv1.ListLimitsResponse], error) {
		return c.Tenants.ListLimits
	}, func(n string) *adminv1.ListLimitsRequest {
		return &adminv1.ListLimitsRequest{Subject: cluster.TenantSubject(n)}
	})},
	{"UsageService/GetUsage", []string{byTenant}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.GetUsageRequest]) (*connect.Response[adminv1.GetUsageResponse], error) {
		return c.Usage.GetUsage
	}, func(n string) *adminv1.GetUsageRequest { return &adminv1.GetUsageRequest{Tenant: n} })},
	{"ModelService/RollbackAlias", []string{byModel, byAlias}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.RollbackAliasRequest]) (*connect.Response[adminv1.RollbackAliasResponse], error) {
		return c.Models.RollbackAlias
	}, func(n string) *adminv1.RollbackAliasRequest { return &adminv1.RollbackAliasRequest{Name: n} })},
	{"DeploymentService/Unserve", []string{byModel, byVersion, byAlias}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.UnserveRequest]) (*connect.Response[adminv1.UnserveResponse], error) {
		return c.Deployments.Unserve
	}, func(n string) *adminv1.UnserveRequest { return &adminv1.UnserveRequest{Model: n} })},
	{"ModelService/DeleteAlias", []string{byAlias, byModel}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.DeleteAliasRequest]) (*connect.Response[adminv1.DeleteAliasResponse], error) {
		return c.Models.DeleteAlias
	}, func(n string) *adminv1.DeleteAliasRequest { return &adminv1.DeleteAliasRequest{Name: n} })},
	{"ModelService/DeleteVersion", []string{byVersion}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.DeleteVersionRequest]) (*connect.Response[adminv1.DeleteVersionResponse], error) {
		return c.Models.DeleteVersion
	}, func(n string) *adminv1.DeleteVersionRequest { return &adminv1.DeleteVersionRequest{Version: n} })},
	{"RolloutService/DeleteModel", []string{byModel}, try(func(c *client.Client) func(context.Context, *connect.Request[adminv1.DeleteModelRequest]) (*connect.Response[adminv1.DeleteModelResponse], error) {
		return c.Rollouts.DeleteModel
	}, func(n string) *adminv1.DeleteModelRequest { return &adminv1.DeleteModelRequest{Name: n} })},
}

func serveOf(c *client.Client) func(context.Context, *connect.Request[adminv1.ServeRequest]) (*connect.Response[adminv1.ServeResponse], error) {
	return c.Deployments.Serve
}

func setAliasOf(c *client.Client) func(context.Context, *connect.Request[adminv1.SetAliasRequest]) (*connect.Response[adminv1.SetAliasResponse], error) {
	return c.Models.SetAlias
}

func rolloutOf(c *client.Client) func(context.Context, *connect.Request[adminv1.SetRolloutRequest]) (*connect.Response[adminv1.SetRolloutResponse], error) {
	return c.Rollouts.SetRollout
}

// lists are the calls of the confined that name nothing, and those of uploads and pulls, of views and of results, which TestHashesTellNothing,
// TestLibraryOfATenant, TestViews and TestResultsOfTenants try.
var lists = []string{"ModelService/ListModels", "DeploymentService/List", "UsageService/GetPrices", "PeopleService/WhoAmI",
	"ModelService/BeginBlob", "ModelService/WriteChunk", "ModelService/Publish", "LibraryService/Pull",
	"ViewService/ListViews", "ViewService/PutView", "ViewService/DeleteView", "ViewService/TryView",
	"ResultService/ListPolicies", "ResultService/PutPolicy", "ResultService/DeletePolicy", "ResultService/QueryResults", "ResultService/SummarizeResults",
	"ResultService/CompareResults", "ResultService/ExportResults", "ResultService/ForgetResults", "ResultService/RerunResults", "ResultService/ListPairs"}

// Whoever is confined to a tenant finds nothing of another one: by the name of a model, a version, an alias or a tenant, in other letters,
// in lists and in reasons, every call answers as if there were nothing, in the same words (attack cases 30, 34 and 39).
func TestNeighbours(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	victim, thief := r.publisher(c, "victim"), r.publisher(c, "thief")
	for model, owner := range map[string]string{"kanarek": "victim", "mine": "thief"} {
		r.publish(model, 1)
		r.publish(model, 2)
		want(t, 0, c.Rollouts.UpdateModel, &adminv1.UpdateModelRequest{Model: &adminv1.ModelRecord{Name: model, Owner: owner}, UpdateMask: mask("owner")})
	}
	for tenant, model := range map[string]string{"victim": "kanarek", "thief": "mine"} {
		want(t, 0, c.Tenants.PutTenant, &adminv1.PutTenantRequest{Tenant: &adminv1.Tenant{Id: tenant, Models: []string{model}}})
	}
	want(t, 0, victim.Models.SetAlias, &adminv1.SetAliasRequest{Name: "kanarek-live", Version: "kanarek@1"})
	want(t, 0, c.Tenants.SetLimits, &adminv1.SetLimitsRequest{Subject: "tenant/victim", Limits: []*adminv1.Limit{{Meter: "requests", Window: "day", Amount: 9}}})
	want(t, 0, c.Usage.SetPrices, &adminv1.SetPricesRequest{Currency: "EUR", Prices: []*adminv1.Price{{Model: "*", ThousandCalls: 1}, {Model: "kanarek", ThousandCalls: 1}, {Model: "mine", ThousandCalls: 1}}})
	r.Do(r.Leader(), cluster.Settle{Gateway: r.ID(r.Leader()), Session: 1, Seq: 1,
		Usage: []cluster.Used{{Tenant: "victim", Key: "sk-1", Version: cluster.VersionID{Model: "kanarek", Number: 1}, Amounts: cluster.Amounts{Calls: 7}}}})
	for _, model := range []string{"kanarek", "mine"} {
		r.Do(r.Leader(), cluster.PutDeployment{Deployment: cluster.Deployment{Version: cluster.VersionID{Model: model, Number: 1}, Replicas: 1, Serving: shard.Serving{Slots: 1, Context: 64}}})
	}
	r.Machine("m1", 100<<10) // too small for either
	// Two more follow demand, and all compete for a machine that has room for one: the other's tenant does not learn who has it.
	r.Machine("m2", 100*gpu.MiB)
	for model, priority := range map[string]int{"kanarek": 10, "mine": 1} {
		owner := map[string]string{"kanarek": "victim", "mine": "thief"}[model]
		r.Do(r.Leader(), cluster.PutDeployment{Deployment: cluster.Deployment{Version: cluster.VersionID{Model: model, Number: 2}, Owner: owner, Need: &cluster.Need{Min: 1, Max: 3, Priority: priority},
			Serving: shard.Serving{Slots: 1, Context: 64}}})
	}
	why := func(c *client.Client, subject string) string {
		res, err := c.Deployments.Why(t.Context(), connect.NewRequest(&adminv1.WhyRequest{Subject: subject}))
		if err != nil {
			t.Fatal(err)
		}
		return prototext.MarshalOptions{}.Format(res.Msg)
	}
	fleettest.Within(t, "reasons", func() bool {
		return strings.Contains(why(c, "@2"), "kanarek") && strings.Contains(why(c, "@2"), "mine")
	})

	// Of the devices, and of what others have on them, only who sees the whole fleet is told.
	plan := try(serveOf, func(n string) *adminv1.ServeRequest {
		return &adminv1.ServeRequest{Model: n, Replicas: 2, ValidateOnly: true}
	})
	for what, of := range map[string]func(*client.Client) string{"a plan": func(c *client.Client) string { return plan(c, "mine@1") }, "reasons": func(c *client.Client) string { return why(c, "mine@1") }} {
		if mine, all := of(thief), of(c); strings.Contains(mine, "m1") || strings.Contains(mine, "KiB") || !strings.Contains(all, "m1") {
			t.Errorf("%s as its tenant: %s; as who keeps the fleet: %s", what, mine, all)
		}
	}

	// Nothing is left out.
	needs := access.Of(files()...)
	for p := range rpcs() {
		need, _ := needs.Requires(p)
		short := strings.TrimPrefix(p, "/skein.admin.v1.")
		tried := slices.Contains(lists, short)
		for _, n := range named {
			tried = tried || n.procedure == short
		}
		if access.Allows([]access.Role{access.Publisher}, need) != tried {
			t.Errorf("%s: tried %v, a publisher may call it %v: add what it names here", short, tried, !tried)
		}
	}

	theirs := map[string]string{byModel: "kanarek", byVersion: "kanarek@1", byAlias: "kanarek-live", byTenant: "victim"}
	absent := map[string]string{byModel: "nothing", byVersion: "nothing@1", byAlias: "nothing-live", byTenant: "nobody"}
	before := r.Leader().Live().Now()
	for _, n := range named {
		for _, kind := range n.kinds {
			for form, f := range map[string]func(string) string{"as it is": strings.Clone, "in capitals": strings.ToUpper, "in part": func(s string) string { return s[:4] }} {
				got, want := n.attempt(thief, f(theirs[kind])), n.attempt(thief, f(absent[kind]))
				if strings.ReplaceAll(got, f(theirs[kind]), "NAME") != strings.ReplaceAll(want, f(absent[kind]), "NAME") {
					t.Errorf("%s of what is another tenant's, %s: %s; of what is not there: %s", n.procedure, form, got, want)
				}
				if rest := strings.ReplaceAll(got, f(theirs[kind]), ""); strings.Contains(rest, "kanarek") || strings.Contains(rest, "victim") {
					t.Errorf("%s by %s: %s", n.procedure, f(theirs[kind]), got)
				}
			}
		}
	}
	for what, of := range map[string]func(c *client.Client) (proto.Message, error){
		"models": func(c *client.Client) (proto.Message, error) {
			res, err := c.Models.ListModels(t.Context(), connect.NewRequest(&adminv1.ListModelsRequest{}))
			return res.Msg, err
		},
		"deployments": func(c *client.Client) (proto.Message, error) {
			res, err := c.Deployments.List(t.Context(), connect.NewRequest(&adminv1.ListRequest{}))
			return res.Msg, err
		},
		"prices": func(c *client.Client) (proto.Message, error) {
			res, err := c.Usage.GetPrices(t.Context(), connect.NewRequest(&adminv1.GetPricesRequest{}))
			return res.Msg, err
		},
		"reasons": func(c *client.Client) (proto.Message, error) {
			res, err := c.Deployments.Why(t.Context(), connect.NewRequest(&adminv1.WhyRequest{}))
			return res.Msg, err
		},
	} {
		for name, own := range map[string]string{"thief": "mine", "victim": "kanarek"} {
			c, other := thief, "kanarek"
			if name == "victim" {
				c, other = victim, "mine"
			}
			m, err := of(c)
			if err != nil {
				t.Fatal(err)
			}
			text := prototext.MarshalOptions{}.Format(m)
			if !strings.Contains(text, own) || strings.Contains(text, other) || what == "prices" && !strings.Contains(text, `"*"`) {
				t.Errorf("%s as %s: %s", what, name, text)
			}
		}
	}
	if text := why(thief, ""); strings.Contains(text, "kanarek") {
		t.Errorf("reasons: %s", text)
	}
	want(t, connect.CodeNotFound, thief.Models.SetAlias, &adminv1.SetAliasRequest{Name: "kanarek", Version: "mine@1"})
	after := r.Leader().Live().Now()
	if a, ok := after.Alias("kanarek"); !ok || a.Target.Number != 1 || after.Model("kanarek").Rev != before.Model("kanarek").Rev || after.NextNumber("kanarek") != 3 {
		t.Errorf("something of another tenant's changed: %+v", a)
	}
	d, ok := after.Deployment(cluster.VersionID{Model: "kanarek", Number: 1})
	if old, _ := before.Deployment(d.Version); !ok || d.Rev != old.Rev {
		t.Errorf("another tenant's deployment changed: %+v", d)
	}

	// A name that is free again is not another tenant's to take: who calls the model by it would be led elsewhere.
	want(t, 0, victim.Models.DeleteAlias, &adminv1.DeleteAliasRequest{Name: "kanarek"})
	want(t, connect.CodeNotFound, thief.Models.SetAlias, &adminv1.SetAliasRequest{Name: "kanarek", Version: "mine@1"})
	want(t, 0, victim.Models.SetAlias, &adminv1.SetAliasRequest{Name: "kanarek", Version: "kanarek@1"})

	// Their owner is answered otherwise: the calls above would have done something.
	for _, n := range named {
		if mine, got := n.attempt(thief, theirs[n.kinds[0]]), n.attempt(victim, theirs[n.kinds[0]]); got == mine {
			t.Errorf("%s by the owner: %s", n.procedure, got)
		}
	}
}

// A hash is no question and no key: whoever is confined to a tenant is told that all of a blob is missing that its own tenant did not send,
// and makes nothing of blobs that it did not send whole (attack case 23).
func TestHashesTellNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	victim, thief := r.publisher(c, "victim"), r.publisher(c, "thief")
	secret := bytes.Repeat([]byte("secret weights "), blob.ChunkSize/10) // two chunks
	x := blob.Of(secret)
	other := blob.Of(secret[1:])
	begin := func(c *client.Client, x blob.Index) *adminv1.BeginBlobResponse {
		req := &adminv1.BeginBlobRequest{Size: x.Size}
		for _, sum := range x.Chunks {
			req.Chunks = append(req.Chunks, sum[:])
		}
		res, err := c.Models.BeginBlob(t.Context(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	write := func(i int, data []byte) *adminv1.WriteChunkRequest {
		return &adminv1.WriteChunkRequest{Digest: x.Digest().String(), Chunk: int32(i), Data: data}
	}
	chunk := func(i int) []byte { return secret[i*blob.ChunkSize : min(len(secret), (i+1)*blob.ChunkSize)] }
	publish := func(c *client.Client, x blob.Index) error {
		_, err := c.Publish(t.Context(), "stolen", map[string]string{"model.safetensors": x.Digest().String()}, false, func(string) {})
		return err
	}
	begin(victim, x)
	want(t, 0, victim.Models.WriteChunk, write(0, chunk(0)))
	want(t, 0, victim.Models.WriteChunk, write(1, chunk(1)))
	for who, c := range map[string]*client.Client{"its own tenant": victim, "who keeps the whole fleet": c} {
		if m := begin(c, x).Missing; len(m) != 0 {
			t.Errorf("%s misses %v", who, m)
		}
	}

	// The thief knows the hashes, and no bytes.
	there, absent := publish(thief, x), publish(thief, other)
	if connect.CodeOf(there) != connect.CodeNotFound || there.Error() != absent.Error() {
		t.Errorf("a version of another tenant's bytes: %v; of bytes that are nowhere: %v", there, absent)
	}
	got, err := call(t, thief.Models.WriteChunk, write(0, chunk(0)))
	never := write(0, chunk(0))
	never.Digest = other.Digest().String()
	without, of := call(t, thief.Models.WriteChunk, never)
	if got != connect.CodeNotFound || without != got || strings.ReplaceAll(err.Error(), x.Digest().Short(), "") != strings.ReplaceAll(of.Error(), other.Digest().Short(), "") {
		t.Errorf("a chunk of a blob that was not announced: %v; of one that is nowhere: %v", err, of)
	}
	for range 2 {
		if a, b := begin(thief, x).Missing, begin(thief, other).Missing; !slices.Equal(a, []int32{0, 1}) || !slices.Equal(a, b) {
			t.Errorf("missing of what is there: %v, and of what is not: %v", a, b)
		}
	}
	want(t, connect.CodeInvalidArgument, thief.Models.WriteChunk, write(0, bytes.Repeat([]byte("x"), len(chunk(0)))))
	want(t, connect.CodeInvalidArgument, thief.Models.WriteChunk, write(7, chunk(0)))
	if m := begin(thief, x).Missing; len(m) != 2 {
		t.Errorf("after wrong bytes %v are missing", m)
	}
	want(t, 0, thief.Models.WriteChunk, write(1, chunk(1)))
	if m := begin(thief, x).Missing; !slices.Equal(m, []int32{0}) {
		t.Errorf("after one of two chunks %v are missing", m)
	}
	if err := publish(thief, x); err == nil || err.Error() != there.Error() {
		t.Errorf("a version of bytes of which a part was sent: %v", err)
	}
	want(t, 0, thief.Models.WriteChunk, write(0, chunk(0)))
	if m := begin(thief, x).Missing; len(m) != 0 {
		t.Errorf("who has the bytes misses %v", m)
	}
	if err := publish(thief, x); err == nil || connect.CodeOf(err) == connect.CodeNotFound { // there is no converter in this fleet
		t.Errorf("who has the bytes: %v", err)
	}
}

// Where a call comes from is what the connection says, whatever its headers claim: at the leader, and through a follower.
func TestAddressIsNotClaimed(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	secret := wire.NewKey()
	r.Do(r.Leader(), cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "portal"}, Models: []string{"*"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	r.Do(r.Leader(), cluster.PutKey{Key: cluster.Key{ID: wire.KeyID(secret), App: "portal", Hash: wire.SecretHash(secret), Roles: []access.Role{access.Publisher}}})
	for door, c := range map[string]*client.Client{"leader": r.api(r.Leader()), "follower": r.api(r.Follower())} {
		for _, header := range []string{"", wire.ClientHeader, "X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.Profile.URL+"/skein.admin.v1.PeopleService/WhoAmI", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+secret)
			if header != "" {
				req.Header.Set(header, "10.1.2.3")
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("at the %s, claimed by %q: %s", door, header, res.Status)
			}
		}
	}
}

// Secrets of keys and of join tokens are kept nowhere: not in the state, which is what the log makes and snapshots hold, and not in the
// record of changes (attack case 8).
func TestSecretsAreKeptAsHashes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := r.api(r.Leader())
	key, err := c.Cluster.CreateKey(t.Context(), connect.NewRequest(&adminv1.CreateKeyRequest{Name: "k"}))
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Nodes.CreateJoinToken(t.Context(), connect.NewRequest(&adminv1.CreateJoinTokenRequest{Role: "node"}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := wire.ParseToken(token.Msg.Token)
	if err != nil {
		t.Fatal(err)
	}
	var kept bytes.Buffer
	if _, err := r.Leader().Live().Now().WriteTo(&kept); err != nil {
		t.Fatal(err)
	}
	if err := r.Leader().AuditLines(t.Context(), 0, func(lines []byte) error { kept.Write(lines); return nil }); err != nil {
		t.Fatal(err)
	}
	list, err := c.Cluster.ListKeys(t.Context(), connect.NewRequest(&adminv1.ListKeysRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&kept, list.Msg)
	for name, s := range map[string]string{"a key": strings.TrimPrefix(key.Msg.Key, key.Msg.Id+"-"), "the first key": strings.TrimPrefix(r.Key, wire.KeyID(r.Key)+"-"), "a join token": parsed.Secret} {
		if len(s) < 48 || bytes.Contains(kept.Bytes(), []byte(s)) {
			t.Errorf("the secret of %s is kept", name)
		}
	}
	for _, s := range []string{wire.SecretHash(key.Msg.Key), parsed.Hash(), key.Msg.Id} {
		if !bytes.Contains(kept.Bytes(), []byte(s)) {
			t.Errorf("%s is not kept: this test looks in the wrong place", s)
		}
	}
}
