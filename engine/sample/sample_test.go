package sample

import (
	"errors"
	"math"
	"sort"
	"testing"

	"github.com/skein-project/skein/model"
	"pgregory.net/rapid"
)

// kept is the obvious way to say which tokens may be drawn, and with which probability: sort everything, divide, cut, divide again.
func kept(logits []float32, s model.Sampling) map[int32]float64 {
	ids := make([]int32, len(logits))
	for i := range ids {
		ids[i] = int32(i)
	}
	sort.SliceStable(ids, func(a, b int) bool { return logits[ids[a]] > logits[ids[b]] })
	if s.TopK > 0 && s.TopK < len(ids) {
		ids = ids[:s.TopK]
	}
	probs := func() []float64 {
		p, sum := make([]float64, len(ids)), 0.0
		for i, id := range ids {
			p[i] = math.Exp((float64(logits[id]) - float64(logits[ids[0]])) / s.Temperature)
			sum += p[i]
		}
		for i := range p {
			p[i] /= sum
		}
		return p
	}
	if s.TopP > 0 && s.TopP < 1 {
		sum := 0.0
		for i, p := range probs() {
			if sum += p; sum >= s.TopP {
				ids = ids[:i+1]
				break
			}
		}
	}
	out := map[int32]float64{}
	for i, p := range probs() {
		if p > 0 {
			out[ids[i]] = p
		}
	}
	return out
}

func genLogits(t *rapid.T) []float32 {
	// Few distinct values, so that there are ties; some tokens are masked.
	logits := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 {
		if rapid.IntRange(0, 9).Draw(t, "masked") == 0 {
			return float32(math.Inf(-1))
		}
		return float32(rapid.IntRange(-40, 40).Draw(t, "eighths")) / 8
	}), 1, 40).Draw(t, "logits")
	logits[rapid.IntRange(0, len(logits)-1).Draw(t, "open")] = 0
	return logits
}

func genSampling(t *rapid.T) model.Sampling {
	return model.Sampling{
		Temperature: rapid.SampledFrom([]float64{0, 0.1, 0.7, 1, 2, 100}).Draw(t, "temperature"),
		TopK:        rapid.IntRange(0, 45).Draw(t, "top_k"),
		TopP:        rapid.SampledFrom([]float64{0, 0.01, 0.33, 0.5, 0.9, 0.999, 1}).Draw(t, "top_p"),
		Seed:        rapid.Uint64().Draw(t, "seed"),
		Logprobs:    rapid.Bool().Draw(t, "logprobs"),
		TopLogprobs: rapid.IntRange(0, model.MaxTopLogprobs).Draw(t, "top_logprobs"),
	}
}

// TestAgainstObvious: what is chosen is what the slow way allows, log-probabilities are those of the whole row, and the same question
// has the same answer.
func TestAgainstObvious(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logits, s := genLogits(t), genSampling(t)
		position := rapid.IntRange(0, 1<<30).Draw(t, "position")
		c, err := Choose(logits, s, position)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Choose(logits, s, position)
		if again.Token != c.Token || again.Logprob != c.Logprob {
			t.Fatalf("%v, then %v", c, again)
		}
		one := s
		one.Temperature, one.TopK, one.TopP = 1, 0, 0
		all := kept(logits, one)
		if s.Temperature == 0 {
			for id, v := range logits {
				if v > logits[c.Token] || v == logits[c.Token] && int32(id) < c.Token {
					t.Fatalf("greedy chose %d, %d is larger", c.Token, id)
				}
			}
		} else if _, ok := kept(logits, s)[c.Token]; !ok {
			t.Fatalf("chose %d, which %+v leaves out", c.Token, s)
		}
		if !s.Logprobs && s.TopLogprobs == 0 {
			if c.Logprob != 0 || c.Top != nil {
				t.Fatalf("log-probabilities nobody asked for: %+v", c)
			}
			return
		}
		if want := math.Log(all[c.Token]); math.Abs(float64(c.Logprob)-want) > 1e-5 {
			t.Fatalf("logprob %g of %d, want %g", c.Logprob, c.Token, want)
		}
		open := 0 // tokens of a probability
		for _, v := range logits {
			if !math.IsInf(float64(v), -1) {
				open++
			}
		}
		if len(c.Top) != min(s.TopLogprobs, open) {
			t.Fatalf("%d of %d top logprobs, %d tokens have any", len(c.Top), s.TopLogprobs, open)
		}
		for i, x := range c.Top {
			if want := math.Log(all[x.Token]); math.IsInf(float64(x.Logprob), 0) || !math.IsInf(want, -1) && math.Abs(float64(x.Logprob)-want) > 1e-5 {
				t.Fatalf("top %d: logprob %g of %d, want %g", i, x.Logprob, x.Token, want)
			}
			if i > 0 && (x.Logprob > c.Top[i-1].Logprob || x.Logprob == c.Top[i-1].Logprob && x.Token < c.Top[i-1].Token) {
				t.Fatalf("top %d is out of order: %v", i, c.Top)
			}
		}
	})
}

// TestDistribution draws often and compares frequencies with probabilities (chi-squared, 1 in 10^6 by chance; the seeds are fixed, so
// the test either always passes or never).
func TestDistribution(t *testing.T) {
	logits := []float32{0.5, 2, -1, 1.5, 0, 1.5, -3, 0.25, float32(math.Inf(-1)), 1}
	for _, s := range []model.Sampling{
		{Temperature: 1}, {Temperature: 0.5}, {Temperature: 3}, {Temperature: 1, TopK: 4}, {Temperature: 1, TopP: 0.8},
		{Temperature: 2, TopK: 6, TopP: 0.7},
	} {
		want := kept(logits, s)
		const draws = 40000
		for _, vary := range []string{"position", "seed"} {
			count := make([]int, len(logits))
			for i := range draws {
				position := i
				if vary == "seed" {
					s.Seed, position = uint64(i), 7
				}
				c, err := Choose(logits, s, position)
				if err != nil {
					t.Fatal(err)
				}
				count[c.Token]++
			}
			var chi float64
			for id, n := range count {
				p := want[int32(id)]
				if p == 0 {
					if n > 0 {
						t.Errorf("%+v: token %d drawn %d times", s, id, n)
					}
					continue
				}
				chi += (float64(n) - p*draws) * (float64(n) - p*draws) / (p * draws)
			}
			if limit := 45.0; chi > limit { // 9 degrees of freedom
				t.Errorf("%+v varying %s: chi-squared %.1f > %.0f: %v", s, vary, chi, limit, count)
			}
		}
	}
}

// TestRandom: neighbouring positions and seeds are unrelated, and the numbers are those of earlier releases, so that a replay over an
// upgrade is exact.
func TestRandom(t *testing.T) {
	for _, c := range []struct {
		seed     uint64
		position int
		want     float64
	}{
		{0, 0, 0.6524484863740322}, {0, 1, 0.7012121095215252}, {1, 0, 0.36818951565166946}, {math.MaxUint64, 1 << 40, 0.5440041384053076},
	} {
		if got := Random(c.seed, c.position); got != c.want {
			t.Errorf("Random(%d, %d) = %v, want %v", c.seed, c.position, got, c.want)
		}
	}
	const n = 1 << 14
	var sum, lag float64
	for i := range n {
		u := Random(42, i)
		if u < 0 || u >= 1 {
			t.Fatalf("Random = %v", u)
		}
		sum += u
		lag += (u - 0.5) * (Random(43, i) - 0.5 + Random(42, i+1) - 0.5)
	}
	if mean, corr := sum/n, lag/n*6; math.Abs(mean-0.5) > 0.01 || math.Abs(corr) > 0.03 {
		t.Errorf("mean %v, correlation %v", mean, corr)
	}
}

func TestRefusals(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{nil, {}, {nan}, {1, nan}, {inf}, {0, inf}, {-inf}, {-inf, -inf}} {
		if _, err := Choose(logits, model.Sampling{}, 0); !errors.Is(err, ErrLogits) {
			t.Errorf("logits %v: %v", logits, err)
		}
	}
	for _, s := range []model.Sampling{
		{Temperature: math.NaN()}, {Temperature: -0.1}, {Temperature: math.Inf(1)}, {TopK: -1}, {TopP: -0.1}, {TopP: 1.1}, {TopP: math.NaN()},
		{TopLogprobs: -1}, {TopLogprobs: model.MaxTopLogprobs + 1},
	} {
		if _, err := Choose([]float32{1, 2}, s, 0); !errors.As(err, new(model.Invalid)) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	logits := make([]float32, 150_000)
	for i := range logits {
		logits[i] = float32(8*Random(1, i) + 8*Random(2, i))
	}
	for name, s := range map[string]model.Sampling{
		"greedy": {}, "temperature": {Temperature: 1}, "top-p": {Temperature: 1, TopP: 0.9}, "top-k": {Temperature: 1, TopK: 40},
		"logprobs": {Logprobs: true, TopLogprobs: 20},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				if _, err := Choose(logits, s, i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
