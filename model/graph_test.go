package model

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
)

// graphManifest is a valid model of one graph, which is asked with text.
func graphManifest() *Manifest {
	d := blob.Of([]byte("weights")).Digest()
	return &Manifest{
		Format: Format, Config: Config{Arch: Graph, Layers: 1, Hidden: 8, Vocab: 16, Positions: 32}, BOS: -1, Pad: -1,
		Tasks: []Task{EmbedTask, Infer}, Pooling: PoolMean,
		Files:   map[string]blob.Ref{GraphFile: {Digest: blob.Of([]byte("graph")).Digest(), Len: 5}},
		Tensors: []Tensor{{Name: "a", DType: F32, Shape: []int64{2, 3}, Ref: blob.Ref{Digest: d, Len: 24}}, {Name: "b", DType: I8, Shape: []int64{4}, Ref: blob.Ref{Digest: d, Off: 24, Len: 4}}},
		Graph: &Signature{
			Inputs:  []Port{{"ids", I64, []int64{Free, Free}}, {"mask", I64, []int64{Free, Free}}},
			Outputs: []Port{{"states", F32, []int64{Free, Free, 8}}, {"count", I32, []int64{}}},
			Text:    &Text{IDs: "ids", Mask: "mask", Hidden: "states"},
		},
	}
}

func TestGraphManifest(t *testing.T) {
	m := graphManifest()
	again, err := Decode(Encode(m))
	if err != nil || again.Digest() != m.Digest() {
		t.Fatalf("%v", err)
	}
	refs := m.Refs(0, 1)
	if len(refs) != 2 || !slices.Contains(refs, m.Files[GraphFile]) || !slices.Contains(refs, blob.Ref{Digest: m.Tensors[0].Ref.Digest, Len: 28}) {
		t.Errorf("refs %v", refs)
	}
	plain := graphManifest()
	plain.Config, plain.Graph.Text, plain.Tasks, plain.Pooling, plain.Tensors = Config{Arch: Graph, Layers: 1}, nil, []Task{Infer}, "", nil
	if err := plain.Validate(); err != nil {
		t.Errorf("tensors only, without weights: %v", err)
	}
	ends := graphManifest()
	ends.Tasks, ends.Pooling = []Task{Answer, Infer}, ""
	ends.Graph.Outputs = append(ends.Graph.Outputs, Port{"a", F32, []int64{Free, Free}}, Port{"z", F32, []int64{Free, Free}})
	ends.Graph.Text.Start, ends.Graph.Text.End = "a", "z"
	if err := ends.Validate(); err != nil {
		t.Errorf("ends of answers: %v", err)
	}
	for what, c := range map[string]struct {
		change func(*Manifest)
		why    string
	}{
		"two layers":       {func(m *Manifest) { m.Config.Layers = 2 }, "layers"},
		"heads":            {func(m *Manifest) { m.Config.Heads = 2 }, "only families with a builder"},
		"no graph":         {func(m *Manifest) { m.Graph = nil }, "graph"},
		"no file":          {func(m *Manifest) { delete(m.Files, GraphFile) }, GraphFile},
		"text ports":       {func(m *Manifest) { m.Graph.Outputs[1].DType = Bytes }, "carries text"},
		"no such ids":      {func(m *Manifest) { m.Graph.Text.IDs = "x" }, "no input of whole numbers"},
		"ids of floats":    {func(m *Manifest) { m.Graph.Inputs[0].DType = F32 }, "no input of whole numbers"},
		"port twice":       {func(m *Manifest) { m.Graph.Inputs[1].Name = "ids" }, "twice"},
		"negative":         {func(m *Manifest) { m.Graph.Inputs[0].Shape[0] = -2 }, "neither a length nor free"},
		"no vocabulary":    {func(m *Manifest) { m.Config.Vocab = 0 }, "vocab"},
		"no positions":     {func(m *Manifest) { m.Config.Positions = 0 }, "positions"},
		"no hidden":        {func(m *Manifest) { m.Config.Hidden = 0 }, "vectors"},
		"other states":     {func(m *Manifest) { m.Config.Hidden = 4 }, "the last is 4"},
		"states of texts":  {func(m *Manifest) { m.Graph.Outputs[0].Shape = []int64{Free, 8} }, "need 3 dimensions"},
		"pooled of tokens": {func(m *Manifest) { m.Graph.Text.Pooled = "states" }, "need 2 dimensions"},
		"no logits":        {func(m *Manifest) { m.Tasks, m.Pooling = []Task{FillMask, Infer}, "" }, "output that the graph lacks"},
		"one end":          {func(m *Manifest) { m.Graph.Text.Start = "starts" }, "no output of F32 [rows, tokens]"},
		"an end of states": {func(m *Manifest) { m.Graph.Text.Start, m.Graph.Text.End = "states", "states" }, "no output of F32 [rows, tokens]"},
		"no ends":          {func(m *Manifest) { m.Tasks, m.Pooling = []Task{Answer, Infer}, "" }, "output that the graph lacks"},
		"ends of states":   {func(m *Manifest) { m.Tasks, m.Pooling, m.Graph.Text.Logits = []Task{Answer, Infer}, "", "states" }, "the last is 2"},
		"masks of states":  {func(m *Manifest) { m.Tasks, m.Pooling, m.Graph.Text.Logits = []Task{FillMask, Infer}, "", "states" }, "the last is 16"},
		"labels of states": {func(m *Manifest) {
			m.Tasks, m.Pooling, m.Labels, m.Problem = []Task{Classify, Infer}, "", []string{"a", "b"}, SingleLabel
			m.Graph.Text.Logits = "states"
		}, "needs 2 dimensions"},
		"generates":        {func(m *Manifest) { m.Tasks = []Task{Generate} }, "nothing that a model"},
		"text of none":     {func(m *Manifest) { m.Graph.Text = nil }, "tensors only"},
		"weight of block":  {func(m *Manifest) { m.Tensors[1].Block = 1 }, "no initializer"},
		"weight twice":     {func(m *Manifest) { m.Tensors[1].Name = "a" }, "not sorted"},
		"weight unsorted":  {func(m *Manifest) { m.Tensors[0].Name = "c" }, "not sorted"},
		"weight of bytes":  {func(m *Manifest) { m.Tensors[0].DType = Bytes }, "dimensions of"},
		"weight too short": {func(m *Manifest) { m.Tensors[0].Ref.Len = 20 }, "do not hold"},
		"weight overflows": {func(m *Manifest) { m.Tensors[0].Shape = []int64{1 << 31, 1 << 31, 1 << 31} }, "do not hold"},
		"weight of none":   {func(m *Manifest) { m.Tensors[0].Ref.Digest = blob.Digest{} }, "range"},
		"weight unnamed":   {func(m *Manifest) { m.Tensors[0].Name = "" }, "no initializer"},
	} {
		m := graphManifest()
		c.change(m)
		if err := m.Validate(); !errors.As(err, new(Invalid)) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", what, err, c.why)
		}
	}
}

func TestPortTakes(t *testing.T) {
	p := Port{Shape: []int64{Free, 4}}
	for _, c := range []struct {
		shape []int64
		want  bool
	}{{[]int64{1, 4}, true}, {[]int64{0, 4}, true}, {[]int64{1, 5}, false}, {[]int64{-1, 4}, false}, {[]int64{4}, false}, {nil, false}} {
		if p.Takes(c.shape) != c.want {
			t.Errorf("%v: %v", c.shape, !c.want)
		}
	}
}
