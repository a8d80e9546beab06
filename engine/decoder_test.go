package engine_test

import (
	"testing"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/shard"
)

// tolerance of logits against the reference, which was computed in fp32 from the stored weights.
const tolerance = 1e-4

var serving = shard.Serving{Slots: 8, Context: 128}

func eachDecoder(t *testing.T, test func(t *testing.T, f fixture)) {
	for _, name := range decoders {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			test(t, open(t, name))
		})
	}
}

// TestReference: logits and greedy texts are those of the reference implementation.
func TestReference(t *testing.T) {
	eachDecoder(t, func(t *testing.T, f fixture) {
		p := f.cut(t, serving)
		vocab := f.manifest.Config.Vocab
		for i, prompt := range f.Prompts {
			row := i % serving.Slots
			logits := p.prefill(t, row, prompt.IDs, len(prompt.IDs))
			if prompt.Logits != nil {
				if d := far(logits, prompt.Logits); d > tolerance {
					t.Errorf("%q: logits differ by %g", prompt.Text, d)
				}
			}
			last := logits[len(logits)-vocab:]
			for j, want := range prompt.Greedy.IDs {
				token := argmax(last)
				if token != want {
					t.Fatalf("%q: token %d is %d, want %d", prompt.Text, j, token, want)
				}
				if j == len(prompt.Greedy.IDs)-1 {
					if d := far(last, prompt.Greedy.LastLogits); d > tolerance {
						t.Errorf("%q: last logits differ by %g", prompt.Text, d)
					}
					break
				}
				last = p.decode(t, row, []int32{token}, []int32{int32(len(prompt.IDs) + j)})
			}
		}
	})
}

// cuts lists all ways to cut n blocks into one, two or three stages, by their inner boundaries.
func cuts(n int) [][]int {
	all := [][]int{{}}
	for a := 1; a < n; a++ {
		all = append(all, []int{a})
		for b := a + 1; b < n; b++ {
			all = append(all, []int{a, b})
		}
	}
	return all
}

// TestCuts: every legal cut gives the logits of the uncut model bit for bit, in prefill and in every decode step.
func TestCuts(t *testing.T) {
	eachDecoder(t, func(t *testing.T, f fixture) {
		prompt := f.Prompts[0]
		var whole [][]float32
		for _, boundaries := range cuts(f.manifest.Config.Layers) {
			p := f.cut(t, shard.Serving{Slots: 2, Context: 128}, boundaries...)
			got := [][]float32{p.prefill(t, 1, prompt.IDs, len(prompt.IDs))}
			for j, token := range prompt.Greedy.IDs[:len(prompt.Greedy.IDs)-1] {
				got = append(got, p.decode(t, 1, []int32{token}, []int32{int32(len(prompt.IDs) + j)}))
			}
			if len(boundaries) == 0 {
				whole = got
			}
			for j := range whole {
				if !same(got[j], whole[j]) {
					t.Fatalf("cut at %v: step %d differs by %g", boundaries, j, far(got[j], whole[j]))
				}
			}
		}
	})
}

// solo runs one sequence alone: the logits that choose each of its tokens.
func (f fixture) solo(t *testing.T, p pipeline, row, prompt int) [][]float32 {
	ids := f.Prompts[prompt].IDs
	vocab := f.manifest.Config.Vocab
	logits := p.prefill(t, row, ids, len(ids))
	out := [][]float32{logits[len(logits)-vocab:]}
	for j, token := range f.Prompts[prompt].Greedy.IDs[:24] {
		out = append(out, p.decode(t, row, []int32{token}, []int32{int32(len(ids) + j)}))
	}
	return out
}

// TestBatch: sequences of different lengths join, leave and reuse rows of a batch between steps; each one's logits are those it has
// alone, bit for bit, whatever the others do. Rows between them are idle, one of them kept.
func TestBatch(t *testing.T) {
	eachDecoder(t, func(t *testing.T, f fixture) {
		alone := f.cut(t, serving)
		want := make([][][]float32, len(f.Prompts))
		for i := range f.Prompts {
			want[i] = f.solo(t, alone, 0, i)
		}
		vocab := f.manifest.Config.Vocab
		p := f.cut(t, serving, 1)
		const first, width = 1, 5 // rows of the batch
		type sequence struct{ prompt, done int }
		at := make([]*sequence, width)
		next := 0
		join := func(i int) {
			s := &sequence{prompt: next % len(f.Prompts)}
			next++
			logits := p.prefill(t, first+i, f.Prompts[s.prompt].IDs, len(f.Prompts[s.prompt].IDs))
			if got := logits[len(logits)-vocab:]; !same(got, want[s.prompt][0]) {
				t.Fatalf("prompt %d joins row %d: logits differ by %g", s.prompt, first+i, far(got, want[s.prompt][0]))
			}
			at[i] = s
		}
		join(0)
		kept := &sequence{} // row 3 runs a while, rests, and goes on
		for step := range 40 {
			switch step {
			case 2:
				join(1)
			case 3:
				join(3)
			case 8:
				kept, at[3] = at[3], nil
			case 5:
				join(4)
			case 10, 20, 30: // leave and reuse
				join(step / 10 % 2)
			case 25:
				at[3] = kept
			}
			tokens, positions := make([]int32, width), make([]int32, width)
			for i, s := range at {
				positions[i] = engine.Idle
				if s != nil && s.done == 24 {
					at[i], s = nil, nil
				}
				if s != nil {
					tokens[i] = f.Prompts[s.prompt].Greedy.IDs[s.done]
					positions[i] = int32(len(f.Prompts[s.prompt].IDs) + s.done)
				}
			}
			logits := p.decode(t, first, tokens, positions)
			for i, s := range at {
				if s == nil {
					continue
				}
				s.done++
				if got := logits[i*vocab:][:vocab]; !same(got, want[s.prompt][s.done]) {
					t.Fatalf("step %d, row %d, token %d of prompt %d: logits differ by %g", step, first+i, s.done, s.prompt, far(got, want[s.prompt][s.done]))
				}
			}
		}
	})
}

// TestPieces: a prompt prefilled in pieces gives the logits of one prefilled at once, up to the order of sums.
func TestPieces(t *testing.T) {
	eachDecoder(t, func(t *testing.T, f fixture) {
		p := f.cut(t, serving)
		for _, prompt := range f.Prompts {
			ids := append(append([]int32(nil), prompt.IDs...), prompt.Greedy.IDs[:40]...)
			whole := p.prefill(t, 0, ids, len(ids))
			for _, piece := range []int{1, 2, 7, 16, len(ids) - 1} {
				if d := far(p.prefill(t, 1, ids, piece), whole); d > 1e-5*scale(whole) {
					t.Errorf("pieces of %d: logits differ by %g", piece, d)
				}
			}
		}
	})
}

// scale is the largest magnitude, at least 1: rounding is relative to it.
func scale(x []float32) float64 {
	worst := 1.0
	for _, v := range x {
		worst = max(worst, float64(max(v, -v)))
	}
	return worst
}

// TestWindow: with a sliding window of w, the first block's output at a position is what it is on the last w tokens alone. (Rotary
// positions are relative, so where those tokens stand does not matter.)
func TestWindow(t *testing.T) {
	runtimeOf(t)
	f := open(t, "mistral")
	const window = 8
	full := pipeline{f.load(t, shard.Span{To: 1}, serving)}
	m := *f.manifest
	m.Config.SlidingWindow = window
	f.manifest = &m
	local := pipeline{f.load(t, shard.Span{To: 1}, serving)}
	ids := append(append([]int32(nil), f.Prompts[0].IDs...), f.Prompts[0].Greedy.IDs...)
	h := f.manifest.Config.Hidden
	prefill := func(p pipeline, ids []int32) []float32 {
		return p.run(t, ids, engine.Step{Prefill: true, Row: 0, Count: len(ids)})
	}
	const split = 40 // tokens prefilled; the rest are decoded
	got := prefill(local, ids[:split])
	for i, id := range ids[split:] {
		got = append(got, local.run(t, []int32{id}, engine.Step{Rows: engine.Rows{Positions: []int32{int32(split + i)}}})...)
	}
	differ := false
	whole := prefill(full, ids)
	for i := range ids {
		want := prefill(full, ids[max(0, i+1-window):i+1])
		want = want[len(want)-h:]
		at := got[i*h:][:h]
		if d := far(at, want); d > tolerance {
			t.Errorf("position %d: differs by %g from the window alone", i, d)
		}
		differ = differ || far(at, whole[i*h:][:h]) > tolerance
	}
	if !differ {
		t.Error("the window changes nothing: the test shows nothing")
	}
}
