package gateway

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	oipv2 "github.com/skein-project/skein/api/inference"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/internal/openapi"
)

// pathDocument is where the description of the client API is published, to everybody.
const pathDocument = "/openapi.json"

// anyone are the paths that need no key.
var anyone = []struct{ path, summary string }{
	{pathDocument, "This document"},
	{pathOIPLive, "Say that the server runs"},
	{pathOIPReady, "Say whether requests should come here: 503 if not"},
}

// queries are the parameters behind the question mark, by method and path.
var queries = map[string][]string{
	"GET " + pathResponse + "/input_items": {"limit", "order", "after"},
	"GET " + pathFiles:                     {"limit", "order", "after", "purpose"},
	"GET " + pathBatches:                   {"limit", "order", "after"},
}

// written are the schemas of types that read JSON in more forms than one.
var written = map[reflect.Type]openapi.Schema{
	reflect.TypeFor[content]():       openapi.Either(openapi.Text(), openapi.List(openapi.Object("type", openapi.Text(), "text", openapi.Text()))),
	reflect.TypeFor[stringOrList]():  openapi.Either(openapi.Text(), openapi.List(openapi.Text())),
	reflect.TypeFor[responseInput](): openapi.Either(openapi.Text(), openapi.List(openapi.Object("type", openapi.Text(), "role", openapi.Text(), "content", openapi.Anything(), "call_id", openapi.Text(), "name", openapi.Text(), "arguments", openapi.Text(), "output", openapi.Anything()))),
	reflect.TypeFor[documentText]():  openapi.Either(openapi.Text(), openapi.Object("text", openapi.Text())),
	reflect.TypeFor[blocks]():        openapi.Either(openapi.Text(), openapi.List(openapi.Ref("Block"))),
}

// Document is the OpenAPI 3.1 description of every path of the client API, in JSON. It is made from the table that the mux is made from, and from
// the types that requests are read into and answers written from.
func Document() ([]byte, error) {
	d := openapi.New("Skein", "v1", "The client API of Skein: OpenAI, Anthropic, the Open Inference Protocol, and Connect, over one key.", written)
	for _, e := range routes() {
		op := openapi.Operation{Method: e.method, Path: documented(e.path), Tag: tagOf(e.path), Summary: e.contract.summary, Query: queries[e.method+" "+e.path],
			Request: e.contract.request, Answer: e.contract.answer, Event: e.contract.event, Failure: e.form.failure(&Error{})}
		d.Add(op)
	}
	for _, e := range anyone {
		d.Add(openapi.Operation{Method: http.MethodGet, Path: e.path, Tag: "public", Summary: e.summary, Public: true})
	}
	d.Services(inferencev1.File_skein_inference_v1_inference_proto, oipv2.File_inference_inference_proto)
	return d.JSON()
}

// documented is a path without what only net/http reads.
func documented(path string) string { return strings.ReplaceAll(path, "...}", "}") }

// tagOf is the protocol of a path.
func tagOf(path string) string {
	switch {
	case strings.HasPrefix(path, pathMessages):
		return "Anthropic"
	case path == pathRerank, path == pathRerank2:
		return "ranking"
	case strings.HasPrefix(path, "/v2"):
		return "Open Inference Protocol"
	}
	return "OpenAI"
}

// registerDocument publishes the document. It holds nothing that is secret.
func (s *Server) registerDocument(mux doors) {
	b, err := Document()
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(b))
	mux.HandleFunc("GET "+pathDocument, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case err != nil:
			http.Error(w, "the document cannot be written", http.StatusInternalServerError)
		case r.Header.Get("If-None-Match") == tag:
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", tag)
			_, _ = w.Write(b) // the client may be gone
		}
	})
}
