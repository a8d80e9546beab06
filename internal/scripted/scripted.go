// Package scripted writes models that say what they are told to say: a decoder in which every token is followed by one certain other. They run on the
// real engine, so tests of protocols know every answer beforehand, calls of functions included.
package scripted

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Model says what a model says.
type Model struct {
	Template string              // chat template
	End      string              // the special token that ends an answer
	Special  []string            // others
	Lines    map[string][]string // by the last token of the prompt, a special one or one byte: the tokens of the answer. A token that is said before leads on as it did there
}

// Sizes of every model.
const (
	heads = 4
	inner = 32
	depth = 2
)

// Write writes the model's folder, in the form of Hugging Face.
func (m Model) Write(dir string) error {
	vocab, err := m.vocabulary()
	if err != nil {
		return err
	}
	next, err := m.follow(vocab)
	if err != nil {
		return err
	}
	hidden := (len(vocab.texts) + 31) / 32 * 32
	end := vocab.id[m.End]
	config := map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": hidden, "head_dim": hidden / heads,
		"intermediate_size": inner, "num_attention_heads": heads, "num_key_value_heads": heads, "num_hidden_layers": depth, "max_position_embeddings": 4096,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "vocab_size": len(vocab.texts), "eos_token_id": end, "bos_token_id": end, "torch_dtype": "float32"}
	for name, v := range map[string]any{"config.json": config, "generation_config.json": map[string]any{"eos_token_id": end, "do_sample": false},
		"tokenizer.json": vocab.tokenizer(), "tokenizer_config.json": map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": m.End,
			"clean_up_tokenization_spaces": false, "chat_template": m.Template}} {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "model.safetensors"), weights(hidden, next), 0o600)
}

// vocabulary is every byte, the special tokens, and the tokens of answers.
type vocabulary struct {
	texts   []string // by id; of bytes as the byte-level alphabet writes them
	id      map[string]int
	special int // the first special token; all bytes are before it
	said    int // the first token of answers
}

func (m Model) vocabulary() (*vocabulary, error) {
	v := &vocabulary{id: map[string]int{}}
	add := func(text, shown string) error {
		if _, there := v.id[text]; there {
			return fmt.Errorf("scripted: the token %q is there twice", text)
		}
		v.id[text] = len(v.texts)
		v.texts = append(v.texts, shown)
		return nil
	}
	for b := range 256 {
		if err := add(string([]byte{byte(b)}), string(letter(byte(b)))); err != nil {
			return nil, err
		}
	}
	v.special = len(v.texts)
	for _, s := range append([]string{m.End}, m.Special...) {
		if err := add(s, s); err != nil {
			return nil, err
		}
	}
	v.said = len(v.texts)
	for _, line := range slices.Sorted(maps.Keys(m.Lines)) {
		for _, s := range m.Lines[line] {
			if _, there := v.id[s]; !there {
				if err := add(s, s); err != nil {
					return nil, err
				}
			}
		}
	}
	return v, nil
}

// letter is how the byte-level alphabet of GPT-2 writes a byte.
func letter(b byte) rune {
	plain := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE }
	if plain(int(b)) {
		return rune(b)
	}
	n := 0
	for x := range int(b) {
		if !plain(x) {
			n++
		}
	}
	return rune(256 + n)
}

func (v *vocabulary) tokenizer() any {
	bytes, added := map[string]int{}, []any{}
	for id, text := range v.texts {
		if id < v.special {
			bytes[text] = id
			continue
		}
		added = append(added, map[string]any{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": id < v.said})
	}
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
	return map[string]any{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil, "pre_tokenizer": level, "post_processor": nil, "decoder": level,
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false,
			"byte_fallback": false, "ignore_merges": false, "vocab": bytes, "merges": []any{}}}
}

// follow is which token follows each.
func (m Model) follow(v *vocabulary) ([]int, error) {
	next := make([]int, len(v.texts))
	for i := range next {
		next[i] = v.id[m.End]
	}
	led := map[int]bool{}
	for _, line := range slices.Sorted(maps.Keys(m.Lines)) {
		at, ok := v.id[line]
		if !ok {
			return nil, fmt.Errorf("scripted: no token %q", line)
		}
		for _, s := range m.Lines[line] {
			if led[at] && next[at] != v.id[s] {
				return nil, fmt.Errorf("scripted: two tokens follow %q", v.texts[at])
			}
			led[at], next[at] = true, v.id[s]
			at = v.id[s]
		}
	}
	return next, nil
}

// weights are those of a model whose blocks add nothing: a token's embedding is its own axis, and the head turns it into the next token's.
func weights(hidden int, next []int) []byte {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	head := map[string]entry{}
	var data []byte
	add := func(name string, value func(row, column int) float32, shape ...int) {
		from := len(data)
		columns := shape[len(shape)-1]
		rows := 1
		if len(shape) == 2 {
			rows = shape[0]
		}
		for i := range rows {
			for j := range columns {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value(i, j)))
			}
		}
		head[name] = entry{"F32", shape, [2]int{from, len(data)}}
	}
	zero := func(int, int) float32 { return 0 }
	one := func(int, int) float32 { return 1 }
	where := func(is bool, x float32) float32 {
		if is {
			return x
		}
		return 0
	}
	add("model.embed_tokens.weight", func(i, j int) float32 { return where(i == j, 1) }, len(next), hidden)
	for l := range depth {
		at := fmt.Sprintf("model.layers.%d.", l)
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "o_proj"} {
			add(at+"self_attn."+name+".weight", zero, hidden, hidden)
		}
		add(at+"mlp.gate_proj.weight", zero, inner, hidden)
		add(at+"mlp.up_proj.weight", zero, inner, hidden)
		add(at+"mlp.down_proj.weight", zero, hidden, inner)
		add(at+"input_layernorm.weight", one, hidden)
		add(at+"post_attention_layernorm.weight", one, hidden)
	}
	add("model.norm.weight", one, hidden)
	add("lm_head.weight", func(i, j int) float32 { return where(j < len(next) && next[j] == i, 4) }, len(next), hidden)
	b, err := json.Marshal(head)
	if err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...), data...)
}
