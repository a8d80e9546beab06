package engine_test

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"

	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// cudaVariable asks for the tests on the machine's first GPU, where SKEIN_ORT_LIB lies beside the CUDA provider.
const cudaVariable = "SKEIN_CUDA"

// eachHalf runs a test on the backends that compute in 16 bits: always on the CPU, where only the kernels differ from CUDA's.
func eachHalf(t *testing.T, names []string, test func(t *testing.T, f fixture)) {
	for name, backend := range map[string]engine.Backend{"cpu": engine.CPUHalf, "cuda": engine.CUDA} {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			if backend == engine.CUDA && os.Getenv(cudaVariable) == "" {
				t.Skipf("%s is unset: no GPU to test on", cudaVariable)
			}
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					runtime.LockOSThread() // never unlocked: the thread ends with the test, and what CUDA keeps for it
					f := open(t, name)
					f.backend = backend
					test(t, f)
				})
			}
		})
	}
}

// epsilon is the rounding of the type that the backend computes a model in.
func (f fixture) epsilon() float64 {
	if f.backend == engine.CUDA && f.manifest.Config.Arch.Decoder() {
		for _, x := range f.manifest.Tensors {
			if x.DType == model.BF16 {
				return 1.0 / 256
			}
		}
	}
	return 1.0 / 2048
}

// bound is how far results may be from those of float32: some roundings of the largest one.
func (f fixture) bound(exact []float32) float64 { return 16 * f.epsilon() * scale(exact) }

// margin is how far the largest number is above the second.
func margin(x []float32) float64 {
	best, second := math.Inf(-1), math.Inf(-1)
	for _, v := range x {
		if v := float64(v); v > best {
			best, second = v, best
		} else if v > second {
			second = v
		}
	}
	return best - second
}

// TestHalfReference: along the reference's greedy texts, logits are those of float32 within the type's precision, and so is each token
// that float32 chooses clearly.
func TestHalfReference(t *testing.T) {
	eachHalf(t, decoders, func(t *testing.T, f fixture) {
		exact := f
		exact.backend = engine.CPU
		p, whole := f.cut(t, serving), exact.cut(t, serving)
		vocab := f.manifest.Config.Vocab
		var worst, relative float64
		clear, all := 0, 0
		check := func(got, want []float32, token int32) {
			d := far(got, want)
			worst, relative = max(worst, d), max(relative, d/(f.epsilon()*scale(want)))
			if d > f.bound(want) {
				t.Errorf("logits differ by %g, allowed are %g", d, f.bound(want))
			}
			all++
			if margin(want) > f.bound(want) {
				clear++
				if argmax(got) != token {
					t.Errorf("token %d, want %d by a margin of %g", argmax(got), token, margin(want))
				}
			}
		}
		for i, prompt := range f.Prompts {
			row, n := i%serving.Slots, len(prompt.IDs)
			got, want := p.prefill(t, row, prompt.IDs, n), whole.prefill(t, row, prompt.IDs, n)
			for j, token := range prompt.Greedy.IDs {
				check(got[len(got)-vocab:], want[len(want)-vocab:], token)
				if j < len(prompt.Greedy.IDs)-1 {
					at := []int32{int32(n + j)}
					got, want = p.decode(t, row, []int32{token}, at), whole.decode(t, row, []int32{token}, at)
				}
			}
		}
		t.Logf("largest difference of a logit %.3g, in roundings of the largest logit %.2f; %d of %d tokens are clear", worst, relative, clear, all)
		if clear < all/10 {
			t.Errorf("only %d of %d tokens are clear: the test shows little", clear, all)
		}
	})
}

// TestHalfCuts: cut in two, a model gives on CUDA what it gives whole, bit for bit: hidden states of 16 bits lose nothing in float32. (On the
// CPU the runtime computes many operators of 16 bits in float32, and rounds only where such a stretch ends: at a cut, for one.)
func TestHalfCuts(t *testing.T) {
	eachHalf(t, decoders, func(t *testing.T, f fixture) {
		v := shard.Serving{Slots: 2, Context: 128}
		whole, cut := f.cut(t, v), f.cut(t, v, 1)
		same := func(got, want []float32) bool {
			return same(got, want) || f.backend == engine.CPUHalf && far(got, want) <= f.bound(want)
		}
		ids, greedy := f.Prompts[0].IDs, f.Prompts[0].Greedy.IDs
		if got, want := cut.prefill(t, 1, ids, len(ids)), whole.prefill(t, 1, ids, len(ids)); !same(got, want) {
			t.Fatalf("prefill differs by %g", far(got, want))
		}
		for j, token := range greedy[:16] {
			at := []int32{int32(len(ids) + j)}
			if got, want := cut.decode(t, 1, []int32{token}, at), whole.decode(t, 1, []int32{token}, at); !same(got, want) {
				t.Fatalf("step %d differs by %g", j, far(got, want))
			}
		}
	})
}

// TestHalfBatch: rows of different lengths together give what each gives alone, within the type's precision, and prompts in pieces what
// they give at once; an idle row between them is as it was.
func TestHalfBatch(t *testing.T) {
	eachHalf(t, decoders, func(t *testing.T, f fixture) {
		p, vocab := f.cut(t, serving), f.manifest.Config.Vocab
		const first, rows, idle = 1, 4, 2
		want := make([][][]float32, rows)
		for r := range rows {
			want[r] = f.solo(t, p, 0, r%len(f.Prompts))
		}
		var worst float64
		check := func(what string, got, want []float32) {
			worst = max(worst, far(got, want)/f.bound(want))
			if d := far(got, want); d > f.bound(want) {
				t.Fatalf("%s: logits differ by %g, allowed are %g", what, d, f.bound(want))
			}
		}
		for r := range rows {
			ids := f.Prompts[r%len(f.Prompts)].IDs
			logits := p.prefill(t, first+r, ids, max(len(ids)-1, 1))
			check("prompt in pieces", logits[len(logits)-vocab:], want[r][0])
		}
		done := make([]int, rows)
		for step := range 20 {
			tokens, positions := make([]int32, rows), make([]int32, rows)
			for r := range rows {
				prompt := f.Prompts[r%len(f.Prompts)]
				tokens[r], positions[r] = prompt.Greedy.IDs[done[r]], int32(len(prompt.IDs)+done[r])
				if r == idle && step < 10 {
					positions[r] = engine.Idle
				}
			}
			logits := p.decode(t, first, tokens, positions)
			for r := range rows {
				if positions[r] != engine.Idle {
					done[r]++
					check(fmt.Sprintf("step %d, row %d", step, r), logits[r*vocab:][:vocab], want[r][done[r]])
				}
			}
		}
		t.Logf("largest difference %.3f of what is allowed", worst)
	})
}

// TestHalfEncoders: vectors and scores are those of float32 within the type's precision, padded or not.
func TestHalfEncoders(t *testing.T) {
	eachHalf(t, encoders, func(t *testing.T, f fixture) {
		exact := f
		exact.backend = engine.CPU
		p, whole := f.cut(t, encoding, 1), exact.cut(t, encoding)
		var worst float64
		for _, in := range f.Inputs {
			types := in.TypeIDs
			if types == nil {
				types = make([]int32, len(in.IDs))
			}
			one := row{ids: in.IDs, types: types}
			for _, length := range []int{len(in.IDs), len(in.IDs) + 3} {
				got, want := p.encode(t, length, 7, one), whole.encode(t, length, 7, one)
				width := len(in.IDs) * f.manifest.Config.Hidden
				if labels := got.Labels; labels > 0 && len(got.Logits) == length*labels {
					got.Logits, want.Logits = got.Logits[:len(in.IDs)*labels], want.Logits[:len(in.IDs)*labels]
				}
				for name, pair := range map[string][2][]float32{
					"hidden": {got.Hidden[:width], want.Hidden[:width]}, "vectors": {f.vector(got.Hidden[:width]), f.vector(want.Hidden[:width])}, "pooled": {got.Pooled, want.Pooled}, "logits": {got.Logits, want.Logits},
				} {
					d := far(pair[0], pair[1])
					worst = max(worst, d/f.bound(pair[1]))
					if d > f.bound(pair[1]) {
						t.Errorf("%s differ by %g, allowed are %g", name, d, f.bound(pair[1]))
					}
				}
			}
		}
		t.Logf("largest difference %.3f of what is allowed", worst)
	})
}

// TestHalfWide is TestHalfReference at a width where kernels split their work, in bfloat16 on CUDA, with more than one piece of a prompt,
// and for several rows at once.
func TestHalfWide(t *testing.T) {
	for name, backend := range map[string]engine.Backend{"cpu": engine.CPUHalf, "cuda": engine.CUDA} {
		t.Run(name, func(t *testing.T) {
			runtimeOf(t)
			if backend == engine.CUDA && os.Getenv(cudaVariable) == "" {
				t.Skipf("%s is unset: no GPU to test on", cudaVariable)
			}
			runtime.LockOSThread()
			for _, c := range []model.Config{wideGPT2, wideLlama} {
				exact := synthetic(t, c, model.BF16)
				f := exact
				f.backend = backend
				v := shard.Serving{Slots: 4, Context: 400}
				p, whole := f.cut(t, v), exact.cut(t, v)
				var tokens, positions []int32
				for r, n := range []int{300, 1, 64, 17} {
					ids := words(uint64(r), n+1, c.Vocab)
					got, want := p.prefill(t, r, ids[:n], shard.Chunk), whole.prefill(t, r, ids[:n], shard.Chunk)
					if d := far(got, want); d > f.bound(want) {
						t.Errorf("%s: prompt of %d tokens: logits differ by %g, allowed are %g", c.Arch, n, d, f.bound(want))
					}
					tokens, positions = append(tokens, ids[n]), append(positions, int32(n))
				}
				got, want := p.decode(t, 0, tokens, positions), whole.decode(t, 0, tokens, positions)
				if d := far(got, want); d > f.bound(want) {
					t.Errorf("%s: rows together: logits differ by %g, allowed are %g", c.Arch, d, f.bound(want))
				}
				t.Logf("%s: rows together: logits differ by %.3g of at most %.3g", c.Arch, far(got, want), scale(want))
			}
		})
	}
}

// TestHalfUsed: a stage on a device counts its weights and cache at two bytes an element.
func TestHalfUsed(t *testing.T) {
	runtimeOf(t)
	f := synthetic(t, wideLlama, model.F32)
	f.backend = engine.CPUHalf
	v := shard.Serving{Slots: 4, Context: 64}
	s := f.load(t, f.whole(), v)
	var want gpu.Bytes
	for _, x := range f.manifest.Tensors {
		if x.Block != model.Embed {
			want += gpu.Bytes(x.Ref.Len / 2)
		}
	}
	c := f.manifest.Config
	want += gpu.Bytes(2 * 2 * c.Layers * v.Slots * v.Context * c.KVHeads * c.HeadDim)
	want += gpu.Bytes(2 * 2 * v.Context * c.HeadDim / 2)
	if got := s.Used(); got != want {
		t.Errorf("uses %d bytes, want %d", got, want)
	}
}

func TestOn(t *testing.T) {
	for kind, want := range map[gpu.Kind]engine.Backend{gpu.Host: engine.CPU, gpu.CUDA: engine.CUDA} {
		if got, err := engine.On(kind); err != nil || got != want {
			t.Errorf("%s: %v, %v", kind, got, err)
		}
	}
	if _, err := engine.On("abacus"); err == nil {
		t.Error("an abacus computes")
	}
}
