package admin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/access"
	oipv2 "github.com/skein-project/skein/api/inference"
	oipconnect "github.com/skein-project/skein/api/inference/inferenceconnect"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/fleettest"
)

// Models are loaded and unloaded over the Open Inference Protocol by whoever may, whichever header the key is in; and who may not learns no
// more of another's model than of one that is not there (attack case 30).
func TestRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.Machine("m1", 8*gpu.GiB)
	v := r.publish("calc", 1)
	r.Do(r.Leader(), cluster.PutAlias{Name: "sums", Target: v, Force: true})
	leader := r.api(r.Leader())
	serve(t, leader, "calc@1", 1)
	r.ready(v, 1)
	r.Do(r.Leader(), cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: []string{"other"}}})
	_, acme := r.key(leader, &adminv1.CreateKeyRequest{Name: "acme", Tenant: "acme", Roles: []string{string(access.Publisher)}})
	g := r.GatewayOn(r.Leader(), gateway.Config{})
	fleettest.Within(t, "the gateway is ready", func() bool { return g.Server.Ready() == nil })
	operator := http.NewServeMux()
	handler(r.Leader()).Register(operator)
	g.Server.DeployBy(operator)
	mux := http.NewServeMux()
	g.Server.Register(mux)
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	rest := func(verb, model, header, key string) string {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/v2/repository/models/"+model+"/"+verb, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set(header, key)
		res, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(string(b)))
	}
	rpc := oipconnect.NewGRPCInferenceServiceClient(http.DefaultClient, front.URL)
	grpc := func(verb, model, header, key string) string {
		var err error
		if verb == "load" {
			q := connect.NewRequest(&oipv2.RepositoryModelLoadRequest{ModelName: model})
			q.Header().Set(header, key)
			_, err = rpc.RepositoryModelLoad(t.Context(), q)
		} else {
			q := connect.NewRequest(&oipv2.RepositoryModelUnloadRequest{ModelName: model})
			q.Header().Set(header, key)
			_, err = rpc.RepositoryModelUnload(t.Context(), q)
		}
		return fmt.Sprint(err)
	}
	for _, verb := range []string{"load", "unload"} {
		for way, ask := range map[string]func(verb, model, header, key string) string{"REST": rest, "gRPC": grpc} {
			absent := ask(verb, "nothing", "Authorization", "Bearer "+acme.Profile.Key)
			if !strings.HasPrefix(absent, "404") && !strings.HasPrefix(absent, "not_found") || !strings.Contains(absent, "nothing") {
				t.Errorf("%s %s of nothing: %s", way, verb, absent)
			}
			for _, name := range []string{"calc@1", "sums", "nothing@1"} {
				if got := ask(verb, name, "Authorization", "Bearer "+acme.Profile.Key); got != strings.ReplaceAll(absent, "nothing", name) {
					t.Errorf("%s %s of %s: %s, want %s", way, verb, name, got, strings.ReplaceAll(absent, "nothing", name))
				}
			}
			for header, key := range map[string]string{"Authorization": "bearer " + r.Key, "X-Api-Key": r.Key} {
				if got := ask(verb, "sums", header, key); got != "200 " && got != "<nil>" {
					t.Errorf("%s %s by the owner: %s", way, verb, got)
				}
				if verb == "unload" { // it is loaded again for whoever comes next
					serve(t, leader, "calc@1", 1)
					r.ready(v, 1)
					fleettest.Within(t, "the gateway knows", func() bool { _, ok := g.State().Deployment(v); return ok })
				}
			}
		}
	}
}
