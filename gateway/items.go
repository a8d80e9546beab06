package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
)

// itemJSON is a piece of a conversation of the OpenAI Responses API: a message, a call of a function, or the result of one.
type itemJSON struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Status    string         `json:"status,omitempty"`
	Role      string         `json:"role,omitempty"`
	Content   *[]contentJSON `json:"content,omitempty"`
	CallID    string         `json:"call_id,omitempty"`
	Name      string         `json:"name,omitempty"`
	Arguments *string        `json:"arguments,omitempty"`
	Output    *string        `json:"output,omitempty"`
}

// contentJSON is a text in a message.
type contentJSON struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Annotations *[]any `json:"annotations,omitempty"` // of what the model wrote: there are none
	Logprobs    *[]any `json:"logprobs,omitempty"`
}

// Types of items.
const (
	itemMessage = "message"
	itemCall    = "function_call"
	itemResult  = "function_call_output"
)

// Statuses of items and responses.
const (
	statusRunning    = "in_progress"
	statusDone       = "completed"
	statusIncomplete = "incomplete"
	statusFailed     = "failed"
)

func outputText(text string) contentJSON {
	none := []any{}
	return contentJSON{Type: "output_text", Text: text, Annotations: &none, Logprobs: &none}
}

func messageItem(id, role, status, text string) itemJSON {
	list := []contentJSON{{Type: "input_text", Text: text}}
	if role == "assistant" {
		list[0] = outputText(text)
	}
	return itemJSON{ID: id, Type: itemMessage, Status: status, Role: role, Content: &list}
}

func callItem(id, callID, status, name, arguments string) itemJSON {
	return itemJSON{ID: id, Type: itemCall, Status: status, CallID: callID, Name: name, Arguments: &arguments}
}

func (i itemJSON) text() (out string) {
	if i.Content != nil {
		for _, c := range *i.Content {
			out += c.Text
		}
	}
	return out
}

// responseInput is the input of a response: a text, or a list of items.
type responseInput []itemJSON

// maxItems bounds the items of a conversation.
const maxItems = 4096

// UnmarshalJSON implements json.Unmarshaler.
func (r *responseInput) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		if string(b) != "null" {
			*r = responseInput{messageItem(newID("msg_"), "user", statusDone, text)}
		}
		return nil
	}
	var list []inputItem
	if err := json.Unmarshal(b, &list); err != nil {
		return invalid("input", "input: want a text or a list of items: %v", explain(err).Why)
	}
	if len(list) > maxItems {
		return invalid("input", "input has %d items, at most %d", len(list), maxItems)
	}
	*r = make(responseInput, len(list))
	for i, in := range list {
		item, err := in.item()
		if err != nil {
			return invalid("input", "input[%d]: %v", i, err)
		}
		(*r)[i] = item
	}
	return nil
}

// inputItem is an item as clients send it.
type inputItem struct {
	ID, Type, Role  string
	Content, Output content
	CallID          string `json:"call_id"`
	Name, Arguments string
}

// item is the item in the form in which it is kept.
func (in inputItem) item() (itemJSON, error) {
	switch {
	case (in.Type == "" || in.Type == itemMessage) && slices.Contains([]string{"user", "assistant", "system", "developer"}, in.Role):
		return messageItem(given(in.ID, "msg_"), in.Role, statusDone, string(in.Content)), nil
	case in.Type == "" || in.Type == itemMessage:
		return itemJSON{}, fmt.Errorf("role %.80q is none of user, assistant, system, developer", in.Role)
	case (in.Type == itemCall || in.Type == itemResult) && (in.CallID == "" || len(in.CallID) > maxCallID):
		return itemJSON{}, fmt.Errorf("a %s needs a call_id of at most %d bytes", in.Type, maxCallID)
	case in.Type == itemCall:
		return callItem(given(in.ID, "fc_"), in.CallID, statusDone, in.Name, in.Arguments), nil
	case in.Type == itemResult:
		out := string(in.Output)
		return itemJSON{ID: given(in.ID, "fco_"), Type: itemResult, Status: statusDone, CallID: in.CallID, Output: &out}, nil
	}
	return itemJSON{}, fmt.Errorf("an item of type %.40q is not supported: want message, function_call or function_call_output", in.Type)
}

// given is the id that a client gave an item, or a new one.
func given(id, prefix string) string {
	if id != "" && len(id) <= maxCallID {
		return id
	}
	return newID(prefix)
}

// conversationOfItems is what a chat template renders of instructions and items. Calls that follow each other are one turn of the assistant.
func conversationOfItems(instructions string, items []itemJSON) (conversation, error) {
	var c conversation
	if instructions != "" {
		c.turns = append(c.turns, turn{Message: Message{Role: "system", Content: instructions}})
	}
	for i, item := range items {
		switch item.Type {
		case itemMessage:
			c.turns = append(c.turns, turn{Message: Message{Role: item.Role, Content: item.text()}})
		case itemResult:
			c.turns = append(c.turns, turn{Message: Message{Role: "tool", Content: *item.Output}, of: item.CallID})
		case itemCall:
			made, err := callOfFunction(fmt.Sprintf("input[%d]", i), item.CallID, item.Name, *item.Arguments)
			if err != nil {
				return c, err
			}
			last := len(c.turns) - 1
			if last < 0 || c.turns[last].Role != "assistant" || len(c.turns[last].calls) >= maxToolCalls {
				c.turns = append(c.turns, turn{Message: Message{Role: "assistant"}})
				last++
			}
			c.turns[last].calls = append(c.turns[last].calls, made)
		}
	}
	return c, nil
}
