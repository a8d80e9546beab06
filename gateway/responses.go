package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// responseRequest is the body of POST /v1/responses (OpenAI API reference, 2026).
type responseRequest struct {
	Model             string            `json:"model"`
	Input             responseInput     `json:"input"`
	Instructions      string            `json:"instructions"`
	Previous          string            `json:"previous_response_id"`
	Stream            bool              `json:"stream"`
	Store             *bool             `json:"store"`
	Background        bool              `json:"background"`
	MaxOutputTokens   *int              `json:"max_output_tokens"`
	MaxToolCalls      *int              `json:"max_tool_calls"` // of tools that run at the server: there are none
	Temperature       *float64          `json:"temperature"`
	TopP              *float64          `json:"top_p"`
	TopLogprobs       int               `json:"top_logprobs"`
	Tools             []responseTool    `json:"tools"`
	ToolChoice        json.RawMessage   `json:"tool_choice"`
	ParallelToolCalls *bool             `json:"parallel_tool_calls"`
	Text              *responseText     `json:"text"`
	Reasoning         *reasoning        `json:"reasoning"`
	Metadata          map[string]string `json:"metadata"`
	Truncation        string            `json:"truncation"`
	ServiceTier       string            `json:"service_tier"`
	Include           []string          `json:"include"`
	User              string            `json:"user"`
	SafetyIdentifier  string            `json:"safety_identifier"`
	Conversation      any               `json:"conversation"`
	Prompt            any               `json:"prompt"`
}

// responseTool is a function that a response may call.
type responseTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      *bool           `json:"strict"`
}

// responseText says in which form the answer is to be.
type responseText struct {
	Format    responseFormat `json:"format"`
	Verbosity string         `json:"verbosity,omitempty"`
}

type reasoning struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

// inclusions are what clients may ask to have in an answer, and that no answer has here: none is of a server's tools, or of images.
var inclusions = []string{"web_search_call.action.sources", "web_search_call.results", "code_interpreter_call.outputs", "computer_call_output.output.image_url",
	"file_search_call.results", "message.input_image.image_url", "reasoning.encrypted_content"}

// unsupported names a parameter that asks for what is not done, with the reason if there is one to tell.
func (r *responseRequest) unsupported() error {
	no := func(name, why string) error {
		return invalid(name, "%s is not supported by this server%s", name, why)
	}
	switch {
	case r.Background:
		return no("background", ": ask with stream instead")
	case r.Conversation != nil:
		return no("conversation", ": use previous_response_id")
	case r.Prompt != nil:
		return no("prompt", "")
	case r.Truncation != "" && r.Truncation != "disabled":
		return no("truncation", " but as disabled")
	case r.ServiceTier != "" && r.ServiceTier != "auto" && r.ServiceTier != "default":
		return no("service_tier", " but as default")
	case r.Reasoning != nil && (r.Reasoning.Effort != nil && *r.Reasoning.Effort != "none" || r.Reasoning.Summary != nil):
		return no("reasoning", "")
	case r.TopLogprobs > 0:
		return no("top_logprobs", "")
	case r.Text != nil && r.Text.Verbosity != "" && r.Text.Verbosity != "medium":
		return no("text.verbosity", " but as medium")
	}
	for _, name := range r.Include {
		if !slices.Contains(inclusions, name) {
			return no("include", fmt.Sprintf(": %.80q", name))
		}
	}
	return checkMetadata(r.Metadata)
}

// Bounds of metadata, as the API has them.
const (
	maxMetadata      = 16
	maxMetadataKey   = 64  // characters
	maxMetadataValue = 512 // characters
)

func checkMetadata(m map[string]string) error {
	if len(m) > maxMetadata {
		return invalid("metadata", "metadata has %d pairs, at most %d", len(m), maxMetadata)
	}
	for k, v := range m {
		if utf8.RuneCountInString(k) > maxMetadataKey || utf8.RuneCountInString(v) > maxMetadataValue {
			return invalid("metadata", "metadata: a key has at most %d characters, a value %d", maxMetadataKey, maxMetadataValue)
		}
	}
	return nil
}

// offer reads what the request says about functions.
func (r *responseRequest) offer() (*offer, error) {
	o := &offer{single: r.ParallelToolCalls != nil && !*r.ParallelToolCalls}
	for i, f := range r.Tools {
		at := fmt.Sprintf("tools[%d]", i)
		if f.Type != "function" {
			return nil, invalid("tools", "%s: a tool of type %.40q is not supported: want function", at, f.Type)
		}
		x, err := toolOf(at, f.Name, f.Description, f.Parameters, f.Strict)
		if err != nil {
			return nil, err
		}
		o.tools = append(o.tools, x)
	}
	var err error
	o.choice, o.name, err = choiceOf(r.ToolChoice)
	return o, err
}

// createResponse answers POST /v1/responses.
func (s *Server) createResponse(w http.ResponseWriter, r *http.Request) error {
	var req responseRequest
	if err := read(r, &req); err != nil {
		return err
	}
	if err := req.unsupported(); err != nil {
		return err
	}
	if len(req.Input) == 0 {
		return invalid("input", "input is empty")
	}
	past, err := s.history(r.Context(), req.Previous, req.Input)
	if err != nil {
		return err
	}
	talk, err := conversationOfItems(req.Instructions, past.items)
	if err != nil {
		return err
	}
	o, err := req.offer()
	if err != nil {
		return err
	}
	session := params{SafetyIdentifier: req.SafetyIdentifier, User: req.User}
	t, err := s.text(r.Context(), req.Model, cmp.Or(session.session(), opening(talk.messages())))
	if err != nil {
		return err
	}
	a, _, err := (&params{Temperature: req.Temperature, TopP: req.TopP}).ask(t, 1)
	if err != nil {
		return err
	}
	if req.Text != nil {
		format, err := req.Text.Format.source("text.format")
		if err == nil {
			err = a.constrain("text.format", format)
		}
		if err != nil {
			return err
		}
	}
	if n := req.MaxOutputTokens; n != nil {
		if a.MaxTokens = *n; *n < 1 {
			return invalid("max_output_tokens", "max_output_tokens is %d, want at least 1", *n)
		}
	}
	if err := t.converse(&a, talk, o, time.Now()); err != nil {
		return err
	}
	store, err := s.mayStore(r.Context(), req.Store)
	if err != nil {
		return err
	}
	asks := []Ask{a}
	if err := s.admitAsks(r.Context(), t, asks, len(a.Tokens)); err != nil {
		return err
	}
	made := &responding{w: w.(*answer), stream: req.Stream, response: req.response(asks[0], store)}
	return s.respond(r.Context(), t, asks[0], o, made, past)
}

// history is a conversation before an answer.
type history struct {
	items  []itemJSON
	models []string // whose answers are in it
}

// history is a conversation up to and with new items: what was said before is found by the id of the last response.
func (s *Server) history(ctx context.Context, previous string, items []itemJSON) (history, error) {
	if previous == "" {
		return history{items: items}, nil
	}
	kept, err := s.readResponse(ctx, "previous_response_id", previous)
	if err != nil {
		return history{}, err
	}
	all := slices.Concat(kept.Items, kept.Response.Output, items)
	if len(all) > maxItems {
		return history{}, invalid("previous_response_id", "the conversation has %d items, at most %d", len(all), maxItems)
	}
	return history{all, kept.Models}, nil
}

// with is the models of a conversation after one more has answered.
func (h history) with(model string) []string {
	if slices.Contains(h.models, model) {
		return h.models
	}
	return append(slices.Clone(h.models), model)
}

// respond writes the response and keeps it.
func (s *Server) respond(ctx context.Context, t *text, a Ask, o *offer, made *responding, past history) error {
	made.w.late = made.fail
	err := s.listen(ctx, t, a, o, made.take, func(p Piece) error {
		if err := made.end(p); err != nil {
			return err
		}
		if made.response.Store {
			made.response.Store = s.keepResponse(ctx, &keptResponse{*made.response, past.items, past.with(callOf(ctx).answering().Model)})
		}
		callOf(ctx).noteAnswer(made.response)
		return nil
	})
	if err != nil {
		return err
	}
	return made.finish()
}

// listen runs an ask and hands on what is heard: parts as they come, and the last piece with the reason of the end.
func (s *Server) listen(ctx context.Context, t *text, a Ask, o *offer, take func([]part) error, end func(Piece) error) error {
	h := o.hearing(t)
	return s.generate(ctx, t, a, func(p Piece) error {
		parts, enough := h.hear(p)
		if len(parts) > 0 {
			if err := take(parts); err != nil {
				return err
			}
		}
		switch {
		case p.Finish != "":
			p.Finish = h.finish(p.Finish)
			return end(p)
		case enough:
			return errStopped
		}
		return nil
	})
}
