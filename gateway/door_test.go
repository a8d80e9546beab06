package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skein-project/skein/access"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/wire"
)

// change applies commands to the state of a gateway.
func change(t testing.TB, s *Server, commands ...cluster.Command) {
	t.Helper()
	state := s.live.Now()
	next, errs := cluster.Apply(state, state.Index()+1, cluster.Envelope{V: cluster.EnvelopeFormat, At: cluster.Millis(time.Now().UnixMilli()), Txns: []cluster.Txn{{Do: commands}}})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	s.live.Store(next)
}

// level2 raises the feature level of a watched gateway's state.
func level2(t testing.TB, s *Server) {
	t.Helper()
	if s.live.Now().Cluster().Feature < 2 {
		change(t, s, cluster.SetFeature{Was: 1, Feature: 2})
	}
}

// Attack case 30: a model that may not be called and one that does not exist get the same answer, by whatever name, and neither is in a list.
func TestForbiddenIsAbsent(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: []string{"other", "team/*"}}},
		cluster.PutKey{Key: cluster.Key{ID: "sk-acme", Tenant: "acme", Hash: wire.SecretHash("acme-secret")}})
	for _, path := range []string{"/v1/completions", "/v1/chat/completions", "/v1/embeddings"} {
		answers := map[string]string{}
		for _, name := range []string{"sums", "calc", "calc@1", "SUMS", "Calc@1", "nothing", "nothing@1", "other", "team/x"} {
			w := ask(mux, http.MethodPost, path, "acme-secret", `{"model": "`+name+`", "prompt": "x", "input": "x", "messages": [{"role": "user", "content": "x"}]}`)
			body := strings.ReplaceAll(w.Body.String(), name, "NAME")
			if w.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", path, name, w.Code, body)
			}
			answers[body] = name
		}
		if len(answers) != 1 {
			t.Errorf("%s: %v", path, answers)
		}
	}
	for _, name := range []string{"sums", "calc@1", "nothing"} {
		w := ask(mux, http.MethodGet, "/v1/models/"+name, "acme-secret", "")
		if got := strings.ReplaceAll(w.Body.String(), name, "NAME"); w.Code != 404 || !strings.Contains(got, `"the model \"NAME\" does not exist"`) {
			t.Errorf("%s: %d %s", name, w.Code, got)
		}
		w = ask(mux, http.MethodPost, "/skein.inference.v1.InferenceService/Embed", "acme-secret", `{"model": "`+name+`", "texts": ["x"]}`)
		if got := strings.ReplaceAll(w.Body.String(), name, "NAME"); w.Code != 404 || !strings.Contains(got, `does not exist`) {
			t.Errorf("%s: %d %s", name, w.Code, got)
		}
	}
	if w := ask(mux, http.MethodGet, "/v1/models", "acme-secret", ""); w.Code != 200 || strings.Contains(w.Body.String(), "sums") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: []string{"sums"}}, Was: tenantRev(t, s, "acme")})
	if w := ask(mux, http.MethodGet, "/v1/models", "acme-secret", ""); !strings.Contains(w.Body.String(), "sums") {
		t.Errorf("%s", w.Body)
	}
	if w := ask(mux, http.MethodGet, "/v1/models/sums", "acme-secret", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func tenantRev(t testing.TB, s *Server, id string) cluster.Index {
	t.Helper()
	x, ok := s.live.Now().Tenant(id)
	if !ok {
		t.Fatal("no tenant", id)
	}
	return x.Rev
}

// Every path of the client API needs a permission, and who lacks it gets nothing.
func TestEveryPathNeedsSomething(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutKey{Key: cluster.Key{ID: "sk-viewer", Hash: wire.SecretHash("viewer-secret"), Roles: []access.Role{access.Viewer}}})
	methods := map[string]string{pathMetrics: http.MethodGet}
	for _, e := range routes() {
		methods[e.path] = e.method
	}
	for path, need := range Needs() {
		method := cmp.Or(methods[path], http.MethodPost)
		at := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "sums")
		stranger := http.StatusUnauthorized
		if need == accessv1.Permission_PERMISSION_HEALTH {
			stranger = http.StatusOK
		}
		if w := ask(mux, method, at, "", `{}`); w.Code != stranger {
			t.Errorf("%s without a key: %d, want %d", path, w.Code, stranger)
		}
		may := access.Allows([]access.Role{access.Viewer}, need)
		if w := ask(mux, method, at, "viewer-secret", `{}`); (w.Code == http.StatusForbidden) == may || path == pathMetrics && w.Code != http.StatusOK {
			t.Errorf("%s with a viewer's key: %d, allowed %v: %s", path, w.Code, may, w.Body)
		}
	}
	for _, path := range []string{"/v1/audio/speech", "/v1/", "/skein.inference.v1.InferenceService/New"} {
		if w := ask(mux, http.MethodPost, path, userKey, `{}`); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// Keys that are revoked, have expired, or come from elsewhere do not open; nor does any key once the state is too old.
func TestWhoIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mux := watched(t, slog.New(slog.DiscardHandler))
		level2(t, s)
		now := cluster.Millis(time.Now().UnixMilli())
		change(t, s, cluster.PutApplication{Application: cluster.Application{AppID: cluster.AppID{Tenant: "default", ID: "portal"}, Models: []string{"*"}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
			cluster.PutKey{Key: cluster.Key{ID: "sk-app", App: "portal", Hash: wire.SecretHash("app-secret")}},
			cluster.PutKey{Key: cluster.Key{ID: "sk-old", Hash: wire.SecretHash("old-secret"), Expires: now + 10_000}})
		from := func(remote string, header ...string) int {
			r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
			r.RemoteAddr = remote
			r.Header.Set("Authorization", "Bearer app-secret")
			for i := 0; i+1 < len(header); i += 2 {
				r.Header.Add(header[i], header[i+1])
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			return w.Code
		}
		if a, b, c := from("10.1.2.3:4"), from("11.1.2.3:4"), from("11.1.2.3:4", "X-Forwarded-For", "10.1.2.3"); a != 200 || b != 401 || c != 401 {
			t.Errorf("%d %d %d", a, b, c)
		}
		s.proxies = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}
		for header, want := range map[string]int{"10.1.2.3": 200, "10.1.2.3, 11.0.0.1": 401, "11.0.0.1, 10.1.2.3": 200, "10.1.2.3, 192.168.3.4": 200, "x, 192.168.3.4": 401, "": 401} {
			if got := from("192.168.1.1:4", "X-Forwarded-For", header); got != want {
				t.Errorf("forwarded for %q: %d, want %d", header, got, want)
			}
		}
		models := func(key string) int { return ask(mux, http.MethodGet, "/v1/models", key, "").Code }
		if models("old-secret") != 200 {
			t.Error("a key that has not expired")
		}
		time.Sleep(11 * time.Second)
		if models("old-secret") != 401 {
			t.Error("a key that has expired")
		}
		time.Sleep(50 * time.Second)
		w := ask(mux, http.MethodGet, "/v1/models", userKey, "")
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "without contact") || w.Header().Get("Retry-After") == "" {
			t.Errorf("a state that is too old: %d %s", w.Code, w.Body)
		}
		if s.Ready() == nil {
			t.Error("ready with a state that is too old")
		}
		s.live.Confirm()
		if models(userKey) != 200 || s.Ready() != nil {
			t.Error("contact is back")
		}
	})
}

// A request whose key is revoked, or whose tenant is deleted, is ended with the error of an invalid key; others go on.
func TestExpelled(t *testing.T) {
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	change(t, s, cluster.PutTenant{Tenant: cluster.Tenant{ID: "acme", Weight: 1, Models: []string{"*"}}},
		cluster.PutKey{Key: cluster.Key{ID: "sk-acme", Tenant: "acme", Hash: wire.SecretHash("acme-secret")}})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go s.Guard(ctx)
	entered := make(chan struct{}, 2)
	h := s.entry(openAIForm, s.cfg.MaxBody, opOther, "", func(_ http.ResponseWriter, r *http.Request) error {
		entered <- struct{}{}
		<-r.Context().Done()
		return r.Context().Err()
	})
	answers := map[string]chan *httptest.ResponseRecorder{}
	staying, leave := context.WithCancel(t.Context())
	for _, key := range []string{"acme-secret", userKey} {
		answers[key] = make(chan *httptest.ResponseRecorder, 1)
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/", nil).WithContext(staying)
			r.Header.Set("Authorization", "Bearer "+key)
			w := httptest.NewRecorder()
			h(w, r)
			answers[key] <- w
		}()
		<-entered
	}
	change(t, s, cluster.DeleteTenant{ID: "acme", Was: tenantRev(t, s, "acme")})
	w := <-answers["acme-secret"]
	var body openAIError
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusUnauthorized || body.Error.Code == nil || *body.Error.Code != "invalid_api_key" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	select {
	case w := <-answers[userKey]:
		t.Errorf("another's request ended: %d", w.Code)
	default:
	}
	leave()
	if w := <-answers[userKey]; w.Code == http.StatusUnauthorized {
		t.Errorf("%d", w.Code)
	}
}
