package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/access"
	oipv2 "github.com/skein-project/skein/api/inference"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// Every path of the client API × everybody who may or may not call it (attack case 1): every role, and keys that are none, garbage, revoked,
// expired, suspended, of a tenant or an application that is switched off, and from another place.
func TestEverybodyAtEveryPath(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "off", Weight: 1, Models: []string{"*"}, Disabled: true}},
		cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "off"}, Models: []string{"*"}, Disabled: true}},
		cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "over"}, Models: []string{"*"}, Expires: 2}},
		cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "far"}, Models: []string{"*"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}})
	for id, k := range map[string]cluster.Key{"revoked": {Revoked: true}, "expired": {Expires: 2}, "off": {Tenant: "off"}, "app-off": {App: "off"}, "app-over": {App: "over"}, "app-far": {App: "far"}} {
		k.ID, k.Hash = "sk-"+id, wire.SecretHash("secret-"+id)
		revoked := k.Revoked
		k.Revoked = false
		change(t, s, cluster.PutKey{Key: k})
		if revoked {
			old, _ := s.live.Now().Key(k.ID)
			k.Revoked = true
			change(t, s, cluster.PutKey{Key: k, Was: old.Rev})
		}
	}
	nobody := []string{"", "garbage", "secret-revoked", "secret-expired", "secret-off", "secret-app-off", "secret-app-over", "secret-app-far", strings.ToUpper(userKey), userKey + "x", userKey[:len(userKey)-1], wire.SecretHash(userKey), strings.Repeat("k", 10_000)}
	for _, role := range access.Roles() {
		change(t, s, cluster.PutKey{Key: cluster.Key{ID: "sk-role-" + string(role), Hash: wire.SecretHash("role-" + string(role)), Roles: []access.Role{role}}})
	}
	if len(Needs()) < 10 {
		t.Fatalf("only %d paths", len(Needs()))
	}
	type way struct{ method, path string }
	ways := map[way]accessv1.Permission{}
	for path, need := range access.Of(inferencev1.File_skein_inference_v1_inference_proto, oipv2.File_inference_inference_proto) {
		ways[way{http.MethodPost, path}] = need
	}
	ways[way{http.MethodGet, pathMetrics}] = accessv1.Permission_PERMISSION_METRICS_READ
	for _, e := range routes() {
		ways[way{e.method, e.path}] = e.needs
	}
	for path, need := range Needs() {
		if ways[way{http.MethodGet, path}] != need && ways[way{http.MethodPost, path}] != need && ways[way{http.MethodDelete, path}] != need {
			t.Errorf("%s is not tried", path)
		}
	}
	for w, need := range ways {
		path, method := w.path, w.method
		at := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "sums")
		if need == accessv1.Permission_PERMISSION_HEALTH {
			for _, key := range append(nobody, "role-caller") {
				if w := ask(mux, method, at, key, `{}`); w.Code != http.StatusOK {
					t.Errorf("%s with the key %.20q: %d %s", path, key, w.Code, w.Body)
				}
			}
			continue
		}
		for _, key := range nobody {
			if w := ask(mux, method, at, key, `{}`); w.Code != http.StatusUnauthorized {
				t.Errorf("%s with the key %.20q: %d %s", path, key, w.Code, w.Body)
			}
		}
		for _, role := range access.Roles() {
			w := ask(mux, method, at, "role-"+string(role), `{}`)
			if may := access.Allows([]access.Role{role}, need); (w.Code == http.StatusForbidden) == may || w.Code == http.StatusUnauthorized {
				t.Errorf("%s as %s: %d, allowed %v", path, role, w.Code, may)
			}
		}
	}
}

// A model that may not be called takes as long to refuse as one that is not there (attack case 30). The question is asked many times in
// turns, and a thief who saw a time would guess which of the two it was: better than by chance, but not by much, on any machine.
func TestForbiddenTakesAsLong(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: []string{"other"}}},
		cluster.PutKey{Key: cluster.Key{ID: "sk-acme", Tenant: "acme", Hash: wire.SecretHash("acme-secret")}})
	const rounds = 1500
	for _, path := range []string{"/v1/completions", "/v1/models/"} {
		times := map[string][]time.Duration{}
		for i := range rounds {
			names := []string{"calc@1", "cold@1"}
			if i%2 == 1 {
				slices.Reverse(names)
			}
			for _, name := range names {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(fmt.Sprintf(`{"model": %q, "prompt": "x"}`, name)))
				if path == "/v1/models/" {
					r = httptest.NewRequest(http.MethodGet, path+name, nil)
				}
				r.Header.Set("Authorization", "Bearer acme-secret")
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				began := time.Now()
				mux.ServeHTTP(w, r)
				took := time.Since(began)
				if w.Code != http.StatusNotFound {
					t.Fatalf("%s of %s: %d %s", path, name, w.Code, w.Body)
				}
				times[name] = append(times[name], took)
			}
		}
		if auc := separation(times["calc@1"], times["cold@1"]); auc < 0.3 || auc > 0.7 {
			t.Errorf("%s: forbidden and absent are told apart by their times: %.2f, by chance 0.50", path, auc)
		}
	}
}

// separation is how often a time of a is longer than one of b: 0.5 where they are alike (the area under the ROC curve).
func separation(a, b []time.Duration) float64 {
	b = slices.Sorted(slices.Values(b))
	sum := 0.0
	for _, x := range a {
		below, _ := slices.BinarySearch(b, x)
		upTo, _ := slices.BinarySearch(b, x+1)
		sum += float64(below) + float64(upTo-below)/2
	}
	return sum / float64(len(a)) / float64(len(b))
}
