package engine_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/engine/sample"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// The fixtures are narrow: one block of the matrix kernels covers them. These shapes are wide enough for the kernels to split rows,
// columns and sums. Weights are random; there is no reference but the model itself.
var (
	wideGPT2 = model.Config{Arch: model.GPT2, Layers: 2, Hidden: 576, Heads: 9, KVHeads: 9, HeadDim: 64, Intermediate: 2304,
		Vocab: 3001, Positions: 512, NormEps: 1e-5, Activation: "gelu_new"}
	wideLlama = model.Config{Arch: model.Llama, Layers: 2, Hidden: 640, Heads: 10, KVHeads: 2, HeadDim: 64, Intermediate: 1792,
		Vocab: 3001, Positions: 512, NormEps: 1e-6, Activation: "silu", RopeTheta: 1e6}
)

// synthetic writes a model of a shape, with random weights of a type, to a file.
func synthetic(t testing.TB, c model.Config, dtype model.DType) fixture {
	t.Helper()
	m := &model.Manifest{Format: model.Format, Config: c, Tasks: []model.Task{model.Generate}, BOS: -1, Pad: -1}
	if !c.Arch.Decoder() {
		m.Tasks, m.Pooling = []model.Task{model.EmbedTask, model.FillMask}, model.PoolMean
	}
	var body []byte
	body = append(body, "odd"...) // tensors need not be aligned
	for block := model.Embed; block <= c.Layers; block++ {
		for _, slot := range m.Slots(block) {
			n := int64(1)
			for _, d := range slot.Shape {
				n *= d
			}
			center, spread := 0.0, 3/math.Sqrt(float64(slot.Shape[0]))
			if len(slot.Shape) == 1 {
				spread = 0.2
				if filepath.Ext(slot.Name) == ".weight" {
					center = 1
				}
			}
			off := int64(len(body))
			for i := range n {
				v := math.Float32bits(float32(center + spread*(sample.Random(uint64(off), int(i))-0.5)))
				if dtype == model.BF16 {
					body = binary.LittleEndian.AppendUint16(body, uint16(v>>16))
				} else {
					body = binary.LittleEndian.AppendUint32(body, v)
				}
			}
			ref := blob.Ref{Off: off, Len: int64(len(body)) - off}
			if slot.Name == "head.weight" && c.Arch != model.Llama { // tied, as GPT-2's and BERT's is
				token, _ := m.Tensor(model.Embed, "embed.token")
				ref, body = token.Ref, body[:off]
			}
			m.Tensors = append(m.Tensors, model.Tensor{Name: slot.Name, Block: block, DType: dtype, Shape: slot.Shape, Ref: ref})
		}
	}
	d := blob.Of(body).Digest()
	for i := range m.Tensors {
		m.Tensors[i].Ref.Digest = d
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, d.String())
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return fixture{manifest: m, files: func(blob.Digest) (string, error) { return path, nil }}
}

// words is a fixed sequence of n tokens.
func words(seed uint64, n, vocab int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(sample.Random(seed, i) * float64(vocab))
	}
	return out
}

// TestWide: at widths where kernels split the work, rows of a batch still do not see each other, a cut still changes nothing, nor does
// the number of threads; and prompts longer than one piece agree with themselves.
func TestWide(t *testing.T) {
	for _, c := range []model.Config{wideGPT2, wideLlama} {
		for _, dtype := range []model.DType{model.F32, model.BF16} {
			t.Run(fmt.Sprintf("%s-%s", c.Arch, dtype), func(t *testing.T) {
				runtimeOf(t)
				f := synthetic(t, c, dtype)
				v := shard.Serving{Slots: 6, Context: 400}
				lengths := []int{1, 300, 17, 64, 5, 33}
				whole, cut := f.cut(t, v), f.cut(t, v, 1)
				threaded := pipeline{f.loadThreads(t, f.whole(), v, 2)}
				var tokens, positions []int32
				var solo []float32
				for row, n := range lengths {
					ids := words(uint64(row), n+1, c.Vocab)
					first := whole.prefill(t, row, ids[:n], shard.Chunk)
					for name, p := range map[string]pipeline{"cut": cut, "two threads": threaded} {
						if got := p.prefill(t, row, ids[:n], shard.Chunk); !same(got, first) {
							t.Errorf("%s: prefill of %d tokens differs by %g", name, n, far(got, first))
						}
					}
					tokens, positions = append(tokens, ids[n]), append(positions, int32(n))
				}
				for row := range lengths {
					solo = append(solo, whole.decode(t, row, tokens[row:row+1], positions[row:row+1])...)
				}
				for name, p := range map[string]pipeline{"batch": whole, "cut": cut, "two threads": threaded} {
					if got := p.decode(t, 0, tokens, positions); !same(got, solo) {
						t.Errorf("%s: decode of %d rows differs by %g from rows alone", name, len(lengths), far(got, solo))
					}
				}
			})
		}
	}
}

// loadThreads is load with a number of threads.
func (f fixture) loadThreads(t testing.TB, span shard.Span, serving shard.Serving, threads int) *engine.Stage {
	t.Helper()
	s, err := engine.Load(runtimeOf(t), engine.StageSpec{Manifest: f.manifest, Span: span, Serving: serving, Backend: f.backend, Threads: threads}, f.files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// benchmarkShape is GPT-2 124M's.
var benchmarkShape = model.Config{Arch: model.GPT2, Layers: 12, Hidden: 768, Heads: 12, KVHeads: 12, HeadDim: 64, Intermediate: 3072,
	Vocab: 50257, Positions: 1024, NormEps: 1e-5, Activation: "gelu_new"}

// BenchmarkDecode measures decode steps of GPT-2 124M's shape at a past of 128 tokens, one thread: tokens/s for 1, 4 and 8 rows.
func BenchmarkDecode(b *testing.B) {
	runtimeOf(b)
	f := synthetic(b, benchmarkShape, model.F32)
	s := f.load(b, f.whole(), shard.Serving{Slots: 8, Context: 512})
	for _, n := range []int{1, 4, 8} {
		b.Run(fmt.Sprintf("rows-%d", n), func(b *testing.B) { benchmarkDecode(b, s, f, n, 128) })
	}
}

// BenchmarkRun measures what a step costs beside the computing: GPT-2's number of layers at a width of next to nothing.
func BenchmarkRun(b *testing.B) {
	runtimeOf(b)
	c := benchmarkShape
	c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.Intermediate, c.Vocab = 8, 1, 1, 8, 8, 16
	f := synthetic(b, c, model.F32)
	s := f.load(b, f.whole(), shard.Serving{Slots: 8, Context: 512})
	benchmarkDecode(b, s, f, 1, 1)
}

func benchmarkDecode(b *testing.B, s *engine.Stage, f fixture, n, past int) {
	tokens := words(1, n, f.manifest.Config.Vocab)
	positions, want := make([]int32, n), make([]int, n)
	for i := range positions {
		positions[i], want[i] = int32(past), i
	}
	for b.Loop() {
		if err := s.Embed(tokens, positions, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Run(engine.Step{Rows: engine.Rows{Positions: positions}, Want: want}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
