package graph

import (
	"encoding/binary"

	"github.com/skein-project/skein/engine/onnx"
	"github.com/skein-project/skein/model"
)

// bert is the encoder of "BERT: Pre-training of Deep Bidirectional Transformers" (2018): norms after each addition. The first stage
// gets the sum of the embeddings and normalises it.
func (b *builder) bert() {
	c := b.config
	x := b.hidden()
	b.input(Mask, onnx.Int32, onnx.Free("B"), onnx.Free("S"))
	if b.span.From == 0 {
		x = b.layerNorm(x, model.Embed, "embed.norm")
	}
	for i := b.span.From; i < b.span.To; i++ {
		q := b.linear(x, i, "attn.q", c.Hidden, c.Hidden)
		k := b.linear(x, i, "attn.k", c.Hidden, c.Hidden)
		v := b.linear(x, i, "attn.v", c.Hidden, c.Hidden)
		a := b.g.Op(onnx.Op{Domain: onnx.Microsoft, Name: "MultiHeadAttention"}, []string{q, k, v, "", Mask}, onnx.Int("num_heads", c.Heads))
		x = b.layerNorm(b.add(x, b.linear(a, i, "attn.out", c.Hidden, c.Hidden)), i, "attn.norm")
		up := b.activation(b.linear(x, i, "mlp.up", c.Hidden, c.Intermediate))
		x = b.layerNorm(b.add(x, b.linear(up, i, "mlp.down", c.Intermediate, c.Hidden)), i, "mlp.norm")
	}
	b.result(x)
	if b.last() {
		b.heads(x)
	}
}

// heads adds the pooler (a dense layer with tanh, or what the configuration says, over the first token), the classifier, and the head that
// fills masks, where the model has them. A classifier without a pooler labels every token.
func (b *builder) heads(x string) {
	c := b.config
	labels := 0
	if t, ok := b.tensors[key{c.Layers, "classifier.weight"}]; ok && len(t.Shape) == 2 {
		labels = int(t.Shape[0])
	}
	b.made.Labels = labels
	if b.has(c.Layers, "pooler.weight") {
		zero := b.g.Inline("first", onnx.Int64, nil, binary.LittleEndian.AppendUint64(nil, 0))
		first := b.g.Op(gather, []string{x, zero}, onnx.Int("axis", 1))
		dense := b.linear(first, c.Layers, "pooler", c.Hidden, c.Hidden)
		pooled := b.leave(poolerAct(c.PoolerAct), []string{dense}, Pooled, nil, onnx.Free("B"), onnx.Fixed(c.Hidden))
		b.made.Pooler = true
		if labels > 0 {
			b.leave(onnx.Op{Name: "Identity"}, []string{b.linear(pooled, c.Layers, "classifier", c.Hidden, labels)}, Scores, nil, onnx.Free("B"), onnx.Fixed(labels))
		}
	} else if labels > 0 {
		b.leave(onnx.Op{Name: "Identity"}, []string{b.linear(x, c.Layers, "classifier", c.Hidden, labels)}, Scores, nil, onnx.Free("B"), onnx.Free("S"), onnx.Fixed(labels))
	}
	if b.has(c.Layers, "head.weight") {
		b.masked(x)
	}
}

// masked is the head of masked language models (Devlin et al., 2018): a dense layer with the model's nonlinearity and a norm, then the scores of
// all tokens. Only the positions asked for go through it: its last matrix is the widest of the model.
func (b *builder) masked(x string) {
	c := b.config
	dense := b.activation(b.linear(b.selected(x), c.Layers, "mlm", c.Hidden, c.Hidden))
	scores := b.linear(b.layerNorm(dense, c.Layers, "mlm.norm"), c.Layers, "head", c.Hidden, c.Vocab)
	b.leave(onnx.Op{Name: "Identity"}, []string{scores}, Logits, nil, onnx.Free("R"), onnx.Fixed(c.Vocab))
}

// poolerAct is the nonlinearity of a pooler.
func poolerAct(name string) onnx.Op {
	switch name {
	case "relu":
		return onnx.Op{Name: "Relu"}
	case "gelu":
		return onnx.Op{Name: "Gelu"}
	}
	return onnx.Op{Name: "Tanh"}
}
