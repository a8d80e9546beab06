package gateway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
)

// explosive is a library in which every call panics.
type explosive struct{}

// ReadBlob implements Library.
func (explosive) ReadBlob(context.Context, blob.Ref) ([]byte, error) { panic("secret of a library") }

// BlobSize implements Library.
func (explosive) BlobSize(context.Context, blob.Digest) (int64, error) { panic("secret of a library") }

// A request that panics ends with an internal error, over every protocol, also where no server of HTTP stands around it: as one of several
// choices, as a copy for a shadow version, and as a line of a batch, which the next gateway would be given too (attack case 28).
func TestPanicsEndRequests(t *testing.T) {
	var logged bytes.Buffer
	s, mux := watched(t, slog.New(slog.NewTextHandler(&logged, nil)))
	bang := func(string) func() error { return func() error { var t *text; _ = t.limit; return nil } }
	mux.HandleFunc("/bang", s.entry(openAIForm, 10, opOther, "", func(http.ResponseWriter, *http.Request) error { return bang("")() }))
	n := uint64(0)
	told := func(what string, status int, body string) {
		t.Helper()
		if n++; status != http.StatusInternalServerError || !strings.Contains(body, "internal error") || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", what, status, body)
		}
		if got := s.panics.Load(); got != n {
			t.Errorf("%s: %d panics are counted, want %d", what, got, n)
		}
	}
	w := ask(mux, http.MethodGet, "/bang", userKey, "")
	told("a handler", w.Code, w.Body.String())
	if !strings.Contains(logged.String(), "survive_test.go") || !strings.Contains(logged.String(), w.Header().Get(requestIDHeader)) {
		t.Errorf("the log tells no stack, or not of which request: %s", logged.String())
	}
	s.library = explosive{}
	for range 2 { // what did not load is loaded again
		w = ask(mux, http.MethodPost, "/v1/completions", userKey, `{"model": "sums", "prompt": "x"}`)
		told("a load", w.Code, w.Body.String())
	}
	who, _ := s.live.Now().Admit((&cluster.Key{}).Hash, 0, s.from(&http.Request{}))
	for d := range s.live.Now().Keys() {
		if d.ID == "sk-11111111" {
			who, _ = s.live.Now().Admit(d.Hash, 1, s.from(&http.Request{}))
		}
	}
	h, err := s.ask(t.Context(), who, "/v1/completions", []byte(`{"model": "sums", "prompt": "x"}`))
	if err != nil {
		t.Fatal(err)
	}
	told("a line of a batch", h.status, h.body.String())
	if out, bad := h.line("x"); !bad || !strings.Contains(string(out), `"status_code":500`) {
		t.Errorf("the line is %s", out)
	}
	s.texts.byDigest = map[blob.Digest]*textEntry{}
	preload(s, nil) // as no version's is: whatever is done with it panics
	for _, path := range []string{inferencev1connect.InferenceServiceEmbedProcedure, "/inference.GRPCInferenceService/ModelInfer"} {
		w = ask(mux, http.MethodPost, path, userKey, `{"model": "sums", "modelName": "sums"}`)
		told(path, w.Code, w.Body.String())
	}
	err = s.each(t.Context(), nil, []Ask{{}}, func(int) func(Piece) error { return nil })
	told("a choice", statusOf(err, explain(err)), err.Error())
	ctx := context.WithValue(t.Context(), callKey{}, &call{s: s})
	preload(s, &text{})
	s.texts.byDigest = map[blob.Digest]*textEntry{}
	preload(s, &text{})
	s.shadowed(ctx, &copied{name: "calc", version: cluster.VersionID{Model: "calc", Number: 1}}, func(context.Context, *text) (bool, bool, error) { panic("copy") })
	s.shadows <- struct{}{} // all but this one
	for range cap(s.shadows) - 1 {
		s.shadows <- struct{}{}
	}
	if n++; s.panics.Load() != n {
		t.Errorf("a copy: %d panics, want %d", s.panics.Load(), n)
	}
	if v := families(t, mux)["skein_gateway_panics_total"].GetMetric()[0].GetCounter().GetValue(); v != float64(n) {
		t.Errorf("%g panics are told, want %d", v, n)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // it is the value itself
			t.Errorf("an abort became %v", v)
		}
	}()
	_ = s.survive(t.Context(), func() error { panic(http.ErrAbortHandler) })
	t.Error(errors.New("an abort is no error"))
}
