package convert

import (
	"testing"

	"github.com/skein-project/skein/convert/onnxgraph"
	"github.com/skein-project/skein/model"
)

// TestCodeAnywhere: settings that want code are refused in whatever file they are, for versions that serve tensors too.
func TestCodeAnywhere(t *testing.T) {
	for _, base := range []string{"mlp", "bert-classify"} {
		for _, name := range []string{"config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json", "inner/config.json", "1_Pooling/a_config.json"} {
			for _, key := range []string{"auto_map", "trust_remote_code"} {
				files := foreign(t, base)
				files["skein.json"] = []byte(`{"task":"tensors"}`)
				files[name] = []byte(`{"` + key + `":{"AutoTokenizer":["x.Y",null]}}`)
				_, err := Folder(sources(files))
				refusal(t, err, name, "never run")
				files[name] = []byte(`{"` + key + `":null}`)
				if _, err := Folder(sources(files)); err != nil {
					t.Errorf("%s, %s: %v", base, name, err)
				}
			}
		}
	}
	made, err := Folder(sources(foreign(t, "bert-classify")))
	if err != nil || made.Manifest.Graph.Text == nil {
		t.Error(made, err)
	}
}

// averaging is a graph of text with a number of scores.
func averaging(t *testing.T, scores int64) []byte {
	t.Helper()
	n := func(op string, in []string, out string, attrs ...onnxgraph.Attr) onnxgraph.Node {
		return onnxgraph.Node{Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs}
	}
	g := &onnxgraph.Graph{Opset: 17, Inputs: []model.Port{{Name: "input_ids", DType: model.I64, Shape: []int64{-1, -1}}}, Outputs: []model.Port{{Name: "logits", DType: model.F32, Shape: []int64{-1, scores}}},
		Initializers: []onnxgraph.Initializer{{Name: "w", DType: model.F32, Shape: []int64{1, scores}, Raw: make([]byte, 4*scores)}},
		Nodes: []onnxgraph.Node{n("Cast", []string{"input_ids"}, "a", onnxgraph.Attr{Name: "to", Kind: onnxgraph.Int, Int: 1}),
			n("ReduceMean", []string{"a"}, "b", onnxgraph.Attr{Name: "axes", Kind: onnxgraph.Ints, Ints: []int64{1}}), n("MatMul", []string{"b", "w"}, "logits")}}
	if err := onnxgraph.Check(g); err != nil {
		t.Fatal(err)
	}
	b, err := onnxgraph.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProblem: how scores are projected is what skein.json says, else config.json, whoever names the labels; one score is not made a softmax.
func TestProblem(t *testing.T) {
	const three, one = `"labels":["a","b","c"],`, `"labels":["a"],`
	for _, c := range []struct {
		side   string
		config string // "" = there is none
		scores int64
		want   model.Problem
	}{
		{three, "", 3, model.SingleLabel},
		{three, `{"problem_type":"multi_label_classification"}`, 3, model.MultiLabel},
		{three + `"problem":"single_label_classification",`, `{"problem_type":"multi_label_classification"}`, 3, model.SingleLabel},
		{`"task":"classify",`, `{"problem_type":"multi_label_classification","num_labels":3}`, 3, model.MultiLabel},
		{one, "", 1, model.MultiLabel},
		{one, `{}`, 1, model.MultiLabel},
		{one, `{"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}`, 1, model.Regression},
		{one, `{"problem_type":"regression"}`, 1, model.Regression},
		{one + `"problem":"regression",`, "", 1, model.Regression},
		{`"task":"classify",`, `{"num_labels":1}`, 1, model.MultiLabel},
	} {
		files := foreign(t, "bert-classify")
		files["model.onnx"] = averaging(t, c.scores)
		files["skein.json"] = []byte("{" + c.side + `"context":64}`)
		if files["config.json"] = []byte(c.config); c.config == "" {
			delete(files, "config.json")
		}
		made, err := Folder(sources(files))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		m := made.Manifest
		if m.Problem != c.want || m.Can(model.Rerank) != (c.scores == 1) || len(m.Labels) != int(c.scores) {
			t.Errorf("%+v: %s of %q, tasks %q", c, m.Problem, m.Labels, m.Tasks)
		}
		if low, high := m.Problem.Scores([]float32{-4, 0, 0}[:c.scores]), m.Problem.Scores([]float32{4, 0, 0}[:c.scores]); low[0] >= high[0] {
			t.Errorf("%+v: %v and %v", c, low, high)
		}
	}
}
