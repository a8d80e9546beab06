package graph

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
)

// shapes has a model of each family; the second is Qwen2.5-0.5B's.
var shapes = map[model.Arch]model.Config{
	model.GPT2: {Arch: model.GPT2, Layers: 3, Hidden: 64, Heads: 4, KVHeads: 4, HeadDim: 16, Intermediate: 256, Vocab: 100, Positions: 64,
		NormEps: 1e-5, Activation: "gelu_new"},
	model.Llama: {Arch: model.Llama, Layers: 24, Hidden: 896, Heads: 14, KVHeads: 2, HeadDim: 64, Intermediate: 4864, Vocab: 151936,
		Positions: 32768, NormEps: 1e-6, Activation: "silu", RopeTheta: 1e6},
	model.BERT: {Arch: model.BERT, Layers: 3, Hidden: 32, Heads: 2, KVHeads: 2, HeadDim: 16, Intermediate: 64, Vocab: 100, Positions: 64, Types: 2,
		NormEps: 1e-12, Activation: "gelu"},
}

// manifest describes weights of a shape that nobody has; bias says whether the optional tensors are there.
func manifest(c model.Config, dtype model.DType, optional bool) *model.Manifest {
	m := &model.Manifest{Format: model.Format, Config: c, Tasks: []model.Task{model.Generate}, BOS: -1, Pad: -1}
	if c.Arch == model.BERT {
		m.Tasks, m.Labels, m.Problem = []model.Task{model.Classify}, []string{"a", "b"}, model.SingleLabel
	}
	m.Tensors = tensors(m, dtype, optional)
	return m
}

// tensors describes a tensor for each place.
func tensors(m *model.Manifest, dtype model.DType, optional bool) (out []model.Tensor) {
	at := int64(0)
	for block := model.Embed; block <= m.Config.Layers; block++ {
		for _, slot := range m.Slots(block) {
			if slot.Optional && !optional {
				continue
			}
			n := dtype.Size()
			for _, d := range slot.Shape {
				n *= d
			}
			out = append(out, model.Tensor{Name: slot.Name, Block: block, DType: dtype, Shape: slot.Shape, Ref: blob.Ref{Digest: blob.Digest{1}, Off: at, Len: n}})
			at += n
		}
	}
	return out
}

func options(c model.Config) Options { return Options{Context: c.Positions} }

// TestOnlyItsOwn: the graph of a span depends on the tensors of its blocks only, is the same each time, and holds no weights.
func TestOnlyItsOwn(t *testing.T) {
	for arch, c := range shapes {
		for _, dtype := range []model.DType{model.F32, model.BF16, model.F16} {
			m := manifest(c, dtype, true)
			for _, span := range []shard.Span{{From: 0, To: c.Layers}, {From: 0, To: 1}, {From: 1, To: 2}, {From: c.Layers - 1, To: c.Layers}} {
				g, err := Build(m, span, options(c))
				if err != nil {
					t.Fatalf("%s %v: %v", arch, span, err)
				}
				if len(g.Model) > 256<<10 {
					t.Errorf("%s %v: a graph of %d bytes", arch, span, len(g.Model))
				}
				own := *m
				own.Tensors = slices.DeleteFunc(slices.Clone(m.Tensors), func(x model.Tensor) bool {
					return (x.Block < span.From || x.Block >= span.To) && (x.Block != c.Layers || span.To != c.Layers) && (x.Block != model.Embed || span.From != 0)
				})
				again, err := Build(&own, span, options(c))
				if err != nil || !bytes.Equal(again.Model, g.Model) {
					t.Errorf("%s %v: another graph without the other blocks' tensors (%v)", arch, span, err)
				}
				if strings.Contains(strings.Join(append(g.Inputs, g.Outputs...), " "), fmt.Sprintf("k.%d", span.To)) {
					t.Errorf("%s %v: inputs or outputs of another block: %v %v", arch, span, g.Inputs, g.Outputs)
				}
			}
		}
	}
}

// TestMissing: without any one tensor that a family needs, or with another shape or length, there is no graph.
func TestMissing(t *testing.T) {
	for arch, c := range shapes {
		c.Layers = 2
		m := manifest(c, model.F32, false)
		whole := shard.Span{To: c.Layers}
		if _, err := Build(m, whole, options(c)); err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		for i, x := range m.Tensors {
			// The embedding tables are not the graph's; biases and heads may lack.
			if x.Block == model.Embed && !strings.HasPrefix(x.Name, "embed.norm") {
				continue
			}
			for name, change := range map[string]func(*model.Tensor){
				"name":   func(x *model.Tensor) { x.Name = "other" },
				"shape":  func(x *model.Tensor) { x.Shape = append(slices.Clone(x.Shape), 1) },
				"dtype":  func(x *model.Tensor) { x.DType = "I64" },
				"length": func(x *model.Tensor) { x.Ref.Len-- },
			} {
				broken := *m
				broken.Tensors = slices.Clone(m.Tensors)
				change(&broken.Tensors[i])
				_, err := Build(&broken, whole, options(c))
				if optional := strings.HasSuffix(x.Name, ".bias") && !strings.Contains(x.Name, "norm") || x.Block == c.Layers && arch == model.BERT; optional && name == "name" {
					continue
				}
				if x.Name == "classifier.weight" && name == "shape" { // no matrix: as if it were not there
					continue
				}
				if !errors.Is(err, ErrTensor) {
					t.Errorf("%s: other %s of block %d %s: %v", arch, name, x.Block, x.Name, err)
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	with := func(change func(*model.Config)) *model.Manifest {
		c := shapes[model.Llama]
		c.Layers, c.Vocab = 1, 16
		change(&c)
		return manifest(c, model.F32, false)
	}
	same := func(*model.Config) {}
	one := shard.Span{To: 1}
	for _, c := range []struct {
		name    string
		m       *model.Manifest
		span    shard.Span
		context int
		want    error
	}{
		{"fits", with(same), one, 64, nil},
		{"empty span", with(same), shard.Span{}, 64, ErrSpan},
		{"backward span", with(same), shard.Span{From: 1, To: 0}, 64, ErrSpan},
		{"span below", with(same), shard.Span{From: -1, To: 1}, 64, ErrSpan},
		{"span above", with(same), shard.Span{From: 0, To: 2}, 64, ErrSpan},
		{"no context", with(same), one, 0, ErrUnsupported},
		{"context above", with(same), one, 32769, ErrUnsupported},
		{"head dimension", with(func(c *model.Config) { c.HeadDim = 24 }), one, 64, ErrUnsupported},
		{"no head dimension", with(func(c *model.Config) { c.HeadDim = 0 }), one, 64, ErrUnsupported},
		{"activation", with(func(c *model.Config) { c.Activation = "swish7" }), one, 64, ErrUnsupported},
		{"rope scaling", with(func(c *model.Config) { c.RopeScaling = &model.RopeScaling{Kind: "yarn", Factor: 2} }), one, 64, ErrUnsupported},
		{"architecture", &model.Manifest{Config: model.Config{Arch: "rnn", Layers: 1, Positions: 64}}, one, 64, ErrUnsupported},
	} {
		if _, err := Build(c.m, c.span, Options{Context: c.context}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, s := range []model.RopeScaling{{Kind: "yarn", Factor: 2}, {Kind: "linear"}, {Kind: "linear", Factor: math.NaN()}, {Kind: "llama3", Factor: 8},
		{Kind: "llama3", Factor: 8, LowFreqFactor: 4, HighFreqFactor: 1, OriginalPosition: 64}} {
		c := shapes[model.Llama]
		c.RopeScaling = &s
		if err := Rope(c, nil, nil); !errors.Is(err, ErrUnsupported) {
			t.Errorf("rope scaling %+v: %v", s, err)
		}
	}
}

// TestRope: angles are position·theta^(−2i/d); linear scaling by f makes position f·p what p was; llama3 scaling leaves the fastest pair
// alone and slows the slowest by its factor.
func TestRope(t *testing.T) {
	c := model.Config{HeadDim: 64, RopeTheta: 10000}
	tables := func(positions int) (cos, sin []float32) {
		cos, sin = make([]float32, positions*32), make([]float32, positions*32)
		if err := Rope(c, cos, sin); err != nil {
			t.Fatal(err)
		}
		return cos, sin
	}
	cos, sin := tables(100)
	close := func(a float32, b float64) bool { return math.Abs(float64(a)-b) < 1e-5 }
	for p := range 100 {
		for i := range 32 {
			a := float64(p) * math.Pow(10000, -float64(2*i)/64)
			if !close(cos[p*32+i], math.Cos(a)) || !close(sin[p*32+i], math.Sin(a)) {
				t.Fatalf("position %d, pair %d: %g %g, want the angle %g", p, i, cos[p*32+i], sin[p*32+i], a)
			}
		}
	}
	c.RopeScaling = &model.RopeScaling{Kind: "linear", Factor: 4}
	linear, _ := tables(400)
	if !slices.Equal(linear[4*50*32:][:32], cos[50*32:][:32]) {
		t.Error("linear scaling by 4: position 200 is not what 50 was")
	}
	c.RopeScaling = &model.RopeScaling{Kind: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPosition: 8192}
	_, scaled := tables(400)
	slow := 8 * math.Asin(float64(scaled[399*32+31])) / 399
	if scaled[7*32] != sin[7*32] || math.Abs(slow/math.Pow(10000, -62.0/64)-1) > 1e-3 {
		t.Errorf("llama3 scaling: fastest pair %g, was %g; slowest frequency times 8 %g", scaled[7*32], sin[7*32], slow)
	}
}

// TestHeads: each head of an encoder has its inputs and outputs, and no other.
func TestHeads(t *testing.T) {
	with := func(change func(m *model.Manifest)) *model.Manifest {
		m := &model.Manifest{Format: model.Format, Config: shapes[model.BERT], BOS: -1, Pad: -1}
		change(m)
		m.Tensors = tensors(m, model.F32, true)
		return m
	}
	for name, c := range map[string]struct {
		m    *model.Manifest
		want Graph
	}{
		"masks":   {with(func(m *model.Manifest) { m.Tasks = []model.Task{model.FillMask} }), Graph{Head: true, Pooler: true}},
		"answers": {with(func(m *model.Manifest) { m.Tasks = []model.Task{model.Answer} }), Graph{Labels: 2}},
		"a pooler of its own": {with(func(m *model.Manifest) {
			m.Tasks, m.Labels, m.Config.PoolerAct = []model.Task{model.Classify, model.Rerank}, []string{"a"}, "relu"
		}), Graph{Labels: 1, Pooler: true}},
	} {
		for _, compute := range []model.DType{model.F32, model.BF16} {
			g, err := Build(c.m, shard.Span{To: c.m.Config.Layers}, Options{Context: 64, Compute: compute})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if g.Head != c.want.Head || g.Labels != c.want.Labels || g.Pooler != c.want.Pooler {
				t.Errorf("%s: %+v", name, g)
			}
			if slices.Contains(g.Inputs, Select) != g.Head || slices.Contains(g.Outputs, Logits) != g.Head || slices.Contains(g.Outputs, Scores) != (g.Labels > 0) {
				t.Errorf("%s: in %v, out %v", name, g.Inputs, g.Outputs)
			}
		}
		first, err := Build(c.m, shard.Span{To: 1}, Options{Context: 64})
		if err != nil || first.Head || first.Labels > 0 || first.Pooler {
			t.Errorf("%s: the first of two stages has heads: %+v, %v", name, first, err)
		}
	}
}
