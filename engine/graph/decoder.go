package graph

import (
	"encoding/binary"
	"fmt"

	"github.com/skein-project/skein/engine/onnx"
)

// Multiples that the attention kernel needs of the head dimension.
const (
	headMultiple   = 8
	rotaryMultiple = 16
)

// attentionInputs declares what all attention nodes of a decoder read beside the hidden states.
func (b *builder) attentionInputs() {
	c := b.config
	if c.HeadDim <= 0 || c.HeadDim%headMultiple != 0 || b.made.Rope && c.HeadDim%rotaryMultiple != 0 {
		b.fail(fmt.Errorf("%w: head dimension %d (it must be a multiple of %d, with rotary positions of %d)", ErrUnsupported, c.HeadDim, headMultiple, rotaryMultiple))
	}
	b.input(Lengths, onnx.Int32, onnx.Free("B"))
	b.input(Longest, onnx.Int32, onnx.Fixed(1))
	if b.made.Rope {
		for _, name := range []string{Cos, Sin} {
			b.input(name, b.compute, onnx.Fixed(b.opts.Context), onnx.Fixed(c.HeadDim/2))
		}
	}
}

// attention is causal attention over the row's cache. q, k and v are [B, S, heads·head dim]; GPT-2's packed form leaves k and v empty.
func (b *builder) attention(block int, q, k, v string) string {
	c := b.config
	cache := []onnx.Dim{onnx.Free("B"), onnx.Fixed(c.KVHeads), onnx.Fixed(b.opts.Context), onnx.Fixed(c.HeadDim)}
	pastK := b.input(PastKey(block), b.compute, cache...)
	pastV := b.input(PastValue(block), b.compute, cache...)
	in := []string{q, k, v, pastK, pastV, Lengths, Longest}
	attrs := []onnx.Attr{onnx.Int("num_heads", c.Heads), onnx.Int("kv_num_heads", c.KVHeads)}
	if b.made.Rope {
		in = append(in, Cos, Sin)
		attrs = append(attrs, onnx.Int("do_rotary", 1))
	}
	if c.SlidingWindow > 0 && c.SlidingWindow < b.opts.Context {
		attrs = append(attrs, onnx.Int("local_window_size", c.SlidingWindow))
	}
	out := fmt.Sprintf("attention.%d", block)
	b.g.Node(onnx.Op{Domain: onnx.Microsoft, Name: "GroupQueryAttention"}, in, []string{out, PresentKey(block), PresentValue(block)}, attrs...)
	b.output(PresentKey(block), b.compute, cache...)
	b.output(PresentValue(block), b.compute, cache...)
	return out
}

// gpt2 is the decoder of "Language Models are Unsupervised Multitask Learners" (2019) in the layout of its checkpoints.
func (b *builder) gpt2() {
	c := b.config
	x := b.hidden()
	b.attentionInputs()
	for i := b.span.From; i < b.span.To; i++ {
		qkv := b.conv(b.layerNorm(x, i, "attn.norm"), i, "attn.qkv", c.Hidden, 3*c.Hidden)
		x = b.add(x, b.conv(b.attention(i, qkv, "", ""), i, "attn.out", c.Hidden, c.Hidden))
		up := b.activation(b.conv(b.layerNorm(x, i, "mlp.norm"), i, "mlp.up", c.Hidden, c.Intermediate))
		x = b.add(x, b.conv(up, i, "mlp.down", c.Intermediate, c.Hidden))
	}
	b.tail(x, b.layerNorm)
}

// llama is the decoder of "LLaMA: Open and Efficient Foundation Language Models" (2023) and its relatives: grouped-query attention with
// rotary positions, RMS norms, a gated feed-forward layer; biases where the checkpoint has them.
func (b *builder) llama() {
	c := b.config
	b.made.Rope = true
	if _, err := frequencies(c); err != nil {
		b.fail(err)
	}
	x := b.hidden()
	b.attentionInputs()
	wide, narrow := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := b.span.From; i < b.span.To; i++ {
		h := b.rmsNorm(x, i, "attn.norm")
		q := b.linear(h, i, "attn.q", c.Hidden, wide)
		k := b.linear(h, i, "attn.k", c.Hidden, narrow)
		v := b.linear(h, i, "attn.v", c.Hidden, narrow)
		x = b.add(x, b.linear(b.attention(i, q, k, v), i, "attn.out", wide, c.Hidden))
		h = b.rmsNorm(x, i, "mlp.norm")
		gate := b.activation(b.linear(h, i, "mlp.gate", c.Hidden, c.Intermediate))
		up := b.linear(h, i, "mlp.up", c.Hidden, c.Intermediate)
		x = b.add(x, b.linear(b.g.Op(mul, []string{gate, up}), i, "mlp.down", c.Intermediate, c.Hidden))
	}
	b.tail(x, b.rmsNorm)
}

// tail ends a decoder's stage: hidden states as they are, or behind the last norm, and the logits of the rows asked for. Rows are gathered
// before the head, which is the widest matrix of the model.
func (b *builder) tail(x string, norm func(x string, block int, name string) string) {
	c := b.config
	if !b.last() {
		b.result(x)
		return
	}
	x = norm(x, c.Layers, "final.norm")
	b.result(x)
	head := b.weight(c.Layers, "head.weight", c.Vocab, c.Hidden)
	b.leave(fusedMatMul, []string{b.selected(x), head}, Logits, []onnx.Attr{onnx.Int("transB", 1)}, onnx.Free("R"), onnx.Fixed(c.Vocab))
}

// selected gathers the positions asked for, [R, hidden].
func (b *builder) selected(x string) string {
	b.made.Head = true
	b.input(Select, onnx.Int64, onnx.Free("R"))
	shape := binary.LittleEndian.AppendUint64(nil, ^uint64(0)) // −1: all positions of all rows
	shape = binary.LittleEndian.AppendUint64(shape, uint64(b.config.Hidden))
	flat := b.g.Op(onnx.Op{Name: "Reshape"}, []string{x, b.g.Inline("flat", onnx.Int64, []int64{2}, shape)})
	return b.g.Op(gather, []string{flat, Select})
}
