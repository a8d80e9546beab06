package bigmodel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/skein-project/skein/convert/safetensors"
)

// layer lists the tensors of one layer.
func (s shape) layer(n int) []safetensors.Tensor {
	h, m := int64(s.Hidden), int64(s.Intermediate)
	q, kv := int64(s.heads*headDim), int64(s.kvHeads*headDim)
	at := func(name string, dims ...int64) safetensors.Tensor {
		return tensor(fmt.Sprintf("model.layers.%d.%s.weight", n, name), dims...)
	}
	return []safetensors.Tensor{
		at("input_layernorm", h),
		at("self_attn.q_proj", q, h), at("self_attn.k_proj", kv, h), at("self_attn.v_proj", kv, h), at("self_attn.o_proj", h, q),
		at("post_attention_layernorm", h),
		at("mlp.gate_proj", m, h), at("mlp.up_proj", m, h), at("mlp.down_proj", h, m),
	}
}

// tensors lists the whole model in the order of use.
func (s shape) tensors() []safetensors.Tensor {
	all := []safetensors.Tensor{tensor("model.embed_tokens.weight", vocab, int64(s.Hidden))}
	for n := range s.layers {
		all = append(all, s.layer(n)...)
	}
	all = append(all, tensor("model.norm.weight", int64(s.Hidden)))
	if !s.Tied {
		all = append(all, tensor("lm_head.weight", vocab, int64(s.Hidden)))
	}
	return all
}

func tensor(name string, dims ...int64) safetensors.Tensor {
	n := int64(2)
	for _, d := range dims {
		n *= d
	}
	return safetensors.Tensor{Name: name, DType: "BF16", Shape: dims, Len: n}
}

// writeWeights fills files up to the size of a shard, and writes the index where there are several.
func (s shape) writeWeights(dir string) error {
	var shards [][]safetensors.Tensor
	room := int64(0)
	var total int64
	for _, t := range s.tensors() {
		if t.Len > room {
			shards, room = append(shards, nil), max(s.Shard, t.Len)
		}
		last := len(shards) - 1
		shards[last] = append(shards[last], t)
		room -= t.Len
		total += t.Len
	}
	if len(shards) == 1 {
		return s.writeShard(filepath.Join(dir, "model.safetensors"), shards[0])
	}
	places := map[string]string{}
	for i, tensors := range shards {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		for _, t := range tensors {
			places[t.Name] = name
		}
		if err := s.writeShard(filepath.Join(dir, name), tensors); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(dir, "model.safetensors.index.json"),
		map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": places})
}

func (s shape) writeShard(path string, tensors []safetensors.Tensor) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("bigmodel: %w", err)
	}
	_, err = f.Write(safetensors.Header(tensors))
	buf := make([]byte, 1<<20)
	for _, t := range tensors {
		src := source(s.Seed, t)
		for left := t.Len; left > 0 && err == nil; {
			p := buf[:min(left, int64(len(buf)))]
			src.fill(p)
			_, err = f.Write(p)
			left -= int64(len(p))
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("bigmodel: write %s: %w", path, err)
	}
	return nil
}

// random makes bfloat16 numbers: one byte of a counter-based generator (SplitMix64, Steele et al. 2014) chooses one of 256.
type random struct {
	state uint64
	table [256]uint16
}

// source is the generator of a tensor. Norms are 1. Matrices are evenly distributed with the standard deviation 1/√in, so that
// hidden states neither grow nor vanish from layer to layer; embeddings with 1.
func source(seed uint64, t safetensors.Tensor) *random {
	h := fnv.New64a()
	h.Write([]byte(t.Name))
	r := &random{state: h.Sum64() ^ seed*0x9e3779b97f4a7c15}
	deviation := 1.0
	if !strings.Contains(t.Name, "embed") {
		deviation = 1 / math.Sqrt(float64(t.Shape[len(t.Shape)-1]))
	}
	for i := range r.table {
		v := deviation * math.Sqrt(12) * (float64(i) - 127.5) / 255
		if len(t.Shape) == 1 {
			v = 1
		}
		r.table[i] = uint16((math.Float32bits(float32(v)) + 0x8000) >> 16)
	}
	return r
}

// fill writes numbers; len(p) is even.
func (r *random) fill(p []byte) {
	for len(p) > 0 {
		r.state += 0x9e3779b97f4a7c15
		z := r.state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		n := min(len(p), 16)
		for i := 0; i < n; i += 2 {
			binary.LittleEndian.PutUint16(p[i:], r.table[byte(z)])
			z >>= 8
		}
		p = p[n:]
	}
}
