package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"connectrpc.com/connect"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	inferencev1 "github.com/skein-project/skein/api/skein/inference/v1"
	"github.com/skein-project/skein/internal/devfleet"
	"github.com/skein-project/skein/spans"
)

// tasks is tasks.json and answers.json of a fixture, as the scripts that make them describe them.
type tasks struct {
	Vectors []struct {
		Text                    string
		IDs                     []int32
		Hidden, Mean, CLS, Last floats
	}
	Labels []struct {
		Text                              string
		None, Simple, First, Average, Max []spanWanted
	}
	Windows []struct {
		Text                        string
		Simple, First, Average, Max []spanWanted
	}
	Masks []struct {
		Text string
		Top  [][]struct {
			ID             int32
			Text, Sequence string
			Score          float32
		}
	}
	Rankings []struct {
		Query     string
		Documents []string
		Scores    []float32
	}
	Pairs []struct {
		Text, Pair string
		Scores     map[string]float32
	}
	Questions []struct {
		Question, Context string
		Best, Window      int32
		Overlap           *int32
		Most              int32 `json:"max_answer_tokens"`
		Split             bool  `json:"split_words"`
		Answers           []spanWanted
		None              float32
	}
}

// spanWanted has offsets in characters.
type spanWanted struct {
	Start, End  int
	Text, Label string
	Score       float32
}

func tasksOf(t *testing.T, name string) (out tasks) {
	t.Helper()
	for _, file := range []string{"tasks.json", "answers.json"} {
		b, err := os.ReadFile(filepath.Join(root(t), "testdata", "models", name, file))
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, &out)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Every task of encoders, asked of a real fleet through its gateway, answers what the pipelines of transformers do.
func TestTasks(t *testing.T) {
	offers := map[string]offer{}
	for _, name := range []string{"bert-answer", "bert-classify", "bert-embed", "bert-fill", "bert-rank", "bert-spans", "bert-tokens", "distilbert-classify", "electra-classify",
		"gpt2", "llama", "qwen2", "roberta-answer", "roberta-classify", "roberta-fill"} {
		context := int32(128)
		if name == "gpt2" || name == "llama" || name == "qwen2" {
			context = 256
		}
		offers[name] = offer{dir: fixture(name), slots: 2, context: context, whole: strings.HasPrefix(name, "roberta")}
	}
	offers["segment"] = offer{dir: filepath.Join("examples", "segment"), slots: 1, context: 128}
	for name, formats := range asGraphs {
		for format, dir := range formats {
			offers[name+"-"+format] = offer{dir: dir, slots: 1, context: 128, whole: true}
		}
	}
	s := serving(t, devfleet.Config{Coordinators: 1, Devices: []string{"host:2GiB"}}, offers)
	for name, test := range map[string]func(*testing.T, *stage){
		"labels": labels, "windows of labels": windowsOfLabels, "masks": masks, "answers": answers, "rankings": rankings, "pairs": pairs, "vectors": vectors, "vectors of tokens": tokenVectors, "refusals": refusedTasks,
		"limits": limitedTasks, "segmentation": segmentation,
	} {
		t.Run(name, func(t *testing.T) { sub := *s; sub.t = t; test(t, &sub) })
	}
}

// asGraphs are the fixtures that are there as graphs too, with the same weights.
var asGraphs = map[string]map[string]string{
	"bert-answer":    {"onnx": foreignDir("bert-answer"), "saved": savedDir("bert_answer")},
	"bert-fill":      {"onnx": foreignDir("bert-fill"), "saved": savedDir("bert_fill")},
	"bert-rank":      {"onnx": foreignDir("bert-rank")},
	"bert-spans":     {"onnx": foreignDir("bert-spans"), "saved": savedDir("bert_spans")},
	"roberta-answer": {"onnx": foreignDir("roberta-answer")},
}

// savedDir is a folder of the SavedModels.
func savedDir(name string) string {
	return filepath.Join("convert", "savedmodel", "testdata", "models", name)
}

// asked lists the models that have the weights of a fixture.
func asked(fixture string) []string {
	out := []string{fixture}
	for format := range asGraphs[fixture] {
		out = append(out, fixture+"-"+format)
	}
	slices.Sort(out)
	return out
}

// place turns characters into a unit.
func place(text string, characters int, unit inferencev1.OffsetUnit) int32 {
	before := string([]rune(text)[:characters])
	switch unit {
	case inferencev1.OffsetUnit_OFFSET_UNIT_BYTE:
		return int32(len(before))
	case inferencev1.OffsetUnit_OFFSET_UNIT_UTF16:
		return int32(len(utf16.Encode([]rune(before))))
	}
	return int32(characters)
}

func part(text string, from, to int) string { return string([]rune(text)[from:to]) }

func close32(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-4 }

func labels(t *testing.T, s *stage) {
	for _, name := range append(asked("bert-spans"), "bert-tokens") {
		for _, w := range tasksOf(t, fixtureOf(name)).Labels {
			for how, want := range map[inferencev1.Aggregation][]spanWanted{
				inferencev1.Aggregation_AGGREGATION_UNSPECIFIED: w.Simple, inferencev1.Aggregation_AGGREGATION_NONE: w.None, inferencev1.Aggregation_AGGREGATION_SIMPLE: w.Simple,
				inferencev1.Aggregation_AGGREGATION_FIRST: w.First, inferencev1.Aggregation_AGGREGATION_AVERAGE: w.Average, inferencev1.Aggregation_AGGREGATION_MAX: w.Max,
			} {
				for unit := range inferencev1.OffsetUnit_name {
					unit := inferencev1.OffsetUnit(unit)
					res, err := s.ask.Inference.LabelTokens(t.Context(), connect.NewRequest(&inferencev1.LabelTokensRequest{Model: name, Texts: []string{"disk", w.Text}, Aggregation: how, Offsets: unit}))
					if err != nil {
						t.Fatal(err)
					}
					got := res.Msg.Results[1].Spans
					if len(got) != len(want) || len(want) == 0 || res.Msg.Usage.PromptTokens == 0 || res.Msg.ModelVersion != name+"@1" {
						t.Errorf("%s: %q by %v: %d spans, want %d: %v", name, w.Text, how, len(got), len(want), res.Msg)
						continue
					}
					for i, x := range want {
						if g := got[i]; g.Start != place(w.Text, x.Start, unit) || g.End != place(w.Text, x.End, unit) || g.Text != part(w.Text, x.Start, x.End) || g.Label != x.Label || !close32(g.Score, x.Score) {
							t.Errorf("%s: %q by %v in %v: %v, want %+v", name, w.Text, how, unit, g, x)
						}
					}
				}
			}
		}
	}
}

// fixtureOf is the fixture whose weights a model has.
func fixtureOf(model string) string {
	return strings.TrimSuffix(strings.TrimSuffix(model, "-onnx"), "-saved")
}

// A text that is longer than the context is labelled as the pipeline of transformers does with a stride, in all formats; every token of every
// window counts.
func windowsOfLabels(t *testing.T, s *stage) {
	for _, name := range asked("bert-spans") {
		for _, w := range tasksOf(t, "bert-spans").Windows {
			ask := func(how inferencev1.Aggregation, outside bool) *inferencev1.LabelTokensResponse {
				res, err := s.ask.Inference.LabelTokens(t.Context(), connect.NewRequest(&inferencev1.LabelTokensRequest{Model: name, Texts: []string{w.Text}, Aggregation: how, Outside: outside}))
				if err != nil {
					t.Fatal(err)
				}
				return res.Msg
			}
			for how, want := range map[inferencev1.Aggregation][]spanWanted{inferencev1.Aggregation_AGGREGATION_SIMPLE: w.Simple, inferencev1.Aggregation_AGGREGATION_FIRST: w.First,
				inferencev1.Aggregation_AGGREGATION_AVERAGE: w.Average, inferencev1.Aggregation_AGGREGATION_MAX: w.Max} {
				got := ask(how, false).Results[0].Spans
				if len(got) != len(want) || len(want) == 0 {
					t.Errorf("%s by %v: %d spans, want %d", name, how, len(got), len(want))
					continue
				}
				for i, x := range want {
					if g := got[i]; int(g.Start) != x.Start || int(g.End) != x.End || g.Label != x.Label || !close32(g.Score, x.Score) {
						t.Errorf("%s by %v: span %d is %v, want %+v", name, how, i, g, x)
					}
				}
			}
			every := ask(inferencev1.Aggregation_AGGREGATION_NONE, true)
			const room, template = 126, 2
			tokens := 0
			for _, r := range spans.Windows(len(every.Results[0].Spans), room, room/2) {
				tokens += r[1] - r[0] + template
			}
			if n := len(every.Results[0].Spans); n < 2*room || int(every.Usage.PromptTokens) != tokens {
				t.Errorf("%s: %d tokens are labelled and %d counted, want %d", name, n, every.Usage.PromptTokens, tokens)
			}
		}
	}
}

func masks(t *testing.T, s *stage) {
	for _, name := range append(asked("bert-fill"), "roberta-fill") {
		for _, w := range tasksOf(t, fixtureOf(name)).Masks {
			res, err := s.ask.Inference.FillMask(t.Context(), connect.NewRequest(&inferencev1.FillMaskRequest{Model: name, Texts: []string{w.Text}, Top: 7}))
			if err != nil {
				t.Fatal(err)
			}
			got := res.Msg.Results[0].Masks
			if len(got) != len(w.Top) {
				t.Fatalf("%s: %q: %d masks, want %d", name, w.Text, len(got), len(w.Top))
			}
			for i, top := range w.Top {
				for j, x := range top {
					// With several masks the library shows the special tokens of the template too.
					sequence := x.Sequence
					if len(w.Top) > 1 {
						sequence = strings.TrimSuffix(strings.TrimPrefix(sequence, "[CLS] "), " [SEP]")
						sequence = strings.TrimSuffix(strings.TrimPrefix(sequence, "<s>"), "</s>")
					}
					g := got[i].Fills[j]
					if g.Id != x.ID || g.Text != x.Text || !close32(g.Score, x.Score) || strings.TrimSpace(g.Sequence) != strings.TrimSpace(sequence) {
						t.Errorf("%s: %q: %q, want %+v (%q)", name, w.Text, g, x, sequence)
					}
				}
			}
		}
	}
}

func answers(t *testing.T, s *stage) {
	for _, name := range append(asked("bert-answer"), asked("roberta-answer")...) {
		for _, w := range tasksOf(t, fixtureOf(name)).Questions {
			for unit := range inferencev1.OffsetUnit_name {
				unit := inferencev1.OffsetUnit(unit)
				res, err := s.ask.Inference.Answer(t.Context(), connect.NewRequest(&inferencev1.AnswerRequest{Model: name, Question: w.Question, Context: w.Context, Best: w.Best,
					MaxAnswerTokens: w.Most, Window: w.Window, Overlap: w.Overlap, SplitWords: w.Split, Offsets: unit}))
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Msg.Answers) != len(w.Answers) || !close32(res.Msg.NoAnswerScore, w.None) {
					t.Errorf("%s: %q: %v, want %v and %v", name, w.Question, res.Msg, w.Answers, w.None)
					continue
				}
				for i, x := range w.Answers {
					g := res.Msg.Answers[i]
					if g.Start != place(w.Context, x.Start, unit) || g.End != place(w.Context, x.End, unit) || g.Text != x.Text || !close32(g.Score, x.Score) {
						t.Errorf("%s: %q: answer %d is %v, want %+v", name, w.Question, i, g, x)
					}
				}
			}
		}
	}
}

func rankings(t *testing.T, s *stage) {
	type answer struct {
		ID, Model string
		Usage     struct {
			Total int `json:"total_tokens"`
		}
		Results []struct {
			Index    int
			Score    float32 `json:"relevance_score"`
			Document *struct{ Text string }
		}
	}
	for _, w := range tasksOf(t, "bert-rank").Rankings {
		order := make([]int, len(w.Scores))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(math.Copysign(1, float64(w.Scores[b]-w.Scores[a]))) })
		for _, name := range asked("bert-rank") {
			res, err := s.ask.Inference.Rerank(t.Context(), connect.NewRequest(&inferencev1.RerankRequest{Model: name, Query: w.Query, Documents: w.Documents}))
			if err != nil {
				t.Fatal(err)
			}
			for i, g := range res.Msg.Results {
				if int(g.Index) != order[i] || !close32(g.Score, w.Scores[order[i]]) {
					t.Errorf("%s: %q: place %d is %v, want document %d with %v", name, w.Query, i, g, order[i], w.Scores[order[i]])
				}
			}
		}
		for _, path := range []string{"/v1/rerank", "/v2/rerank"} {
			var a answer
			s.send(http.MethodPost, path, map[string]any{"model": "bert-rank", "query": w.Query, "documents": w.Documents, "top_n": 2}).ok(t, &a)
			if len(a.Results) != 2 || a.ID == "" || a.Model != "bert-rank" || a.Usage.Total == 0 || a.Results[0].Index != order[0] || a.Results[1].Index != order[1] ||
				a.Results[0].Document == nil || a.Results[0].Document.Text != w.Documents[order[0]] || !close32(a.Results[0].Score, w.Scores[order[0]]) {
				t.Errorf("%s: %q: %+v", path, w.Query, a)
			}
		}
		var objects []map[string]string
		for _, d := range w.Documents {
			objects = append(objects, map[string]string{"text": d})
		}
		var a answer
		s.send(http.MethodPost, "/v1/rerank", map[string]any{"model": "bert-rank", "query": w.Query, "documents": objects, "return_documents": false}).ok(t, &a)
		if len(a.Results) != len(objects) || a.Results[0].Document != nil || a.Results[0].Index != order[0] {
			t.Errorf("documents as objects: %+v", a)
		}
	}
	long := strings.Repeat("node ", 400)
	r := s.send(http.MethodPost, "/v1/rerank", map[string]any{"model": "bert-rank", "query": "room?", "documents": []string{long}})
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "context_length_exceeded") {
		t.Errorf("a document over the context: %d %s", r.status, r.body)
	}
	var a answer
	s.send(http.MethodPost, "/v1/rerank", map[string]any{"model": "bert-rank", "query": "room?", "documents": []string{long}, "max_tokens_per_doc": 50}).ok(t, &a)
	for name, body := range map[string]string{"no query": `{"model": "bert-rank", "documents": ["a"]}`, "no documents": `{"model": "bert-rank", "query": "a", "documents": []}`,
		"an image": `{"model": "bert-rank", "query": "a", "documents": [{"image": "b"}]}`, "null": `{"model": "bert-rank", "query": "a", "documents": [null]}`,
		"top 0": `{"model": "bert-rank", "query": "a", "documents": ["a"], "top_n": 0}`, "cut to −1": `{"model": "bert-rank", "query": "a", "documents": ["a"], "max_tokens_per_doc": -1}`,
		"another model": `{"model": "bert-classify", "query": "a", "documents": ["a"]}`} {
		if r := s.send(http.MethodPost, "/v1/rerank", body); r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "invalid_request_error") {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}

func pairs(t *testing.T, s *stage) {
	for _, name := range []string{"bert-classify", "distilbert-classify", "electra-classify", "roberta-classify"} {
		for _, w := range tasksOf(t, name).Pairs {
			res, err := s.ask.Inference.Classify(t.Context(), connect.NewRequest(&inferencev1.ClassifyRequest{Model: name, Inputs: []*inferencev1.ClassifyInput{{Text: w.Text, Pair: w.Pair}}}))
			if err != nil {
				t.Fatal(err)
			}
			got := res.Msg.Results[0].Labels
			for _, l := range got {
				if want, ok := w.Scores[l.Name]; !ok || !close32(l.Score, want) {
					t.Errorf("%s: %q and %q: %v, want %v", name, w.Text, w.Pair, got, w.Scores)
				}
			}
		}
	}
}

func unit(v []float32) []float32 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	out := slices.Clone(v)
	for i := range out {
		out[i] = float32(float64(out[i]) / math.Sqrt(sum))
	}
	return out
}

func vectors(t *testing.T, s *stage) {
	yes, no := true, false
	for _, name := range []string{"gpt2", "llama", "qwen2"} {
		var texts []string
		want := tasksOf(t, name).Vectors
		for _, w := range want {
			texts = append(texts, w.Text)
		}
		for how, of := range map[string]func(i int) []float32{
			"": func(i int) []float32 { return want[i].Mean }, "mean": func(i int) []float32 { return want[i].Mean },
			"cls": func(i int) []float32 { return want[i].CLS }, "last": func(i int) []float32 { return want[i].Last },
		} {
			for _, normalize := range []*bool{nil, &yes, &no} {
				number := inferencev1.Pooling_value["POOLING_"+strings.ToUpper(how)]
				res, err := s.ask.Inference.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: name, Texts: texts, Pooling: inferencev1.Pooling(number), Normalize: normalize}))
				if err != nil {
					t.Fatal(err)
				}
				body := map[string]any{"model": name, "input": texts}
				if how != "" {
					body["pooling"] = how
				}
				if normalize != nil {
					body["normalize"] = *normalize
				}
				var open struct {
					Data []struct{ Embedding []float32 }
				}
				s.send(http.MethodPost, "/v1/embeddings", body).ok(t, &open)
				for i := range want {
					v := of(i)
					if normalize == &yes {
						v = unit(v)
					}
					what := fmt.Sprintf("%s: vector %q of %q", name, how, texts[i])
					near(t, what, res.Msg.Vectors[i].Values, v)
					near(t, what+" over HTTP", open.Data[i].Embedding, v)
				}
			}
		}
	}
	// An encoder that declares how, asked for another way, and one with another head.
	ref := referenceOf(t, "bert-embed").Inputs[0]
	res, err := s.ask.Inference.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "bert-embed", Texts: []string{ref.Text}, Pooling: inferencev1.Pooling_POOLING_CLS}))
	if err != nil {
		t.Fatal(err)
	}
	width := len(ref.Vector)
	near(t, "first token of an encoder", res.Msg.Vectors[0].Values, ref.Hidden[:width])
	if res, err = s.ask.Inference.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "bert-embed", Texts: []string{ref.Text}, Normalize: &yes})); err != nil {
		t.Fatal(err)
	}
	near(t, "as declared", res.Msg.Vectors[0].Values, ref.Vector)
	ref = referenceOf(t, "bert-classify").Inputs[0]
	if res, err = s.ask.Inference.Embed(t.Context(), connect.NewRequest(&inferencev1.EmbedRequest{Model: "bert-classify", Texts: []string{ref.Text}, Pooling: inferencev1.Pooling_POOLING_LAST})); err != nil {
		t.Fatal(err)
	}
	near(t, "last token of a classifier", res.Msg.Vectors[0].Values, ref.Hidden[len(ref.Hidden)-width:])
}

func tokenVectors(t *testing.T, s *stage) {
	ask := func(model, text string) []*inferencev1.TokenVector {
		res, err := s.ask.Inference.EmbedTokens(t.Context(), connect.NewRequest(&inferencev1.EmbedTokensRequest{Model: model, Texts: []string{text}, Offsets: inferencev1.OffsetUnit_OFFSET_UNIT_BYTE}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Results[0].Tokens
	}
	check := func(text string, got []*inferencev1.TokenVector, ids []int32, hidden []float32) {
		if len(got) != len(ids) {
			t.Fatalf("%q: %d tokens, want %d", text, len(got), len(ids))
		}
		var all []float32
		for i, v := range got {
			all = append(all, v.Values...)
			if v.Id != ids[i] || int(v.End) > len(text) || v.Start > v.End {
				t.Errorf("%q: token %d is %d at %d to %d, want %d", text, i, v.Id, v.Start, v.End, ids[i])
			}
		}
		near(t, "token vectors of "+text, all, hidden)
	}
	for _, in := range referenceOf(t, "bert-embed").Inputs {
		if in.Pair == "" {
			check(in.Text, ask("bert-embed", in.Text), in.IDs, in.Hidden)
		}
	}
	for _, w := range tasksOf(t, "gpt2").Vectors {
		check(w.Text, ask("gpt2", w.Text), w.IDs, w.Hidden)
	}
}

// What a model cannot do, and what makes no sense, is refused with words that say so.
func refusedTasks(t *testing.T, s *stage) {
	c, ctx := s.ask.Inference, t.Context()
	zero, wide := int32(0), int32(90)
	for name, call := range map[string]func() error{
		"does not label tokens": func() error {
			_, err := c.LabelTokens(ctx, connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "gpt2", Texts: []string{"a"}}))
			return err
		},
		"fills no masks": func() error {
			_, err := c.FillMask(ctx, connect.NewRequest(&inferencev1.FillMaskRequest{Model: "bert-embed", Texts: []string{"[MASK]"}}))
			return err
		},
		"does not answer questions": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-embed", Question: "a", Context: "b"}))
			return err
		},
		"does not rank": func() error {
			_, err := c.Rerank(ctx, connect.NewRequest(&inferencev1.RerankRequest{Model: "bert-classify", Query: "a", Documents: []string{"b"}}))
			return err
		},
		"text 1 has 0 masks": func() error {
			_, err := c.FillMask(ctx, connect.NewRequest(&inferencev1.FillMaskRequest{Model: "bert-fill", Texts: []string{"[MASK]", "[SEP]"}}))
			return err
		},
		"text 0 has 33 masks": func() error {
			_, err := c.FillMask(ctx, connect.NewRequest(&inferencev1.FillMaskRequest{Model: "bert-fill", Texts: []string{strings.Repeat("[MASK]", 33)}}))
			return err
		},
		"top is 21": func() error {
			_, err := c.FillMask(ctx, connect.NewRequest(&inferencev1.FillMaskRequest{Model: "bert-fill", Texts: []string{"[MASK]"}, Top: 21}))
			return err
		},
		"best is 21": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: "a", Context: "b", Best: 21}))
			return err
		},
		"window is 129": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: "a", Context: "b", Window: 129}))
			return err
		},
		"overlap is 90": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: "a", Context: "b", Overlap: &wide}))
			return err
		},
		"the question or the context is empty": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: "a", Context: " "}))
			return err
		},
		"windows long": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: "a", Context: strings.Repeat("a ", 9000), Window: 8, Overlap: &zero}))
			return err
		},
		"leaves": func() error {
			_, err := c.Answer(ctx, connect.NewRequest(&inferencev1.AnswerRequest{Model: "bert-answer", Question: strings.Repeat("disk ", 60), Context: "b"}))
			return err
		},
		"pooling 9 is not known": func() error {
			_, err := c.Embed(ctx, connect.NewRequest(&inferencev1.EmbedRequest{Model: "gpt2", Texts: []string{"a"}, Pooling: 9}))
			return err
		},
		"offsets -1 is not known": func() error {
			_, err := c.LabelTokens(ctx, connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "bert-spans", Texts: []string{"a"}, Offsets: -1}))
			return err
		},
		"aggregation 6 is not known": func() error {
			_, err := c.LabelTokens(ctx, connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "bert-spans", Texts: []string{"a"}, Aggregation: 6}))
			return err
		},
		"0 inputs": func() error {
			_, err := c.LabelTokens(ctx, connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "bert-spans"}))
			return err
		},
		"and the context is 128": func() error {
			_, err := c.Classify(ctx, connect.NewRequest(&inferencev1.ClassifyRequest{Model: "bert-classify", Inputs: []*inferencev1.ClassifyInput{{Text: strings.Repeat("a ", 127)}}}))
			return err
		},
		"windows, at most 256 are read at once": func() error {
			_, err := c.LabelTokens(ctx, connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "bert-spans", Texts: append(slices.Repeat([]string{"a"}, 255), strings.Repeat("a ", 127))}))
			return err
		},
		"and the context is 256": func() error {
			_, err := c.Embed(ctx, connect.NewRequest(&inferencev1.EmbedRequest{Model: "gpt2", Texts: []string{strings.Repeat("a ", 300)}}))
			return err
		},
	} {
		if err := call(); connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if r := s.send(http.MethodPost, "/v1/embeddings", `{"model": "gpt2", "input": "a", "pooling": "max"}`); r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "pooling") {
		t.Errorf("an unknown pooling: %d %s", r.status, r.body)
	}
	for _, path := range []string{"/v1/rerank", "/v2/rerank", "/skein.inference.v1.InferenceService/Answer"} {
		if r := s.sendAs("", http.MethodPost, path, "{}", nil); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d %s", path, r.status, r.body)
		}
	}
}

// What a business system may spend in a minute bounds every task, by tokens.
func limitedTasks(t *testing.T, s *stage) {
	key := s.tenant("frugal")
	if _, err := s.admin.Tenants.SetLimits(t.Context(), connect.NewRequest(&adminv1.SetLimitsRequest{Subject: "tenant/frugal",
		Limits: []*adminv1.Limit{{Meter: "tokens", Window: "day", Amount: 1}}})); err != nil {
		t.Fatal(err)
	}
	const service = "/skein.inference.v1.InferenceService/"
	for path, body := range map[string]string{
		service + "LabelTokens": `{"model": "bert-spans", "texts": ["disk"]}`, service + "FillMask": `{"model": "bert-fill", "texts": ["[MASK]"]}`,
		service + "Answer": `{"model": "bert-answer", "question": "a", "context": "b"}`, service + "Rerank": `{"model": "bert-rank", "query": "a", "documents": ["b"]}`,
		service + "EmbedTokens": `{"model": "gpt2", "texts": ["a b"]}`, service + "Embed": `{"model": "gpt2", "texts": ["a b"], "pooling": "POOLING_LAST"}`,
		"/v1/rerank": `{"model": "bert-rank", "query": "a", "documents": ["b"]}`, "/v2/rerank": `{"model": "bert-rank", "query": "a", "documents": ["b"]}`,
	} {
		s.until(path+" is limited", func(context.Context) error {
			if r := s.sendAs("Bearer "+key, http.MethodPost, path, body, nil); r.status != http.StatusTooManyRequests {
				return fmt.Errorf("%d %s", r.status, r.body)
			}
			return nil
		})
	}
}

// A small model that was trained for it cuts Chinese sentences, which it has never seen, into words.
func segmentation(t *testing.T, s *stage) {
	b, err := os.ReadFile(filepath.Join(root(t), "examples", "segment", "heldout.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	var want [][]string
	for line := range strings.Lines(string(b)) {
		var q struct {
			Text  string
			Words []string
		}
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			t.Fatal(err)
		}
		texts, want = append(texts, q.Text), append(want, q.Words)
	}
	const batch = 100
	right := 0
	for from := 0; from < len(texts); from += batch {
		to := min(from+batch, len(texts))
		res, err := s.ask.Inference.LabelTokens(t.Context(), connect.NewRequest(&inferencev1.LabelTokensRequest{Model: "segment", Texts: texts[from:to]}))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range res.Msg.Results {
			var words []string
			for _, w := range r.Spans {
				words = append(words, w.Text)
			}
			if slices.Equal(words, want[from+i]) {
				right++
			}
		}
	}
	if len(texts) < 300 || right*100 < 95*len(texts) {
		t.Errorf("%d of %d sentences are right", right, len(texts))
	}
}
