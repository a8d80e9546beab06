package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
	"github.com/skein-project/skein/internal/bigmodel"
	"github.com/skein-project/skein/internal/devfleet"
)

// skein.inference.v1, over every protocol that it speaks. The models are cut over two nodes.
func TestConnect(t *testing.T) {
	slow := filepath.Join(t.TempDir(), "model")
	if err := bigmodel.Write(slow, bigmodel.Options{Bytes: 4 << 20, Hidden: 128, Positions: 16384, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	s := serving(t, devfleet.Config{Coordinators: 1}, map[string]offer{
		"gpt2":   {dir: fixture("gpt2"), slots: 4, context: 256},
		"chat":   {dir: fixture("qwen2"), slots: 4, context: 256},
		"embed":  {dir: fixture("bert-embed"), slots: 1, context: 128},
		"sort":   {dir: fixture("bert-classify"), slots: 1, context: 128},
		"labels": {dir: fixture("bert-multilabel"), slots: 1, context: 128, whole: true},
		"slow":   {dir: slow, slots: 2, context: 16384},
	})
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	for protocol, c := range map[string]struct {
		transport http.RoundTripper
		options   []connect.ClientOption
	}{
		"Connect":       {http.DefaultTransport, nil},
		"Connect, JSON": {http.DefaultTransport, []connect.ClientOption{connect.WithProtoJSON()}},
		"gRPC":          {h2, []connect.ClientOption{connect.WithGRPC()}},
		"gRPC-Web":      {http.DefaultTransport, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(protocol, func(t *testing.T) {
			client := func(key string) inferencev1connect.InferenceServiceClient {
				return inferencev1connect.NewInferenceServiceClient(&http.Client{Transport: bearer{c.transport, key}}, s.URL(), c.options...)
			}
			rpc{t, client(s.Key)}.all()
			_, err := client("sk-wrong").ListModels(t.Context(), connect.NewRequest(&inferencev1.ListModelsRequest{}))
			if connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("a wrong key, unary: %v", err)
			}
			out, err := client("").Generate(t.Context(), connect.NewRequest(&inferencev1.GenerateRequest{Model: "gpt2"}))
			for err == nil && out.Receive() {
				t.Error("no key, and an answer")
			}
			if err == nil {
				err = out.Err()
			}
			if connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("no key, stream: %v", err)
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) { sub := *s; sub.t = t; plainHTTP(t, &sub) })
	t.Run("cancellation", func(t *testing.T) { sub := *s; sub.t = t; cancellation(t, &sub) })
}

// bearer adds a key.
type bearer struct {
	next http.RoundTripper
	key  string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if b.key != "" {
		r.Header.Set("Authorization", "Bearer "+b.key)
	}
	return b.next.RoundTrip(r)
}

// rpc is a client of one protocol under test.
type rpc struct {
	t *testing.T
	c inferencev1connect.InferenceServiceClient
}

func (r rpc) all() {
	r.generate()
	r.chat()
	r.encoders()
	models, err := r.c.ListModels(r.t.Context(), connect.NewRequest(&inferencev1.ListModelsRequest{}))
	if err != nil {
		r.t.Fatal(err)
	}
	names := map[string]*inferencev1.Model{}
	for _, m := range models.Msg.Models {
		names[m.Name] = m
	}
	if m := names["sort"]; len(names) != 6 || m == nil || m.Version != "sort@1" || m.Ready != 1 || m.Created == 0 || !slices.Contains(m.Tasks, "classify") {
		r.t.Errorf("models: %v", models.Msg)
	}
}

// answer is a stream of responses, put together.
type answer struct {
	text   string
	tokens []*inferencev1.Token
	finish inferencev1.FinishReason
	usage  *inferencev1.Usage
}

func read(out *connect.ServerStreamForClient[inferencev1.GenerateResponse], err error) (a answer, _ error) {
	if err != nil {
		return a, err
	}
	defer out.Close()
	for out.Receive() {
		m := out.Msg()
		if a.usage != nil {
			return a, fmt.Errorf("after the end: %v", m)
		}
		a.text, a.tokens, a.finish, a.usage = a.text+m.Text, append(a.tokens, m.Tokens...), m.FinishReason, m.Usage
	}
	return a, out.Err()
}

func (a answer) ids() (ids []int32) {
	for _, t := range a.tokens {
		ids = append(ids, t.Id)
	}
	return ids
}

func (r rpc) generate() {
	zero, most := 0.0, int32(64)
	for i, p := range referenceOf(r.t, "gpt2").Prompts {
		req := &inferencev1.GenerateRequest{Model: "gpt2", Input: &inferencev1.GenerateRequest_Prompt{Prompt: p.Text},
			Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &most, Logprobs: i == 1}}
		if i == 0 {
			req.Input = &inferencev1.GenerateRequest_Tokens{Tokens: &inferencev1.TokenIds{Ids: p.IDs}}
		}
		a, err := read(r.c.Generate(r.t.Context(), connect.NewRequest(req)))
		if err != nil || a.text != p.Greedy.Text || !slices.Equal(a.ids(), p.Greedy.IDs) || a.finish != inferencev1.FinishReason_FINISH_REASON_LENGTH {
			r.t.Errorf("%q: %q (%v), %v, want %q", p.Text, a.text, a.finish, err, p.Greedy.Text)
			continue
		}
		if a.usage.PromptTokens != int32(len(p.IDs)) || a.usage.CompletionTokens != 64 {
			r.t.Errorf("%q: usage %v", p.Text, a.usage)
		}
		for _, tok := range a.tokens {
			if (tok.Logprob != nil) != (i == 1) || tok.GetLogprob() > 0 {
				r.t.Errorf("%q: token %v", p.Text, tok)
			}
		}
	}
}

func (r rpc) chat() {
	zero, most := 0.0, int32(10)
	for _, chat := range referenceOf(r.t, "qwen2").Chats {
		if !chat.Add {
			continue
		}
		req := &inferencev1.ChatRequest{Model: "chat@1", Sampling: &inferencev1.Sampling{Temperature: &zero, MaxTokens: &most}}
		for _, m := range chat.Messages {
			req.Messages = append(req.Messages, &inferencev1.Message{Role: m.Role, Content: m.Content})
		}
		got, err := read(r.c.Chat(r.t.Context(), connect.NewRequest(req)))
		want, err2 := read(r.c.Generate(r.t.Context(), connect.NewRequest(&inferencev1.GenerateRequest{Model: "chat", Sampling: req.Sampling,
			Input: &inferencev1.GenerateRequest_Tokens{Tokens: &inferencev1.TokenIds{Ids: chat.IDs}}})))
		if err != nil || err2 != nil || got.text != want.text || got.usage.PromptTokens != int32(len(chat.IDs)) {
			r.t.Errorf("%v: %q, %v; want %q, %v", chat.Messages, got.text, err, want.text, err2)
		}
	}
}

// tensors asks an encoder with the ids of a row.
func (r rpc) tensors(what string, ids, types []int32, hidden, vector floats) {
	n := int64(len(ids))
	res, err := r.c.Infer(r.t.Context(), connect.NewRequest(&inferencev1.InferRequest{Model: "embed", Outputs: []string{"sentence_embedding", "last_hidden_state"},
		Inputs: []*inferencev1.Tensor{int64Tensor("input_ids", []int64{1, n}, ids...), int64Tensor("token_type_ids", []int64{1, n}, types...)}}))
	if err != nil || len(res.Msg.Outputs) != 2 || res.Msg.ModelVersion != "embed@1" {
		r.t.Fatalf("infer: %v", err)
	}
	near(r.t, "vector of "+what, tensorFloats(res.Msg.Outputs[0]), vector)
	near(r.t, "hidden states of "+what, tensorFloats(res.Msg.Outputs[1]), hidden)
	if !slices.Equal(res.Msg.Outputs[1].Shape, []int64{1, n, int64(len(hidden)) / n}) {
		r.t.Errorf("shape %v", res.Msg.Outputs[1].Shape)
	}
}

func (r rpc) encoders() {
	ctx := r.t.Context()
	embed := referenceOf(r.t, "bert-embed")
	var texts []string
	var vectors []floats
	for _, in := range embed.Inputs {
		r.tensors(in.Text, in.IDs, in.Types, in.Hidden, in.Vector)
		if in.Pair == "" {
			texts, vectors = append(texts, in.Text), append(vectors, in.Vector)
		}
	}
	e, err := r.c.Embed(ctx, connect.NewRequest(&inferencev1.EmbedRequest{Model: "embed", Texts: texts}))
	if err != nil || len(e.Msg.Vectors) != len(texts) || e.Msg.Usage.PromptTokens == 0 || e.Msg.ModelVersion != "embed@1" {
		r.t.Fatalf("embed: %v, %v", e, err)
	}
	for i, v := range e.Msg.Vectors {
		near(r.t, "vector of "+texts[i], v.Values, vectors[i])
	}
	for model, name := range map[string]string{"sort": "bert-classify", "labels": "bert-multilabel"} {
		ref := referenceOf(r.t, name)
		req := &inferencev1.ClassifyRequest{Model: model}
		for _, in := range ref.Inputs {
			req.Inputs = append(req.Inputs, &inferencev1.ClassifyInput{Text: in.Text, Pair: in.Pair})
		}
		c, err := r.c.Classify(ctx, connect.NewRequest(req))
		if err != nil || len(c.Msg.Results) != len(ref.Inputs) {
			r.t.Fatalf("classify: %v, %v", c, err)
		}
		for i, result := range c.Msg.Results {
			scores := make([]float32, len(ref.Labels))
			for j, l := range result.Labels {
				scores[slices.Index(ref.Labels, l.Name)] = l.Score
				if j > 0 && l.Score > result.Labels[j-1].Score {
					r.t.Errorf("%q: the labels are not sorted: %v", ref.Inputs[i].Text, result.Labels)
				}
			}
			near(r.t, "scores of "+ref.Inputs[i].Text, scores, ref.Inputs[i].Scores)
		}
	}
}

// The same calls as a person makes them with curl.
func plainHTTP(t *testing.T, s *stage) {
	var list struct{ Models []struct{ Name string } }
	s.send(http.MethodPost, "/skein.inference.v1.InferenceService/ListModels", "{}").ok(t, &list)
	if len(list.Models) != 6 {
		t.Errorf("models %v", list)
	}
	var e struct{ Vectors []struct{ Values []float32 } }
	in := referenceOf(t, "bert-embed").Inputs[0]
	s.send(http.MethodPost, "/skein.inference.v1.InferenceService/Embed", map[string]any{"model": "embed", "texts": []string{in.Text}, "notKnown": 1}).ok(t, &e)
	near(t, "vector", e.Vectors[0].Values, in.Vector)
	r := s.sendAs("", http.MethodPost, "/skein.inference.v1.InferenceService/ListModels", "{}", nil)
	if r.status != http.StatusUnauthorized || !strings.Contains(string(r.body), `"unauthenticated"`) {
		t.Errorf("no key: %d %s", r.status, r.body)
	}
	r = s.send(http.MethodPost, "/skein.inference.v1.InferenceService/Sing", "{}")
	if r.status != http.StatusNotFound {
		t.Errorf("an unknown method: %d %s", r.status, r.body)
	}
}

// endless is a prompt that the slow model continues for as long as its context lasts, without an end-of-text token.
const endless = "three"

// long is a generation that takes far longer than a test; given counts its tokens.
type long struct {
	cancel context.CancelFunc
	given  chan struct{} // one for the first tokens
	ended  chan error
}

func (s *stage) long(prompt string) *long {
	ctx, cancel := context.WithCancel(s.t.Context())
	l := &long{cancel: cancel, given: make(chan struct{}, 1), ended: make(chan error, 1)}
	zero := 0.0
	go func() {
		out, err := s.ask.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: "slow", Input: &inferencev1.GenerateRequest_Prompt{Prompt: prompt},
			Sampling: &inferencev1.Sampling{Temperature: &zero}}))
		if err != nil {
			l.ended <- err
			return
		}
		defer out.Close()
		for out.Receive() {
			select {
			case l.given <- struct{}{}:
			default:
			}
		}
		l.ended <- out.Err()
	}()
	return l
}

// goesOn waits for tokens that come from now on.
func (l *long) goesOn(t *testing.T) {
	t.Helper()
	select { // what came before
	case <-l.given:
	default:
	}
	select {
	case <-l.given:
	case err := <-l.ended:
		t.Fatalf("it ended: %v", err)
	case <-time.After(patience):
		t.Fatal("no token comes")
	}
}

// A client that goes away frees its place at once, be it at work or still in the queue; the others go on. Two sequences run at once.
func cancellation(t *testing.T, s *stage) {
	a, b := s.long(endless), s.long(endless)
	defer a.cancel()
	defer b.cancel()
	a.goesOn(t)
	b.goesOn(t)
	c, d := s.long(endless), s.long(endless)
	defer c.cancel()
	defer d.cancel()
	s.active("slow@1", 4)
	select {
	case <-c.given:
		t.Fatal("three of two sequences run")
	case <-d.given:
		t.Fatal("three of two sequences run")
	default:
	}
	d.cancel() // while it waits
	s.active("slow@1", 3)
	b.goesOn(t)
	a.cancel() // while it runs
	c.goesOn(t)
	b.goesOn(t)
	s.active("slow@1", 2)

	// One that runs is refused a deadline that is too short, in time; its place is free again.
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := read(s.ask.Inference.Generate(ctx, connect.NewRequest(&inferencev1.GenerateRequest{Model: "slow", Input: &inferencev1.GenerateRequest_Prompt{Prompt: endless}})))
	if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("a deadline while it waits: %v", err)
	}
	b.goesOn(t)
	b.cancel()
	c.cancel()
	s.active("slow@1", 0)
	for name, l := range map[string]*long{"a": a, "b": b, "c": c, "d": d} {
		if err := <-l.ended; connect.CodeOf(err) != connect.CodeCanceled && !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended with %v", name, err)
		}
	}

	// The OpenAI API frees places too.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/v1/completions", strings.NewReader(`{"model": "slow", "prompt": "`+endless+`", "max_tokens": 16000, "stream": true}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.ask.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	s.active("slow@1", 1)
	res.Body.Close()
	s.active("slow@1", 0)
	whole, end := context.WithCancel(t.Context())
	defer end()
	if req, err = http.NewRequestWithContext(whole, http.MethodPost, s.URL()+"/v1/completions", strings.NewReader(`{"model": "slow", "prompt": "`+endless+`", "max_tokens": 16000}`)); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		res, err := s.ask.HTTP.Do(req)
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	s.active("slow@1", 1)
	end()
	s.active("slow@1", 0)
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
