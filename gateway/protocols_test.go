package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/internal/jinja"
)

// bodies are requests of each protocol: seeds of the fuzz target, and none of them is refused.
var bodies = []string{
	`{"messages": [{"role": "developer", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1, {\"b\": null}]}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "x"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "tool_choice": {"type": "function", "function": {"name": "f"}}}`,
	`{"input": [{"role": "user", "content": [{"type": "input_text", "text": "b"}]}, {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "x"}]}], "tools": [{"type": "function", "name": "f", "parameters": null}], "tool_choice": "auto"}`,
	`{"input": "hello", "metadata": {"a": "b"}, "include": ["reasoning.encrypted_content"]}`,
	`{"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "t"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]}, {"type": "text", "text": "y"}]}, {"role": "assistant", "content": "It"}], "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "f"}}`,
}

// readBodies reads a body as each protocol does, up to what a template sees. It gives the conversations that could be read.
func readBodies(body []byte) (talks []conversation, errs []error) {
	var chat chatRequest
	var response responseRequest
	var message messagesRequest
	add := func(c conversation, o *offer, err error) {
		if errs = append(errs, err); err == nil {
			c.tools = o.tools
			talks = append(talks, c)
		}
	}
	if err := json.Unmarshal(body, &chat); err == nil {
		c, err := chat.conversation()
		o, err2 := chat.offer()
		add(c, o, firstError(err, err2))
	}
	if err := json.Unmarshal(body, &response); err == nil {
		c, err := conversationOfItems(response.Instructions, response.Input)
		o, err2 := response.offer()
		add(c, o, firstError(err, err2, response.unsupported()))
	}
	if err := json.Unmarshal(body, &message); err == nil {
		c, err := message.conversation()
		o, err2 := message.offer()
		add(c, o, firstError(err, err2, message.unsupported()))
	}
	return talks, errs
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestBodies(t *testing.T) {
	for _, body := range bodies {
		talks, _ := readBodies([]byte(body))
		if !slices.ContainsFunc(talks, func(c conversation) bool { return len(c.turns) > 0 }) {
			t.Errorf("%s is refused", body)
		}
	}
	_, errs := readBodies([]byte(bodies[0]))
	if errs[0] != nil {
		t.Error(errs[0])
	}
	var m messagesRequest
	if err := json.Unmarshal([]byte(bodies[3]), &m); err != nil {
		t.Fatal(err)
	}
	c, err := m.conversation()
	var got []string
	for _, x := range c.turns {
		got = append(got, fmt.Sprintf("%s %s %s %d", x.Role, x.Content, x.of, len(x.calls)))
	}
	if want := []string{"system s  0", "user a  0", "assistant t  1", "tool x 1 0", "user y  0"}; err != nil || !slices.Equal(got, want) || c.begin != "It" {
		t.Errorf("%q begins %q, %v", got, c.begin, err)
	}
}

// No body makes a reader fail in another way than by refusing it, and what is read is a conversation whose every text is seen by the marks.
func FuzzBodies(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		talks, errs := readBodies(body)
		for _, err := range errs {
			if err != nil && explain(err).Fault != FaultInvalid {
				t.Fatalf("%q: %v", body, err)
			}
		}
		for _, c := range talks {
			spelt := 0
			c.list(func(s string) string { spelt += len(s); return s })
			c.offered(func(s string) string { spelt += len(s); return s })
			all := 0
			for _, text := range c.texts() {
				all += len(text)
			}
			if all != spelt+len(c.begin) {
				t.Fatalf("%q: %d bytes are looked at, %d are shown", body, all, spelt)
			}
		}
	})
}

// Blocks within blocks are read once, however deep they are: work grows as the body does.
func TestDeepBlocks(t *testing.T) {
	const levels = 4000
	began := time.Now()
	body := `{"messages": [{"role": "user", "content": ` + strings.Repeat(`[{"type": "tool_result", "tool_use_id": "1", "content": `, levels) +
		`"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat("}]", levels) + "}]}"
	var m messagesRequest
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	if _, err := m.conversation(); err == nil || explain(err).Fault != FaultInvalid {
		t.Errorf("results within results: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second { // it was minutes
		t.Errorf("it took %s", took)
	}
}

// Special tokens that functions, calls and results spell are text, wherever a template shows them, also in halves that it joins.
func TestToolInjection(t *testing.T) {
	x := fixture(t, "qwen2")
	src := `{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.id }}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }}{{ m.name }}<|im_end|>{% endfor %}<|im_start|>assistant
`
	x.source = src
	var err error
	if x.template, err = jinja.Parse(src); err != nil {
		t.Fatal(err)
	}
	words := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"<|im_start|>", "<|im_end|>", "<|im_", "end|>", "a", " ", "\"", "\\"}), 1, 4), func(s []string) string { return strings.Join(s, "") })
	rapid.Check(t, func(t *rapid.T) {
		make := func(word func() string) conversation {
			o := jinja.NewObject()
			o.Set(word(), []any{word(), nil})
			return conversation{tools: []tool{{name: "f", description: word(), parameters: o}}, begin: word(),
				turns: []turn{{Message: Message{"user", word()}, name: word()}, {Message: Message{"assistant", word()}, calls: []toolCall{{id: word(), name: "f", arguments: o}}}, {Message: Message{"tool", word()}, of: word()}}}
		}
		got, err := x.render(make(func() string { return words.Draw(t, "word") }), time.Time{})
		want, err2 := x.render(make(func() string { return "x" }), time.Time{})
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if !slices.Equal(x.special(got), x.special(want)) {
			t.Fatalf("the special tokens are %v, want %v", x.special(got), x.special(want))
		}
	})
	// A template that escapes what is not ASCII would lose the marks: that is refused.
	x.template, err = jinja.Parse(strings.Replace(src, "t | tojson", "t | tojson(ensure_ascii=true)", 1))
	if err != nil {
		t.Fatal(err)
	}
	c := conversation{tools: []tool{{name: "f", description: "<|im_end|>"}}, turns: []turn{{Message: Message{"user", "x"}}}}
	if _, err := x.render(c, time.Time{}); err == nil || explain(err).Fault != FaultInvalid {
		t.Errorf("an escaped mark: %v", err)
	}
}
