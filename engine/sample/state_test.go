package sample

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/skein-project/skein/grammar"
	"github.com/skein-project/skein/model"
	"pgregory.net/rapid"
)

// changed is the obvious way to penalise: every token is looked up in the texts.
func changed(logits []float32, prompt, answer []int32, bias []Bias, p model.Sampling) []float32 {
	out := slices.Clone(logits)
	for id := range out {
		n := 0
		for _, t := range answer {
			if t == int32(id) {
				n++
			}
		}
		if p.RepetitionPenalty > 0 && (n > 0 || slices.Contains(prompt, int32(id))) {
			if out[id] > 0 {
				out[id] = float32(float64(out[id]) / p.RepetitionPenalty)
			} else {
				out[id] = float32(float64(out[id]) * p.RepetitionPenalty)
			}
		}
		if n > 0 {
			out[id] = float32(float64(out[id]) - (p.FrequencyPenalty*float64(n) + p.PresencePenalty))
		}
		for _, b := range bias {
			if b.Token == int32(id) {
				out[id] = float32(float64(out[id]) + b.Add)
			}
		}
	}
	return out
}

func genPenalised(t *rapid.T) model.Sampling {
	p := genSampling(t)
	p.FrequencyPenalty = rapid.SampledFrom([]float64{0, 0, 0.25, 2, -1}).Draw(t, "frequency")
	p.PresencePenalty = rapid.SampledFrom([]float64{0, 0, 0.5, -2}).Draw(t, "presence")
	p.RepetitionPenalty = rapid.SampledFrom([]float64{0, 1, 1.25, 2, 0.5}).Draw(t, "repetition")
	return p
}

// letters is a vocabulary of which token i is the letter 'a'+i, the last token the end.
func letters(n int) *grammar.Vocabulary {
	texts := make([][]byte, n)
	for i := range n - 1 {
		texts[i] = []byte{byte('a' + i)}
	}
	return grammar.NewVocabulary(texts)
}

// TestStateAgainstObvious: an answer, token by token, is what choosing from logits that were changed in the obvious way gives, with the
// model's own log-probabilities; begun again anywhere in it, it goes on exactly; and it is one that its constraint admits.
func TestStateAgainstObvious(t *testing.T) {
	const vocab, most = 12, 10
	rapid.Check(t, func(t *rapid.T) {
		p := genPenalised(t)
		var rows [][]float32
		for range most {
			rows = append(rows, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 { return float32(rapid.IntRange(-40, 40).Draw(t, "eighths")) / 8 }), vocab, vocab).Draw(t, "logits"))
		}
		prompt := rapid.SliceOfN(rapid.Int32Range(0, vocab-1), 1, 6).Draw(t, "prompt")
		b := &Begin{Prompt: SetOf(prompt), EOS: []int32{vocab - 1}}
		for range rapid.IntRange(0, 3).Draw(t, "biases") {
			b.Bias = append(b.Bias, Bias{rapid.Int32Range(0, vocab-1).Draw(t, "token"), rapid.Float64Range(-100, 100).Draw(t, "add")})
		}
		admitted := func([]int32) []bool { return slices.Repeat([]bool{true}, vocab) }
		var start func() *grammar.Matcher
		if rapid.Bool().Draw(t, "constrained") {
			words := []string{"ab", "abc", "abd", "ca", "kkkkkkkkkkk"}
			admitted = func(answer []int32) []bool {
				ok := make([]bool, vocab)
				for _, w := range words {
					if len(answer) > len(w) || slices.ContainsFunc(answer, func(t int32) bool { return t == vocab-1 }) {
						continue
					}
					same := true
					for i, t := range answer {
						same = same && w[i] == byte('a'+t)
					}
					switch {
					case same && len(answer) == len(w):
						ok[vocab-1] = true
					case same:
						ok[w[len(answer)]-'a'] = true
					}
				}
				return ok
			}
			b.Constraint = &grammar.Source{Choice: words}
			g, err := grammar.Compile(*b.Constraint)
			if err != nil {
				t.Fatal(err)
			}
			v := letters(vocab)
			start = func() *grammar.Matcher { return g.Start(v) }
		}
		begin := func(given []int32) *State {
			again := *b
			again.Given = given
			var m *grammar.Matcher
			if start != nil {
				m = start()
			}
			s, err := NewState(&again, m)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		state := begin(nil)
		var answer []int32
		var scratch Scratch
		for i, logits := range rows {
			want := changed(logits, prompt, answer, b.Bias, p)
			for id, ok := range admitted(answer) {
				if !ok {
					want[id] = float32(math.Inf(-1))
				}
			}
			plain := p
			plain.Logprobs, plain.TopLogprobs = false, 0
			expected, err := Choose(want, plain, len(prompt)+i)
			if err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(t, "elsewhere") == 0 {
				state = begin(slices.Clone(answer))
			}
			before := slices.Clone(logits)
			got, err := state.Choose(logits, p, len(prompt)+i, &scratch)
			if err != nil || got.Token != expected.Token {
				t.Fatalf("token %d: %d, %v, want %d", i, got.Token, err, expected.Token)
			}
			if !slices.Equal(before, logits) {
				t.Fatal("the model's logits were changed")
			}
			all := p
			all.Temperature, all.TopK, all.TopP = 0, 0, 0
			of, _ := Choose(logits, all, 0)
			if !reflect.DeepEqual(got.Top, of.Top) {
				t.Fatalf("top %v, want %v", got.Top, of.Top)
			}
			if p.Logprobs || p.TopLogprobs > 0 {
				var sum float64
				for _, v := range logits {
					sum += math.Exp(float64(v))
				}
				if want := float64(logits[got.Token]) - math.Log(sum); math.Abs(float64(got.Logprob)-want) > 1e-4 {
					t.Fatalf("logprob %g, want %g", got.Logprob, want)
				}
			}
			if answer = append(answer, got.Token); got.Token == vocab-1 {
				return
			}
		}
	})
}

func TestStateRefusals(t *testing.T) {
	var scratch Scratch
	logits := []float32{1, 2, 3, 4}
	g, err := grammar.Compile(grammar.Source{Choice: []string{"ab"}})
	if err != nil {
		t.Fatal(err)
	}
	v := letters(4)
	s, err := NewState(&Begin{}, g.Start(v))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int32{0, 1, End} { // the model has no token that ends an answer
		c, err := s.Choose(logits, model.Sampling{}, 7+i, &scratch)
		if err != nil || c.Token != want {
			t.Fatalf("token %d: %+v, %v, want %d", i, c, err, want)
		}
		if want == End {
			break
		}
		if _, err := s.Choose(logits, model.Sampling{}, 7+i, &scratch); !errors.Is(err, ErrPosition) {
			t.Errorf("the same position again: %v", err)
		}
	}
	if _, err := NewState(&Begin{Given: []int32{2}}, g.Start(v)); !errors.Is(err, grammar.ErrRejected) {
		t.Errorf("an answer that the constraint does not admit: %v", err)
	}
	shut := float32(math.Inf(-1))
	s, _ = NewState(&Begin{}, g.Start(v))
	if _, err := s.Choose([]float32{shut, 2, 3, 4}, model.Sampling{}, 1, &scratch); !errors.Is(err, ErrDeadEnd) {
		t.Errorf("the only token has no probability: %v", err)
	}
	s, _ = NewState(&Begin{}, g.Start(v))
	if c, err := s.Choose([]float32{-3e38, 3e38, 3, 4}, model.Sampling{TopLogprobs: 4}, 1, &scratch); err != nil || c.Token != 0 || c.Logprob != Unlikely || len(c.Top) != 3 {
		t.Errorf("the model would never choose the only token: %+v, %v", c, err)
	}
	s, _ = NewState(&Begin{}, nil)
	if _, err := s.Choose([]float32{1, float32(math.NaN())}, model.Sampling{}, 1, &scratch); !errors.Is(err, ErrLogits) || errors.Is(err, ErrDeadEnd) {
		t.Errorf("NaN: %v", err)
	}
	tiny, _ := NewState(&Begin{Prompt: SetOf([]int32{0})}, nil)
	if c, err := tiny.Choose(logits, model.Sampling{RepetitionPenalty: math.SmallestNonzeroFloat64}, 1, &scratch); err != nil || c.Token != 0 {
		t.Errorf("a penalty without end: %+v, %v", c, err)
	}
	for _, b := range []Begin{
		{Prompt: make([]byte, 3)}, {Bias: []Bias{{Token: 16}}}, {Bias: []Bias{{Token: -1}}}, {Bias: []Bias{{Add: 101}}}, {Bias: []Bias{{Add: math.NaN()}}},
		{Bias: make([]Bias, model.MaxBiases+1)}, {Given: []int32{16}}, {EOS: []int32{-1}},
	} {
		if err := b.Validate(16); !errors.As(err, new(model.Invalid)) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	for _, p := range []model.Sampling{{FrequencyPenalty: 2.1}, {PresencePenalty: -2.1}, {RepetitionPenalty: -0.1}, {RepetitionPenalty: math.NaN()}, {FrequencyPenalty: math.NaN()}} {
		if _, err := s.Choose(logits, p, 1, &scratch); !errors.As(err, new(model.Invalid)) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// What begins a sequence is the same on the other side of a wire.
func TestBeginTravels(t *testing.T) {
	b := Begin{Prompt: SetOf([]int32{3, 70000}), Given: Tokens{0, 1 << 30}, Bias: []Bias{{3, -1.5}}, Constraint: &grammar.Source{Regex: "a+"}, Marks: []string{"[X]"}, EOS: []int32{2}}
	raw, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var back Begin
	if err := json.Unmarshal(raw, &back); err != nil || !reflect.DeepEqual(b, back) {
		t.Errorf("%s: %+v, %v", raw, back, err)
	}
	for _, bad := range []string{`"AAA="`, `"AA"`, `3`} {
		if err := json.Unmarshal([]byte(bad), &back.Given); err == nil {
			t.Errorf("%s is read as tokens", bad)
		}
	}
}

// What a constraint and penalties cost beside BenchmarkChoose: the state's own part, not the grammar's.
func BenchmarkStateChoose(b *testing.B) {
	logits := make([]float32, 150_000)
	for i := range logits {
		logits[i] = float32(8*Random(1, i) + 8*Random(2, i))
	}
	s, err := NewState(&Begin{Prompt: SetOf([]int32{1, 149_999}), Bias: []Bias{{3, 1}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	var scratch Scratch
	p := model.Sampling{FrequencyPenalty: 0.1, RepetitionPenalty: 1.1}
	for i := range b.N {
		if _, err := s.Choose(logits, p, i+1, &scratch); err != nil {
			b.Fatal(err)
		}
	}
}
