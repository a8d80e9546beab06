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

// heads adds the pooler (a dense layer with tanh over the first token) and the classifier where the model has them. A classifier
// without a pooler labels every token.
func (b *builder) heads(x string) {
	c := b.config
	labels := 0
	if t, ok := b.tensors[key{c.Layers, "classifier.weight"}]; ok && len(t.Shape) == 2 {
		labels = int(t.Shape[0])
	}
	b.made.Labels = labels
	dims := []onnx.Dim{onnx.Free("B"), onnx.Free("S"), onnx.Fixed(labels)}
	if b.has(c.Layers, "pooler.weight") {
		zero := b.g.Inline("first", onnx.Int64, nil, binary.LittleEndian.AppendUint64(nil, 0))
		first := b.g.Op(gather, []string{x, zero}, onnx.Int("axis", 1))
		dense := b.linear(first, c.Layers, "pooler", c.Hidden, c.Hidden)
		x = b.leave(onnx.Op{Name: "Tanh"}, []string{dense}, Pooled, nil, onnx.Free("B"), onnx.Fixed(c.Hidden))
		b.made.Pooler = true
		dims = []onnx.Dim{onnx.Free("B"), onnx.Fixed(labels)}
	}
	if labels > 0 {
		b.leave(onnx.Op{Name: "Identity"}, []string{b.linear(x, c.Layers, "classifier", c.Hidden, labels)}, Scores, nil, dims...)
	}
}
