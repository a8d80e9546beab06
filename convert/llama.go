package convert

import (
	"strings"

	"github.com/skein-project/skein/model"
)

// llama is the decoder of Touvron et al., "LLaMA" (2023), and what is shaped like it: Mistral and Qwen2.
func llama(kind string) family {
	f := family{
		kind:   kind,
		read:   func(s *settings, m *model.Manifest) { readLlama(kind, s, m) },
		prefix: "model.",
		layers: "layers.",
		outer: map[string]place{
			"embed_tokens.weight": {false, "embed.token"},
			"norm.weight":         {true, "final.norm.weight"},
			"lm_head.weight":      {true, "head.weight"},
		},
		inner: map[string]string{
			"input_layernorm.weight":          "attn.norm.weight",
			"post_attention_layernorm.weight": "mlp.norm.weight",
		},
		// Frequencies that old checkpoints store; they follow from the config.
		harmless: func(name string) bool { return strings.HasSuffix(name, ".rotary_emb.inv_freq") },
		bos:      1, eos: 2, pad: -1,
	}
	both(f.inner, "self_attn.q_proj", "attn.q")
	both(f.inner, "self_attn.k_proj", "attn.k")
	both(f.inner, "self_attn.v_proj", "attn.v")
	both(f.inner, "self_attn.o_proj", "attn.out")
	both(f.inner, "mlp.gate_proj", "mlp.gate")
	both(f.inner, "mlp.up_proj", "mlp.up")
	both(f.inner, "mlp.down_proj", "mlp.down")
	if kind == "qwen2" {
		f.bos, f.eos = -1, -1
	}
	return f
}

func readLlama(kind string, s *settings, m *model.Manifest) {
	s.require("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings")
	c := model.Config{
		Arch:         model.Llama,
		Layers:       s.count("num_hidden_layers", 0),
		Hidden:       s.count("hidden_size", 0),
		Heads:        s.count("num_attention_heads", 0),
		Intermediate: s.count("intermediate_size", 0),
		Vocab:        s.count("vocab_size", 0),
		Positions:    s.count("max_position_embeddings", 0),
		NormEps:      s.number("rms_norm_eps", 1e-6),
		Activation:   s.oneOf("hidden_act", "silu", activations),
	}
	c.KVHeads = s.count("num_key_value_heads", c.Heads)
	if kind == "mistral" && !s.has("num_key_value_heads") {
		c.KVHeads = 8
	}
	c.HeadDim = s.count("head_dim", headDim(c.Hidden, c.Heads))
	c.SlidingWindow = window(kind, s, c)
	readRope(s, &c)
	m.Config = c
	m.Tasks = []model.Task{model.EmbedTask, model.Generate}
	m.Pooling = meanPooling
}

// window reads how far back attention looks, in tokens; 0 where it looks at everything.
func window(kind string, s *settings, c model.Config) int {
	w := 0
	switch {
	case kind == "mistral" && !s.hasNull("sliding_window"):
		w = s.count("sliding_window", 4096)
	case kind == "qwen2" && s.flag("use_sliding_window", false):
		w = s.count("sliding_window", 4096)
		// Qwen2 lets only the layers from max_window_layers on slide; layers that differ are not one graph.
		switch full := s.count("max_window_layers", 28); {
		case full >= c.Layers:
			w = 0
		case full > 0 && w < c.Positions:
			s.refuse("max_window_layers", "%d of %d layers without a window: mixed attention is not supported", full, c.Layers)
		}
	}
	if w >= c.Positions {
		w = 0
	}
	// A window as long as the context is none, so that layers of either type are alike.
	for _, kind := range s.texts("layer_types") {
		if kind != "full_attention" && kind != "sliding_attention" || kind == "full_attention" && w > 0 {
			s.refuse("layer_types", "%.40q in a model with a window of %d: mixed attention is not supported", kind, w)
		}
	}
	return w
}

// readRope reads the rotation: rope_theta and rope_scaling, or rope_parameters as transformers 5 writes them.
func readRope(s *settings, c *model.Config) {
	c.RopeTheta = s.number("rope_theta", 10000)
	scaling := s.object("rope_scaling")
	if s.has("rope_parameters") {
		if s.has("rope_scaling") {
			s.refuse("rope_parameters", "is given beside rope_scaling")
		}
		scaling = s.object("rope_parameters")
		c.RopeTheta = scaling.number("rope_theta", c.RopeTheta)
	}
	for _, where := range []*settings{s, scaling} {
		if where.number("partial_rotary_factor", 1) != 1 {
			where.refuse("partial_rotary_factor", "is not supported")
		}
	}
	switch kind := scaling.text("rope_type", scaling.text("type", "default")); kind {
	case "default":
	case "linear":
		scaling.require("factor")
		c.RopeScaling = &model.RopeScaling{Kind: kind, Factor: scaling.number("factor", 0)}
	case "llama3":
		scaling.require("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
		c.RopeScaling = &model.RopeScaling{
			Kind:             kind,
			Factor:           scaling.number("factor", 0),
			LowFreqFactor:    scaling.number("low_freq_factor", 0),
			HighFreqFactor:   scaling.number("high_freq_factor", 0),
			OriginalPosition: scaling.count("original_max_position_embeddings", 0),
		}
	default:
		scaling.refuse("rope_type", "%.40q is not supported", kind)
	}
	s.join(scaling)
}
