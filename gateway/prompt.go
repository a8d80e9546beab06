package gateway

import (
	"fmt"
	"regexp"
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

// chat renders a conversation of messages alone.
func (t *text) chat(messages []Message, now time.Time) ([]int32, error) {
	return t.render(conversationOf(messages), now)
}

// render writes a conversation with the model's template and turns it into tokens. Special tokens are read where the template put them,
// never where the conversation spells them.
func (t *text) render(c conversation, now time.Time) ([]int32, error) {
	if t.tokenizer == nil || t.template == nil {
		return nil, &Error{Fault: FaultTask, Param: "model", Why: "the model has no chat template: use completions"}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	texts := c.texts()
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if err := t.bounded("messages", size); err != nil {
		return nil, err
	}
	mark, err := t.mark(texts)
	if err != nil {
		return nil, err
	}
	rendered, err := t.template.Render(t.variables(c, func(s string) string { return t.marked(s, mark) }), jinja.Limits{Now: now})
	if err != nil {
		return nil, templateError(err)
	}
	if mark != 0 && strings.Contains(rendered, fmt.Sprintf(`\u%04x`, mark)) {
		return nil, invalid("messages", "the messages spell special tokens of the model where its chat template escapes them")
	}
	text, literal := unmark(rendered+t.marked(c.begin, mark), mark)
	e, err := t.tokenizer.Encode(text+c.force, token.EncodeOptions{ParseSpecial: true, Literal: literal})
	return e.IDs, err
}

// variables are what a chat template sees: those of Hugging Face transformers. spell is applied to every text of the conversation.
func (t *text) variables(c conversation, spell func(string) string) map[string]any {
	vars := map[string]any{"messages": c.list(spell), "tools": c.offered(spell), "documents": nil, "add_generation_prompt": true}
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

// mark is a character that occurs nowhere in texts, which is put before every special token that they spell, so that it is known from those of
// the template wherever the template puts it. It is 0 if no text spells any, as almost always.
func (t *text) mark(texts []string) (rune, error) {
	for _, text := range texts {
		spelt, err := t.spelt(text)
		if err != nil {
			return 0, err
		}
		if len(spelt) == 0 {
			continue
		}
		if mark := t.unused(texts); mark != 0 {
			return mark, nil
		}
		return 0, invalid("messages", "the messages hold every private character of Unicode, and special tokens")
	}
	return 0, nil
}

// specialTexts are the texts of all special tokens.
func specialTexts(t *token.Tokenizer) (out []string) {
	for id := range int32(t.VocabSize()) {
		if t.IsSpecial(id) {
			out = append(out, t.Decode([]int32{id}, false))
		}
	}
	return out
}

// half is where a text ends in the beginning of a special token, which a template could complete with another text; len(text) if it does not.
func (t *text) half(text string) int {
	from := len(text)
	for _, special := range t.spellings {
		for n := min(len(special)-1, len(text)); n > len(text)-from; n-- {
			if strings.HasSuffix(text, special[:n]) {
				from = len(text) - n
				break
			}
		}
	}
	return from
}

// spelt finds where a text spells special tokens, or ends in half of one.
func (t *text) spelt(text string) (begins []int, err error) {
	e, err := t.tokenizer.Encode(text, token.EncodeOptions{ParseSpecial: true})
	if err != nil {
		return nil, err
	}
	for i, id := range e.IDs {
		if !t.tokenizer.IsSpecial(id) {
			continue
		}
		// Some special tokens take the white space before them, which is not spelling.
		at := e.Offsets[i]
		begin := int(at.To) - len(strings.TrimLeftFunc(text[at.From:at.To], unicode.IsSpace))
		if n := len(begins); n == 0 || begin > begins[n-1] {
			begins = append(begins, begin)
		}
	}
	if half, n := t.half(text), len(begins); half < len(text) && (n == 0 || half > begins[n-1]) {
		begins = append(begins, half)
	}
	return begins, nil
}

// marked is a text with the mark before every special token that it spells; mark 0 = it spells none.
func (t *text) marked(text string, mark rune) string {
	if mark == 0 {
		return text
	}
	begins, err := t.spelt(text)
	if err != nil || len(begins) == 0 {
		return text // mark has read it without an error
	}
	var b strings.Builder
	done := 0
	for _, begin := range begins {
		b.WriteString(text[done:begin])
		b.WriteRune(mark)
		done = begin
	}
	return b.String() + text[done:]
}

// unused finds a private character that is neither in the texts nor in the template; 0 if there is none.
func (t *text) unused(texts []string) rune {
	used := map[rune]bool{}
	note := func(s string) {
		for _, r := range s {
			if unicode.Is(unicode.Co, r) {
				used[r] = true
			}
		}
	}
	note(t.source)
	for _, text := range texts {
		note(text)
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
