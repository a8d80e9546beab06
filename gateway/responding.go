package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"time"

	"github.com/skein-project/skein/internal/toolcall"
)

// responseJSON is a response of the OpenAI Responses API.
type responseJSON struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"`
	CreatedAt         int64              `json:"created_at"`
	Status            string             `json:"status"`
	Background        bool               `json:"background"`
	Error             *responseError     `json:"error"`
	Incomplete        *incompleteDetails `json:"incomplete_details"`
	Instructions      *string            `json:"instructions"`
	MaxOutputTokens   *int               `json:"max_output_tokens"`
	Model             string             `json:"model"`
	Output            []itemJSON         `json:"output"`
	ParallelToolCalls bool               `json:"parallel_tool_calls"`
	Previous          *string            `json:"previous_response_id"`
	Reasoning         reasoning          `json:"reasoning"`
	ServiceTier       string             `json:"service_tier"`
	Store             bool               `json:"store"`
	Temperature       float64            `json:"temperature"`
	Text              responseText       `json:"text"`
	ToolChoice        json.RawMessage    `json:"tool_choice"`
	Tools             []responseTool     `json:"tools"`
	TopLogprobs       int                `json:"top_logprobs"`
	TopP              float64            `json:"top_p"`
	Truncation        string             `json:"truncation"`
	Usage             *responseUsage     `json:"usage"`
	User              *string            `json:"user"`
	Metadata          map[string]string  `json:"metadata"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incompleteDetails struct {
	Reason string `json:"reason"`
}

type responseUsage struct {
	Input     int            `json:"input_tokens"`
	InputMore map[string]int `json:"input_tokens_details"`
	Output    int            `json:"output_tokens"`
	More      map[string]int `json:"output_tokens_details"`
	Total     int            `json:"total_tokens"`
}

// responseEvent is an event of a response that is streamed.
type responseEvent struct {
	Type         string        `json:"type"`
	Sequence     int           `json:"sequence_number"`
	Response     *responseJSON `json:"response,omitempty"`
	OutputIndex  *int          `json:"output_index,omitempty"`
	ItemID       string        `json:"item_id,omitempty"`
	Item         *itemJSON     `json:"item,omitempty"`
	ContentIndex *int          `json:"content_index,omitempty"`
	Part         *contentJSON  `json:"part,omitempty"`
	Delta        *string       `json:"delta,omitempty"`
	Text         *string       `json:"text,omitempty"`
	Name         string        `json:"name,omitempty"`
	Arguments    *string       `json:"arguments,omitempty"`
	Logprobs     *[]any        `json:"logprobs,omitempty"`
}

// response is the response to the request before anything is said.
func (r *responseRequest) response(a Ask, store bool) *responseJSON {
	out := &responseJSON{ID: newID("resp_"), Object: "response", CreatedAt: time.Now().Unix(), Status: statusRunning, Model: r.Model, Output: []itemJSON{}, Store: store,
		MaxOutputTokens: r.MaxOutputTokens, ParallelToolCalls: r.ParallelToolCalls == nil || *r.ParallelToolCalls, ServiceTier: "default",
		Temperature: a.Sampling.Temperature, TopP: cmp.Or(a.Sampling.TopP, 1), Text: responseText{Format: responseFormat{Type: "text"}, Verbosity: "medium"},
		ToolChoice: json.RawMessage(`"auto"`), Tools: []responseTool{}, Truncation: "disabled", Metadata: map[string]string{}}
	if len(r.ToolChoice) > 0 && string(r.ToolChoice) != "null" {
		out.ToolChoice = r.ToolChoice
	}
	if r.Text != nil && r.Text.Format.Type != "" {
		out.Text.Format = r.Text.Format
	}
	no := false
	for _, f := range r.Tools {
		if f.Strict == nil {
			f.Strict = &no
		}
		out.Tools = append(out.Tools, f)
	}
	if r.Metadata != nil {
		out.Metadata = r.Metadata
	}
	told := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	out.Instructions, out.Previous, out.User = told(r.Instructions), told(r.Previous), told(r.User)
	return out
}

// responding is a response that is being written. Streamed or not, it is made by the same steps.
type responding struct {
	w        *answer
	stream   bool
	sequence int
	response *responseJSON
	begun    bool
	open     bool // the last item is not done
}

// emit sends an event, where the response is streamed.
func (r *responding) emit(e responseEvent) error {
	if !r.stream {
		return nil
	}
	e.Sequence = r.sequence
	r.sequence++
	return r.w.named(e.Type, e)
}

// start says that the response has begun, as soon as there is something to say: an error before that is one of HTTP.
func (r *responding) start() error {
	if r.begun {
		return nil
	}
	r.begun = true
	if err := r.emit(responseEvent{Type: "response.created", Response: r.response}); err != nil {
		return err
	}
	return r.emit(responseEvent{Type: "response.in_progress", Response: r.response})
}

// at fills in what item an event is of: the last one.
func (r *responding) at(e responseEvent) responseEvent {
	i := len(r.response.Output) - 1
	e.OutputIndex = &i
	if e.Item == nil {
		e.ItemID = r.response.Output[i].ID
	}
	return e
}

// inText fills in that an event is of the text of the last item.
func (r *responding) inText(e responseEvent) responseEvent {
	first := 0
	e.ContentIndex = &first
	return r.at(e)
}

// last is the item that is being written.
func (r *responding) last() *itemJSON { return &r.response.Output[len(r.response.Output)-1] }

// add begins an item.
func (r *responding) add(item itemJSON) error {
	if err := r.close(statusDone); err != nil {
		return err
	}
	r.response.Output, r.open = append(r.response.Output, item), true
	return r.emit(r.at(responseEvent{Type: "response.output_item.added", Item: &item}))
}

// take adds what was heard.
func (r *responding) take(parts []part) error {
	if err := r.start(); err != nil {
		return err
	}
	for _, p := range parts {
		var err error
		switch p.kind {
		case toolcall.Text:
			err = r.say(p.text)
		case toolcall.Call:
			err = r.add(callItem(newID("fc_"), p.id, statusRunning, p.text, ""))
		case toolcall.Arguments:
			*r.last().Arguments += p.text
			err = r.emit(r.at(responseEvent{Type: "response.function_call_arguments.delta", Delta: &p.text}))
		case toolcall.End:
			continue // the call may still turn out to be cut by the end of the answer
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// say adds text to the message that is being written, or to a new one.
func (r *responding) say(text string) error {
	if !r.open || r.last().Type != itemMessage {
		empty := messageItem(newID("msg_"), "assistant", statusRunning, "")
		empty.Content = &[]contentJSON{}
		if err := r.add(empty); err != nil {
			return err
		}
		begun := outputText("")
		r.last().Content = &[]contentJSON{begun}
		if err := r.emit(r.inText(responseEvent{Type: "response.content_part.added", Part: &begun})); err != nil {
			return err
		}
	}
	if text == "" {
		return nil
	}
	(*r.last().Content)[0].Text += text
	none := []any{}
	return r.emit(r.inText(responseEvent{Type: "response.output_text.delta", Delta: &text, Logprobs: &none}))
}

// close ends the item that is being written.
func (r *responding) close(status string) error {
	if !r.open {
		return nil
	}
	r.open = false
	item := r.last()
	item.Status = status
	var events []responseEvent
	if item.Type == itemMessage {
		c, none := (*item.Content)[0], []any{}
		events = append(events, r.inText(responseEvent{Type: "response.output_text.done", Text: &c.Text, Logprobs: &none}),
			r.inText(responseEvent{Type: "response.content_part.done", Part: &c}))
	} else {
		events = append(events, r.at(responseEvent{Type: "response.function_call_arguments.done", Name: item.Name, Arguments: item.Arguments}))
	}
	done := *item
	for _, e := range append(events, r.at(responseEvent{Type: "response.output_item.done", Item: &done})) {
		if err := r.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// end ends the response.
func (r *responding) end(p Piece) error {
	if err := r.start(); err != nil {
		return err
	}
	if len(r.response.Output) == 0 {
		if err := r.say(""); err != nil {
			return err
		}
	}
	status := statusDone
	if p.Finish == FinishLength {
		status = statusIncomplete
		r.response.Incomplete = &incompleteDetails{Reason: "max_output_tokens"}
	}
	if err := r.close(status); err != nil {
		return err
	}
	r.response.Status = status
	r.response.Usage = &responseUsage{Input: p.Usage.Prompt, InputMore: map[string]int{"cached_tokens": 0}, Output: p.Usage.Completion,
		More: map[string]int{"reasoning_tokens": 0}, Total: p.Usage.Prompt + p.Usage.Completion}
	return nil
}

// finish sends the response, whole or as the last event.
func (r *responding) finish() error {
	if r.stream {
		return r.emit(responseEvent{Type: "response." + r.response.Status, Response: r.response})
	}
	r.w.json(http.StatusOK, r.response)
	return nil
}

// fail ends a stream with an error.
func (r *responding) fail(e *Error) error {
	r.response.Status, r.response.Error = statusFailed, &responseError{Code: "server_error", Message: e.Why}
	return r.emit(responseEvent{Type: "response.failed", Response: r.response})
}
