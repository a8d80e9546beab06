package gateway

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/internal/live"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// sampling is a text whose model samples by default.
func sampling() *text {
	return &text{manifest: &model.Manifest{Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}, Tasks: []model.Task{model.Generate},
		Config: model.Config{Vocab: 100, Positions: 64}}}
}

// What a request leaves open is the model's default; what it says replaces that and nothing else.
func TestOpenAIParameters(t *testing.T) {
	for body, want := range map[string]Ask{
		`{}`:                                   {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}},
		`{"temperature": 0}`:                   {Sampling: model.Sampling{TopK: 50, TopP: 0.9}},
		`{"temperature": null, "top_p": null}`: {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}},
		`{"top_p": 0}`:                         {Sampling: model.Sampling{Temperature: 0.7, TopK: 1, TopP: 1}},
		`{"top_p": 1, "top_k": 0}`:             {Sampling: model.Sampling{Temperature: 0.7, TopP: 1}},
		`{"max_tokens": 5}`:                    {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}, MaxTokens: 5},
		`{"max_tokens": 5, "max_completion_tokens": 7}`: {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}, MaxTokens: 7},
		`{"stop": "a"}`: {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}, Stops: []string{"a"}},
		`{"stop": ["a", "b"], "n": 1, "tools": [], "logit_bias": {}}`:    {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}, Stops: []string{"a", "b"}},
		`{"stop": null, "seed": 3, "response_format": {"type": "text"}}`: {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9, Seed: 3}},
		`{"seed": -1}`: {Sampling: model.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9, Seed: math.MaxUint64}},
	} {
		var p params
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatal(err)
		}
		got, n, err := p.ask(sampling(), 8)
		if p.Seed == nil {
			got.Sampling.Seed = 0 // a fresh one
		}
		if err != nil || n != 1 || got.Sampling != want.Sampling || got.MaxTokens != want.MaxTokens || !slices.Equal(got.Stops, want.Stops) {
			t.Errorf("%s: %+v, %d, %v, want %+v", body, got, n, err, want)
		}
	}
}

func TestConnectParameters(t *testing.T) {
	zero, k, seed, most := 0.0, int32(3), uint64(9), int32(12)
	got, err := sampling().ask(&inferencev1.Sampling{Temperature: &zero, TopK: &k, Seed: &seed, MaxTokens: &most, TopLogprobs: 2, Stop: []string{"x"}})
	want := model.Sampling{TopK: 3, TopP: 0.9, Seed: 9, Logprobs: true, TopLogprobs: 2}
	if err != nil || got.Sampling != want || got.MaxTokens != 12 || !slices.Equal(got.Stops, []string{"x"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = sampling().ask(nil); err != nil || got.MaxTokens != 0 || got.Sampling.Temperature != 0.7 {
		t.Errorf("nothing said: %+v, %v", got, err)
	}
	if a, b := freshSeed(nil), freshSeed(nil); a == b {
		t.Error("two requests without a seed have the same")
	}
}

// max_tokens is what there is room for at most; what never fits is refused.
func TestRoom(t *testing.T) {
	s := &Server{cfg: Config{}.withDefaults(), live: live.New()}
	x := sampling() // a context of 64
	for _, c := range []struct{ prompt, most, want int }{
		{1, 0, 63}, {63, 0, 1}, {10, 5, 5}, {10, 54, 54}, {10, 55, 54}, {10, 64, 54}, {10, 65, -1}, {10, 1_000_000_000, -1}, {64, 1, -1}, {65, 0, -1}, {0, 1, -1},
	} {
		a := Ask{Tokens: make([]int32, c.prompt), MaxTokens: c.most}
		if err := s.check(x, &a); (err == nil) != (c.want > 0) || err == nil && a.MaxTokens != c.want {
			t.Errorf("prompt of %d, max_tokens %d: %d, %v, want %d", c.prompt, c.most, a.MaxTokens, err, c.want)
		}
	}
}

// However an answer ends, every piece of text comes out once, and a stop string that is completed by the last token, or by what the
// decoder held back, ends it.
func TestWriter(t *testing.T) {
	x := fixture(t, "gpt2")
	e, err := x.tokenizer.Encode("the end 😀", token.EncodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	half := e.IDs[:len(e.IDs)-1] // the last character is incomplete: it comes out when the text ends, as U+FFFD
	for _, c := range []struct {
		ids    []int32
		stops  []string
		want   string
		finish Finish
	}{
		{e.IDs, nil, "the end 😀", FinishLength},
		{e.IDs, []string{"😀"}, "the end ", FinishStop},
		{e.IDs, []string{"😀!"}, "the end 😀", FinishLength},
		{half, nil, "the end \ufffd", FinishLength},
		{half, []string{"d \ufffd"}, "the en", FinishStop},
		{e.IDs, []string{"t"}, "", FinishStop},
	} {
		var got string
		var finish Finish
		w := &writer{decoder: x.decoder(), stop: stopper{stops: c.stops}, send: func(p Piece) error {
			got += p.Text
			finish = p.Finish
			return nil
		}}
		for _, id := range c.ids {
			if err = w.take(sample.Choice{Token: id}); err != nil {
				break
			}
		}
		if err := w.finish(err, FinishLength); err != nil || got != c.want || finish != c.finish {
			t.Errorf("%v with stops %q: %q (%s), %v, want %q (%s)", c.ids, c.stops, got, finish, err, c.want, c.finish)
		}
	}
}

// A body is one JSON value in UTF-8.
func TestRead(t *testing.T) {
	for body, field := range map[string]string{
		`{"temperature": "x"}`: "temperature", `{"stream_options": {"include_usage": 1}}`: "stream_options.include_usage", `{"messages": [{"role": 1}]}`: "messages.role",
		"{\"model\": \"\xc3\"}": "", `{} {}`: "", ``: "", `null x`: "", strings.Repeat("[", 20_000): "",
	} {
		var req chatRequest
		err := read(httptest.NewRequest("POST", "/", strings.NewReader(body)), &req)
		if err == nil || explain(err).Fault != FaultInvalid || explain(err).Param != field {
			t.Errorf("%.40q: %+v, want the field %q", body, explain(err), field)
		}
	}
	var req chatRequest
	if err := read(httptest.NewRequest("POST", "/", strings.NewReader(`{"model": "m", "new": {"a": [1]}} `)), &req); err != nil || req.Model != "m" {
		t.Errorf("%+v, %v", req, err)
	}
}

// A conversation names every model that answered in it, once.
func TestHistoryNamesItsModels(t *testing.T) {
	var h history
	for _, model := range []string{"a", "b", "a"} {
		h.models = h.with(model)
	}
	if !slices.Equal(h.models, []string{"a", "b"}) {
		t.Errorf("%v", h.models)
	}
}
