package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/client"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/gateway/follower"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/router"
	"github.com/skein-project/skein/wire"
)

// strict is a chat template that refuses what does not begin with a user.
const strict = "{%- if messages[0]['role'] != 'user' -%}{{ raise_exception('the first message must be from a user') }}{%- endif -%}{{ messages[0]['content'] }}"

// Whatever clients send, they are told what is wrong with it, and the fleet goes on as if nothing had been.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	s := serving(t, devfleet.Config{Coordinators: 1, Dir: dir}, map[string]offer{
		"gpt2":   {dir: fixture("gpt2"), slots: 2, context: 128},
		"strict": {dir: altered(t, "gpt2", map[string][]byte{"tokenizer_config.json": merged(t, "gpt2", "tokenizer_config.json", map[string]any{"chat_template": strict})}), slots: 1, context: 128, whole: true},
		"embed":  {dir: fixture("bert-embed"), slots: 1, context: 64},
		"sort":   {dir: fixture("bert-classify"), slots: 1, context: 64, whole: true},
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *stage)
	}{
		{"OpenAI", badOpenAI}, {"sizes", badSizes}, {"Connect", badConnect}, {"wire", func(t *testing.T, s *stage) { badWire(t, s, dir) }},
		{"models", badModels}, {"uploads", badUploads}, {"placement", badPlacement},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *s
			sub.t = t
			c.test(t, &sub)
			sub.answers()
		})
	}
}

// answers checks that the fleet still answers, and right.
func (s *stage) answers() {
	s.t.Helper()
	p := referenceOf(s.t, "gpt2").Prompts[0]
	if c := s.asks("/v1/completions", map[string]any{"model": "gpt2", "prompt": p.Text, "max_tokens": 64, "temperature": 0}); *c.Choices[0].Text != p.Greedy.Text {
		s.t.Errorf("it answers %q, want %q", *c.Choices[0].Text, p.Greedy.Text)
	}
	in := referenceOf(s.t, "bert-embed").Inputs[1]
	e, err := s.ask.Inference.Embed(s.t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "embed", Texts: []string{in.Text}}))
	if err != nil {
		s.t.Fatal(err)
	}
	near(s.t, "vector", e.Msg.Vectors[0].Values, in.Vector)
	s.active("gpt2@1", 0)
}

func badOpenAI(t *testing.T, s *stage) {
	const completions, chats, embeddings = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
	user := []map[string]any{{"role": "user", "content": "hi"}}
	with := func(fields ...any) map[string]any {
		v := map[string]any{"model": "gpt2", "prompt": "What"}
		for i := 0; i < len(fields); i += 2 {
			v[fields[i].(string)] = fields[i+1]
		}
		return v
	}
	talk := func(fields ...any) map[string]any {
		v := with(append([]any{"model", "strict", "messages", user}, fields...)...)
		delete(v, "prompt")
		return v
	}
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	many := strings.Split(strings.Repeat("x", 100_000), "")
	for _, c := range []struct {
		what, path  string
		body        any
		status      int
		code, param string
	}{
		{"a prompt over the context", completions, with("prompt", strings.Repeat("What is 1234? ", 100)), 400, "context_length_exceeded", "prompt"},
		{"a prompt of exactly the context", completions, with("prompt", slices.Repeat([]int32{50}, 128)), 400, "context_length_exceeded", "prompt"},
		{"max_tokens 0", completions, with("max_tokens", 0), 400, "", "max_tokens"},
		{"max_tokens -1", completions, with("max_tokens", -1), 400, "", "max_tokens"},
		{"max_tokens 10^9", completions, with("max_tokens", 1_000_000_000), 400, "", "max_tokens"},
		{"max_completion_tokens 10^9", chats, talk("max_completion_tokens", 1_000_000_000), 400, "", "max_tokens"},
		{"max_tokens 10^30", completions, with("max_tokens", 1e30), 400, "", "max_tokens"},
		{"temperature -1", completions, with("temperature", -1), 400, "", "temperature"},
		{"temperature 10^9", chats, talk("temperature", 1e9), 400, "", "temperature"},
		{"temperature NaN", completions, `{"model": "gpt2", "prompt": "x", "temperature": NaN}`, 400, "", ""},
		{"temperature 1e999", completions, `{"model": "gpt2", "prompt": "x", "temperature": 1e999}`, 400, "", "temperature"},
		{"temperature as text", completions, with("temperature", "hot"), 400, "", "temperature"},
		{"top_p 2", completions, with("top_p", 2), 400, "", "top_p"},
		{"top_p -1", completions, with("top_p", -1), 400, "", "top_p"},
		{"top_k -1", completions, with("top_k", -1), 400, "", "top_k"},
		{"logprobs 21", completions, with("logprobs", 21), 400, "", "top_logprobs"},
		{"logprobs -1", completions, with("logprobs", -1), 400, "", "top_logprobs"},
		{"top_logprobs alone", chats, talk("top_logprobs", 2), 400, "", "top_logprobs"},
		{"n 0", completions, with("n", 0), 400, "", "n"},
		{"n 10^9", chats, talk("n", 1_000_000_000), 400, "", "n"},
		{"n and prompts", completions, with("n", 5, "prompt", []string{"a", "b"}), 400, "", "prompt"},
		{"best_of", completions, with("best_of", 3), 400, "", "best_of"},
		{"echo", completions, with("echo", true), 400, "", "echo"},
		{"suffix", completions, with("suffix", "x"), 400, "", "suffix"},
		{"10^5 stop strings", completions, with("stop", many), 400, "", "stop"},
		{"an empty stop string", completions, with("stop", ""), 400, "", "stop"},
		{"a stop string of 10^5 bytes", completions, with("stop", strings.Repeat("x", 100_000)), 400, "", "stop"},
		{"a stop number", completions, with("stop", 7), 400, "", "stop"},
		{"logit_bias", completions, with("logit_bias", map[string]int{"5": 101}), 400, "", "logit_bias"},
		{"logit_bias of no token", completions, with("logit_bias", map[string]int{"-5": 1}), 400, "", "logit_bias"},
		{"frequency_penalty", completions, with("frequency_penalty", 2.1), 400, "", "frequency_penalty"},
		{"presence_penalty", chats, talk("presence_penalty", -3), 400, "", "presence_penalty"},
		{"repetition_penalty", completions, with("repetition_penalty", -1), 400, "", "repetition_penalty"},
		{"a regex without end", completions, with("guided_regex", "(a{1000}){1000}"), 400, "", "guided_regex"},
		{"response_format", chats, talk("response_format", map[string]any{"type": "json_schema"}), 400, "", "response_format"},
		{"an unknown response_format", chats, talk("response_format", map[string]any{"type": "poem"}), 400, "", "response_format"},
		{"tools", chats, talk("tools", []any{map[string]any{"type": "function"}}), 400, "", "tools[0].function"},
		{"modalities", chats, talk("modalities", []string{"text", "audio"}), 400, "", "modalities"},
		{"stream_options without stream", chats, talk("stream_options", map[string]any{"include_usage": true}), 400, "", "stream_options"},
		{"stream as text", completions, with("stream", "yes"), 400, "", "stream"},
		{"a token id over the vocabulary", completions, with("prompt", []int{5, 512}), 400, "", "prompt"},
		{"a negative token id", completions, with("prompt", []int{-1}), 400, "", "prompt"},
		{"a token id over 32 bits", completions, with("prompt", []int64{1 << 40}), 400, "", "prompt"},
		{"a broken token id", completions, with("prompt", []float64{1.5}), 400, "", "prompt"},
		{"null for a token id", completions, with("prompt", []any{5, nil}), 400, "", "prompt"},
		{"null for a text", completions, with("prompt", []any{"a", nil}), 400, "", "prompt"},
		{"no prompt", completions, map[string]any{"model": "gpt2"}, 400, "", "prompt"},
		{"an empty prompt", completions, with("prompt", ""), 400, "", "prompt"},
		{"no prompts", completions, with("prompt", []string{}), 400, "", "prompt"},
		{"an object for a prompt", completions, with("prompt", map[string]any{}), 400, "", "prompt"},
		{"an unknown model", completions, with("model", "nobody"), 404, "model_not_found", "model"},
		{"an unknown version", completions, with("model", "gpt2@7"), 404, "model_not_found", "model"},
		{"an odd model", completions, with("model", "../../etc\x00"), 404, "model_not_found", "model"},
		{"an empty model", completions, with("model", ""), 400, "", "model"},
		{"a long model", chats, talk("model", strings.Repeat("x", 10_000)), 404, "model_not_found", "model"},
		{"no messages", chats, talk("messages", []any{}), 400, "", "messages"},
		{"a role that is none", chats, talk("messages", []map[string]any{{"role": "robot", "content": "x"}}), 400, "", "messages"},
		{"a picture", chats, talk("messages", []map[string]any{{"role": "user", "content": []any{map[string]any{"type": "image_url"}}}}), 400, "", "messages"},
		{"a number for a message", chats, talk("messages", []map[string]any{{"role": "user", "content": 5}}), 400, "", "messages"},
		{"tool calls", chats, talk("messages", []map[string]any{{"role": "assistant", "tool_calls": []any{1}}}), 400, "", "messages.tool_calls"},
		{"a chat that the template refuses", chats, talk("messages", []map[string]any{{"role": "system", "content": "x"}}), 400, "", "messages"},
		{"a chat that renders to nothing", chats, talk("messages", []map[string]any{{"role": "user", "content": ""}}), 400, "", ""},
		{"a chat with a model that has no template", chats, talk("model", "gpt2"), 400, "", "model"},
		{"text from an encoder", completions, with("model", "embed"), 400, "", "model"},
		{"dimensions", embeddings, map[string]any{"model": "embed", "input": "x", "dimensions": 7}, 400, "", "dimensions"},
		{"an encoding", embeddings, map[string]any{"model": "embed", "input": "x", "encoding_format": "hex"}, 400, "", "encoding_format"},
		{"an input over the context", embeddings, map[string]any{"model": "embed", "input": strings.Repeat("disk ", 100)}, 400, "context_length_exceeded", "input"},
		{"1000 inputs", embeddings, map[string]any{"model": "embed", "input": many[:1000]}, 400, "", "input"},
		{"an empty input", embeddings, map[string]any{"model": "embed", "input": []string{"x", ""}}, 400, "", "input"},
		{"an empty list of ids", embeddings, map[string]any{"model": "embed", "input": [][]int{{5}, {}}}, 400, "", "input"},
		{"no JSON", completions, "model=gpt2", 400, "", ""},
		{"nothing", completions, "", 400, "", ""},
		{"half of it", completions, `{"model": "gpt2", "prompt": "x`, 400, "", ""},
		{"twice", completions, `{"model": "gpt2", "prompt": "x"} {}`, 400, "", ""},
		{"a list", completions, `[]`, 400, "", ""},
		{"invalid UTF-8", completions, "{\"model\": \"gpt2\", \"prompt\": \"a\xff\"}", 400, "", ""},
		{"depth 10^5", completions, `{"model": "gpt2", "prompt": ` + deep + `}`, 400, "", ""},
		{"depth 10^5 in a field that nobody knows", chats, `{"x": ` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + `}`, 400, "", ""},
	} {
		for _, stream := range []bool{false, true} { // an error before the first token is no event
			if v, ok := c.body.(map[string]any); ok && stream && v["stream"] == nil && v["stream_options"] == nil {
				v["stream"] = true
			}
			checkError(t, c.what, s.send(http.MethodPost, c.path, c.body), c.status, c.code, c.param)
		}
	}
}

func badSizes(t *testing.T, s *stage) {
	over := []byte(`{"model": "gpt2", "prompt": "` + strings.Repeat("x", 9<<20) + `"}`)
	checkError(t, "a body over the limit", s.send(http.MethodPost, "/v1/completions", over), 413, "", "")
	long := []byte(`{"model": "gpt2", "prompt": "` + strings.Repeat("x", 5<<20) + `"}`)
	checkError(t, "a prompt over the limit", s.send(http.MethodPost, "/v1/completions", long), 400, "", "prompt")
	talk := map[string]any{"model": "strict", "messages": []map[string]any{{"role": "user", "content": strings.Repeat("x", 5<<20)}}}
	checkError(t, "messages over the limit", s.send(http.MethodPost, "/v1/chat/completions", talk), 400, "", "messages")
	r := s.send(http.MethodPost, "/skein.inference.v1.InferenceService/Embed", over)
	if r.status != http.StatusTooManyRequests || !strings.Contains(string(r.body), "resource_exhausted") {
		t.Errorf("a body over the limit: %d %.200s", r.status, r.body)
	}
	if r := s.sendAs("Bearer "+s.Key, http.MethodGet, "/v1/models", nil, map[string]string{"X-Long": strings.Repeat("x", 1<<20)}); r.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 1 MiB: %d", r.status)
	}
	// A client that leaves in the middle of its request leaves nothing behind.
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{", s.Key)
	c.Close()
}

func badConnect(t *testing.T, s *stage) {
	ctx, c := t.Context(), s.ask.Inference
	generate := func(p *inferencev1.Sampling) error {
		_, err := read(c.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: "gpt2", Input: &inferencev1.GenerateRequest_Prompt{Prompt: "What"}, Sampling: p})))
		return err
	}
	ids := func(model string, ids ...int32) error {
		_, err := read(c.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: model, Input: &inferencev1.GenerateRequest_Tokens{Tokens: &inferencev1.TokenIds{Ids: ids}}})))
		return err
	}
	chat := func(model string, m ...*inferencev1.Message) error {
		_, err := read(c.Chat(ctx, connect.NewRequest(&inferencev1.ChatRequest{Model: model, Messages: m})))
		return err
	}
	embed := func(model string, texts ...string) error {
		_, err := c.Embed(ctx, connect.NewRequest(&inferencev1.EmbedRequest{Model: model, Texts: texts}))
		return err
	}
	classify := func(model string, n int) error {
		_, err := c.Classify(ctx, connect.NewRequest(&inferencev1.ClassifyRequest{Model: model, Inputs: slices.Repeat([]*inferencev1.ClassifyInput{{Text: "x"}}, n)}))
		return err
	}
	infer := func(model string, inputs ...*inferencev1.Tensor) error {
		_, err := c.Infer(ctx, connect.NewRequest(&inferencev1.InferRequest{Model: model, Inputs: inputs}))
		return err
	}
	row := func(name string, v ...int32) *inferencev1.Tensor {
		return int64Tensor(name, []int64{1, int64(len(v))}, v...)
	}
	f, n := func(x float64) *float64 { return &x }, func(x int32) *int32 { return &x }
	bad, none := connect.CodeInvalidArgument, connect.CodeNotFound
	for what, c := range map[string]struct {
		err  error
		want connect.Code
	}{
		"temperature NaN":                {generate(&inferencev1.Sampling{Temperature: f(math.NaN())}), bad},
		"temperature +Inf":               {generate(&inferencev1.Sampling{Temperature: f(math.Inf(1))}), bad},
		"temperature -0.1":               {generate(&inferencev1.Sampling{Temperature: f(-0.1)}), bad},
		"top_p NaN":                      {generate(&inferencev1.Sampling{TopP: f(math.NaN())}), bad},
		"top_p 0":                        {generate(&inferencev1.Sampling{TopP: f(0)}), bad},
		"top_p 2":                        {generate(&inferencev1.Sampling{TopP: f(2)}), bad},
		"top_k -1":                       {generate(&inferencev1.Sampling{TopK: n(-1)}), bad},
		"max_tokens 0":                   {generate(&inferencev1.Sampling{MaxTokens: n(0)}), bad},
		"max_tokens -1":                  {generate(&inferencev1.Sampling{MaxTokens: n(-1)}), bad},
		"max_tokens 10^9":                {generate(&inferencev1.Sampling{MaxTokens: n(1_000_000_000)}), bad},
		"top_logprobs 21":                {generate(&inferencev1.Sampling{TopLogprobs: 21}), bad},
		"top_logprobs -1":                {generate(&inferencev1.Sampling{TopLogprobs: -1, Logprobs: true}), bad},
		"10^5 stop strings":              {generate(&inferencev1.Sampling{Stop: slices.Repeat([]string{"x"}, 100_000)}), bad},
		"an empty stop string":           {generate(&inferencev1.Sampling{Stop: []string{""}}), bad},
		"no tokens":                      {ids("gpt2"), bad},
		"a token over the vocabulary":    {ids("gpt2", 1, 512), bad},
		"a negative token":               {ids("gpt2", -1), bad},
		"the context full of tokens":     {ids("gpt2", slices.Repeat([]int32{5}, 128)...), bad},
		"an unknown model":               {ids("nobody", 1), none},
		"no model":                       {ids("", 1), bad},
		"text from an encoder":           {ids("embed", 5), bad},
		"no messages":                    {chat("strict"), bad},
		"a model without a template":     {chat("gpt2", &inferencev1.Message{Role: "user", Content: "x"}), bad},
		"a role with a special token":    {chat("strict", &inferencev1.Message{Role: "<|endoftext|>", Content: "x"}), bad},
		"what the template refuses":      {chat("strict", &inferencev1.Message{Role: "assistant", Content: "x"}), bad},
		"no texts":                       {embed("embed"), bad},
		"too many texts":                 {embed("embed", slices.Repeat([]string{"x"}, 1000)...), bad},
		"a text over the context":        {embed("embed", strings.Repeat("disk ", 100)), bad},
		"classes from a decoder":         {classify("gpt2", 1), bad},
		"classes from vectors' model":    {classify("embed", 1), bad},
		"nothing to classify":            {classify("sort", 0), bad},
		"too much to classify":           {classify("sort", 1000), bad},
		"tensors of a decoder":           {infer("gpt2", row("input_ids", 1)), bad},
		"no rows":                        {infer("embed"), bad},
		"an empty row":                   {infer("embed", row("input_ids")), bad},
		"a row over the context":         {infer("embed", row("input_ids", slices.Repeat([]int32{5}, 65)...)), bad},
		"a row over the vocabulary":      {infer("embed", row("input_ids", 5, 100_000)), bad},
		"too few segment ids":            {infer("embed", row("input_ids", 5, 6), row("token_type_ids", 0)), bad},
		"a segment id that is not there": {infer("embed", row("input_ids", 5), row("token_type_ids", 2)), bad},
		"a negative segment id":          {infer("sort", row("input_ids", 5), row("token_type_ids", -1)), bad},
	} {
		if got := connect.CodeOf(c.err); c.err == nil || got != c.want || strings.Contains(c.err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v, want %v", what, c.err, c.want)
		}
	}

	const service = "/skein.inference.v1.InferenceService/"
	for what, r := range map[string]reply{
		"invalid UTF-8 in proto": s.sendAs("Bearer "+s.Key, http.MethodPost, service+"Embed", "\n\x05embed\x12\x01\xff", map[string]string{"Content-Type": "application/proto"}),
		"invalid UTF-8 in JSON":  s.send(http.MethodPost, service+"Embed", "{\"model\": \"embed\", \"texts\": [\"\xff\"]}"),
		"half a proto":           s.sendAs("Bearer "+s.Key, http.MethodPost, service+"Embed", "\n\x05em", map[string]string{"Content-Type": "application/proto"}),
		"a length of 2^63":       s.sendAs("Bearer "+s.Key, http.MethodPost, service+"Embed", "\n\xff\xff\xff\xff\xff\xff\xff\xff\x7f", map[string]string{"Content-Type": "application/proto"}),
		"depth 10^5":             s.send(http.MethodPost, service+"Embed", `{"model": "embed", "x": `+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}"),
		"a wrong type":           s.send(http.MethodPost, service+"Embed", `{"model": 5}`),
		"a token id of 2^40":     s.send(http.MethodPost, service+"Infer", `{"model": "embed", "rows": [{"ids": [1099511627776]}]}`),
	} {
		if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "invalid_argument") {
			t.Errorf("%s: %d %.200s", what, r.status, r.body)
		}
	}
}

// badWire speaks to a worker as members of the cluster do, with their own papers.
func badWire(t *testing.T, s *stage, dir string) {
	member := func(name string) *wire.Dialer {
		m, err := wire.LoadMembership(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		creds, err := wire.NewCredentials(m.Papers)
		if err != nil {
			t.Fatal(err)
		}
		d := wire.NewDialer(creds)
		t.Cleanup(d.Close)
		return d
	}
	status, err := s.admin.Cluster.GetStatus(t.Context(), connect.NewRequest(&adminv1.GetStatusRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	coordinator, node := member("coordinator-1"), member("node-1")
	ctx, cancel := context.WithCancel(t.Context())
	f := follower.New(coordinator, []string{status.Msg.Members[0].Addr}, slog.New(slog.DiscardHandler))
	followed := make(chan struct{})
	go func() {
		f.Run(ctx)
		close(followed)
	}()
	defer func() {
		cancel()
		<-followed
	}()
	routes := map[string]router.Route{}
	s.until("the routes", func(context.Context) error {
		table := router.TableOf(f.Live().Now())
		for _, name := range []string{"gpt2", "embed"} {
			r := table.Routes(cluster.VersionID{Model: name, Number: 1})
			if len(r) != 1 {
				return fmt.Errorf("%d routes of %s", len(r), name)
			}
			routes[name] = r[0]
		}
		return nil
	})
	generate := func(d *wire.Dialer, model string, change func(*wire.GenerateRequest)) (tokens int, err error) {
		r := routes[model]
		req := &wire.GenerateRequest{Replica: r.Replica, Epoch: r.Epoch, Tokens: []int32{50, 36}, MaxTokens: 4}
		change(req)
		err = wire.Read(t.Context(), d, cluster.RoleNode, r.Head(), wire.Generate, req, func(p *wire.GenerateResponse) error {
			tokens += len(p.Tokens)
			return nil
		})
		return tokens, err
	}
	if n, err := generate(coordinator, "gpt2", func(*wire.GenerateRequest) {}); n != 4 || err != nil {
		t.Fatalf("a coordinator generates %d tokens: %v", n, err)
	}
	for what, c := range map[string]struct {
		from   *wire.Dialer
		model  string
		change func(*wire.GenerateRequest)
		want   connect.Code
	}{
		"an older epoch":            {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Epoch-- }, connect.CodeFailedPrecondition},
		"a newer epoch":             {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Epoch++ }, connect.CodeFailedPrecondition},
		"another replica":           {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Replica.Ordinal++ }, connect.CodeFailedPrecondition},
		"a token out of range":      {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Tokens[0] = 1 << 30 }, connect.CodeInvalidArgument},
		"no tokens":                 {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Tokens = nil }, connect.CodeInvalidArgument},
		"too many tokens":           {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Tokens = make([]int32, 128) }, connect.CodeInvalidArgument},
		"max_tokens 0":              {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.MaxTokens = 0 }, connect.CodeInvalidArgument},
		"a temperature of 10^9":     {coordinator, "gpt2", func(r *wire.GenerateRequest) { r.Sampling = model.Sampling{Temperature: 1e9} }, connect.CodeInvalidArgument},
		"an encoder":                {coordinator, "embed", func(*wire.GenerateRequest) {}, connect.CodeInvalidArgument},
		"a node instead of gateway": {node, "gpt2", func(*wire.GenerateRequest) {}, connect.CodePermissionDenied},
	} {
		n, err := generate(c.from, c.model, c.change)
		if refused, ok := errors.AsType[*wire.Refused](err); n != 0 || connect.CodeOf(err) != c.want && !(ok && refused.Code == c.want) {
			t.Errorf("%s: %d tokens, %v, want %v", what, n, err, c.want)
		}
	}
	r := routes["embed"]
	_, err = wire.Call[wire.EncodeRequest, wire.EncodeResponse](t.Context(), coordinator, cluster.RoleNode, r.Head(), wire.EncodeRows,
		&wire.EncodeRequest{Replica: r.Replica, Epoch: r.Epoch - 1, Rows: []wire.EncodeRow{{IDs: []int32{5}}}, Want: wire.EncodeWant{Vector: true}})
	if refused, ok := errors.AsType[*wire.Refused](err); !ok || refused.Code != connect.CodeFailedPrecondition {
		t.Errorf("encode at an older epoch: %v", err)
	}
}

// badModels publishes what cannot be served: it is refused with the file and the reason, and no version is left.
func badModels(t *testing.T, s *stage) {
	weights, err := os.ReadFile(filepath.Join(root(t), fixture("gpt2"), "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(weights)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(weights[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	without := func(name string) []byte { // its bytes become those of a mask, which nobody needs
		h := maps.Clone(header)
		if h["transformer.h.2.attn.masked_bias"] = h[name]; h[name] == nil {
			t.Fatalf("the fixture has no %s", name)
		}
		delete(h, name)
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		out := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
		return append(append(out, b...), weights[8+n:]...)
	}
	huge := slices.Clone(weights)
	binary.LittleEndian.PutUint64(huge, 1<<63)
	for what, c := range map[string]struct {
		files map[string][]byte
		want  []string
	}{
		"truncated weights":   {map[string][]byte{"model.safetensors": weights[:len(weights)/2]}, []string{"model.safetensors"}},
		"a header of 2^63":    {map[string][]byte{"model.safetensors": huge}, []string{"model.safetensors"}},
		"a tensor less":       {map[string][]byte{"model.safetensors": without("transformer.h.2.mlp.c_fc.weight")}, []string{`2/"mlp.up.weight": is missing`}},
		"10^9 layers":         {map[string][]byte{"config.json": merged(t, "gpt2", "config.json", map[string]any{"n_layer": 1_000_000_000})}, []string{"config.json"}},
		"-1 layers":           {map[string][]byte{"config.json": merged(t, "gpt2", "config.json", map[string]any{"n_layer": -1})}, []string{"config.json"}},
		"an unknown family":   {map[string][]byte{"config.json": merged(t, "gpt2", "config.json", map[string]any{"architectures": []string{"MambaForCausalLM"}, "model_type": "mamba"})}, []string{"config.json", "amba"}},
		"half a tokenizer":    {map[string][]byte{"tokenizer.json": []byte(`{"model": {"type": "BPE", "vocab": {`)}, []string{"tokenizer.json"}},
		"half a template":     {map[string][]byte{"tokenizer_config.json": merged(t, "gpt2", "tokenizer_config.json", map[string]any{"chat_template": "{% for m in"})}, []string{"template"}},
		"no config":           {map[string][]byte{"config.json": nil}, []string{"config.json"}},
		"pickled weights":     {map[string][]byte{"model.safetensors": nil, "pytorch_model.bin": []byte("x")}, []string{"safe"}},
		"pickles named right": {map[string][]byte{"model.safetensors": []byte("PK\x03\x04 this is a zip of pickles")}, []string{"model.safetensors"}},
	} {
		files, err := client.Folder(altered(t, "gpt2", c.files), func(string) {})
		if err == nil {
			var blobs map[string]string
			if blobs, err = s.admin.Upload(t.Context(), files, func(client.File, int64, int64) {}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			var v string
			if v, err = s.admin.Publish(t.Context(), "broken", blobs, false, func(string) {}); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: version %q, %v", what, v, err)
			}
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q on one line", what, err, want)
			}
		}
	}
	if n := s.versionsOf("broken"); n != 0 {
		t.Errorf("%d versions are left", n)
	}
}

// versionsOf counts a model's versions.
func (s *stage) versionsOf(name string) (n int) {
	s.t.Helper()
	res, err := s.admin.Models.ListModels(s.t.Context(), connect.NewRequest(&adminv1.ListModelsRequest{}))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range res.Msg.Versions {
		if strings.HasPrefix(v.Version, name+"@") {
			n++
		}
	}
	return n
}

// badUploads cuts uploads wherever they can be cut, with the coordinator too, and sends one model twice at once.
func badUploads(t *testing.T, s *stage) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := bigmodel.Write(dir, bigmodel.Options{Bytes: 12 << 20, Hidden: 256, Positions: 256, Seed: 11}); err != nil {
		t.Fatal(err)
	}
	files, err := client.Folder(dir, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	big := files[slices.IndexFunc(files, func(f client.File) bool { return strings.HasSuffix(f.Name, ".safetensors") })]
	data, err := os.ReadFile(big.Path)
	if err != nil {
		t.Fatal(err)
	}
	begin := &adminv1.BeginBlobRequest{Size: big.Index.Size}
	for _, sum := range big.Index.Chunks {
		begin.Chunks = append(begin.Chunks, sum[:])
	}
	missing := func() []int32 {
		t.Helper()
		res, err := s.admin.Models.BeginBlob(t.Context(), connect.NewRequest(begin))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Missing
	}
	killed := false
	for left := missing(); len(left) > 0; {
		sent := int(left[0])
		chunk := data[int64(sent)*blob.ChunkSize:][:big.Index.ChunkLen(sent)]
		text := body(t, map[string]any{"digest": big.Index.Digest().String(), "chunk": sent, "data": chunk})
		for _, at := range []int{0, len(text) / 2, len(text) - 1} { // the connection breaks within the chunk
			c, err := net.Dial("tcp", strings.TrimPrefix(s.AdminURL(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /skein.admin.v1.ModelService/WriteChunk HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", s.Key, len(text))
			c.Write(text[:at])
			c.Close()
		}
		if now := missing(); !slices.Equal(now, left) {
			t.Fatalf("parts of chunk %d are taken for a whole one: %v are missing, want %v", sent, now, left)
		}
		if _, err := s.admin.Models.WriteChunk(t.Context(), connect.NewRequest(&adminv1.WriteChunkRequest{Digest: big.Index.Digest().String(), Chunk: int32(sent), Data: chunk})); err != nil {
			t.Fatal(err)
		}
		now := missing()
		if !slices.Equal(now, left[1:]) {
			t.Fatalf("chunk %d was taken, and %v are missing, want %v", sent, now, left[1:])
		}
		if left = now; killed || len(now) != 2 {
			continue
		}
		p := s.Process("coordinator-1") // what was not on its disk yet is asked for again
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		s.until("the coordinator to be back", func(ctx context.Context) error { return s.fleetWhole(ctx, 1) })
		killed, left = true, missing()
	}
	if !killed {
		t.Fatal("the upload was too short")
	}

	const uploads = 3
	versions := make(chan string, uploads)
	for range uploads {
		go func() {
			blobs, err := s.admin.Upload(t.Context(), files, func(client.File, int64, int64) {})
			v := ""
			if err == nil {
				v, err = s.admin.Publish(t.Context(), "twice", blobs, false, func(string) {})
			}
			versions <- fmt.Sprint(v, err)
		}()
	}
	for range uploads {
		if v := <-versions; v != "twice@1<nil>" {
			t.Errorf("one of %d uploads at once ends with %s", uploads, v)
		}
	}
	if n := s.versionsOf("twice"); n != 1 {
		t.Errorf("%d versions", n)
	}
}

// badPlacement asks for what fits nowhere: the answer has bytes, devices and reasons, and nothing is placed.
func badPlacement(t *testing.T, s *stage) {
	_, err := s.admin.Deployments.Serve(t.Context(), connect.NewRequest(&adminv1.ServeRequest{Model: "twice@1", Slots: 1024, Context: 256}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Fatalf("what fits nowhere: %v", err)
	}
	for _, device := range s.devices() {
		if !strings.Contains(err.Error(), device) || !strings.Contains(err.Error(), "MiB free") || !strings.Contains(err.Error(), "needs ") {
			t.Errorf("it does not say what %s lacks: %v", device, err)
		}
	}
	if d, err := s.viewOf(t.Context(), "twice@1"); err == nil {
		t.Errorf("it is deployed: %v", d)
	}
}

// A program that finds a data directory of another version, or another version's library, says so and ends.
func TestOtherVersions(t *testing.T) {
	s := raise(t, devfleet.Config{Coordinators: 1, Nodes: 1, Devices: []string{"host:64MiB"}})
	data := func(p *devfleet.Process) string { return filepath.Join(filepath.Dir(filepath.Dir(p.Log)), p.Name) }
	ends := func(name, file, want string) {
		t.Helper()
		p := s.Process(name)
		p.Stop()
		found := ""
		err := filepath.WalkDir(data(p), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == file {
				found = path
			}
			return err
		})
		if err != nil || found == "" {
			t.Fatalf("no %s in %s: %v", file, data(p), err)
		}
		old, err := os.ReadFile(found)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(found, []byte(strings.Replace(string(old), "1", "999", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Ended():
		case <-time.After(patience):
			t.Fatalf("%s goes on with another version's %s", name, found)
		}
		if last := p.Tail(1); !strings.Contains(last, want) || !strings.HasPrefix(last, "skein-") {
			t.Errorf("%s ends with %q, want %q", name, last, want)
		}
	}
	ends("node-1", "FORMAT", "another version's format")
	ends("coordinator-1", "VERSION", "999")

	dir := t.TempDir()
	source := "typedef struct { const void *(*api)(unsigned); const char *(*version)(void); } base;\n" +
		"static const void *api(unsigned v) { return 0; }\nstatic const char *version(void) { return \"1.2.3\"; }\n" +
		"static const base b = { api, version };\nconst base *OrtGetApiBase(void) { return &b; }\n"
	if err := os.WriteFile(filepath.Join(dir, "old.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(dir, "libonnxruntime.so.1")
	if out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-o", library, filepath.Join(dir, "old.c")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program(t, 1, "is ONNX Runtime 1.2.3, wanted 1.30", "skein-node", "--dir", filepath.Join(dir, "n"), "--listen", "127.0.0.1:1", "--gossip", "127.0.0.1:1", "--device", "host:64MiB", "--ort-lib", library)
}
