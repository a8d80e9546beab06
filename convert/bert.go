package convert

import (
	"encoding/json"
	"fmt"
	"strconv"
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
	bos:      -1, eos: -1, pad: 0,
}

// bertLabels is bert with a classifier on its pooler, or on each token.
func bertLabels(task model.Task) family {
	f := bert
	f.read = func(s *settings, m *model.Manifest) {
		readBERT(s, m)
		m.Tasks = []model.Task{task, model.Infer}
		m.Pooling = ""
		readLabels(s, m)
		if task == model.ClassifyTokens {
			m.Problem = model.SingleLabel
		}
	}
	return f
}

func bertOuter() map[string]place {
	table := map[string]place{
		"embeddings.word_embeddings.weight":       {false, "embed.token"},
		"embeddings.position_embeddings.weight":   {false, "embed.position"},
		"embeddings.token_type_embeddings.weight": {false, "embed.type"},
	}
	for old, name := range normNames {
		table["embeddings.LayerNorm."+old] = place{false, "embed.norm." + name}
	}
	for _, part := range []string{"weight", "bias"} {
		table["pooler.dense."+part] = place{true, "pooler." + part}
		table["classifier."+part] = place{true, "classifier." + part}
	}
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

// bertHarmless knows position numbers that checkpoints store, and the heads of pre-training, which no task here uses.
func bertHarmless(name string) bool {
	return strings.HasSuffix(name, "embeddings.position_ids") || strings.HasSuffix(name, "embeddings.token_type_ids") ||
		strings.HasPrefix(name, "cls.predictions.") || strings.HasPrefix(name, "cls.seq_relationship.")
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
	m.Pooling = model.PoolMean // what sentence-transformers does where a folder declares nothing
}

// readLabels reads id2label and problem_type.
func readLabels(s *settings, m *model.Manifest) {
	byID := s.object("id2label")
	n := len(byID.values)
	if n == 0 {
		n = s.count("num_labels", 2)
	}
	if n < 1 || n > model.MaxLabels {
		s.refuse("id2label", "%d labels are not in 1..%d", n, model.MaxLabels)
		return
	}
	for i := range n {
		label := fmt.Sprintf("LABEL_%d", i)
		if raw, ok := byID.values[strconv.Itoa(i)]; ok {
			if err := json.Unmarshal(raw, &label); err != nil {
				s.refuse("id2label", "label %d is not a text", i)
			}
		} else if len(byID.values) > 0 {
			s.refuse("id2label", "label %d is missing", i)
		}
		m.Labels = append(m.Labels, label)
	}
	fallback := model.SingleLabel
	if n == 1 {
		fallback = model.Regression
	}
	m.Problem = model.Problem(s.text("problem_type", string(fallback)))
}
