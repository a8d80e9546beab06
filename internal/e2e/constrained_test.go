package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/internal/scripted"
)

// Answers look like what was asked for, whatever the model would rather say, and however it is cut.
func TestConstrained(t *testing.T) {
	offers := map[string]offer{"calc": {dir: "examples/calc", slots: 4, context: 256}, "whole": {dir: "examples/calc", slots: 4, context: 256, whole: true}}
	for name, m := range scripted.Forms() {
		dir := filepath.Join(t.TempDir(), name)
		if err := errors.Join(os.Mkdir(dir, 0o700), m.Write(dir)); err != nil {
			t.Fatal(err)
		}
		offers[name] = offer{dir: dir, slots: 4, context: 2048, whole: true}
	}
	s := serving(t, devfleet.Config{Coordinators: 1, Gateway: true}, offers)
	for name, test := range map[string]func(*testing.T, *stage){
		"schemas": constrainedSchemas, "regex and choice": constrainedTexts, "tools": constrainedTools, "penalties": penalised, "mates": constrainedMates,
		"refused": constrainedRefusals, "doors": constrainedDoors,
	} {
		t.Run(name, func(t *testing.T) {
			sub := *s
			sub.t = t
			test(t, &sub)
		})
	}
}

// reading is what answers of the tests are: every text of it is short, since calc has no room for more.
type reading struct {
	Kind  string   `json:"kind"`
	Value int      `json:"value"`
	Ok    *bool    `json:"ok"`
	Tags  []string `json:"tags"`
	Note  string   `json:"note"`
}

var readingSchema = object{"type": "object", "additionalProperties": false, "required": []string{"kind", "value", "ok", "tags", "note"}, "properties": object{
	"kind": object{"enum": []string{"sum", "sort", "Zürich"}}, "value": object{"type": "integer", "minimum": 0, "maximum": 9999}, "ok": object{"type": "boolean"},
	"tags": object{"type": "array", "items": object{"type": "string", "maxLength": 3}, "maxItems": 2}, "note": object{"type": "string", "maxLength": 8}}}

func (r reading) fits() bool {
	return slices.Contains([]string{"sum", "sort", "Zürich"}, r.Kind) && r.Value >= 0 && r.Value <= 9999 && r.Ok != nil && len(r.Tags) <= 2 && len([]rune(r.Note)) <= 8
}

// readingOf is a text that must be a reading and nothing else.
func readingOf(t *testing.T, text string) (r reading) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil || d.More() || !r.fits() {
		t.Fatalf("%q is no reading: %v", text, err)
	}
	return r
}

// texts are those of the choices of a completion.
func (s *stage) texts(path string, req object) (texts, finishes []string) {
	s.t.Helper()
	var c struct {
		Choices []struct {
			Text    string
			Message struct{ Content string }
			Finish  string `json:"finish_reason"`
		}
	}
	s.send(http.MethodPost, path, req).ok(s.t, &c)
	for _, x := range c.Choices {
		texts, finishes = append(texts, x.Text+x.Message.Content), append(finishes, x.Finish)
	}
	return texts, finishes
}

// streamedText is the text of a chat that is streamed.
func (s *stage) streamedText(req object) (text string) {
	s.t.Helper()
	again := object{"stream": true}
	for k, v := range req {
		again[k] = v
	}
	for _, e := range s.send(http.MethodPost, "/v1/chat/completions", again).events(s.t) {
		var c struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal(e, &c); err != nil {
			s.t.Fatal(err)
		}
		for _, x := range c.Choices {
			text += x.Delta.Content
		}
	}
	return text
}

func constrainedSchemas(t *testing.T, s *stage) {
	format := object{"type": "json_schema", "json_schema": object{"name": "reading", "strict": true, "schema": readingSchema}}
	seen := map[string]bool{}
	for _, temperature := range []float64{0, 0.7, 2} {
		for seed := range 4 {
			req := object{"model": "calc", "messages": []object{user("sum 17 25")}, "temperature": temperature, "seed": seed, "response_format": format, "max_tokens": 200}
			text := s.chatted(req)
			if text.finish != "stop" {
				t.Errorf("it ended by %s: %q", text.finish, text.text)
			}
			readingOf(t, text.text)
			seen[text.text] = true
			if got := s.streamedText(req); got != text.text {
				t.Errorf("streamed %q, whole %q", got, text.text)
			}
			req["model"] = "whole"
			if got := s.chatted(req); got.text != text.text {
				t.Errorf("cut %q, whole model %q", text.text, got.text)
			}
		}
	}
	if len(seen) < 6 {
		t.Errorf("only %d different answers", len(seen))
	}

	// With everything else that an answer may be asked for.
	req := object{"model": "calc", "messages": []object{user("sort 9 3")}, "temperature": 1, "seed": 5, "response_format": format, "max_tokens": 200, "n": 3, "logprobs": true, "top_logprobs": 2,
		"stop": []string{"\"ok\""}, "frequency_penalty": 0.5}
	var c struct {
		Choices []struct {
			Message  struct{ Content string }
			Finish   string `json:"finish_reason"`
			Logprobs struct{ Content []struct{ Token string } }
		}
	}
	s.send(http.MethodPost, "/v1/chat/completions", req).ok(t, &c)
	for _, x := range c.Choices {
		if !strings.HasPrefix(x.Message.Content, `{`) || strings.Contains(x.Message.Content, `"ok"`) || x.Finish != "stop" || len(x.Logprobs.Content) < 5 {
			t.Errorf("with stop and logprobs: %+v", x)
		}
	}
	// What is cut is cut.
	req = object{"model": "calc", "messages": []object{user("sort 9 3")}, "response_format": format, "max_tokens": 5}
	if got := s.chatted(req); got.finish != "length" || len(got.text) < 5 {
		t.Errorf("5 tokens: %+v", got)
	}
	// Any object: whatever it holds, it is one, if it ends.
	for seed := range 3 {
		req = object{"model": "calc", "messages": []object{user("sum 1 2")}, "seed": seed, "temperature": 1.5, "response_format": object{"type": "json_object"}}
		got := s.chatted(req)
		var v map[string]any
		if err := json.Unmarshal([]byte(got.text), &v); got.finish == "stop" && err != nil || !strings.HasPrefix(got.text, "{") {
			t.Errorf("an object: %+v: %v", got, err)
		}
	}
}

func constrainedTexts(t *testing.T, s *stage) {
	pattern := `(yes|no|maybe), [0-9]{2,4}( °C)?!`
	fits := regexp.MustCompile(`^(?:` + pattern + `)$`)
	for _, more := range []object{{"guided_regex": pattern}, {"structured_outputs": object{"regex": pattern}}} {
		for seed := range 4 {
			req := object{"model": "calc", "prompt": "sum 17 25 =", "seed": seed, "temperature": 1.5, "max_tokens": 40}
			for k, v := range more {
				req[k] = v
			}
			texts, finishes := s.texts("/v1/completions", req)
			if !fits.MatchString(texts[0]) || finishes[0] != "stop" {
				t.Errorf("%v: %q, %s", more, texts, finishes)
			}
		}
	}
	choices := []string{"Bern", "Zürich", "Basel", " 42"}
	for _, more := range []object{{"guided_choice": choices}, {"structured_outputs": object{"choice": choices}}} {
		req := object{"model": "calc", "prompt": "sum 17 25 =", "temperature": 0, "max_tokens": 40}
		for k, v := range more {
			req[k] = v
		}
		if texts, finishes := s.texts("/v1/completions", req); texts[0] != " 42" || finishes[0] != "stop" {
			t.Errorf("%v: %q, %s: the model knows better", more, texts, finishes)
		}
		req["prompt"], req["temperature"], req["n"] = "sort 3 2 1 =", 2, 6
		texts, _ := s.texts("/v1/completions", req)
		for _, text := range texts {
			if !slices.Contains(choices, text) {
				t.Errorf("%v: %q", more, texts)
			}
		}
	}
}

// strictTools are functions of which calls follow their schemas.
func strictTools(strict bool) []object {
	place := object{"type": "object", "additionalProperties": false, "required": []string{"place", "days"},
		"properties": object{"place": object{"enum": []string{"Bern", "Basel"}}, "days": object{"type": "integer", "minimum": 1, "maximum": 3}}}
	sum := object{"type": "object", "additionalProperties": false, "required": []string{"a"}, "properties": object{"a": object{"type": "integer", "minimum": 0, "maximum": 9}}}
	return []object{{"type": "function", "function": object{"name": "forecast", "parameters": place, "strict": strict}},
		{"type": "function", "function": object{"name": "double", "parameters": sum, "strict": strict}}}
}

func constrainedTools(t *testing.T, s *stage) {
	check := func(what string, got chatAnswer, names ...string) {
		t.Helper()
		if len(got.calls) != 1 || got.finish != "tool_calls" || !slices.Contains(names, got.calls[0].Name) {
			t.Errorf("%s: %+v", what, got)
			return
		}
		var place struct {
			Place string
			Days  int
			A     *int
		}
		d := json.NewDecoder(strings.NewReader(got.calls[0].Arguments))
		d.DisallowUnknownFields()
		err := d.Decode(&place)
		ok := (place.Place == "Bern" || place.Place == "Basel") && place.Days >= 1 && place.Days <= 3 && place.A == nil
		if got.calls[0].Name == "double" {
			ok = place.A != nil && *place.A >= 0 && *place.A <= 9 && place.Place == ""
		}
		if err != nil || !ok {
			t.Errorf("%s: arguments %s: %v", what, got.calls[0].Arguments, err)
		}
	}
	for _, form := range forms {
		for seed := range 3 {
			req := object{"model": form, "messages": []object{user("hello")}, "tools": strictTools(true), "tool_choice": "required", "temperature": 1.5, "seed": seed, "max_tokens": 400}
			check(form+", required", s.chatted(req), "forecast", "double")
			req["tool_choice"] = object{"type": "function", "function": object{"name": "double"}}
			check(form+", named", s.chatted(req), "double")
			req["tool_choice"], req["temperature"] = "auto", 0 // the model's own calls are of other functions
			got := s.chatted(req)
			for _, c := range got.calls {
				if c.Name != "forecast" && c.Name != "double" {
					t.Errorf("%s, auto: %+v", form, got)
				}
			}
		}
	}
	// By the other protocols.
	var m struct {
		Content []struct {
			Type, Name string
			Input      json.RawMessage
		}
		Stop string `json:"stop_reason"`
	}
	var tools []object
	for _, f := range strictTools(true) {
		f := f["function"].(object)
		tools = append(tools, object{"name": f["name"], "input_schema": f["parameters"], "strict": true})
	}
	s.send(http.MethodPost, "/v1/messages", object{"model": "tagged", "max_tokens": 400, "messages": []object{user("hello")}, "tools": tools, "tool_choice": object{"type": "any"}}).ok(t, &m)
	if len(m.Content) != 1 || m.Content[0].Type != "tool_use" || m.Stop != "tool_use" {
		t.Fatalf("messages: %+v", m)
	}
	check("messages", chatAnswer{finish: "tool_calls", calls: []madeCall{{Name: m.Content[0].Name, Arguments: string(m.Content[0].Input)}}}, "forecast", "double")
	var r struct {
		Output []struct{ Type, Name, Arguments string }
		Tools  []struct{ Strict bool }
	}
	tools = nil
	for _, f := range strictTools(true) {
		f := f["function"].(object)
		tools = append(tools, object{"type": "function", "name": f["name"], "parameters": f["parameters"], "strict": true})
	}
	s.send(http.MethodPost, "/v1/responses", object{"model": "listed", "input": "hello", "tools": tools, "tool_choice": "required"}).ok(t, &r)
	if len(r.Output) != 1 || r.Output[0].Type != "function_call" || !r.Tools[0].Strict {
		t.Fatalf("responses: %+v", r)
	}
	check("responses", chatAnswer{finish: "tool_calls", calls: []madeCall{{Name: r.Output[0].Name, Arguments: r.Output[0].Arguments}}}, "forecast", "double")
}

func penalised(t *testing.T, s *stage) {
	ask := func(model string, more object) string {
		req := object{"model": model, "prompt": "sort 9 3 14 7 =", "temperature": 0, "max_tokens": 12}
		for k, v := range more {
			req[k] = v
		}
		texts, _ := s.texts("/v1/completions", req)
		return texts[0]
	}
	plain := ask("calc", nil)
	const end = "261" // of an answer
	seven := tokenOf(t, s, "7")
	warm := func(more object) object { // of what calc knows nothing about, so that every little counts
		out := object{"prompt": "aaaa bbbb", "temperature": 1.5, "seed": 3, "max_tokens": 30, "logit_bias": object{end: -100}}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	loose := ask("calc", warm(nil))
	for name, more := range map[string]object{
		"bias for": {"logit_bias": object{seven: 100}}, "bias against": warm(object{"logit_bias": object{seven: -100, end: -100}}), "frequency": warm(object{"frequency_penalty": 2}),
		"presence": warm(object{"presence_penalty": -2}), "repetition": warm(object{"repetition_penalty": 2}),
	} {
		got := ask("calc", more)
		if cut := ask("whole", more); cut != got {
			t.Errorf("%s: cut %q, whole %q", name, got, cut)
		}
		switch name {
		case "bias for":
			if got != strings.Repeat("7", 12) {
				t.Errorf("%s: %q", name, got)
			}
		case "bias against":
			if strings.Contains(got, "7") {
				t.Errorf("%s: %q", name, got)
			}
		default:
			if got == loose {
				t.Errorf("%s changes nothing: %q", name, got)
			}
		}
	}
	if got := ask("calc", object{"frequency_penalty": 0, "presence_penalty": 0.0, "repetition_penalty": 1, "logit_bias": object{}}); got != plain {
		t.Errorf("without any: %q, want %q", got, plain)
	}
}

// tokenOf is the id of a text that is one token of calc.
func tokenOf(t *testing.T, s *stage, text string) string {
	t.Helper()
	zero, one := 0.0, int32(1)
	out, err := s.ask.Inference.Generate(t.Context(), connect.NewRequest(&inferencev1.GenerateRequest{Model: "calc",
		Input: &inferencev1.GenerateRequest_Prompt{Prompt: "sum 1 2 ="}, Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &one},
		Constraint: &inferencev1.Constraint{Kind: &inferencev1.Constraint_Choice{Choice: &inferencev1.Choices{Texts: []string{text}}}}}))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for out.Receive() {
		for _, tok := range out.Msg().Tokens {
			if tok.Text == text {
				return fmt.Sprint(tok.Id)
			}
		}
	}
	t.Fatalf("%q is not one token: %v", text, out.Err())
	return ""
}

// A batch's sequences that are not constrained say to the last bit what they say alone.
func constrainedMates(t *testing.T, s *stage) {
	type answer struct {
		Choices []struct {
			Text     string
			Logprobs struct {
				Logprobs []float64 `json:"token_logprobs"`
			}
		}
	}
	plain := func(i int) (a answer) {
		req := object{"model": "whole", "prompt": fmt.Sprintf("sum %d 25 =", 10+i), "temperature": 1.2, "seed": i, "max_tokens": 24, "logprobs": 0}
		s.send(http.MethodPost, "/v1/completions", req).ok(t, &a)
		return a
	}
	var alone []answer
	for i := range 8 {
		alone = append(alone, plain(i))
	}
	var wg sync.WaitGroup
	got := make([]answer, len(alone))
	for i := range got {
		wg.Go(func() { got[i] = plain(i) })
		wg.Go(func() {
			texts, _ := s.texts("/v1/completions", object{"model": "whole", "prompt": "sum 1 2 =", "temperature": 2, "seed": i, "max_tokens": 200, "guided_json": readingSchema})
			readingOf(t, texts[0])
		})
	}
	wg.Wait()
	if !reflect.DeepEqual(got, alone) {
		t.Errorf("beside constrained mates %+v, alone %+v", got, alone)
	}
}

func constrainedRefusals(t *testing.T, s *stage) {
	chat := func(more object) object {
		req := object{"model": "calc", "messages": []object{user("sum 1 2")}}
		for k, v := range more {
			req[k] = v
		}
		return req
	}
	schema := func(v any) object {
		return chat(object{"response_format": object{"type": "json_schema", "json_schema": object{"name": "x", "schema": v}}})
	}
	for name, c := range map[string]struct {
		req  object
		says string
	}{
		"a keyword":     {schema(object{"type": "object", "properties": object{"a": object{"type": "string", "contentEncoding": "x", "not": object{}}}}), "not"},
		"no schema":     {chat(object{"response_format": object{"type": "json_schema"}}), "schema"},
		"schema 3":      {schema(3), "response_format"},
		"another type":  {chat(object{"response_format": object{"type": "xml"}}), "xml"},
		"regex":         {chat(object{"guided_regex": "("}), "guided_regex"},
		"both":          {chat(object{"guided_regex": "a", "guided_choice": []string{"a"}}), "guided_choice"},
		"grammar":       {chat(object{"guided_grammar": "root ::= x"}), "grammar"},
		"bias":          {chat(object{"logit_bias": object{"1": 101}}), "logit_bias"},
		"bias of none":  {chat(object{"logit_bias": object{"999999": 1}}), "logit_bias"},
		"bias of words": {chat(object{"logit_bias": object{"x": 1}}), "logit_bias"},
		"penalty":       {chat(object{"frequency_penalty": 2.5}), "frequency_penalty"},
		"repetition":    {chat(object{"repetition_penalty": -1}), "repetition_penalty"},
	} {
		if r := s.send(http.MethodPost, "/v1/chat/completions", c.req); r.status != http.StatusBadRequest || !strings.Contains(string(r.body), c.says) {
			t.Errorf("%s: %d, %s", name, r.status, r.body)
		}
	}
}

// The same by responses, by messages, and by Connect.
func constrainedDoors(t *testing.T, s *stage) {
	var r struct {
		Output []struct{ Content []struct{ Text string } }
		Text   struct{ Format struct{ Type, Name string } }
	}
	format := object{"type": "json_schema", "name": "reading", "strict": true, "schema": readingSchema}
	s.send(http.MethodPost, "/v1/responses", object{"model": "calc", "input": "sum 1 2", "text": object{"format": format}}).ok(t, &r)
	readingOf(t, r.Output[0].Content[0].Text)
	if r.Text.Format.Type != "json_schema" || r.Text.Format.Name != "reading" {
		t.Errorf("the format of the response: %+v", r.Text)
	}
	var m struct{ Content []struct{ Text string } }
	s.send(http.MethodPost, "/v1/messages", object{"model": "calc", "max_tokens": 200, "messages": []object{user("sum 1 2")}, "output_config": object{"format": object{"type": "json_schema", "schema": readingSchema}}}).ok(t, &m)
	readingOf(t, m.Content[0].Text)

	raw, err := json.Marshal(readingSchema)
	if err != nil {
		t.Fatal(err)
	}
	most := int32(200)
	sampling := &inferencev1.Sampling{MaxTokens: &most, FrequencyPenalty: 0.1, LogitBias: map[int32]float64{3: -1}}
	constraint := &inferencev1.Constraint{Kind: &inferencev1.Constraint_JsonSchema{JsonSchema: string(raw)}}
	chat, err := s.ask.Inference.Chat(t.Context(), connect.NewRequest(&inferencev1.ChatRequest{Model: "calc", Messages: []*inferencev1.Message{{Role: "user", Content: "sum 1 2"}}, Sampling: sampling, Constraint: constraint}))
	if err != nil {
		t.Fatal(err)
	}
	defer chat.Close()
	text := ""
	for chat.Receive() {
		text += chat.Msg().Text
	}
	if chat.Err() != nil {
		t.Fatal(chat.Err())
	}
	readingOf(t, text)
}

// Workers of both stages die in the middle of constrained and penalised answers, which go on elsewhere as if nothing had been.
func TestConstrainedReplay(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 3, Gateway: true, Devices: []string{nodeMemory}})
	s.push(cutModel(t), "cut")
	d := s.deploy(&adminv1.ServeRequest{Model: "cut", Slots: 16, Context: 512})
	stages := d.Replicas[0].Stages
	if len(stages) != 2 {
		t.Fatalf("the model is not cut in two: %v", d)
	}
	most, warm := int32(longTokens), 0.8
	ask := func(i int, each func()) (string, error) {
		seed := uint64(i)
		r := &inferencev1.GenerateRequest{Model: "cut", Input: &inferencev1.GenerateRequest_Prompt{Prompt: fmt.Sprint("question ", i)},
			Sampling: &inferencev1.Sampling{Temperature: &warm, Seed: &seed, MaxTokens: &most, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4}}
		if i%2 == 0 {
			r.Constraint = &inferencev1.Constraint{Kind: &inferencev1.Constraint_Regex{Regex: `(\{"[a-z ]{3,9}": [0-9]{2,6}\}\n){100}`}}
		}
		out, err := s.ask.Inference.Generate(t.Context(), connect.NewRequest(r))
		if err != nil {
			return "", err
		}
		defer out.Close()
		text := ""
		for out.Receive() {
			text += out.Msg().Text
			each()
		}
		return text, out.Err()
	}
	const n = 4
	var want []string
	for i := range n {
		text, err := ask(i, func() {})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	if !strings.HasPrefix(want[0], `{"`) || len(want[0]) < longTokens {
		t.Fatalf("not what was asked for: %q", want[0])
	}
	for _, st := range stages {
		pid := s.worker(st.Node)
		var once sync.Once
		var wg sync.WaitGroup
		got, errs := make([]string, n), make([]error, n)
		for i := range n {
			pieces := 0
			wg.Go(func() {
				got[i], errs[i] = ask(i, func() {
					if pieces++; pieces == longTokens/4 {
						once.Do(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
					}
				})
			})
		}
		wg.Wait()
		for i := range n {
			if errs[i] != nil || got[i] != want[i] {
				t.Errorf("after the worker of %s was killed, answer %d: %v\n%q, want\n%q", st.Node, i, errs[i], got[i], want[i])
			}
		}
		if now := s.workers(st.Node); slices.Contains(now, pid) {
			t.Errorf("worker %d of %s was not killed", pid, st.Node)
		}
		s.settled("cut@1", 1, nil)
	}
}
