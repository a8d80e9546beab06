package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/skein-project/skein/convert/safetensors"
)

// refused checks that a folder is refused for a reason.
func refused(t *testing.T, files map[string][]byte, file, why string) {
	t.Helper()
	_, err := Folder(sources(files))
	refusal(t, err, file, why)
}

func refusal(t *testing.T, err error, file, why string) {
	t.Helper()
	var r Refused
	if !errors.As(err, &r) {
		t.Errorf("%v (%T), want a refusal with %q", err, err, why)
		return
	}
	if r.File != file || !strings.Contains(r.Error(), why) {
		t.Errorf("file %q: %v; want file %q and %q", r.File, r, file, why)
	}
}

// with changes keys of a JSON object; a value of nil removes the key, raw JSON is put in as it is.
func with(t *testing.T, b []byte, changes map[string]any) []byte {
	t.Helper()
	var values map[string]json.RawMessage
	if err := json.Unmarshal(b, &values); err != nil {
		t.Fatal(err)
	}
	for key, v := range changes {
		if v == nil {
			delete(values, key)
			continue
		}
		raw, ok := v.(json.RawMessage)
		if !ok {
			var err error
			if raw, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		values[key] = raw
	}
	out, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConfigIsRefused(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for _, c := range []struct {
		fixture string
		key     string
		value   any
		why     string
	}{
		{"gpt2", "n_layer", -1, "-1 is not a whole number"},
		{"gpt2", "n_layer", 0, "0 is not in 1..1024"},
		{"gpt2", "n_layer", 1_000_000_000, "1000000000 is not in 1..1024"},
		{"gpt2", "n_layer", raw("9223372036854775808"), "is not a whole number"},
		{"gpt2", "n_layer", raw("4.5"), "is not a whole number"},
		{"gpt2", "n_layer", raw("1e3"), "is not a whole number"},
		{"gpt2", "n_layer", "4", "is not a whole number"},
		{"gpt2", "n_layer", raw("null"), "is missing"},
		{"gpt2", "n_layer", nil, "is missing"},
		{"gpt2", "vocab_size", raw("9223372036854775808"), "is not a whole number"},
		{"gpt2", "vocab_size", 1 << 30, "is not in 1..4194304"},
		{"gpt2", "n_embd", 1 << 20, "is not in 1..65536"},
		{"gpt2", "n_embd", 63, "head_dim"},
		{"gpt2", "n_head", 0, "heads: 0 is not in 1..1024"},
		{"gpt2", "n_head", 16, "head dimension 4"},
		{"gpt2", "n_positions", 1 << 30, "is not in 1..16777216"},
		{"gpt2", "n_inner", 1 << 30, "is not in 1..1048576"},
		{"gpt2", "layer_norm_epsilon", "x", "is not a number"},
		{"gpt2", "layer_norm_epsilon", 0, "norm_eps"},
		{"gpt2", "layer_norm_epsilon", raw("1e999"), "is not a number"},
		{"gpt2", "activation_function", "gelu_10", `"gelu_10" is not supported`},
		{"gpt2", "activation_function", raw("[]"), "is not a text"},
		{"gpt2", "scale_attn_weights", false, "false is not supported"},
		{"gpt2", "scale_attn_by_inverse_layer_idx", true, "true is not supported"},
		{"gpt2", "add_cross_attention", true, "true is not supported"},
		{"gpt2", "add_cross_attention", "no", "neither true nor false"},
		{"gpt2", "architectures", []string{"GPTJForCausalLM"}, `unknown architecture "GPTJForCausalLM"`},
		{"gpt2", "architectures", []string{}, "names 0 architectures"},
		{"gpt2", "architectures", nil, "names 0 architectures"},
		{"gpt2", "architectures", []string{"GPT2LMHeadModel", "GPT2Model"}, "names 2 architectures"},
		{"gpt2", "architectures", "GPT2LMHeadModel", "is not a list of texts"},
		{"gpt2", "model_type", "llama", "does not fit architecture"},
		{"gpt2", "auto_map", map[string]string{"AutoModel": "evil.Model"}, "models that bring code are never run"},
		{"gpt2", "trust_remote_code", true, "models that bring code are never run"},
		{"gpt2", "quantization_config", map[string]any{"bits": 4}, "quantised"},
		{"gpt2", "eos_token_id", "x", "neither a token id nor a list"},
		{"gpt2", "tie_word_embeddings", "x", "neither true nor false"},
		{"gpt2", "tie_word_embeddings", false, `tensor 4/"head.weight": is missing`},
		{"llama", "num_key_value_heads", 3, "4 heads are not divisible by 3"},
		{"llama", "num_key_value_heads", 8, "kv_heads: 8 is not in 1..4"},
		{"llama", "head_dim", 15, "15 is odd"},
		{"llama3-rope", "rope_theta", -5, "rope_theta"},
		{"llama3-rope", "rope_scaling", map[string]any{"type": "dynamic", "factor": 2}, `"dynamic" is not supported`},
		{"llama3-rope", "rope_scaling", map[string]any{"rope_type": "yarn", "factor": 2}, `"yarn" is not supported`},
		{"llama3-rope", "rope_scaling", map[string]any{"rope_type": "llama3", "factor": 2}, "rope_scaling.low_freq_factor: is missing"},
		{"llama3-rope", "rope_scaling", map[string]any{"rope_type": "linear"}, "rope_scaling.factor: is missing"},
		{"llama3-rope", "rope_scaling", map[string]any{"rope_type": "linear", "factor": 0}, "rope_scaling factor"},
		{"llama3-rope", "rope_scaling", map[string]any{"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8}, "high_freq_factor is not above"},
		{"llama3-rope", "rope_scaling", "linear", "is not an object"},
		{"llama", "rope_parameters", map[string]any{"rope_type": "default", "rope_theta": 100, "partial_rotary_factor": 0.5}, "partial_rotary_factor"},
		{"llama", "partial_rotary_factor", 0.25, "partial_rotary_factor"},
		{"llama", "layer_types", []string{"full_attention", "linear_attention"}, "mixed attention"},
		{"mistral", "sliding_window", raw("-1"), "sliding_window"},
		{"bert-embed", "position_embedding_type", "relative_key", `"relative_key" is not supported`},
		{"bert-embed", "is_decoder", true, "true is not supported"},
		{"bert-embed", "type_vocab_size", 1 << 20, "types: 1048576 is not in 0..1024"},
		{"bert-classify", "id2label", map[string]string{"0": "a", "7": "b"}, "label 1 is missing"},
		{"bert-classify", "id2label", map[string]any{"0": 1}, "label 0 is not a text"},
		{"bert-classify", "id2label", map[string]any{"0": "a", "1": strings.Repeat("x", 2000), "2": "b"}, "is not UTF-8 of at most 1024"},
		{"bert-classify", "problem_type", "guess", `"guess" is not known`},
	} {
		t.Run(fmt.Sprintf("%s/%s=%.40v", c.fixture, c.key, c.value), func(t *testing.T) {
			files := fixture(t, c.fixture)
			files["config.json"] = with(t, files["config.json"], map[string]any{c.key: c.value})
			delete(files, "generation_config.json") // whose token ids come first
			_, err := Folder(sources(files))
			var r Refused
			if !errors.As(err, &r) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v (%T), want %q", err, err, c.why)
			}
		})
	}
}

func TestConfigTextIsRefused(t *testing.T) {
	files := fixture(t, "gpt2")
	config := string(files["config.json"])
	for _, c := range []struct{ text, why string }{
		{"", "unexpected end"},
		{config[:len(config)/2], "json refused"},
		{"[]", "cannot unmarshal"},
		{"null", "is not an object"},
		{"\xef\xbb\xbf" + config, "byte order mark"},
		{strings.Replace(config, "{", `{"n_layer":NaN,`, 1), "invalid character"},
		{strings.Replace(config, "{", `{"n_layer":2,`, 1), `key "n_layer" twice`},
		{strings.Replace(config, "{", `{"x":"`+"\xff"+`",`, 1), "not UTF-8"},
		{strings.Repeat("[", 1e5), "deeper than 16"},
		{`{"x":"` + strings.Repeat("a", MaxConfig) + `"}`, "more than 4194304"},
	} {
		files["config.json"] = []byte(c.text)
		refused(t, files, "config.json", c.why)
	}
	delete(files, "config.json")
	refused(t, files, "config.json", "is missing")
}

// Keys that differ in case are other keys: they are not read.
func TestKeysAreExact(t *testing.T) {
	files := fixture(t, "gpt2")
	files["config.json"] = with(t, files["config.json"], map[string]any{"N_LAYER": 1, "Architectures": []string{"X"}, "AUTO_MAP": nil})
	if m, err := manifest(sources(files)); err != nil || m.Config.Layers != 4 {
		t.Error(m, err)
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, fixture string
		files         map[string]string // "" removes
		file, why     string
	}{
		{"no tokenizer", "gpt2", map[string]string{"tokenizer.json": ""}, "tokenizer.json", "no tokenizer"},
		{"no merges", "gpt2-f16", map[string]string{"merges.txt": ""}, "tokenizer.json", "no tokenizer"},
		{"no vocabulary", "bert-cls-embed", map[string]string{"vocab.txt": ""}, "tokenizer.json", "no tokenizer"},
		{"broken tokenizer", "gpt2", map[string]string{"tokenizer.json": "{"}, "tokenizer.json", ""},
		{"tokenizer of an unknown kind", "gpt2", map[string]string{"tokenizer.json": `{"model":{"type":"Unigram","vocab":[]}}`}, "tokenizer.json", "Unigram"},
		{"tokenizer with code", "gpt2", map[string]string{"tokenizer_config.json": `{"auto_map":{"AutoTokenizer":["x.Y",null]}}`}, "tokenizer_config.json", "never run"},
		{"token beyond the vocabulary", "gpt2", map[string]string{"tokenizer_config.json": `{"added_tokens_decoder":{"512":{"content":"<more>"}}}`}, "", "has token ids up to 512"},
		{"chat template", "gpt2", map[string]string{"tokenizer_config.json": `{"chat_template":"a{% if %}"}`}, "tokenizer_config.json", "chat_template: template line 1"},
		{"chat template in a file", "gpt2", map[string]string{"chat_template.jinja": "a\n{{ 'x }}"}, "chat_template.jinja", "template line 2"},
		{"long chat template", "gpt2", map[string]string{"chat_template.jinja": strings.Repeat("{% if a %}", 1000)}, "chat_template.jinja", "template"},
		{"generation config", "gpt2", map[string]string{"generation_config.json": `{"eos_token_id":[1,"2"]}`}, "generation_config.json", "eos_token_id"},
		{"sampling NaN", "gpt2", map[string]string{"generation_config.json": `{"do_sample":true,"temperature":NaN}`}, "generation_config.json", "invalid character"},
		{"sampling out of range", "gpt2", map[string]string{"generation_config.json": `{"do_sample":true,"top_p":1.5}`}, "generation_config.json", "top_p"},
		{"module of another kind", "bert-embed", map[string]string{"modules.json": `[{"type":"sentence_transformers.models.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},{"path":"2_Dense","type":"sentence_transformers.models.Dense"}]`}, "modules.json", "models.Dense"},
		{"no pooling", "bert-embed", map[string]string{"modules.json": `[{"type":"sentence_transformers.models.Transformer"}]`}, "modules.json", "declares no pooling"},
		{"pooling elsewhere", "bert-embed", map[string]string{"modules.json": `[{"type":"x.Transformer"},{"path":"../1_Pooling","type":"x.Pooling"}]`}, "modules.json", "no name of a folder"},
		{"pooling settings missing", "bert-embed", map[string]string{"1_Pooling/config.json": ""}, "1_Pooling/config.json", "is missing"},
		{"two poolings", "bert-embed", map[string]string{"1_Pooling/config.json": `{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true}`}, "1_Pooling/config.json", "declares 2 poolings"},
		{"pooling by maximum", "bert-embed", map[string]string{"1_Pooling/config.json": `{"pooling_mode_max_tokens":true}`}, "1_Pooling/config.json", "pooling_mode_max_tokens: is not supported"},
		{"pooling of another width", "bert-embed", map[string]string{"1_Pooling/config.json": `{"pooling_mode_cls_token":true,"word_embedding_dimension":5}`}, "1_Pooling/config.json", "5 is not the hidden size"},
		{"pickle", "gpt2", map[string]string{"pytorch_model.bin": "\x80\x04."}, "pytorch_model.bin", "python -c"},
		{"flax", "gpt2", map[string]string{"flax_model.msgpack": "x"}, "flax_model.msgpack", "save_pretrained"},
		{"keras", "gpt2", map[string]string{"tf_model.H5": "x"}, "tf_model.H5", "save_pretrained"},
		{"checkpoint in a folder", "gpt2", map[string]string{"old/optimizer.pt": "x"}, "old/optimizer.pt", "python -c"},
		{"twins", "gpt2", map[string]string{"Config.json": "{}"}, "config.json", "only in case"},
		{"traversal", "gpt2", map[string]string{"../config.json": "{}"}, `"../config.json"`, "leaves its folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fixture(t, c.fixture)
			for name, text := range c.files {
				if text == "" {
					delete(files, name)
				} else {
					files[name] = []byte(text)
				}
			}
			refused(t, files, c.file, c.why)
		})
	}
}

// A manifest that nobody could read again is not made: texts grow when they are encoded.
func TestLongManifestIsRefused(t *testing.T) {
	files := fixture(t, "bert-classify")
	labels := map[string]string{}
	for i := range 2800 {
		labels[fmt.Sprint(i)] = strings.Repeat("<", 1024)
	}
	config := with(t, files["config.json"], map[string]any{"id2label": labels})
	files["config.json"] = bytes.ReplaceAll(config, []byte(`\u003c`), []byte("<"))
	files[wholeName] = rebuild(t, files[wholeName], func(ts map[string]safetensors.Tensor, _ map[string][]byte) {
		for _, name := range []string{"classifier.weight", "classifier.bias"} {
			x := ts[name]
			x.Len = x.Len / x.Shape[0] * int64(len(labels))
			x.Shape[0] = int64(len(labels))
			ts[name] = x
		}
	})
	refused(t, files, "", "manifest")
}

// What is read wrong is an error of its own, not a refusal.
func TestReadErrorIsNoRefusal(t *testing.T) {
	files := sources(fixture(t, "gpt2"))
	for _, name := range []string{"config.json", wholeName, "tokenizer.json"} {
		broken := maps.Clone(files)
		src := broken[name]
		src.ReaderAt = failing{}
		broken[name] = src
		if _, err := Folder(broken); !errors.Is(err, errDisk) || errors.As(err, new(Refused)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errDisk = errors.New("disk on fire")

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func FuzzConfig(f *testing.F) {
	fixtures := map[string]map[string][]byte{}
	for _, name := range []string{"gpt2", "llama", "bert-classify"} {
		fixtures[name] = fixture(f, name)
		f.Add(name, fixtures[name]["config.json"], []byte(`{"eos_token_id":[1]}`))
	}
	f.Add("gpt2", []byte(`{"architectures":["GPT2LMHeadModel"],"model_type":"gpt2","n_layer":-1}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, name string, config, generation []byte) {
		files := maps.Clone(fixtures[name])
		if files == nil {
			return
		}
		files["config.json"], files["generation_config.json"] = config, generation
		m, err := manifest(sources(files))
		if err != nil {
			if !errors.As(err, new(Refused)) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("accepted what is not valid: %v", err)
		}
	})
}
