package batch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// What a sequence costs does not depend on what others asked before: there is no cache of prompts between sequences. Whether a prompt is
// one that somebody has just asked, or begins like it, or was never seen, it is prefilled from its first token, in as many forwards of as
// many tokens: there is nothing to tell apart by time, and nothing of a neighbour's that a flood could push out (attack cases 31 and 32).
func TestNoPromptIsKnown(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := rand.New(rand.NewPCG(1, 2))
	prompt := func(n int) (tokens []int32) {
		for range n {
			tokens = append(tokens, 1+r.Int32N(vocab-1))
		}
		return tokens
	}
	// work is the shape of every forward that a prompt takes until its first answer.
	work := func(l *Loop, s slab, id ID, tokens []int32) (shapes []string, first int32) {
		out := l.Step(now, Input{Arrivals: []Arrival{{ID: id, Tokens: tokens, MaxTokens: 1, EOS: []int32{eos}}}})
		for len(out.Forwards) > 0 {
			var in Input
			for _, f := range out.Forwards {
				shapes = append(shapes, fmt.Sprint(f.Prefill, f.Row, f.Past, len(f.Tokens), len(f.Wants)))
				choices, _, err := s.run(f)
				if err != nil {
					t.Fatal(err)
				}
				in.Results = append(in.Results, Result{Group: f.Group, Number: f.Number, Choices: choices})
			}
			out = l.Step(now, in)
			for _, e := range out.Emits {
				if e.Choice != nil {
					first = e.Choice.Token
				}
			}
		}
		return shapes, first
	}
	for _, n := range []int{1, 5, 8, 9, 30} {
		cfg := Config{Stages: 1, Slots: 2, Context: 40, Chunk: 8}
		l, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := slab{make([]int32, cfg.Context), make([]int32, cfg.Context)}
		asked := prompt(n)
		never, _ := work(l, s, 1, prompt(n))
		if tokens := len(never); tokens != (n+cfg.Chunk-1)/cfg.Chunk {
			t.Errorf("%d tokens are prefilled in %d forwards", n, tokens)
		}
		work(l, s, 2, asked)
		like := append(slices.Clone(asked[:n-1]), 1+asked[n-1]%(vocab-1))
		for name, tokens := range map[string][]int32{"the same": asked, "one that begins like it": like, "another": prompt(n)} {
			got, first := work(l, s, 3, tokens)
			if !slices.Equal(got, never) {
				t.Errorf("%d tokens, %s: %q, one that nobody asked before: %q", n, name, got, never)
			}
			if want := oracle(tokens); first != want && want != eos {
				t.Errorf("%d tokens, %s: the answer is %d, want %d", n, name, first, want)
			}
		}
	}
}
