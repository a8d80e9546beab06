package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway"
	"github.com/skein-project/skein/internal/fleettest"
	"github.com/skein-project/skein/view"
)

// keep gives a tenant the next version of a view.
func keep(t *testing.T, f *fleettest.Fleet, tenant, name string, v view.View, models ...string) {
	t.Helper()
	id := cluster.DocumentID{Kind: cluster.AnswerView, ID: view.ID(tenant, name)}
	old, found := f.Leader().Live().Now().Document(id)
	var k view.Kept
	if found {
		if err := json.Unmarshal(old.Body, &k); err != nil {
			t.Fatal(err)
		}
	}
	k.Models = models
	k = k.Next(v, 1)
	if err := k.Validate(); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	f.Do(f.Leader(), cluster.PutDocument{Document: cluster.Document{DocumentID: id, Body: body}, Was: old.Rev})
}

// follows waits until a gateway knows what the leader knows.
func follows(t *testing.T, f *fleettest.Fleet, g *fleettest.Gateway) {
	t.Helper()
	to := f.Leader().Live().Now().Index()
	fleettest.Within(t, "the gateway follows", func() bool { return g.State().Index() >= to })
}

// viewed asks for completions in a view; "" = whatever the tenant wants.
func viewed(t testing.TB, url, key, name, body string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	if name != "" {
		r.Header.Set("Skein-View", name)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// Answers take the form that is asked for, or that the tenant wants by itself; errors and streams keep theirs, and what has no such form is an error.
func TestViewsOfAnswers(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	g := f.Gateway("g", gateway.Config{})
	acme, other := tenant(f, "acme", 100, "*"), tenant(f, "other", 100, "*")
	flat := view.View{Format: view.CSV, Rows: "/choices", Fields: []view.Field{
		{Name: "frage", From: view.Request, Pointer: "/prompt/1"}, {Name: "ende", Pointer: "/finish_reason"}, {Name: "tokens", From: view.Call, Pointer: "/answer_tokens"},
		{Name: "version", From: view.Call, Pointer: "/version"}}}
	keep(t, f, "acme", "flat", flat)
	follows(t, f, g)

	url, body := g.URL+"/v1/completions", `{"model": "calc", "prompt": [1, 2, 3], "max_tokens": 3}`
	want := "frage,ende,tokens,version\r\n2,length,3,calc@1\r\n"
	r := viewed(t, url, acme, "flat", body)
	if r.status != 200 || r.body != want || r.header.Get("Skein-View") != "flat@1" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/csv") {
		t.Errorf("%+v", r)
	}
	plain := viewed(t, url, acme, "", body)
	if plain.status != 200 || !strings.Contains(plain.body, `"choices"`) || plain.header.Get("Skein-View") != "" {
		t.Errorf("a view that nobody asked for: %+v", plain)
	}
	for name, why := range map[string]string{"flat@2": "no version 2", "round": "does not exist", "a/b": "letters"} {
		if r := viewed(t, url, acme, name, body); r.status != 400 || !strings.Contains(r.body, why) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := viewed(t, url, other, "flat", body); r.status != 400 || !strings.Contains(r.body, "does not exist") {
		t.Errorf("another tenant's view: %+v", r)
	}
	stream := strings.Replace(body, "{", `{"stream": true, `, 1)
	if r := viewed(t, url, acme, "flat", stream); r.status != 400 || !strings.Contains(r.body, "whole answers") {
		t.Errorf("a view of a stream: %+v", r)
	}
	if r := viewed(t, url, acme, "flat", `{"model": "nothing", "prompt": "x"}`); r.status != 404 || !strings.Contains(r.body, "model_not_found") {
		t.Errorf("an error in a view: %+v", r)
	}

	// The next version is the newest one's successor; the first stays what it was.
	flat.Fields = append(flat.Fields, view.Field{Name: "none", Pointer: "/none", Missing: view.Refuse})
	keep(t, f, "acme", "flat", flat, "calc")
	follows(t, f, g)
	if r := viewed(t, url, acme, "", body); r.status != http.StatusUnprocessableEntity || !strings.Contains(r.body, "flat: view: field") {
		t.Errorf("what has no such form: %+v", r)
	}
	if r := viewed(t, url, acme, "", strings.Replace(body, "calc", "calc@1", 1)); r.status != http.StatusUnprocessableEntity {
		t.Errorf("asked for by its version: %+v", r)
	}
	if r := viewed(t, url, acme, "flat@1", body); r.status != 200 || r.body != want {
		t.Errorf("the first version: %+v", r)
	}
	if r := viewed(t, url, acme, "none", body); r.status != 200 || !strings.Contains(r.body, `"choices"`) {
		t.Errorf("no view: %+v", r)
	}
	if r := viewed(t, url, acme, "", stream); r.status != 200 || !strings.Contains(r.body, "[DONE]") {
		t.Errorf("a stream: %+v", r)
	}
	if r := viewed(t, g.URL+"/v1/models", acme, "", ""); strings.Contains(r.body, "flat") {
		t.Errorf("%+v", r)
	}

	// Many at once use one view, while it changes.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if r := viewed(t, url, acme, "flat@1", body); r.status != 200 || r.body != want {
					t.Errorf("%+v", r)
				}
			}
		})
	}
	for i := range 5 {
		flat.Fields[0].Name = fmt.Sprint("f", i)
		keep(t, f, "acme", "flat", flat)
	}
	all.Wait()
}

// Of a request with binary tensors a view sees the JSON; a length that is none is as if nobody had said one.
func TestAskedInJSON(t *testing.T) {
	for length, want := range map[string]string{"": "{}\x00\xff", "2": "{}", "4": "{}\x00\xff", "5": "{}\x00\xff", "-1": "{}\x00\xff", "x": "{}\x00\xff"} {
		if got := gateway.Asked("{}\x00\xff", length); got != want {
			t.Errorf("%q: %q", length, got)
		}
	}
}

// Connect's JSON takes a view too; what is no JSON refuses one before anything is computed.
func TestViewsOfConnect(t *testing.T) {
	t.Parallel()
	f, _, _ := served(t, 1)
	g := f.Gateway("g", gateway.Config{})
	acme := tenant(f, "acme", 100, "*")
	keep(t, f, "acme", "names", view.View{Format: view.NDJSON, Rows: "/models", Fields: []view.Field{{Name: "n", Pointer: "/name"}}})
	follows(t, f, g)
	url := g.URL + "/skein.inference.v1.InferenceService/"
	if r := viewed(t, url+"ListModels", acme, "names", `{}`); r.status != 200 || r.body != "{\"n\":\"calc\"}\n" {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, kind := range []string{"application/proto", "application/connect+json", "application/grpc"} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"ListModels", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+acme)
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Skein-View", "names")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if said := string(b) + fmt.Sprint(res.Header, res.Trailer); !strings.Contains(said, "whole answers") {
			t.Errorf("%s: %d %s", kind, res.StatusCode, said)
		}
	}
}
