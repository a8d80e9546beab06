package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/telemetry"
)

// route is a way to call the gateway over HTTP beside Connect's. The mux, what each path needs, and the published OpenAPI document are made
// from one table of them.
type route struct {
	method    string
	path      string // pattern of net/http, without the method
	operation string // of metrics and traces
	needs     accessv1.Permission
	form      form
	handler   func(*Server, http.ResponseWriter, *http.Request) error
	most      func(Config) int64 // bytes of a request; nil = Config.MaxBody
	contract  contract
}

// contract is what the published document says about a route beside its path.
type contract struct {
	summary string
	request any // value of the type of the request's body; nil = there is none
	answer  any // value of the type of the answer
	event   any // value of the type of the events of an answer that is streamed; nil = none is
}

// routes is the table of all routes.
func routes() []route {
	return slices.Concat(openAIRoutes(), responseRoutes(), anthropicRoutes(), oipRoutes(), batchRoutes())
}

// openAIRoutes are the OpenAI HTTP API (OpenAI API reference, 2026).
func openAIRoutes() []route {
	infer := accessv1.Permission_PERMISSION_INFER
	return []route{
		{http.MethodPost, pathChat, telemetry.OpChat, infer, openAIForm, (*Server).chatCompletions, nil,
			contract{"Answer a conversation", chatRequest{}, completionJSON{}, completionJSON{}}},
		{http.MethodPost, pathCompletions, telemetry.OpText, infer, openAIForm, (*Server).completions, nil,
			contract{"Continue texts", completionRequest{}, completionJSON{}, completionJSON{}}},
		{http.MethodPost, pathEmbeddings, telemetry.OpEmbeddings, infer, openAIForm, (*Server).embeddings, nil,
			contract{"Turn texts into vectors", embeddingRequest{}, embeddingsJSON{}, nil}},
		{http.MethodPost, pathRerank, opRerank, infer, openAIForm, (*Server).rerankings, nil,
			contract{"Rank documents by how well they fit a query", rerankRequest{}, rankingsJSON{}, nil}},
		{http.MethodPost, pathRerank2, opRerank, infer, openAIForm, (*Server).rerankings, nil,
			contract{"Rank documents by how well they fit a query", rerankRequest{}, rankingsJSON{}, nil}},
		{http.MethodGet, pathModels, opModels, infer, openAIForm, (*Server).listModels, nil,
			contract{"List the models that the key may call", nil, modelsJSON{}, nil}},
		{http.MethodGet, pathModel, opModels, infer, openAIForm, (*Server).getModel, nil,
			contract{"Describe a model", nil, modelJSON{}, nil}},
	}
}

// responseRoutes are the responses of the OpenAI HTTP API.
func responseRoutes() []route {
	infer := accessv1.Permission_PERMISSION_INFER
	return []route{
		{http.MethodPost, pathResponses, telemetry.OpChat, infer, openAIForm, (*Server).createResponse, nil,
			contract{"Answer a conversation, and keep the answer to go on from", responseRequest{}, responseJSON{}, responseEvent{}}},
		{http.MethodGet, pathResponse, opResponses, infer, openAIForm, (*Server).getResponse, nil,
			contract{"Give a response that is kept", nil, responseJSON{}, nil}},
		{http.MethodDelete, pathResponse, opResponses, infer, openAIForm, (*Server).deleteResponse, nil,
			contract{"Forget a response", nil, deletedJSON{}, nil}},
		{http.MethodPost, pathResponse + "/cancel", opResponses, infer, openAIForm, (*Server).cancelResponse, nil,
			contract{"Cancel a response in the background: there are none, so this is refused", nil, responseJSON{}, nil}},
		{http.MethodGet, pathResponse + "/input_items", opResponses, infer, openAIForm, (*Server).listItems, nil,
			contract{"List what went into a response", nil, itemsJSON{}, nil}},
	}
}

// anthropicRoutes are the Anthropic HTTP API (Anthropic API reference, version 2023-06-01).
func anthropicRoutes() []route {
	infer := accessv1.Permission_PERMISSION_INFER
	return []route{
		{http.MethodPost, pathMessages, telemetry.OpChat, infer, anthropicForm, (*Server).createMessage, nil,
			contract{"Answer a conversation", messagesRequest{}, messageAnswer{}, messageEvent{}}},
		{http.MethodPost, pathMessages + "/count_tokens", opCount, infer, anthropicForm, (*Server).countTokens, nil,
			contract{"Count the tokens of a conversation", messagesRequest{}, countJSON{}, nil}},
	}
}

// Paths of the responses and of the Anthropic API.
const (
	pathResponses = "/v1/responses"
	pathResponse  = "/v1/responses/{response}"
	pathMessages  = "/v1/messages"
)

// Operations of these beside those of telemetry.
const (
	opResponses = "responses"
	opCount     = "count_tokens"
)

// registerRoutes adds the table to a mux. A path that is called with another method, or that is not there, is refused in the form of its protocol.
func (s *Server) registerRoutes(mux doors) {
	methods := map[string][]string{}
	for _, e := range routes() {
		most := s.cfg.MaxBody
		if e.most != nil {
			most = e.most(s.cfg)
		}
		mux.HandleFunc(e.method+" "+e.path, s.entry(e.form, most, e.operation, e.path, func(w http.ResponseWriter, r *http.Request) error { return e.handler(s, w, r) }))
		if methods[e.path] = append(methods[e.path], e.method); len(methods[e.path]) > 1 {
			continue
		}
		mux.HandleFunc(e.path, s.entry(e.form, most, opOther, "", func(w http.ResponseWriter, r *http.Request) error {
			allowed := strings.Join(methods[e.path], ", ")
			w.Header().Set("Allow", allowed)
			return &httpError{http.StatusMethodNotAllowed, &Error{Fault: FaultInvalid, Why: fmt.Sprintf("%.40q is not a method of %s: use %s", r.Method, e.path, allowed)}}
		}))
	}
	other := s.entry(openAIForm, s.cfg.MaxBody, opOther, "", absent)
	mux.HandleFunc("/v1/", other)
	mux.HandleFunc(pathMessages+"/", s.entry(anthropicForm, s.cfg.MaxBody, opOther, "", absent))
	mux.HandleFunc(pathModels+"/", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.EscapedPath(), pathModels+"/")
		if parts := strings.Split(name, "/"); len(parts) > 1 {
			readdressed(mux.ServeMux, w, r, pathModels+"/"+strings.Join(parts, "%2F"))
			return
		}
		other(w, r)
	})
}

// readdressed serves a request as one for another path, which is escaped.
func readdressed(mux *http.ServeMux, w http.ResponseWriter, r *http.Request, path string) {
	to := *r.URL
	to.RawPath, r = path, r.Clone(r.Context())
	r.URL = &to
	mux.ServeHTTP(w, r)
}

// absent answers for paths that are not there.
func absent(_ http.ResponseWriter, r *http.Request) error {
	return &httpError{http.StatusNotFound, &Error{Fault: FaultInvalid, Why: fmt.Sprintf("%.200q is not served here", r.URL.Path)}}
}
