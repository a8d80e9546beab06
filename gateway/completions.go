package gateway

import (
	"cmp"
	"encoding/json"
	"fmt"
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

	ToolChoice        json.RawMessage `json:"tool_choice"`
	ParallelToolCalls *bool           `json:"parallel_tool_calls"`
	Store             bool            `json:"store"`
	ReasoningEffort   string          `json:"reasoning_effort"`
	WebSearchOptions  map[string]any  `json:"web_search_options"`
}

// unsupported names a parameter of chats that asks for what is not done.
func (r *chatRequest) unsupported() string {
	switch {
	case r.ReasoningEffort != "" && r.ReasoningEffort != "none":
		return "reasoning_effort"
	case r.WebSearchOptions != nil:
		return "web_search_options"
	}
	return ""
}

type chatMessage struct {
	Role         string         `json:"role"`
	Name         string         `json:"name"`
	Content      content        `json:"content"`
	ToolCalls    []toolCallJSON `json:"tool_calls"`
	ToolCallID   string         `json:"tool_call_id"`
	FunctionCall map[string]any `json:"function_call"`
}

// chatRoles are the roles of the API. What a model's template makes of them is its own affair.
var chatRoles = []string{"system", "developer", "user", "assistant", "tool", "function"}

// conversation is the messages as the model's template takes them.
func (r *chatRequest) conversation() (c conversation, err error) {
	for i, m := range r.Messages {
		at := fmt.Sprintf("messages[%d]", i)
		t := turn{Message: Message{Role: m.Role, Content: string(m.Content)}, name: m.Name, of: m.ToolCallID}
		switch {
		case !slices.Contains(chatRoles, m.Role):
			return c, invalid("messages", "%s.role: %.80q is none of %s", at, m.Role, strings.Join(chatRoles, ", "))
		case len(m.FunctionCall) > 0:
			return c, invalid("messages", "%s: function_call is not supported: use tool_calls", at)
		case len(m.ToolCalls) > 0 && m.Role != "assistant":
			return c, invalid("messages", "%s: tool_calls are an assistant's", at)
		case len(m.ToolCalls) > maxToolCalls:
			return c, invalid("messages", "%s: %d calls, at most %d", at, len(m.ToolCalls), maxToolCalls)
		case m.Role == "tool" && m.ToolCallID == "":
			return c, invalid("messages", "%s: the result of a call needs tool_call_id", at)
		case len(m.ToolCallID) > maxCallID || len(m.Name) > maxCallID:
			return c, invalid("messages", "%s: an id or a name is longer than %d bytes", at, maxCallID)
		}
		for _, made := range m.ToolCalls {
			if made.Type != "" && made.Type != "function" {
				return c, invalid("messages", "%s: a call of type %.40q: want function", at, made.Type)
			}
			x, err := callOfFunction(at+".tool_calls", made.ID, made.Function.Name, made.Function.Arguments)
			if err != nil {
				return c, err
			}
			t.calls = append(t.calls, x)
		}
		c.turns = append(c.turns, t)
	}
	return c, nil
}

// toolJSON is a function that a request offers.
type toolJSON struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
		Strict      *bool           `json:"strict"`
	} `json:"function"`
}

// offer reads what the request says about functions.
func (r *chatRequest) offer() (*offer, error) {
	o := &offer{single: r.ParallelToolCalls != nil && !*r.ParallelToolCalls}
	for i, f := range r.Tools {
		at := fmt.Sprintf("tools[%d]", i)
		if f.Type != "function" {
			return nil, invalid("tools", "%s: a tool of type %.40q is not supported: want function", at, f.Type)
		}
		x, err := toolOf(at+".function", f.Function.Name, f.Function.Description, f.Function.Parameters, f.Function.Strict)
		if err != nil {
			return nil, err
		}
		o.tools = append(o.tools, x)
	}
	var err error
	o.choice, o.name, err = choiceOf(r.ToolChoice)
	return o, err
}

// choiceOf reads tool_choice: auto, none, required, or a function by name, in the form of chat completions or of responses.
func choiceOf(raw json.RawMessage) (choice, string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return choiceAuto, "", nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		if c, ok := map[string]choice{"auto": choiceAuto, "none": choiceNone, "required": choiceAny}[word]; ok {
			return c, "", nil
		}
		return 0, "", invalid("tool_choice", "tool_choice %.40q: want auto, none, required, or a function", word)
	}
	var named struct {
		Type, Name string
		Function   struct{ Name string }
	}
	if json.Unmarshal(raw, &named) != nil || named.Type != "function" {
		return 0, "", invalid("tool_choice", "tool_choice: want auto, none, required, or {type: function} with a name")
	}
	return choiceNamed, cmp.Or(named.Function.Name, named.Name), nil
}

// content is a text, or a list of parts that are texts, in the forms of chat completions and of responses.
type content string

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct{ Type, Text, Refusal string }
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid("messages", "content: want a text or a list of parts")
	}
	*c = ""
	for _, p := range parts {
		switch p.Type {
		case "text", "input_text", "output_text":
			*c += content(p.Text)
		case "refusal":
			*c += content(p.Refusal)
		default:
			return invalid("messages", "content of type %.40q is not supported by this model", p.Type)
		}
	}
	return nil
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) error {
	var req chatRequest
	if err := read(r, &req); err != nil {
		return err
	}
	talk, err := req.conversation()
	if err != nil {
		return err
	}
	o, err := req.offer()
	if err != nil {
		return err
	}
	t, err := s.text(r.Context(), req.Model, cmp.Or(req.session(), opening(talk.messages())))
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
	if name := req.unsupported(); name != "" {
		return invalid(name, "%s is not supported by this model", name)
	}
	if req.Store {
		return invalid("store", "store: chat completions are not kept: use responses")
	}
	a.Sampling.Logprobs, a.Sampling.TopLogprobs = req.Logprobs, req.TopLogprobs
	if err := t.converse(&a, talk, o, time.Now()); err != nil {
		return err
	}
	return s.complete(r.Context(), w.(*answer), t, &req.params, o, chatShape, repeat(a, n), len(a.Tokens))
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
	case len(req.Tools) > 0:
		return invalid("tools", "tools are for chat completions")
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
	return s.complete(r.Context(), w.(*answer), t, &req.params, &offer{}, textShape, asks, tokens)
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
