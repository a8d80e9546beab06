package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/engine"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/tensor"
)

// foreign is a folder of testdata/onnx as a store of blobs.
type foreign struct {
	made   *convert.Made
	golden convert.Golden
	graph  []byte
	files  func(blob.Digest) (string, error)
}

func openForeign(t testing.TB, name string) foreign {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "testdata", "onnx", name))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sources, paths := map[string]convert.Source{}, map[blob.Digest]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		d := blob.Of(b).Digest()
		sources[e.Name()] = convert.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: d}
		paths[d] = filepath.Join(dir, e.Name())
	}
	var f foreign
	if f.made, err = convert.Folder(sources); err != nil {
		t.Fatal(err)
	}
	if f.golden, _, err = convert.GoldenOf(sources); err != nil {
		t.Fatal(err)
	}
	f.graph = f.made.Derived[f.made.Manifest.Files[model.GraphFile].Digest]
	f.files = func(d blob.Digest) (string, error) { return paths[d], nil }
	return f
}

func (f foreign) load(t testing.TB) *engine.Graph {
	t.Helper()
	g, err := engine.LoadGraph(runtimeOf(t), engine.GraphSpec{Manifest: f.made.Manifest}, f.graph, f.files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func floats(x tensor.Tensor) []float32 {
	out := make([]float32, len(x.Data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
	}
	return out
}

// TestForeignGraphs: graphs of other makers give what their own frameworks compute.
func TestForeignGraphs(t *testing.T) {
	for _, name := range []string{"mlp", "external", "bert-classify", "bert-embed", "bert-spans", "bert-fill", "bert-answer", "roberta-answer", "bert-rank"} {
		f := openForeign(t, name)
		g := f.load(t)
		if err := g.WarmUp(); err != nil {
			t.Errorf("%s: warm-up: %v", name, err)
		}
		var wanted []string
		for _, x := range f.golden.Outputs {
			if _, ok := f.made.Manifest.Graph.Output(x.Name); ok {
				wanted = append(wanted, x.Name)
			}
		}
		got, err := g.Run(f.golden.Inputs, wanted)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, x := range got {
			i := slices.IndexFunc(f.golden.Outputs, func(o tensor.Tensor) bool { return o.Name == x.Name })
			want := f.golden.Outputs[i]
			if x.DType != want.DType || !slices.Equal(x.Shape, want.Shape) {
				t.Errorf("%s: %s is %s%v, want %s%v", name, x.Name, x.DType, x.Shape, want.DType, want.Shape)
			} else if x.DType == model.F32 && far(floats(x), floats(want)) > 1e-5 || x.DType != model.F32 && !bytes.Equal(x.Data, want.Data) {
				t.Errorf("%s: %s differs from what its framework computes, by %v", name, x.Name, far(floats(x), floats(want)))
			}
		}
		if len(got) == 0 || g.Used() <= 0 {
			t.Errorf("%s: %d outputs compared, %v bytes used", name, len(got), g.Used())
		}
	}
}

// TestForeignText: a graph that is asked with text gives what the same model of safetensors gives.
func TestForeignText(t *testing.T) {
	const tolerance = 1e-5
	for _, name := range []string{"bert-classify", "bert-embed", "bert-spans", "bert-fill", "bert-answer", "roberta-answer", "bert-rank"} {
		f, ref := openForeign(t, name), open(t, name)
		g := f.load(t)
		for _, in := range ref.Inputs {
			var masks []int32
			for _, at := range in.Masks {
				masks = append(masks, int32(at))
			}
			e, err := g.EncodeRow(in.IDs, in.TypeIDs, masks)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			scores := e.Logits
			if len(in.Masks) > 0 {
				scores = e.Masks
			}
			if len(scores) != len(in.Logits) && name != "bert-embed" || far(scores, in.Logits) > tolerance ||
				e.Hidden != nil && (len(e.Hidden) != len(in.Hidden) || far(e.Hidden, in.Hidden) > tolerance) {
				t.Errorf("%s: %q: another answer", name, in.Text)
			}
			if scores == nil && e.Hidden == nil {
				t.Errorf("%s: no answer", name)
			}
		}
	}
}

// TestForeignScores: a graph whose output has another width than its model's tasks need, which its ports leave open, is not taken at its word.
func TestForeignScores(t *testing.T) {
	for name, change := range map[string]func(*model.Manifest){
		"bert-spans": func(m *model.Manifest) { m.Labels = m.Labels[:4] },
		"bert-fill":  func(m *model.Manifest) { m.Config.Vocab-- },
		"bert-embed": func(m *model.Manifest) { m.Config.Hidden /= 2 },
		"bert-answer": func(m *model.Manifest) {
			m.Graph.Text.Start, m.Graph.Text.End, m.Graph.Text.Logits = "", "", "start_logits"
		},
	} {
		f := openForeign(t, name)
		change(f.made.Manifest)
		if _, err := f.load(t).EncodeRow([]int32{2, 5, 6, 3, 4}, nil, []int32{1}); !errors.Is(err, engine.ErrRun) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeignMisuse: what a graph's ports do not declare never reaches native code.
func TestForeignMisuse(t *testing.T) {
	f := openForeign(t, "mlp")
	g := f.load(t)
	x, k := f.golden.Inputs[0], f.golden.Inputs[1]
	if x.Name != "x" {
		x, k = k, x
	}
	with := func(x tensor.Tensor, change func(*tensor.Tensor)) tensor.Tensor {
		x.Shape = slices.Clone(x.Shape)
		change(&x)
		return x
	}
	for what, in := range map[string][]tensor.Tensor{
		"missing":      {x},
		"none":         nil,
		"twice":        {x, x},
		"surplus":      {x, k, with(k, func(t *tensor.Tensor) { t.Name = "z" })},
		"unknown":      {x, with(k, func(t *tensor.Tensor) { t.Name = "z" })},
		"type":         {x, with(k, func(t *tensor.Tensor) { t.DType = model.U64 })},
		"rank":         {with(x, func(t *tensor.Tensor) { t.Shape = []int64{24} }), k},
		"fixed":        {with(x, func(t *tensor.Tensor) { t.Shape = []int64{8, 3} }), k},
		"negative":     {with(x, func(t *tensor.Tensor) { t.Shape[0] = -3 }), k},
		"overflow":     {with(x, func(t *tensor.Tensor) { t.Shape[0] = 1 << 61 }), k},
		"bytes":        {with(x, func(t *tensor.Tensor) { t.Data = t.Data[1:] }), k},
		"more bytes":   {with(x, func(t *tensor.Tensor) { t.Data = append(slices.Clone(t.Data), 0, 0, 0, 0) }), k},
		"empty, bytes": {with(x, func(t *tensor.Tensor) { t.Shape[0] = 0 }), k},
	} {
		if _, err := g.Run(in, nil); !errors.Is(err, engine.ErrStep) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, names := range [][]string{{"z"}, {"y", "y"}} {
		if _, err := g.Run([]tensor.Tensor{x, k}, names); !errors.Is(err, engine.ErrStep) {
			t.Errorf("outputs %q: %v", names, err)
		}
	}
	// Rows that disagree pass the ports and fail in the runtime, which must survive it.
	two := with(k, func(t *tensor.Tensor) { t.Shape[0], t.Data = 2, t.Data[:16] })
	if _, err := g.Run([]tensor.Tensor{x, two}, nil); !errors.Is(err, engine.ErrRun) {
		t.Errorf("rows that disagree: %v", err)
	}
	none := []tensor.Tensor{with(x, func(t *tensor.Tensor) { t.Shape[0], t.Data = 0, nil }), with(k, func(t *tensor.Tensor) { t.Shape[0], t.Data = 0, nil })}
	if got, err := g.Run(none, []string{"y"}); err != nil || !slices.Equal(got[0].Shape, []int64{0, 4}) || len(got[0].Data) != 0 {
		t.Errorf("no rows: %v, %v", got, err)
	}
	if got, err := g.Run([]tensor.Tensor{x, k}, []string{"index"}); err != nil || got[0].DType != model.I64 || !slices.Equal(got[0].Shape, []int64{3}) {
		t.Errorf("after all that: %v, %v", got, err)
	}
	g.Close()
	if _, err := g.Run([]tensor.Tensor{x, k}, nil); !errors.Is(err, engine.ErrStep) {
		t.Errorf("after close: %v", err)
	}
}

// TestForeignLength: a graph that takes rows of one length only gets padding, and what it gives for that is cut off.
func TestForeignLength(t *testing.T) {
	f, ref := openForeign(t, "bert-embed"), open(t, "bert-embed")
	for i := range f.made.Manifest.Graph.Inputs {
		f.made.Manifest.Graph.Inputs[i].Shape = []int64{1, 100}
	}
	g := f.load(t)
	tried := 0
	for _, in := range ref.Inputs {
		e, err := g.EncodeRow(in.IDs, in.TypeIDs, nil)
		if len(in.IDs) > 100 {
			if !errors.Is(err, engine.ErrStep) {
				t.Errorf("%d tokens: %v", len(in.IDs), err)
			}
			continue
		}
		tried++
		if err != nil || len(e.Hidden) != len(in.Hidden) || far(e.Hidden, in.Hidden) > 1e-5 {
			t.Errorf("%q: %d numbers, want %d: %v", in.Text, len(e.Hidden), len(in.Hidden), err)
		}
	}
	if tried == 0 {
		t.Error("nothing was tried")
	}
	for what, c := range map[string]struct{ ids, types []int32 }{"nothing": {nil, nil}, "types": {[]int32{1, 2}, []int32{0}}, "too long": {make([]int32, 101), nil}} {
		if _, err := g.EncodeRow(c.ids, c.types, nil); !errors.Is(err, engine.ErrStep) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
