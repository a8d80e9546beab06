package gateway

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/skein-project/skein/wire"
)

const requestIDHeader = "x-request-id"

// Operations beside those of telemetry.
const (
	opInfer  = "infer"
	opLabel  = "label_tokens"
	opFill   = "fill_mask"
	opAnswer = "answer"
	opRerank = "rerank"
	opModels = "models"
	opOther  = "other"
)

// form is how a protocol over HTTP writes what it has to say beside its answers.
type form struct {
	failure func(*Error) any // body of an error
	took    string           // header of the milliseconds that an answer took; "" = none
	id      string           // header of the request's id, beside the usual one; "" = none
}

// entry is the one way into every protocol over HTTP but Connect's: it puts who may call path, request id, size limit in bytes and the form of
// errors around a handler, which is given an *answer.
func (s *Server) entry(f form, maxBody int64, operation, path string, h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, c := s.begin(r, requestID(r.Header.Get(requestIDHeader)), operation)
		defer c.end()
		c.header = w.Header()
		w.Header().Set(requestIDHeader, c.id)
		if f.id != "" {
			w.Header().Set(f.id, c.id)
		}
		answerOn := func(w http.ResponseWriter) *answer {
			return &answer{ResponseWriter: w, form: f, explain: s.explain, began: c.began, call: c}
		}
		refuse := func(w http.ResponseWriter, err error) { answerOn(w).fail(err) }
		if err := s.enter(r, c, path); err != nil {
			c.fail(err)
			refuse(w, err)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if ofFiles(path) {
			r.Header.Set(viewHeader, viewNone)
		}
		s.shapes(w, r, c, refuse, func(w http.ResponseWriter) {
			c.reach()
			out := answerOn(w)
			if err := because(r.Context(), s.survive(r.Context(), func() error { return h(out, r) })); err != nil {
				c.fail(err)
				out.fail(err)
			}
		})
	}
}

func newID(prefix string) string { return prefix + string(wire.NewID()) }

// httpError is an error whose status is not the one of its fault.
type httpError struct {
	status int
	err    *Error
}

func (e *httpError) Error() string { return e.err.Error() }
func (e *httpError) Unwrap() error { return e.err }

// answer is a response that knows whether it has begun: after the first event an error is an event too.
type answer struct {
	http.ResponseWriter
	form      form
	explain   func(error) *Error
	began     time.Time
	call      *call // nil: nothing is noted
	streaming bool
	late      func(*Error) error // ends a stream with an error; nil = by an event that is the body of an error
}

// openAIError is the form of errors.
type openAIError struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

var openAIForm = form{failure: openAIFailure, took: "openai-processing-ms"}

// openAIFailure is the one place where errors become OpenAI errors.
func openAIFailure(e *Error) any {
	kind, code := "server_error", ""
	switch e.Fault {
	case FaultInvalid, FaultTask, FaultTooLarge:
		kind = "invalid_request_error"
	case FaultContext:
		kind, code = "invalid_request_error", "context_length_exceeded"
	case FaultKey:
		kind, code = "invalid_request_error", "invalid_api_key"
	case FaultPermission:
		kind, code = "invalid_request_error", "insufficient_permissions"
	case FaultModel:
		kind, code = "invalid_request_error", "model_not_found"
	case FaultBusy:
		kind, code = "rate_limit_error", "rate_limit_exceeded"
	case FaultLimit:
		kind, code = e.Meter, "rate_limit_exceeded"
	case FaultQuota:
		kind, code = "insufficient_quota", "insufficient_quota"
	}
	var body openAIError
	body.Error.Message, body.Error.Type = e.Why, kind
	if e.Param != "" {
		body.Error.Param = &e.Param
	}
	if code != "" {
		body.Error.Code = &code
	}
	return body
}

// statusOf is the one place where faults become HTTP statuses.
func statusOf(err error, e *Error) int {
	var he *httpError
	if errors.As(err, &he) {
		return he.status
	}
	switch e.Fault {
	case FaultInvalid, FaultTask, FaultContext:
		return http.StatusBadRequest
	case FaultKey:
		return http.StatusUnauthorized
	case FaultPermission:
		return http.StatusForbidden
	case FaultModel:
		return http.StatusNotFound
	case FaultBusy, FaultLimit, FaultQuota:
		return http.StatusTooManyRequests
	case FaultUnavailable:
		return http.StatusServiceUnavailable
	case FaultCanceled:
		return 499 // nobody reads it
	case FaultTooLarge:
		return http.StatusRequestEntityTooLarge
	case FaultTimeout:
		return http.StatusGatewayTimeout
	case FaultUnsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// fail ends the answer with an error.
func (a *answer) fail(err error) {
	e := a.explain(err)
	body := a.form.failure(e)
	if a.streaming && a.late != nil {
		_ = a.late(e) // the answer ends here whether the client is there or not
		return
	}
	if a.streaming {
		_ = a.event(body)
		return
	}
	status := statusOf(err, e)
	switch retry := retryAfter(e.Retry); {
	case (e.Fault == FaultLimit || e.Fault == FaultQuota) && e.Retry == 0:
		a.Header().Set("X-Should-Retry", "false") // it does not come back by itself
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		a.Header().Set("Retry-After", strconv.Itoa(int(retry/time.Second)))
	}
	a.json(status, body)
}

func (a *answer) json(status int, v any) {
	b, err := encoded(v)
	if err != nil { // an error's body always has a form
		a.call.fail(err)
		a.fail(err)
		return
	}
	a.Header().Set("Content-Type", "application/json")
	if a.form.took != "" {
		a.Header().Set(a.form.took, strconv.FormatInt(time.Since(a.began).Milliseconds(), 10))
	}
	a.WriteHeader(status)
	if status == http.StatusOK && a.call.keeps().Answers() {
		a.call.noteAnswer(b)
	}
	_, _ = a.Write(append(b, '\n')) // the client may be gone
}

// encoded is an answer, or a part of one, as JSON.
func encoded(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if errors.As(err, new(*json.UnsupportedValueError)) {
		return nil, errNotFinite
	}
	return b, err
}

// event sends one server-sent event. The first one sends the header.
func (a *answer) event(v any) error {
	b, err := encoded(v)
	if err != nil {
		return err
	}
	a.begin()
	if _, err := fmt.Fprintf(a.ResponseWriter, "data: %s\n\n", b); err != nil {
		return err
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

func (a *answer) begin() {
	if a.streaming {
		return
	}
	a.streaming = true
	h := a.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	a.WriteHeader(http.StatusOK)
}

func (a *answer) done() error {
	if _, err := io.WriteString(a.ResponseWriter, "data: [DONE]\n\n"); err != nil {
		return err
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// read decodes a request's body. Unknown fields are accepted, since clients send new ones; encoding/json bounds the depth.
func read(r *http.Request, v any) error {
	b, err := io.ReadAll(r.Body) // entry bounds it
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{Fault: FaultTooLarge, Why: fmt.Sprintf("the request is larger than %d bytes", tooLarge.Limit)}
	case err != nil:
		return &Error{Fault: FaultCanceled, Why: "the request ended early"}
	case !utf8.Valid(b):
		return invalid("", "the request's body is not UTF-8")
	}
	callOf(r.Context()).noteRequest(b)
	err = json.Unmarshal(b, v)
	var wrong *json.UnmarshalTypeError
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.As(err, &wrong):
		field := strings.TrimPrefix(wrong.Field, "params.") // the embedded struct is ours, not the client's
		return invalid(field, "%s: a %s does not fit here", field, wrong.Value)
	}
	return invalid("", "the request's body is not JSON: %v", err)
}

// params are the fields that chat and text completions share.
type params struct {
	Model               string             `json:"model"`
	Temperature         *float64           `json:"temperature"`
	TopP                *float64           `json:"top_p"`
	TopK                *int               `json:"top_k"`
	N                   *int               `json:"n"`
	Stream              bool               `json:"stream"`
	StreamOptions       *streamOptions     `json:"stream_options"`
	Stop                stringOrList       `json:"stop"`
	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Seed                *int64             `json:"seed"`
	FrequencyPenalty    float64            `json:"frequency_penalty"`
	PresencePenalty     float64            `json:"presence_penalty"`
	RepetitionPenalty   float64            `json:"repetition_penalty"`
	LogitBias           map[string]float64 `json:"logit_bias"`
	formats
	Tools            []toolJSON     `json:"tools"`
	Functions        []any          `json:"functions"`
	Modalities       []string       `json:"modalities"`
	Audio            map[string]any `json:"audio"`
	User             string         `json:"user"`
	SafetyIdentifier string         `json:"safety_identifier"`
	ServiceTier      string         `json:"service_tier"`
	Verbosity        string         `json:"verbosity"`
}

// session is what the client says about whose request it is.
func (p *params) session() string {
	s := cmp.Or(p.SafetyIdentifier, p.User)
	return s[:min(len(s), maxTalk)]
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// stringOrList is a string or a list of strings.
type stringOrList []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *stringOrList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		if string(b) != "null" {
			*s = stringOrList{one}
		}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return invalid("stop", "want a string or a list of strings")
	}
	*s = list
	return nil
}

// unsupported names a parameter that asks for what is not done. Such a request is refused: nothing that was asked for is dropped.
func (p *params) unsupported() string {
	switch {
	case len(p.Functions) > 0:
		return "functions"
	case slices.ContainsFunc(p.Modalities, func(m string) bool { return m != "text" }):
		return "modalities"
	case len(p.Audio) > 0:
		return "audio"
	case !slices.Contains([]string{"", "auto", "default"}, p.ServiceTier):
		return "service_tier"
	case !slices.Contains([]string{"", "medium"}, p.Verbosity):
		return "verbosity"
	}
	return ""
}

// ask reads the parameters over the model's defaults.
func (p *params) ask(t *text, maxChoices int) (a Ask, n int, err error) {
	a = Ask{Sampling: t.defaults.Over(t.manifest.Sampling), Stops: p.Stop, MaxTokens: t.tokens}
	if name := p.unsupported(); name != "" {
		return a, 0, invalid(name, "%s is not supported by this model", name)
	}
	if err := p.constrain(&a); err != nil {
		return a, 0, err
	}
	if a.Bias, err = biases(p.LogitBias); err != nil {
		return a, 0, err
	}
	a.penalise(p.FrequencyPenalty, p.PresencePenalty, p.RepetitionPenalty)
	if p.StreamOptions != nil && !p.Stream {
		return a, 0, invalid("stream_options", "stream_options needs stream")
	}
	if p.Temperature != nil {
		a.Sampling.Temperature = *p.Temperature
	}
	if p.TopK != nil {
		a.Sampling.TopK = *p.TopK
	}
	if p.TopP != nil {
		if a.Sampling.TopP = *p.TopP; *p.TopP == 0 { // what clients mean by it: the most likely token alone
			a.Sampling.TopP, a.Sampling.TopK = 1, 1
		}
	}
	var seed *uint64
	if p.Seed != nil {
		u := uint64(*p.Seed)
		seed = &u
	}
	a.Sampling.Seed = freshSeed(seed)
	if limit := cmp.Or(p.MaxCompletionTokens, p.MaxTokens); limit != nil {
		if err := a.limit(*limit); err != nil {
			return a, 0, err
		}
	}
	n = 1
	if p.N != nil {
		n = *p.N
	}
	if n < 1 || n > maxChoices {
		return a, 0, invalid("n", "n is %d, want 1 to %d", n, maxChoices)
	}
	return a, n, nil
}

func (p *params) usageWanted() bool { return p.StreamOptions != nil && p.StreamOptions.IncludeUsage }

// usageJSON counts tokens as OpenAI does.
type usageJSON struct {
	Prompt     int            `json:"prompt_tokens"`
	Completion int            `json:"completion_tokens"`
	Total      int            `json:"total_tokens"`
	PromptMore map[string]int `json:"prompt_tokens_details,omitempty"`
	More       map[string]int `json:"completion_tokens_details,omitempty"`
}

func usageOf(u Usage) *usageJSON {
	return &usageJSON{Prompt: u.Prompt, Completion: u.Completion, Total: u.Prompt + u.Completion,
		PromptMore: map[string]int{"cached_tokens": 0}, More: map[string]int{"reasoning_tokens": 0}}
}
