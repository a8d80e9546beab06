package gateway

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/skein-project/skein/internal/jinja"
	"github.com/skein-project/skein/token"
)

// prompt turns a text into tokens, with the special tokens that the model begins with.
func (t *text) prompt(text string) ([]int32, error) {
	if t.tokenizer == nil {
		return nil, errNoTokenizer
	}
	if err := t.bounded("prompt", len(text)); err != nil {
		return nil, err
	}
	e, err := t.tokenizer.Encode(text, token.EncodeOptions{AddSpecial: true})
	return e.IDs, err
}

func (t *text) bounded(param string, bytes int) error {
	if bytes > t.limit {
		return invalid(param, "%s of %d bytes, at most %d", param, bytes, t.limit)
	}
	return nil
}

// Message is one turn of a conversation.
type Message struct {
	Role    string
	Content string
}

// roleForm is what a role may be: it is put into the prompt beside special tokens.
var roleForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// chat renders a conversation with the model's template and turns it into tokens. Special tokens are read where the template put them,
// never where a message spells them.
func (t *text) chat(messages []Message, now time.Time) ([]int32, error) {
	if t.tokenizer == nil || t.template == nil {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: "the model has no chat template: use completions"}
	}
	if len(messages) == 0 {
		return nil, invalid("messages", "messages is empty")
	}
	size := 0
	for i, m := range messages {
		if !roleForm.MatchString(m.Role) {
			return nil, invalid("messages", "message %d has the role %.80q, want 1 to 64 letters, digits, dots, dashes or underscores", i, m.Role)
		}
		size += len(m.Role) + len(m.Content)
	}
	if err := t.bounded("messages", size); err != nil {
		return nil, err
	}
	marked, mark, err := t.mark(messages)
	if err != nil {
		return nil, err
	}
	rendered, err := t.template.Render(t.variables(marked), jinja.Limits{Now: now})
	if err != nil {
		return nil, templateError(err)
	}
	text, literal := unmark(rendered, mark)
	e, err := t.tokenizer.Encode(text, token.EncodeOptions{ParseSpecial: true, Literal: literal})
	return e.IDs, err
}

// variables are what a chat template sees.
func (t *text) variables(messages []Message) map[string]any {
	list := make([]any, len(messages))
	for i, m := range messages {
		o := jinja.NewObject()
		o.Set("role", m.Role)
		o.Set("content", m.Content)
		list[i] = o
	}
	vars := map[string]any{"messages": list, "add_generation_prompt": true}
	for name, text := range t.specials {
		vars[name] = text
	}
	return vars
}

func templateError(err error) error {
	if e := explain(err); e.Fault != FaultInternal {
		return e
	}
	return &Error{Fault: FaultInvalid, Param: "messages", Why: "the model's chat template cannot render these messages: " + err.Error()}
}

// mark puts a character that occurs nowhere else before every special token that a message spells, so that it is known from those of the
// template wherever the template puts it. mark is 0 if no message spells any, as almost always.
func (t *text) mark(messages []Message) (marked []Message, mark rune, err error) {
	marked = slices.Clone(messages)
	for i, m := range marked {
		e, err := t.tokenizer.Encode(m.Content, token.EncodeOptions{ParseSpecial: true})
		if err != nil {
			return nil, 0, err
		}
		var b strings.Builder
		done := 0
		for j, id := range e.IDs {
			if !t.tokenizer.IsSpecial(id) {
				continue
			}
			if mark == 0 {
				if mark = t.unused(messages); mark == 0 {
					return nil, 0, invalid("messages", "the messages hold every private character of Unicode, and special tokens")
				}
			}
			// Some special tokens take the white space before them, which is not spelling.
			at := e.Offsets[j]
			begin := int(at.To) - len(strings.TrimLeftFunc(m.Content[at.From:at.To], unicode.IsSpace))
			if begin >= done {
				b.WriteString(m.Content[done:begin])
				b.WriteRune(mark)
				done = begin
			}
		}
		marked[i].Content = b.String() + m.Content[done:]
	}
	return marked, mark, nil
}

// unused finds a private character that is neither in the messages nor in the template; 0 if there is none.
func (t *text) unused(messages []Message) rune {
	used := map[rune]bool{}
	note := func(s string) {
		for _, r := range s {
			if unicode.Is(unicode.Co, r) {
				used[r] = true
			}
		}
	}
	note(t.source)
	for _, m := range messages {
		note(m.Content)
	}
	for r := rune(0xE000); r <= 0xF8FF; r++ {
		if !used[r] {
			return r
		}
	}
	return 0
}

// unmark takes the marks out of a rendered prompt, and gives the places behind them: special tokens there are text.
func unmark(rendered string, mark rune) (text string, literal []token.Span) {
	if mark == 0 {
		return rendered, nil
	}
	parts := strings.Split(rendered, string(mark))
	var b strings.Builder
	for i, part := range parts {
		if _, n := utf8.DecodeRuneInString(part); i > 0 && n > 0 {
			literal = append(literal, token.Span{From: int32(b.Len()), To: int32(b.Len() + n)})
		}
		b.WriteString(part)
	}
	return b.String(), literal
}
