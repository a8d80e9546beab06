package convert

import (
	"strings"

	"github.com/skein-project/skein/model"
)

// bert is the encoder of Devlin et al., "BERT" (2018), whose token vectors are wanted.
var bert = family{
	kind:     "bert",
	read:     readBERT,
	prefix:   "bert.",
	layers:   "encoder.layer.",
	outer:    bertOuter(),
	inner:    bertLayer(),
	harmless: bertHarmless,
	tied:     true,
	bos:      -1, eos: -1, pad: 0,
}

// meanPooling is what sentence-transformers does where a folder declares nothing.
const meanPooling = model.PoolMean

func bertOuter() map[string]place {
	table := map[string]place{
		"embeddings.word_embeddings.weight":       {name: "embed.token"},
		"embeddings.position_embeddings.weight":   {name: "embed.position"},
		"embeddings.token_type_embeddings.weight": {name: "embed.type"},
	}
	for old, name := range normNames {
		table["embeddings.LayerNorm."+old] = place{name: "embed.norm." + name}
	}
	tail(table, "pooler.dense", "pooler")
	return table
}

// normNames maps the parts of a LayerNorm, also by the names that checkpoints from TensorFlow have.
var normNames = map[string]string{"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}

func bertLayer() map[string]string {
	table := map[string]string{}
	both(table, "attention.self.query", "attn.q")
	both(table, "attention.self.key", "attn.k")
	both(table, "attention.self.value", "attn.v")
	both(table, "attention.output.dense", "attn.out")
	both(table, "intermediate.dense", "mlp.up")
	both(table, "output.dense", "mlp.down")
	for old, name := range normNames {
		table["attention.output.LayerNorm."+old] = "attn.norm." + name
		table["output.LayerNorm."+old] = "mlp.norm." + name
	}
	return table
}

// bertHarmless knows position numbers that checkpoints store, and the heads of pre-training that a model with another head does not use.
func bertHarmless(name string) bool {
	return storedNumbers(name) || strings.HasPrefix(name, "cls.predictions.") || strings.HasPrefix(name, "cls.seq_relationship.")
}

// storedNumbers knows position and segment numbers, which checkpoints store although they count up from zero.
func storedNumbers(name string) bool {
	return strings.HasSuffix(name, "embeddings.position_ids") || strings.HasSuffix(name, "embeddings.token_type_ids")
}

func readBERT(s *settings, m *model.Manifest) {
	s.require("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings")
	s.only("is_decoder", false)
	s.only("add_cross_attention", false)
	s.oneOf("position_embedding_type", "absolute", map[string]string{"absolute": "absolute"})
	c := model.Config{
		Arch:         model.BERT,
		Layers:       s.count("num_hidden_layers", 0),
		Hidden:       s.count("hidden_size", 0),
		Heads:        s.count("num_attention_heads", 0),
		Intermediate: s.count("intermediate_size", 0),
		Vocab:        s.count("vocab_size", 0),
		Positions:    s.count("max_position_embeddings", 0),
		Types:        s.count("type_vocab_size", 2),
		NormEps:      s.number("layer_norm_eps", 1e-12),
		Activation:   s.oneOf("hidden_act", "gelu", activations),
	}
	c.KVHeads = c.Heads
	c.HeadDim = headDim(c.Hidden, c.Heads)
	m.Config = c
	m.Tasks = []model.Task{model.EmbedTask, model.Infer}
	m.Pooling = meanPooling
}
