package convert

import (
	"strings"

	"github.com/skein-project/skein/model"
)

// gpt2 is the decoder of Radford et al., "Language Models are Unsupervised Multitask Learners" (2019).
var gpt2 = family{
	kind:   "gpt2",
	read:   readGPT2,
	prefix: "transformer.",
	layers: "h.",
	outer: map[string]place{
		"wte.weight":     {name: "embed.token"},
		"wpe.weight":     {name: "embed.position"},
		"ln_f.weight":    {true, "final.norm.weight"},
		"ln_f.bias":      {true, "final.norm.bias"},
		"lm_head.weight": {true, "head.weight"},
	},
	inner: gpt2Layer(),
	// Causal masks that old checkpoints store.
	harmless: func(name string) bool {
		return strings.HasSuffix(name, ".attn.bias") || strings.HasSuffix(name, ".attn.masked_bias")
	},
	tied: true,
	bos:  50256, eos: 50256, pad: -1,
}

func gpt2Layer() map[string]string {
	table := map[string]string{}
	both(table, "ln_1", "attn.norm")
	both(table, "attn.c_attn", "attn.qkv")
	both(table, "attn.c_proj", "attn.out")
	both(table, "ln_2", "mlp.norm")
	both(table, "mlp.c_fc", "mlp.up")
	both(table, "mlp.c_proj", "mlp.down")
	return table
}

func readGPT2(s *settings, m *model.Manifest) {
	s.require("n_layer", "n_embd", "n_head", "vocab_size", "n_positions")
	s.only("scale_attn_weights", true)
	s.only("scale_attn_by_inverse_layer_idx", false)
	s.only("add_cross_attention", false)
	c := model.Config{
		Arch:       model.GPT2,
		Layers:     s.count("n_layer", 0),
		Hidden:     s.count("n_embd", 0),
		Heads:      s.count("n_head", 0),
		Vocab:      s.count("vocab_size", 0),
		Positions:  s.count("n_positions", 0),
		NormEps:    s.number("layer_norm_epsilon", 1e-5),
		Activation: s.oneOf("activation_function", "gelu_new", activations),
	}
	c.Intermediate = s.count("n_inner", 4*c.Hidden)
	c.KVHeads = c.Heads
	c.HeadDim = headDim(c.Hidden, c.Heads)
	m.Config = c
	m.Tasks = []model.Task{model.EmbedTask, model.Generate}
	m.Pooling = meanPooling
}

// headDim is the share of a head, 0 where there is none.
func headDim(hidden, heads int) int {
	if heads == 0 || hidden%heads != 0 {
		return 0
	}
	return hidden / heads
}
