package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/skein-project/skein/internal/toolcall"
)

// messageAnswer is an answer of the Anthropic API.
type messageAnswer struct {
	ID           string       `json:"id"`
	Type         string       `json:"type"`
	Role         string       `json:"role"`
	Model        string       `json:"model"`
	Content      []blockJSON  `json:"content"`
	StopReason   *string      `json:"stop_reason"`
	StopSequence *string      `json:"stop_sequence"`
	Usage        messageUsage `json:"usage"`
}

type messageUsage struct {
	Input         int `json:"input_tokens"`
	CacheCreation int `json:"cache_creation_input_tokens"`
	CacheRead     int `json:"cache_read_input_tokens"`
	Output        int `json:"output_tokens"`
}

// messageEvent is an event of an answer that is streamed.
type messageEvent struct {
	Type    string         `json:"type"`
	Message *messageAnswer `json:"message,omitempty"`
	Index   *int           `json:"index,omitempty"`
	Block   *blockJSON     `json:"content_block,omitempty"`
	Delta   *messageDelta  `json:"delta,omitempty"`
	Usage   *messageUsage  `json:"usage,omitempty"`
	Error   *anthropicWhy  `json:"error,omitempty"`
}

// messageDelta is what an event adds: to a block by its type, or without one to the message.
type messageDelta struct {
	Type         string   `json:"type,omitempty"`
	Text         *string  `json:"text,omitempty"`
	PartialJSON  *string  `json:"partial_json,omitempty"`
	StopReason   *string  `json:"stop_reason,omitempty"`
	StopSequence **string `json:"stop_sequence,omitempty"`
}

// anthropicError is the form of errors.
type anthropicError struct {
	Type  string       `json:"type"`
	Error anthropicWhy `json:"error"`
}

type anthropicWhy struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

var anthropicForm = form{failure: func(e *Error) any { return anthropicError{"error", anthropicWhyOf(e)} }, id: "request-id"}

// anthropicWhyOf is the one place where errors become Anthropic's.
func anthropicWhyOf(e *Error) anthropicWhy {
	kind := "api_error"
	switch e.Fault {
	case FaultInvalid, FaultTask, FaultContext, FaultUnsupported:
		kind = "invalid_request_error"
	case FaultKey:
		kind = "authentication_error"
	case FaultPermission:
		kind = "permission_error"
	case FaultModel:
		kind = "not_found_error"
	case FaultTooLarge:
		kind = "request_too_large"
	case FaultBusy, FaultLimit, FaultQuota:
		kind = "rate_limit_error"
	case FaultUnavailable:
		kind = "overloaded_error"
	case FaultTimeout:
		kind = "timeout_error"
	}
	return anthropicWhy{kind, e.Why}
}

// messaging is an answer that is being written. Streamed or not, it is made by the same steps.
type messaging struct {
	w         *answer
	stream    bool
	message   messageAnswer
	begun     bool
	open      bool   // the last block is not done
	arguments string // of the last block, if it is a call
}

func (m *messaging) emit(e messageEvent) error {
	if !m.stream {
		return nil
	}
	return m.w.named(e.Type, e)
}

// start says that the answer has begun, as soon as there is something to say: an error before that is one of HTTP.
func (m *messaging) start() error {
	if m.begun {
		return nil
	}
	m.begun = true
	return m.emit(messageEvent{Type: "message_start", Message: &m.message})
}

func (m *messaging) last() *blockJSON { return &m.message.Content[len(m.message.Content)-1] }

// change sends what is added to the last block.
func (m *messaging) change(d messageDelta) error {
	i := len(m.message.Content) - 1
	return m.emit(messageEvent{Type: "content_block_delta", Index: &i, Delta: &d})
}

// add begins a block.
func (m *messaging) add(b blockJSON) error {
	if err := m.close(false); err != nil {
		return err
	}
	m.message.Content, m.open, m.arguments = append(m.message.Content, b), true, ""
	i := len(m.message.Content) - 1
	return m.emit(messageEvent{Type: "content_block_start", Index: &i, Block: &b})
}

// take adds what was heard.
func (m *messaging) take(parts []part) error {
	if err := m.start(); err != nil {
		return err
	}
	for _, p := range parts {
		var err error
		switch p.kind {
		case toolcall.Text:
			err = m.say(p.text)
		case toolcall.Call:
			err = m.add(blockJSON{Type: "tool_use", ID: p.id, Name: p.text, Input: json.RawMessage("{}")})
		case toolcall.Arguments:
			m.arguments += p.text
			err = m.change(messageDelta{Type: "input_json_delta", PartialJSON: &p.text})
		case toolcall.End:
			continue // the call may still turn out to be cut by the end of the answer
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// say adds text to the block that is being written, or to a new one.
func (m *messaging) say(text string) error {
	if !m.open || m.last().Type != "text" {
		var empty string
		if err := m.add(blockJSON{Type: "text", Text: &empty}); err != nil {
			return err
		}
	}
	all := *m.last().Text + text
	m.last().Text = &all
	return m.change(messageDelta{Type: "text_delta", Text: &text})
}

// close ends the block that is being written. The input of a call is an object: of one that was cut, the empty one.
func (m *messaging) close(cut bool) error {
	if !m.open {
		return nil
	}
	m.open = false
	if b := m.last(); b.Type == "tool_use" {
		var object map[string]json.RawMessage
		switch err := json.Unmarshal([]byte(m.arguments), &object); {
		case err == nil:
			b.Input = json.RawMessage(m.arguments)
		case !cut:
			return &Error{Fault: FaultInternal, Why: fmt.Sprintf("the model's call of %s is not JSON: ask again", b.Name)}
		}
	}
	i := len(m.message.Content) - 1
	return m.emit(messageEvent{Type: "content_block_stop", Index: &i})
}

// end ends the answer.
func (m *messaging) end(p Piece) error {
	if err := m.start(); err != nil {
		return err
	}
	if err := m.close(p.Finish == FinishLength); err != nil {
		return err
	}
	reason := "end_turn"
	switch {
	case p.Finish == FinishLength:
		reason = "max_tokens"
	case p.Finish == FinishCalls:
		reason = "tool_use"
	case p.Stop != "":
		reason = "stop_sequence"
		m.message.StopSequence = &p.Stop
	}
	m.message.StopReason, m.message.Usage.Output = &reason, p.Usage.Completion
	return nil
}

// finish sends the answer, whole or its last events.
func (m *messaging) finish() error {
	if !m.stream {
		m.w.json(http.StatusOK, m.message)
		return nil
	}
	if err := m.emit(messageEvent{Type: "message_delta", Delta: &messageDelta{StopReason: m.message.StopReason, StopSequence: &m.message.StopSequence}, Usage: &m.message.Usage}); err != nil {
		return err
	}
	return m.emit(messageEvent{Type: "message_stop"})
}

// fail ends a stream with an error.
func (m *messaging) fail(e *Error) error {
	why := anthropicWhyOf(e)
	return m.emit(messageEvent{Type: "error", Error: &why})
}
