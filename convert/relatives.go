package convert

import (
	"maps"
	"strings"

	"github.com/skein-project/skein/model"
)

// roberta is BERT as Liu et al., "RoBERTa" (2019), trained it: the table of positions begins with rows that stand for padding.
var roberta = family{
	kind:   "roberta",
	read:   readRoBERTa,
	prefix: "roberta.",
	layers: bert.layers,
	outer:  bertOuter(),
	inner:  bertLayer(),
	harmless: func(name string) bool {
		return storedNumbers(name) || strings.HasPrefix(name, "lm_head.")
	},
	tied: true,
	bos:  0, eos: 2, pad: robertaPad,
	offset: robertaPad + 1,
}

// robertaPad is the id of padding, behind whose row of the table of positions those of tokens begin.
const robertaPad = 1

func readRoBERTa(s *settings, m *model.Manifest) {
	readBERT(s, m)
	if pad := s.count("pad_token_id", robertaPad); pad != robertaPad {
		s.refuse("pad_token_id", "%d is not %d, on which positions count", pad, robertaPad)
	}
	if m.Config.Activation != "gelu" { // of its head for masks, which is not declared
		s.refuse("hidden_act", "%s is not supported in this family", m.Config.Activation)
	}
	m.Config.Positions = max(m.Config.Positions-robertaPad-1, 0)
}

// distilBERT is the smaller BERT of Sanh et al. (2019), without segments.
var distilBERT = family{
	kind:     "distilbert",
	read:     readDistilBERT,
	prefix:   "distilbert.",
	layers:   "transformer.layer.",
	outer:    distilOuter(),
	inner:    distilLayer(),
	harmless: func(name string) bool { return storedNumbers(name) || strings.HasPrefix(name, "vocab_") },
	tied:     true,
	bos:      -1, eos: -1, pad: 0,
}

func distilOuter() map[string]place {
	table := bertOuter()
	maps.DeleteFunc(table, func(_ string, p place) bool { return p.tail || p.name == "embed.type" })
	return table
}

func distilLayer() map[string]string {
	table := map[string]string{}
	both(table, "attention.q_lin", "attn.q")
	both(table, "attention.k_lin", "attn.k")
	both(table, "attention.v_lin", "attn.v")
	both(table, "attention.out_lin", "attn.out")
	both(table, "sa_layer_norm", "attn.norm")
	both(table, "ffn.lin1", "mlp.up")
	both(table, "ffn.lin2", "mlp.down")
	both(table, "output_layer_norm", "mlp.norm")
	return table
}

func readDistilBERT(s *settings, m *model.Manifest) {
	s.require("n_layers", "dim", "n_heads", "hidden_dim", "vocab_size", "max_position_embeddings")
	c := model.Config{
		Arch:         model.BERT,
		Layers:       s.count("n_layers", 0),
		Hidden:       s.count("dim", 0),
		Heads:        s.count("n_heads", 0),
		Intermediate: s.count("hidden_dim", 0),
		Vocab:        s.count("vocab_size", 0),
		Positions:    s.count("max_position_embeddings", 0),
		NormEps:      1e-12,
		Activation:   s.oneOf("activation", "gelu", activations),
	}
	c.KVHeads = c.Heads
	c.HeadDim = headDim(c.Hidden, c.Heads)
	m.Config = c
	m.Tasks = []model.Task{model.EmbedTask, model.Infer}
	m.Pooling = meanPooling
}

// electra is the encoder of Clark et al., "ELECTRA" (2020), in the sizes whose embeddings are as wide as the rest.
var electra = family{
	kind:   "electra",
	read:   readELECTRA,
	prefix: "electra.",
	layers: bert.layers,
	outer:  electraOuter(),
	inner:  bertLayer(),
	harmless: func(name string) bool {
		return storedNumbers(name) || strings.HasPrefix(name, "discriminator_predictions.") || strings.HasPrefix(name, "generator_")
	},
	bos: -1, eos: -1, pad: 0,
}

func electraOuter() map[string]place {
	table := bertOuter()
	maps.DeleteFunc(table, func(_ string, p place) bool { return p.tail })
	return table
}

func readELECTRA(s *settings, m *model.Manifest) {
	readBERT(s, m)
	if n := s.count("embedding_size", 128); n != m.Config.Hidden {
		s.refuse("embedding_size", "%d is not the hidden size %d: embeddings of another width are not supported", n, m.Config.Hidden)
	}
}
