package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/results"
	"github.com/skein-project/skein/wire"
)

// respond makes a response and gives its id.
func respond(t testing.TB, g *fleettest.Gateway, key, body string) (id string, stored bool) {
	t.Helper()
	r := call(t, g, key, http.MethodPost, "/v1/responses", "application/json", strings.NewReader(body))
	var made struct {
		ID    string
		Store bool
	}
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || r.status != http.StatusOK {
		t.Fatalf("respond: %d %s", r.status, r.body)
	}
	return made.ID, made.Store
}

// shelves counts the boxes that coordinators have on their disks, and fails where one can be read.
func shelves(t testing.TB, f *fleettest.Fleet, secret string) (n int) {
	t.Helper()
	for _, c := range f.Coordinators {
		files, err := os.ReadDir(filepath.Join(c.Config.Dir, "answers"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(filepath.Join(c.Config.Dir, "answers", file.Name()))
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s can be read on the disk", secret)
			}
		}
	}
	return n
}

// A response is found, and gone on from, at every gateway, after restarts, and with a coordinator away; by nobody else; not after it is
// deleted or its tenant is. On the disks of coordinators nobody can read it. Where it is not known whether a copy is left, that is said.
func TestKeptResponses(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 3)
	key, other := tenant(f, "acme", 1, "*"), tenant(f, "other", 1, "*")
	app := "secret-shop"
	f.Do(f.Leader(), cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "acme", ID: "shop"}, Models: []string{"*"}}},
		cluster.PutKey{Key: cluster.Key{ID: "sk-shop", Tenant: "acme", App: "shop", Hash: wire.SecretHash(app)}})
	a, b := f.Gateway("a", gateway.Config{}), f.GatewayOn(f.Follower(), gateway.Config{})
	for _, g := range []*fleettest.Gateway{a, b} {
		fleettest.Within(t, "responses are kept", func() bool { return call(t, g, app, http.MethodGet, "/v1/files", "", nil).status == http.StatusOK })
	}
	first, stored := respond(t, a, key, `{"model": "calc", "input": "topsecret 2+2", "max_output_tokens": 3}`)
	if !stored {
		t.Fatal("it is not kept")
	}
	fleettest.Within(t, "there are two copies", func() bool { return shelves(t, f, "topsecret") == 2 })
	second, _ := respond(t, b, key, fmt.Sprintf(`{"model": "calc", "input": "and 3+3", "max_output_tokens": 3, "previous_response_id": %q}`, first))
	fleettest.Within(t, "there are two copies of each", func() bool { return shelves(t, f, "topsecret") == 4 })
	if id, stored := respond(t, b, key, `{"model": "calc", "input": "1+1", "max_output_tokens": 3, "store": false}`); stored || call(t, b, key, http.MethodGet, "/v1/responses/"+id, "", nil).status != http.StatusNotFound {
		t.Error("what is not to be kept is kept")
	}
	for _, stranger := range []string{other, app} {
		for _, g := range []*fleettest.Gateway{a, b} {
			if r := call(t, g, stranger, http.MethodGet, "/v1/responses/"+first, "", nil); r.status != http.StatusNotFound {
				t.Errorf("somebody else's: %d %s", r.status, r.body)
			}
			if r := call(t, g, stranger, http.MethodDelete, "/v1/responses/"+first, "", nil); r.status != http.StatusNotFound {
				t.Errorf("somebody else deletes it: %d %s", r.status, r.body)
			}
		}
	}
	items := func(g *fleettest.Gateway, id string) string {
		return call(t, g, key, http.MethodGet, "/v1/responses/"+id+"/input_items?order=asc", "", nil).body
	}
	if got := items(a, second); !strings.Contains(got, "topsecret 2+2") || !strings.Contains(got, "and 3+3") {
		t.Errorf("the conversation at the other gateway: %s", got)
	}

	a.Stop()
	a.Start(gateway.Config{})
	away := f.Follower()
	for _, c := range f.Running() {
		if c.ID() != b.ID && c != f.Leader() {
			away = c
		}
	}
	f.Stop(away)
	for _, id := range []string{first, second} {
		for _, g := range []*fleettest.Gateway{a, b} {
			fleettest.Within(t, "it is found with a coordinator away", func() bool {
				return call(t, g, key, http.MethodGet, "/v1/responses/"+id, "", nil).status == http.StatusOK
			})
		}
	}
	if r := call(t, b, key, http.MethodGet, "/v1/responses/resp_nothing", "", nil); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "does not answer") {
		t.Errorf("one that may be at the coordinator that is away: %d %s", r.status, r.body)
	}
	if r := call(t, a, key, http.MethodDelete, "/v1/responses/"+first, "", nil); r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "delete it again") {
		t.Errorf("deleted with a coordinator away: %d %s", r.status, r.body)
	}
	f.Start(away)
	fleettest.Within(t, "the last copy is deleted, if there was one", func() bool {
		status := call(t, a, key, http.MethodDelete, "/v1/responses/"+first, "", nil).status
		return status == http.StatusOK || status == http.StatusNotFound
	})
	if r := call(t, b, key, http.MethodGet, "/v1/responses/"+first, "", nil); r.status != http.StatusNotFound {
		t.Errorf("after it was deleted: %d %s", r.status, r.body)
	}
	if n := shelves(t, f, "topsecret"); n != 2 {
		t.Errorf("%d boxes are left, want those of the second", n)
	}
	policy(t, f, a, results.Policy{Tenant: "acme", Model: "calc", Keep: results.Nothing})
	for what, r := range map[string]reply{
		"read":    call(t, a, key, http.MethodGet, "/v1/responses/"+second, "", nil),
		"gone on": call(t, a, key, http.MethodPost, "/v1/responses", "application/json", strings.NewReader(fmt.Sprintf(`{"model": "calc", "input": "x", "previous_response_id": %q}`, second))),
	} {
		if r.status != http.StatusNotFound {
			t.Errorf("what a policy forbids since is %s: %d %s", what, r.status, r.body)
		}
	}
	acme, _ := f.Leader().Live().Now().Tenant("acme")
	f.Do(f.Leader(), cluster.DeleteTenant{ID: "acme", Was: acme.Rev})
	fleettest.Within(t, "nothing of a tenant that is gone is left", func() bool { return shelves(t, f, "topsecret") == 0 })
}
