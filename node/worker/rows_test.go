package worker

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine/batch"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/token"
)

// calcRows are rows of a last stage with the tokenizer of examples/calc.
func calcRows(t testing.TB) (r *rows, digits []int32, end int32) {
	t.Helper()
	path := filepath.Join("..", "..", "examples", "calc", "tokenizer.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Load(map[string][]byte{"tokenizer.json": raw})
	if err != nil {
		t.Fatal(err)
	}
	for d := range 10 {
		id, ok := tok.ID(string(rune('0' + d)))
		if !ok {
			t.Fatal("no digits")
		}
		digits = append(digits, id)
	}
	end, _ = tok.ID("<|endoftext|>")
	ref := blob.Ref{Digest: blob.Of(raw).Digest(), Len: int64(len(raw))}
	m := &model.Manifest{Config: model.Config{Arch: model.GPT2, Vocab: tok.VocabSize() + 2}, Files: map[string]blob.Ref{"tokenizer.json": ref}}
	return newRows(m, func(d blob.Digest) (string, error) { return path, nil }, slog.New(slog.DiscardHandler)), digits, end
}

func want(position int, b *sample.Begin) batch.Want {
	return batch.Want{Position: position, Begin: b, Goes: b == nil}
}

// next chooses as a step does that wants one token.
func (r *rows) next(row int, logits []float32, w batch.Want) (sample.Choice, error) {
	return r.choose(row, logits, w, r.prepare([]batch.Want{w})[0])
}

// A state begins and goes on with its row; what another one cannot do is its own affair.
func TestRows(t *testing.T) {
	r, digits, end := calcRows(t)
	logits := make([]float32, r.manifest.Config.Vocab)
	logits[digits[7]], logits[digits[4]], logits[end] = 5, 4, 9
	begin := func(source grammar.Source) *sample.Begin {
		return &sample.Begin{Constraint: &source, EOS: []int32{end}}
	}
	choose := func(row int, w batch.Want) sample.Choice {
		t.Helper()
		c, err := r.next(row, logits, w)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, c := range []struct {
		row  int
		w    batch.Want
		want int32
	}{
		{0, want(3, begin(grammar.Source{Regex: "[47]4"})), digits[7]}, {1, want(9, begin(grammar.Source{Choice: []string{"44"}})), digits[4]},
		{2, batch.Want{Position: 4}, end}, {0, want(4, nil), digits[4]}, {1, want(10, nil), digits[4]}, {0, want(5, nil), end},
		{0, batch.Want{Position: 4}, end}, {1, want(11, nil), end},
	} {
		if got := choose(c.row, c.w); got.Token != c.want || got.Failed != "" {
			t.Fatalf("step %d: %+v, want %d", i, got, c.want)
		}
	}
	if len(r.states) != 0 {
		t.Errorf("%d states, of sequences that are all over", len(r.states))
	}
	if got := choose(3, want(1, begin(grammar.Source{Regex: "("}))); got.Failed == "" {
		t.Errorf("a constraint that is none: %+v", got)
	}
	again := begin(grammar.Source{Choice: []string{"44"}})
	again.Given = []int32{digits[7]}
	if got := choose(3, want(1, again)); got.Failed == "" {
		t.Errorf("an answer that the constraint does not admit: %+v", got)
	}
	if _, err := r.next(3, logits, want(2, nil)); !errors.Is(err, errFrame) {
		t.Errorf("a sequence that goes on from nothing: %v", err)
	}
	for i := range 3 * maxGrammars {
		choose(0, want(1, begin(grammar.Source{Literal: strings.Repeat("4", i+1)})))
	}
	if len(r.grammars) != maxGrammars || len(r.order) != maxGrammars {
		t.Errorf("%d grammars are kept", len(r.grammars))
	}
	if len(r.states) != 1 {
		t.Errorf("%d states of one sequence", len(r.states))
	}
}

// What begins in a step is compiled before it, however much that is, and what is used stays longest.
func TestGrammarsKept(t *testing.T) {
	r, digits, _ := calcRows(t)
	logits := make([]float32, r.manifest.Config.Vocab)
	literal := func(n int) batch.Want {
		return want(1, &sample.Begin{Constraint: &grammar.Source{Literal: strings.Repeat("4", n+1)}})
	}
	often := r.prepare([]batch.Want{literal(0), {}})
	if len(often) != 2 || often[0] == nil || often[1] != nil {
		t.Fatalf("prepared: %+v", often)
	}
	var wants []batch.Want
	for i := range 2 * maxGrammars {
		wants = append(wants, literal(i+1))
		if r.warm(t.Context(), wants[i].Begin); r.prepare([]batch.Want{literal(0)})[0] != often[0] {
			t.Fatalf("forgotten after %d others, though in use", i)
		}
	}
	prepared := r.prepare(wants)
	clear(r.grammars)
	r.order = nil
	for i, w := range wants {
		if c, err := r.choose(i, logits, w, prepared[i]); err != nil || c.Token != digits[4] || c.Failed != "" {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if len(r.grammars) != 0 {
		t.Error("a grammar was compiled in the step")
	}
}

// A worker whose tokenizer cannot be read fails the sequence that needs it, for another one to try; it says nothing of its files.
func TestVocabularyUnread(t *testing.T) {
	good, _, _ := calcRows(t)
	logits := make([]float32, good.manifest.Config.Vocab)
	for name, path := range map[string]string{"none": "no-such-file", "another": "rows_test.go"} {
		r := newRows(good.manifest, func(blob.Digest) (string, error) { return path, nil }, slog.New(slog.DiscardHandler))
		c, err := r.next(0, logits, want(1, &sample.Begin{Constraint: &grammar.Source{Regex: "4"}}))
		if err != nil || c.Failed == "" || !c.Elsewhere || strings.Contains(c.Failed, path) || len(r.states) != 0 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		r.files = good.files
		if c, err := r.next(0, logits, want(1, &sample.Begin{Constraint: &grammar.Source{Regex: "4"}})); err != nil || c.Failed != "" {
			t.Errorf("%s, read another time: %+v, %v", name, c, err)
		}
	}
	if c, err := good.next(0, logits, want(1, &sample.Begin{Constraint: &grammar.Source{Regex: "("}})); err != nil || c.Failed == "" || c.Elsewhere {
		t.Errorf("a constraint that is none: %+v, %v", c, err)
	}
}

// Sequences that nothing steers cost what they cost without any state.
func TestPlainRowsAllocateNothingMore(t *testing.T) {
	r, _, _ := calcRows(t)
	logits := make([]float32, r.manifest.Config.Vocab)
	w := batch.Want{Position: 3, Sampling: model.Sampling{Temperature: 1}}
	plain := testing.AllocsPerRun(100, func() { _, _ = sample.Choose(logits, w.Sampling, w.Position) })
	if n := testing.AllocsPerRun(100, func() { _, _ = r.choose(0, logits, w, nil) }); n != plain {
		t.Errorf("%v allocations, %v without rows", n, plain)
	}
}

// A head whose stages do not all know what begins a sequence does not take it.
func TestOlderStages(t *testing.T) {
	h := &head{stages: 2, link: &link{}}
	if err := h.ready(true); !errors.Is(err, errOlder) {
		t.Errorf("an older stage: %v", err)
	}
	if err := h.ready(false); err != nil {
		t.Errorf("what it knows: %v", err)
	}
	if h.link.level = levelBegin; h.ready(true) != nil {
		t.Error("a new stage is refused")
	}
}

// What a token costs to choose: freely, with penalties, and constrained to a schema; and what the first token of a schema costs that was
// never seen.
func BenchmarkRows(b *testing.B) {
	r, digits, end := calcRows(b)
	logits := make([]float32, r.manifest.Config.Vocab)
	for i := range logits {
		logits[i] = float32(6 * sample.Random(1, i))
	}
	logits[end] = -9
	schema := json.RawMessage(`{"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}, "tags": {"type": "array", "items": {"type": "string"}}, "n": {"type": "integer"}}, "required": ["name", "tags", "n"], "additionalProperties": false}`)
	penalties := model.Sampling{Temperature: 1, FrequencyPenalty: 0.1}
	for name, c := range map[string]struct {
		begin *sample.Begin
		p     model.Sampling
	}{
		"free": {nil, model.Sampling{Temperature: 1}}, "penalised": {&sample.Begin{Given: digits}, penalties},
		"schema": {&sample.Begin{Constraint: &grammar.Source{Schema: schema}, EOS: []int32{end}}, model.Sampling{Temperature: 1}},
	} {
		b.Run(name, func(b *testing.B) {
			begin := true
			for i := range b.N {
				w := batch.Want{Position: i + 1, Sampling: c.p}
				if c.begin != nil {
					if w.Goes = !begin; begin {
						w.Begin = c.begin
					}
				}
				got, err := r.next(0, logits, w)
				if err != nil || got.Failed != "" {
					b.Fatal(got, err)
				}
				begin = got.Token == end
			}
		})
	}
	b.Run("first token", func(b *testing.B) {
		for range b.N {
			clear(r.grammars)
			r.order = nil
			if c, err := r.next(0, logits, want(1, &sample.Begin{Constraint: &grammar.Source{Schema: schema}, EOS: []int32{end}})); err != nil || c.Failed != "" {
				b.Fatal(c, err)
			}
		}
	})
}
