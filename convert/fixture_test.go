package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/convert/safetensors"
	"github.com/skein-project/skein/internal/golden"
	"github.com/skein-project/skein/model"
)

// readFolder reads a folder whole.
func manifest(files map[string]Source) (*model.Manifest, error) {
	made, err := Folder(files)
	if err != nil {
		return nil, err
	}
	return made.Manifest, nil
}

func readFolder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fixture reads what conversion selects of a fixture.
func fixture(t testing.TB, name string) map[string][]byte {
	t.Helper()
	files := readFolder(t, filepath.Join("..", "testdata", "models", name))
	var names []string
	for n := range files {
		names = append(names, n)
	}
	selected, err := Select(names)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, n := range selected {
		out[n] = files[n]
	}
	return out
}

// sources makes the input of Folder of files in memory.
func sources(files map[string][]byte) map[string]Source {
	out := map[string]Source{}
	for name, b := range files {
		out[name] = Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b)), Digest: blob.Of(b).Digest()}
	}
	return out
}

// summary is a manifest in one line, without digests, which change whenever a fixture is made anew.
func summary(m *model.Manifest) string {
	short := *m
	short.Tensors, short.Files = nil, nil
	types := map[model.DType]int{}
	for _, t := range m.Tensors {
		types[t.DType]++
	}
	return fmt.Sprintf("%s tied=%v tensors=%v files=%v", model.Encode(&short), m.Tied(), types, m.Names())
}

// The manifests of the fixtures are as written down in testdata/fixtures.txt, which people have compared with the configs.
func TestFixtures(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", "testdata", "models"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		m, err := manifest(sources(fixture(t, e.Name())))
		if err != nil {
			t.Errorf("%s: %v", e.Name(), err)
			continue
		}
		again, err := model.Decode(model.Encode(m))
		if err != nil || again.Digest() != m.Digest() {
			t.Errorf("%s does not survive encoding: %v", e.Name(), err)
		}
		fmt.Fprintf(&got, "%s %s\n", e.Name(), summary(m))
	}
	golden.Equal(t, filepath.Join("testdata", "fixtures.txt"), got.String())
}

// The bytes that a manifest names are those of the checkpoint's tensors, found by the names that the reference gives them.
func TestRefsPointAtTheTensors(t *testing.T) {
	for fixtureName, want := range map[string]map[string]slot{
		"gpt2": {"transformer.wte.weight": {model.Embed, "embed.token"}, "transformer.h.3.attn.c_attn.weight": {3, "attn.qkv.weight"},
			"transformer.h.0.attn.c_proj.bias": {0, "attn.out.bias"}, "transformer.h.1.mlp.c_proj.weight": {1, "mlp.down.weight"}, "transformer.ln_f.bias": {4, "final.norm.bias"}},
		"qwen2": {"model.layers.4.self_attn.k_proj.bias": {4, "attn.k.bias"}, "model.layers.1.mlp.gate_proj.weight": {1, "mlp.gate.weight"},
			"model.layers.2.post_attention_layernorm.weight": {2, "mlp.norm.weight"}, "model.norm.weight": {5, "final.norm.weight"}},
		"bert-cls-embed": {"bert.embeddings.LayerNorm.gamma": {model.Embed, "embed.norm.weight"}, "bert.encoder.layer.1.output.LayerNorm.beta": {1, "mlp.norm.bias"},
			"bert.encoder.layer.0.attention.output.LayerNorm.gamma": {0, "attn.norm.weight"}},
		"bert-classify": {"classifier.weight": {3, "classifier.weight"}, "bert.pooler.dense.bias": {3, "pooler.bias"}},
	} {
		files := fixture(t, fixtureName)
		m, err := manifest(sources(files))
		if err != nil {
			t.Fatal(err)
		}
		for name, at := range want {
			got, ok := m.Tensor(at.block, at.name)
			if !ok {
				t.Errorf("%s: no tensor %v", fixtureName, at)
				continue
			}
			found := false
			for _, b := range files {
				if blob.Of(b).Digest() != got.Ref.Digest {
					continue
				}
				list, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range list {
					found = found || x.Name == name && x.Off == got.Ref.Off && x.Len == got.Ref.Len
				}
			}
			if !found {
				t.Errorf("%s: %v is not %s", fixtureName, at, name)
			}
		}
	}
}

// Folders that say the same in other words, or something that the fixtures do not say.
func TestVariants(t *testing.T) {
	type changes = map[string]map[string]any
	for _, c := range []struct {
		name, fixture string
		changes       changes
		check         func(m *model.Manifest) bool
	}{
		{"rope parameters of transformers 5", "llama3-rope", changes{"config.json": {"rope_theta": nil, "rope_scaling": nil,
			"rope_parameters": map[string]any{"rope_type": "linear", "rope_theta": 777, "factor": 3}}},
			func(m *model.Manifest) bool {
				return m.Config.RopeTheta == 777 && *m.Config.RopeScaling == model.RopeScaling{Kind: "linear", Factor: 3}
			}},
		{"rope scaling of kind default", "llama3-rope", changes{"config.json": {"rope_scaling": map[string]any{"type": "default"}}},
			func(m *model.Manifest) bool { return m.Config.RopeScaling == nil && m.Config.RopeTheta == 50000 }},
		{"rope theta by default", "llama3-rope", changes{"config.json": {"rope_theta": nil}},
			func(m *model.Manifest) bool { return m.Config.RopeTheta == 10000 }},
		{"a window", "mistral", changes{"config.json": {"sliding_window": 64}}, func(m *model.Manifest) bool { return m.Config.SlidingWindow == 64 }},
		{"a window over the context", "mistral", changes{"config.json": {"sliding_window": 256}}, func(m *model.Manifest) bool { return m.Config.SlidingWindow == 0 }},
		{"no window", "mistral", changes{"config.json": {"sliding_window": json.RawMessage("null")}}, func(m *model.Manifest) bool { return m.Config.SlidingWindow == 0 }},
		{"a window in all layers", "qwen2", changes{"config.json": {"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 0, "layer_types": nil}},
			func(m *model.Manifest) bool { return m.Config.SlidingWindow == 32 }},
		{"a window in no layer", "qwen2", changes{"config.json": {"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 5}},
			func(m *model.Manifest) bool { return m.Config.SlidingWindow == 0 }},
		{"inner width by default", "gpt2", changes{"config.json": {"n_inner": json.RawMessage("null")}},
			func(m *model.Manifest) bool { return m.Config.Intermediate == 256 }},
		{"sampling", "gpt2", changes{"generation_config.json": {"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "eos_token_id": []int{9, 3, 9, 99999}}},
			func(m *model.Manifest) bool {
				return m.Sampling == model.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8} && slices.Equal(m.EOS, []int32{3, 9})
			}},
		{"no sampling", "gpt2", changes{"generation_config.json": {"do_sample": false, "temperature": 0.7}},
			func(m *model.Manifest) bool { return m.Sampling == model.Sampling{} }},
		{"ids that the vocabulary lacks", "gpt2", changes{"config.json": {"bos_token_id": 50256, "eos_token_id": 50256}, "generation_config.json": {"bos_token_id": nil, "eos_token_id": nil}},
			func(m *model.Manifest) bool { return m.BOS == -1 && len(m.EOS) == 0 }},
		{"one label", "bert-classify", changes{"config.json": {"problem_type": json.RawMessage("null")}},
			func(m *model.Manifest) bool { return m.Problem == model.SingleLabel }},
		{"normalised vectors by module", "bert-embed", nil, func(m *model.Manifest) bool { return m.Normalize && m.Pooling == model.PoolMean }},
		{"pooling in one word", "bert-embed", changes{"1_Pooling/config.json": {"pooling_mode_mean_tokens": nil, "pooling_mode": "cls"}},
			func(m *model.Manifest) bool { return m.Pooling == model.PoolCLS }},
		{"masked language model", "bert-embed", changes{"config.json": {"architectures": []string{"BertForMaskedLM"}}},
			func(m *model.Manifest) bool { return m.Can(model.EmbedTask) && m.Can(model.Infer) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fixture(t, c.fixture)
			for name, keys := range c.changes {
				files[name] = with(t, files[name], keys)
			}
			m, err := manifest(sources(files))
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(m) {
				t.Error(summary(m))
			}
		})
	}
}

// A folder without modules.json pools by mean, and weights without the usual prefix are found too.
func TestPlainFolders(t *testing.T) {
	files := fixture(t, "bert-embed")
	delete(files, "modules.json")
	m, err := manifest(sources(files))
	if err != nil || m.Pooling != model.PoolMean || m.Normalize {
		t.Error(m, err)
	}
	for _, f := range []struct{ name, prefix string }{{"gpt2", "transformer."}, {"llama", "model."}, {"bert-classify", "bert."}} {
		files := fixture(t, f.name)
		want, err := manifest(sources(files))
		if err != nil {
			t.Fatal(err)
		}
		files[wholeName] = rebuild(t, files[wholeName], func(ts map[string]safetensors.Tensor, content map[string][]byte) {
			for name, x := range maps.Clone(ts) {
				if short, ok := strings.CutPrefix(name, f.prefix); ok {
					delete(ts, name)
					ts[short], content[short] = x, content[name]
				}
			}
		})
		got, err := manifest(sources(files))
		if err != nil || len(got.Tensors) != len(want.Tensors) {
			t.Errorf("%s without prefix: %v", f.name, err)
		}
	}
}
