package model

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/skein-project/skein/blob"
)

// weights is the blob that the tests' tensors lie in.
var weights = blob.Of([]byte("weights")).Digest()

// small makes a valid manifest of a family.
func small(arch Arch) *Manifest {
	m := &Manifest{
		Format: Format,
		Config: Config{Arch: arch, Layers: 3, Hidden: 8, Heads: 4, KVHeads: 4, HeadDim: 2, Intermediate: 16, Vocab: 100, Positions: 32, NormEps: 1e-5, Activation: "gelu"},
		Files:  map[string]blob.Ref{"tokenizer.json": {Digest: weights, Len: 5}, "config.json": {Digest: weights, Len: 7}},
		Tasks:  []Task{Generate},
		EOS:    []int32{1, 99},
		BOS:    -1,
		Pad:    0,
	}
	switch arch {
	case Llama:
		m.Config.KVHeads, m.Config.RopeTheta = 2, 10000
		m.Config.RopeScaling = &RopeScaling{Kind: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalPosition: 16}
		m.Sampling = Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8}
	case BERT:
		m.Config.Types, m.EOS = 2, nil
		m.Tasks, m.Labels, m.Problem = []Task{Classify, Infer}, []string{"good", `ba"d {`}, MultiLabel
	}
	fill(m)
	return m
}

// fill gives the manifest all tensors that it has a place for, one after the other; the head is tied.
func fill(m *Manifest) {
	m.Tensors = nil
	off := int64(0)
	for block := Embed; block <= m.Tail(); block++ {
		for _, s := range m.Slots(block) {
			t := Tensor{Name: s.Name, Block: block, DType: BF16, Shape: s.Shape, Ref: blob.Ref{Digest: weights, Off: off, Len: 2 * Elements(s.Shape)}}
			off += t.Ref.Len
			if s.Name == "head.weight" {
				t.Ref = m.Tensors[slices.IndexFunc(m.Tensors, func(t Tensor) bool { return t.Name == "embed.token" })].Ref
			}
			m.Tensors = append(m.Tensors, t)
		}
	}
}

func TestEncodeDecode(t *testing.T) {
	for _, arch := range []Arch{GPT2, Llama, BERT} {
		m := small(arch)
		b := Encode(m)
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if !reflect.DeepEqual(got, m) || got.Digest() != m.Digest() || !bytes.Equal(Encode(got), b) {
			t.Errorf("%s: %s, want %s", arch, Encode(got), b)
		}
	}
}

// One manifest has one encoding: anything else that a lenient reader would take for the same is refused.
func TestDecodeIsStrict(t *testing.T) {
	good := string(Encode(small(GPT2)))
	for name, text := range map[string]string{
		"empty":               "",
		"null":                "null",
		"list":                "[]",
		"cut short":           good[:len(good)-1],
		"space at the end":    good + "\n",
		"space":               strings.Replace(good, ",", ", ", 1),
		"second value":        good + "{}",
		"unknown field":       strings.Replace(good, `{"format":1`, `{"format":1,"x":2`, 1),
		"key twice":           strings.Replace(good, `{"format":1`, `{"format":1,"format":1`, 1),
		"key in upper case":   strings.Replace(good, `"layers"`, `"Layers"`, 1),
		"number in long form": strings.Replace(good, `"layers":3`, `"layers":3.0`, 1),
		"number as text":      strings.Replace(good, `"layers":3`, `"layers":"3"`, 1),
		"layers 2^63":         strings.Replace(good, `"layers":3`, `"layers":9223372036854775808`, 1),
		"digest too short":    strings.Replace(good, weights.String(), weights.String()[1:], 1),
		"digest a path":       strings.Replace(good, weights.String(), "../../"+weights.String()[6:], 1),
		"deep":                strings.Repeat(`{"config":`, 1e5),
		"many objects":        `{"tensors":[` + strings.Repeat("{},", 1e5) + `{}]}`,
		"long":                strings.Repeat(" ", MaxEncoded+1),
		"other format":        strings.Replace(good, `"format":1`, `"format":2`, 1),
	} {
		if m, err := Decode([]byte(text)); !errors.As(err, new(Invalid)) || m != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	big := 1 << 40
	tensor := func(m *Manifest, block int, name string) *Tensor {
		return &m.Tensors[slices.IndexFunc(m.Tensors, func(t Tensor) bool { return t.Block == block && t.Name == name })]
	}
	drop := func(m *Manifest, block int, name string) {
		m.Tensors = slices.DeleteFunc(m.Tensors, func(t Tensor) bool { return t.Block == block && t.Name == name })
	}
	for _, c := range []struct {
		arch   Arch
		what   string
		change func(m *Manifest)
	}{
		{GPT2, "format", func(m *Manifest) { m.Format = 0 }},
		{GPT2, "arch", func(m *Manifest) { m.Config.Arch = "mamba" }},
		{GPT2, "layers", func(m *Manifest) { m.Config.Layers = -1 }},
		{GPT2, "layers", func(m *Manifest) { m.Config.Layers = 1_000_000_000 }},
		{GPT2, "hidden", func(m *Manifest) { m.Config.Hidden = big }},
		{GPT2, "heads", func(m *Manifest) { m.Config.Heads = 0 }},
		{GPT2, "kv_heads", func(m *Manifest) { m.Config.KVHeads = 2 }},
		{GPT2, "head_dim", func(m *Manifest) { m.Config.HeadDim = 4 }},
		{GPT2, "intermediate", func(m *Manifest) { m.Config.Intermediate = 0 }},
		{GPT2, "vocab", func(m *Manifest) { m.Config.Vocab = big }},
		{GPT2, "positions", func(m *Manifest) { m.Config.Positions = -5 }},
		{GPT2, "types", func(m *Manifest) { m.Config.Types = 1 }},
		{GPT2, "rope_theta", func(m *Manifest) { m.Config.RopeTheta = 1 }},
		{GPT2, "sliding_window", func(m *Manifest) { m.Config.SlidingWindow = 4 }},
		{GPT2, "norm_eps", func(m *Manifest) { m.Config.NormEps = math.NaN() }},
		{GPT2, "norm_eps", func(m *Manifest) { m.Config.NormEps = 0 }},
		{GPT2, "activation", func(m *Manifest) { m.Config.Activation = "tanh" }},
		{Llama, "kv_heads", func(m *Manifest) { m.Config.KVHeads = 3 }},
		{Llama, "kv_heads", func(m *Manifest) { m.Config.KVHeads = 8 }},
		{Llama, "head_dim", func(m *Manifest) { m.Config.HeadDim = 3 }},
		{Llama, "rope_theta", func(m *Manifest) { m.Config.RopeTheta = math.Inf(1) }},
		{Llama, "rope_theta", func(m *Manifest) { m.Config.RopeTheta = 0 }},
		{Llama, "rope_scaling", func(m *Manifest) { m.Config.RopeScaling.Kind = "yarn" }},
		{Llama, "rope_scaling", func(m *Manifest) { m.Config.RopeScaling.HighFreqFactor = 1 }},
		{Llama, "rope_scaling", func(m *Manifest) { m.Config.RopeScaling.Kind = "linear" }},
		{Llama, "rope_scaling factor", func(m *Manifest) { m.Config.RopeScaling.Factor = math.NaN() }},
		{Llama, "rope_scaling original_position", func(m *Manifest) { m.Config.RopeScaling.OriginalPosition = 0 }},
		{Llama, "sliding_window", func(m *Manifest) { m.Config.SlidingWindow = -1 }},
		{BERT, "types", func(m *Manifest) { m.Config.Types = MaxTypes + 1 }},
		{BERT, "sliding_window", func(m *Manifest) { m.Config.SlidingWindow = 4 }},

		{GPT2, "tasks", func(m *Manifest) { m.Tasks = nil }},
		{GPT2, "tasks", func(m *Manifest) { m.Tasks = []Task{Generate, Generate} }},
		{GPT2, "tasks", func(m *Manifest) { m.Tasks = []Task{ClassifyTokens} }},
		{GPT2, "pooling", func(m *Manifest) { m.Tasks = []Task{EmbedTask} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Answer, Classify} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Classify, FillMask} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Classify, Rerank} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks, m.Labels, m.Problem = []Task{Rerank}, nil, "" }},
		{BERT, "labels", func(m *Manifest) { m.Tasks = []Task{Answer} }},
		{BERT, "pooler_act", func(m *Manifest) { m.Config.PoolerAct = "tanh" }},
		{Llama, "pooler_act", func(m *Manifest) { m.Config.PoolerAct = "relu" }},
		{GPT2, "tasks", func(m *Manifest) { m.Tasks = []Task{"guess"} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Infer, Classify} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Classify, ClassifyTokens} }},
		{BERT, "tasks", func(m *Manifest) { m.Tasks = []Task{Generate} }},
		{BERT, "pooling", func(m *Manifest) { m.Pooling = PoolMean }},
		{BERT, "pooling", func(m *Manifest) { m.Pooling = "max" }},
		{BERT, "pooling", func(m *Manifest) { m.Normalize = true }},
		{BERT, "pooling", func(m *Manifest) { m.Tasks, m.Labels, m.Problem = []Task{EmbedTask}, nil, "" }},
		{BERT, "number of labels", func(m *Manifest) { m.Labels = nil }},
		{BERT, "label 1", func(m *Manifest) { m.Labels[1] = "\xff" }},
		{BERT, "label 0", func(m *Manifest) { m.Labels[0] = strings.Repeat("x", MaxLabelLen+1) }},
		{BERT, "problem", func(m *Manifest) { m.Problem = "" }},
		{GPT2, "labels", func(m *Manifest) { m.Labels = []string{"x"} }},
		{GPT2, "bos", func(m *Manifest) { m.BOS = 100 }},
		{GPT2, "pad", func(m *Manifest) { m.Pad = -2 }},
		{GPT2, "eos", func(m *Manifest) { m.EOS = []int32{-1} }},
		{GPT2, "eos", func(m *Manifest) { m.EOS = []int32{2, 1} }},
		{GPT2, "number of eos", func(m *Manifest) { m.EOS = make([]int32, MaxEOS+1) }},
		{GPT2, `file "../x"`, func(m *Manifest) { m.Files["../x"] = m.Files["config.json"] }},
		{GPT2, `file "config.json"`, func(m *Manifest) { m.Files["config.json"] = blob.Ref{Digest: weights, Len: MaxFileLen + 1} }},
		{GPT2, `file "config.json"`, func(m *Manifest) { m.Files["config.json"] = blob.Ref{Digest: weights, Off: 1, Len: 5} }},
		{GPT2, `file "config.json"`, func(m *Manifest) { m.Files["config.json"] = blob.Ref{Len: 5} }},
		{GPT2, "temperature", func(m *Manifest) { m.Sampling.Temperature = math.NaN() }},
		{GPT2, "temperature", func(m *Manifest) { m.Sampling.Temperature = -1 }},
		{GPT2, "top_p", func(m *Manifest) { m.Sampling.TopP = math.Inf(1) }},
		{GPT2, "top_k", func(m *Manifest) { m.Sampling.TopK = -1 }},
		{GPT2, "top_logprobs", func(m *Manifest) { m.Sampling.TopLogprobs = 21 }},

		{GPT2, "number of tensors", func(m *Manifest) { m.Tensors = nil }},
		{GPT2, "number of tensors", func(m *Manifest) { m.Tensors = make([]Tensor, MaxTensors+1) }},
		{GPT2, `tensor 1/"attn.qkv.bias"`, func(m *Manifest) { drop(m, 1, "attn.qkv.bias") }},
		{GPT2, `tensor "embed.position"`, func(m *Manifest) { drop(m, Embed, "embed.position") }},
		{GPT2, `tensor 3/"head.weight"`, func(m *Manifest) { drop(m, 3, "head.weight") }},
		{GPT2, `tensor 0/"attn.qkv.weight"`, func(m *Manifest) { tensor(m, 0, "attn.qkv.weight").Name = "attn.x" }},
		{GPT2, `tensor 3/"x"`, func(m *Manifest) {
			m.Tensors = append(m.Tensors, m.Tensors[0])
			m.Tensors[len(m.Tensors)-1].Block, m.Tensors[len(m.Tensors)-1].Name = 3, "x"
		}},
		{GPT2, `tensor 9/"attn.x"`, func(m *Manifest) { m.Tensors = append(m.Tensors, Tensor{Block: 9, Name: "attn.x"}) }},
		{GPT2, `tensor "embed.position"`, func(m *Manifest) { m.Tensors[0], m.Tensors[1] = m.Tensors[1], m.Tensors[0] }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").DType = "F64" }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").DType = F32 }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Shape = []int64{4, 2} }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Shape = []int64{-8} }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Ref.Off = -1 }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Ref.Off = blob.MaxSize }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Ref.Len++ }},
		{GPT2, `tensor 0/"attn.norm.bias"`, func(m *Manifest) { tensor(m, 0, "attn.norm.bias").Ref.Digest = blob.Digest{} }},
		{Llama, `tensor 2/"attn.q.bias"`, func(m *Manifest) { drop(m, 2, "attn.q.bias") }},
		{Llama, `tensor 1/"attn.q.bias"`, func(m *Manifest) { drop(m, 0, "attn.q.bias") }},
		{BERT, `tensor 3/"pooler.bias"`, func(m *Manifest) { drop(m, 3, "pooler.bias") }},
		{BERT, `tensor 3/"pooler.bias"`, func(m *Manifest) { m.Tasks = []Task{ClassifyTokens, Infer} }},
		{BERT, "pooler", func(m *Manifest) {
			m.Tasks, m.Labels, m.Problem, m.Pooling = []Task{EmbedTask, Infer}, nil, "", PoolCLS
			fill(m)
			drop(m, 3, "pooler.bias")
		}},
	} {
		m := small(c.arch)
		if err := m.Validate(); err != nil {
			t.Fatalf("%s is not valid to begin with: %v", c.arch, err)
		}
		c.change(m)
		var inv Invalid
		if err := m.Validate(); !errors.As(err, &inv) || inv.What != c.what {
			t.Errorf("%s: %v, want something about %q", c.arch, err, c.what)
		}
	}
}

// The variants of each family that Hugging Face checkpoints have.
func TestValidateAccepts(t *testing.T) {
	for name, m := range map[string]*Manifest{"no biases": small(Llama), "sentence": small(BERT), "no pooler": small(BERT), "tokens": small(BERT), "long": small(Llama),
		"masks": small(BERT), "answers": small(BERT), "rerank": small(BERT), "vectors of a decoder": small(GPT2), "no segments": small(BERT)} {
		optional := func(t Tensor) bool {
			return slices.ContainsFunc(m.Slots(t.Block), func(s Slot) bool { return s.Name == t.Name && s.Optional })
		}
		switch name {
		case "no biases":
			m.Tensors = slices.DeleteFunc(m.Tensors, optional)
		case "sentence", "no pooler":
			m.Tasks, m.Labels, m.Problem, m.Pooling, m.Normalize = []Task{EmbedTask, Infer}, nil, "", PoolMean, true
			fill(m)
			if name == "no pooler" {
				m.Tensors = slices.DeleteFunc(m.Tensors, optional)
			}
		case "tokens":
			m.Tasks, m.Problem = []Task{ClassifyTokens, Infer}, SingleLabel
			fill(m)
		case "masks":
			m.Tasks, m.Labels, m.Problem, m.Pooling = []Task{EmbedTask, FillMask}, nil, "", PoolLast
			fill(m)
			m.Tensors = slices.DeleteFunc(m.Tensors, optional)
		case "answers":
			m.Tasks, m.Labels, m.Problem = []Task{Answer}, nil, ""
			fill(m)
		case "rerank":
			m.Tasks, m.Labels = []Task{Classify, Rerank}, []string{"fits"}
			fill(m)
		case "vectors of a decoder":
			m.Tasks, m.Pooling = []Task{EmbedTask, Generate}, PoolLast
		case "no segments":
			m.Config.Types, m.Config.PoolerAct = 0, "relu"
			fill(m)
		case "long":
			m.Config.Layers = MaxLayers
			fill(m)
		}
		if _, err := Decode(Encode(m)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLookups(t *testing.T) {
	m := small(GPT2)
	if !m.Tied() || m.Tail() != 3 || m.Context() != 32 || !m.Can(Generate) || m.Can(Infer) || m.Config.Group() != 1 {
		t.Error("wrong facts")
	}
	n := 0
	for block := Embed; block <= m.Tail(); block++ {
		for _, want := range m.Block(block) {
			if got, ok := m.Tensor(block, want.Name); !ok || got.Block != block || got.Name != want.Name {
				t.Errorf("%d/%s: %v", block, want.Name, got)
			}
			n++
		}
	}
	if n != len(m.Tensors) {
		t.Errorf("%d of %d tensors found", n, len(m.Tensors))
	}
	for _, name := range []string{"", "attn", "mlp.up.weightx", "zzz"} {
		if _, ok := m.Tensor(1, name); ok {
			t.Errorf("found %q", name)
		}
	}
	if len(m.Block(-2))+len(m.Block(4)) != 0 {
		t.Error("blocks that do not exist have tensors")
	}
}

// The ranges of a stage hold exactly the bytes of its tensors.
func TestRefsCoverAStage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := small(rapid.SampledFrom([]Arch{GPT2, Llama, BERT}).Draw(t, "arch"))
		from := rapid.IntRange(0, m.Tail()-1).Draw(t, "from")
		to := rapid.IntRange(from+1, m.Tail()).Draw(t, "to")
		want, got := map[int64]bool{}, map[int64]bool{}
		for _, x := range m.Tensors {
			in := x.Block >= from && x.Block < to || x.Block == Embed && from == 0 || x.Block == m.Tail() && to == m.Tail()
			for i := range x.Ref.Len {
				if in {
					want[x.Ref.Off+i] = true
				}
			}
		}
		if m.Config.Arch.Decoder() && to == m.Tail() { // whoever chooses tokens knows what they are
			for _, f := range m.Files {
				for i := range f.Len {
					want[f.Off+i] = true
				}
			}
		}
		end := int64(-1)
		for _, r := range m.Refs(from, to) {
			if r.Off <= end {
				t.Fatalf("ranges touch or are not sorted: %v", m.Refs(from, to))
			}
			end = r.Off + r.Len
			for i := range r.Len {
				got[r.Off+i] = true
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
	})
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		n     int64
	}{{nil, 1}, {[]int64{3, 4}, 12}, {[]int64{0, 5}, 0}, {[]int64{-1, 0}, -1}, {[]int64{1 << 32, 1 << 32}, -1}, {[]int64{1 << 62, 2}, -1}, {[]int64{math.MaxInt64}, -1}} {
		if n := Elements(c.shape); n != c.n {
			t.Errorf("%v: %d, want %d", c.shape, n, c.n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, arch := range []Arch{GPT2, Llama, BERT} {
		m := small(arch)
		m.Config.Layers = 1
		m.Config.Vocab, m.EOS = 5, nil
		fill(m)
		f.Add(Encode(m))
	}
	f.Add([]byte(`{"format":1,"tensors":[{},{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !errors.As(err, new(Invalid)) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if !bytes.Equal(Encode(m), b) {
			t.Fatal("accepted what is not canonical")
		}
		for block := Embed; block <= m.Tail(); block++ {
			for _, s := range m.Slots(block) {
				if _, ok := m.Tensor(block, s.Name); !ok && !s.Optional {
					t.Fatal(fmt.Sprint("accepted without ", s))
				}
			}
		}
	})
}
