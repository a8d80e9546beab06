package convert

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/skein-project/skein/convert/safetensors"
)

// rebuild writes a safetensors file anew, with tensors changed: zero bytes are given to those that are new.
func rebuild(t *testing.T, b []byte, change func(tensors map[string]safetensors.Tensor, bytes map[string][]byte)) []byte {
	t.Helper()
	list, err := safetensors.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	tensors, content := map[string]safetensors.Tensor{}, map[string][]byte{}
	for _, x := range list {
		tensors[x.Name], content[x.Name] = x, b[x.Off:x.Off+x.Len]
	}
	change(tensors, content)
	list = list[:0]
	var data []byte
	for name, x := range tensors {
		if len(content[name]) != int(x.Len) {
			content[name] = make([]byte, x.Len)
		}
		x.Name = name
		list = append(list, x)
		data = append(data, content[name]...)
	}
	return append(safetensors.Header(list), data...)
}

func TestWeightsAreRefused(t *testing.T) {
	type tensors = map[string]safetensors.Tensor
	type content = map[string][]byte
	for _, c := range []struct {
		name, fixture string
		change        func(tensors, content)
		file, why     string
	}{
		{"missing", "gpt2", func(ts tensors, _ content) { delete(ts, "transformer.h.2.ln_1.weight") }, "", `tensor 2/"attn.norm.weight": is missing`},
		{"missing embedding", "gpt2", func(ts tensors, _ content) { delete(ts, "transformer.wte.weight") }, "", `tensor "embed.token": is missing`},
		{"bias in one layer only", "llama-linear", func(ts tensors, _ content) { delete(ts, "model.layers.1.mlp.down_proj.bias") }, "", `tensor 1/"mlp.down.bias": is missing`},
		{"bias not in the first layer", "llama-linear", func(ts tensors, _ content) { delete(ts, "model.layers.0.mlp.down_proj.bias") }, "", `tensor 1/"mlp.down.bias": is missing in block 0`},
		{"wrong shape", "gpt2", func(ts tensors, _ content) {
			x := ts["transformer.h.0.mlp.c_fc.weight"]
			x.Shape = []int64{x.Shape[1], x.Shape[0]}
			ts["transformer.h.0.mlp.c_fc.weight"] = x
		}, wholeName, "shape [256 64] is not [64 256]"},
		{"wrong type", "gpt2", func(ts tensors, _ content) {
			x := ts["transformer.ln_f.bias"]
			x.DType = "I32"
			ts["transformer.ln_f.bias"] = x
		}, wholeName, "type I32 is not F32, F16 or BF16"},
		{"surplus", "gpt2", func(ts tensors, _ content) {
			ts["transformer.h.0.attn.q_norm.weight"] = safetensors.Tensor{DType: "F32", Shape: []int64{1}, Len: 4}
		}, "", `no place for "transformer.h.0.attn.q_norm.weight"`},
		{"layer beyond the config", "gpt2", func(ts tensors, _ content) { ts["transformer.h.4.ln_1.weight"] = ts["transformer.h.0.ln_1.weight"] }, "", `no place for "transformer.h.4.ln_1.weight"`},
		{"layer with a leading zero", "gpt2", func(ts tensors, _ content) { ts["transformer.h.01.ln_1.weight"] = ts["transformer.h.0.ln_1.weight"] }, "", "no place for"},
		{"layer -1", "gpt2", func(ts tensors, _ content) { ts["transformer.h.-1.ln_1.weight"] = ts["transformer.h.0.ln_1.weight"] }, "", "no place for"},
		{"many surplus", "gpt2", func(ts tensors, _ content) {
			for i := range 20 {
				ts[fmt.Sprintf("x%02d", i)] = safetensors.Tensor{DType: "U8", Shape: []int64{1}, Len: 1}
			}
		}, "", `"x07" and 12 more`},
		{"the same weight twice", "gpt2", func(ts tensors, _ content) { ts["wte.weight"] = ts["transformer.wte.weight"] }, wholeName, "is the same weight as"},
		{"tied head differs", "llama-linear", func(ts tensors, c content) {
			c["lm_head.weight"] = bytes.Clone(c["lm_head.weight"])
			c["lm_head.weight"][100] ^= 1
		}, wholeName, "differs from"},
		{"half a pooler", "bert-embed", func(ts tensors, _ content) { delete(ts, "pooler.dense.bias") }, "", "pooler: has a weight or a bias, not both"},
		{"classifier without pooler", "bert-classify", func(ts tensors, _ content) { delete(ts, "bert.pooler.dense.bias") }, "", `"pooler.bias": is missing`},
		{"classifier of a model that does not classify", "bert-embed", func(ts tensors, _ content) {
			ts["classifier.bias"] = safetensors.Tensor{DType: "F32", Shape: []int64{2}, Len: 8}
		}, "", `no place for "classifier.bias"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fixture(t, c.fixture)
			files[wholeName] = rebuild(t, files[wholeName], c.change)
			refused(t, files, c.file, c.why)
		})
	}
}

// Every way a file can be broken is tested beside its parser; here, that the refusal names the file, and each cut is refused.
func TestBrokenWeightsNameTheFile(t *testing.T) {
	files := fixture(t, "gpt2")
	whole := files[wholeName]
	header := int(binary.LittleEndian.Uint64(whole)) + 8
	for _, n := range []int{0, 7, 8, 9, header / 2, header - 1, header, header + 1, len(whole) - 1} {
		files[wholeName] = whole[:n]
		refused(t, files, wholeName, "")
	}
	files[wholeName] = binary.LittleEndian.AppendUint64(nil, 1<<63)
	refused(t, files, wholeName, "header length")
	delete(files, wholeName)
	refused(t, files, wholeName, "is missing")
}

func TestShardsAreRefused(t *testing.T) {
	const first, second = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
	index := func(b []byte, change func(map[string]string)) []byte {
		var v struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		change(v.Map)
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		name      string
		change    func(files map[string][]byte)
		file, why string
	}{
		{"shard missing", func(f map[string][]byte) { delete(f, second) }, second, "is missing, but"},
		{"shard and whole", func(f map[string][]byte) { f[wholeName] = f[first] }, indexName, "which is there too"},
		{"traversal", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { m["model.norm.weight"] = "../../etc/passwd" })
		}, indexName, "is no name of a safetensors file"},
		{"another folder", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { m["model.norm.weight"] = "sub/model.safetensors" })
		}, indexName, "is no name of a safetensors file"},
		{"pickle", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { m["model.norm.weight"] = "pytorch_model.bin" })
		}, indexName, "is no name of a safetensors file"},
		{"tensor in another shard", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { m["model.embed_tokens.weight"] = second })
		}, first, "is not in this file"},
		{"tensor not in the index", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { delete(m, "model.embed_tokens.weight") })
		}, first, "is not in this file"},
		{"tensor only in the index", func(f map[string][]byte) {
			f[indexName] = index(f[indexName], func(m map[string]string) { m["ghost"] = second })
		}, second, `tensor "ghost": is missing`},
		{"empty index", func(f map[string][]byte) { f[indexName] = []byte(`{"weight_map":{}}`) }, indexName, "0 tensors"},
		{"index of numbers", func(f map[string][]byte) { f[indexName] = []byte(`{"weight_map":{"a":1}}`) }, indexName, "cannot unmarshal"},
		{"index with a key twice", func(f map[string][]byte) { f[indexName] = []byte(`{"weight_map":{"a":"x","a":"y"}}`) }, indexName, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fixture(t, "qwen2")
			c.change(files)
			refused(t, files, c.file, c.why)
		})
	}
}
