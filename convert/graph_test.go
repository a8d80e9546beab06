package convert

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/model"
)

// foreign reads a folder of testdata/onnx.
func foreign(t testing.TB, name string) map[string][]byte {
	t.Helper()
	return readFolder(t, filepath.Join("..", "testdata", "onnx", name))
}

func TestONNXFolders(t *testing.T) {
	for _, c := range []struct {
		name    string
		tasks   []model.Task
		weights int
		note    string
	}{
		{"mlp", []model.Task{model.Infer}, 0, "serves tensors only: nothing says which task it has"},
		{"external", []model.Task{model.Infer}, 2, "serves tensors only: nothing says which task it has"},
		{"bert-classify", []model.Task{model.Classify, model.Infer}, 0, ""},
		{"bert-embed", []model.Task{model.EmbedTask, model.Infer}, 0, ""},
		{"bert-spans", []model.Task{model.ClassifyTokens, model.Infer}, 0, ""},
		{"bert-fill", []model.Task{model.FillMask, model.Infer}, 0, ""},
		{"bert-answer", []model.Task{model.Answer, model.Infer}, 0, ""},
		{"roberta-answer", []model.Task{model.Answer, model.Infer}, 0, ""},
		{"bert-rank", []model.Task{model.Classify, model.Infer, model.Rerank}, 0, ""},
	} {
		files := foreign(t, c.name)
		made, err := Folder(sources(files))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		m := made.Manifest
		if m.Config.Arch != model.Graph || made.Format != ONNX || !slices.Equal(m.Tasks, c.tasks) || strings.Join(made.Notes, "") == "" != (c.note == "") || c.note != "" && !strings.HasPrefix(made.Notes[0], c.note) {
			t.Errorf("%s: %s, tasks %q, notes %q", c.name, m.Config.Arch, m.Tasks, made.Notes)
		}
		if c.weights > 0 && len(m.Tensors) != c.weights {
			t.Errorf("%s: %d weights in blobs, want %d", c.name, len(m.Tensors), c.weights)
		}
		graph := made.Derived[m.Files[model.GraphFile].Digest]
		if blob.Of(graph).Digest() != m.Files[model.GraphFile].Digest || int64(len(graph)) != m.Files[model.GraphFile].Len {
			t.Errorf("%s: the graph is not the one that the manifest names", c.name)
		}
		uploaded := map[blob.Digest]int64{}
		for _, b := range files {
			uploaded[blob.Of(b).Digest()] = int64(len(b))
		}
		for _, w := range m.Tensors {
			if size, ok := uploaded[w.Ref.Digest]; !ok || w.Ref.Off+w.Ref.Len > size {
				t.Errorf("%s: %s is not within an uploaded file", c.name, w.Name)
			}
		}
		if again, err := model.Decode(model.Encode(m)); err != nil || again.Digest() != m.Digest() {
			t.Errorf("%s does not survive encoding: %v", c.name, err)
		}
	}
}

// TestGraphWithoutNames: what a folder lacks makes it a model of tensors, or is refused where the folder says otherwise.
func TestGraphWithoutNames(t *testing.T) {
	for _, c := range []struct {
		what      string
		base      string
		change    func(map[string][]byte)
		file, why string // of the refusal, "" = accepted
		note      string
	}{
		{"no tokenizer", "bert-classify", func(f map[string][]byte) { delete(f, "tokenizer.json"); delete(f, "vocab.txt") }, "", "", "there is no tokenizer"},
		{"no settings", "bert-classify", func(f map[string][]byte) { delete(f, "config.json") }, "", "", "nothing says which task"},
		{"no text wanted", "bert-classify", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"tensors"}`) }, "", "", "as skein.json says"},
		{"side manifest", "bert-classify", func(f map[string][]byte) {
			delete(f, "config.json")
			f["skein.json"] = []byte(`{"task":"classify","labels":["a","b","c"],"problem":"multi_label_classification","context":64}`)
		}, "", "", ""},
		{"too few labels", "bert-classify", func(f map[string][]byte) { f["skein.json"] = []byte(`{"labels":["a","b"]}`) }, "skein.json", "2 for an output of 3", ""},
		{"no context", "bert-classify", func(f map[string][]byte) {
			delete(f, "config.json")
			f["skein.json"] = []byte(`{"labels":["a","b","c"]}`)
		}, "skein.json", "how long a text may be", ""},
		{"text without a tokenizer", "bert-embed", func(f map[string][]byte) { delete(f, "tokenizer.json") }, "skein.json", "there is no tokenizer", ""},
		{"text without text", "mlp", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"embed"}`) }, "skein.json", "not those of text", ""},
		{"unknown key", "mlp", func(f map[string][]byte) { f["skein.json"] = []byte(`{"tusk":"embed"}`) }, "skein.json", "is not known here", ""},
		{"unknown task", "bert-embed", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"dance","context":64}`) }, "", "is nothing that a model", ""},
		{"code", "bert-classify", func(f map[string][]byte) {
			f["config.json"] = with(t, f["config.json"], map[string]any{"auto_map": map[string]string{"AutoModel": "x.Y"}})
		}, "config.json", "never run", ""},
		{"no labels", "bert-embed", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"classify","context":64}`) }, "skein.json", "no such output", ""},
		{"other ends", "bert-answer", func(f map[string][]byte) {
			f["skein.json"] = []byte(`{"task":"answer","text":{"start":"end_logits","end":"start_logits"}}`)
		}, "", "", ""},
		{"one end", "bert-answer", func(f map[string][]byte) { f["skein.json"] = []byte(`{"text":{"end":""}}`) }, "", "one end", ""},
		{"no ends", "bert-answer", func(f map[string][]byte) { f["skein.json"] = []byte(`{"text":{"start":"","end":""}}`) }, "skein.json", "where answers begin", ""},
		{"ends of no such output", "roberta-answer", func(f map[string][]byte) {
			f["skein.json"] = []byte(`{"task":"answer","context":128,"text":{"logits":"x"}}`)
		}, "", "no output of F32", ""},
		{"answers of labels", "bert-spans", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"answer"}`) }, "", "the last is 2", ""},
		{"tokens of a text", "bert-classify", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"classify_tokens"}`) }, "", "needs 3 dimensions", ""},
		{"a text of tokens", "bert-spans", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"classify"}`) }, "", "needs 2 dimensions", ""},
		{"masks of labels", "bert-spans", func(f map[string][]byte) { f["skein.json"] = []byte(`{"task":"fill_mask"}`) }, "", "vocabulary", ""},
		{"no padding", "bert-fill", func(f map[string][]byte) {
			f["config.json"] = with(t, f["config.json"], map[string]any{"pad_token_id": "x"})
		}, "config.json", "token id", ""},
		{"shapes of ONNX", "mlp", func(f map[string][]byte) { f["skein.json"] = []byte(`{"shapes":{"x":[1,8]}}`) }, "skein.json", "SavedModels only", ""},
		{"external file gone", "external", func(f map[string][]byte) { delete(f, "weights.data") }, "model.onnx", "not in the folder", ""},
		{"external file short", "external", func(f map[string][]byte) { f["weights.data"] = f["weights.data"][:1000] }, "model.onnx", "do not fit", ""},
		{"two graphs", "mlp", func(f map[string][]byte) {
			f["b.onnx"], f["a.onnx"] = f["model.onnx"], f["model.onnx"]
			delete(f, "model.onnx")
		}, "b.onnx", "one of several", ""},
		{"no graph", "mlp", func(f map[string][]byte) { f["model.onnx"] = []byte("not a graph") }, "model.onnx", "", ""},
	} {
		files := foreign(t, c.base)
		c.change(files)
		made, err := Folder(sources(files))
		if c.file != "" || c.why != "" {
			refusal(t, err, c.file, c.why)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if got := strings.Join(made.Notes, "; "); c.note == "" != (got == "") || !strings.Contains(got, c.note) {
			t.Errorf("%s: notes %q, want %q", c.what, got, c.note)
		}
	}
}

// TestSelectFormats: of a folder with weights of several formats one is uploaded.
func TestSelectFormats(t *testing.T) {
	onnx := []string{"model.onnx", "model.onnx_data", "config.json", "tokenizer.json", "README.md", "encoder.weight", "pytorch_model.bin", "modeling.py", "other/x.data"}
	for _, c := range []struct{ names, want []string }{
		{onnx, []string{"config.json", "encoder.weight", "model.onnx", "model.onnx_data", "tokenizer.json"}},
		{append([]string{"model.safetensors"}, onnx...), []string{"config.json", "model.safetensors", "tokenizer.json"}},
		{[]string{"onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model.onnx_data", "config.json"}, []string{"config.json", "onnx/model.onnx", "onnx/model.onnx_data"}},
		{[]string{"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001", "assets/vocab.txt", "keras_metadata.pb", "fingerprint.pb", "skein.json", "golden.safetensors"},
			[]string{"assets/vocab.txt", "golden.safetensors", "saved_model.pb", "skein.json", "variables/variables.data-00000-of-00001", "variables/variables.index"}},
	} {
		if got, err := Select(c.names); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v", c.names, got, err)
		}
	}
}

// TestSavedModelFolders: what is in a folder of TensorFlow becomes a manifest too.
func TestSavedModelFolders(t *testing.T) {
	root := filepath.Join("savedmodel", "testdata", "models")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files := readFolder(t, filepath.Join(root, e.Name()))
		names, err := Select(slices.Sorted(maps.Keys(files)))
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		chosen := map[string][]byte{}
		for _, n := range names {
			chosen[n] = files[n]
		}
		made, err := Folder(sources(chosen))
		if signature := map[string]string{"ops_1": "ArgMax", "ops_2": "Abs", "ops_3": "Any", "refused": "fine"}[e.Name()]; signature != "" {
			refusal(t, err, "saved_model.pb", "is not one of")
			chosen["skein.json"] = []byte(`{"signature":"` + signature + `"}`)
			made, err = Folder(sources(chosen))
		}
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		if made.Manifest.Config.Arch != model.Graph || made.Format != SavedModel || len(made.Derived) != 1 {
			t.Errorf("%s: %s with %d derived blobs", e.Name(), made.Manifest.Config.Arch, len(made.Derived))
		}
	}
}

// TestChosenLengths: skein.json chooses lengths that a SavedModel leaves open.
func TestChosenLengths(t *testing.T) {
	files := readFolder(t, filepath.Join("savedmodel", "testdata", "models", "keras_open"))
	made, err := Folder(sources(files))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := made.Manifest.Graph.Input("ids"); !ok || !slices.Equal(p.Shape, []int64{model.Free, 12}) {
		t.Errorf("ids %v", p.Shape)
	}
	for text, why := range map[string]string{`{"shapes":{"ids":"x"}}`: "no list of at most", `{"shapes":{"ids":[1.5]}}`: "no list of at most", `{"shapes":[1]}`: "not an object"} {
		files["skein.json"] = []byte(text)
		_, err := Folder(sources(files))
		refusal(t, err, "skein.json", why)
	}
	delete(files, "skein.json")
	_, err = Folder(sources(files))
	refusal(t, err, "saved_model.pb", "shapes")
}
