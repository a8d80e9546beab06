package convert

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/skein-project/skein/convert/safetensors"
	"github.com/skein-project/skein/model"
)

// What a folder says of its head in other words than the fixtures do.
func TestHeadVariants(t *testing.T) {
	type changes = map[string]any
	null := json.RawMessage("null")
	for _, c := range []struct {
		name, fixture string
		changes       changes
		check         func(m *model.Manifest) bool
	}{
		{"a cross-encoder's sigmoid", "bert-rank", nil, func(m *model.Manifest) bool {
			return m.Problem == model.MultiLabel && m.Can(model.Rerank) && m.Can(model.Classify)
		}},
		{"nothing declared", "bert-rank", changes{"sentence_transformers": nil}, func(m *model.Manifest) bool { return m.Problem == model.MultiLabel }},
		{"a cross-encoder without activation", "bert-rank", changes{"sentence_transformers": map[string]any{"activation_fn": "torch.nn.modules.linear.Identity"}},
			func(m *model.Manifest) bool { return m.Problem == model.Regression && m.Can(model.Rerank) }},
		{"the older key", "bert-rank", changes{"sentence_transformers": nil, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
			func(m *model.Manifest) bool { return m.Problem == model.Regression }},
		{"a regression by name", "bert-rank", changes{"problem_type": "regression"}, func(m *model.Manifest) bool { return m.Problem == model.Regression && m.Can(model.Rerank) }},
		{"several labels rank nothing", "bert-classify", changes{"problem_type": null}, func(m *model.Manifest) bool { return m.Problem == model.SingleLabel && !m.Can(model.Rerank) }},
		{"answers with labels", "bert-answer", changes{"id2label": map[string]string{"0": "start", "1": "end"}}, func(m *model.Manifest) bool { return m.Can(model.Answer) && m.Labels == nil }},
		{"ELECTRA pools by gelu", "electra-classify", nil, func(m *model.Manifest) bool { return m.Config.PoolerAct == "gelu" }},
		{"positions of RoBERTa", "roberta-answer", nil, func(m *model.Manifest) bool { return m.Config.Positions == 128 && m.Config.Types == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := fixture(t, c.fixture)
			files["config.json"] = with(t, files["config.json"], c.changes)
			m, err := manifest(sources(files))
			if err != nil {
				t.Fatal(err)
			}
			if !c.check(m) {
				t.Error(summary(m))
			}
		})
	}
}

func TestHeadsAreRefused(t *testing.T) {
	for _, c := range []struct {
		fixture string
		changes map[string]any
		why     string
	}{
		{"bert-rank", map[string]any{"sentence_transformers": map[string]any{"activation_fn": "torch.nn.Tanh"}}, "activation"},
		{"bert-rank", map[string]any{"sentence_transformers": 3}, "is not an object"},
		{"bert-answer", map[string]any{"num_labels": 3}, "3 scores of a token, want 2"},
		{"bert-answer", map[string]any{"id2label": map[string]string{"0": "only"}}, "1 scores of a token, want 2"},
		{"roberta-fill", map[string]any{"pad_token_id": 0}, "on which positions count"},
		{"roberta-fill", map[string]any{"hidden_act": "relu"}, "relu is not supported in this family"},
		{"roberta-fill", map[string]any{"max_position_embeddings": 2}, "positions: 0 is not in 1.."},
		{"electra-classify", map[string]any{"embedding_size": 16}, "embeddings of another width"},
		{"distilbert-fill", map[string]any{"dim": nil}, "dim: is missing"},
	} {
		files := fixture(t, c.fixture)
		files["config.json"] = with(t, files["config.json"], c.changes)
		refused(t, files, "config.json", c.why)
	}
}

// A head for masks is whole, or the model has none; what checkpoints store twice is equal.
func TestMaskedHeads(t *testing.T) {
	type tensors = map[string]safetensors.Tensor
	type content = map[string][]byte
	whole := []string{"cls.predictions.bias", "cls.predictions.decoder.bias", "cls.predictions.decoder.weight", "cls.predictions.transform.LayerNorm.bias",
		"cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.dense.bias", "cls.predictions.transform.dense.weight"}
	change := func(f func(tensors, content)) map[string][]byte {
		files := fixture(t, "bert-fill")
		files[wholeName] = rebuild(t, files[wholeName], f)
		return files
	}
	without := func(names ...string) map[string][]byte {
		return change(func(ts tensors, _ content) {
			for _, name := range names {
				if _, ok := ts[name]; !ok {
					t.Fatalf("the fixture has no %s", name)
				}
				delete(ts, name)
			}
		})
	}
	for _, c := range []struct {
		name  string
		files map[string][]byte
		fills bool
	}{
		{"all", without(), true}, {"one name of the bias", without(whole[0]), true}, {"the other", without(whole[1]), true},
		{"head not stored", without(whole[2]), true}, {"nothing", without(whole...), false},
	} {
		m, err := manifest(sources(c.files))
		if err != nil || m.Can(model.FillMask) != c.fills || !m.Can(model.EmbedTask) || c.fills != m.Tied() {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	refused(t, without(whole[0], whole[1]), "", `"head.bias": is missing`)
	refused(t, without(whole[6]), "", `"mlm.weight": is missing`)
	for _, name := range []string{whole[1], whole[2]} {
		refused(t, change(func(_ tensors, c content) {
			c[name] = slices.Clone(c[name])
			c[name][0] ^= 1
		}), wholeName, "differs from")
	}
	// Another head's model stores poolers and pre-training heads that nobody uses; its own pooler it needs.
	files := fixture(t, "bert-spans")
	files[wholeName] = rebuild(t, files[wholeName], func(ts tensors, c content) {
		for _, name := range []string{"bert.pooler.dense.weight", "cls.seq_relationship.weight"} {
			ts[name], c[name] = ts["classifier.weight"], c["classifier.weight"]
		}
	})
	if m, err := manifest(sources(files)); err != nil || !m.Can(model.ClassifyTokens) {
		t.Errorf("an unused pooler: %v", err)
	}
	files = fixture(t, "bert-rank")
	files[wholeName] = rebuild(t, files[wholeName], func(ts tensors, _ content) { delete(ts, "bert.pooler.dense.weight") })
	refused(t, files, "", `"pooler.weight": is missing`)
}

// The table of positions of RoBERTa begins behind the rows that no token has.
func TestPositionsOfRoBERTa(t *testing.T) {
	files := fixture(t, "roberta-classify")
	m, err := manifest(sources(files))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := m.Tensor(model.Embed, "embed.position")
	list, err := safetensors.Read(sources(files)[wholeName], int64(len(files[wholeName])))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if row := x.Len / 130; x.Name == "roberta.embeddings.position_embeddings.weight" && (got.Ref.Off != x.Off+2*row || got.Ref.Len != 128*row || got.Shape[0] != 128) {
			t.Errorf("%v at %d, the table is at %d", got, got.Ref.Off, x.Off)
		}
	}
}
