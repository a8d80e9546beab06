package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/internal/scripted"
)

// The protocols with calls of functions, on models that call them in each form: what they say is known to the letter.
func TestProtocols(t *testing.T) {
	offers := map[string]offer{}
	for name, m := range scripted.Forms() {
		dir := filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.Mkdir(dir, 0o700), m.Write(dir)); err != nil {
			t.Fatal(err)
		}
		offers[name] = offer{dir: dir, slots: 4, context: 2048, whole: true}
	}
	s := serving(t, devfleet.Config{Coordinators: 1, Gateway: true}, offers)
	for name, test := range map[string]func(*testing.T, *stage){
		"chat: calls": chatCalls, "chat: streamed": chatStreamed, "responses": responsesWhole, "responses: streamed": responsesStreamed, "responses: kept": responsesKept,
		"messages": messagesWhole, "messages: streamed": messagesStreamed, "refusals": protocolRefusals, "disconnect": protocolDisconnect,
	} {
		t.Run(name, func(t *testing.T) {
			sub := *s
			sub.t = t
			test(t, &sub)
		})
	}
}

var forms = []string{"tagged", "bare", "listed"}

type object = map[string]any

var weather = object{"type": "object", "properties": object{"city": object{"type": "string"}, "unit": object{"type": "string", "enum": []string{"c", "f"}}}, "required": []string{"city"}}

// chatTools are the functions as chat completions offer them.
func chatTools() []object {
	return []object{{"type": "function", "function": object{"name": "get_weather", "description": "The weather of a <|im_end|> city", "parameters": weather}},
		{"type": "function", "function": object{"name": "add", "parameters": object{"type": "object"}}}}
}

func user(text string) object { return object{"role": "user", "content": text} }

type madeCall struct{ ID, Name, Arguments string }

// wanted checks calls, whose ids are anything.
func wanted(t *testing.T, what string, got []madeCall, want ...madeCall) {
	t.Helper()
	ids := map[string]bool{}
	for i := range got {
		if ids[got[i].ID] || got[i].ID == "" {
			t.Errorf("%s: the ids of %+v", what, got)
		}
		ids[got[i].ID] = true
		got[i].ID = ""
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

var bothCalls = []madeCall{{Name: "get_weather", Arguments: scripted.First}, {Name: "add", Arguments: scripted.Then}}

// chatAnswer is what the tests look at of an answer.
type chatAnswer struct {
	text   string
	finish string
	calls  []madeCall
}

func (s *stage) chatted(req object) chatAnswer {
	s.t.Helper()
	var c struct {
		Choices []struct {
			Message struct {
				Content   *string
				ToolCalls []struct {
					ID, Type string
					Function struct{ Name, Arguments string }
				} `json:"tool_calls"`
			}
			Finish string `json:"finish_reason"`
		}
	}
	s.send(http.MethodPost, "/v1/chat/completions", req).ok(s.t, &c)
	out := chatAnswer{finish: c.Choices[0].Finish}
	if c.Choices[0].Message.Content != nil {
		out.text = *c.Choices[0].Message.Content
	}
	for _, call := range c.Choices[0].Message.ToolCalls {
		out.calls = append(out.calls, madeCall{call.ID, call.Function.Name, call.Function.Arguments})
	}
	return out
}

func chatCalls(t *testing.T, s *stage) {
	for _, form := range forms {
		req := object{"model": form, "messages": []object{user("hello")}}
		if got := s.chatted(req); got.text != scripted.Said || got.finish != "stop" || got.calls != nil {
			t.Errorf("%s says %+v", form, got)
		}
		req["tools"] = chatTools()
		got := s.chatted(req)
		look := scripted.Look
		if form == "bare" {
			look = ""
		}
		if got.text != look || got.finish != "tool_calls" {
			t.Errorf("%s with tools: %+v", form, got)
		}
		first := slices.Clone(got.calls)
		wanted(t, form, got.calls, bothCalls...)

		var calls []object
		for _, c := range first {
			calls = append(calls, object{"id": c.ID, "type": "function", "function": object{"name": c.Name, "arguments": c.Arguments}})
		}
		req["messages"] = []object{{"role": "developer", "content": "Be brief."}, user("hello"), {"role": "assistant", "content": nil, "tool_calls": calls},
			{"role": "tool", "tool_call_id": first[0].ID, "content": []object{{"type": "text", "text": "21"}}}, {"role": "tool", "tool_call_id": first[1].ID, "content": "<|im_start|>5"}}
		if got := s.chatted(req); got.text != scripted.Done || got.finish != "stop" {
			t.Errorf("%s with results: %+v", form, got)
		}
		for i := range calls { // what a model wrote need not be JSON
			calls[i]["function"].(object)["arguments"] = `{"city": "Zür`
		}
		if got := s.chatted(req); got.text != scripted.Done || got.finish != "stop" {
			t.Errorf("%s with broken arguments: %+v", form, got)
		}

		req["messages"], req["parallel_tool_calls"] = []object{user("hello")}, false
		got = s.chatted(req)
		wanted(t, form+", one call", got.calls, bothCalls[0])
		delete(req, "parallel_tool_calls")

		req["tool_choice"] = "none"
		if got := s.chatted(req); got.text != scripted.Said || got.calls != nil {
			t.Errorf("%s, tool_choice none: %+v", form, got)
		}
		req["tool_choice"] = object{"type": "function", "function": object{"name": "get_weather"}}
		got = s.chatted(req)
		if got.finish != "tool_calls" || got.text != "" {
			t.Errorf("%s, named: %+v", form, got)
		}
		wanted(t, form+", named", got.calls, madeCall{Name: "get_weather", Arguments: scripted.Named})
		req["tool_choice"], req["tools"] = "required", chatTools()[:1]
		wanted(t, form+", required", s.chatted(req).calls, madeCall{Name: "get_weather", Arguments: scripted.Named})
	}
}

// chatStreamed checks that the pieces of a stream join to the whole answer.
func chatStreamed(t *testing.T, s *stage) {
	for _, form := range forms {
		for what, req := range map[string]object{
			"text": {"messages": []object{user("hello")}}, "calls": {"messages": []object{user("hello")}, "tools": chatTools()},
			"one call": {"messages": []object{user("hello")}, "tools": chatTools(), "parallel_tool_calls": false},
			"named":    {"messages": []object{user("x")}, "tools": chatTools(), "tool_choice": object{"type": "function", "function": object{"name": "get_weather"}}},
			"bad":      {"messages": []object{user("bad")}, "tools": chatTools()}, "cut": {"messages": []object{user("hello")}, "tools": chatTools(), "max_tokens": 9},
			"stopped": {"messages": []object{user("hello")}, "stop": " 21"},
		} {
			req["model"] = form
			want := s.chatted(req)
			req["stream"], req["stream_options"] = true, object{"include_usage": true}
			var got chatAnswer
			events := s.send(http.MethodPost, "/v1/chat/completions", req).events(t)
			for i, e := range events {
				var c struct {
					Choices []struct {
						Delta struct {
							Role, Content string
							ToolCalls     []struct {
								Index    *int
								ID, Type string
								Function struct{ Name, Arguments string }
							} `json:"tool_calls"`
						}
						Finish *string `json:"finish_reason"`
					}
					Usage *usage
				}
				if err := json.Unmarshal(e, &c); err != nil {
					t.Fatal(err)
				}
				if len(c.Choices) == 0 {
					if i != len(events)-1 || c.Usage == nil || c.Usage.Completion == 0 {
						t.Errorf("%s, %s: %s", form, what, e)
					}
					continue
				}
				if d := c.Choices[0].Delta; (d.Role == "assistant") != (i == 0) {
					t.Errorf("%s, %s: the role in event %d: %s", form, what, i, e)
				}
				got.text += c.Choices[0].Delta.Content
				for _, call := range c.Choices[0].Delta.ToolCalls {
					if *call.Index == len(got.calls) {
						got.calls = append(got.calls, madeCall{ID: call.ID, Name: call.Function.Name})
					}
					got.calls[*call.Index].Arguments += call.Function.Arguments
				}
				if c.Choices[0].Finish != nil {
					got.finish = *c.Choices[0].Finish
				}
			}
			for i := range want.calls {
				want.calls[i].ID = ""
			}
			if got.text != want.text || got.finish != want.finish {
				t.Errorf("%s, %s: %+v, want %+v", form, what, got, want)
			}
			wanted(t, form+", "+what, got.calls, want.calls...)
		}
	}
}

// response is what the tests look at of a response.
type response struct {
	ID, Object, Status, Model string
	Previous                  *string `json:"previous_response_id"`
	Store                     bool
	Output                    []responseItem
	Incomplete                *struct{ Reason string } `json:"incomplete_details"`
	Error                     *struct{ Code, Message string }
	Usage                     *struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
		Total  int `json:"total_tokens"`
	}
}

type responseItem struct {
	ID, Type, Status, Role string
	Content                []struct{ Type, Text string }
	CallID                 string `json:"call_id"`
	Name, Arguments        string
}

// bare is the response without what is new each time.
func (r response) bare() response {
	r.ID, r.Output = "", slices.Clone(r.Output)
	for i := range r.Output {
		r.Output[i].ID, r.Output[i].CallID = "", ""
	}
	return r
}

func (r response) text() (out string) {
	for _, i := range r.Output {
		for _, c := range i.Content {
			out += c.Text
		}
	}
	return out
}

func (s *stage) responded(req object) (r response) {
	s.t.Helper()
	s.send(http.MethodPost, "/v1/responses", req).ok(s.t, &r)
	return r
}

// responseTools are the functions as responses offer them.
func responseTools() []object {
	return []object{{"type": "function", "name": "get_weather", "description": "The weather", "parameters": weather, "strict": false}, {"type": "function", "name": "add", "strict": nil}}
}

func responsesWhole(t *testing.T, s *stage) {
	for _, form := range forms {
		r := s.responded(object{"model": form, "input": "hello", "instructions": "Be right.", "metadata": object{"a": "b"}})
		if r.text() != scripted.Said || r.Status != "completed" || r.Object != "response" || !r.Store || r.Usage == nil || r.Usage.Total != r.Usage.Input+r.Usage.Output {
			t.Errorf("%s: %+v", form, r)
		}
		r = s.responded(object{"model": form, "input": []object{{"role": "user", "content": []object{{"type": "input_text", "text": "hello"}}}}, "tools": responseTools()})
		var calls []madeCall
		for _, i := range r.Output {
			if i.Type == "function_call" {
				calls = append(calls, madeCall{i.CallID, i.Name, i.Arguments})
			}
		}
		ids := slices.Clone(calls)
		wanted(t, fmt.Sprintf("%s: %+v", form, r), calls, bothCalls...)
		r = s.responded(object{"model": form, "previous_response_id": r.ID, "tools": responseTools(), "input": []object{
			{"type": "function_call_output", "call_id": ids[0].ID, "output": "21"}, {"type": "function_call_output", "call_id": ids[1].ID, "output": []object{{"type": "input_text", "text": "5"}}}}})
		if r.text() != scripted.Done || r.Previous == nil {
			t.Errorf("%s with results: %+v", form, r)
		}
		r = s.responded(object{"model": form, "input": "loop", "max_output_tokens": 5})
		if r.Status != "incomplete" || r.Incomplete == nil || r.Incomplete.Reason != "max_output_tokens" || r.Usage.Output != 5 {
			t.Errorf("%s for ever: %+v", form, r)
		}
	}
}

// namedEvent is a server-sent event with its name.
type namedEvent struct {
	name string
	data json.RawMessage
}

func namedEvents(t *testing.T, body []byte) (out []namedEvent) {
	t.Helper()
	for _, block := range strings.Split(strings.TrimSuffix(string(body), "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(block, "\ndata: ")
		name, is := strings.CutPrefix(name, "event: ")
		if !ok || !is || strings.Contains(data, "\n") {
			t.Fatalf("an event is %q", block)
		}
		out = append(out, namedEvent{name, json.RawMessage(data)})
	}
	return out
}

// responsesStreamed checks that events join to the response that their last one has, and that this is the whole answer.
func responsesStreamed(t *testing.T, s *stage) {
	for _, form := range forms {
		for what, req := range map[string]object{
			"text": {"input": "hello"}, "calls": {"input": "hello", "tools": responseTools()}, "bad": {"input": "bad", "tools": responseTools()},
			"named": {"input": "x", "tools": responseTools(), "tool_choice": object{"type": "function", "name": "get_weather"}},
			"cut":   {"input": "loop", "max_output_tokens": 7}, "cut call": {"input": "hello", "tools": responseTools(), "max_output_tokens": 9},
		} {
			req["model"] = form
			want := s.responded(req).bare()
			req["stream"] = true
			reply := s.send(http.MethodPost, "/v1/responses", req)
			if got := reply.header.Get("Content-Type"); got != "text/event-stream" {
				t.Errorf("%s, %s: %s", form, what, got)
			}
			var built []responseItem
			var last response
			for i, e := range namedEvents(t, reply.body) {
				var v struct {
					Type           string
					Sequence       int    `json:"sequence_number"`
					Index          *int   `json:"output_index"`
					ItemID         string `json:"item_id"`
					Item           *responseItem
					Delta          string
					Text, Argument *string
					Response       *response
				}
				if err := json.Unmarshal(e.data, &v); err != nil || v.Type != e.name || v.Sequence != i {
					t.Fatalf("%s, %s: event %d: %s %s, %v", form, what, i, e.name, e.data, err)
				}
				switch v.Type {
				case "response.output_item.added":
					if *v.Index != len(built) {
						t.Errorf("%s, %s: %s", form, what, e.data)
					}
					built = append(built, *v.Item)
				case "response.content_part.added":
					built[*v.Index].Content = append(built[*v.Index].Content, struct{ Type, Text string }{"output_text", ""})
				case "response.output_text.delta":
					built[*v.Index].Content[0].Text += v.Delta
				case "response.function_call_arguments.delta":
					built[*v.Index].Arguments += v.Delta
				case "response.output_text.done":
					if *v.Text != built[*v.Index].Content[0].Text {
						t.Errorf("%s, %s: %s", form, what, e.data)
					}
				case "response.output_item.done":
					built[*v.Index].Status = v.Item.Status
					if !reflect.DeepEqual(*v.Item, built[*v.Index]) {
						t.Errorf("%s, %s: built %+v, done %+v", form, what, built[*v.Index], *v.Item)
					}
				case "response.completed", "response.incomplete":
					last = *v.Response
				}
			}
			if !reflect.DeepEqual(last.Output, built) || !reflect.DeepEqual(last.bare(), want) {
				t.Errorf("%s, %s:\nbuilt %+v\nlast  %+v\nwant  %+v", form, what, built, last.bare(), want)
			}
		}
	}
}

func responsesKept(t *testing.T, s *stage) {
	first := s.responded(object{"model": "tagged", "input": "hello"})
	second := s.responded(object{"model": "tagged", "input": "and now?", "previous_response_id": first.ID})
	if second.Usage.Input <= first.Usage.Input {
		t.Errorf("the second prompt has %d tokens, the first %d", second.Usage.Input, first.Usage.Input)
	}
	var got response
	s.send(http.MethodGet, "/v1/responses/"+second.ID, nil).ok(t, &got)
	if !reflect.DeepEqual(got, second) {
		t.Errorf("kept %+v, want %+v", got, second)
	}
	var page struct {
		Data    []responseItem
		HasMore bool `json:"has_more"`
	}
	s.send(http.MethodGet, "/v1/responses/"+second.ID+"/input_items?order=asc&limit=2", nil).ok(t, &page)
	if len(page.Data) != 2 || !page.HasMore || page.Data[0].Content[0].Text != "hello" || page.Data[1].Content[0].Text != scripted.Said {
		t.Errorf("items %+v", page)
	}
	s.send(http.MethodGet, "/v1/responses/"+second.ID+"/input_items?order=asc&after="+page.Data[1].ID, nil).ok(t, &page)
	if len(page.Data) != 1 || page.HasMore || page.Data[0].Content[0].Text != "and now?" {
		t.Errorf("items %+v", page)
	}
	for path, status := range map[string]int{second.ID + "/cancel": http.StatusBadRequest, "resp_nobody/cancel": http.StatusNotFound} {
		if r := s.send(http.MethodPost, "/v1/responses/"+path, nil); r.status != status {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	unkept := s.responded(object{"model": "tagged", "input": "hello", "store": false})
	if unkept.Store {
		t.Error("store false is true")
	}
	s.send(http.MethodDelete, "/v1/responses/"+second.ID, nil).ok(t, &struct{}{})
	for _, id := range []string{second.ID, unkept.ID, "resp_nobody"} {
		for _, r := range []reply{s.send(http.MethodGet, "/v1/responses/"+id, nil), s.send(http.MethodDelete, "/v1/responses/"+id, nil),
			s.send(http.MethodPost, "/v1/responses", object{"model": "tagged", "input": "x", "previous_response_id": id})} {
			if r.status != http.StatusNotFound || !strings.Contains(string(r.body), "is not kept") {
				t.Errorf("%s: %d %s", id, r.status, r.body)
			}
		}
	}
	s.send(http.MethodGet, "/v1/responses/"+first.ID, nil).ok(t, &got)
}

// message is an answer of the Anthropic API.
type anthropicMessage struct {
	ID, Type, Role, Model string
	Content               []anthropicBlock
	StopReason            *string `json:"stop_reason"`
	StopSequence          *string `json:"stop_sequence"`
	Usage                 struct {
		Input  int `json:"input_tokens"`
		Output int `json:"output_tokens"`
	}
}

type anthropicBlock struct {
	Type, Text, ID, Name string
	Input                json.RawMessage
}

func (m anthropicMessage) bare() anthropicMessage {
	m.ID, m.Content = "", slices.Clone(m.Content)
	for i := range m.Content {
		m.Content[i].ID = ""
	}
	return m
}

func (s *stage) messaged(req object) (m anthropicMessage) {
	s.t.Helper()
	r := s.sendAs("", http.MethodPost, "/v1/messages", req, map[string]string{"x-api-key": s.Key, "anthropic-version": "2023-06-01"})
	if r.header.Get("request-id") == "" {
		s.t.Errorf("no request-id in %v", r.header)
	}
	r.ok(s.t, &m)
	return m
}

// messageTools are the functions as messages offer them.
func messageTools() []object {
	return []object{{"name": "get_weather", "description": "The weather", "input_schema": weather}, {"type": "custom", "name": "add", "input_schema": object{"type": "object"}}}
}

// compact is JSON without white space: the input of a call is an object there, and not the text that the model wrote.
func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func messagesWhole(t *testing.T, s *stage) {
	for _, form := range forms {
		m := s.messaged(object{"model": form, "max_tokens": 100, "system": []object{{"type": "text", "text": "Be right."}}, "messages": []object{user("hello")}})
		if len(m.Content) != 1 || m.Content[0].Text != scripted.Said || *m.StopReason != "end_turn" || m.StopSequence != nil || m.Usage.Input == 0 || m.Usage.Output == 0 {
			t.Errorf("%s: %+v", form, m)
		}
		var count struct {
			Input int `json:"input_tokens"`
		}
		s.send(http.MethodPost, "/v1/messages/count_tokens", object{"model": form, "system": "Be right.", "messages": []object{user("hello")}}).ok(t, &count)
		if count.Input != m.Usage.Input {
			t.Errorf("%s: %d tokens are counted, %d used", form, count.Input, m.Usage.Input)
		}
		m = s.messaged(object{"model": form, "max_tokens": 100, "stop_sequences": []string{"never", "ich –"}, "messages": []object{user("hello")}})
		if m.Content[0].Text != "It is fine in Zür" || *m.StopReason != "stop_sequence" || m.StopSequence == nil || *m.StopSequence != "ich –" {
			t.Errorf("%s stopped: %+v", form, m)
		}
		m = s.messaged(object{"model": form, "max_tokens": 100, "messages": []object{user("hello"), {"role": "assistant", "content": "The answer is:"}}})
		if m.Content[0].Text != scripted.Begun {
			t.Errorf("%s begun: %+v", form, m)
		}
		m = s.messaged(object{"model": form, "max_tokens": 4, "messages": []object{user("loop")}})
		if *m.StopReason != "max_tokens" || m.Usage.Output != 4 {
			t.Errorf("%s for ever: %+v", form, m)
		}
		m = s.messaged(object{"model": form, "max_tokens": 400, "tools": messageTools(), "messages": []object{user("hello")}})
		var calls []madeCall
		var answer []object
		for _, b := range m.Content {
			if b.Type == "tool_use" {
				calls = append(calls, madeCall{b.ID, b.Name, string(b.Input)})
				if string(b.Input) != compact(t, string(b.Input)) {
					t.Errorf("%s: the input %s", form, b.Input)
				}
				answer = append(answer, object{"type": "tool_result", "tool_use_id": b.ID, "content": "21"})
			}
		}
		if *m.StopReason != "tool_use" {
			t.Errorf("%s: %+v", form, m)
		}
		wanted(t, form, calls, madeCall{Name: "get_weather", Arguments: compact(t, scripted.First)}, madeCall{Name: "add", Arguments: compact(t, scripted.Then)})
		m = s.messaged(object{"model": form, "max_tokens": 400, "tools": messageTools(), "messages": []object{user("hello"), {"role": "assistant", "content": m.Content}, {"role": "user", "content": answer}}})
		if m.Content[0].Text != scripted.Done {
			t.Errorf("%s with results: %+v", form, m)
		}
		m = s.messaged(object{"model": form, "max_tokens": 400, "tools": messageTools(), "tool_choice": object{"type": "tool", "name": "get_weather"}, "messages": []object{user("x")}})
		if len(m.Content) != 1 || string(m.Content[0].Input) != compact(t, scripted.Named) {
			t.Errorf("%s, named: %+v", form, m)
		}
	}
}

func messagesStreamed(t *testing.T, s *stage) {
	for _, form := range forms {
		for what, req := range map[string]object{
			"text": {"messages": []object{user("hello")}}, "calls": {"messages": []object{user("hello")}, "tools": messageTools()},
			"one call": {"messages": []object{user("hello")}, "tools": messageTools(), "tool_choice": object{"type": "auto", "disable_parallel_tool_use": true}},
			"stopped":  {"messages": []object{user("hello")}, "stop_sequences": []string{" 21"}}, "cut": {"messages": []object{user("loop")}, "max_tokens": 7},
			"cut call": {"messages": []object{user("hello")}, "tools": messageTools(), "max_tokens": 9},
		} {
			req["model"] = form
			if req["max_tokens"] == nil {
				req["max_tokens"] = 200
			}
			want := s.messaged(req).bare()
			req["stream"] = true
			var got anthropicMessage
			var inputs []string
			var names []string
			for _, e := range namedEvents(t, s.send(http.MethodPost, "/v1/messages", req).body) {
				var v struct {
					Type    string
					Message *anthropicMessage
					Index   int
					Block   *anthropicBlock `json:"content_block"`
					Delta   struct {
						Type, Text   string
						Partial      string  `json:"partial_json"`
						StopReason   *string `json:"stop_reason"`
						StopSequence *string `json:"stop_sequence"`
					}
					Usage struct {
						Output int `json:"output_tokens"`
					}
				}
				if err := json.Unmarshal(e.data, &v); err != nil || v.Type != e.name {
					t.Fatalf("%s, %s: %s %s, %v", form, what, e.name, e.data, err)
				}
				if n := len(names); n == 0 || names[n-1] != v.Type {
					names = append(names, v.Type)
				}
				switch v.Type {
				case "message_start":
					got = *v.Message
				case "content_block_start":
					if v.Index != len(got.Content) {
						t.Errorf("%s, %s: %s", form, what, e.data)
					}
					got.Content, inputs = append(got.Content, *v.Block), append(inputs, "")
				case "content_block_delta":
					got.Content[v.Index].Text += v.Delta.Text
					inputs[v.Index] += v.Delta.Partial
				case "message_delta":
					got.StopReason, got.StopSequence, got.Usage.Output = v.Delta.StopReason, v.Delta.StopSequence, v.Usage.Output
				}
			}
			for i, in := range inputs {
				if json.Valid([]byte(in)) {
					got.Content[i].Input = json.RawMessage(compact(t, in))
				}
			}
			if names[0] != "message_start" || names[len(names)-2] != "message_delta" || names[len(names)-1] != "message_stop" {
				t.Errorf("%s, %s: %v", form, what, names)
			}
			if !reflect.DeepEqual(got.bare(), want) {
				t.Errorf("%s, %s:\ngave %+v\nwant %+v", form, what, got.bare(), want)
			}
		}
		req := object{"model": form, "max_tokens": 100, "messages": []object{user("bad")}, "tools": messageTools()}
		if r := s.send(http.MethodPost, "/v1/messages", req); r.status != http.StatusInternalServerError || !strings.Contains(string(r.body), `"api_error"`) {
			t.Errorf("%s: a call that is not JSON: %d %s", form, r.status, r.body)
		}
		req["stream"] = true
		events := namedEvents(t, s.send(http.MethodPost, "/v1/messages", req).body)
		if last := events[len(events)-1]; last.name != "error" || !strings.Contains(string(last.data), `"api_error"`) {
			t.Errorf("%s: a call that is not JSON, streamed: %s %s", form, last.name, last.data)
		}
	}
}

// protocolRefusals checks that what is not done is refused by name, in the form of the protocol.
func protocolRefusals(t *testing.T, s *stage) {
	unenforced := object{"type": "object", "properties": object{"a": object{"not": object{"type": "null"}}}}
	strict := chatTools()
	strict[0]["function"].(object)["strict"] = true
	strict[0]["function"].(object)["parameters"] = unenforced
	for _, c := range []struct {
		path   string
		more   object
		param  string
		status int
	}{
		{"/v1/chat/completions", object{"tools": strict}, "tools", 400},
		{"/v1/chat/completions", object{"tools": chatTools(), "tool_choice": "maybe"}, "tool_choice", 400},
		{"/v1/chat/completions", object{"tools": []object{{"type": "web_search"}}}, "tools", 400},
		{"/v1/chat/completions", object{"tools": append(chatTools(), chatTools()...)}, "tools", 400},
		{"/v1/chat/completions", object{"response_format": object{"type": "json_schema", "json_schema": object{"name": "x", "strict": true, "schema": unenforced}}}, "response_format", 400},
		{"/v1/chat/completions", object{"store": true}, "store", 400},
		{"/v1/chat/completions", object{"reasoning_effort": "high"}, "reasoning_effort", 400},
		{"/v1/chat/completions", object{"logit_bias": object{"5": 1000}}, "logit_bias", 400},
		{"/v1/chat/completions", object{"messages": []object{{"role": "user", "content": []object{{"type": "image_url"}}}}}, "messages", 400},
		{"/v1/chat/completions", object{"messages": []object{{"role": "assistant", "tool_calls": []object{{"id": "1", "function": object{"name": "no name", "arguments": "{}"}}}}}}, "messages[0].tool_calls", 400},
		{"/v1/chat/completions", object{"messages": []object{{"role": "tool", "content": "x"}}}, "messages", 400},
		{"/v1/responses", object{"background": true}, "background", 400},
		{"/v1/responses", object{"input": []object{{"type": "item_reference", "id": "x"}}}, "input", 400},
		{"/v1/responses", object{"input": []object{}}, "input", 400},
		{"/v1/responses", object{"text": object{"format": object{"type": "json_schema", "name": "x", "schema": unenforced}}}, "text.format", 400},
		{"/v1/responses", object{"truncation": "auto"}, "truncation", 400},
		{"/v1/responses", object{"reasoning": object{"effort": "low"}}, "reasoning", 400},
		{"/v1/responses", object{"include": []string{"message.output_text.logprobs"}}, "include", 400},
		{"/v1/responses", object{"conversation": "conv_1"}, "conversation", 400},
		{"/v1/responses", object{"tools": []object{{"type": "file_search"}}}, "tools", 400},
		{"/v1/responses", object{"tools": []object{{"type": "function", "name": "f", "strict": true, "parameters": unenforced}}}, "tools", 400},
		{"/v1/responses", object{"model": "nobody"}, "model", 404},
		{"/v1/messages", object{"max_tokens": nil}, "max_tokens", 400},
		{"/v1/messages", object{"thinking": object{"type": "enabled", "budget_tokens": 1024}}, "thinking", 400},
		{"/v1/messages", object{"tools": []object{{"type": "web_search_20250305", "name": "web_search"}}}, "tools", 400},
		{"/v1/messages", object{"output_config": object{"effort": "low"}}, "output_config.effort", 400},
		{"/v1/messages", object{"messages": []object{{"role": "system", "content": "x"}}}, "system", 400},
		{"/v1/messages", object{"model": "nobody"}, "", 404},
	} {
		req := object{"model": "tagged", "messages": []object{user("hello")}, "max_tokens": 10, "input": "hello"}
		for k, v := range c.more {
			req[k] = v
		}
		r := s.send(http.MethodPost, c.path, req)
		var body struct {
			Type  string
			Error struct {
				Type, Message string
				Param         *string
			}
		}
		if err := json.Unmarshal(r.body, &body); err != nil {
			t.Errorf("%s %v: %s", c.path, c.more, r.body)
			continue
		}
		anthropic := c.path == "/v1/messages"
		named := body.Error.Param != nil && *body.Error.Param == c.param
		if anthropic {
			named = body.Type == "error" && strings.Contains(body.Error.Message, c.param)
		}
		kind := "invalid_request_error"
		if anthropic && c.status == 404 {
			kind = "not_found_error"
		}
		if r.status != c.status || !named || body.Error.Type != kind {
			t.Errorf("%s %v: %d %s, want %d naming %s", c.path, c.more, r.status, r.body, c.status, c.param)
		}
	}
	if r := s.sendAs("", http.MethodPost, "/v1/messages", object{}, map[string]string{"x-api-key": "wrong"}); r.status != 401 || !strings.Contains(string(r.body), "authentication_error") {
		t.Errorf("a wrong key: %d %s", r.status, r.body)
	}
}

// protocolDisconnect checks that a client that goes away frees its slot: with all of them taken by streams without an end, more streams than there
// are slots come and go.
func protocolDisconnect(t *testing.T, s *stage) {
	for path, req := range map[string]object{
		"/v1/chat/completions": {"model": "bare", "messages": []object{user("loop")}, "stream": true},
		"/v1/responses":        {"model": "bare", "input": "loop", "stream": true},
		"/v1/messages":         {"model": "bare", "messages": []object{user("loop")}, "stream": true, "max_tokens": 1900},
	} {
		for i := range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			b := body(t, req)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+path, bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.Key)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(res.Body)
			for seen := 0; seen < 12 && lines.Scan(); seen++ {
			}
			cancel()
			res.Body.Close()
			if lines.Err() != nil {
				t.Errorf("%s, stream %d: %v", path, i, lines.Err())
			}
		}
	}
	s.active("bare@1", 0)
}

// The official Go clients take what they get, and the published document is valid. They are a module of their own, which downloads what it needs.
func TestClientsOfProtocols(t *testing.T) {
	if os.Getenv("SKEIN_FULL") == "" {
		t.Skip("SKEIN_FULL=1 downloads and compiles the clients")
	}
	module := filepath.Join(root(t), "conformance", "protocols")
	fetch := exec.CommandContext(t.Context(), "go", "mod", "download")
	fetch.Dir = module
	if out, err := fetch.CombinedOutput(); err != nil {
		t.Skipf("the clients' modules cannot be had: %v: %s", err, out)
	}
	dir := t.TempDir()
	if err := scripted.Forms()["tagged"].Write(dir); err != nil {
		t.Fatal(err)
	}
	s := serving(t, devfleet.Config{Coordinators: 1, Gateway: true}, map[string]offer{"tagged": {dir: dir, slots: 4, context: 2048, whole: true}})
	run := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", ".")
	run.Dir, run.Env = module, append(os.Environ(), "SKEIN_URL="+s.URL(), "SKEIN_KEY="+s.Key)
	out, err := run.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTools") || !strings.Contains(string(out), "--- PASS: TestDocument") {
		t.Errorf("%v: %s", err, out)
	}
}
