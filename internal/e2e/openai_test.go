package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/skein-project/skein/internal/devfleet"
)

// completion is an answer, or a chunk of one, of both kinds of completions.
type completion struct {
	ID, Object, Model string
	Created           int64
	Choices           []struct {
		Index    int
		Text     *string
		Message  *message
		Delta    *message
		Logprobs json.RawMessage
		Finish   *string `json:"finish_reason"`
	}
	Usage *usage
}

type message struct {
	Role    *string
	Content *string
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// The OpenAI API, as real clients use it: by hand, and with the official Go client. The models are cut over two nodes.
func TestOpenAI(t *testing.T) {
	s := serving(t, devfleet.Config{Coordinators: 1, Gateway: true}, map[string]offer{
		"gpt2":  {dir: fixture("gpt2"), slots: 4, context: 256},
		"chat":  {dir: fixture("llama3-rope"), slots: 4, context: 256},
		"embed": {dir: fixture("bert-embed"), slots: 1, context: 128},
		"calc":  {dir: "examples/calc", slots: 4, context: 256},
		"free": {dir: altered(t, "gpt2", map[string][]byte{"generation_config.json": merged(t, "gpt2", "generation_config.json",
			map[string]any{"do_sample": true, "temperature": 1.0, "top_k": 20})}), slots: 4, context: 128, whole: true},
	})
	for name, test := range map[string]func(*testing.T, *stage){
		"greedy text is the reference's": openaiGreedy, "streams": openaiStreams, "chat": openaiChat, "stop strings": openaiStops,
		"seeds": openaiSeeds, "logprobs": openaiLogprobs, "n and prompts": openaiChoices, "embeddings": openaiEmbeddings, "models": openaiModels,
		"headers and statuses": openaiProtocol, "official client": openaiClient,
	} {
		t.Run(name, func(t *testing.T) {
			sub := *s
			sub.t = t
			test(t, &sub)
		})
	}
}

// ask makes a completion that must succeed.
func (s *stage) asks(path string, v map[string]any) (c completion) {
	s.t.Helper()
	s.send(http.MethodPost, path, v).ok(s.t, &c)
	return c
}

func openaiGreedy(t *testing.T, s *stage) {
	for model, name := range map[string]string{"gpt2": "gpt2", "chat": "llama3-rope"} {
		for _, p := range referenceOf(t, name).Prompts {
			for what, prompt := range map[string]any{"text": p.Text, "token ids": p.IDs} {
				c := s.asks("/v1/completions", map[string]any{"model": model, "prompt": prompt, "max_tokens": 64, "temperature": 0})
				ch := c.Choices[0]
				if len(c.Choices) != 1 || *ch.Text != p.Greedy.Text || *ch.Finish != "length" {
					t.Errorf("%s, %s %q: %q (%s), want %q", model, what, p.Text, *ch.Text, *ch.Finish, p.Greedy.Text)
				}
				if *c.Usage != (usage{len(p.IDs), 64, len(p.IDs) + 64}) {
					t.Errorf("%s, %q: usage %+v", model, p.Text, *c.Usage)
				}
			}
		}
	}
}

func openaiStreams(t *testing.T, s *stage) {
	p := referenceOf(t, "gpt2").Prompts[1]
	req := map[string]any{"model": "gpt2", "prompt": p.Text, "max_tokens": 64, "temperature": 0, "stream": true}
	for _, withUsage := range []bool{false, true} {
		if withUsage {
			req["stream_options"] = map[string]any{"include_usage": true}
		}
		text, finish := "", ""
		events := s.send(http.MethodPost, "/v1/completions", req).events(t)
		for i, e := range events {
			var c completion
			if err := json.Unmarshal(e, &c); err != nil || c.Object != "text_completion" || c.Model != "gpt2" {
				t.Fatalf("%v in %s", err, e)
			}
			last := withUsage && i == len(events)-1
			if last != (len(c.Choices) == 0) || last != (c.Usage != nil) {
				t.Fatalf("event %d of %d: %s", i, len(events), e)
			}
			if withUsage != strings.Contains(string(e), `"usage":`) { // null until the last one
				t.Errorf("usage in %s", e)
			}
			if last {
				if *c.Usage != (usage{len(p.IDs), 64, len(p.IDs) + 64}) {
					t.Errorf("usage %+v", *c.Usage)
				}
				break
			}
			if finish != "" {
				t.Errorf("after the finish reason: %s", e)
			}
			if text += *c.Choices[0].Text; c.Choices[0].Finish != nil {
				if finish = *c.Choices[0].Finish; *c.Choices[0].Text != "" {
					t.Errorf("the finish reason is not on its own: %s", e)
				}
			}
		}
		if text != p.Greedy.Text || finish != "length" || len(events) < 20 {
			t.Errorf("%q (%s) in %d events, want %q", text, finish, len(events), p.Greedy.Text)
		}
	}

	first, text := true, ""
	for _, e := range s.send(http.MethodPost, "/v1/chat/completions", map[string]any{"model": "calc", "stream": true, "temperature": 0,
		"messages": []map[string]string{{"role": "user", "content": "sum 2 40"}}}).events(t) {
		var c completion
		if err := json.Unmarshal(e, &c); err != nil || c.Object != "chat.completion.chunk" || len(c.Choices) != 1 || c.Choices[0].Delta == nil {
			t.Fatalf("%v in %s", err, e)
		}
		d := c.Choices[0].Delta
		if first != (d.Role != nil) || first && (*d.Role != "assistant" || d.Content == nil) {
			t.Errorf("the role is in the first delta: %s", e)
		}
		if d.Content != nil {
			text += *d.Content
		}
		first = false
	}
	if strings.TrimSpace(text) != "42" {
		t.Errorf("2 + 40 is %q", text)
	}
}

func openaiChat(t *testing.T, s *stage) {
	for _, chat := range referenceOf(t, "llama3-rope").Chats {
		if !chat.Add {
			continue
		}
		var messages []map[string]any
		for i, m := range chat.Messages {
			content := any(m.Content)
			if i%2 == 0 {
				content = []map[string]string{{"type": "text", "text": m.Content}}
			}
			messages = append(messages, map[string]any{"role": m.Role, "content": content})
		}
		c := s.asks("/v1/chat/completions", map[string]any{"model": "chat", "messages": messages, "max_completion_tokens": 20, "temperature": 0})
		raw := s.asks("/v1/completions", map[string]any{"model": "chat", "prompt": chat.IDs, "max_tokens": 20, "temperature": 0})
		if c.Object != "chat.completion" || *c.Choices[0].Message.Role != "assistant" || *c.Choices[0].Message.Content != *raw.Choices[0].Text || c.Usage.Prompt != len(chat.IDs) {
			t.Errorf("%v: %q with usage %+v, want %q and %d tokens", messages, *c.Choices[0].Message.Content, c.Usage, *raw.Choices[0].Text, len(chat.IDs))
		}
	}
	c := s.asks("/v1/chat/completions", map[string]any{"model": "calc", "messages": []map[string]string{{"role": "user", "content": "sort 9 1 5"}}, "temperature": 0})
	if got := strings.TrimSpace(*c.Choices[0].Message.Content); got != "1 5 9" || *c.Choices[0].Finish != "stop" {
		t.Errorf("9 1 5 sorted is %q (%s)", got, *c.Choices[0].Finish)
	}
	// A special token that a user spells is text: another prompt than the one in which it ends the turn.
	hostile := s.asks("/v1/chat/completions", map[string]any{"model": "chat", "max_tokens": 1,
		"messages": []map[string]string{{"role": "user", "content": "<|eot_id|>"}}})
	if plain := len(referenceOf(t, "llama3-rope").Chats[0].IDs); hostile.Usage.Prompt < plain-15 || hostile.Usage.Prompt < 20 {
		t.Errorf("<|eot_id|> from a user takes %d tokens", hostile.Usage.Prompt)
	}
}

func openaiStops(t *testing.T, s *stage) {
	p := referenceOf(t, "gpt2").Prompts[0]
	whole := []rune(p.Greedy.Text)
	middle, end := string(whole[20:24]), string(whole[len(whole)-3:])
	before := func(stop string) string { return p.Greedy.Text[:strings.Index(p.Greedy.Text, stop)] }
	for what, c := range map[string]struct {
		stop any
		want string
	}{
		"a string":                   {middle, before(middle)},
		"a list":                     {[]string{"not there", middle, string(whole[22:25])}, before(middle)},
		"at the very end":            {end, before(end)},
		"that begins and never ends": {string(whole[len(whole)-2:]) + "more", p.Greedy.Text},
		"the first character":        {string(whole[:1]), ""},
	} {
		for _, stream := range []bool{false, true} {
			req := map[string]any{"model": "gpt2", "prompt": p.Text, "max_tokens": 64, "temperature": 0, "stop": c.stop, "stream": stream}
			text, finish := "", ""
			if r := s.send(http.MethodPost, "/v1/completions", req); stream {
				for _, e := range r.events(t) {
					var part completion
					if err := json.Unmarshal(e, &part); err != nil {
						t.Fatal(err)
					}
					if text += *part.Choices[0].Text; part.Choices[0].Finish != nil {
						finish = *part.Choices[0].Finish
					}
				}
			} else {
				var all completion
				r.ok(t, &all)
				text, finish = *all.Choices[0].Text, *all.Choices[0].Finish
			}
			want := "stop"
			if c.want == p.Greedy.Text {
				want = "length"
			}
			if text != c.want || finish != want {
				t.Errorf("stop %s, stream %v: %q (%s), want %q (%s)", what, stream, text, finish, c.want, want)
			}
		}
	}
}

func openaiSeeds(t *testing.T, s *stage) {
	text := func(model string, v map[string]any) string {
		t.Helper()
		req := map[string]any{"model": model, "prompt": "What is 12 + 34?", "max_tokens": 24}
		for k, x := range v {
			req[k] = x
		}
		return *s.asks("/v1/completions", req).Choices[0].Text
	}
	for what, v := range map[string]map[string]any{"temperature 1": {"temperature": 1}, "top_p": {"temperature": 1.5, "top_p": 0.9}, "top_k": {"temperature": 2, "top_k": 40}} {
		v["seed"] = 7
		a, b := text("gpt2", v), text("gpt2", v)
		v["seed"] = -8
		if c := text("gpt2", v); a != b || a == c {
			t.Errorf("%s: seed 7 gives %q and %q, seed -8 %q", what, a, b, c)
		}
	}
	greedy := text("gpt2", nil)
	for what, v := range map[string]map[string]any{"temperature 0": {"temperature": 0}, "top_p 0": {"temperature": 2, "top_p": 0}, "top_k 1": {"temperature": 2, "top_k": 1}} {
		if got := text("gpt2", v); got != greedy {
			t.Errorf("%s is %q, greedy is %q", what, got, greedy)
		}
		if got := text("free", v); got != greedy {
			t.Errorf("%s over defaults that sample is %q, greedy is %q", what, got, greedy)
		}
	}
	if a, b := text("free", nil), text("free", nil); a == b {
		t.Errorf("the model's defaults sample, and two requests without a seed give %q", a)
	}
}

func openaiLogprobs(t *testing.T, s *stage) {
	p := referenceOf(t, "gpt2").Prompts[0]
	last := p.Logits[len(p.Logits)-512:] // behind the prompt
	best, sum := float64(slices.Max(last)), 0.0
	for _, x := range last {
		sum += math.Exp(float64(x))
	}
	c := s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p.Text, "max_tokens": 64, "temperature": 0, "logprobs": 3})
	var lp struct {
		Tokens        []string
		TokenLogprobs []float64            `json:"token_logprobs"`
		TopLogprobs   []map[string]float64 `json:"top_logprobs"`
		TextOffset    []int                `json:"text_offset"`
	}
	if err := json.Unmarshal(c.Choices[0].Logprobs, &lp); err != nil || len(lp.Tokens) != 64 || len(lp.TokenLogprobs) != 64 || len(lp.TopLogprobs) != 64 || len(lp.TextOffset) != 64 {
		t.Fatalf("%v: %s", err, c.Choices[0].Logprobs)
	}
	text := *c.Choices[0].Text
	for i, at := range lp.TextOffset {
		if i > 0 && at < lp.TextOffset[i-1] || at > utf8.RuneCountInString(text) {
			t.Errorf("token %d is at %d of %d characters", i, at, utf8.RuneCountInString(text))
		}
		// A part of a character becomes text with the token behind it, so that one's text begins earlier than its own spelling.
		if rest := string([]rune(text)[at:]); !strings.ContainsRune(lp.Tokens[i], utf8.RuneError) && !strings.HasPrefix(strings.TrimLeft(rest, string(utf8.RuneError)), lp.Tokens[i]) {
			t.Errorf("token %d, %q, is not at character %d: %.20q", i, lp.Tokens[i], at, rest)
		}
		if n := len(lp.TopLogprobs[i]); n == 0 || n > 3 || lp.TokenLogprobs[i] > 0 {
			t.Errorf("token %d: %v of %v", i, lp.TokenLogprobs[i], lp.TopLogprobs[i])
		}
	}

	one := map[string]any{"model": "chat", "messages": []map[string]string{{"role": "user", "content": "hi"}}, "max_tokens": 12, "temperature": 0, "logprobs": true, "top_logprobs": 4}
	chat := s.asks("/v1/chat/completions", one)
	type entry struct {
		Token   string
		Logprob float64
		Bytes   []int
		Top     []struct{ Logprob float64 } `json:"top_logprobs"`
	}
	var content struct{ Content []entry }
	if err := json.Unmarshal(chat.Choices[0].Logprobs, &content); err != nil || len(content.Content) != 12 {
		t.Fatalf("%v: %s", err, chat.Choices[0].Logprobs)
	}
	for i, e := range content.Content {
		if len(e.Top) != 4 || e.Top[0].Logprob != e.Logprob || !slices.IsSortedFunc(e.Top, func(a, b struct{ Logprob float64 }) int { return int(math.Copysign(1, b.Logprob-a.Logprob)) }) {
			t.Errorf("token %d: %+v", i, e)
		}
		if (e.Bytes == nil) != strings.ContainsRune(e.Token, utf8.RuneError) {
			t.Errorf("token %d: %q with bytes %v", i, e.Token, e.Bytes)
		}
	}
	one["stream"] = true
	var streamed []entry
	for _, e := range s.send(http.MethodPost, "/v1/chat/completions", one).events(t) {
		var c completion
		if err := json.Unmarshal(e, &c); err != nil {
			t.Fatal(err)
		}
		if l := c.Choices[0].Logprobs; string(l) != "null" {
			content.Content = nil
			if err := json.Unmarshal(l, &content); err != nil {
				t.Fatal(err)
			}
			streamed = append(streamed, content.Content...)
		}
	}
	if len(streamed) != 12 {
		t.Errorf("%d log-probabilities in a stream of 12 tokens", len(streamed))
	}
	// At temperature 2, log-probabilities are still the model's own.
	first := s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p.Text, "max_tokens": 1, "temperature": 2, "logprobs": 1})
	lp.TopLogprobs = nil
	if err := json.Unmarshal(first.Choices[0].Logprobs, &lp); err != nil {
		t.Fatal(err)
	}
	for token, got := range lp.TopLogprobs[0] {
		if want := best - math.Log(sum); math.Abs(got-want) > 1e-4 {
			t.Errorf("log-probability of %q is %v, want %v", token, got, want)
		}
	}
}

func openaiChoices(t *testing.T, s *stage) {
	p := referenceOf(t, "gpt2").Prompts
	c := s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p[0].Text, "max_tokens": 10, "temperature": 1, "seed": 5, "n": 3})
	if len(c.Choices) != 3 || *c.Choices[0].Text == *c.Choices[1].Text || *c.Usage != (usage{len(p[0].IDs), 30, len(p[0].IDs) + 30}) {
		t.Errorf("n = 3: %d choices, usage %+v: the prompt counts once", len(c.Choices), *c.Usage)
	}
	if again := s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p[0].Text, "max_tokens": 10, "temperature": 1, "seed": 5}); *again.Choices[0].Text != *c.Choices[0].Text {
		t.Errorf("the first of three is %q, alone it is %q", *c.Choices[0].Text, *again.Choices[0].Text)
	}
	c = s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": []string{p[0].Text, p[1].Text}, "max_tokens": 64, "temperature": 0})
	if len(c.Choices) != 2 || *c.Choices[0].Text != p[0].Greedy.Text || *c.Choices[1].Text != p[1].Greedy.Text || c.Usage.Prompt != len(p[0].IDs)+len(p[1].IDs) {
		t.Errorf("two prompts: %+v", c)
	}
	texts := map[int]string{}
	for _, e := range s.send(http.MethodPost, "/v1/completions", map[string]any{"model": "gpt2", "prompt": [][]int32{p[0].IDs, p[1].IDs}, "max_tokens": 64, "temperature": 0, "stream": true}).events(t) {
		var c completion
		if err := json.Unmarshal(e, &c); err != nil {
			t.Fatal(err)
		}
		texts[c.Choices[0].Index] += *c.Choices[0].Text
	}
	if texts[0] != p[0].Greedy.Text || texts[1] != p[1].Greedy.Text {
		t.Errorf("two streamed prompts: %q and %q", texts[0], texts[1])
	}
	if c = s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p[0].Text, "temperature": 0}); c.Usage.Completion != 16 {
		t.Errorf("%d tokens by default, want 16", c.Usage.Completion)
	}
}

func openaiEmbeddings(t *testing.T, s *stage) {
	ref := referenceOf(t, "bert-embed")
	var texts []string
	var ids [][]int32
	var want []floats
	tokens := 0
	for _, in := range ref.Inputs {
		if in.Pair != "" {
			continue
		}
		texts, ids, want, tokens = append(texts, in.Text), append(ids, in.IDs), append(want, in.Vector), tokens+len(in.IDs)
	}
	var out struct {
		Object, Model string
		Data          []struct {
			Object    string
			Index     int
			Embedding json.RawMessage
		}
		Usage usage
	}
	vectors := func(what string, n int, read func(json.RawMessage) []float32) {
		t.Helper()
		if len(out.Data) != n || out.Object != "list" || out.Usage.Prompt != out.Usage.Total {
			t.Fatalf("%s: %d vectors, usage %+v", what, len(out.Data), out.Usage)
		}
		for i, d := range out.Data {
			if d.Index != i || d.Object != "embedding" {
				t.Errorf("%s: %d is %+v", what, i, d)
			}
			near(t, fmt.Sprintf("%s, vector %d", what, i), read(d.Embedding), want[i])
		}
	}
	plain := func(b json.RawMessage) (v []float32) {
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	packed := func(b json.RawMessage) []float32 {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			t.Fatal(err)
		}
		return base64Vector(t, text)
	}
	s.send(http.MethodPost, "/v1/embeddings", map[string]any{"model": "embed", "input": texts}).ok(t, &out)
	if vectors("texts", len(texts), plain); out.Usage.Prompt != tokens {
		t.Errorf("%d tokens, want %d", out.Usage.Prompt, tokens)
	}
	s.send(http.MethodPost, "/v1/embeddings", map[string]any{"model": "embed", "input": ids, "encoding_format": "base64"}).ok(t, &out)
	vectors("token ids in base64", len(ids), packed)
	s.send(http.MethodPost, "/v1/embeddings", map[string]any{"model": "embed", "input": ids[0], "dimensions": len(want[0])}).ok(t, &out)
	vectors("one list of token ids", 1, plain)
	s.send(http.MethodPost, "/v1/embeddings", map[string]any{"model": "embed", "input": texts[0], "encoding_format": "base64"}).ok(t, &out)
	vectors("one text", 1, packed)
}

func openaiModels(t *testing.T, s *stage) {
	type model struct {
		ID, Object string
		Created    int64
		OwnedBy    string `json:"owned_by"`
	}
	var list struct {
		Object string
		Data   []model
	}
	s.send(http.MethodGet, "/v1/models", nil).ok(t, &list)
	var names []string
	for _, m := range list.Data {
		names = append(names, m.ID)
		var one model
		if s.send(http.MethodGet, "/v1/models/"+m.ID, nil).ok(t, &one); one != m || m.Object != "model" || m.Created == 0 {
			t.Errorf("%+v in the list, %+v alone", m, one)
		}
	}
	if !slices.Equal(names, []string{"calc", "chat", "embed", "free", "gpt2"}) || list.Object != "list" {
		t.Errorf("models %v", names)
	}
	var one model
	if s.send(http.MethodGet, "/v1/models/gpt2@1", nil).ok(t, &one); one.ID != "gpt2@1" {
		t.Errorf("a version is %+v", one)
	}
}

func openaiProtocol(t *testing.T, s *stage) {
	req := map[string]any{"model": "gpt2", "prompt": "What", "max_tokens": 1, "user": "me", "store": true, "metadata": map[string]any{"a": []int{1}}, "not_known": 1}
	r := s.sendAs("bearer "+s.Key, http.MethodPost, "/v1/completions", req, map[string]string{"x-request-id": "mine-1", "OpenAI-Organization": "o", "OpenAI-Project": "p"})
	if r.status != http.StatusOK || r.header.Get("x-request-id") != "mine-1" || r.header.Get("openai-processing-ms") == "" {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	if r = s.send(http.MethodGet, "/v1/models", nil); r.header.Get("x-request-id") == "" {
		t.Error("no request id")
	}
	for _, c := range []struct {
		what, auth, method, path string
		body                     any
		status                   int
		code, param              string
	}{
		{"no key", "", http.MethodPost, "/v1/completions", req, 401, "invalid_api_key", ""},
		{"a wrong key", "Bearer sk-nobody", http.MethodPost, "/v1/chat/completions", req, 401, "invalid_api_key", ""},
		{"another scheme", "Basic " + s.Key, http.MethodGet, "/v1/models", nil, 401, "invalid_api_key", ""},
		{"a long key", "Bearer " + strings.Repeat("x", 1000), http.MethodGet, "/v1/models", nil, 401, "invalid_api_key", ""},
		{"an unknown model", "Bearer " + s.Key, http.MethodPost, "/v1/completions", map[string]any{"model": "nobody", "prompt": "x"}, 404, "model_not_found", "model"},
		{"an unknown model's page", "Bearer " + s.Key, http.MethodGet, "/v1/models/nobody", nil, 404, "model_not_found", "model"},
		{"another method", "Bearer " + s.Key, http.MethodGet, "/v1/chat/completions", nil, 405, "", ""},
		{"another path", "Bearer " + s.Key, http.MethodPost, "/v1/images/generations", "{}", 404, "", ""},
	} {
		r := s.sendAs(c.auth, c.method, c.path, c.body, nil)
		checkError(t, c.what, r, c.status, c.code, c.param)
	}
	if r := s.send(http.MethodPut, "/v1/completions", "{}"); r.header.Get("Allow") != http.MethodPost {
		t.Errorf("Allow: %q", r.header.Get("Allow"))
	}
}

// checkError checks the form of an OpenAI error.
func checkError(t *testing.T, what string, r reply, status int, code, param string) {
	t.Helper()
	var e struct {
		Error *struct {
			Message     string
			Type        string
			Param, Code *string
		}
	}
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	if err := json.Unmarshal(r.body, &e); err != nil || e.Error == nil {
		t.Errorf("%s: %d %.300s: %v", what, r.status, r.body, err)
		return
	}
	if r.status != status || text(e.Error.Code) != code || param != "" && text(e.Error.Param) != param || e.Error.Message == "" || e.Error.Type == "" || r.header.Get("x-request-id") == "" {
		t.Errorf("%s: %d %.300s, want %d, code %q, param %q", what, r.status, r.body, status, code, param)
	}
}

// The official client takes what it gets.
func openaiClient(t *testing.T, s *stage) {
	c := openai.NewClient(option.WithBaseURL(s.URL()+"/v1/"), option.WithAPIKey(s.Key), option.WithMaxRetries(0))
	ctx := t.Context()
	p := referenceOf(t, "gpt2").Prompts[1]
	text := openai.CompletionNewParams{Model: "gpt2", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(p.Text)}, MaxTokens: openai.Int(64), Temperature: openai.Float(0)}
	if got, err := c.Completions.New(ctx, text); err != nil || got.Choices[0].Text != p.Greedy.Text || got.Usage.TotalTokens != int64(len(p.IDs)+64) {
		t.Errorf("completion: %+v, %v", got, err)
	}
	joined := ""
	parts := c.Completions.NewStreaming(ctx, text)
	for parts.Next() {
		joined += parts.Current().Choices[0].Text
	}
	if parts.Err() != nil || joined != p.Greedy.Text {
		t.Errorf("streamed completion: %q, %v", joined, parts.Err())
	}

	chat := openai.ChatCompletionNewParams{Model: "calc", Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be right."), openai.UserMessage("sum 20 22")},
		Temperature: openai.Float(0), Seed: openai.Int(1), StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}}
	stream := c.Chat.Completions.NewStreaming(ctx, chat)
	var acc openai.ChatCompletionAccumulator
	for stream.Next() {
		if !acc.AddChunk(stream.Current()) {
			t.Errorf("the accumulator refuses %s", stream.Current().RawJSON())
		}
	}
	if stream.Err() != nil || len(acc.Choices) != 1 || strings.TrimSpace(acc.Choices[0].Message.Content) != "42" || acc.Choices[0].FinishReason != "stop" || acc.Usage.TotalTokens == 0 {
		t.Errorf("streamed chat: %+v, %v", acc.ChatCompletion, stream.Err())
	}
	chat.StreamOptions = openai.ChatCompletionStreamOptionsParam{}
	whole, err := c.Chat.Completions.New(ctx, chat)
	if err != nil || whole.Choices[0].Message.Content != acc.Choices[0].Message.Content || whole.Usage.TotalTokens != acc.Usage.TotalTokens {
		t.Errorf("chat: %+v, %v", whole, err)
	}

	in := referenceOf(t, "bert-embed").Inputs[0]
	e, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "embed", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{in.Text}}})
	if err != nil || len(e.Data) != 1 {
		t.Fatalf("embeddings: %+v, %v", e, err)
	}
	var v []float32
	for _, x := range e.Data[0].Embedding {
		v = append(v, float32(x))
	}
	near(t, "embedding", v, in.Vector)

	models, err := c.Models.List(ctx)
	if err != nil || len(models.Data) != 5 {
		t.Errorf("models: %+v, %v", models, err)
	}
	if m, err := c.Models.Get(ctx, "calc"); err != nil || m.ID != "calc" {
		t.Errorf("model: %+v, %v", m, err)
	}
	chat.Model = "nobody"
	_, err = c.Chat.Completions.New(ctx, chat)
	if told, ok := errors.AsType[*openai.Error](err); !ok || told.StatusCode != http.StatusNotFound || told.Code != "model_not_found" {
		t.Errorf("an unknown model: %v", err)
	}
	chat.Model, chat.StreamOptions = "chat", openai.ChatCompletionStreamOptionsParam{}
	chat.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage(strings.Repeat("long ", 500))}
	stream = c.Chat.Completions.NewStreaming(ctx, chat)
	for stream.Next() {
		t.Errorf("too long a prompt gives %s", stream.Current().RawJSON())
	}
	if told, ok := errors.AsType[*openai.Error](stream.Err()); !ok || told.Code != "context_length_exceeded" {
		t.Errorf("a prompt over the context: %v", stream.Err())
	}
}
