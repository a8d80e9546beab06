package engine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/token"
)

// Fixtures of tools/py/make_task_fixtures.py: encoders of several families with heads.
var headed = []string{"bert-answer", "bert-fill", "bert-rank", "bert-spans", "distilbert-classify", "distilbert-fill", "electra-classify", "roberta-answer",
	"roberta-classify", "roberta-fill"}

// TestHeads: the tokenizer, the hidden states and what each head says are those of the reference implementation, also where the model is cut.
func TestHeads(t *testing.T) {
	for _, name := range headed {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			f := open(t, name)
			p, cut := f.cut(t, encoding), f.cut(t, encoding, 1)
			for _, in := range f.Inputs {
				f.spells(t, in.Text, in.Pair, in.IDs)
				r := row{in.IDs, in.TypeIDs}
				got := p.fill(t, len(in.IDs), 0, in.Masks, r)
				if d := far(got.Hidden, in.Hidden); d > tolerance {
					t.Errorf("%q: hidden states differ by %g", in.Text, d)
				}
				said := got.Logits
				if len(in.Masks) > 0 {
					said = got.Masks
				}
				if d := far(said, in.Logits); d > tolerance {
					t.Errorf("%q: logits differ by %g", in.Text, d)
				}
				apart := cut.fill(t, len(in.IDs), 0, in.Masks, r)
				if !same(apart.Hidden, got.Hidden) || !same(apart.Logits, got.Logits) || !same(apart.Masks, got.Masks) {
					t.Errorf("%q: cut in two it says something else", in.Text)
				}
			}
		})
	}
}

// spells checks the ids of a text or of a pair, masks read.
func (f fixture) spells(t *testing.T, text, pair string, want []int32) {
	t.Helper()
	special := token.EncodeOptions{AddSpecial: true, ParseSpecial: true}
	e, err := f.tokenizer.Encode(text, special)
	if pair != "" {
		e, err = f.tokenizer.EncodePair(text, pair, special)
	}
	if err != nil || !slices.Equal(e.IDs, want) {
		t.Errorf("%q and %q are %v, want %v: %v", text, pair, e.IDs, want, err)
	}
}

// TestMasksInABatch: masks of several rows are those of the rows alone, and a batch refuses what it cannot fill.
func TestMasksInABatch(t *testing.T) {
	runtimeOf(t)
	f := open(t, "bert-fill")
	s := f.load(t, f.whole(), encoding)
	long, short := f.Inputs[0], f.Inputs[2]
	n := len(long.IDs)
	batch := pipeline{s}.encode(t, n, 9, row{long.IDs, long.TypeIDs}, row{short.IDs, short.TypeIDs})
	if len(batch.Masks) != 0 {
		t.Error("masks are filled that nobody asked for")
	}
	batch = pipeline{s}.fill(t, n, 9, []int{long.Masks[0], n + short.Masks[0]}, row{long.IDs, long.TypeIDs}, row{short.IDs, short.TypeIDs})
	if d := far(batch.Masks, slices.Concat(long.Logits, short.Logits)); d > tolerance {
		t.Errorf("in a batch masks differ by %g", d)
	}
	for name, masks := range map[string][]int{"below": {-1}, "behind": {n}, "too many": make([]int, model.MaxMasks+1)} {
		if _, err := s.Encode(engine.EncodeBatch{Rows: 1, Length: n, Mask: slices.Repeat([]int32{1}, n), Masks: masks}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	other := open(t, "bert-rank")
	if _, err := other.load(t, other.whole(), encoding).Encode(engine.EncodeBatch{Rows: 1, Length: 1, Mask: []int32{1}, Masks: []int{0}}); err == nil {
		t.Error("a model without such a head fills masks")
	}
}

// TestStates: the hidden states of decoders, whole or in pieces, cut or not, and the vectors made of them, are those of the reference
// implementation; steps that do not ask for them go on as before.
func TestStates(t *testing.T) {
	for _, name := range []string{"gpt2", "gpt2-f16", "llama", "llama3-rope", "mistral", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			f := open(t, name)
			var want struct {
				Vectors []struct {
					Text                    string
					IDs                     []int32
					Hidden, Mean, CLS, Last array
				}
			}
			readJSON(t, filepath.Join("..", "testdata", "models", name, "tasks.json"), &want)
			v := shard.Serving{Slots: 2, Context: f.manifest.Context()}
			whole, cut := f.cut(t, v), f.cut(t, v, 1)
			for _, w := range want.Vectors {
				f.spells(t, w.Text, "", w.IDs)
				got := whole.states(t, w.IDs, shard.Chunk)
				if d := far(got, w.Hidden); d > tolerance {
					t.Errorf("%q: hidden states differ by %g", w.Text, d)
				}
				for _, p := range []pipeline{whole, cut} {
					if pieces := p.states(t, w.IDs, 7); far(pieces, got) > 2e-5 {
						t.Errorf("%q: in pieces hidden states differ by %g", w.Text, far(pieces, got))
					}
				}
				for how, vector := range map[model.Pooling]array{model.PoolMean: w.Mean, model.PoolCLS: w.CLS, model.PoolLast: w.Last} {
					if d := far(engine.Pool(got, f.manifest.Config.Hidden, how, false), vector); d > tolerance {
						t.Errorf("%q: vector %s differs by %g", w.Text, how, d)
					}
				}
			}
			for _, p := range f.Prompts[:1] {
				whole.states(t, p.IDs, 5)
				logits := whole.prefill(t, 1, p.IDs, len(p.IDs))
				if next := argmax(logits[len(logits)-f.manifest.Config.Vocab:]); next != p.Greedy.IDs[0] {
					t.Errorf("after hidden states were asked for, %q goes on with %d, want %d", p.Text, next, p.Greedy.IDs[0])
				}
			}
		})
	}
}

// states runs tokens in pieces for their hidden states.
func (p pipeline) states(t *testing.T, tokens []int32, piece int) (out []float32) {
	t.Helper()
	for past := 0; past < len(tokens); past += piece {
		part := tokens[past:min(past+piece, len(tokens))]
		p.run(t, part, engine.Step{Prefill: true, Past: past, Count: len(part), Hidden: true})
		out = append(out, p[len(p)-1].States()...)
	}
	return out
}

// TestPool: pieces make the same vector as the whole, and a vector of length 1 has length 1.
func TestPool(t *testing.T) {
	hidden := []float32{1, 2, 3, 4, 5, 9}
	for how, want := range map[model.Pooling][]float32{model.PoolCLS: {1, 2}, model.PoolLast: {5, 9}, model.PoolMean: {3, 5}} {
		p := engine.NewPooler(2, how)
		p.Add(hidden[:2])
		p.Add(nil)
		p.Add(hidden[2:])
		if got := p.Vector(false); !slices.Equal(got, want) || p.Tokens() != 3 || !slices.Equal(engine.Pool(hidden, 2, how, false), want) {
			t.Errorf("%s: %v, want %v", how, got, want)
		}
	}
	if got := engine.Pool([]float32{3, 4}, 2, model.PoolCLS, true); far(got, []float32{0.6, 0.8}) > 1e-6 {
		t.Errorf("normalised: %v", got)
	}
	if got := engine.Pool([]float32{0, 0}, 2, model.PoolMean, true); !slices.Equal(got, []float32{0, 0}) {
		t.Errorf("a zero vector normalised: %v", got)
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
