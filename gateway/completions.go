package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// completionRequest is the body of /v1/completions.
type completionRequest struct {
	params
	Prompt   json.RawMessage `json:"prompt"`
	Logprobs *int            `json:"logprobs"`
	Echo     bool            `json:"echo"`
	Suffix   string          `json:"suffix"`
	BestOf   *int            `json:"best_of"`
}

// chatRequest is the body of /v1/chat/completions.
type chatRequest struct {
	params
	Messages    []chatMessage `json:"messages"`
	Logprobs    bool          `json:"logprobs"`
	TopLogprobs int           `json:"top_logprobs"`
}

type chatMessage struct {
	Role         string         `json:"role"`
	Content      content        `json:"content"`
	ToolCalls    []any          `json:"tool_calls"`
	FunctionCall map[string]any `json:"function_call"`
}

// chatRoles are the roles of the API. What a model's template makes of them is its own affair.
var chatRoles = []string{"system", "developer", "user", "assistant", "tool", "function"}

// turns are the messages as the model's template takes them.
func (r *chatRequest) turns() ([]Message, error) {
	var out []Message
	for i, m := range r.Messages {
		switch {
		case !slices.Contains(chatRoles, m.Role):
			return nil, invalid("messages", "messages[%d].role: %.80q is none of %s", i, m.Role, strings.Join(chatRoles, ", "))
		case len(m.ToolCalls) > 0 || len(m.FunctionCall) > 0:
			return nil, invalid("messages", "messages[%d]: tool calls are not supported by this model", i)
		}
		out = append(out, Message{Role: m.Role, Content: string(m.Content)})
	}
	return out, nil
}

// content is a text, or a list of parts that are texts.
type content string

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid("messages", "content: want a text or a list of parts")
	}
	for _, p := range parts {
		if p.Type != "text" {
			return invalid("messages", "content of type %.40q is not supported by this model", p.Type)
		}
		*c += content(p.Text)
	}
	return nil
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) error {
	var req chatRequest
	if err := read(r, &req); err != nil {
		return err
	}
	messages, err := req.turns()
	if err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model, cmp.Or(req.session(), opening(messages)))
	if err != nil {
		return err
	}
	a, n, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	if req.TopLogprobs > 0 && !req.Logprobs {
		return invalid("top_logprobs", "top_logprobs needs logprobs")
	}
	a.Sampling.Logprobs, a.Sampling.TopLogprobs = req.Logprobs, req.TopLogprobs
	now := time.Now()
	if a.Tokens, err = t.chat(messages, now); err != nil {
		return err
	}
	a.again = func(other *text) ([]int32, error) { return other.chat(messages, now) }
	return s.complete(r.Context(), w.(*answer), t, &req.params, chatShape, repeat(a, n), len(a.Tokens))
}

// textTokens is the API's default max_tokens of text completions.
const textTokens = 16

func (s *Server) completions(w http.ResponseWriter, r *http.Request) error {
	var req completionRequest
	if err := read(r, &req); err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model, req.session())
	if err != nil {
		return err
	}
	a, n, err := req.ask(t, s.cfg.MaxChoices)
	if err != nil {
		return err
	}
	switch {
	case req.Echo:
		return invalid("echo", "echo is not supported by this model")
	case req.Suffix != "":
		return invalid("suffix", "suffix is not supported by this model")
	case req.BestOf != nil && *req.BestOf != n:
		return invalid("best_of", "best_of is %d, want n: choosing among answers is not supported by this model", *req.BestOf)
	}
	if req.Logprobs != nil {
		a.Sampling.Logprobs, a.Sampling.TopLogprobs = true, *req.Logprobs
	}
	if a.MaxTokens == 0 {
		a.MaxTokens = min(textTokens, s.context(t))
	}
	prompts, err := s.prompts(t, req.Prompt, "prompt")
	if err != nil {
		return err
	}
	if len(prompts)*n > s.cfg.MaxChoices {
		return invalid("prompt", "%d prompts with n %d, at most %d answers", len(prompts), n, s.cfg.MaxChoices)
	}
	var asks []Ask
	tokens := 0
	a.again = func(other *text) ([]int32, error) {
		list, err := s.prompts(other, req.Prompt, "prompt")
		if err != nil {
			return nil, err
		}
		return list[0], nil
	}
	for i, p := range prompts {
		if a.Tokens = p; i > 0 {
			a.again = nil
		}
		asks = append(asks, repeat(a, n)...)
		tokens += len(p)
	}
	return s.complete(r.Context(), w.(*answer), t, &req.params, textShape, asks, tokens)
}

// prompts reads a text, a list of texts, a list of token ids, or a list of those; at most MaxInputs.
func (s *Server) prompts(t *text, raw json.RawMessage, param string) ([][]int32, error) {
	many, rows, ok := textsOrIDs(raw)
	if !ok {
		return nil, invalid(param, "%s: want a text, a list of texts that are not empty, or token ids", param)
	}
	if n := len(many) + len(rows); n == 0 || n > s.cfg.MaxInputs {
		return nil, invalid(param, "%s has %d elements, want 1 to %d", param, n, s.cfg.MaxInputs)
	}
	var out [][]int32
	for _, r := range rows {
		p := make([]int32, len(r))
		for i, id := range r {
			p[i] = int32(id)
		}
		out = append(out, p)
	}
	for _, text := range many {
		p, err := t.prompt(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// textsOrIDs reads the forms that an input may have.
func textsOrIDs(raw json.RawMessage) (texts []string, rows [][]tokenID, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil, false
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil, true
	}
	var ids []tokenID
	if json.Unmarshal(raw, &ids) == nil {
		return nil, [][]tokenID{ids}, len(ids) > 0
	}
	if json.Unmarshal(raw, &rows) == nil {
		return nil, rows, true
	}
	err := json.Unmarshal(raw, &texts)
	return texts, nil, err == nil && !slices.Contains(texts, "")
}

// tokenID is a token id in JSON, where null is none.
type tokenID int32

// UnmarshalJSON implements json.Unmarshaler.
func (t *tokenID) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 32)
	*t = tokenID(n)
	return err
}
