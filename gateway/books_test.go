package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/telemetry"
	"github.com/skein-project/skein/wire"
)

// emptyLibrary has no blobs.
type emptyLibrary struct{}

func (emptyLibrary) ReadBlob(context.Context, blob.Ref) ([]byte, error) {
	return nil, errors.New("no such blob: the words of secret-error")
}

func (emptyLibrary) BlobSize(context.Context, blob.Digest) (int64, error) { return 1, nil }

const (
	userKey  = "sk-11111111-user-secret"
	adminKey = "sk-22222222-admin-secret"
)

// watched is a gateway over a state with two keys and a version whose files cannot be read.
func watched(t testing.TB, log *slog.Logger) (*Server, *http.ServeMux) {
	t.Helper()
	state := live.New()
	v := cluster.VersionID{Model: "calc", Number: 1}
	digest := blob.Of([]byte("x")).Digest()
	profile := shard.Profile{Decoder: true, Hidden: 64, Vocab: 1000, Positions: 64, Heads: 4, Inner: 256, Expand: 100, BlockCost: 1000, TailCost: 500, Blocks: []gpu.Bytes{gpu.MiB}}
	next, errs := cluster.Apply(state.Now(), 1, cluster.Envelope{V: cluster.EnvelopeFormat, At: 1, Txns: []cluster.Txn{
		{Do: []cluster.Command{cluster.Init{ID: "c", CACert: []byte("c"), CAKey: []byte("k")}}},
		{Do: []cluster.Command{cluster.PutMember{Member: cluster.Member{ID: "m", Role: cluster.RoleCoordinator, Name: "m", Addr: "127.0.0.1:1"}}}},
		{Do: []cluster.Command{cluster.PutKey{Key: cluster.Key{ID: "sk-11111111", Name: "user", Hash: wire.SecretHash(userKey)}}}},
		{Do: []cluster.Command{cluster.PutKey{Key: cluster.Key{ID: "sk-22222222", Name: "admin", Hash: wire.SecretHash(adminKey), Admin: true}}}},
		{Do: []cluster.Command{cluster.PutVersion{Version: cluster.Version{VersionID: v, Manifest: digest, Profile: profile, Holders: []cluster.NodeID{"m"}, Bytes: 1, Tasks: []string{"generate"}}}}},
		{Do: []cluster.Command{cluster.PutAlias{Name: "sums", Target: v, Force: true}}},
	}})
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	state.Store(next)
	state.Confirm()
	s, err := New(Config{}, state, emptyLibrary{}, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s.Register(mux)
	metrics := telemetry.NewRegistry("test")
	metrics.Add(s.Collect)
	mux.Handle("GET /metrics", s.Protect(metrics.Handler()))
	return s, mux
}

func ask(mux http.Handler, method, path, key, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func families(t *testing.T, mux http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	w := ask(mux, http.MethodGet, "/metrics", adminKey, "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	f, err := parser.TextToMetricFamilies(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d: %v", w.Code, err)
	}
	return f
}

// Every request is counted once, however it ends, and nothing of what it says gets into labels or logs.
func TestEveryRequestIsCounted(t *testing.T) {
	var logged bytes.Buffer
	_, mux := watched(t, slog.New(slog.NewJSONHandler(&logged, nil)))
	const secret = "canary"
	requests := []struct {
		method, path, key, body string
		operation, outcome      string
		status                  int
	}{
		{"POST", "/v1/chat/completions", "", `{}`, "chat", "key", 401},
		{"POST", "/v1/chat/completions", "sk-" + secret, `{}`, "chat", "key", 401},
		{"POST", "/v1/chat/completions", userKey, `{"model": "canary", "messages": []}`, "chat", "model", 404},
		{"POST", "/v1/chat/completions", userKey, `{"model": "sums", "messages": [{"role": "user", "content": "canary"}]}`, "chat", "internal", 500},
		{"POST", "/v1/completions", userKey, `{"model": "calc@1", "prompt": "canary"}`, "text_completion", "internal", 500},
		{"POST", "/v1/completions", userKey, `{"canary`, "text_completion", "invalid", 400},
		{"POST", "/v1/embeddings", userKey, `{"model": "canary", "input": "canary"}`, "embeddings", "model", 404},
		{"GET", "/v1/models", userKey, "", "models", "ok", 200},
		{"GET", "/v1/models/canary", userKey, "", "models", "model", 404},
		{"GET", "/v1/canary", userKey, "", "other", "invalid", 404},
		{"PUT", "/v1/completions", userKey, "", "other", "invalid", 405},
		{"POST", "/skein.inference.v1.InferenceService/ListModels", userKey, `{}`, "models", "ok", 200},
		{"POST", "/skein.inference.v1.InferenceService/ListModels", "", `{}`, "models", "key", 401},
		{"POST", "/skein.inference.v1.InferenceService/ListModels", userKey, `{"canary`, "models", "invalid", 400},
		{"POST", "/skein.inference.v1.InferenceService/Embed", userKey, `{"model": "sums", "texts": ["canary"]}`, "embeddings", "internal", 500},
		{"POST", "/skein.inference.v1.InferenceService/Canary", userKey, `{}`, "other", "invalid", 404},
	}
	want := map[string]float64{}
	for _, r := range requests {
		w := ask(mux, r.method, r.path, r.key, r.body, "X-Request-Id", "canary with blanks", "X-Canary", secret, "Tracestate", "canary=1", "Traceparent", "canary")
		if w.Code != r.status {
			t.Errorf("%s %s %s: %d %s, want %d", r.method, r.path, r.body, w.Code, w.Body, r.status)
		}
		if id := w.Header().Get("X-Request-Id"); id == "" || strings.Contains(id, secret) {
			t.Errorf("%s %s: request id %q", r.method, r.path, id)
		}
		want[r.operation+" "+r.outcome]++
	}
	got, sum := map[string]float64{}, 0.0
	all := families(t, mux)
	for _, m := range all[string(telemetry.Requests)].Metric {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		got[labels["operation"]+" "+labels["outcome"]] += m.Counter.GetValue()
		sum += m.Counter.GetValue()
		if labels["model"] != "" && (labels["version"] != "calc@1" || labels["tenant"] != "default") {
			t.Errorf("labels %v", labels)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || sum != float64(len(requests)) {
		t.Errorf("counted %v, want %v", got, want)
	}
	measured := uint64(0)
	for _, m := range all[string(telemetry.RequestDuration)].Metric {
		measured += m.Histogram.GetSampleCount()
	}
	if measured != 6 { // those with a key that are inference
		t.Errorf("%d requests measured", measured)
	}
	w := ask(mux, http.MethodGet, "/metrics", adminKey, "")
	for name, text := range map[string]string{"metrics": w.Body.String(), "the log": logged.String()} {
		for _, bad := range []string{secret, "user-secret", "admin-secret"} {
			if i := strings.Index(text, bad); i >= 0 {
				t.Errorf("%s hold %q: …%s…", name, bad, text[max(0, i-80):min(len(text), i+80)])
			}
		}
	}
	if n := strings.Count(logged.String(), `"msg":"request"`); n != len(requests) {
		t.Errorf("%d lines for %d requests", n, len(requests))
	}
	var line struct {
		Level, ID, Tenant, Key, Outcome string
	}
	if err := json.Unmarshal(bytes.SplitN(logged.Bytes(), []byte("\n"), 4)[2], &line); err != nil || line.Tenant != "default" || line.Key != "sk-11111111" || line.Outcome != "model" {
		t.Errorf("%+v, %v", line, err)
	}
}

func TestWhoMayWatch(t *testing.T) {
	_, mux := watched(t, slog.New(slog.DiscardHandler))
	for key, want := range map[string]int{"": 401, "nonsense": 401, userKey: 403, adminKey: 200} {
		if w := ask(mux, http.MethodGet, "/metrics", key, ""); w.Code != want || want != 200 && strings.Contains(w.Body.String(), "skein_") {
			t.Errorf("%q: %d", key, w.Code)
		}
	}
}

// A cut gives what happened since the last one, once.
func TestDemand(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	if d := s.CutDemand(); len(d) != 0 {
		t.Errorf("at the start: %+v", d)
	}
	for range 10 {
		ask(mux, http.MethodPost, "/v1/completions", userKey, `{"model": "sums", "prompt": "x"}`)
	}
	ask(mux, http.MethodPost, "/v1/completions", userKey, `{"model": "nothing", "prompt": "x"}`)
	v := cluster.VersionID{Model: "calc", Number: 1}
	d := s.CutDemand()
	if len(d) != 1 || d[0].Version != v || d[0].Tenant != "default" || d[0].Arrived != 10 || d[0].Ended != 10 || d[0].Failed != 10 || len(d[0].Failing) != cluster.MaxFailing {
		t.Fatalf("%+v", d)
	}
	if d := s.CutDemand(); len(d) != 0 {
		t.Errorf("cut twice: %+v", d)
	}
	// One request that runs over several cuts, and answers.
	r, c := s.begin(httptest.NewRequest(http.MethodPost, "/", nil), "id", telemetry.OpChat)
	c.by(cluster.Principal{Tenant: "acme", Key: "sk-1"})
	c.reach()
	c.resolve("sums", v)
	done := c.wait()
	if d := s.CutDemand(); len(d) != 1 || d[0].Tenant != "acme" || d[0].Arrived != 1 || d[0].Waiting != 1 || d[0].Running != 0 {
		t.Errorf("waits: %+v", d)
	}
	done()
	_, tried := c.attempt(r.Context(), router.Route{Endpoints: []string{"x"}})
	if d := s.CutDemand(); len(d) != 1 || d[0].Arrived != 0 || d[0].Waiting != 0 || d[0].Running != 1 {
		t.Errorf("runs: %+v", d)
	}
	tried(nil)
	c.asked(7)
	c.gave()
	c.gave()
	c.end()
	d = s.CutDemand()
	if len(d) != 1 || d[0].Running != 0 || d[0].Ended != 1 || d[0].Failed != 0 || d[0].Prompt != 7 || d[0].Answer != 2 || d[0].First.Count() != 1 || d[0].Total.Count() != 1 {
		t.Errorf("answered: %+v", d)
	}
	if b, err := json.Marshal(d); err != nil || len(b) > 400 {
		t.Errorf("%s, %v", b, err)
	}
}

// Books stay bounded, and forget versions that are gone.
func TestBooksAreBounded(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	const n = maxRows + 100
	for i := range n {
		_, c := s.begin(httptest.NewRequest(http.MethodPost, "/", nil), "id", telemetry.OpChat)
		c.by(cluster.Principal{Tenant: fmt.Sprint("t", i), Key: "sk-1"})
		c.reach()
		c.resolve("sums", cluster.VersionID{Model: "calc", Number: 1})
		c.end()
	}
	if len(s.books.flows) > maxRows+1 || len(s.books.requests) > maxRows+1 || len(s.books.tokens) > maxRows+1 {
		t.Errorf("%d flows, %d requests, %d tokens", len(s.books.flows), len(s.books.requests), len(s.books.tokens))
	}
	total := 0.0
	for _, m := range families(t, mux)[string(telemetry.Requests)].Metric {
		total += m.Counter.GetValue()
	}
	if total != n {
		t.Errorf("%v counted, want %d", total, n)
	}
	s.live.Store(live.New().Now()) // another state, without the version
	s.books.mu.Lock()
	s.books.prune(s.live.Now())
	s.books.mu.Unlock()
	if len(s.books.flows)+len(s.books.tokens)+len(s.books.measures) > 3 {
		t.Errorf("kept %d flows, %d tokens, %d measures", len(s.books.flows), len(s.books.tokens), len(s.books.measures))
	}
}

func TestRequestID(t *testing.T) {
	for given, kept := range map[string]bool{"": false, "mine-1": true, "A.b_C-9": true, strings.Repeat("x", maxRequestID): true, strings.Repeat("x", maxRequestID+1): false,
		"a b": false, "a\n": false, `a"`: false, "ä": false} {
		if got := requestID(given); (got == given) != kept || got == "" {
			t.Errorf("%q: %q", given, got)
		}
	}
}

func TestEveryFaultHasAName(t *testing.T) {
	seen := map[string]bool{}
	for f := FaultInternal; f <= FaultQuota; f++ {
		if name := f.String(); name == "other" || seen[name] {
			t.Errorf("fault %d is called %q", f, name)
		} else {
			seen[name] = true
		}
	}
}

// What the books cost: one request of 32 tokens over one attempt, noted and not.
func BenchmarkBooks(b *testing.B) {
	v := cluster.VersionID{Model: "calc", Number: 1}
	route := router.Route{Endpoints: []string{"x"}}
	for name, log := range map[string]*slog.Logger{"quiet": slog.New(slog.DiscardHandler), "line": slog.New(slog.NewJSONHandler(discard{}, nil))} {
		b.Run(name, func(b *testing.B) {
			s, _ := watched(b, log)
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			b.ReportAllocs()
			for b.Loop() {
				q, c := s.begin(r, "req-1", telemetry.OpChat)
				c.by(cluster.Principal{Tenant: "default", Key: "sk-1"})
				c.reach()
				callOf(q.Context()).resolve("sums", v)
				_, done := callOf(q.Context()).attempt(q.Context(), route)
				for range 32 {
					c.gave()
				}
				done(nil)
				c.asked(100)
				c.finish(FinishStop)
				c.end()
			}
		})
	}
	b.Run("without", func(b *testing.B) {
		var none *call
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			none.resolve("sums", v)
			_, done := none.attempt(ctx, route)
			for range 32 {
				none.gave()
			}
			done(nil)
			none.asked(100)
			none.finish(FinishStop)
		}
	})
}

// discard takes lines as a file would, and keeps none.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
