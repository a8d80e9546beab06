package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/oip"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/view"
)

// Tokens are counted within the limits of whoever asks, as a call of no tokens, and a count is neither an inference nor demand.
func TestCountTokens(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	level2(t, s)
	preload(s, fixture(t, "qwen2"))
	change(t, s, cluster.PutLimits{Set: cluster.LimitSet{Subject: cluster.TenantSubject("default"), Limits: []cluster.Limited{
		{Limit: quota.Limit{Meter: quota.Requests, Window: quota.Life, Amount: 2}}, {Limit: quota.Limit{Meter: quota.Tokens, Window: quota.Life, Amount: 1}}}}})
	ctx, stop := context.WithCancel(t.Context())
	settled := make(chan error, 1)
	go func() { settled <- s.Settle(ctx, Account{Gateway: "m", Settler: applier{t, s}, Dir: t.TempDir()}) }()
	defer func() {
		stop()
		if err := <-settled; err != nil {
			t.Error(err)
		}
	}()
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		w := ask(mux, http.MethodPost, "/v1/messages/count_tokens", userKey, `{"model": "sums", "messages": [{"role": "user", "content": "hello"}]}`)
		if w.Code != want || want == http.StatusOK && !strings.Contains(w.Body.String(), `"input_tokens":`) {
			t.Errorf("count %d: %d %s, want %d", i, w.Code, w.Body, want)
		}
	}
	if n := s.served.of(cluster.VersionID{Model: "calc", Number: 1}, ""); n != (oip.Tally{}) {
		t.Errorf("counts are inferences: %+v", n)
	}
	if d := s.CutDemand(); len(d) > 0 {
		t.Errorf("counts are demand: %+v", d)
	}
	n := 0.0
	for _, m := range families(t, mux)["skein_gateway_requests_total"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetValue() == opCount {
				n += m.GetCounter().GetValue()
			}
		}
	}
	if n != 3 {
		t.Errorf("%g counts are told, want 3", n)
	}
}

// What is not there is refused as the protocol of its path does, and models' names may have slashes.
func TestPaths(t *testing.T) {
	s, mux := watched(t, slog.New(slog.DiscardHandler))
	change(t, s, cluster.PutAlias{Name: "team/x", Target: cluster.VersionID{Model: "calc", Number: 1}, Force: true})
	for _, path := range []string{"/v1/messages/batches", "/v1/messages/batches/x/results", "/v1/messages/"} {
		if w := ask(mux, http.MethodPost, path, userKey, "{}"); w.Code != http.StatusNotFound || !strings.HasPrefix(w.Body.String(), `{"type":"error","error":{`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if w := ask(mux, http.MethodPost, path, "", "{}"); w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Body.String(), `{"type":"error","error":{`) {
			t.Errorf("%s without a key: %d %s", path, w.Code, w.Body)
		}
	}
	for path, want := range map[string]string{"/v1/models/team/x": `200 {"id":"team/x"`, "/v1/models/team%2Fx": `200 {"id":"team/x"`, "/v1/models/sums": `200 {"id":"sums"`, "/v1/models/team/y": `404 {"error":{`,
		"/v1/models/team/x/y": `404 {"error":{`, "/v1/models/": `404 {"error":{`, "/v1/other": `404 {"error":{`} {
		w := ask(mux, http.MethodGet, path, userKey, "")
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if w := ask(mux, http.MethodPost, "/v1/models/team/x", userKey, ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("another method: %d %s", w.Code, w.Body)
	}
	if w := ask(mux, http.MethodGet, "/v1/models/team/x", "", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", w.Code, w.Body)
	}
}

// An error in the place of an answer says nothing of how long that answer's JSON would have been.
func TestTurnedDown(t *testing.T) {
	s, _ := watched(t, slog.New(slog.DiscardHandler))
	rec := httptest.NewRecorder()
	w := &shaped{ResponseWriter: rec, c: &call{s: s}, name: view.Name{View: "flat"}, refuse: func(w http.ResponseWriter, err error) {
		(&answer{ResponseWriter: w, form: oipForm, explain: s.explain}).fail(err)
	}}
	if err := writeOIP(w, oip.Body{JSON: []byte("{}"), Binary: [][]byte{{1}}}); err == nil {
		t.Error("the answer was taken")
	}
	if rec.Code != http.StatusBadRequest || rec.Header().Get(oip.HeaderLength) != "" || rec.Header().Get("Content-Length") != "" {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}

// What nobody does is refused by its name, in chats as in responses, and what is done anyhow may be asked for.
func TestTiers(t *testing.T) {
	for body, want := range map[string]string{`{"service_tier": "auto"}`: "", `{"service_tier": "default", "verbosity": "medium"}`: "", `{"service_tier": null, "verbosity": null}`: "",
		`{"service_tier": "flex"}`: "service_tier", `{"service_tier": "priority"}`: "service_tier", `{"verbosity": "low"}`: "verbosity"} {
		var chat chatRequest
		if err := json.Unmarshal([]byte(body), &chat); err != nil {
			t.Fatal(err)
		}
		if got := chat.params.unsupported(); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
