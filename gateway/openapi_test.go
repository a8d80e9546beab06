package gateway

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// written by SKEIN_WRITE=1 go test -run TestDocument ./gateway
var published = filepath.Join("..", "docs", "openapi.json")

// The document that is published is the one in docs, and it is served to everybody.
func TestDocument(t *testing.T) {
	got, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SKEIN_WRITE") != "" {
		if err := os.WriteFile(published, append(got, '\n'), 0o644); err != nil { //nolint:gosec // it is published
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(published)
	if err != nil || strings.TrimSpace(string(want)) != string(got) {
		t.Errorf("%s is not what the gateway publishes (%v): write it anew with SKEIN_WRITE=1", published, err)
	}
	_, mux := watched(t, slog.New(slog.DiscardHandler))
	w := ask(mux, http.MethodGet, pathDocument, "", "")
	if w.Code != http.StatusOK || w.Body.String() != string(got) || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("served: %d, %d bytes", w.Code, w.Body.Len())
	}
	if w := ask(mux, http.MethodGet, pathDocument, "", "", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("the same again: %d", w.Code)
	}
}

// Every way that the mux knows is in the document, and the other way round.
func TestDocumentIsTheMux(t *testing.T) {
	_, mux := watched(t, slog.New(slog.DiscardHandler))
	b, err := Document()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for path, methods := range doc.Paths {
		for method := range methods {
			told[strings.ToUpper(method)+" "+path] = true
			_, pattern := mux.Handler(httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), nil))
			prefix := "/" + strings.SplitN(path, "/", 3)[1] + "/" // of a service of Connect
			if pattern != strings.ToUpper(method)+" "+path && pattern != prefix {
				t.Errorf("%s %s goes to %q", method, path, pattern)
			}
		}
	}
	var ways []string
	for _, e := range routes() {
		ways = append(ways, e.method+" "+documented(e.path))
	}
	for path := range Needs() {
		if !slices.ContainsFunc(routes(), func(e route) bool { return e.path == path }) && path != pathMetrics {
			ways = append(ways, http.MethodPost+" "+path)
		}
	}
	for _, e := range anyone {
		ways = append(ways, http.MethodGet+" "+e.path)
	}
	for _, way := range ways {
		if !told[way] {
			t.Errorf("%s is not in the document", way)
		}
		delete(told, way)
	}
	for way := range told {
		t.Errorf("the document has %s, and nobody serves it", way)
	}
	if len(ways) < 40 {
		t.Errorf("only %d ways", len(ways))
	}
}
