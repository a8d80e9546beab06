// Package bigmodel writes Llama-shaped models of any size with random weights, for tests and benchmarks of what one machine cannot hold.
package bigmodel

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Options say what model to write.
type Options struct {
	Bytes        int64  // the weights of the layers have at least this many bytes
	Shard        int64  // bytes per safetensors file; default 512 MiB, and at least one tensor
	Hidden       int    // elements, a multiple of 64; default 1024
	Intermediate int    // elements; default 2.75 × Hidden
	Positions    int    // tokens; default 2048
	Tied         bool   // the head is the token embeddings
	Seed         uint64 // of the weights
}

const (
	headDim = 64 // elements
	sharing = 4  // query heads per key head, where the heads can be divided so
)

// shape is what a model of the options has.
type shape struct {
	Options
	layers, heads, kvHeads int
}

// Write makes a folder in the format of Hugging Face in dir, which it creates: config, tokenizer and bfloat16 weights. The same
// options give the same bytes.
func Write(dir string, opt Options) error {
	s, err := opt.shape()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bigmodel: %w", err)
	}
	for name, content := range map[string]any{
		"config.json":            s.config(),
		"generation_config.json": map[string]any{"bos_token_id": bos, "eos_token_id": eos},
		"tokenizer.json":         tokenizer(),
		"tokenizer_config.json":  tokenizerConfig(),
	} {
		if err := writeJSON(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return s.writeWeights(dir)
}

// shape fills in the defaults and counts the layers.
func (o Options) shape() (shape, error) {
	if o.Shard <= 0 {
		o.Shard = 512 << 20
	}
	if o.Hidden == 0 {
		o.Hidden = 1024
	}
	if o.Intermediate == 0 {
		o.Intermediate = o.Hidden * 11 / 4
	}
	if o.Positions == 0 {
		o.Positions = 2048
	}
	if o.Hidden < headDim || o.Hidden%headDim != 0 || o.Intermediate < 1 || o.Positions < 1 {
		return shape{}, fmt.Errorf("bigmodel: hidden size %d is not a multiple of %d", o.Hidden, headDim)
	}
	s := shape{Options: o, heads: o.Hidden / headDim}
	s.kvHeads = s.heads
	if s.heads%sharing == 0 {
		s.kvHeads /= sharing
	}
	var layer int64
	for _, t := range s.layer(0) {
		layer += t.Len
	}
	s.layers = max(int((o.Bytes+layer-1)/layer), 1)
	return s, nil
}

func (s shape) config() map[string]any {
	return map[string]any{
		"architectures":           []string{"LlamaForCausalLM"},
		"model_type":              "llama",
		"hidden_act":              "silu",
		"hidden_size":             s.Hidden,
		"intermediate_size":       s.Intermediate,
		"num_hidden_layers":       s.layers,
		"num_attention_heads":     s.heads,
		"num_key_value_heads":     s.kvHeads,
		"head_dim":                headDim,
		"max_position_embeddings": s.Positions,
		"rms_norm_eps":            1e-5,
		"rope_theta":              10000.0,
		"tie_word_embeddings":     s.Tied,
		"torch_dtype":             "bfloat16",
		"vocab_size":              vocab,
		"bos_token_id":            bos,
		"eos_token_id":            eos,
	}
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("bigmodel: %w", err)
	}
	return nil
}
