package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// messagesRequest is the body of POST /v1/messages (Anthropic API reference, version 2023-06-01).
type messagesRequest struct {
	Model         string               `json:"model"`
	Messages      []anthropicMessage   `json:"messages"`
	System        blocks               `json:"system"`
	MaxTokens     *int                 `json:"max_tokens"`
	StopSequences []string             `json:"stop_sequences"`
	Stream        bool                 `json:"stream"`
	Temperature   *float64             `json:"temperature"`
	TopP          *float64             `json:"top_p"`
	TopK          *int                 `json:"top_k"`
	Tools         []anthropicTool      `json:"tools"`
	ToolChoice    *anthropicToolChoice `json:"tool_choice"`
	Thinking      *struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Metadata struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
	ServiceTier  string          `json:"service_tier"`
	Container    any             `json:"container"`
	MCPServers   []any           `json:"mcp_servers"`
	OutputConfig outputConfig    `json:"output_config"`
	OutputFormat *responseFormat `json:"output_format"` // the older word for output_config.format
}

// outputConfig says what the text of an answer must look like.
type outputConfig struct {
	Effort string          `json:"effort"`
	Format *responseFormat `json:"format"`
}

// format constrains the answer as the request says.
func (r *messagesRequest) format(a *Ask) error {
	param, format := "output_config.format", r.OutputConfig.Format
	if format == nil {
		param, format = "output_format", r.OutputFormat
	}
	source, err := format.source(param)
	if err != nil {
		return err
	}
	return a.constrain(param, source)
}

type anthropicMessage struct {
	Role    string `json:"role"`
	Content blocks `json:"content"`
}

// anthropicTool is a function that a message may call.
type anthropicTool struct {
	Type        string          `json:"type"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"input_schema"`
	Strict      *bool           `json:"strict"`
}

type anthropicToolChoice struct {
	Type            string `json:"type"`
	Name            string `json:"name"`
	DisableParallel bool   `json:"disable_parallel_tool_use"`
}

// blocks are the content of a message: a text, or a list of blocks.
type blocks []blockJSON

// blockJSON is a piece of a message: text, a call of a function, or the result of one.
type blockJSON struct {
	Type      string          `json:"type"`
	Text      *string         `json:"text,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   json.RawMessage `json:"content,omitempty"` // of a result; read where it is used, since blocks within blocks within blocks would be read over and over
}

// maxBlocks bounds the blocks of a message.
const maxBlocks = 4096

// UnmarshalJSON implements json.Unmarshaler.
func (b *blocks) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if string(raw) != "null" {
			*b = blocks{{Type: "text", Text: &text}}
		}
		return nil
	}
	var list []blockJSON
	if err := json.Unmarshal(raw, &list); err != nil {
		return invalid("messages", "content: want a text or a list of blocks")
	}
	if len(list) > maxBlocks {
		return invalid("messages", "content: %d blocks, at most %d", len(list), maxBlocks)
	}
	*b = list
	return nil
}

// text is the text of blocks that are nothing else.
func (b blocks) text(at string) (out string, err error) {
	for i, x := range b {
		if x.Type != "text" || x.Text == nil {
			return "", invalid("messages", "%s[%d]: a block of type %.40q is not supported by this model", at, i, x.Type)
		}
		if i > 0 {
			out += "\n"
		}
		out += *x.Text
	}
	return out, nil
}

// unsupported names a parameter that asks for what is not done.
func (r *messagesRequest) unsupported() error {
	var name string
	switch {
	case r.Thinking != nil && r.Thinking.Type != "disabled":
		name = "thinking"
	case r.Container != nil:
		name = "container"
	case len(r.MCPServers) > 0:
		name = "mcp_servers"
	case r.OutputConfig.Effort != "":
		name = "output_config.effort"
	case !slices.Contains([]string{"", "auto", "standard_only"}, r.ServiceTier):
		name = "service_tier"
	default:
		return nil
	}
	return invalid(name, "%s is not supported by this server", name)
}

// conversation is the messages as the model's template takes them. A last message of the assistant is how the answer begins.
func (r *messagesRequest) conversation() (c conversation, err error) {
	system, err := r.System.text("system")
	if err != nil {
		return c, err
	}
	if system != "" {
		c.turns = append(c.turns, turn{Message: Message{Role: "system", Content: system}})
	}
	for i, m := range r.Messages {
		at := fmt.Sprintf("messages[%d].content", i)
		switch m.Role {
		case "user":
			err = c.hearUser(at, m.Content)
		case "assistant":
			err = c.hearAssistant(at, m.Content)
		default:
			err = invalid("messages", "messages[%d].role: %.80q is neither user nor assistant", i, m.Role)
		}
		if err != nil {
			return c, err
		}
	}
	if n := len(c.turns); n > 0 && c.turns[n-1].Role == "assistant" && len(c.turns[n-1].calls) == 0 {
		c.begin, c.turns = c.turns[n-1].Content, c.turns[:n-1]
	}
	return c, nil
}

// say adds text to the last turn if it is of the same role, as the API joins turns, or else a turn.
func (c *conversation) say(role, text string) {
	if n := len(c.turns); n > 0 && c.turns[n-1].Role == role && len(c.turns[n-1].calls) == 0 {
		c.turns[n-1].Content += "\n" + text
		return
	}
	c.turns = append(c.turns, turn{Message: Message{Role: role, Content: text}})
}

func (c *conversation) hearUser(at string, content blocks) error {
	for i, b := range content {
		switch {
		case b.Type == "text" && b.Text != nil:
			c.say("user", *b.Text)
		case b.Type == "tool_result":
			if b.ToolUseID == "" || len(b.ToolUseID) > maxCallID {
				return invalid("messages", "%s[%d]: a tool_result needs a tool_use_id of at most %d bytes", at, i, maxCallID)
			}
			var result blocks
			if len(b.Content) > 0 {
				if err := json.Unmarshal(b.Content, &result); err != nil {
					return err
				}
			}
			text, err := result.text(fmt.Sprintf("%s[%d].content", at, i))
			if err != nil {
				return err
			}
			c.turns = append(c.turns, turn{Message: Message{Role: "tool", Content: text}, of: b.ToolUseID})
		default:
			return invalid("messages", "%s[%d]: a block of type %.40q is not supported by this model", at, i, b.Type)
		}
	}
	return nil
}

func (c *conversation) hearAssistant(at string, content blocks) error {
	calls := 0
	for i, b := range content {
		switch {
		case b.Type == "text" && b.Text != nil:
			c.say("assistant", *b.Text)
		case b.Type == "tool_use" && calls < maxToolCalls:
			calls++
			param := fmt.Sprintf("%s[%d]", at, i)
			if _, err := objectOf(param+".input", b.Input); len(b.Input) > 0 && err != nil {
				return err
			}
			made, err := callOfFunction(param, b.ID, b.Name, string(b.Input))
			if err != nil {
				return err
			}
			if n := len(c.turns); n == 0 || c.turns[n-1].Role != "assistant" {
				c.turns = append(c.turns, turn{Message: Message{Role: "assistant"}})
			}
			last := &c.turns[len(c.turns)-1]
			last.calls = append(last.calls, made)
		default:
			return invalid("messages", "%s[%d]: a block of type %.40q is not supported by this model", at, i, b.Type)
		}
	}
	return nil
}

// offer reads what the request says about functions.
func (r *messagesRequest) offer() (*offer, error) {
	o := &offer{}
	for i, f := range r.Tools {
		at := fmt.Sprintf("tools[%d]", i)
		if f.Type != "" && f.Type != "custom" {
			return nil, invalid("tools", "%s: a tool of type %.40q is not supported: want custom", at, f.Type)
		}
		x, err := toolOf(at, f.Name, f.Description, f.InputSchema, f.Strict)
		if err != nil {
			return nil, err
		}
		o.tools = append(o.tools, x)
	}
	if r.ToolChoice == nil {
		return o, nil
	}
	choice, ok := map[string]choice{"auto": choiceAuto, "any": choiceAny, "tool": choiceNamed, "none": choiceNone}[r.ToolChoice.Type]
	if !ok {
		return nil, invalid("tool_choice", "tool_choice.type %.40q: want auto, any, tool or none", r.ToolChoice.Type)
	}
	o.choice, o.name, o.single = choice, r.ToolChoice.Name, r.ToolChoice.DisableParallel
	return o, nil
}

// converse reads the request up to the tokens of its prompt.
func (s *Server) converse(r *http.Request, req *messagesRequest) (t *text, a Ask, o *offer, err error) {
	if err = read(r, req); err != nil {
		return nil, a, nil, err
	}
	if err = req.unsupported(); err != nil {
		return nil, a, nil, err
	}
	talk, err := req.conversation()
	if err != nil {
		return nil, a, nil, err
	}
	if o, err = req.offer(); err != nil {
		return nil, a, nil, err
	}
	session := params{User: req.Metadata.UserID}
	talkOf := session.session()
	if talkOf == "" {
		talkOf = opening(talk.messages())
	}
	if t, err = s.text(r.Context(), req.Model, talkOf); err != nil {
		return nil, a, nil, err
	}
	if a, _, err = (&params{Temperature: req.Temperature, TopP: req.TopP, TopK: req.TopK, Stop: req.StopSequences}).ask(t, 1); err != nil {
		return nil, a, nil, err
	}
	if err = req.format(&a); err != nil {
		return nil, a, nil, err
	}
	return t, a, o, t.converse(&a, talk, o, time.Now())
}

// createMessage answers POST /v1/messages.
func (s *Server) createMessage(w http.ResponseWriter, r *http.Request) error {
	var req messagesRequest
	t, a, o, err := s.converse(r, &req)
	if err != nil {
		return err
	}
	if req.MaxTokens == nil {
		return invalid("max_tokens", "max_tokens is needed")
	}
	if err := a.limit(*req.MaxTokens); err != nil {
		return err
	}
	asks := []Ask{a}
	if err := s.admitAsks(r.Context(), t, asks, len(a.Tokens)); err != nil {
		return err
	}
	made := &messaging{w: w.(*answer), stream: req.Stream, message: messageAnswer{ID: newID("msg_"), Type: "message", Role: "assistant", Model: req.Model,
		Content: []blockJSON{}, Usage: messageUsage{Input: len(a.Tokens)}}}
	made.w.late = made.fail
	err = s.listen(r.Context(), t, asks[0], o, made.take, func(p Piece) error {
		if err := made.end(p); err != nil {
			return err
		}
		callOf(r.Context()).noteAnswer(made.message)
		return nil
	})
	if err != nil {
		return err
	}
	return made.finish()
}

type countJSON struct {
	Input int `json:"input_tokens"`
}

// countTokens answers POST /v1/messages/count_tokens.
func (s *Server) countTokens(w http.ResponseWriter, r *http.Request) error {
	var req messagesRequest
	t, a, _, err := s.converse(r, &req)
	if err != nil {
		return err
	}
	if err := s.admit(r.Context(), t, 0, 0); err != nil { // a call of no tokens
		return err
	}
	w.(*answer).json(http.StatusOK, countJSON{Input: len(a.Tokens)})
	return nil
}
