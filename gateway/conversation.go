package gateway

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/skein-project/skein/internal/jinja"
)

// conversation is what a chat template renders.
type conversation struct {
	turns []turn
	tools []tool
	begin string // of the answer, which the client gives: the model goes on behind it
	force string // begins the answer as its form of calls does, special tokens included
}

// turn is a message with what it has to do with calls of functions.
type turn struct {
	Message
	calls []toolCall // that the assistant made
	of    string     // id of the call that this is the result of; "" = of none
	name  string     // of whoever speaks; "" = none
}

// toolCall is a call of a function that an earlier answer made.
type toolCall struct {
	id, name  string
	arguments any // a *jinja.Object; a string as it was written where that is none
}

// tool is a function that the model may ask the client to call.
type tool struct {
	name, description string
	parameters        any             // a *jinja.Object; nil = none
	schema            json.RawMessage // of parameters; nil = none
	strict            bool            // calls follow the schema
}

func conversationOf(messages []Message) conversation {
	var c conversation
	for _, m := range messages {
		c.turns = append(c.turns, turn{Message: m})
	}
	return c
}

func (c conversation) messages() (out []Message) {
	for _, t := range c.turns {
		out = append(out, t.Message)
	}
	return out
}

func (c conversation) check() error {
	if len(c.turns) == 0 {
		return invalid("messages", "messages is empty")
	}
	for i, m := range c.turns {
		if !roleForm.MatchString(m.Role) {
			return invalid("messages", "message %d has the role %.80q, want 1 to 64 letters, digits, dots, dashes or underscores", i, m.Role)
		}
	}
	return nil
}

// texts are all texts that the client put into the conversation.
func (c conversation) texts() (out []string) {
	note := func(s string) string { out = append(out, s); return s }
	c.list(note)
	c.offered(note)
	note(c.begin)
	return out
}

// list is the variable messages of a chat template.
func (c conversation) list(spell func(string) string) []any {
	out := make([]any, len(c.turns))
	for i, m := range c.turns {
		o := jinja.NewObject()
		o.Set("role", m.Role)
		o.Set("content", spell(m.Content))
		if len(m.calls) > 0 && m.Content == "" {
			o.Set("content", nil)
		}
		if m.name != "" {
			o.Set("name", spell(m.name))
		}
		if m.of != "" {
			o.Set("tool_call_id", spell(m.of))
		}
		var calls []any
		for _, c := range m.calls {
			f := jinja.NewObject()
			f.Set("name", spell(c.name))
			f.Set("arguments", spelled(c.arguments, spell))
			o := jinja.NewObject()
			o.Set("id", spell(c.id))
			o.Set("type", "function")
			o.Set("function", f)
			calls = append(calls, o)
		}
		if calls != nil {
			o.Set("tool_calls", calls)
		}
		out[i] = o
	}
	return out
}

// offered is the variable tools of a chat template.
func (c conversation) offered(spell func(string) string) any {
	if len(c.tools) == 0 {
		return nil
	}
	out := make([]any, len(c.tools))
	for i, t := range c.tools {
		f := jinja.NewObject()
		f.Set("name", spell(t.name))
		if t.description != "" {
			f.Set("description", spell(t.description))
		}
		if t.parameters != nil {
			f.Set("parameters", spelled(t.parameters, spell))
		}
		o := jinja.NewObject()
		o.Set("type", "function")
		o.Set("function", f)
		out[i] = o
	}
	return out
}

// spelled is a value of JSON with spell applied to every text in it.
func spelled(v any, spell func(string) string) any {
	switch v := v.(type) {
	case string:
		return spell(v)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = spelled(x, spell)
		}
		return out
	case *jinja.Object:
		out := jinja.NewObject()
		for _, k := range v.Keys() {
			x, _ := v.Get(k)
			out.Set(spell(k), spelled(x, spell))
		}
		return out
	}
	return v
}

// Bounds of the functions that a request offers.
const (
	maxTools     = 128 // functions
	maxToolCalls = 128 // calls of one message
	maxCallID    = 256 // bytes
)

// functionForm is what a function may be called.
var functionForm = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// objectOf reads a JSON object, whose order templates show.
func objectOf(param string, raw []byte) (*jinja.Object, error) {
	v, err := jinja.FromJSON(raw)
	o, ok := v.(*jinja.Object)
	if err != nil || !ok {
		return nil, invalid(param, "%s: want a JSON object", param)
	}
	return o, nil
}

// toolOf reads a function that is offered; schema is null or nothing where it has no parameters, strict nil or false where nothing enforces it.
func toolOf(param, name, description string, schema json.RawMessage, strict *bool) (tool, error) {
	t := tool{name: name, description: description, strict: strict != nil && *strict}
	if !functionForm.MatchString(name) {
		return t, invalid(param, "%s: the name %.80q, want 1 to 128 letters, digits, underscores or dashes", param, name)
	}
	if len(schema) == 0 || string(schema) == "null" {
		return t, nil
	}
	o, err := objectOf(param, schema)
	t.parameters, t.schema = o, schema
	return t, err
}

// callOfFunction reads a call that an earlier answer made. What a model wrote for arguments, or was kept from writing to the end, need be no object:
// the conversation goes on all the same, and the model is shown what it wrote.
func callOfFunction(param, id, name, arguments string) (toolCall, error) {
	c := toolCall{id: id, name: name}
	if !functionForm.MatchString(name) || len(id) > maxCallID {
		return c, invalid(param, "%s: a call needs the name of a function, and an id of at most %d bytes", param, maxCallID)
	}
	if arguments == "" {
		arguments = "{}"
	}
	if o, err := objectOf(param, []byte(arguments)); err == nil {
		c.arguments = o
	} else {
		c.arguments = arguments
	}
	return c, nil
}

// converse makes an ask of a conversation: the functions that o offers are rendered with it.
func (t *text) converse(a *Ask, c conversation, o *offer, now time.Time) (err error) {
	if err := o.check(t, &c); err != nil {
		return err
	}
	if !strings.Contains(t.source, "developer") { // the newer word for system, which few templates know
		c.turns = slices.Clone(c.turns)
		for i := range c.turns {
			if c.turns[i].Role == "developer" {
				c.turns[i].Role = "system"
			}
		}
	}
	if a.Tokens, err = t.render(c, now); err != nil {
		return err
	}
	a.Marks = o.marks(t)
	if err := o.constrain(t, a); err != nil {
		return err
	}
	if !o.heard() || !o.single { // an answer that is cut here cannot be compared
		a.again = func(other *text) ([]int32, error) { return other.render(c, now) }
	}
	return nil
}
